//! What a packet costs: instructions on the server's side, counted by callgrind, in memory.
//!
//! `cargo bench -p socklet-tests --bench cost` runs every case under `valgrind --tool=callgrind` and prints a table. Only the server's turns are
//! counted: set-up, the peer and the cable are not. Each figure is the difference of two runs, so that warming up cancels out.

mod cable;
mod server;

use server::{Case, Workload};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [case, workload, rounds] = &args[..] {
        let rounds = rounds.parse().expect("a number of rounds");
        server::run(case.parse().expect("a case"), workload.parse().expect("a workload"), rounds);
        return ExitCode::SUCCESS;
    }
    match table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> Result<(), String> {
    println!("Instructions on the server's side, per echo of one byte:\n");
    println!("| server | open connections | instructions | ratio | limit |");
    println!("|---|---|---|---|---|");
    let raw = per_round(Case::Raw, Workload::Echo)?;
    row("smoltcp, one socket", 1, raw, None);
    let one = per_round(Case::Layer(1), Workload::Echo)?;
    row("socklet", 1, one, Some((one / raw, 1.3, "of smoltcp")));
    for open in [10, 100, 1_000, 10_000] {
        let many = per_round(Case::Layer(open), Workload::Echo)?;
        row("socklet", open, many, Some((many / one, 1.2, "of socklet with 1")));
    }
    println!("\nPer 64 KiB received and discarded, and per 64 KiB sent:\n");
    println!("| server | direction | instructions | ratio | limit |");
    println!("|---|---|---|---|---|");
    for (workload, direction) in [(Workload::Receive, "receive"), (Workload::Send, "send")] {
        let raw = per_round(Case::Raw, workload)?;
        println!("| smoltcp, one socket | {direction} | {raw:.0} | | |");
        let layer = per_round(Case::Layer(1), workload)?;
        let ratio = layer / raw;
        println!(
            "| socklet | {direction} | {layer:.0} | {ratio:.3} of smoltcp | 1.05: {} |",
            verdict(ratio, 1.05)
        );
    }
    Ok(())
}

fn row(name: &str, open: usize, cost: f64, ratio: Option<(f64, f64, &str)>) {
    match ratio {
        None => println!("| {name} | {open} | {cost:.0} | | |"),
        Some((ratio, limit, of)) => {
            println!(
                "| {name} | {open} | {cost:.0} | {ratio:.2} {of} | {limit}: {} |",
                verdict(ratio, limit)
            );
        }
    }
}

fn verdict(ratio: f64, limit: f64) -> &'static str {
    if ratio <= limit { "met" } else { "missed" }
}

/// Instructions per round, as the difference of a long run and a short one.
fn per_round(case: Case, workload: Workload) -> Result<f64, String> {
    let (few, many) = (20u32, 120u32);
    let (short, long) = (count(case, workload, few)?, count(case, workload, many)?);
    Ok((long - short) as f64 / f64::from(many - few))
}

fn count(case: Case, workload: Workload, rounds: u32) -> Result<u64, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*server_turn*"])
        .arg(program)
        .args([case.to_string(), workload.to_string(), rounds.to_string()])
        .output()
        .map_err(|error| {
            format!("valgrind does not start ({error}); install it: apt-get install valgrind")
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected =
        said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    match collected.and_then(|count| count.parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("callgrind did not count {case} {workload}:\n{said}")),
    }
}
