//! What socklet needs an operating system for.
#![deny(missing_docs, unsafe_code)]

#[cfg(unix)]
pub mod nal_std;
#[cfg(unix)]
pub mod os;
#[cfg(target_os = "linux")]
pub mod sandbox;
#[cfg(target_os = "linux")]
pub mod tap;
pub mod text;
