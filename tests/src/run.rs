use crate::testbed::{Testbed, World};
use socklet::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

/// How long one behaviour may take; ten minutes where a long stream was asked for.
fn real_limit() -> Duration {
    let long = std::env::var_os("SOCKLET_STREAM_MIB").is_some() || !cfg!(debug_assertions);
    Duration::from_secs(if long { 600 } else { 60 })
}

/// Tries one behaviour in a world of its own, on a thread of its own.
///
/// # Panics
/// When the stack does something else, or does not end: also when a call into the stack never returns.
pub fn run(world: Box<dyn FnOnce() -> Box<dyn World> + Send>, behaviour: fn(&mut Testbed)) {
    let limit = real_limit();
    let (done, wait) = channel();
    let thread = thread::spawn(move || {
        behaviour(&mut Testbed::new(world(), limit));
        let _ = done.send(());
    });
    match wait.recv_timeout(limit + Duration::from_secs(5)) {
        Err(RecvTimeoutError::Timeout) => panic!("a call into the stack has not returned within {limit:?}"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
