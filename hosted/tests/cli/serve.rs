//! `socklet serve`.

use crate::command::{STACKS, Serving, ask, assert_fails, finish, free_port, limited, run, socklet, text};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

#[test]
fn an_echo_comes_back_whole_from_every_stack() {
    for stack in STACKS {
        let serving = Serving::on(stack, &[]);
        let sent: Vec<u8> = (0..300_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        let mut stream = serving.connect();
        let mut writer = stream.try_clone().unwrap();
        let copy = sent.clone();
        let sender = thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == sent, "{stack}: {} bytes", back.len());
        let client = stream.local_addr().unwrap();
        let printed = serving.stop();
        assert!(printed.contains(&format!("{client} connected")), "{stack}: {printed}");
        assert!(
            printed
                .contains(&format!("{client} left: closed by the peer (300000 bytes received, 300000 sent)")),
            "{printed}"
        );
        assert!(printed.contains("served 1 client, 1 at once"), "{printed}");
    }
}

#[test]
fn workers_share_the_clients_and_say_what_they_counted() {
    let serving = Serving::on("tap", &["--workers", "2", "--spin", "50", "--stats", "0.1"]);
    for _ in 0..32 {
        assert_eq!(ask(&mut serving.connect(), b"shared"), b"shared");
    }
    thread::sleep(Duration::from_millis(300));
    let printed = serving.stop();
    let last = |worker: u8| {
        let start = format!("stats of worker {worker}: ");
        let lines: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix(&start)).collect();
        assert!(lines.len() > 12, "more than once, and at the end: {printed}");
        let accepted = lines.iter().rev().find_map(|line| line.strip_suffix(" accepted, 0 rejected"));
        let count =
            accepted.and_then(|line| line.rsplit(' ').next()).and_then(|count| count.parse::<u32>().ok());
        count.unwrap_or_else(|| panic!("no count of worker {worker}: {printed}"))
    };
    assert_eq!(last(0) + last(1), 32);
    assert!(printed.contains("octets: ") && printed.contains("served 32 clients"), "{printed}");
    assert!(printed.contains("queues: 0 half open, 0 to be accepted"), "{printed}");
}

