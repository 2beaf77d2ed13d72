//! The loop of a host program: poll the service and the stack, then sleep until something comes or is due.
//!
//! ```no_run
//! use socklet::server::{Server, ServerConfig};
//! use socklet::service::{Echo, Serve};
//! use socklet_hosted::driver::Driver;
//! use socklet_hosted::os::{OsOptions, OsStack};
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let mut stack = OsStack::new(OsOptions::default())?;
//! let storage: Vec<_> = (0..64).map(|_| Default::default()).collect();
//! let mut server = Server::new(storage, ServerConfig::default()).with_holdback(vec![0; 64 << 10]);
//! server.listen(&mut stack, "127.0.0.1:7".parse()?)?;
//! let mut driver = Driver::new()?;
//! driver.stop_on_signals()?;
//! driver.run(&mut stack, &mut Serve::new(server, Echo))?;
//! # Ok(()) }
//! ```

use crate::nal_std;
use core::time::Duration;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use smoltcp::phy::{self, Device};
use socklet::service::Service;
use socklet::smoltcp::SmoltcpStack;
use socklet::stack::TcpStack;
use socklet::time::{Instant, earliest};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Rounds without a wait after which a wish to stop is looked for.
const BUSY_ROUNDS: u32 = 64;

/// A stack that can sleep until its network has something.
pub trait Wait {
    /// Is told once, before the first [`wait`](Self::wait), of the descriptor that a wait must watch too.
    ///
    /// # Errors
    /// The system refuses to watch it.
    fn watch(&mut self, wake: BorrowedFd<'_>) -> io::Result<()> {
        let _ = wake;
        Ok(())
    }

    /// Sleeps until the network has something, `wake` is readable, or `timeout` has passed; `None` has no end.
    ///
    /// Returns whether `wake` may be readable. May return early.
    ///
    /// # Errors
    /// The system refuses to wait, for a reason other than a signal; of the kind [`NotConnected`](io::ErrorKind::NotConnected) when the
    /// network has gone for good.
    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool>;
}

/// Sleeps on `network` as [`Wait::wait`] does: for a stack whose device has a descriptor.
///
/// # Errors
/// As [`Wait::wait`].
pub fn wait_on(network: BorrowedFd<'_>, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds =
        [PollFd::from_borrowed_fd(network, PollFlags::IN), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
    // A longer one than the system can say has no end.
    let timeout = timeout.and_then(|timeout| timeout.try_into().ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) if is_gone(fds[0].revents()) => {
            Err(io::Error::new(io::ErrorKind::NotConnected, "the network's interface has gone"))
        }
        Ok(_) => Ok(!fds[1].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a descriptor will never be readable again: poll(2) would say so at once for ever. A TAP that is down only says nothing.
fn is_gone(revents: rustix::event::PollFlags) -> bool {
    use rustix::event::PollFlags;
    revents.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) && !revents.contains(PollFlags::IN)
}

impl Wait for crate::os::OsStack {
    fn watch(&mut self, wake: BorrowedFd<'_>) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let raw = wake.as_raw_fd();
        self.registry().register(&mut mio::unix::SourceFd(&raw), Self::FREE_TOKENS, mio::Interest::READABLE)
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        // Events are edges, and the last poll may have taken that of `wake`.
        if !wait_on(wake, wake, Some(Duration::ZERO))? {
            Self::wait(self, timeout)?;
        }
        Ok(true)
    }
}

/// Its sockets are all asked when one of them has something; only if none could be watched, at the times that `poll` gives.
impl Wait for nal_std::NalStd {
    fn watch(&mut self, wake: BorrowedFd<'_>) -> io::Result<()> {
        nal_std::watch(self, wake)
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        // Events are edges, and the last wait may have taken that of `wake`.
        if !wait_on(wake, wake, Some(Duration::ZERO))? {
            nal_std::wait(self, timeout).unwrap_or_else(|| wait_on(wake, wake, timeout).map(drop))?;
        }
        Ok(true)
    }
}

/// A device that a loop can wait for.
pub trait Descriptor {
    /// Readable when the device has a frame.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

#[cfg(target_os = "linux")]
impl Descriptor for crate::tap::Tap {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.level()
    }
}

impl<D: Device + Descriptor, S: phy::PcapSink> Descriptor for phy::PcapWriter<D, S> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.get_ref().descriptor()
    }
}

impl<D: Device + Descriptor> Wait for SmoltcpStack<'_, D> {
    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        wait_on(self.device().descriptor(), wake, timeout)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The service was asked to stop, and has let its connections finish.
    Drained,
    /// The service was asked to stop, and its connections had not finished in time, or it was asked twice.
    Cut,
    /// The condition of [`Driver::run_until`] came true.
    Finished,
}

/// Asks a [`Driver`] to stop, from another thread.
#[derive(Debug)]
pub struct Stopper(UnixStream);

