//! Traces: a peer by hand against one machine, and machines against each other over a bad cable in virtual time.

#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges, of which there is one")]

mod hostile;
mod loss;
mod pair;
mod paths;
mod script;
mod states;
mod windows;

use super::*;
use crate::time::Instant;

/// Returns memory that a test does not have to name.
fn memory(receive: usize, send: usize, holes: usize, runs: usize) -> Memory<'static> {
    fn leak<T: Clone>(value: T, count: usize) -> &'static mut [T] {
        Box::leak(vec![value; count].into_boxed_slice())
    }
    Memory::borrow(leak(0, receive), leak(0, send), leak(Hole::EMPTY, holes), leak(Run::EMPTY, runs))
}
