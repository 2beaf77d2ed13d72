//! Many seeds on all cores.

use super::faults::LONGEST_CUT;
use super::ledger::Reasons;
use super::network::FrameCounts;
use super::pcap::Tape;
use super::plan::{Limits, PATIENCE, Plan};
use super::watchdog::Watchdog;
use super::world::{World, WorldOptions};
use core::fmt::{self, Display};
use core::ops::Range;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use socklet::connection::Transitions;
use socklet::time::{Duration, Instant};
use std::panic::catch_unwind;
use std::sync::{Mutex, Once};
use std::thread;

/// What a run that kept all promises has done.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Connections that were open at a client.
    pub connections: u64,
    /// Bytes received and compared.
    pub verified: u64,
    /// How the ends of connections went.
    pub reasons: Reasons,
    /// The (state, input) pairs that connections were through.
    pub transitions: Transitions,
    /// Frames.
    pub frames: FrameCounts,
    /// Virtual time.
    pub elapsed: Duration,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.verified += other.verified;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(*reason).or_default() += count;
        }
        self.transitions.merge(&other.transitions);
        self.frames.add(&other.frames);
        self.elapsed += other.elapsed;
    }
}

/// Something that is run with a seed.
pub trait Scenario: Sync {
    /// Runs it. Records frames on the tape if there is one.
    ///
    /// # Errors
    /// A sentence on the first promise that was not kept.
    fn run(&self, seed: u64, limits: &Limits, tape: Option<&mut Tape>) -> Result<Outcome, String>;

    /// A program that replays seeds and heeds limits, wherever they failed, up to its arguments. `None`: only the program where they failed.
    fn command(&self) -> Option<String> {
        None
    }

    /// The command that replays with these arguments of a [`Command`](super::Command).
    fn replay(&self, arguments: &str) -> String {
        format!("{} {arguments}", self.command().unwrap_or_else(this_program))
    }

    /// Whether it heeds [`Limits::bytes`]; the others it must heed.
    fn heeds_bytes(&self) -> bool {
        true
    }

    /// What there is to know of a seed, for who looks into a failure.
    fn describe(&self, seed: u64, limits: &Limits) -> String {
        let _ = (seed, limits);
        String::new()
    }
}

/// Where this program is.
pub(super) fn this_program() -> String {
    std::env::current_exe().map_or_else(|_| "this program".into(), |path| path.display().to_string())
}

/// Random talk between clients and a server of this crate's: the project's own scenario.
#[derive(Debug, Clone, Copy)]
pub struct Talks;

impl Scenario for Talks {
    fn run(&self, seed: u64, limits: &Limits, tape: Option<&mut Tape>) -> Result<Outcome, String> {
        let plan = Plan::random(seed, limits, tape.is_some());
        let mut world = plan.build();
        finish(&mut world, PATIENCE, plan.bound(), tape)
    }

    fn command(&self) -> Option<String> {
        Some("cargo run --release -p socklet-tests --bin sim --".into())
    }

    fn describe(&self, seed: u64, limits: &Limits) -> String {
        format!("{:#?}", Plan::random(seed, limits, false))
    }
}

/// When faults heal in a user's scenario.
const HEAL: Instant = Instant::from_secs(60);

/// A user's scenario: it fills the world that it is given, which heeds the limits. Only of bytes it knows nothing: what a reply to half a
/// request would be.
impl<F: Fn(&mut World) + Sync> Scenario for F {
    fn run(&self, seed: u64, limits: &Limits, tape: Option<&mut Tape>) -> Result<Outcome, String> {
        let heal = limits.heal_ms.map_or(HEAL, |limit| HEAL.min(Instant::from_millis(limit)));
        let record = tape.is_some();
        let mut world = World::new(WorldOptions { seed, mtu: 1500, ipv6: seed % 4 == 3, heal, record });
        world.heed(*limits);
        self(&mut world);
        finish(&mut world, SUCCESS, SUCCESS + Duration::from_secs(60), tape)
    }

    fn heeds_bytes(&self) -> bool {
        false
    }
}

/// How long after the healing a client's exchange must have succeeded: the server may have to find out first (idle deadline, 5 minutes) that
/// clients are gone which hold its slots, and the client waits for a minute at most between attempts.
const SUCCESS: Duration = Duration::from_secs(300 + 60 + 2 * LONGEST_CUT.as_secs());

