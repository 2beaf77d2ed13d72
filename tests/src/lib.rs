//! The conformance suite for [`TcpStack`](socklet::stack::TcpStack): one list of behaviours, for every stack.
//!
//! A stack of your own (a W5500, a modem) is tried like this: give it a [`World`], two hosts of which at least one
//! runs your stack, and name it in a test file. Each behaviour becomes a `#[test]`, once over IPv4 and once over IPv6.
//!
//! ```
//! use socklet_tests::{IpVersion, conformance, worlds::IdealWorld};
//!
//! conformance!(ideal, |version: IpVersion| IdealWorld::new(version));
//! # fn main() {}
//! ```
//!
//! Where a stack's [`Capabilities`](socklet::stack::Capabilities) say that it cannot do a thing, the suite asserts that it
//! answers `Unsupported`. [`ideal`] is a stack without packets that does all of it: a model to read, and to try the suite on.

#![warn(missing_docs)]

pub mod behaviours;
pub mod cable;
pub mod fuzz;
mod host;
pub mod hostile;
pub mod ideal;
mod pattern;
mod run;
pub mod sim;
mod table;
mod testbed;
mod verbs;
pub mod worlds;

pub use host::{ConnectionNo, Host, ListenerNo, Outcome, Stack};
pub use pattern::{CHUNK, Pattern};
pub use run::run;
pub use table::{BEHAVIOURS, Behaviour};
pub use testbed::{Facts, IpVersion, Side, Socket, Testbed, World, fails, stream_bytes};

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
