//! Hostile peers: each scenario asserts what it promises, and prints what it measured.

use libtest_mimic::{Arguments, Trial};
use socklet_tests::hostile::SCENARIOS;

fn main() {
    let trials = SCENARIOS.iter().map(|(name, run)| {
        Trial::test(*name, || {
            for figure in run() {
                println!("{}: {} (asserted: {})", figure.scenario, figure.measured, figure.bound);
            }
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
