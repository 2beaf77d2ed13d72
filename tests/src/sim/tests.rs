//! The simulator's own oracles, tried on what they should find.

use super::faults::corrupt;
use super::ledger::{End, Ledger, Pair};
use super::*;
use clap::Parser;
use core::hint::black_box;
use smoltcp::wire::Ipv4Packet;
use socklet::connection::{Error, Reason, Traffic};
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Next, Observer, Protocol, Serve, Service};
use socklet::smoltcp::ConnectionHandle;
use socklet::stack::{ConnectOptions, Received, TcpStack};
use socklet::storage::Id;
use socklet::time::{Duration, Instant};

#[test]
fn a_stream_finds_the_first_byte_that_is_wrong() {
    let mut bytes = [0; 100];
    let mut stream = Stream::new(7);
    stream.fill(&mut bytes);
    stream.check(&bytes[..37]).unwrap();
    bytes[50] ^= 1;
    let finding = stream.check(&bytes[37..]).unwrap_err();
    assert!(finding.starts_with("byte 50 "), "{finding}");
}

#[test]
fn corruption_is_always_found_by_the_checksum() {
    let mut random = Random::new(1, 1);
    for _ in 0..10_000 {
        let mut header = [0; 20];
        header.fill_with(|| random.pick([0, 0xff, random.clone().bits() as u8]));
        header[0] = 0x45;
        let mut packet = Ipv4Packet::new_unchecked(&mut header);
        packet.fill_checksum();
        corrupt(&mut header[..], 0, &mut random);
        let packet = Ipv4Packet::new_unchecked(&header);
        assert!(packet.header_len() != 20 || !packet.verify_checksum(), "{header:02x?}");
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Loses the tenth byte of a connection.
struct Lossy;

impl<S: TcpStack> Protocol<S> for Lossy {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        _: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        while let received @ (Received::Data(_) | Received::EndOfStream) = server.recv(stack, id, &mut [0])? {
            if received == Received::EndOfStream {
                return Ok(Next::Close);
            }
            let count = server.word(id).unwrap_or(0) + 1;
            server.set_word(id, count);
            if count != 10 {
                server.send(stack, id, b"x")?;
            }
        }
        Ok(Next::Wait)
    }
}

/// Wants to be polled again at once, for ever.
struct Restless;

impl Service<SimStack> for Restless {
    fn poll(&mut self, _: &mut SimStack, now: Instant) -> Option<Instant> {
        Some(now)
    }
}

/// Wants to be polled again a microsecond later, for ever.
struct Hasty;

impl Service<SimStack> for Hasty {
    fn poll(&mut self, _: &mut SimStack, now: Instant) -> Option<Instant> {
        Some(now + Duration::from_micros(1))
    }

    fn is_drained(&self) -> bool {
        false
    }
}

fn finding(scenario: impl Fn(&mut World) + Sync) -> String {
    run(&scenario, 0..1, Limits::default(), |_| {}).failure.expect("a finding").finding
}

fn lossy(world: &mut World) {
    let [near, far] = [(); 2].map(|()| world.host_in(Weather::new(), HostOptions::default()));
    let slots: Vec<_> = (0..4).map(|_| ServerSlot::<SimStack>::EMPTY).collect();
    let mut server = Server::new(slots, ServerConfig::default());
    let addr = (world.ip(near), 7).into();
    server.listen(world.stack(near), addr).unwrap();
    world.run_service(near, Serve::new(server, Lossy));
    world.exchange(far, addr, vec![b'x'; 100], vec![b'x'; 100]);
}

/// A world in which the third client's reply is never what it wants.
fn third_of_five(world: &mut World) {
    let host = |world: &mut World| world.host(HostOptions::default());
    let [near, far] = [host(world), host(world)];
    let slots: Vec<_> = (0..8).map(|_| ServerSlot::<SimStack>::EMPTY).collect();
    let mut server = Server::new(slots, ServerConfig::default());
    let addr = (world.ip(near), 7).into();
    server.listen(world.stack(near), addr).unwrap();
    world.run_service(near, Serve::new(server, socklet::service::Echo));
    for client in 0..5 {
        let wrong = if client == 2 { b"no" } else { b"ok" };
        world.exchange(far, addr, b"ok".into(), wrong.into());
    }
}

#[test]
fn limits_hold_in_a_user_s_world() {
    let report = run(&third_of_five, 0..1, Limits::default(), |_| {});
    let small = shrink(&third_of_five, &report.failure.expect("a finding"));
    // No fault is needed, nor time for one; the third client is, and no stream can be limited.
    let all = (1 << Limits::KINDS.len()) - 1;
    let limits = Limits { heal_ms: Some(0), clients: Some(3), bytes: None, without: all as u8 };
    assert_eq!(small.limits, limits);
    assert_eq!(small.finding, "byte 0 of a reply is wrong: got \"ok\"");
    let fewer = Limits { clients: Some(2), ..limits };
    let calm = third_of_five.run(0, &fewer, None).expect("the others are served");
    assert_eq!((calm.connections, calm.verified), (2, 4));
    assert_eq!(calm.frames.faults().map(|(_, count)| count), [0; 5], "faults that were left out");
}

#[test]
fn a_limit_that_would_change_nothing_is_refused() {
    let command = Command::try_parse_from(["sim", "--seed", "0", "--bytes", "1"]).unwrap();
    let why = command.replay_one(&third_of_five).unwrap_err();
    assert!(why.contains("leave --bytes out"), "{why}");
    assert!(Talks.heeds_bytes() && command.replay_one(&Talks).is_ok());
}

#[test]
fn a_service_that_loses_a_byte_is_found_out() {
    let finding = finding(lossy);
    assert_eq!(finding, "a reply ended in good order after 99 of 100 bytes");
}

#[test]
fn a_service_that_never_rests_is_found_out() {
    let finding = finding(|world| {
        let host = world.host_in(Weather::new(), HostOptions::default());
        world.run_service(host, Restless);
    });
    assert!(finding.contains("has been polled"), "{finding}");
}

#[test]
fn a_service_that_comes_back_for_nothing_is_found_out() {
    let finding = finding(|world| {
        let host = world.host_in(Weather::new(), HostOptions::default());
        world.run_service(host, Hasty);
    });
    assert!(finding.contains(" steps without a frame"), "{finding}");
}

/// Holds connections, and says that it holds so many.
struct Liar {
    connections: Vec<ConnectionHandle>,
    wants: usize,
    says: usize,
}

impl Liar {
    fn new(wants: usize, says: usize) -> Self {
        Self { connections: Vec::new(), wants, says }
    }
}

impl Service<SimStack> for Liar {
    fn poll(&mut self, stack: &mut SimStack, now: Instant) -> Option<Instant> {
        while self.connections.len() < self.wants {
            let nobody = "10.0.0.77:7".parse().unwrap();
            let options = ConnectOptions::default().with_timeout(None);
            self.connections.push(stack.connect(nobody, &options).unwrap());
        }
        // Until it has been looked at.
        (now < Instant::from_secs(1)).then(|| now + Duration::from_millis(1))
    }
}

impl Party for Liar {
    fn live(&self) -> Option<usize> {
        Some(self.says)
    }

    fn is_done(&self) -> bool {
        false
    }
}

fn liar(wants: usize, says: usize) -> String {
    finding(move |world| {
        let host = world.host_in(Weather::new(), HostOptions::default());
        world.add(host, Liar::new(wants, says));
    })
}

#[test]
fn a_handle_that_is_lost_is_found_out() {
    let finding = liar(3, 2);
    assert!(finding.ends_with("host 0 has 3 slots in use, and 2 live connections"), "{finding}");
}

#[test]
fn a_connection_that_is_not_there_is_found_out() {
    let finding = liar(0, 1);
    assert!(finding.ends_with("host 0 has 0 slots in use, and 1 live connections"), "{finding}");
}

#[test]
fn a_world_without_a_next_event_is_found_out() {
    // All that is said is true, but nobody has a deadline, and it is never done.
    let finding = liar(0, 0);
    assert!(finding.contains(" nothing is going to happen any more"), "{finding}");
}

/// Allocates so many times what stands for core, and as often what does not.
struct Greedy(u64);

impl Service<SimStack> for Greedy {
    fn poll(&mut self, _: &mut SimStack, _: Instant) -> Option<Instant> {
        for _ in 0..core::mem::take(&mut self.0) {
            counted(|| drop(black_box(Box::new(1))));
            drop(black_box(Box::new(1)));
        }
        None
    }
}

fn greedy(times: u64) -> Option<Failure> {
    let scenario = |world: &mut World| {
        let host = world.host_in(Weather::new(), HostOptions::default());
        world.run_service(host, Greedy(times));
    };
    run(&scenario, 0..1, Limits::default(), |_| {}).failure
}

#[test]
fn an_allocation_is_found_out() {
    let finding = greedy(3).expect("a finding").finding;
    assert_eq!(finding, "core has allocated memory 3 times after the start");
    assert!(greedy(0).is_none());
}

/// What is found in a book of one connection, whose ends are over for these reasons. The client has sent 5 bytes; nobody received any.
fn settled(reasons: [Reason; 2], prepare: impl Fn(&Ledger, Pair)) -> Option<String> {
    let (ledger, ends) = (Ledger::default(), [End::Client, End::Server]);
    let pair = Pair { client: "10.0.0.2:50000".parse().unwrap(), server: "10.0.0.1:7".parse().unwrap() };
    ends.into_iter().for_each(|end| ledger.open(pair, end));
    ledger.sent(pair, End::Client, 5);
    ledger.end_of_stream(pair, End::Client);
    prepare(&ledger, pair);
    for (end, reason) in ends.into_iter().zip(reasons) {
        let sent = if end == End::Client { 5 } else { 0 };
        ledger.closed(pair, end, reason, Traffic { sent, ..Traffic::default() });
    }
    ledger.settle();
    ledger.failure()
}

#[test]
fn a_reset_without_a_cause_is_found_out() {
    let finding = settled([Reason::Reset; 2], |_, _| ()).expect("a finding");
    assert!(finding.contains(" was reset, but the peer has not done so"), "{finding}");
    let causes: [fn(&Ledger, Pair); 2] = [
        |ledger, pair| [End::Client, End::Server].into_iter().for_each(|end| ledger.gave_up(pair, end)),
        |ledger, pair| ledger.may_be_reset(pair),
    ];
    for cause in causes {
        assert_eq!(settled([Reason::Reset; 2], cause), None);
    }
    // A stack that may have reset both ends has not done so if one has ended otherwise.
    let one = settled([Reason::Reset, Reason::Refused], |ledger, pair| ledger.may_be_reset(pair));
    assert!(one.is_some_and(|finding| finding.contains(" was reset, but the peer has not done so")));
}

#[test]
fn bytes_that_are_lost_in_good_order_are_found_out() {
    let reasons = [Reason::Finished, Reason::Reset];
    let lost = |finding: Option<String>| {
        finding.is_some_and(|finding| {
            finding.contains(" ended in good order, but the peer has not received all")
        })
    };
    assert!(lost(settled(reasons, |_, _| ())));
    // Of a stack that has ended its TIME-WAIT early, what it resets has not been read by then; nothing else is excused by that.
    let forgets = |ledger: &Ledger, pair: Pair| ledger.forgets(pair.client.ip());
    assert_eq!(settled(reasons, forgets), None);
    assert!(lost(settled(reasons, |ledger, pair| ledger.forgets(pair.server.ip()))));
    assert!(lost(settled([Reason::Finished, Reason::Unreachable], forgets)));
}

#[test]
fn events_without_end_are_found_out() {
    let (ledger, now) = (Ledger::default(), Instant::from_secs(1));
    let mut events = parties::Events::default();
    let taken = (0..30_000).take_while(|_| events.count(&ledger, "client", now, &"Readable")).count();
    assert_eq!(taken, 20_000);
    let finding = ledger.failure().expect("a finding");
    assert!(finding.ends_with("a client has had 20000 events, and again \"Readable\""), "{finding}");
}

#[test]
fn a_client_without_a_server_is_found_out() {
    let finding = finding(|world| {
        let host = world.host_in(Weather::new(), HostOptions::default());
        world.exchange(host, "10.0.0.77:7".parse().unwrap(), vec![1], vec![1]);
    });
    assert!(finding.starts_with("a client has not had its reply in time"), "{finding}");
}

#[test]
fn the_same_seed_makes_the_same_world() {
    let outcomes = [(); 2].map(|()| Talks.run(5, &Limits::default(), None).unwrap());
    assert_eq!(outcomes[0].frames, outcomes[1].frames);
    assert_eq!(outcomes[0].elapsed, outcomes[1].elapsed);
    assert!(outcomes[0].elapsed > Duration::ZERO);
}
