//! The TCP machine: one connection in fixed memory (RFC 9293), without I/O, clock or allocation.
//!
//! A [`Tcb`] is a transmission control block with its buffers. Segments and the time go in, segments and a deadline come out:
//!
//! ```text
//! on_segment(now, header, payload)      whenever a segment of the connection has come
//! poll_transmit(now, most, emit)        after that, after the user's calls, and at the deadline: until it gives `None`
//! next_deadline()                       when to call `poll_transmit` next, if nothing else happens
//! ```
//!
//! The machine knows neither devices nor addresses; which segment belongs to which connection, listening, and sequence numbers that nobody
//! can foretell are the backend's. It is not generic: its code is in an image once.
//!
//! ```
//! use socklet::tcp::{Ecn, Hole, Memory, Options, Run, Seq, State, Tcb};
//! use socklet::time::Instant;
//!
//! // Buffers, and memory for what is out of order and in flight: on firmware, statics.
//! let (mut bytes, mut holes, mut runs) = ([[0; 4096]; 4], [[Hole::EMPTY; 4]; 2], [[Run::EMPTY; 12]; 2]);
//! let ([a, b, c, d], [e, f], [g, h]) = (&mut bytes, &mut holes, &mut runs);
//! let mut client = Tcb::new(Memory::borrow(a, b, e, g));
//! let mut server = Tcb::new(Memory::borrow(c, d, f, h));
//! let (options, now) = (Options::new(1460), Instant::from_secs(1));
//!
//! client.connect(Seq(1_000), 0, &options);
//! client.poll_transmit(now, 1460, |syn| server.accept(now, Seq(9_000), 0, &options, &syn.header));
//! server.poll_transmit(now, 1460, |syn_ack| client.on_segment(now, &syn_ack.header, &[], Ecn::NotCapable));
//! client.send(b"hello");
//! while client
//!     .poll_transmit(now, 1460, |segment| server.on_segment(now, &segment.header, segment.payload[0], Ecn::NotCapable))
//!     .is_some()
//! {}
//! assert_eq!(server.state(), State::Established);
//! assert_eq!(server.recv_with(|bytes| (bytes.len(), bytes == b"hello")), Some(true));
//! ```
//!
//! # Where what is
//!
//! | file | what |
//! |---|---|
//! | `tcb` | the connection: its states, the calls of its user, its clocks |
//! | `segment` | what a segment does (RFC 9293, section 3.10.7; RFC 5961) |
//! | `transmit` | what leaves next, and its header |
//! | `receiver`, `reassembly` | the receive buffer, the window offered, acknowledgements, SACK (RFC 2018, RFC 2883) |
//! | `sender`, `plan` | the send buffer, the peer's window, retransmission (RFC 6298, RFC 8985), pacing |
//! | `scoreboard` | what is known of the bytes in flight |
//! | `congestion` | the congestion window: CUBIC (RFC 9438), NewReno, HyStart++ (RFC 9406), PRR (RFC 6937) |
//! | `rtt` | round-trip time and timeout |
//! | `header`, `seq`, `ring` | the bytes of a header, sequence numbers, a ring of bytes |

mod congestion;
mod header;
mod options;
mod path;
mod plan;
mod reassembly;
mod receiver;
mod ring;
mod rtt;
mod scoreboard;
mod segment;
mod sender;
mod seq;
mod statistics;
mod tcb;
#[cfg(test)]
mod tests;
mod transmit;

pub use header::{Flags, Header, MAX_SACK_BLOCKS, Ports, Timestamp};
pub use options::{Ecn, Options};
pub use reassembly::Hole;
pub use scoreboard::Run;
pub use seq::Seq;
pub use statistics::Statistics;
pub use tcb::{CookieOffer, End, Memory, State, Tcb};
pub use transmit::Transmit;

/// Microseconds since the caller's origin: a bare number, as a `Duration` takes 64-bit divisions to make.
type Micros = u64;

/// No deadline.
const NEVER: Micros = Micros::MAX;
