//! Boots the firmware images in QEMU, tries them from outside, and prints what they cost. Started by `tests/firmware/run`.

mod check;
mod count;
mod flood;
mod machine;
mod scenario;
mod size;
mod transcript;

use clap::Parser;
use machine::Board;
use scenario::{SCENARIOS, Scenario};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Tries the firmware images in QEMU.
#[derive(Parser)]
struct Arguments {
    /// Where the images are: a folder for each board.
    #[arg(long)]
    images: PathBuf,
    /// Only this board.
    #[arg(long, value_enum)]
    board: Vec<Board>,
    /// Only scenarios whose name has this in it.
    #[arg(long, default_value = "")]
    scenario: String,
    /// Only the tables: instructions, flash and RAM.
    #[arg(long)]
    figures: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let boards = if arguments.board.is_empty() { Board::ALL.to_vec() } else { arguments.board };
    let mut failures = 0;
    if !arguments.figures {
        for &board in &boards {
            for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&arguments.scenario)) {
                failures += u32::from(!passes(scenario, board, &arguments.images));
            }
        }
    }
    if !count::print_table(&boards, &arguments.images) {
        failures += 1;
    }
    match size::print_table(&boards, &arguments.images) {
        Ok(true) => {}
        Ok(false) => failures += 1,
        Err(error) => {
            eprintln!("firmware: sizes: {error}");
            failures += 1;
        }
    }
    if boards.contains(&Board::An385) {
        match check::print(&arguments.images) {
            Ok(true) => {}
            Ok(false) => failures += 1,
            Err(error) => {
                eprintln!("firmware: disassembly: {error}");
                failures += 1;
            }
        }
    }
    if failures > 0 {
        eprintln!("firmware: {failures} failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs one scenario; a panic in it is its failure. The emulator ends with it either way.
fn passes(scenario: &Scenario, board: Board, images: &std::path::Path) -> bool {
    let start = Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| (scenario.run)(board, images)));
    let took = start.elapsed().as_secs_f32();
    match &result {
        Ok(said) => println!("ok      {board:9} {:50} {took:5.1} s  {said}", scenario.name),
        Err(_) => println!("FAILED  {board:9} {:50} {took:5.1} s", scenario.name),
    }
    result.is_ok()
}
