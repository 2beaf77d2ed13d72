mod hostile;
mod scripted;

use super::*;
use crate::stack::{ConnectOptions, ListenOptions, Received, Sent, Status, TcpStack};
use crate::time::{Duration, Instant};
use core::net::SocketAddr;
use embedded_nal::{TcpClientStack, TcpFullStack, nb};
use scripted::{Answer, Fault, Scripted};

const PEER: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 7);
const ANY: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 7);
const MS: fn(u64) -> Instant = Instant::from_millis;

type Client = FromNal<'static, Scripted, ClientOnly>;
type Full = FromNal<'static, Scripted, FullStack>;

fn slots<T>(count: usize) -> Vec<crate::storage::SlabSlot<T>> {
    core::iter::repeat_with(Default::default).take(count).collect()
}

fn leak<T>(slots: Vec<T>) -> &'static mut [T] {
    slots.leak()
}

fn client(on_zero: OnZero, answers: &[Answer]) -> Client {
    FromNal::client(Scripted::new(answers), leak(slots(2)), NalOptions::new(on_zero))
}

fn full(answers: &[Answer]) -> Full {
    let stack = Scripted::new(answers);
    FromNal::full(stack, leak(slots(1)), leak(slots(2)), NalOptions::new(OnZero::EndOfStream))
}

fn kind<T: fmt::Debug>(result: Result<T, NalError<Fault>>) -> ErrorKind {
    StackError::kind(&result.unwrap_err())
}

#[track_caller]
fn connected(on_zero: OnZero, then: &[Answer]) -> (Client, NalConnection) {
    let answers: Vec<_> = core::iter::once(Answer::Count(0)).chain(then.iter().copied()).collect();
    let mut stack = client(on_zero, &answers);
    let connection = stack.connect(PEER, &ConnectOptions::default()).unwrap();
    assert_eq!(stack.status(connection).unwrap(), Status::Open);
    (stack, connection)
}

#[test]
fn a_handshake_goes_on_at_each_interval_until_it_is_over() {
    let mut stack = client(OnZero::EndOfStream, &[Answer::WouldBlock, Answer::WouldBlock, Answer::Count(0)]);
    let connection = stack.connect(PEER, &ConnectOptions::default()).unwrap();
    assert_eq!(stack.status(connection).unwrap(), Status::Connecting);
    assert_eq!(stack.send(connection, b"x").unwrap(), Sent::WouldBlock);
    assert_eq!(stack.poll(MS(0)), Some(MS(0)));
    assert_eq!(stack.poll(MS(0)), Some(MS(5)), "no busy loop");
    assert_eq!(stack.status(connection).unwrap(), Status::Connecting);
    assert_eq!(stack.poll(MS(5)), Some(MS(5)));
    assert_eq!(stack.status(connection).unwrap(), Status::Open);
    assert_eq!(stack.poll(MS(6)), Some(MS(10)), "no connect deadline is left");
}

#[test]
fn a_handshake_ends_at_its_deadline_and_gives_its_socket_back() {
    let mut stack = client(OnZero::EndOfStream, &[Answer::WouldBlock; 9]);
    let options = ConnectOptions::default().with_timeout(Some(Duration::from_millis(12)));
    let connection = stack.connect(PEER, &options).unwrap();
    let _ = stack.poll(MS(0));
    assert_eq!(stack.poll(MS(11)), Some(MS(11)));
    assert_eq!(stack.poll(MS(11)), Some(MS(12)));
    assert_eq!(stack.poll(MS(5)), Some(MS(6)), "the clock stepped backward");
    assert_eq!(stack.poll(MS(6)), Some(MS(6)));
    assert_eq!(stack.status(connection).unwrap(), Status::Failed(ErrorKind::TimedOut));
    assert_eq!(kind(stack.recv(connection, &mut [0; 1])), ErrorKind::TimedOut);
    assert_eq!(stack.stack().open, 0);
    stack.close(connection).unwrap();
    assert_eq!(stack.poll(MS(99)), None);
}

