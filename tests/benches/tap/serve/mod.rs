//! The servers that are compared: each runs in a process of its own, in a network of its own, on one core.

mod embassy;
mod kernel;
mod lwip;
mod smoltcp;
mod socklet;

use super::setup::{Peer, Setup};
use core::error::Error;
use socklet_hosted::sandbox::Sandbox;
use std::io::{Read, Write};
use std::process::exit;

pub(crate) use lwip::build as build_lwip;

/// Serves until standard input ends.
pub(crate) fn run(peer: Peer, setup: Setup) -> Result<(), Box<dyn Error>> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        exit(0);
    });
    match peer {
        Peer::Socklet => socklet::run(setup),
        Peer::Smoltcp => smoltcp::run(setup),
        Peer::Embassy => embassy::run(setup).map(|never| match never {}),
        Peer::Lwip => lwip::run(setup),
        Peer::Kernel => kernel::run(setup),
    }
}

/// Memory that was never written is one page of zeros, which costs nothing to read: writes what is sent, the first time round.
fn make_real(room: &mut [u8]) {
    if room.last() == Some(&0) {
        room.fill(b'x');
    }
}

/// Tells the bench where the client's network is.
fn announce(clients: &Sandbox) {
    let thread = clients.run(rustix::thread::gettid).as_raw_nonzero();
    println!("/proc/{}/task/{thread}/ns/net", std::process::id());
    let _ = std::io::stdout().flush();
}