impl Stopper {
    /// The first time the service is drained; the second time the run ends at once.
    pub fn stop(&self) {
        // A full pipe says it already.
        let _ = (&self.0).write(&[1]);
    }
}

/// Makes a [`Driver`] look at its service, from another thread.
#[derive(Debug)]
pub struct Waker(UnixStream);

impl Waker {
    /// Ends the driver's sleep.
    pub fn wake(&self) {
        // A full pipe has woken it already.
        let _ = (&self.0).write(&[WAKE]);
    }
}

/// What asks for a look alone; every other byte asks to stop, as signal-hook's do.
const WAKE: u8 = 0;

/// The loop, its clock, and what can stop it.
#[derive(Debug)]
pub struct Driver {
    start: std::time::Instant,
    wake: UnixStream,
    waker: UnixStream,
    signals: Vec<SigId>,
    grace: Duration,
    spin: Duration,
}

impl Driver {
    /// A loop with a grace of 5 seconds, whose clock starts now.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let start = std::time::Instant::now();
        Ok(Self {
            start,
            wake,
            waker,
            signals: Vec::new(),
            grace: Duration::from_secs(5),
            spin: Duration::ZERO,
        })
    }

    /// The same, giving the service's connections `grace` to finish once it is asked to stop.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The same, not sleeping before nothing has happened for `spin`: quicker answers for a busy processor.
    #[must_use]
    pub fn with_spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Takes Ctrl-C (SIGINT) and SIGTERM as a wish to stop, for as long as this value lives.
    ///
    /// # Errors
    /// The system refuses.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            let waker = self.waker.try_clone()?;
            self.signals.push(signal_hook::low_level::pipe::register(signal, waker)?);
        }
        Ok(())
    }

    /// A handle to stop it with.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.waker.try_clone().map(Stopper)
    }

    /// A handle to wake it with.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn waker(&self) -> io::Result<Waker> {
        self.waker.try_clone().map(Waker)
    }

    /// What the clock says: the time since the driver was made.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Runs `service` on `stack` until it is asked to stop.
    ///
    /// # Errors
    /// The system refuses to wait, or the network has gone: see [`Wait::wait`].
    pub fn run<S, T>(&mut self, stack: &mut S, service: &mut T) -> io::Result<End>
    where
        S: TcpStack + Wait,
        T: Service<S>,
    {
        self.run_until(stack, service, |_, _, _| false)
    }

    /// Runs `service` on `stack` until it is asked to stop, or `finished`, which is called in each round, says so.
    ///
    /// # Errors
    /// The system refuses to wait, or the network has gone: see [`Wait::wait`].
    pub fn run_until<S, T>(
        &mut self,
        stack: &mut S,
        service: &mut T,
        mut finished: impl FnMut(&mut S, &mut T, Instant) -> bool,
    ) -> io::Result<End>
    where
        S: TcpStack + Wait,
        T: Service<S>,
    {
        stack.watch(self.wake.as_fd())?;
        let mut cut_at = None;
        let mut now = self.now();
        let mut busy_until = now + self.spin;
        let mut busy_rounds = 0;
        loop {
            let service_deadline = service.poll(stack, now);
            let stack_deadline = stack.poll(now);
            if finished(stack, service, now) {
                return Ok(End::Finished);
            }
            if let Some(cut_at) = cut_at {
                if service.is_drained() {
                    return Ok(End::Drained);
                }
                if cut_at <= now {
                    return Ok(End::Cut);
                }
            }
            let deadline = earliest(earliest(service_deadline, stack_deadline), cut_at);
            let may_sleep = deadline.is_none_or(|deadline| now < deadline);
            let woken = if may_sleep && busy_until <= now {
                busy_rounds = 0;
                let woken = stack.wait(self.wake.as_fd(), deadline.map(|deadline| deadline.since(now)))?;
                now = self.now();
                busy_until = now + self.spin;
                // Most probably the network woke it: there is nothing for the service before the stack has looked.
                let _ = stack.poll(now);
                woken
            } else {
                now = self.now();
                busy_rounds += 1;
                if !may_sleep {
                    busy_until = now + self.spin;
                }
                busy_rounds % BUSY_ROUNDS == 0
            };
            match if woken { self.wishes_to_stop()? } else { 0 } {
                0 => {}
                1 if cut_at.is_none() => {
                    service.drain(stack, now, self.grace);
                    // The service cuts what is late by itself.
                    cut_at = Some(now + self.grace + Duration::from_secs(1));
                }
                _ => return Ok(End::Cut),
            }
        }
    }

    /// How many have come since the last call.
    fn wishes_to_stop(&mut self) -> io::Result<usize> {
        let mut bytes = [WAKE; 16];
        match self.wake.read(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes.into_iter().filter(|&byte| byte != WAKE).count()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for signal in self.signals.drain(..) {
            signal_hook::low_level::unregister(signal);
        }
    }
}

#[cfg(test)]
mod tests;
