//! `socklet connect`.

use crate::command::{
    LIMIT, SOON, STACKS, Serving, assert_fails, fed, finish, free_port, limited, run, silent_port, socklet,
    text,
};
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

#[test]
fn connect_sends_a_text_and_prints_the_answer() {
    for stack in ["os", "tap"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            stream.write_all(b"\xba\xc3").unwrap();
            got
        });
        let output =
            run(&["connect", "localhost", &port, "--stack", stack, "--send", "你", "--encoding", "gbk"]);
        assert_eq!((text(&output.stdout), output.status.code()), ("好".into(), Some(0)), "{output:?}");
        assert_eq!(server.join().unwrap(), b"\xc4\xe3");
    }
}

#[test]
fn connect_on_embedded_nal_ends_when_the_peer_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut got = [0; 2];
        stream.read_exact(&mut got).unwrap();
        stream.write_all(&got).unwrap();
    });
    let output = run(&["connect", "127.0.0.1", &port, "--stack", "nal", "--send", "ab"]);
    assert_eq!((text(&output.stdout), output.status.code()), ("ab".into(), Some(0)), "{output:?}");
    server.join().unwrap();
}

#[test]
fn bytes_pass_through_connect_untouched() {
    for stack in ["os", "tap"] {
        let serving = Serving::on("os", &[]);
        let port = serving.port.to_string();
        let args = ["connect", "127.0.0.1", &port, "--stack", stack];
        let mut child = socklet(&args).stdin(Stdio::piped()).spawn().unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut input, copy) = (child.stdin.take().unwrap(), sent.clone());
        let writer = thread::spawn(move || input.write_all(&copy).unwrap());
        let mut output = child.stdout.take().unwrap();
        let mut back = Vec::new();
        output.read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        assert!(back == sent, "{stack}: {} bytes", back.len());
        assert!(finish(child).status.success());
        serving.stop();
    }
}

#[test]
fn connect_tries_again_until_the_server_is_there() {
    let port = free_port();
    let child =
        socklet(&["connect", "127.0.0.1", &port.to_string(), "--stack", "os", "--send", "x", "--retry"])
            .spawn()
            .unwrap();
    thread::sleep(Duration::from_millis(300));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (sender, accepted) = mpsc::channel();
    thread::spawn(move || sender.send(listener.accept().unwrap().0).unwrap());
    let mut stream = accepted.recv_timeout(LIMIT).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream.write_all(b"here").unwrap();
    drop(stream);
    let output = finish(child);
    assert_eq!((text(&output.stdout), output.status.code()), ("here".into(), Some(0)), "{output:?}");
    assert!(text(&output.stderr).contains("next attempt in"), "{output:?}");
}

#[test]
fn a_signal_ends_the_attempts_to_connect() {
    let port = free_port().to_string();
    let args = ["connect", "127.0.0.1", &port, "--stack", "os", "--retry"];
    let mut child = socklet(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("next attempt in"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(finish(child).status.code(), Some(0));
}

#[test]
fn what_cannot_be_reached_is_named() {
    let port = free_port().to_string();
    for stack in STACKS {
        let output = run(&["connect", "127.0.0.1", &port, "--stack", stack, "--send", "x"]);
        assert_fails(&output, 1, &[&format!("127.0.0.1:{port}"), "refused", "start the server"]);
        let output = run(&["connect", "no-such-host.invalid", "7", "--stack", stack]);
        assert_fails(&output, 1, &["no-such-host.invalid", "unknown", "check its name"]);
    }
}

#[test]
fn a_silent_peer_is_given_up_at_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    for stack in STACKS {
        let args = ["connect", "127.0.0.1", &port, "--stack", stack, "--send", "x", "--timeout", "0.5"];
        assert_fails(&run(&args), 1, &[&port, "timed out", "--timeout"]);
    }
}

#[test]
fn the_rest_of_an_input_is_not_sent_to_the_next_connection() {
    for stack in STACKS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (child, writer) =
            fed(&["connect", "127.0.0.1", &port, "--stack", stack, "--retry"], b"beginning");
        // What is left unread makes the close a reset.
        listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
        assert_fails(&finish(child), 1, &[&port, "reset", "cannot be sent again", "start again"]);
        drop(writer);
    }
}

