//! A program that uses all of core: what `tests/no_panics` looks at.

use core::hint::black_box;
use core::net::{IpAddr, SocketAddr};
use socklet::client::{Client, ClientConfig};
use socklet::connection::{
    Deadlines, Input, InputKind, Progress, Reason, State, StateKind, Transitions, step,
};
use socklet::nal::{FromNal, NalOptions, OnEnd, OnZero, ToNal};
use socklet::server::{Server, ServerConfig};
use socklet::service::{Chargen, Discard, Echo, Protocol, Reply, Serve, Service};
use socklet::smoltcp::{ConnectionHandle, Memory, Storage};
use socklet::stack::{Backpressure, ConnectOptions, ListenOptions, Readiness, TcpStack};
use socklet::storage::{Id, Link, Linked, List, Slab};
use socklet::time::{Duration, Instant, Monotonic, earliest};
use socklet_tests::fuzz;
use socklet_tests::hostile::{Rig, Stack};

fn main() {
    let data: Vec<u8> = std::env::args().skip(1).flat_map(String::into_bytes).collect();
    // The server with every call on it, the codecs, and both adapters.
    for target in [fuzz::frames, fuzz::calls, fuzz::codecs, fuzz::adapter] {
        target(black_box(&data));
    }
    let mut rig = Rig::new(4, 2048, server_config());
    serve(&mut rig, Echo);
    serve(&mut rig, Discard);
    serve(&mut rig, Chargen);
    serve(&mut rig, Reply::new(black_box(b"text")));
    relay(&mut rig);
    connect(&mut rig);
    machine();
    slab();
    list();
    clock();
    backend(&mut rig);
    adapters(rig.stack);
}

fn address() -> SocketAddr {
    black_box("10.0.0.2:7".parse().expect("an address"))
}

fn limit() -> Option<Duration> {
    black_box(Some(Duration::from_secs(1)))
}

fn deadlines() -> Deadlines {
    let progress = Progress { bytes: black_box(1), period: Duration::from_secs(1) };
    black_box(Deadlines::NONE)
        .with_first_byte(limit())
        .with_idle(limit())
        .with_write_stall(limit())
        .with_progress(black_box(Some(progress)))
        .with_drain(limit())
}

fn listen_options() -> ListenOptions {
    ListenOptions::backlog(black_box(4)).with_backpressure(black_box(Backpressure::Refuse))
}

fn connect_options() -> ConnectOptions {
    black_box(ConnectOptions::default())
        .with_timeout(limit())
        .with_local_port(black_box(50_000))
        .with_local_addr(black_box(IpAddr::from([10, 0, 0, 1])))
}

fn server_config() -> ServerConfig {
    black_box(ServerConfig::default())
        .with_listen(listen_options())
        .with_deadlines(deadlines())
        .with_per_peer(black_box(Some(3)))
}

fn serve(rig: &mut Rig, protocol: impl Protocol<Stack>) {
    let storage: Vec<_> = (0..4).map(|_| Default::default()).collect();
    let server = Server::new(storage, server_config()).with_holdback(vec![0; black_box(64)]);
    let mut service = Serve::new(server, protocol).observed_by(());
    let _ = black_box(service.poll(&mut rig.stack, rig.now));
    service.drain(&mut rig.stack, rig.now, Duration::ZERO);
    black_box((service.is_drained(), rig.stack.poll(rig.now)));
}

/// What the services do not call.
fn relay(rig: &mut Rig) {
    rig.open(2000);
    let Rig { service: Serve { server, .. }, stack, .. } = rig;
    let ids: Vec<Id> = black_box(server.ids().collect());
    for id in ids {
        let _ = black_box((server.relay(stack, id, id), server.relay_tapped(stack, id, id, |_| {})));
        let _ = black_box(server.send_with(stack, id, |room| room.len().min(black_box(1))));
        let _ = black_box(server.recv_with(stack, id, |bytes| (black_box(bytes.len()), ())));
        let _ = black_box((server.local(stack, id), server.peer(stack, id), server.unsent(stack, id)));
        server.set_word(id, black_box(1));
        server.wake(id);
        black_box((server.word(id), server.state(id), server.traffic(id), server.handle(id)));
        let _ = black_box((server.shutdown(stack, id), server.abort(id), server.close(stack, id)));
    }
    let _ = black_box((server.local_addr(stack), server.listen(stack, address())));
    black_box((server.id_at(black_box(0)), server.capacity(), server.is_empty(), server.stats()));
    black_box((server.config(), server.transitions(), server.deadline(), server.is_drained()));
    rig.turn();
}

fn connect(rig: &mut Rig) {
    let config = black_box(ClientConfig::default())
        .with_connect(connect_options())
        .with_deadlines(deadlines())
        .with_retry(black_box(None));
    let mut client = Client::new(address(), config, 1);
    client.set_remote(address());
    while let Some(event) = client.poll(&mut rig.stack, Instant::from_secs(1)) {
        black_box(event);
    }
    let mut buffer = [0; 8];
    let _ = black_box((client.send(&mut rig.stack, &buffer), client.recv(&mut rig.stack, &mut buffer)));
    let _ = black_box(client.send_with(&mut rig.stack, |room| room.len().min(black_box(1))));
    let _ = black_box(client.recv_with(&mut rig.stack, |bytes| (black_box(bytes.len()), ())));
    let _ = black_box((client.local(&rig.stack), client.unsent(&rig.stack), client.traffic()));
    black_box((client.remote(), client.state(), client.transitions()));
    client.wake();
    let _ = black_box((client.shutdown(&mut rig.stack), client.close(&mut rig.stack), client.deadline()));
    let _ = black_box(client.abort());
    client.stop();
    client.start();
}

