//! A program that uses all of core: what `tests/no_panics` looks at.

use core::hint::black_box;
use socklet::client::{Client, ClientConfig};
use socklet::server::{Server, ServerConfig};
use socklet::service::{Chargen, Discard, Echo, Protocol, Reply, Serve, Service};
use socklet::stack::TcpStack;
use socklet::time::{Duration, Instant};
use socklet_tests::fuzz;
use socklet_tests::hostile::{Rig, Stack};

fn main() {
    let data: Vec<u8> = std::env::args().skip(1).flat_map(String::into_bytes).collect();
    // The server with every call on it, the codecs, and both adapters.
    for target in [fuzz::frames, fuzz::calls, fuzz::codecs, fuzz::adapter] {
        target(black_box(&data));
    }
    let mut rig = Rig::new(4, 2048, ServerConfig::default());
    serve(&mut rig, Echo);
    serve(&mut rig, Discard);
    serve(&mut rig, Chargen);
    serve(&mut rig, Reply::new(black_box(b"text")));
    connect(&mut rig);
}

fn serve(rig: &mut Rig, protocol: impl Protocol<Stack>) {
    let storage: Vec<_> = (0..4).map(|_| Default::default()).collect();
    let mut service = Serve::new(Server::new(storage, ServerConfig::default()), protocol);
    let _ = black_box(service.poll(&mut rig.stack, rig.now));
    service.drain(&mut rig.stack, rig.now, Duration::ZERO);
    black_box((service.is_drained(), rig.stack.poll(rig.now)));
}

fn connect(rig: &mut Rig) {
    let mut client =
        Client::new(black_box("10.0.0.2:7".parse().expect("an address")), ClientConfig::default(), 1);
    while let Some(event) = client.poll(&mut rig.stack, Instant::from_secs(1)) {
        black_box(event);
    }
    let mut buffer = [0; 8];
    let _ = black_box((client.send(&mut rig.stack, &buffer), client.recv(&mut rig.stack, &mut buffer)));
    let _ = black_box((client.shutdown(&mut rig.stack), client.close(&mut rig.stack), client.deadline()));
    client.stop();
}
