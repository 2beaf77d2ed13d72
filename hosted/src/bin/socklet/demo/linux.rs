//! The other side: threads with the blocking sockets of the standard library.

use super::plan::{Outcome, PATIENCE, PING, Plan, SLICE, Stream};
use core::net::SocketAddr;
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Barrier, Mutex, PoisonError, mpsc};
use std::thread::{self, Builder};
use std::time::Instant;

/// As many clients as planned, at once, each on a thread of its own.
pub(super) fn clients(server: SocketAddr, plan: &Plan) -> Outcome {
    let outcome = Mutex::new(Outcome::default());
    let together = Barrier::new(plan.clients);
    let start = Mutex::new(None);
    thread::scope(|scope| {
        // Nobody begins, and waits for the others, before all are there.
        let mut ready = Vec::new();
        for index in 0..plan.clients {
            let (outcome, together, start) = (&outcome, &together, &start);
            let (all_there, begin) = mpsc::channel::<()>();
            let client = move || {
                if begin.recv().is_err() {
                    return;
                }
                let connected = connect(server);
                together.wait();
                let mut trips = Vec::new();
                let pinged = connected.and_then(|mut socket| {
                    let stream = ping(&mut socket, plan.stream(index), plan, &mut trips)?;
                    Ok((socket, stream))
                });
                together.wait();
                lock(start).get_or_insert_with(Instant::now);
                let result = pinged.and_then(|(socket, sent)| stream_both_ways(&socket, sent, plan, index));
                let mut outcome = lock(outcome);
                outcome.round_trips.extend(trips);
                match result {
                    Ok(()) => {
                        outcome.connections += 1;
                        outcome.bytes += plan.bytes;
                    }
                    Err(error) => outcome.errors.push(format!("client {index}: {error}{}", remedy(&error))),
                }
            };
            if let Err(error) = Builder::new().spawn_scoped(scope, client) {
                let started = ready.len();
                lock(outcome).errors.push(format!(
                    "no thread for a client after {started} ({error}): ask for fewer with --clients, or raise `ulimit -u`"
                ));
                return;
            }
            ready.push(all_there);
        }
        for client in ready {
            // It waits for this.
            let _ = client.send(());
        }
    });
    let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.elapsed = lock(&start).map_or_else(Default::default, |start| start.elapsed());
    outcome
}

/// What the user can do about an error of the system, if it is that.
fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => ": ask for fewer with --clients, or raise `ulimit -n`",
        Some(_) | None => "",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&server, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Times round trips.
fn ping(
    socket: &mut TcpStream,
    mut stream: Stream,
    plan: &Plan,
    trips: &mut Vec<core::time::Duration>,
) -> io::Result<Stream> {
    let mut answer = [0; PING as usize];
    while stream.position < plan.pings {
        let sent = Instant::now();
        socket.write_all(stream.next(stream.position + PING))?;
        socket.read_exact(&mut answer)?;
        trips.push(sent.elapsed());
        check(&mut stream, &answer, plan)?;
    }
    Ok(stream)
}

fn check(stream: &mut Stream, received: &[u8], plan: &Plan) -> io::Result<()> {
    stream.check(received).map_err(io::Error::other)?;
    plan.count(received.len());
    Ok(())
}

/// Sends the rest of the stream while it comes back; then both sides close.
fn stream_both_ways(socket: &TcpStream, mut sent: Stream, plan: &Plan, index: usize) -> io::Result<()> {
    let mut back = plan.stream(index);
    back.position = sent.position;
    thread::scope(|scope| {
        let send = move || -> io::Result<()> {
            while sent.position < plan.bytes {
                let next = sent.next(plan.bytes);
                let len = { socket }.write(next)?;
                sent.position += len as u64;
            }
            socket.shutdown(Shutdown::Write)
        };
        let sender = Builder::new().spawn_scoped(scope, send)?;
        let mut buffer = vec![0; SLICE];
        let received = loop {
            match { socket }.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(len) => check(&mut back, &buffer[..len], plan)?,
                Err(error) => break Err(error),
            }
        };
        // A panic has been printed.
        sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender ended")))?;
        received?;
        if back.position == plan.bytes {
            return Ok(());
        }
        Err(io::Error::other(format!("{} bytes did not come back", plan.bytes - back.position)))
    })
}

/// Echoes what `count` clients send, each on a thread of its own, and ends with the last of them.
pub(super) fn echo_server(listener: &TcpListener, count: usize) {
    thread::scope(|scope| {
        for socket in listener.incoming().take(count).flatten() {
            let echo = move || -> io::Result<()> {
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                let mut buffer = vec![0; SLICE];
                loop {
                    match { &socket }.read(&mut buffer)? {
                        0 => return socket.shutdown(Shutdown::Write),
                        len => { &socket }.write_all(&buffer[..len])?,
                    }
                }
            };
            // Without a thread its connection is reset, and its client says so.
            let _ = Builder::new().spawn_scoped(scope, echo);
        }
    });
}
