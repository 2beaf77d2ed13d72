use super::ends::next;
use super::*;
use crate::args::{Args, Command};
use clap::Parser;
use socklet::connection::{Reason, Traffic};
use std::io::Read;
use std::net::TcpListener;
use std::thread;

fn args(more: &[&str]) -> ConnectArgs {
    match Args::parse_from([&["socklet", "connect", "host", "80"], more].concat()).command {
        Some(Command::Connect(args)) => args,
        command => panic!("{command:?}"),
    }
}

#[test]
fn only_a_host_that_was_never_reached_has_other_addresses() {
    let other = SocketAddr::from(([127, 0, 0, 2], 80));
    let at = Some(Instant::ZERO);
    for (reason, reached, spent, retry, expected) in [
        (Reason::Refused, false, false, None, Next::Other(other)),
        (Reason::Refused, false, false, at, Next::Other(other)),
        (Reason::Reset, true, false, None, Next::Over),
        (Reason::Reset, true, false, at, Next::Again(Instant::ZERO)),
        (Reason::Reset, true, true, at, Next::Over),
        (Reason::Aborted, false, false, None, Next::Over),
        (Reason::PeerClosed, true, true, None, Next::Over),
    ] {
        let mut others = [other].into_iter();
        assert_eq!(next(reason, reached, spent, &mut others, retry), expected, "{reason} {reached} {spent}");
    }
    let mut none = [].into_iter();
    assert_eq!(next(Reason::Refused, false, false, &mut none, at), Next::Again(Instant::ZERO));
    assert_eq!(next(Reason::Refused, false, false, &mut none, None), Next::Over);
}

#[test]
fn an_address_that_takes_input_and_resets_is_the_last_one() {
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = vec![first.local_addr().unwrap(), second.local_addr().unwrap()];
    let server = thread::spawn(move || {
        let (mut stream, _) = first.accept().unwrap();
        // What is left unread makes the close a reset.
        stream.read_exact(&mut [0]).unwrap();
    });
    let mut stack = stacks::os(OsOptions::default().with_connections(1)).unwrap();
    let (result, _) =
        connect(&mut driver().unwrap(), &mut stack, addresses, Direct, &args(&["--send", "text"]));
    assert!(matches!(&result, Err(Failure::Failed(text)) if text.contains("host:80")), "{result:?}");
    server.join().unwrap();
    second.set_nonblocking(true).unwrap();
    assert_eq!(second.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn an_address_that_refuses_is_followed_by_the_next() {
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = vec![first.local_addr().unwrap(), second.local_addr().unwrap()];
    drop(first);
    let server = thread::spawn(move || {
        let mut got = Vec::new();
        second.accept().unwrap().0.read_to_end(&mut got).unwrap();
        got
    });
    let mut stack = stacks::os(OsOptions::default().with_connections(1)).unwrap();
    let (result, _) =
        connect(&mut driver().unwrap(), &mut stack, addresses, Direct, &args(&["--send", "text"]));
    assert_eq!(result, Ok(()));
    assert_eq!(server.join().unwrap(), b"text");
}

#[test]
fn each_round_of_attempts_begins_with_the_first_address() {
    let [first, second] = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], 80)));
    let mut follow = follow(vec![first, second], Direct, Rc::default(), &args(&["--retry"]));
    let retry = Some(Instant::ZERO);
    let refused = Event::Closed { reason: Reason::Refused, traffic: Traffic::default(), retry };
    for _ in 0..2 {
        assert_eq!(follow(&refused, Instant::ZERO), Some(Next::Other(second)));
        assert_eq!(follow(&refused, Instant::ZERO), Some(Next::Again(Instant::ZERO)));
    }
}

#[test]
fn an_ipv6_address_has_brackets() {
    for (host, expected) in [("::1", "[::1]:80"), ("[::1]", "[::1]:80"), ("a.example", "a.example:80")] {
        let named = ConnectArgs { host: host.to_owned(), ..args(&[]) };
        assert_eq!(name(&named), expected);
    }
}
