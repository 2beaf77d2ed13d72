//! `cargo run --release -p socklet-tests --bin sim -- --help`

use socklet_tests::sim::{self, CountingAllocator, Talks};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    sim::main(&Talks)
}
