use super::Input;
use core::cell::Cell;
use core::net::{Ipv4Addr, SocketAddr};
use embedded_nal::{TcpClientStack, TcpError, TcpErrorKind, TcpFullStack, nb};
use socklet::nal::{FromNal, NalOptions, OnZero, ToNal};
use socklet::stack::{ConnectOptions, ListenOptions, Received, Sent, TcpStack};
use socklet::time::Instant;

const PEER: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 9);
const ANY: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Other,
    PipeClosed,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the stack says so")
    }
}

impl core::error::Error for Fault {}

impl TcpError for Fault {
    fn kind(&self) -> TcpErrorKind {
        match self {
            Self::Other => TcpErrorKind::Other,
            Self::PipeClosed => TcpErrorKind::PipeClosed,
        }
    }
}

#[derive(Debug)]
struct Handle;

/// Answers what the input says, whether that makes sense or not.
struct Hostile<'d> {
    answers: Cell<&'d [u8]>,
    open: usize,
}

impl Hostile<'_> {
    fn byte(&self) -> u8 {
        let mut answers = self.answers.get();
        let byte = answers.split_off_first().copied().unwrap_or(0);
        self.answers.set(answers);
        byte
    }

    fn fault(&self) -> Result<(), Fault> {
        match self.byte() {
            0xf0.. => Err(Fault::Other),
            0xe0..0xf0 => Err(Fault::PipeClosed),
            _ => Ok(()),
        }
    }

    fn answer(&self, len: usize) -> nb::Result<usize, Fault> {
        match self.byte() {
            0xf0.. => Err(nb::Error::Other(Fault::Other)),
            0xe0..0xf0 => Err(nb::Error::Other(Fault::PipeClosed)),
            0xc0..0xe0 => Err(nb::Error::WouldBlock),
            0xb0..0xc0 => Ok(len),
            0xa0..0xb0 => Ok(len + 1),
            0x90..0xa0 => Ok(usize::MAX),
            some => Ok(usize::from(some) % (len + 2)),
        }
    }
}

impl TcpClientStack for Hostile<'_> {
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

impl TcpFullStack for Hostile<'_> {
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

/// Any calls on the adapters, over a stack that answers anything: no panic, no socket lost, no count that cannot be.
pub fn adapter(data: &[u8]) {
    let (calls, answers) = data.split_at(data.len() / 2);
    let mut input = Input(calls);
    let on_zero = [OnZero::EndOfStream, OnZero::WouldBlock][input.below(2)];
    let both = input.below(2) == 1;
    let stack = Hostile { answers: Cell::new(answers), open: 0 };
    let slots = (0..4).map(|_| Default::default()).collect::<Vec<_>>();
    let listeners = (0..2).map(|_| Default::default()).collect::<Vec<_>>();
    let mut stack = FromNal::full(stack, listeners, slots, NalOptions::new(on_zero));
    if both {
        let mut back = ToNal::new(stack, |stack| {
            let _ = stack.poll(Instant::from_millis(1));
        });
        as_nal(&mut input, &mut back);
        stack = back.into_inner();
    } else {
        as_stack(&mut input, &mut stack);
    }
    assert_eq!(stack.stack().open, 0, "a socket was lost");
}

fn as_stack(input: &mut Input<'_>, stack: &mut impl TcpStack) {
    let (mut listeners, mut connections) = (Vec::new(), Vec::new());
    let mut buffer = [0; 8];
    while !input.is_empty() {
        let call = input.below(11);
        if listeners.is_empty() || connections.is_empty() || call > 8 {
            listeners.extend(stack.listen(ANY, &ListenOptions::default()));
            connections.extend(stack.connect(PEER, &ConnectOptions::default()));
            continue;
        }
        let (listener, connection) = (
            listeners[input.below(listeners.len().min(256))],
            connections[input.below(connections.len().min(256))],
        );
        let len = input.below(9);
        match call {
            0 => drop(stack.accept(listener).map(|accepted| connections.extend(accepted.map(|(c, _)| c)))),
            1 => drop(stack.close_listener(listener)),
            2 => drop(stack.close(connection)),
            3 => drop(stack.abort(connection)),
            4 => assert!(stack.ready(listener).is_none_or(|ready| stack.status(ready.connection).is_ok())),
            5 => drop(stack.poll(Instant::from_millis(input.word().into()))),
            6 => drop(stack.shutdown(connection)),
            7 => assert!(
                !matches!(stack.send(connection, &buffer[..len]), Ok(Sent::Queued(count)) if count > len)
            ),
            _ => {
                let received = stack.recv(connection, &mut buffer[..len]);
                assert!(!matches!(received, Ok(Received::Data(count)) if count > len));
            }
        }
    }
    for connection in connections {
        let _ = stack.close(connection);
    }
    for listener in listeners {
        let _ = stack.close_listener(listener);
    }
}

fn as_nal<N: TcpFullStack>(input: &mut Input<'_>, stack: &mut N) {
    let mut sockets = Vec::new();
    let mut buffer = [0; 8];
    while !input.is_empty() {
        let call = input.below(8);
        if sockets.is_empty() || call == 0 {
            sockets.extend(stack.socket());
            continue;
        }
        let number = input.below(sockets.len().min(256));
        let socket = &mut sockets[number];
        match call {
            1 => drop(stack.connect(socket, PEER)),
            2 => drop(stack.bind(socket, 7)),
            3 => drop(stack.listen(socket)),
            4 => {
                let accepted = stack.accept(socket);
                sockets.extend(accepted.map(|(socket, _)| socket));
            }
            5 => assert!(stack.send(socket, &buffer).unwrap_or(0) <= buffer.len()),
            6 => assert!(stack.receive(socket, &mut buffer).unwrap_or(0) <= buffer.len()),
            _ => drop(stack.close(sockets.swap_remove(number))),
        }
    }
    for socket in sockets {
        let _ = stack.close(socket);
    }
}