/// The states of a connection, by themselves.
fn machine() {
    let state = black_box(State::Opening);
    let after = step(state, black_box(Input::Opened));
    black_box((after.kind(), black_box(Input::Opened).kind(), black_box(Reason::Rejected).is_orderly()));
    let mut seen = black_box(Transitions::NONE);
    seen.merge(black_box(&Transitions::NONE));
    for state in black_box(StateKind::ALL) {
        for input in black_box(InputKind::ALL) {
            black_box(seen.contains(state, input));
        }
    }
    black_box((black_box(Readiness::default()).is_empty(), Chargen::byte_at(black_box(77))));
}

fn slab() {
    let mut slab = Slab::<u8>::new((0..black_box(4)).map(|_| Default::default()).collect::<Vec<_>>());
    while let Ok(id) = slab.insert(black_box(7)) {
        slab.set_deadline(id, black_box(Some(Instant::from_millis(5))));
        black_box((slab.deadline(id), id.index(), slab.get(id).copied(), slab.get_mut(id).copied()));
    }
    black_box((slab.len(), slab.capacity(), slab.is_empty(), slab.is_full(), slab.earliest()));
    black_box((slab.iter().count(), slab.id_at(black_box(2))));
    while let Some(id) = slab.take_due(black_box(Instant::from_secs(1))) {
        black_box(slab.remove(id));
    }
}

struct Item(Link);

impl Linked<()> for Item {
    fn link(&self) -> &Link {
        &self.0
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.0
    }
}

fn list() {
    let mut items = [const { Item(Link::UNLINKED) }; 2];
    let mut list = List::<()>::new();
    list.push(&mut items, black_box(1));
    black_box(list.next(&items, black_box(1)));
}

fn clock() {
    let (now, before) = (black_box(Instant::from_micros(7)), black_box(Instant::from_millis(5)));
    let mut clock = Monotonic::default();
    black_box((clock.advance(now), clock.advance(before), clock.external(now)));
    black_box((now.since(before), now.as_micros(), earliest(Some(now), black_box(None))));
}

/// What a firmware calls on the backend itself.
fn backend(rig: &mut Rig) {
    let mut storage = Storage::<2, 64, 64>::new();
    black_box(Memory::from(&mut storage));
    black_box(Memory::allocate(black_box(2), 64, 64, 1));
    let stack = &mut rig.stack;
    let ip = |octets: [u8; 4]| black_box(IpAddr::from(octets));
    let _ = black_box(stack.add_address(ip([10, 0, 1, 1]), black_box(24)));
    let _ = black_box(stack.add_route(ip([192, 0, 2, 0]), black_box(24), ip([10, 0, 0, 2])));
    let _ = black_box(stack.set_gateway(ip([10, 0, 0, 2])));
    let connections = [connect_options(), ConnectOptions::default()]
        .map(|options| black_box(stack.connect(address(), &options)));
    for connection in connections.into_iter().flatten() {
        on_connection(stack, connection);
    }
    if let Ok(listener) =
        black_box(stack.listen(black_box("0.0.0.0:9".parse().expect("one")), &listen_options()))
    {
        let _ = black_box((stack.listener_addr(listener), stack.accept(listener), stack.ready(listener)));
        let _ = black_box(stack.close_listener(listener));
    }
    stack.remove_address(ip([10, 0, 1, 1]));
    stack.link_lost();
    black_box((
        stack.stats().dropped.total(),
        stack.queue_lengths(),
        stack.slots(),
        stack.owned(),
        stack.capabilities(),
    ));
    black_box(stack.device());
    black_box(stack.device_mut());
    black_box(format!("{stack:?}"));
}

fn on_connection(stack: &mut Stack, connection: ConnectionHandle) {
    let _ = black_box((stack.connection_stats(connection), stack.status(connection)));
    let _ = black_box((stack.local_addr(connection), stack.peer_addr(connection), stack.unsent(connection)));
    let _ = black_box(stack.set_tag(connection, socklet::stack::Tag(black_box(1))));
    let _ = black_box(stack.send_with(connection, |room| room.len().min(black_box(1))));
    let _ = black_box(stack.recv_with(connection, |bytes| (black_box(bytes.len()), ())));
    let _ = black_box(stack.splice(connection, connection, black_box(9), |_| {}));
    let _ = black_box((stack.shutdown(connection), stack.close(connection), stack.abort(connection)));
}

/// One on the other, with all their options; the calls themselves are fuzzed.
fn adapters(stack: Stack) {
    let drive = |stack: &mut Stack| {
        black_box(stack.poll(black_box(Instant::from_secs(1))));
    };
    let nal = ToNal::new(stack, drive)
        .with_on_end(black_box(OnEnd::Zero))
        .with_listen(black_box(IpAddr::from([10, 0, 0, 1])), listen_options())
        .with_connect(connect_options());
    let options = NalOptions::new(black_box(OnZero::EndOfStream))
        .with_interval(black_box(Duration::from_millis(1)))
        .with_classify(socklet::stack::StackError::kind)
        .with_blocking_connect();
    let connections: Vec<_> = (0..2).map(|_| Default::default()).collect();
    let mut back = FromNal::client(nal, connections, options).with_drive(|nal| {
        black_box((nal.stack().slots(), nal.stack_mut().owned()));
        black_box(false)
    });
    let connection = black_box(back.connect(address(), &connect_options()));
    if let Ok(connection) = connection {
        let _ = black_box(back.send(connection, b"text").map_err(|error| error.inner().is_some()));
        let _ = black_box(back.close(connection));
    }
    black_box(back.poll(black_box(Instant::from_secs(2))));
    black_box((back.stack().stack().slots(), back.stack_mut().stack().slots()));
}
