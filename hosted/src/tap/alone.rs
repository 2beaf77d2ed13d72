//! Whether frames come one at a time: then the read after each, which most probably finds nothing, can be left out.

use core::cell::Cell;

/// So many frames in a row must have come alone.
const SURE: u32 = 8;

/// One in so many reads is not left out, to see whether that is still so.
const PROBE: u32 = 16;

/// Watches the outcomes of reads.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// Frames in a row after which there was none.
    count: u32,
    after_frame: bool,
    /// Set by a loop that waits on the descriptor's level: a frame that was not looked for ends its next wait at once.
    allowed: Cell<bool>,
}

impl Alone {
    pub(super) fn allow(&self) {
        self.allowed.set(true);
    }

    /// Whether there is most probably no frame; never twice in a row.
    pub(super) fn expects_none(&mut self) -> bool {
        let expects =
            self.allowed.get() && self.after_frame && self.count >= SURE && !self.count.is_multiple_of(PROBE);
        if expects {
            self.none();
        }
        expects
    }

    /// A frame was sent: what is read next came after it, and says nothing of frames that come together.
    pub(super) fn sent(&mut self) {
        self.after_frame = false;
    }

    /// A read found a frame.
    pub(super) fn frame(&mut self) {
        if self.after_frame {
            self.count = 0;
        }
        self.after_frame = true;
    }

    /// A read found nothing, or would have.
    pub(super) fn none(&mut self) {
        if self.after_frame {
            self.count = self.count.wrapping_add(1);
        }
        self.after_frame = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One frame, alone. Returns whether the read after it was left out.
    fn one_frame(alone: &mut Alone) -> bool {
        assert!(!alone.expects_none());
        alone.frame();
        let expected = alone.expects_none();
        if !expected {
            alone.none();
        }
        expected
    }

    #[test]
    fn reads_are_left_out_once_frames_come_alone() {
        let mut alone = Alone::default();
        alone.allow();
        let reads = (0..100).filter(|_| !one_frame(&mut alone)).count();
        assert_eq!(reads, 8 + 6, "eight to learn, then one in sixteen");
    }

    #[test]
    fn two_frames_at_once_end_it() {
        let mut alone = Alone::default();
        alone.allow();
        while !one_frame(&mut alone) {}
        // Until the next read that is not left out, which finds a second frame.
        loop {
            alone.frame();
            if !alone.expects_none() {
                break;
            }
        }
        alone.frame();
        alone.none();
        assert!((1..8).all(|_| !one_frame(&mut alone)), "it has to learn again");
        assert!(one_frame(&mut alone));
    }

    #[test]
    fn nothing_is_left_out_unless_allowed() {
        let mut alone = Alone::default();
        assert!((0..100).all(|_| !one_frame(&mut alone)));
    }
}