#[test]
fn reply_prints_each_message_and_answers_in_its_encoding() {
    for stack in STACKS {
        let serving = Serving::on(stack, &["--service", "reply", "--reply", "好", "--encoding", "gbk"]);
        let mut stream = serving.connect();
        assert_eq!(ask(&mut stream, b"\xc4\xe3\n"), b"\xba\xc3", "{stack}");
        let printed = serving.stop();
        assert!(printed.contains(r#"sent 3 bytes: "你\n""#), "{stack}: {printed}");
    }
}

#[test]
fn a_character_that_the_stream_breaks_off_is_counted() {
    for stack in STACKS {
        let serving = Serving::on(stack, &["--service", "reply", "--encoding", "gbk"]);
        ask(&mut serving.connect(), b"\xff\xff\xc4");
        let printed = serving.stop();
        assert!(printed.contains("sent 3 sequences that are not gbk"), "{stack}: {printed}");
    }
}

#[test]
fn embedded_nal_says_where_to_connect_to() {
    for (bind, address) in [(&[][..], "127.0.0.1"), (&["--bind", "::"], "[::1]")] {
        let port = free_port().to_string();
        let args = [&["serve", "--stack", "nal", "--port", &port], bind].concat();
        let mut child = socklet(&args).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let _ = child.kill();
        let _ = child.wait();
        assert!(line.starts_with(&format!("listening on {address}:{port} ")), "{line}");
    }
}

#[test]
fn chat_sends_each_line_to_the_others_with_its_sender() {
    for stack in STACKS {
        let mut serving = Serving::on(stack, &["--service", "chat"]);
        let [mut ann, bob] = [(); 2].map(|()| serving.join());
        (&bob).write_all(b"hi\n").unwrap();
        let hi = BufReader::new(ann.try_clone().unwrap()).lines().next();
        assert_eq!(hi.unwrap().unwrap(), format!("[{}] hi", bob.local_addr().unwrap()));
        ann.write_all(b"one\r\ntw").unwrap();
        ann.write_all(b"o\n").unwrap();
        let name = ann.local_addr().unwrap();
        let mut lines = BufReader::new(bob).lines();
        assert_eq!(lines.next().unwrap().unwrap(), format!("[{name}] one"), "{stack}");
        assert_eq!(lines.next().unwrap().unwrap(), format!("[{name}] two"), "{stack}");
        drop((ann, lines));
        serving.stop();
    }
}

#[test]
fn a_chatter_who_does_not_read_holds_up_nobody() {
    static HEARD: AtomicBool = AtomicBool::new(false);
    let mut serving = Serving::on("tap", &["--service", "chat", "--tx-buffer", "8k"]);
    let [ann, deaf, bob] = [(); 3].map(|()| serving.join());
    // More than all the buffers on deaf's way; then a word until bob has heard it.
    let talk = thread::spawn(move || {
        let line = [&[b'x'; 999][..], b"\n"].concat();
        (0..8000).for_each(|_| (&ann).write_all(&line).unwrap());
        while (&ann).write_all(b"last\n").is_ok() && !HEARD.load(Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        ann
    });
    assert!(BufReader::new(bob).lines().any(|line| line.unwrap().ends_with("last")));
    HEARD.store(true, Relaxed);
    let ann = talk.join().unwrap();
    let mut told = String::new();
    let mut of_deaf = BufReader::new(deaf);
    while !told.contains("you read too slowly") {
        told.clear();
        assert!(of_deaf.read_line(&mut told).unwrap() > 0, "the end of the stream");
    }
    drop((ann, of_deaf));
    serving.stop();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for stack in ["os", "tap"] {
        assert_fails(
            &run(&["serve", "--stack", stack, "--port", &port]),
            1,
            &[&port, "address in use", "--port"],
        );
    }
}

#[test]
fn memory_that_the_machine_does_not_have_is_named() {
    for workers in ["1", "2"] {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 6000000; exec \"$0\" serve --rx-buffer 1G --workers $1"]);
        limited.args([env!("CARGO_BIN_EXE_socklet"), workers]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let words = ["256 connections", "256.0 GiB", "--connections, --rx-buffer or --tx-buffer"];
        assert_fails(&finish(limited.spawn().unwrap()), 1, &words);
    }
}

#[test]
fn an_interface_that_may_not_be_had_is_named() {
    let output = run(&["serve", "--tap", "lo", "--address", "192.168.69.2/24"]);
    assert_fails(&output, 1, &["the interface lo cannot be opened"]);
    let output = run(&["serve", "--tap", "a-name-that-is-too-long", "--address", "192.168.69.2/24"]);
    assert_fails(&output, 1, &["a-name-that-is-too-long", "1 to 15"]);
}

#[test]
fn a_signal_lets_clients_finish() {
    for stack in STACKS {
        let mut serving = Serving::on(stack, &[]);
        let mut stream = serving.connect();
        let mut back = [0; 3];
        stream.write_all(b"one").unwrap();
        stream.read_exact(&mut back).unwrap();
        serving.signal("-INT");
        thread::sleep(Duration::from_millis(200));
        assert_eq!(ask(&mut stream, b"two"), b"two", "{stack}");
        let printed = serving.rest();
        assert!(printed.contains("stopping: 1 open"), "{printed}");
        assert!(printed.contains("1 closed by the peer"), "{printed}");
        assert_eq!(finish(serving.child).status.code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut serving = Serving::on("tap", &[]);
    let mut stream = serving.connect();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let start = Instant::now();
    serving.signal("-INT");
    thread::sleep(Duration::from_millis(200));
    serving.signal("-INT");
    let printed = serving.rest();
    let client = stream.local_addr().unwrap();
    assert!(printed.contains(&format!("{client} left: cut off (1 byte received, 1 sent)\n")), "{printed}");
    assert!(printed.contains(" s: 1 byte received, 1 sent\n"), "{printed}");
    assert!(printed.contains("cut off: 1"), "{printed}");
    assert!(finish(serving.child).status.success());
    // Less than the grace that clients have otherwise.
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn frames_are_captured() {
    let path = std::env::temp_dir().join(format!("socklet-cli-{}.pcap", std::process::id()));
    let serving = Serving::on("tap", &["--pcap", path.to_str().unwrap()]);
    assert_eq!(ask(&mut serving.connect(), b"look for me"), b"look for me");
    serving.stop();
    let capture = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(capture.windows(11).filter(|window| window == b"look for me").count() >= 2);
}

#[test]
fn a_capture_that_lacks_its_end_is_a_failure() {
    let mut serving = Serving::on("tap", &["--pcap", "/dev/full"]);
    assert_eq!(ask(&mut serving.connect(), b"lost"), b"lost");
    serving.signal("-TERM");
    serving.rest();
    let output = finish(serving.child);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("the capture /dev/full lacks its end (No space left"), "{printed}");
}

/// Wherever they run out, the remedy is the same.
#[test]
fn too_few_descriptors_are_named() {
    for stack in STACKS {
        let mut to_listen = 0;
        for descriptors in 4..12 {
            let port = free_port().to_string();
            let args = ["serve", "--stack", stack, "--port", &port];
            let mut child = limited(descriptors, &args).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line.is_empty() {
                let output = finish(child);
                let said = text(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.lines().last().unwrap().contains("raise `ulimit -n`"), "{stack}: {said}");
                to_listen += u32::from(said.contains("no descriptor is left to listen on"));
            } else {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        assert!(to_listen > 0 || stack == "tap", "{stack}");
    }
}

/// They wait for one, and the busy one is served as before. A client takes two.
#[test]
fn clients_without_a_descriptor_wait_and_are_complained_of_once() {
    for descriptors in [24, 25] {
        clients_wait(descriptors);
    }
}

fn clients_wait(descriptors: u32) {
    let port = free_port().to_string();
    let args = ["serve", "--stack", "tap", "--port", &port];
    let mut serving = Serving::begin(&mut limited(descriptors, &args));
    let mut busy = serving.connect();
    busy.write_all(b"x").unwrap();
    busy.read_exact(&mut [0]).unwrap();
    let mut others: Vec<_> = (0..24).map(|_| serving.connect()).collect();
    for _ in 0..300 {
        busy.write_all(b"x").unwrap();
        busy.read_exact(&mut [0]).unwrap();
    }
    let mut last = others.pop().unwrap();
    last.write_all(b"y").unwrap();
    drop((busy, others));
    last.read_exact(&mut [0]).unwrap();
    drop(last);
    serving.signal("-TERM");
    serving.rest();
    let output = finish(serving.child);
    let printed = text(&output.stderr);
    assert!(printed.contains("the relay cannot accept a connection now (Too many open files"), "{printed}");
    assert!(printed.lines().count() < 20, "{printed}");
}
