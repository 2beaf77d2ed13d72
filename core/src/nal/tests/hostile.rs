//! A stack that answers anything, and callers that call anything.

use super::scripted::Fault;
use super::*;

/// Numbers that repeat from their seed.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[derive(Debug)]
struct Hostile {
    random: Random,
    open: usize,
}

#[derive(Debug)]
struct Handle;

impl Hostile {
    fn fault(&mut self) -> Result<(), Fault> {
        match self.random.below(12) {
            0 => Err(Fault::Other),
            1 => Err(Fault::PipeClosed),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, len: usize) -> nb::Result<usize, Fault> {
        self.fault()?;
        match self.random.below(6) {
            0 => Err(nb::Error::WouldBlock),
            1 => Ok(0),
            2 => Ok(len),
            3 => Ok(len + 1),
            4 => Ok(usize::MAX),
            _ => Ok(self.random.below(len + 2)),
        }
    }
}

impl TcpClientStack for Hostile {
    type TcpSocket = Handle;
    type Error = Fault;

    fn socket(&mut self) -> Result<Handle, Fault> {
        self.fault()?;
        self.open += 1;
        Ok(Handle)
    }

    fn connect(&mut self, _: &mut Handle, _: SocketAddr) -> nb::Result<(), Fault> {
        self.answer(0).map(drop)
    }

    fn send(&mut self, _: &mut Handle, buffer: &[u8]) -> nb::Result<usize, Fault> {
        self.answer(buffer.len())
    }

    fn receive(&mut self, _: &mut Handle, buffer: &mut [u8]) -> nb::Result<usize, Fault> {
        self.answer(buffer.len())
    }

    fn close(&mut self, Handle: Handle) -> Result<(), Fault> {
        self.open -= 1;
        self.fault()
    }
}

impl TcpFullStack for Hostile {
    fn bind(&mut self, _: &mut Handle, _: u16) -> Result<(), Fault> {
        self.fault()
    }

    fn listen(&mut self, _: &mut Handle) -> Result<(), Fault> {
        self.fault()
    }

    fn accept(&mut self, _: &mut Handle) -> nb::Result<(Handle, SocketAddr), Fault> {
        self.answer(0)?;
        self.open += 1;
        Ok((Handle, PEER))
    }
}

type Adapter<'a> = FromNal<'a, Hostile, FullStack>;

fn adapter(seed: u64) -> Adapter<'static> {
    let stack = Hostile { random: Random(seed), open: 0 };
    let on_zero = if seed.is_multiple_of(2) { OnZero::EndOfStream } else { OnZero::WouldBlock };
    FromNal::full(stack, leak(slots(2)), leak(slots(4)), NalOptions::new(on_zero))
}

/// 500 random calls on a socket that may be any that there ever was.
fn misuse(seed: u64) {
    let mut random = Random(!seed);
    let mut stack = adapter(seed);
    let (mut listeners, mut connections) = (Vec::new(), Vec::new());
    let mut buffer = [0; 8];
    for _ in 0..500 {
        if listeners.is_empty() || connections.is_empty() || random.below(4) == 0 {
            listeners.extend(stack.listen(ANY, &ListenOptions::default()));
            connections.extend(stack.connect(PEER, &ConnectOptions::default()));
            continue;
        }
        let (listener, connection) =
            (listeners[random.below(listeners.len())], connections[random.below(connections.len())]);
        let len = random.below(9);
        match random.below(9) {
            0 => drop(stack.accept(listener).map(|accepted| connections.extend(accepted.map(|(c, _)| c)))),
            1 => drop(stack.close_listener(listener)),
            2 => drop(stack.close(connection)),
            3 => drop(stack.abort(connection)),
            4 => assert!(stack.ready(listener).is_none_or(|ready| stack.status(ready.connection).is_ok())),
            5 => drop(stack.poll(MS(random.below(100_000) as u64))),
            6 => drop(stack.shutdown(connection)),
            7 => match stack.send(connection, &buffer[..len]) {
                Ok(Sent::Queued(count)) => assert!(count <= len),
                Ok(Sent::WouldBlock) | Err(_) => {}
            },
            _ => match stack.recv(connection, &mut buffer[..len]) {
                Ok(Received::Data(count)) => assert!(count <= len),
                Ok(Received::WouldBlock | Received::EndOfStream) | Err(_) => {}
            },
        }
    }
    for connection in connections {
        let _ = stack.close(connection);
    }
    for listener in listeners {
        let _ = stack.close_listener(listener);
    }
    assert_eq!(stack.stack().open, 0, "a socket was lost; seed {seed}");
    assert_eq!(stack.poll(MS(0)), None, "a slot was lost; seed {seed}");
}

#[test]
fn a_stack_that_answers_nonsense_loses_no_socket() {
    (0..300).for_each(misuse);
}

#[test]
fn nonsense_stays_nonsense_through_both_adapters() {
    for seed in 0..300 {
        let mut stack = ToNal::new(adapter(seed), |stack: &mut Adapter<'_>| {
            let _ = stack.poll(MS(1));
        });
        let mut random = Random(!seed);
        let mut sockets = Vec::new();
        let mut buffer = [0; 8];
        for _ in 0..300 {
            if sockets.is_empty() {
                sockets.extend(stack.socket());
                continue;
            }
            let number = random.below(sockets.len());
            match random.below(8) {
                0 => sockets.extend(stack.socket()),
                1 => drop(stack.connect(&mut sockets[number], PEER)),
                2 => drop(stack.bind(&mut sockets[number], 7)),
                3 => drop(stack.listen(&mut sockets[number])),
                4 => drop(stack.accept(&mut sockets[number]).map(|(socket, _)| sockets.push(socket))),
                5 => assert!(stack.send(&mut sockets[number], &buffer).unwrap_or(0) <= buffer.len()),
                6 => assert!(stack.receive(&mut sockets[number], &mut buffer).unwrap_or(0) <= buffer.len()),
                _ => drop(stack.close(sockets.swap_remove(number))),
            }
        }
        for socket in sockets {
            let _ = stack.close(socket);
        }
        assert_eq!(stack.into_inner().stack().open, 0, "a socket was lost; seed {seed}");
    }
}
