//! A scenario as a test, whose failures are replayed by the same test.

use super::command::{Command, explain};
use super::pcap::Tape;
use super::plan::Limits;
use super::runner::{Outcome, Report, Scenario, run, this_program};
use clap::Parser;
use std::thread;

/// Holds the arguments of a replay.
pub(super) const VARIABLE: &str = "SOCKLET_SIM";

/// Runs so many seeds of a test, and panics with what there is to say about a failure.
///
/// If the environment has a variable `SOCKLET_SIM` with arguments of a [`Command`], `--seed` among them, that seed is run instead: a failure
/// says with which.
///
/// # Panics
/// When a promise is not kept, or the variable makes no sense.
#[track_caller]
pub fn check(scenario: &impl Scenario, seeds: u64) -> Report {
    let scenario = &Test { scenario, name: name() };
    if let Ok(arguments) = std::env::var(VARIABLE) {
        return again(scenario, &arguments);
    }
    let report = run(scenario, 0..seeds, Limits::default(), |_| {});
    if let Some(failure) = &report.failure {
        panic!("{}", explain(scenario, failure));
    }
    report
}

/// Runs one seed as `arguments` say.
#[track_caller]
fn again(scenario: &impl Scenario, arguments: &str) -> Report {
    let words = core::iter::once(VARIABLE).chain(arguments.split_whitespace());
    let command = Command::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let start = std::time::Instant::now();
    match command.replay_one(scenario) {
        Ok(total) => Report { seeds: 1, total, took: start.elapsed(), failure: None },
        Err(why) => panic!("{why}"),
    }
}

/// The name of this test: its thread has it, unless the harness was told to have one thread only.
fn name() -> Option<String> {
    thread::current().name().filter(|name| *name != "main").map(Into::into)
}

/// A scenario that is run by a test.
struct Test<'s, S> {
    scenario: &'s S,
    name: Option<String>,
}

impl<S: Scenario> Scenario for Test<'_, S> {
    fn run(&self, seed: u64, limits: &Limits, tape: Option<&mut Tape>) -> Result<Outcome, String> {
        self.scenario.run(seed, limits, tape)
    }

    fn command(&self) -> Option<String> {
        self.scenario.command()
    }

    /// This test, with the variable, unless there is a program for it.
    fn replay(&self, arguments: &str) -> String {
        if self.command().is_some() {
            return self.scenario.replay(arguments);
        }
        let test = self.name.as_ref().map(|name| format!(" --exact {name} --include-ignored --nocapture"));
        format!("{VARIABLE}='{arguments}' {}{}", this_program(), test.unwrap_or_default())
    }

    fn heeds_bytes(&self) -> bool {
        self.scenario.heeds_bytes()
    }

    fn describe(&self, seed: u64, limits: &Limits) -> String {
        self.scenario.describe(seed, limits)
    }
}
