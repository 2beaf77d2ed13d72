//! Ctrl-C and SIGTERM, also when the loop that takes them is stuck.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;

/// Ends the program at a signal that comes while one is unheard.
#[derive(Debug)]
pub(crate) struct Unheard(Arc<AtomicBool>);

impl Unheard {
    /// From now on. To be called before [`stop_on_signals`](socklet_hosted::driver::Driver::stop_on_signals).
    pub(crate) fn watch() -> io::Result<Self> {
        let unheard = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&unheard))?;
            signal_hook::flag::register(signal, Arc::clone(&unheard))?;
        }
        Ok(Self(unheard))
    }

    /// The loop has heard of it, and so will of the next.
    pub(crate) fn heard(&self) {
        self.0.store(false, SeqCst);
    }
}
