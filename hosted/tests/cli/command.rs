//! The command, started and watched: every wait has a limit.

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

/// No step takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// What happens at once happens within this, however busy the machine is; less than any wait that the command has by default.
pub(crate) const SOON: Duration = Duration::from_secs(15);
pub(crate) const STACKS: [&str; 3] = ["os", "nal", "tap"];

pub(crate) fn socklet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socklet"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG");
    command
}

/// The same with so many descriptors.
pub(crate) fn limited(descriptors: u32, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_socklet")]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Output {
    finish(socklet(args).spawn().expect("the command starts"))
}

#[track_caller]
pub(crate) fn finish(mut child: Child) -> Output {
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
pub(crate) fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(code == 2 || text.lines().count() == 1, "{text}");
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// `socklet serve`, listening.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) lines: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Serving {
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::begin(&mut socklet(&[&["serve"], args].concat()))
    }

    #[track_caller]
    pub(crate) fn begin(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the command starts");
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
    pub(crate) fn on(stack: &str, args: &[&str]) -> Self {
        let free = free_port().to_string();
        Self::start(&[&["--stack", stack, "--port", &free], args].concat())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Connects, and waits until the server has accepted: those who come through the relay may overtake one another.
    pub(crate) fn join(&mut self) -> TcpStream {
        let stream = self.connect();
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{} connected\n", stream.local_addr().unwrap()));
        stream
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Asks it to stop. Gives what it has printed.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        self.signal("-TERM");
        let rest = self.rest();
        let output = finish(self.child);
        assert!(output.status.success(), "{output:?}");
        rest
    }

    /// What it prints until it ends, if that is too much for a pipe.
    pub(crate) fn rest_while_reading(&mut self) -> String {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        rest
    }

    /// What it prints until it ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
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

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn ask(stream: &mut TcpStream, question: &[u8]) -> Vec<u8> {
    stream.write_all(question).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The command with `input` on its standard input, which stays open for as long as the second value lives.
pub(crate) fn fed(
    args: &[&str],
    input: &'static [u8],
) -> (Child, thread::JoinHandle<std::process::ChildStdin>) {
    let mut child = socklet(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // The command may end before it has read all.
        let _ = stdin.write_all(input);
        stdin
    });
    (child, writer)
}

/// A port that answers nobody, as one of a host that is down: its backlog is full.
pub(crate) fn silent_port() -> (TcpListener, Vec<TcpStream>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000, "a backlog without an end");
    }
    (listener, waiting, address.port().to_string())
}
