use super::cable::stack;
use super::{CLIENT_SLOTS, SERVER_SLOTS, private_ip};
use crate::cable::{CableEnd, CableOptions, cable};
use crate::{Facts, Host, IpVersion, Side, Stack, World, stream_bytes};
use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use socklet::nal::{
    FromNal, FullStack, NalError, NalListenerSlot, NalOptions, NalSlot, OnEnd, OnZero, ToNal,
};
use socklet::smoltcp::SmoltcpStack;
use socklet::stack::{ErrorKind, ListenOptions, StackError, TcpStack};
use socklet::time::{Duration, Instant, earliest};
use std::rc::Rc;

type Plain = SmoltcpStack<'static, CableEnd>;
type Nal = ToNal<Plain, Box<dyn FnMut(&mut Plain)>>;
type RoundTrip = FromNal<'static, Nal, FullStack>;

/// smoltcp at both ends of a cable in memory, in virtual time; at one of them through both embedded-nal adapters.
#[derive(Debug)]
pub struct NalWorld {
    side: Side,
    adapted: Stack<RoundTrip>,
    plain: Stack<Plain>,
    facts: Facts,
    now: Rc<Cell<Instant>>,
    port: u16,
}

impl NalWorld {
    /// A new world in which the adapters are at `side`, and tell the end of the stream by `on_end`.
    pub fn new(version: IpVersion, side: Side, on_end: OnEnd) -> Self {
        let [server_ip, client_ip] = [1, 2].map(|number| private_ip(version, number));
        let [near, far] = cable(CableOptions::default());
        let server = stack(near, 1, server_ip, SERVER_SLOTS, 8 * 1024);
        let client = stack(far, 2, client_ip, CLIENT_SLOTS, 8 * 1024);
        let now = Rc::new(Cell::new(Instant::from_secs(1)));
        let (beneath, plain, slots) = match side {
            Side::Server => (server, client, SERVER_SLOTS),
            Side::Client => (client, server, CLIENT_SLOTS),
        };
        let facts = Facts {
            server_ip,
            client_ip,
            silent: Some(SocketAddr::new(private_ip(version, 99), 7)),
            server_slots: Some(SERVER_SLOTS),
            client_slots: Some(CLIENT_SLOTS),
            settle: Duration::from_millis(100),
            stream: stream_bytes(16 << 20),
            churn: 500,
        };
        let adapted = Stack::new(round_trip(beneath, version, on_end, slots, Rc::clone(&now)));
        Self { side, adapted, plain: Stack::new(plain), facts, now, port: 1000 }
    }
}

fn round_trip(
    stack: Plain,
    version: IpVersion,
    on_end: OnEnd,
    slots: usize,
    clock: Rc<Cell<Instant>>,
) -> RoundTrip {
    let any: IpAddr = match version {
        IpVersion::V4 => Ipv4Addr::UNSPECIFIED.into(),
        IpVersion::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let drive = move |stack: &mut Plain| {
        let _ = stack.poll(clock.get());
    };
    let nal = ToNal::new(stack, Box::new(drive) as Box<dyn FnMut(&mut Plain)>)
        .with_on_end(on_end)
        .with_listen(any, ListenOptions::default());
    let on_zero = match on_end {
        OnEnd::Zero => OnZero::EndOfStream,
        OnEnd::PipeClosed => OnZero::WouldBlock,
    };
    let options = NalOptions::new(on_zero).with_classify(NalError::<ErrorKind>::kind);
    let listeners: Vec<_> = (0..4).map(|_| NalListenerSlot::EMPTY).collect();
    let connections: Vec<_> = (0..slots).map(|_| NalSlot::EMPTY).collect();
    FromNal::full(nal, listeners, connections, options)
}

impl World for NalWorld {
    fn host(&mut self, side: Side) -> &mut dyn Host {
        if side == self.side { &mut self.adapted } else { &mut self.plain }
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        let now = self.now.get();
        // The traits have no poll: whoever owns the stack beneath drives it.
        let beneath = self.adapted.inner.stack_mut().stack_mut();
        let due = beneath.poll(now);
        let arrivals = [beneath.device().next_arrival(), self.plain.inner.device().next_arrival()];
        let soon = Some(now + Duration::from_millis(10));
        let next = [deadline, due, soon].into_iter().chain(arrivals).fold(None, earliest);
        self.now.set(now.max(next.unwrap_or(now)));
    }

    fn unused_port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }
}
