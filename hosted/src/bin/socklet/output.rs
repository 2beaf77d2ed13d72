use crate::failure::Failure;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use socklet_hosted::driver::Waker;
use std::io::{self, Write, stdout};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// Lines on the way to a standard output that is slow.
const LINES: usize = 4096;
/// How long the last lines may take at the end.
const REST: Duration = Duration::from_secs(1);

/// Why standard output could not be written, other than that its reader went away.
static ERROR: OnceLock<io::Error> = OnceLock::new();

/// Whether all that was printed could be: for the end of a command that worked.
pub(crate) fn check() -> Result<(), Failure> {
    match ERROR.get() {
        None => Ok(()),
        Some(error) => Err(Failure::failed(format_args!(
            "standard output cannot be written ({error}): free the disk, or redirect it elsewhere"
        ))),
    }
}

/// Standard output, whose reader may go away.
#[derive(Debug, Default)]
pub(crate) struct Output {
    closed: bool,
}

impl Output {
    /// Prints a line, unless nobody reads any more.
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        if self.closed {
            return;
        }
        let mut out = stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                // The first one is enough.
                let _ = ERROR.set(error);
            }
        }
    }
}

/// Standard output for loops that must not wait for its reader: a thread of its own writes. What comes too fast for it is left out.
///
/// All clones are the same; the last one waits a little for the last lines.
#[derive(Debug, Clone)]
pub(crate) struct Background(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    /// `None` once it is over.
    lines: Option<SyncSender<String>>,
    /// Disconnected once the thread has ended.
    over: Mutex<Receiver<()>>,
    shared: Arc<Shared>,
}

/// What the thread and the loops know.
#[derive(Debug, Default)]
struct Shared {
    closed: AtomicBool,
    left_out: AtomicU64,
    /// To be told that it is closed.
    wakers: Mutex<Vec<Waker>>,
}

impl Background {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self, Failure> {
        let (lines, receiver) = sync_channel(LINES);
        let (alive, over) = channel::<()>();
        let shared = Arc::new(Shared::default());
        let body = {
            let shared = Arc::clone(&shared);
            move || {
                shared.print(&receiver, &mut Output::default());
                drop(alive);
            }
        };
        thread::Builder::new().name("output".into()).spawn(body).map_err(|error| {
            Failure::failed(format_args!("no thread can be started ({error}): raise `ulimit -u`"))
        })?;
        Ok(Self(Arc::new(Queue { lines: Some(lines), over: Mutex::new(over), shared })))
    }

    /// Prints a line at some time soon, unless nobody reads any more.
    pub(crate) fn line(&self, line: impl fmt::Display) {
        let Queue { lines: Some(lines), shared, .. } = &*self.0 else { return };
        if self.is_closed() {
            return;
        }
        let before = shared.left_out.swap(0, SeqCst);
        let told = before == 0 || lines.try_send(left_out(before)).is_ok();
        if !told || lines.try_send(line.to_string()).is_err() {
            shared.left_out.fetch_add(if told { 1 } else { before + 1 }, SeqCst);
        }
    }

    /// Whether nobody reads what it prints, or it cannot be written.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.shared.closed.load(SeqCst)
    }

    /// Lets a loop look whether it is closed when that happens; what has happened already it must see by itself.
    pub(crate) fn wakes(&self, waker: Waker) {
        self.0.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }
}

fn left_out(lines: u64) -> String {
    let plural = if lines == 1 { " was" } else { "s were" };
    format!("({lines} line{plural} left out here: standard output takes them too slowly)")
}

impl Shared {
    fn print(&self, lines: &Receiver<String>, out: &mut Output) {
        for line in lines {
            out.line(line);
            if out.closed {
                self.closed.store(true, SeqCst);
                self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Waker::wake);
                return;
            }
        }
        let last = self.left_out.swap(0, SeqCst);
        if last > 0 {
            out.line(left_out(last));
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.lines = None;
        // Either way it is over.
        let _ = self.over.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(REST);
    }
}
