//! The command line of a simulation.

use super::check::check;
use super::coverage::Coverage;
use super::pcap::Tape;
use super::plan::Limits;
use super::runner::{Failure, Outcome, Scenario, Talks, run, run_one};
use super::shrink::shrink;
use clap::Parser;
use core::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Clients and a server, each on the smoltcp backend, in virtual time, with bad cables: everything from a seed.
#[derive(Debug, Clone, Parser)]
pub struct Command {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed only.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With --seed: write the frames, as each host saw them, to this file (pcapng).
    #[arg(long, requires = "seed")]
    pcap: Option<PathBuf>,
    /// With --seed: print the frames, one a line.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --seed: print what the world is made of.
    #[arg(long, requires = "seed")]
    describe: bool,
    /// Faults heal after so many milliseconds at the latest.
    #[arg(long)]
    heal_ms: Option<u64>,
    /// At most so many clients.
    #[arg(long)]
    clients: Option<u64>,
    /// Streams of at most so many bytes.
    #[arg(long)]
    bytes: Option<u64>,
    /// Leave these kinds of fault out (loss, duplication, reordering, corruption, jitter, rate, cuts, link).
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(Limits::KINDS))]
    without: Vec<String>,
    /// Print which (state, input) pairs of the connection machine were reached; fail if one was missed that can be.
    #[arg(long)]
    coverage: bool,
}

impl Command {
    fn limits(&self) -> Limits {
        let bit =
            |kind: &String| Limits::KINDS.iter().position(|name| name == kind).map_or(0, |bit| 1 << bit);
        let without = self.without.iter().map(bit).fold(0, |all, bit| all | bit);
        Limits { heal_ms: self.heal_ms, clients: self.clients, bytes: self.bytes, without }
    }

    /// Does what the command line says.
    pub fn execute(&self, scenario: &impl Scenario) -> ExitCode {
        match self.seed.map(|seed| self.replay(scenario, seed)) {
            None => self.run_all(scenario),
            Some(Ok(_)) => ExitCode::SUCCESS,
            Some(Err(why)) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        }
    }

    /// Runs the one seed that is named, and no others.
    pub(super) fn replay_one(&self, scenario: &impl Scenario) -> Result<Outcome, String> {
        self.replay(scenario, self.seed.ok_or("a replay needs --seed")?)
    }

    fn replay(&self, scenario: &impl Scenario, seed: u64) -> Result<Outcome, String> {
        self.heeded(scenario)?;
        if self.describe {
            println!("{}", scenario.describe(seed, &self.limits()));
        }
        let mut tape = (self.trace || self.pcap.is_some()).then(Tape::default);
        let result = run_one(scenario, seed, &self.limits(), tape.as_mut());
        if let Some(tape) = tape.as_ref().filter(|_| self.trace) {
            print!("{tape}");
        }
        if let (Some(tape), Some(path)) = (&tape, &self.pcap) {
            tape.save(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        let outcome = result.map_err(|failure| format!("seed {seed}: {}", failure.finding))?;
        println!("seed {seed} keeps all promises");
        Ok(outcome)
    }

    /// Refuses a limit that would change nothing.
    fn heeded(&self, scenario: &impl Scenario) -> Result<(), String> {
        if self.bytes.is_some() && !scenario.heeds_bytes() {
            return Err("this scenario's streams cannot be limited: leave --bytes out".into());
        }
        Ok(())
    }

    fn run_all(&self, scenario: &impl Scenario) -> ExitCode {
        if let Err(why) = self.heeded(scenario) {
            println!("{why}");
            return ExitCode::FAILURE;
        }
        let report = run(scenario, self.from..self.from + self.seeds, self.limits(), |done| {
            if done % 100_000 == 0 {
                eprintln!("{done} seeds");
            }
        });
        print!("{report}");
        let coverage = Coverage(report.total.transitions);
        if self.coverage {
            print!("\n{coverage}");
        }
        if let Some(failure) = &report.failure {
            println!("{}", explain(scenario, failure));
            return ExitCode::FAILURE;
        }
        let missed = coverage.gaps();
        if self.coverage && !missed.is_empty() {
            println!("pairs that were missed, or reached against all reason: {missed:?}");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// What to read and to do about a failure: the smallest form of it that is found.
pub fn explain(scenario: &impl Scenario, failure: &Failure) -> String {
    let small = shrink(scenario, failure);
    let again = arguments(failure.seed, &failure.limits);
    let mut closely = arguments(small.seed, &small.limits);
    if !scenario.describe(small.seed, &small.limits).is_empty() {
        closely += " --describe";
    }
    closely += " --pcap /tmp/sim.pcapng";
    let mut text = format!("seed {} fails: {}\n", failure.seed, failure.finding);
    let _ = writeln!(text, "replay:   {}", scenario.replay(&again));
    let _ = writeln!(text, "smallest: {}\n          {}", scenario.replay(&closely), small.finding);
    text
}

/// The arguments that run one seed within limits.
pub(super) fn arguments(seed: u64, limits: &Limits) -> String {
    let mut line = format!("--seed {seed}");
    let Limits { heal_ms, clients, bytes, without } = *limits;
    for (name, value) in [("heal-ms", heal_ms), ("clients", clients), ("bytes", bytes)] {
        if let Some(value) = value {
            let _ = write!(line, " --{name} {value}");
        }
    }
    let kinds: Vec<_> = Limits::KINDS
        .iter()
        .enumerate()
        .filter(|(bit, _)| without >> bit & 1 == 1)
        .map(|(_, kind)| *kind)
        .collect();
    if !kinds.is_empty() {
        let _ = write!(line, " --without {}", kinds.join(","));
    }
    line
}

/// The `main` of a program that runs `scenario` as its command line says.
pub fn main(scenario: &impl Scenario) -> ExitCode {
    Command::parse().execute(scenario)
}

/// The figures of 10,000 seeds, for the README.
///
/// # Panics
/// When a promise is not kept, or a transition is missed.
pub fn table() -> String {
    let report = check(&Talks, 10_000);
    let Outcome { connections, verified, frames, elapsed, transitions, reasons } = &report.total;
    assert_eq!(Coverage(*transitions).gaps(), [], "missed, or reached against all reason");
    let orderly: u64 = reasons.iter().filter(|(reason, _)| reason.is_orderly()).map(|(_, count)| count).sum();
    let (seconds, mib) = (report.took.as_secs_f64(), *verified as f64 / f64::from(1 << 20));
    let mut text = String::from("| what | figure |\n|---|---|\n");
    let mut row = |what: &str, figure: String| writeln!(text, "| {what} | {figure} |").unwrap_or(());
    row(
        "seeds, all of which keep all promises",
        format!("{} ({:.0} a second)", report.seeds, report.seeds as f64 / seconds),
    );
    row("bytes compared", format!("{mib:.1} MiB ({:.1} MiB/s)", mib / seconds));
    row(
        "connections; ends in good order, ends in all",
        format!("{connections}; {orderly}, {}", reasons.values().sum::<u64>()),
    );
    row("frames; virtual time", format!("{}; {:.1} days", frames.sent, elapsed.as_secs_f64() / 86_400.0));
    let faults = frames.faults();
    row(
        &format!("frames that were {}", faults.map(|(fault, _)| fault).join("; ")),
        faults.map(|(_, count)| count.to_string()).join("; "),
    );
    row("(state, input) pairs of the connection machine that can be reached and were", "all".into());
    text
}
