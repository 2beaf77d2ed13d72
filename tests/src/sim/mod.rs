//! The simulator: hosts on the smoltcp backend, joined by bad cables, in virtual time; everything comes from one seed.
//!
//! A [`World`] has two or more hosts, each with a cable to one switch. The cables lose, double, delay, reorder and corrupt frames, are
//! slow, are cut for up to two minutes, and are unplugged ([`Faults`], [`Weather`]); at some time all of this heals. Time jumps to the next
//! deadline or arrival. In every run it is checked that
//!
//! - each direction of each connection is, byte for byte, the pseudo-random stream that was sent, and an end of stream comes after all of it;
//! - after the faults have healed, every connection ends with a reason in a stated time; a world in which nothing is going to happen,
//!   or which is polled again and again at one time, has failed; a seed that takes longer than half a minute ends the process;
//! - slots in use equal live connections, and all of them are free some time after the end;
//! - no client port is used twice for the same server;
//! - core allocates nothing after the start (in programs with the [`CountingAllocator`]).
//!
//! [`Talks`] is the project's own scenario. For a service of your own, write a function that fills a world, and give it to [`main`] or
//! [`check`]:
//!
//! ```
//! use socklet::{server::*, service::{Echo, Serve}};
//! use socklet_tests::sim::{self, HostOptions, SimStack, World};
//!
//! fn echo(world: &mut World) {
//!     let [near, far] = [(); 2].map(|()| world.host(HostOptions::default()));
//!     let addr = (world.ip(near), 7).into();
//!     let slots: Vec<_> = (0..4).map(|_| ServerSlot::<SimStack>::EMPTY).collect();
//!     let mut server = Server::new(slots, ServerConfig::default());
//!     server.listen(world.stack(near), addr).unwrap();
//!     world.run_service(near, Serve::new(server, Echo));
//!     for text in ["one", "two", "three"] {
//!         world.exchange(far, addr, text.into(), text.into());
//!     }
//! }
//!
//! sim::check(&echo, 20);
//! ```
//!
//! What a failure prints, a seed and the smallest limits with which it still fails, is replayed by the program itself in the case of `main`,
//! and in that of `check` by the same test with the environment variable `SOCKLET_SIM`.

mod check;
mod command;
mod coverage;
mod exchange;
mod faults;
mod ledger;
mod memory;
mod network;
mod parties;
mod pcap;
mod plan;
mod random;
mod runner;
mod shrink;
mod stream;
mod talk;
#[cfg(test)]
mod tests;
mod watchdog;
mod world;

pub use check::check;
pub use command::{Command, explain, main, table};
pub use coverage::Coverage;
pub use faults::{
    Change, Direction, Faults, LATE, LONGEST_CUT, Lane, Passage, QUEUE, Weather, corrupt, random_weather,
};
pub use ledger::Reasons;
pub use memory::{CountingAllocator, counted, take_count};
pub use network::{FrameCounts, Port, RxToken, TxToken};
pub use parties::Party;
pub use pcap::Tape;
pub use plan::Limits;
pub use random::{Odds, Random};
pub use runner::{Failure, Outcome, Report, Scenario, Talks, run};
pub use shrink::shrink;
pub use stream::Stream;
pub use world::{HostId, HostOptions, World, WorldOptions};

use socklet::smoltcp::SmoltcpStack;

/// The stack of a simulated host.
pub type SimStack = SmoltcpStack<'static, Port>;
