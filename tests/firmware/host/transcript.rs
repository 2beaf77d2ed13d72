//! One conversation with the application, wherever it runs, and all that it says meanwhile.

use socket2::SockRef;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// What every stack and every board must make of it. Lines with `>` say what the host does.
pub(crate) const EXPECTED: &str = include_str!("../transcript.txt");

/// How long any single answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the application is, and how it is heard.
pub(crate) struct Application<'a> {
    pub(crate) echo: SocketAddr,
    pub(crate) reply: SocketAddr,
    /// What its client connects to.
    pub(crate) host: &'a TcpListener,
    /// Waits for the next line that it says.
    pub(crate) said: &'a mut dyn FnMut() -> String,
}

/// Talks with the application in each of its roles; returns what was done and said.
pub(crate) fn converse(application: Application<'_>) -> String {
    let Application { echo, reply, host, said } = application;
    let mut transcript = String::new();
    let mut note = |line: &str| transcript = format!("{transcript}{line}\n");

    note("> takes the client's connection, and its line");
    let mut lines = accept(host);
    note(&said());
    assert_eq!(lines.read_line(&mut String::new()).expect("a line a second"), 11);

    note("> sends 10000 bytes to the echo server, then the end");
    let mut client = connect(echo);
    note(&said());
    let bytes: Vec<u8> = (0..10_000u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    client.write_all(&bytes).expect("it takes bytes");
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).expect("it echoes, and closes");
    assert_eq!(echoed, bytes);
    note(&said());

    note("> says hello to the reply server, and leaves");
    let mut client = connect(reply);
    note(&said());
    client.write_all(b"hello").expect("it takes bytes");
    let mut answer = [0; 19];
    client.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"Hello from socklet\n");
    drop(client);
    note(&said());

    note("> sends 3 bytes to the echo server, and resets");
    let mut client = connect(echo);
    note(&said());
    client.write_all(b"abc").expect("it takes bytes");
    client.read_exact(&mut [0; 3]).expect("it echoes");
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("it is a socket");
    drop(client);
    note(&said());

    note("> closes the client's connection, and takes the next");
    drop(lines);
    note(&said());
    let mut lines = accept(host);
    note(&said());
    assert_eq!(lines.read_line(&mut String::new()).expect("a line a second"), 11);
    transcript
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it takes the connection");
    patient(stream)
}

fn accept(host: &TcpListener) -> BufReader<TcpStream> {
    BufReader::new(patient(host.accept().expect("its client comes").0))
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream
}
