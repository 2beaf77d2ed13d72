//! What socklet needs an operating system for: a service that was written for firmware, run and tried at the desk.
//!
//! The service knows only the trait [`TcpStack`](socklet::stack::TcpStack). Here are the stacks to run it on, and the loop that runs it:
//!
//! | module | what it does |
//! |---|---|
//! | [`driver`] | the loop: polls service and stack, sleeps until something comes or is due, drains on Ctrl-C and SIGTERM |
//! | [`os`] | the trait on the operating system's sockets, through epoll or kqueue |
//! | [`nal_std`] | the trait on std-embedded-nal, through core's adapter: the proof of that adapter |
//! | `tap` (Linux) | a `smoltcp::phy::Device` on a TAP or TUN interface, with the kernel's offloads: for [`SmoltcpStack`](socklet::smoltcp::SmoltcpStack) |
//! | `sandbox` (Linux) | a private network with a TAP interface in it, made by the process itself, without sudo where the system allows it |
//! | [`relay`] | carries connections from the caller's network into a sandbox, and out of it |
//! | [`service`] | services that need memory of their own: chat, a pipe between a connection and standard input and output |
//! | [`text`] | UTF-8 and GBK, in pieces as they come from a stream |
//! | [`pcap`] | a packet capture that can be read while it is written |
//!
//! The same echo server on a TAP interface, on the system's sockets and on a microcontroller is in the repository's README. The command `socklet` of this
//! package is made of nothing else.
//!
//! Unsafe code is in the few functions of `tap`, `os` and `nal_std` that say why; everything else denies it.
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
