//! The simulator's seeds.

use socklet_tests::sim::{self, CountingAllocator, Coverage, Talks};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SEEDS: u64 = 2_000;

#[test]
fn every_seed_keeps_all_promises_and_all_transitions_are_reached() {
    let report = sim::check(&Talks, SEEDS);
    let coverage = Coverage(report.total.transitions);
    println!("{report}\n{coverage}");
    assert_eq!(coverage.gaps(), [], "missed, or reached against all reason");
}
