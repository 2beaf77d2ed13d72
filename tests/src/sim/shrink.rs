//! Makes a failure small: less time with faults, fewer clients, fewer bytes, fewer kinds of fault.

use super::plan::Limits;
use super::runner::{Failure, Scenario, run_one};

/// The smallest limits that are found under which the seed still fails.
pub fn shrink(scenario: &impl Scenario, failure: &Failure) -> Failure {
    let mut best = failure.clone();
    let mut attempt = |best: &mut Failure, limits: Limits| {
        let found = run_one(scenario, best.seed, &limits, None).err();
        let fails = found.is_some();
        if let Some(found) = found {
            *best = found;
        }
        fails
    };
    for bit in 0..Limits::KINDS.len() {
        let limits = Limits { without: best.limits.without | 1 << bit, ..best.limits };
        attempt(&mut best, limits);
    }
    let bisect = |best: &mut Failure,
                  attempt: &mut dyn FnMut(&mut Failure, Limits) -> bool,
                  set: fn(&mut Limits, u64),
                  most| {
        let (mut low, mut high) = (0, most);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut limits = best.limits;
            set(&mut limits, middle);
            if attempt(best, limits) { high = middle } else { low = middle + 1 }
        }
    };
    bisect(&mut best, &mut attempt, |limits, clients| limits.clients = Some(clients.max(1)), 64);
    if scenario.heeds_bytes() {
        bisect(&mut best, &mut attempt, |limits, bytes| limits.bytes = Some(bytes), 1 << 20);
    }
    bisect(&mut best, &mut attempt, |limits, millis| limits.heal_ms = Some(millis), 200_000);
    best
}
