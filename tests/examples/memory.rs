//! Prints what a connection takes of memory on this machine: the table in the README.
//!
//! `cargo run -p socklet-tests --example memory`

use socklet::connection::Connection;
use socklet::smoltcp::{ConnectionHandle, Slot, Storage};
use socklet::storage::SlabSlot;

fn main() {
    let slot = size_of::<Slot<'_>>();
    let set = size_of::<smoltcp::iface::SocketSet<'_>>();
    let server = size_of::<SlabSlot<Connection<ConnectionHandle>>>();
    let socket = size_of::<smoltcp::iface::SocketStorage<'_>>();
    println!("| part of a connection | octets |");
    println!("|---|---|");
    println!("| socklet: slot of the backend | {} |", slot - set);
    println!("| socklet: slot of the server | {server} |");
    println!("| smoltcp: socket, and the set that holds it | {} |", socket + set);
    println!("| buffers | as given: receive + send |");
    println!();
    println!("| connections | buffers | memory in all |");
    println!("|---|---|---|");
    row::<4, 1024>(server);
    row::<4, 2048>(server);
    row::<8, 2048>(server);
    row::<64, 4096>(server);
}

fn row<const N: usize, const B: usize>(server: usize) {
    let bytes = size_of::<Storage<'_, N, B, B>>() + N * server;
    println!("| {N} | 2 x {B} | {:.1} KiB |", bytes as f64 / 1024.0);
}
