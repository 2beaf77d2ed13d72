//! What socklet needs an operating system for.
#![deny(missing_docs, unsafe_code)]

#[cfg(unix)]
pub mod driver;
#[cfg(unix)]
pub mod nal_std;
#[cfg(unix)]
pub mod os;
pub mod pcap;
#[cfg(unix)]
pub mod relay;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod service;
#[cfg(target_os = "linux")]
pub mod tap;
pub mod text;
