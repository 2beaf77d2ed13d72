//! The simulator's seeds.

use socklet_tests::sim::{self, CountingAllocator, Coverage, Talks};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SEEDS: u64 = 2_000;

/// Bytes that are compared in a world, on average, or the worlds have become idle: about 7,400 are.
const VERIFIED: u64 = 5_000;

#[test]
fn every_seed_keeps_all_promises_and_all_transitions_are_reached() {
    let report = sim::check(&Talks, SEEDS);
    let coverage = Coverage(report.total.transitions);
    println!("{report}\n{coverage}");
    assert!(report.total.verified > SEEDS * VERIFIED, "{} bytes", report.total.verified);
    for (fault, count) in report.total.frames.faults() {
        assert!(count > 0, "no frame was {fault}");
    }
    assert_eq!(coverage.gaps(), [], "missed, or reached against all reason");
}
