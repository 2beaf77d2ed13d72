//! The conformance suite over smoltcp on a TAP interface, against the Linux kernel, in both roles.
//!
//! It has a `main` of its own, because a process without privileges can enter the sandbox only while it has one thread.

use libtest_mimic::{Arguments, Trial};
use socklet_hosted::sandbox;
use socklet_tests::{BEHAVIOURS, Behaviour, IpVersion, Side, run, worlds::TapWorld};

fn trial(&(name, behaviour): &Behaviour, side: Side, version: IpVersion) -> Trial {
    let name = format!("smoltcp_on_tap_as_{side:?}::ip{version:?}::{name}").to_lowercase();
    Trial::test(name, move || {
        run(Box::new(move || Box::new(TapWorld::new(version, side))), behaviour);
        Ok(())
    })
}

pub(crate) fn main() {
    let mut arguments = Arguments::from_args();
    // They wait for one another's packets more than they compute.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    if let Err(error) = sandbox::enter() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let mut trials = Vec::new();
    for side in [Side::Server, Side::Client] {
        for version in [IpVersion::V4, IpVersion::V6] {
            trials.extend(BEHAVIOURS.iter().map(|behaviour| trial(behaviour, side, version)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
