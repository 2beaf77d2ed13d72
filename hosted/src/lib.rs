//! What socklet needs an operating system for.
#![deny(missing_docs)]

#[cfg(unix)]
pub mod os;
