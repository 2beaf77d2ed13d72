//! Notices a world that loops inside a service, which nothing in it can bound.

use super::command::arguments;
use super::plan::Limits;
use super::runner::Scenario;
use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A seed takes milliseconds; one that runs for so long, in real time, does not end.
const STUCK: Duration = Duration::from_secs(30);

/// Between two looks: a short test does not wait for longer than this.
const LOOK: Duration = Duration::from_millis(5);

/// The seeds that are running, and since when.
#[derive(Debug, Default)]
pub(super) struct Watchdog(Mutex<HashMap<u64, Instant>>);

impl Watchdog {
    /// Runs something with a seed.
    pub(super) fn watch<R>(&self, seed: u64, run: impl FnOnce() -> R) -> R {
        self.0.lock().expect("nobody panics").insert(seed, Instant::now());
        let result = run();
        self.0.lock().expect("nobody panics").remove(&seed);
        result
    }

    /// Looks until all are done. A thread cannot be stopped from outside, so that one seed which is stuck ends the process.
    pub(super) fn guard(&self, scenario: &impl Scenario, limits: &Limits, done: impl Fn() -> bool) {
        while !done() {
            if let Some(seed) = self.stuck() {
                // Not through the test harness, which would keep it to itself.
                let line = scenario.replay(&arguments(seed, limits));
                let text =
                    format!("seed {seed} has been running for longer than {STUCK:?}\nreplay:   {line}\n");
                let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
                std::process::exit(1);
            }
            thread::sleep(LOOK);
        }
    }

    fn stuck(&self) -> Option<u64> {
        let running = self.0.lock().expect("nobody panics");
        running.iter().find(|(_, since)| since.elapsed() > STUCK).map(|(seed, _)| *seed)
    }
}