#[test]
fn a_connection_that_never_reaches_the_host_takes_no_input() {
    for stack in ["os", "tap"] {
        let port = free_port();
        let text = port.to_string();
        let (mut child, writer) =
            fed(&["connect", "127.0.0.1", &text, "--stack", stack, "--retry"], b"whole");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("next attempt in"));
        drop(writer.join());
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let mut got = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), "whole", "{stack}");
        assert_eq!(finish(child).status.code(), Some(0));
    }
}

#[test]
fn an_input_that_cannot_be_read_is_a_failure() {
    for stack in STACKS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let directory = std::fs::File::open("/").unwrap();
        let child =
            socklet(&["connect", "127.0.0.1", &port, "--stack", stack]).stdin(directory).spawn().unwrap();
        assert_fails(&finish(child), 1, &["standard input", "directory", "give it a file"]);
    }
}

#[test]
fn an_interruption_that_loses_input_is_a_failure() {
    static MUCH: [u8; 32 << 20] = [b'x'; 32 << 20];
    for stack in ["os", "tap"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (child, writer) = fed(&["connect", "127.0.0.1", &port, "--stack", stack], &MUCH);
        let deaf = listener.accept().unwrap();
        thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = finish(child);
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stack}: {printed}");
        assert!(printed.contains("stopping; once more ends it at once"), "{printed}");
        assert!(printed.contains("interrupted before all of the input had reached 127.0.0.1"), "{printed}");
        assert!(start.elapsed() < SOON, "{stack}: {:?}", start.elapsed());
        drop((deaf, writer));
    }
}

#[test]
fn a_host_that_does_not_answer_is_given_up_in_time() {
    let (_listener, _waiting, port) = silent_port();
    for stack in STACKS {
        let start = Instant::now();
        let output = run(&["connect", "127.0.0.1", &port, "--stack", stack, "--timeout", "0.5"]);
        assert_fails(&output, 1, &[&port, "timed out: the peer did not answer", "--timeout"]);
        assert!(start.elapsed() < SOON, "{stack}: {:?}", start.elapsed());
    }
}

#[test]
fn a_signal_ends_an_attempt_at_once() {
    let (_listener, _waiting, port) = silent_port();
    for stack in STACKS {
        let (child, writer) = fed(&["connect", "127.0.0.1", &port, "--stack", stack], b"");
        thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = finish(child);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{stack}");
        assert!(start.elapsed() < Duration::from_millis(1500), "{stack}: {:?}", start.elapsed());
        drop(writer);
    }
}

#[test]
fn an_end_that_the_peer_is_not_told_of_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let child = socklet(&["connect", "127.0.0.1", &port, "--stack", "nal"]).spawn().unwrap();
    let peer = listener.accept().unwrap().0;
    thread::sleep(Duration::from_millis(300));
    drop(peer);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stderr).contains("--stack nal cannot half-close"), "{output:?}");
}

#[test]
fn a_host_is_named_as_in_a_url() {
    for host in ["", "[]"] {
        assert_fails(&run(&["connect", host, "80"]), 2, &["the host is empty"]);
    }
    for host in ["::1", "[::1]"] {
        assert_fails(&run(&["connect", host, "9", "--stack", "os"]), 1, &["connection to [::1]:9 failed"]);
    }
}

#[test]
fn a_character_that_standard_input_breaks_off_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let args = ["connect", "127.0.0.1", &port, "--stack", "os", "--encoding", "gbk"];
    let mut child = socklet(&args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xe4\xbd\xa0 \xe4\xbd").unwrap();
    let mut got = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"\xc4\xe3 ?");
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = text(&output.stderr);
    assert!(printed.contains("1 sequence of standard input that is not utf-8 was replaced"), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
}

/// Wherever they run out, the remedy is the same.
#[test]
fn too_few_descriptors_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for stack in STACKS {
        let mut to_connect = 0;
        for descriptors in 4..16 {
            let args = ["connect", "127.0.0.1", &port, "--stack", stack, "--send", "x", "--timeout", "0.2"];
            let output = finish(limited(descriptors, &args).spawn().unwrap());
            let said = text(&output.stderr);
            if !said.contains("timed out") {
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.lines().last().unwrap().contains("raise `ulimit -n`"), "{stack}: {said}");
                to_connect += u32::from(said.contains("no descriptor is left to connect to 127.0.0.1"));
            }
        }
        assert!(to_connect > 0 || stack == "tap", "{stack}");
    }
}
