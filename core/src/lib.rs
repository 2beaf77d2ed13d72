//! TCP clients and servers for firmware, in fixed memory.
//!
//! A service is written once, against the trait [`TcpStack`](stack::TcpStack). It runs on the host over ordinary sockets, on a TAP interface
//! over smoltcp, and on a microcontroller. Here is all of an echo server; what differs between the three is the stack that is given to it:
//!
//! ```
//! use core::net::SocketAddr;
//! use socklet::connection::Error;
//! use socklet::server::{Server, ServerConfig, ServerSlot};
//! use socklet::service::{Echo, Serve, Service};
//! use socklet::stack::TcpStack;
//! use socklet::time::{Instant, earliest};
//!
//! fn run<S: TcpStack>(
//!     stack: &mut S,
//!     address: SocketAddr,
//!     now: impl Fn() -> Instant,
//!     sleep_until: impl Fn(Option<Instant>),
//! ) -> Result<(), Error<S::Error>> {
//!     let mut slots = [const { ServerSlot::<S>::EMPTY }; 4]; // four clients at once
//!     let mut server = Server::new(&mut slots[..], ServerConfig::DEFAULT);
//!     server.listen(stack, address)?;
//!     let mut service = Serve::new(server, Echo);
//!     loop {
//!         let service_deadline = service.poll(stack, now());
//!         let stack_deadline = stack.poll(now());
//!         sleep_until(earliest(service_deadline, stack_deadline)); // or until the device or a socket has something
//!     }
//! }
//! ```
//!
//! # The layers
//!
//! From the top down; each knows the one below it, none the one above.
//!
//! | module | what it does |
//! |---|---|
//! | [`service`] | what a main loop runs: [`Echo`](service::Echo), [`Discard`](service::Discard), [`Chargen`](service::Chargen), [`Reply`](service::Reply), or a [`Protocol`](service::Protocol) of one's own |
//! | [`codec`] | bytes to frames and back: lines, length-prefixed, raw |
//! | [`server`] | a listener, its connections in the caller's slots, limits, deadlines, drain |
//! | [`client`] | a connection that is made again after a failure, with backoff and jitter |
//! | [`connection`] | one connection's life, for both: a pure state machine, deadlines, and a reason for every end |
//! | [`stack`] | the boundary: what a TCP stack must offer |
//! | [`tcp`] | a TCP of this crate's own: one connection as a sans-I/O machine; the smoltcp backend does not use it yet |
//! | [`storage`], [`time`] | slots and queues of fixed capacity; time as an argument |
//!
//! Into your firmware: the guide is in the module `guide` (with the feature `smoltcp`).
//!
//! # What holds everywhere
//!
//! - Nothing here does I/O, reads a clock or draws random numbers by itself. Inputs are calls, outputs are returned: events and the next
//!   deadline. `poll` is called until it gives `None`; then the loop sleeps until the deadline.
//! - Memory is the caller's and never grows. A server takes 96 bytes for each connection, beside what the stack keeps.
//! - A byte that `send` took is delivered, or the connection ends with a [`Reason`](connection::Reason) that is not
//!   [orderly](connection::Reason::is_orderly).
//! - Every wait ends: all [`Deadlines`](connection::Deadlines) but one are finite unless they are switched off.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]
#![deny(missing_docs)]

pub mod client;
pub mod codec;
pub mod connection;
#[cfg(feature = "smoltcp")]
pub mod guide;
mod log;
#[cfg(feature = "embedded-nal")]
pub mod nal;
pub mod server;
pub mod service;
#[cfg(feature = "smoltcp")]
pub mod smoltcp;
pub mod stack;
pub mod storage;
#[cfg(feature = "smoltcp")]
pub mod tcp;
pub mod time;

/// Core's own memory for a connection: a slot of the backend, beside the set with smoltcp's socket in it, and one of a server.
#[cfg(feature = "smoltcp")]
const _: () = {
    type Handle = smoltcp::ConnectionHandle;
    let backend = size_of::<smoltcp::Slot<'_>>() - size_of::<::smoltcp::iface::SocketSet<'_>>();
    let server = size_of::<storage::SlabSlot<connection::Connection<Handle>>>();
    assert!(backend + server <= 200);
};
