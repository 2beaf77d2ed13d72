//! The command `socklet` as its user sees it: what it prints, and how it ends.
#![cfg(target_os = "linux")]

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// No step takes longer.
const LIMIT: Duration = Duration::from_secs(20);
const STACKS: [&str; 3] = ["os", "nal", "tap"];

fn socklet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socklet"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
#[track_caller]
fn run(args: &[&str]) -> Output {
    finish(socklet(args).spawn().expect("the command starts"))
}

#[track_caller]
fn finish(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().expect("a child's status").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it did not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

/// It failed with this exit code, and said one sentence that has all of `words`.
#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(code == 2 || text.lines().count() == 1, "{text}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// `socklet serve`, listening.
struct Serving {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Serving {
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        let args = [&["serve"], args].concat();
        let mut child = socklet(&args).spawn().expect("the command starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        let Some(port) = address.and_then(|address| address.rsplit(':').next()?.parse().ok()) else {
            panic!("{line:?}: {:?}", finish(child));
        };
        Self { child, lines, port }
    }

    /// On a port that is free.
    #[track_caller]
    fn on(stack: &str, args: &[&str]) -> Self {
        let free = free_port().to_string();
        Self::start(&[&["--stack", stack, "--port", &free], args].concat())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Connects, and waits until the server has accepted: those who come through the relay may overtake one another.
    fn join(&mut self) -> TcpStream {
        let stream = self.connect();
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{} connected\n", stream.local_addr().unwrap()));
        stream
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Asks it to stop. Gives what it has printed.
    #[track_caller]
    fn stop(mut self) -> String {
        self.signal("-TERM");
        let rest = self.rest();
        let output = finish(self.child);
        assert!(output.status.success(), "{output:?}");
        rest
    }

    /// What it prints until it ends, if that is too much for a pipe.
    fn rest_while_reading(&mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        rest
    }

    /// What it prints until it ends.
    #[track_caller]
    fn rest(&mut self) -> String {
        let deadline = Instant::now() + LIMIT;
        while self.child.try_wait().expect("a child's status").is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        rest
    }
}

fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

fn ask(stream: &mut TcpStream, question: &[u8]) -> Vec<u8> {
    stream.write_all(question).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

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

fn on_tap(address: &str) -> [&str; 5] {
    ["serve", "--tap", "no-such-tap", "--address", address]
}

fn on_tap_by<'a>(address: &'a str, gateway: &'a str) -> Vec<&'a str> {
    [&on_tap(address)[..], &["--gateway", gateway]].concat()
}

#[test]
fn wrong_arguments_are_named() {
    for (args, words) in [
        (&["serve", "--port", "70000"][..], &["--port", "70000"][..]),
        (&["serve", "--encoding", "latin1"], &["latin1", "utf-8", "gbk"]),
        (&["serve", "--tap", "tap0"], &["--address"]),
        (&["serve", "--tap", "tap0", "--address", "10.0.0.1"], &["10.0.0.1", "192.168.69.2/24"]),
        (&["serve", "--stack", "os", "--pcap", "x"], &["--pcap", "--stack tap"]),
        (&["serve", "--stack", "os", "--refuse"], &["--refuse needs --stack tap"]),
        (&["serve", "--stack", "nal", "--refuse"], &["--refuse needs --stack tap"]),
        (&["serve", "--stack", "nal", "--tx-buffer", "4k"], &["no buffer sizes: leave out --tx-buffer"]),
        (&["serve", "--stack", "nal", "--bind", "127.0.0.1"], &["every address: leave out --bind"]),
        (&["serve", "--stack", "nal", "--port", "0"], &["cannot choose a port", "--port"]),
        (&[&on_tap("10.9.0.2/24")[..], &["--port", "0"]].concat(), &["cannot choose a port", "--port"]),
        (&on_tap("224.0.0.1/4"), &["--address 224.0.0.1", "one host"]),
        (&on_tap_by("10.9.0.2/24", "fd00::1"), &["--gateway fd00::1", "one family"]),
        (&on_tap_by("10.9.0.2/24", "10.9.0.2"), &["--gateway 10.9.0.2", "own address"]),
        (&on_tap_by("10.9.0.2/24", "10.9.1.1"), &["--gateway 10.9.1.1", "outside of", "10.9.0.2/24"]),
        (
            &["serve", "--service", "reply", "--reply", "\u{1f600}", "--encoding", "gbk", "--stack", "os"],
            &["--reply", "gbk", "U+1F600"],
        ),
        (&["connect", "localhost"], &["PORT"]),
        (&["connect", "localhost", "0"], &["0"]),
        (&["connect", "localhost", "7", "--timeout", "soon"], &["soon", "seconds"]),
        (&["dance"], &["dance"]),
    ] {
        assert_fails(&run(args), 2, words);
    }
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
fn an_interface_that_may_not_be_had_is_named() {
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
    assert!(start.elapsed() < Duration::from_secs(4));
}

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
        assert!(start.elapsed() < Duration::from_secs(4));
    }
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
fn the_demo_checks_every_byte_on_tap_and_in_memory() {
    for place in [
        &["demo", "--clients", "8", "--bytes", "256k"][..],
        &["--clients", "4", "--bytes", "100k", "--in-memory"],
    ] {
        let output = run(place);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(printed.ends_with("every byte was right\n"), "{printed}");
        assert!(printed.contains("memory per connection"), "{printed}");
    }
}

/// The command with `input` on its standard input, which stays open for as long as the second value lives.
fn fed(args: &[&str], input: &'static [u8]) -> (Child, thread::JoinHandle<std::process::ChildStdin>) {
    let mut child = socklet(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // The command may end before it has read all.
        let _ = stdin.write_all(input);
        stdin
    });
    (child, writer)
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
        assert!(start.elapsed() < Duration::from_secs(3));
        drop((input, peer));
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
        assert!(start.elapsed() < Duration::from_secs(4), "{stack}: {:?}", start.elapsed());
        drop((deaf, writer));
    }
}

/// A port that answers nobody, as one of a host that is down: its backlog is full.
fn silent_port() -> (TcpListener, Vec<TcpStream>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000, "a backlog without an end");
    }
    (listener, waiting, address.port().to_string())
}

#[test]
fn a_host_that_does_not_answer_is_given_up_in_time() {
    let (_listener, _waiting, port) = silent_port();
    for stack in STACKS {
        let start = Instant::now();
        let output = run(&["connect", "127.0.0.1", &port, "--stack", stack, "--timeout", "0.5"]);
        assert_fails(&output, 1, &[&port, "timed out: the peer did not answer", "--timeout"]);
        assert!(start.elapsed() < Duration::from_secs(4), "{stack}: {:?}", start.elapsed());
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
