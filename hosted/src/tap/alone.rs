//! Whether another frame waits behind what just happened: a read that most probably finds nothing can be left out.
//!
//! A branch predictor: what came of a read depends on the last few frames, reads that found nothing, and frames sent. In a ping-pong a read
//! after an answer finds nothing; the answer to a SYN brings the acknowledgement at once, from a peer on the same host, and nothing else.

use core::cell::Cell;

/// So many reads in a row must have found nothing in this situation.
const SURE: u8 = 8;
/// One in so many reads is not left out, to see whether that is still so.
const PROBE: u8 = 16;
/// Situations told apart, by a hash.
const SITUATIONS: usize = 256;
/// Reads that may be left out between two waits: the loop looks about twice before it sleeps.
const CREDIT: u8 = 3;

/// What happened, in two bits; a situation is the last eight.
#[derive(Debug, Clone, Copy)]
enum Happened {
    Frame = 1,
    None = 2,
    Sent = 3,
}

/// Watches the outcomes of reads.
#[derive(Debug)]
pub(super) struct Alone {
    last: u16,
    /// For each situation: reads in a row that found nothing.
    nothing: [u8; SITUATIONS],
    /// What a loop that waits on the descriptor's level has granted: a frame that was not looked for ends its wait at once.
    credit: Cell<u8>,
    /// Nothing was looked for since the wait.
    fresh: Cell<bool>,
}

impl Default for Alone {
    fn default() -> Self {
        Self { last: 0, nothing: [0; SITUATIONS], credit: Cell::new(0), fresh: Cell::new(false) }
    }
}

impl Alone {
    /// The loop is about to wait.
    pub(super) fn allow(&self) {
        self.credit.set(CREDIT);
        self.fresh.set(true);
    }

    /// Whether there is most probably no frame. Never right after a wait, which most probably had a reason to end.
    pub(super) fn expects_none(&mut self) -> bool {
        let count = *self.count();
        let fresh = self.fresh.replace(false);
        if fresh || count < SURE || count.is_multiple_of(PROBE) || self.credit.get() == 0 {
            return false;
        }
        self.credit.set(self.credit.get() - 1);
        self.none();
        true
    }

    /// A frame was sent.
    pub(super) fn sent(&mut self) {
        self.note(Happened::Sent);
    }

    /// A read found a frame.
    pub(super) fn frame(&mut self) {
        *self.count() = 0;
        self.note(Happened::Frame);
    }

    /// A read found nothing, or would have.
    pub(super) fn none(&mut self) {
        let count = self.count();
        // From the end back to the probe, not to doubt.
        *count = count.checked_add(1).unwrap_or(PROBE);
        self.note(Happened::None);
    }

    fn note(&mut self, happened: Happened) {
        self.last = (self.last << 2) | happened as u16;
    }

    fn count(&mut self) -> &mut u8 {
        let hash = u32::from(self.last).wrapping_mul(0x9e37_79b1) >> (u32::BITS - SITUATIONS.ilog2());
        &mut self.nothing[hash as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for a frame where there is none. Returns whether the read was left out.
    fn look(alone: &mut Alone) -> bool {
        let expected = alone.expects_none();
        if !expected {
            alone.none();
        }
        expected
    }

    /// A question and its answer, nothing behind it, and a wait. Returns how many of the reads that find nothing were made.
    fn ping_pong(alone: &mut Alone) -> usize {
        alone.allow();
        assert!(!alone.expects_none(), "after a wait there is a frame");
        alone.frame();
        alone.sent();
        let reads = [look(alone), look(alone)];
        reads.into_iter().filter(|left_out| !left_out).count()
    }

    #[test]
    fn reads_are_left_out_once_it_is_known_what_follows() {
        let mut alone = Alone::default();
        let reads: usize = (0..100).map(|_| ping_pong(&mut alone)).sum();
        // Eight in each of the two situations to learn, and once more each while the past still looks different; then one in sixteen.
        assert!((16..50).contains(&reads), "{reads} of 200");
        let reads: usize = (0..320).map(|_| ping_pong(&mut alone)).sum();
        assert_eq!(reads, 2 * 320 / 16);
    }

    #[test]
    fn a_frame_after_many_waits_in_vain_is_found_at_once() {
        let mut alone = Alone::default();
        for _ in 0..100 {
            alone.allow();
            assert!(!look(&mut alone));
            look(&mut alone);
        }
        alone.allow();
        assert!(!alone.expects_none());
    }

    #[test]
    fn the_same_past_with_another_future_is_not_guessed() {
        let mut alone = Alone::default();
        for round in 0..1_000u32 {
            alone.allow();
            alone.frame();
            if round % 3 == 0 {
                assert!(!alone.expects_none());
                alone.frame();
            }
            look(&mut alone);
            look(&mut alone);
        }
    }

    #[test]
    fn a_loop_that_does_not_wait_gets_every_read_but_a_few() {
        let mut alone = Alone::default();
        (0..100).for_each(|_| assert!(!look(&mut alone)));
        alone.allow();
        assert!(!look(&mut alone));
        assert_eq!((0..100).filter(|_| look(&mut alone)).count(), usize::from(CREDIT));
    }
}
