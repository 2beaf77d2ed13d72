//! A process without descriptors. Alone in its file, because the limit holds for the whole process.
#![cfg(target_os = "linux")]

use core::time::Duration;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socklet::stack::{ConnectOptions, ErrorKind, ListenOptions, StackError, TcpStack};
use socklet::time::Instant;
use socklet_hosted::os::{OsError, OsOptions, OsStack};
use std::io::Write;
use std::net::TcpStream;

#[test]
fn a_newcomer_waits_in_the_backlog_until_there_is_a_descriptor_and_connect_says_so() {
    let mut stack = OsStack::new(OsOptions::default()).unwrap();
    let listener = stack.listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let mut client = TcpStream::connect(stack.listener_addr(listener).unwrap()).unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: limit.maximum }).unwrap();

    let mut now = Instant::ZERO;
    for _ in 0..3 {
        assert_no_descriptor(&stack.accept(listener).unwrap_err());
        let _ = stack.poll(now);
        let next = stack.poll(now);
        assert_eq!(next, Some(now + Duration::from_millis(100)), "it does not spin");
        now = now + Duration::from_millis(100);
        assert_eq!(stack.poll(now), Some(now), "and it comes back");
    }

    let remote = client.local_addr().unwrap();
    assert_no_descriptor(&stack.connect(remote, &ConnectOptions::default()).unwrap_err());

    setrlimit(Resource::Nofile, limit).unwrap();
    client.write_all(b"x").unwrap();
    let (_, peer) = stack.accept(listener).unwrap().expect("the connection was not lost");
    assert_eq!(peer, client.local_addr().unwrap());
}

fn assert_no_descriptor(error: &OsError) {
    assert_eq!(error.kind(), ErrorKind::NoSlot);
    assert!(error.to_string().contains("Too many open files"), "{error}");
}