#[test]
fn zero_is_the_end_or_nothing_as_told() {
    let (mut stack, connection) = connected(OnZero::EndOfStream, &[Answer::Count(0), Answer::Count(1)]);
    for _ in 0..2 {
        assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::EndOfStream);
    }
    let (mut stack, connection) =
        connected(OnZero::WouldBlock, &[Answer::Count(0), Answer::Count(1), Answer::PipeClosed]);
    assert_eq!(stack.recv(connection, &mut []).unwrap(), Received::Data(0));
    assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::WouldBlock);
    assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::Data(1));
    assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::EndOfStream);
}

#[test]
fn the_first_error_sticks() {
    let (mut stack, connection) = connected(OnZero::EndOfStream, &[Answer::Other, Answer::Count(0)]);
    for _ in 0..2 {
        assert_eq!(kind(stack.recv(connection, &mut [0; 4])), ErrorKind::Other);
    }
    assert_eq!(kind(stack.send(connection, b"x")), ErrorKind::Other);
}

#[test]
fn what_came_before_a_failed_send_is_still_received() {
    let (mut stack, connection) =
        connected(OnZero::EndOfStream, &[Answer::PipeClosed, Answer::Count(3), Answer::Count(0)]);
    assert_eq!(kind(stack.send(connection, b"x")), ErrorKind::Reset);
    assert_eq!(stack.status(connection).unwrap(), Status::Failed(ErrorKind::Reset));
    assert_eq!(stack.recv(connection, &mut [0; 4]).unwrap(), Received::Data(3));
    assert_eq!(kind(stack.recv(connection, &mut [0; 4])), ErrorKind::Reset);
}

#[test]
fn more_bytes_than_were_offered_is_an_error() {
    let (mut stack, connection) = connected(OnZero::EndOfStream, &[Answer::Count(5)]);
    assert_eq!(kind(stack.recv(connection, &mut [0; 4])), ErrorKind::Other);
    let (mut stack, connection) = connected(OnZero::EndOfStream, &[Answer::Count(0), Answer::Count(5)]);
    assert_eq!(stack.send(connection, b"four").unwrap(), Sent::WouldBlock);
    assert_eq!(kind(stack.send(connection, b"four")), ErrorKind::Other);
}

#[test]
fn what_the_traits_cannot_say_is_unsupported() {
    let (mut stack, connection) = connected(OnZero::EndOfStream, &[]);
    let (listen, connect) = (ListenOptions::default(), ConnectOptions::default());
    assert_eq!(kind(stack.listen(ANY, &listen)), ErrorKind::Unsupported);
    assert_eq!(kind(stack.connect(PEER, &connect.with_local_port(9))), ErrorKind::Unsupported);
    assert_eq!(kind(stack.shutdown(connection)), ErrorKind::Unsupported);
    assert_eq!(kind(stack.local_addr(connection)), ErrorKind::Unsupported);
    assert_eq!(kind(stack.unsent(connection)), ErrorKind::Unsupported);
    assert_eq!(kind(full(&[]).listen(PEER, &listen)), ErrorKind::Unsupported);
    stack.close(connection).unwrap();
    assert_eq!(kind(stack.shutdown(connection)), ErrorKind::StaleHandle);
}

#[test]
fn every_accepted_connection_may_be_ready_once_in_each_interval() {
    let mut stack = full(&[Answer::Count(0), Answer::Count(0), Answer::WouldBlock]);
    let listener = stack.listen(ANY, &ListenOptions::default()).unwrap();
    let (first, peer) = stack.accept(listener).unwrap().unwrap();
    assert_eq!(peer, PEER);
    let (second, _) = stack.accept(listener).unwrap().unwrap();
    assert_eq!(kind(stack.accept(listener)), ErrorKind::NoSlot);
    stack.close(second).unwrap();
    for round in 0..3 {
        assert_eq!(stack.poll(MS(5 * round)), Some(MS(5 * round)));
        assert_eq!(stack.ready(listener).map(|ready| ready.connection), Some(first));
        assert_eq!(stack.ready(listener), None);
        assert_eq!(stack.poll(MS(5 * round + 1)), Some(MS(5 * round + 5)));
    }
    assert_eq!(
        stack.poll(MS(1)),
        Some(MS(5)),
        "the clock stepped backward: of the interval is left what was left"
    );
}

