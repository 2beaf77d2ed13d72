//! socklet against Linux's TCP over a bad cable, in real time: the simulator's faults between two TAP interfaces in two private networks.
//!
//! ```text
//!   network A                                              network B
//!   Linux's TCP -- TAP -- (descriptor) relay (descriptor) -- TAP -- packet socket -- smoltcp, socklet
//! ```
//!
//! The relay holds the descriptors of both TAPs, so neither end notices when the other's process is killed. Each party is a process of its
//! own: this program again, told in its arguments what to be. It checks every byte that it receives, and says what happens on its output.

mod exchange;
mod party;
mod relay;
mod wire;

use core::time::Duration;
use libtest_mimic::{Arguments, Trial};
use party::Role;
use socklet::connection::Reason;
use socklet_hosted::sandbox;
use socklet_tests::sim::Faults;
use std::time::Instant;
use wire::{Party, Wire};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Every wait in a trial ends with this.
const LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "party") {
        return party::main(&arguments[1..]);
    }
    if let Err(error) = sandbox::enter() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let mut trials = Vec::new();
    for (side, name) in [(Role::Server, "server"), (Role::Client, "client")] {
        // The worse the cable, the longer a byte takes.
        for (percent, bytes) in [(0, 8 * MIB), (1, 2 * MIB), (5, 512 * KIB), (15, 96 * KIB), (30, 16 * KIB)] {
            let title = format!("socklet_as_{name}_at_{percent}_percent_loss");
            trials.push(trial(&title, move |seed| streams(side, percent, bytes, seed)));
        }
        trials.push(trial(&format!("socklet_as_{name}_while_the_link_flaps"), move |seed| flaps(side, seed)));
        let title = format!("socklet_as_{name}_is_killed_and_comes_back");
        trials.push(trial(&title, move |seed| killed(side, side, seed)));
        let title = format!("linux_is_killed_and_comes_back_with_socklet_as_{name}");
        trials.push(trial(&title, move |seed| killed(side, side.other(), seed)));
    }
    trials.push(trial("a_syn_flood_keeps_no_honest_client_out", flood));
    let mut arguments = Arguments::from_args();
    // Most of the time is waiting.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    libtest_mimic::run(&arguments, trials).exit();
}

/// The seed is the same each time; `SOCKLET_SEED` gives another.
fn trial(name: &str, body: impl FnOnce(u64) + Send + 'static) -> Trial {
    let seed =
        std::env::var("SOCKLET_SEED").map_or(1, |seed| seed.parse().expect("SOCKLET_SEED is a number"));
    Trial::test(name, move || {
        body(seed);
        Ok(())
    })
}

/// So many percent are lost, and as many again arrive twice or late.
fn faults(percent: u32) -> Faults {
    let odds = percent * 100;
    Faults {
        loss: odds,
        duplication: odds / 2,
        reordering: odds / 2,
        corruption: odds / 4,
        delay: Duration::from_millis(1),
        ..Faults::default()
    }
}

/// Both directions at once, and each byte is the right one.
fn streams(socklet: Role, percent: u32, bytes: u64, seed: u64) {
    let mut wire = Wire::new(&format!("{percent} % loss, seed {seed}"), seed);
    wire.set(faults(percent));
    let mut pair = wire.pair(socklet, bytes);
    pair.both("done", LIMIT);
    pair.client.expect("end", LIMIT);
    let frames = wire.frames();
    if percent > 0 {
        assert!(frames.lost > 0 && frames.late > 0 && frames.twice > 0, "the cable was not bad: {frames:?}");
    }
    eprintln!("{percent} % loss, {} KiB each way: {frames:?}", bytes / KIB);
}

/// The plug is pulled and put in again, for longer than a retransmission takes, while bytes are on their way.
fn flaps(socklet: Role, seed: u64) {
    let mut wire = Wire::new(&format!("flaps, seed {seed}"), seed);
    wire.set(faults(1));
    let mut pair = wire.pair(socklet, 2 * MIB);
    for times in 1..=3 {
        pair.client.expect("some", LIMIT);
        wire.plug(false);
        std::thread::sleep(Duration::from_millis(300 * times));
        wire.plug(true);
    }
    pair.both("done", LIMIT);
    assert!(wire.frames().unplugged > 0, "no frame was sent while the plug was out");
}

/// One party is killed in mid-stream, and started again on the same port at once. The other learns of it, and the next stream is whole.
fn killed(socklet: Role, victim: Role, seed: u64) {
    let mut wire = Wire::new(&format!("{victim:?} killed, seed {seed}"), seed);
    wire.set(faults(1));
    // More than can be through by then.
    let mut pair = wire.pair(socklet, 1024 * MIB);
    pair.client.expect("some", LIMIT);
    pair.server.expect("some", LIMIT);
    match victim {
        Role::Server => {
            pair.server.kill();
            pair.server = wire.server(socklet);
            pair.client.expect("end", LIMIT);
            pair.client = wire.client(socklet, 256 * KIB);
            pair.both("done", LIMIT);
        }
        Role::Client => {
            pair.client.kill();
            pair.client = wire.client(socklet, 256 * KIB);
            // Of the old connection and the new one: which comes first is open.
            pair.server.expect_each(&[is_done, is_early_end], LIMIT);
            pair.client.expect("done", LIMIT);
        }
    }
}

fn is_done(line: &str) -> bool {
    line.starts_with("done")
}

/// A connection ended, and not in good order, as Linux or a `Reason` has it.
fn is_early_end(line: &str) -> bool {
    let orderly = [
        "end in good order".to_owned(),
        format!("end {}", Reason::PeerClosed),
        format!("end {}", Reason::Finished),
    ];
    line.starts_with("end") && !orderly.iter().any(|orderly| line == orderly)
}

/// 10,000 SYN/s against eight slots, four of which carry streams. How fast those stay is for the hostile suite, whose time is virtual.
fn flood(seed: u64) {
    const RATE: u64 = 10_000;
    const SECONDS: u64 = 3;
    let mut wire = Wire::new(&format!("SYN flood, seed {seed}"), seed);
    let _server = wire.server(Role::Server);
    let mut streams: Vec<Party> = (0..4).map(|_| wire.client(Role::Server, 1024 * MIB)).collect();
    for stream in &mut streams {
        stream.expect("some", LIMIT);
    }
    wire.flood(RATE);
    let before: Vec<u64> = streams.iter_mut().map(Party::received).collect();
    let start = Instant::now();
    let mut visitors = 0;
    // For so long, and for so many SYNs: on a busy machine the flood is slower, and no less of one.
    let go_on = |during: &[u64]| before.iter().zip(during).any(|(before, during)| before >= during);
    let (mut flooded, mut during) = (0, before.clone());
    while start.elapsed() < Duration::from_secs(SECONDS) || flooded < RATE * SECONDS || go_on(&during) {
        assert!(start.elapsed() < LIMIT, "{flooded} SYNs; a stream stood still: {before:?} {during:?}");
        wire.client(Role::Server, 4 * KIB).expect("done", LIMIT);
        visitors += 1;
        flooded = wire.frames().flooded;
        during = streams.iter_mut().map(Party::received).collect();
    }
    wire.flood(0);
    wire.client(Role::Server, 4 * KIB).expect("done", LIMIT);
    eprintln!("{visitors} honest clients during a flood of {flooded} SYNs");
}
