//! TCP clients and servers for firmware, in fixed memory.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod client;
pub mod codec;
pub mod connection;
#[cfg(feature = "embedded-nal")]
pub mod nal;
pub mod server;
pub mod service;
#[cfg(feature = "smoltcp")]
pub mod smoltcp;
pub mod stack;
pub mod storage;
pub mod time;