#[test]
fn a_closed_listener_stays_for_its_connections() {
    let mut stack = full(&[Answer::Count(0)]);
    let listener = stack.listen(ANY, &ListenOptions::default()).unwrap();
    let (connection, _) = stack.accept(listener).unwrap().unwrap();
    stack.close_listener(listener).unwrap();
    assert_eq!(kind(stack.accept(listener)), ErrorKind::Closed);
    assert_eq!(stack.stack().open, 1);
    let _ = stack.poll(MS(0));
    assert!(stack.ready(listener).is_some());
    stack.close(connection).unwrap();
    assert_eq!(kind(stack.accept(listener)), ErrorKind::StaleHandle);
    assert_eq!(stack.stack().open, 0);
}

#[test]
fn there_and_back_again() {
    let answers =
        [Answer::WouldBlock, Answer::Count(0), Answer::Count(2), Answer::WouldBlock, Answer::Count(0)];
    let mut now = 0;
    let mut stack = ToNal::new(client(OnZero::EndOfStream, &answers), |stack: &mut Client| {
        now += 5;
        let _ = stack.poll(MS(now));
    });
    let mut socket = stack.socket().unwrap();
    assert!(matches!(stack.send(&mut socket, b"x"), Err(nb::Error::Other(_))));
    assert_eq!(stack.connect(&mut socket, PEER), Err(nb::Error::WouldBlock));
    stack.connect(&mut socket, PEER).unwrap();
    assert_eq!(stack.send(&mut socket, b"xyz"), Ok(2));
    assert_eq!(stack.receive(&mut socket, &mut [0; 4]), Err(nb::Error::WouldBlock));
    assert_eq!(stack.receive(&mut socket, &mut [0; 4]), Ok(0));
    stack.close(socket).unwrap();
    assert_eq!(stack.into_inner().stack().open, 0);
}

#[test]
fn the_end_of_the_stream_may_be_an_error_of_its_own() {
    let inner = client(OnZero::EndOfStream, &[Answer::Count(0), Answer::Count(0)]);
    let mut stack = ToNal::new(inner, |_: &mut Client| {}).with_on_end(OnEnd::PipeClosed);
    let mut socket = stack.socket().unwrap();
    stack.connect(&mut socket, PEER).unwrap();
    let Err(nb::Error::Other(end)) = stack.receive(&mut socket, &mut [0; 4]) else { panic!() };
    assert_eq!(TcpError::kind(&end), TcpErrorKind::PipeClosed);
}

#[test]
fn a_server_for_embedded_nal_listens_on_any_stack() {
    let answers = [Answer::WouldBlock, Answer::Count(0), Answer::Count(1)];
    let mut stack = ToNal::new(full(&answers), |_: &mut Full| {});
    let mut listener = stack.socket().unwrap();
    assert!(stack.listen(&mut listener).is_err(), "a server must bind");
    stack.bind(&mut listener, 7).unwrap();
    stack.listen(&mut listener).unwrap();
    assert!(matches!(stack.accept(&mut listener), Err(nb::Error::WouldBlock)));
    let (mut socket, peer) = stack.accept(&mut listener).unwrap();
    assert_eq!(peer, PEER);
    assert_eq!(stack.receive(&mut socket, &mut [0; 4]), Ok(1));
    stack.close(listener).unwrap();
    stack.close(socket).unwrap();
    assert_eq!(stack.into_inner().stack().open, 0);
}