fn finish(
    world: &mut World,
    patience: Duration,
    bound: Duration,
    tape: Option<&mut Tape>,
) -> Result<Outcome, String> {
    let result = catch_unwind(AssertUnwindSafe(|| world.run(patience, bound)));
    if let Some(tape) = tape {
        *tape = world.tape().unwrap_or_default();
    }
    result.unwrap_or_else(|panic| Err(format!("panic: {}", text_of(&*panic))))
}

fn text_of(panic: &(dyn core::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let place = PLACE.take();
    format!("{} at {place}", text.unwrap_or("without a text"))
}

thread_local! {
    static PLACE: core::cell::RefCell<String> = const { core::cell::RefCell::new(String::new()) };
}

/// A panic in a world is a finding, not a message.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some(WORKER) {
                PLACE.set(info.location().map(ToString::to_string).unwrap_or_default());
            } else {
                print(info);
            }
        }));
    });
}

const WORKER: &str = "sim";

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In the world of this seed,
    pub seed: u64,
    /// within these limits,
    pub limits: Limits,
    /// this one.
    pub finding: String,
}

/// What many seeds have done.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many.
    pub seeds: u64,
    /// All of them together.
    pub total: Outcome,
    /// Real time.
    pub took: Duration,
    /// The first failure that was met; no more seeds are begun after it.
    pub failure: Option<Failure>,
}

/// Runs `scenario` with each seed, on all cores. `progress` is called now and then with the number of seeds that are done.
pub fn run(
    scenario: &impl Scenario,
    seeds: Range<u64>,
    limits: Limits,
    progress: impl Fn(u64) + Sync,
) -> Report {
    keep_panics_quiet();
    let start = std::time::Instant::now();
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (total, failure, done) = (Mutex::new(Outcome::default()), Mutex::new(None), AtomicU64::new(0));
    let watchdog = Watchdog::default();
    let work = || {
        let mut own = Outcome::default();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match watchdog.watch(seed, || scenario.run(seed, &limits, None)) {
                Ok(outcome) => own.add(&outcome),
                Err(finding) => {
                    stop.store(true, Ordering::Relaxed);
                    let found = Failure { seed, limits, finding };
                    failure.lock().expect("nobody panics").get_or_insert(found);
                }
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        total.lock().expect("nobody panics").add(&own);
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..thread::available_parallelism().map_or(1, usize::from))
            .map(|_| thread::Builder::new().name(WORKER.into()).spawn_scoped(scope, work).expect("a thread"))
            .collect();
        watchdog.guard(scenario, &limits, || workers.iter().all(thread::ScopedJoinHandle::is_finished));
    });
    let total = total.into_inner().expect("nobody panics");
    let failure = failure.into_inner().expect("nobody panics");
    Report { seeds: done.into_inner(), total, took: start.elapsed(), failure }
}

/// Runs one seed on a thread of its own.
pub(super) fn run_one(
    scenario: &impl Scenario,
    seed: u64,
    limits: &Limits,
    tape: Option<&mut Tape>,
) -> Result<Outcome, Failure> {
    keep_panics_quiet();
    let watchdog = Watchdog::default();
    let result = thread::scope(|scope| {
        let run = || watchdog.watch(seed, || scenario.run(seed, limits, tape));
        let thread = thread::Builder::new().name(WORKER.into()).spawn_scoped(scope, run).expect("a thread");
        watchdog.guard(scenario, limits, || thread.is_finished());
        thread.join().expect("nobody panics")
    });
    result.map_err(|finding| Failure { seed, limits: *limits, finding })
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { connections, verified, reasons, frames, elapsed, .. } = &self.total;
        let (seconds, mib) = (self.took.as_secs_f64(), *verified as f64 / f64::from(1 << 20));
        writeln!(
            f,
            "{} seeds in {seconds:.1} s ({:.0} seeds/s): {connections} connections, {mib:.1} MiB verified ({:.1} MiB/s), \
             {} frames sent, {:.1} days of virtual time",
            self.seeds,
            self.seeds as f64 / seconds,
            mib / seconds,
            frames.sent,
            elapsed.as_secs_f64() / 86_400.0,
        )?;
        let faults = frames.faults().map(|(fault, count)| format!("{count} {fault}"));
        writeln!(f, "frames: {}", faults.join(", "))?;
        let mut reasons: Vec<_> = reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| core::cmp::Reverse(**count));
        for (reason, count) in reasons {
            writeln!(f, "{count:>10}  {reason}")?;
        }
        Ok(())
    }
}
