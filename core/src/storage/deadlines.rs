use super::NONE;
use crate::time::Instant;

/// What a slot contributes to [`Deadlines`]: 12 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    /// When this slot is due, in microseconds: the lower half and the upper half, for a `u64` would leave a gap of 4 bytes. Meaningful
    /// while it is in the heap.
    at: [u32; 2],
    /// Where in the heap this slot is.
    position: u16,
    /// The slot that is at this position of the heap.
    slot_here: u16,
}

impl Timer {
    /// A timer that is not running.
    pub const STOPPED: Self = Self { at: [0; 2], position: NONE, slot_here: NONE };

    /// When it is due, if it is running.
    pub fn due(&self) -> Option<Instant> {
        (self.position != NONE).then(|| self.at())
    }

    fn at(&self) -> Instant {
        let [low, high] = self.at;
        Instant::from_micros((u64::from(high) << 32) | u64::from(low))
    }

    fn set_at(&mut self, at: Instant) {
        let micros = at.as_micros();
        self.at = [micros as u32, (micros >> 32) as u32];
    }
}

/// A slot that has a [`Timer`].
pub trait Timed {
    /// The slot's timer.
    fn timer(&self) -> &Timer;
    /// The slot's timer, to change it.
    fn timer_mut(&mut self) -> &mut Timer;
}

/// A binary heap of the slots of one slice, by the time at which they are due; it lives in the slots themselves.
///
/// Every call takes the slice, and it must be the same one each time. Setting and clearing cost O(log n) of the running timers,
/// looking at the earliest one O(1).
#[derive(Debug)]
pub struct Deadlines {
    len: u16,
    /// When the first is due; meaningless while the heap is empty.
    first: Instant,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

impl Deadlines {
    /// No timer is running.
    pub const fn new() -> Self {
        Self { len: 0, first: Instant::FAR_FUTURE }
    }

    /// When the first slot is due.
    #[inline]
    pub fn earliest(&self) -> Option<Instant> {
        (self.len > 0).then_some(self.first)
    }

    /// Takes a slot that is due at `now`, stopping its timer.
    #[inline]
    pub fn take_due<T: Timed>(&mut self, slots: &mut [T], now: Instant) -> Option<u16> {
        if self.earliest()? > now {
            return None;
        }
        let (slot, _) = running(&mut Of(slots), 0);
        self.set(slots, slot, None);
        Some(slot)
    }

    /// Starts, moves or (with `None`) stops the timer of `slot`.
    pub fn set<T: Timed>(&mut self, slots: &mut [T], slot: u16, at: Option<Instant>) {
        self.change(&mut Of(slots), slot, at);
    }

    /// Not generic, and on Arm not inlined: in an image once, whatever has timers.
    #[cfg_attr(target_arch = "arm", inline(never))]
    fn change(&mut self, timers: &mut dyn Timers, slot: u16, at: Option<Instant>) {
        let Some(timer) = timers.timer(slot) else { return };
        let position = timer.position;
        match (at, position) {
            (None, NONE) => {}
            (None, hole) => {
                timer.position = NONE;
                self.len -= 1;
                if hole != self.len {
                    let (last, at) = running(timers, self.len);
                    let hole = self.hole_for(timers, at, hole);
                    self.place(timers, last, at, hole);
                }
            }
            (Some(at), _) => {
                timer.set_at(at);
                let mut hole = position;
                if hole == NONE {
                    hole = self.len;
                    self.len += 1;
                }
                let hole = self.hole_for(timers, at, hole);
                self.place(timers, slot, at, hole);
            }
        }
    }

    /// Moves the `hole` to where what is due `at` belongs.
    fn hole_for(&mut self, timers: &mut dyn Timers, at: Instant, mut hole: u16) -> u16 {
        while hole > 0 {
            let above = (hole - 1) / 2;
            let (parent, due) = running(timers, above);
            if due <= at {
                break;
            }
            self.place(timers, parent, due, hole);
            hole = above;
        }
        loop {
            let left = u32::from(hole) * 2 + 1;
            if left >= u32::from(self.len) {
                return hole;
            }
            let mut below = left as u16;
            let (mut child, mut due) = running(timers, below);
            if below + 1 < self.len {
                let (right, right_due) = running(timers, below + 1);
                if right_due < due {
                    (below, child, due) = (below + 1, right, right_due);
                }
            }
            if at <= due {
                return hole;
            }
            self.place(timers, child, due, hole);
            hole = below;
        }
    }

    fn place(&mut self, timers: &mut dyn Timers, slot: u16, at: Instant, position: u16) {
        if position == 0 {
            self.first = at;
        }
        if let Some(timer) = timers.timer(position) {
            timer.slot_here = slot;
        }
        if let Some(timer) = timers.timer(slot) {
            timer.position = position;
        }
    }
}

/// The timers of a slice.
trait Timers {
    fn timer(&mut self, index: u16) -> Option<&mut Timer>;
}

struct Of<'a, T>(&'a mut [T]);

impl<T: Timed> Timers for Of<'_, T> {
    fn timer(&mut self, index: u16) -> Option<&mut Timer> {
        self.0.get_mut(usize::from(index)).map(T::timer_mut)
    }
}

/// The slot at `position` of the heap, and when it is due.
fn running(timers: &mut dyn Timers, position: u16) -> (u16, Instant) {
    let slot = timers.timer(position).map_or(NONE, |timer| timer.slot_here);
    let due = timers.timer(slot).map_or(Instant::FAR_FUTURE, |timer| timer.at());
    (slot, due)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Timed for Timer {
        fn timer(&self) -> &Timer {
            self
        }
        fn timer_mut(&mut self) -> &mut Timer {
            self
        }
    }

    /// A sorted list says what the heap must say, over 20,000 random steps.
    #[test]
    fn agrees_with_a_sorted_list() {
        const N: u16 = 50;
        let mut slots = [Timer::STOPPED; N as usize];
        let mut heap = Deadlines::new();
        let mut model = [None::<Instant>; N as usize];
        let mut random = 1u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..20_000 {
            let slot = next(u64::from(N)) as u16;
            match next(4) {
                0 => {
                    heap.set(&mut slots, slot, None);
                    model[slot as usize] = None;
                }
                1 => {
                    let now = Instant::from_micros(next(1_000));
                    let due = heap.take_due(&mut slots, now);
                    let first = model.iter().flatten().min().copied();
                    assert_eq!(due.is_some(), first.is_some_and(|first| first <= now));
                    if let Some(due) = due {
                        assert_eq!(model[due as usize].take(), first);
                    }
                }
                _ => {
                    let at = Instant::from_micros(next(1_000));
                    heap.set(&mut slots, slot, Some(at));
                    model[slot as usize] = Some(at);
                }
            }
            assert_eq!(heap.earliest(), model.iter().flatten().min().copied());
            for (slot, at) in slots.iter().zip(&model) {
                assert_eq!(slot.due(), *at);
            }
        }
    }

    #[test]
    fn a_slot_that_is_not_there_changes_nothing() {
        let mut slots = [Timer::STOPPED; 2];
        let mut heap = Deadlines::new();
        heap.set(&mut slots, 7, Some(Instant::ZERO));
        assert_eq!(heap.earliest(), None);
    }
}
