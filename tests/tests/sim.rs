//! The simulator's seeds.

use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Discard, Serve};
use socklet_tests::sim::{self, CountingAllocator, Coverage, HostOptions, SimStack, Talks, World};
use std::panic::{catch_unwind, resume_unwind};
use std::process::Command;

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

/// A service of somebody's, and a client that is right to complain of it.
fn unanswered(world: &mut World) {
    let [near, far] = [(); 2].map(|()| world.host(HostOptions::default()));
    let slots: Vec<_> = (0..4).map(|_| ServerSlot::<SimStack>::EMPTY).collect();
    let mut server = Server::new(slots, ServerConfig::default());
    let addr = (world.ip(near), 7).into();
    server.listen(world.stack(near), addr).expect("a free port");
    world.run_service(near, Serve::new(server, Discard));
    for _ in 0..3 {
        world.exchange(far, addr, "how are you?".into(), "well".into());
    }
}

const FINDING: &str = "a reply ended in good order after 0 of 4 bytes";

/// What a shell's command says that fails, as it must.
fn output(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "{command}\n{text}");
    text
}

#[test]
fn a_failure_of_a_user_s_world_is_replayed_by_the_commands_that_it_prints() {
    let panic = catch_unwind(|| sim::check(&unanswered, 5)).expect_err("a failure");
    if std::env::var_os("SOCKLET_SIM").is_some() {
        // This is the replay, by this very test.
        resume_unwind(panic);
    }
    let text = panic.downcast_ref::<String>().expect("a text");
    assert!(text.contains(&format!(" fails: {FINDING}")), "{text}");
    for kind in ["replay:", "smallest:"] {
        let command = text.lines().find_map(|line| line.strip_prefix(kind)).expect("a command").trim();
        let seed = command.split("--seed ").nth(1).and_then(|rest| rest.split([' ', '\'']).next());
        let told = format!("seed {}: {FINDING}", seed.expect("a seed"));
        let again = output(command);
        assert!(again.contains(&told), "{command}\n{again}");
    }
    let smallest = text.lines().find(|line| line.starts_with("smallest:")).expect("a command");
    assert!(smallest.contains("--clients 1 ") && !smallest.contains("--bytes"), "{smallest}");
}
