//! The load: ordinary Linux clients.

use super::setup::PORT;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use socklet_hosted::sandbox::Network;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 << 10;
/// Requests on the way at once when all connections are active: less than a TAP's queue of frames.
const AT_ONCE: usize = 250;

pub(crate) fn connect() -> io::Result<TcpStream> {
    let address = SocketAddr::new(IpAddr::V4(Network::default().stack_v4), PORT);
    let deadline = Instant::now() + LIMIT;
    let stream = loop {
        match TcpStream::connect_timeout(&address, LIMIT) {
            // Some listen with one socket for each connection, and need a while to have them ready.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            result => break result?,
        }
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Calls `round` for a fifth of `time` to warm up, then for `time`; returns the sum of what it returns, per second.
fn rate(time: Duration, mut round: impl FnMut() -> io::Result<usize>) -> io::Result<f64> {
    let warm = Instant::now();
    while warm.elapsed() < time / 5 {
        round()?;
    }
    let (start, mut sum) = (Instant::now(), 0);
    while start.elapsed() < time {
        sum += round()?;
    }
    Ok(sum as f64 / start.elapsed().as_secs_f64())
}

fn gigabits(bytes_per_second: f64) -> f64 {
    bytes_per_second * 8.0 / 1e9
}

/// The server receives: Gbit/s.
pub(crate) fn bulk_receive(time: Duration) -> io::Result<f64> {
    let mut stream = connect()?;
    let chunk = vec![b'x'; CHUNK];
    rate(time, || stream.write(&chunk)).map(gigabits)
}

/// The server sends: Gbit/s.
pub(crate) fn bulk_send(time: Duration) -> io::Result<f64> {
    let mut stream = connect()?;
    stream.write_all(b"?")?;
    let mut chunk = vec![0; CHUNK];
    rate(time, || received(stream.read(&mut chunk)?)).map(gigabits)
}

/// The server sends back what it receives: Gbit/s in each direction.
pub(crate) fn both(time: Duration) -> io::Result<f64> {
    let mut stream = connect()?;
    let mut sender = stream.try_clone()?;
    let writer = thread::spawn(move || {
        let chunk = vec![b'x'; CHUNK];
        while sender.write_all(&chunk).is_ok() {}
    });
    let mut chunk = vec![0; CHUNK];
    let rate = rate(time, || received(stream.read(&mut chunk)?)).map(gigabits);
    stream.shutdown(Shutdown::Both)?;
    let _ = writer.join();
    rate
}

fn received(count: usize) -> io::Result<usize> {
    if count == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}

/// One byte there and back: the mean in microseconds.
pub(crate) fn ping_pong(time: Duration) -> io::Result<f64> {
    let mut stream = connect()?;
    let rate = rate(time, || ping(&mut stream))?;
    Ok(1e6 / rate)
}

fn ping(stream: &mut TcpStream) -> io::Result<usize> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(1)
}

/// Connects, sends a byte, receives it, closes in good order: per second.
pub(crate) fn connections(time: Duration) -> io::Result<f64> {
    rate(time, || {
        let mut stream = connect()?;
        ping(&mut stream)?;
        stream.shutdown(Shutdown::Write)?;
        if stream.read(&mut [0])? != 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(1)
    })
}

/// Connections that are open, each of which has been used once.
#[derive(Default)]
pub(crate) struct Open(Vec<TcpStream>);

impl Open {
    pub(crate) fn grow(&mut self, to: usize) -> io::Result<()> {
        while self.0.len() < to {
            let mut stream = connect()?;
            ping(&mut stream)?;
            self.0.push(stream);
        }
        Ok(())
    }

    /// So many of them, spread over all, are used in turn: echoes per second.
    pub(crate) fn use_some(&mut self, active: usize, time: Duration) -> io::Result<f64> {
        let step = (self.0.len() / active).max(1);
        let mut active: Vec<&mut TcpStream> = self.0.iter_mut().step_by(step).take(active).collect();
        let groups = active.chunks(AT_ONCE).count().max(1);
        let mut group = 0;
        rate(time, || {
            let now = active.chunks_mut(AT_ONCE).nth(group).unwrap_or_default();
            group = (group + 1) % groups;
            for stream in &mut *now {
                stream.write_all(b"x")?;
            }
            for stream in &mut *now {
                stream.read_exact(&mut [0])?;
            }
            Ok(now.len())
        })
    }
}
