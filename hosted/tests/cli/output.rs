//! A standard output that is closed, full, or read by nobody.

use crate::command::{LIMIT, Serving, assert_fails, finish, socklet, text};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Instant;

#[test]
fn a_closed_standard_output_is_a_quiet_end() {
    let serving = Serving::on("os", &[]);
    drop(serving.lines);
    let stream = TcpStream::connect(("127.0.0.1", serving.port)).unwrap();
    let output = finish(serving.child);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    drop(stream);

    let chargen = Serving::on("os", &["--service", "chargen"]);
    let port = chargen.port.to_string();
    for stack in ["os", "tap"] {
        let mut child = socklet(&["connect", "127.0.0.1", &port, "--stack", stack])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 1000]).unwrap();
        drop(output);
        // Its standard input stays open.
        let input = child.stdin.take();
        let output = finish(child);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{stack}");
        drop(input);
    }
    chargen.stop();
}

#[test]
fn a_standard_output_that_cannot_be_written_is_named() {
    for args in [&["serve", "--stack", "os", "--port", "0"][..], &["demo", "--in-memory", "--bytes", "1k"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = finish(socklet(args).stdout(full).spawn().unwrap());
        assert_fails(&output, 1, &["standard output cannot be written", "free the disk"]);
    }
}

/// More lines than the pipe and the queue hold; then one reads again.
#[test]
fn a_standard_output_that_nobody_reads_stops_neither_the_server_nor_a_signal() {
    for read_again in [true, false] {
        let mut serving = Serving::on("os", &["--service", "reply", "--reply", "."]);
        let mut stream = serving.connect();
        for _ in 0..10_000 {
            stream.write_all(b"a question of a few words").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        drop(stream);
        let start = Instant::now();
        serving.signal("-TERM");
        if read_again {
            let rest = serving.rest_while_reading();
            assert!(rest.contains(" left out here: standard output takes them too slowly)\n"), "{rest}");
        }
        assert_eq!(finish(serving.child).status.code(), Some(0));
        assert!(start.elapsed() < LIMIT);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for more in [&[][..], &["--encoding", "gbk"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let args = [&["connect", "127.0.0.1", &port, "--stack", "os"], more].concat();
        let mut child = socklet(&args).stdin(Stdio::piped()).stdout(full).spawn().unwrap();
        let input = child.stdin.take();
        let mut peer = listener.accept().unwrap().0;
        // It says no more, and waits.
        peer.write_all(b"hello\n").unwrap();
        let start = Instant::now();
        assert_fails(&finish(child), 1, &["standard output", "No space left", "redirect it"]);
        assert!(start.elapsed() < LIMIT);
        drop((input, peer));
    }
}
