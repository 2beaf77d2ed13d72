use super::NONE;
use crate::time::Instant;

/// What a slot contributes to [`Deadlines`]: 16 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    /// When this slot is due; meaningful while it is in the heap.
    at: Instant,
    /// Where in the heap this slot is.
    position: u16,
    /// The slot that is at this position of the heap.
    slot_here: u16,
}

impl Timer {
    /// A timer that is not running.
    pub const STOPPED: Self = Self { at: Instant::ZERO, position: NONE, slot_here: NONE };

    /// When it is due, if it is running.
    pub fn due(&self) -> Option<Instant> {
        (self.position != NONE).then_some(self.at)
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
        let slot = slot_at(slots, 0);
        self.clear(slots, slot);
        Some(slot)
    }

    /// Starts, moves or (with `None`) stops the timer of `slot`.
    pub fn set<T: Timed>(&mut self, slots: &mut [T], slot: u16, at: Option<Instant>) {
        let Some(at) = at else { return self.clear(slots, slot) };
        let Some(timer) = slots.get_mut(usize::from(slot)).map(T::timer_mut) else { return };
        let position = timer.position;
        timer.at = at;
        let position = if position == NONE {
            let last = self.len;
            self.len += 1;
            place(slots, slot, last);
            last
        } else {
            position
        };
        self.settle(slots, position);
    }

    fn clear<T: Timed>(&mut self, slots: &mut [T], slot: u16) {
        let Some(timer) = slots.get_mut(usize::from(slot)).map(T::timer_mut) else { return };
        let hole = core::mem::replace(&mut timer.position, NONE);
        if hole == NONE {
            return;
        }
        self.len -= 1;
        if hole != self.len {
            let moved = slot_at(slots, self.len);
            place(slots, moved, hole);
            self.settle(slots, hole);
        }
    }

    /// Moves the slot at `position` to where it belongs.
    fn settle<T: Timed>(&mut self, slots: &mut [T], position: u16) {
        let position = sift_up(slots, position);
        sift_down(slots, position, self.len);
        self.first = due_at(slots, 0);
    }
}

#[cfg_attr(target_arch = "arm", inline(never))]
fn slot_at<T: Timed>(slots: &[T], position: u16) -> u16 {
    slots.get(usize::from(position)).map_or(NONE, |slot| slot.timer().slot_here)
}

#[cfg_attr(target_arch = "arm", inline(never))]
fn due_at<T: Timed>(slots: &[T], position: u16) -> Instant {
    let slot = slot_at(slots, position);
    slots.get(usize::from(slot)).map_or(Instant::FAR_FUTURE, |slot| slot.timer().at)
}

#[cfg_attr(target_arch = "arm", inline(never))]
fn place<T: Timed>(slots: &mut [T], slot: u16, position: u16) {
    if let Some(at) = slots.get_mut(usize::from(position)) {
        at.timer_mut().slot_here = slot;
    }
    if let Some(moved) = slots.get_mut(usize::from(slot)) {
        moved.timer_mut().position = position;
    }
}

fn swap<T: Timed>(slots: &mut [T], a: u16, b: u16) {
    let (at_a, at_b) = (slot_at(slots, a), slot_at(slots, b));
    place(slots, at_a, b);
    place(slots, at_b, a);
}

fn sift_up<T: Timed>(slots: &mut [T], mut position: u16) -> u16 {
    while position > 0 {
        let parent = (position - 1) / 2;
        if due_at(slots, parent) <= due_at(slots, position) {
            break;
        }
        swap(slots, parent, position);
        position = parent;
    }
    position
}

fn sift_down<T: Timed>(slots: &mut [T], mut position: u16, len: u16) {
    loop {
        let left = usize::from(position) * 2 + 1;
        if left >= usize::from(len) {
            return;
        }
        let left = left as u16;
        let right = left + 1;
        let child = if right < len && due_at(slots, right) < due_at(slots, left) { right } else { left };
        if due_at(slots, position) <= due_at(slots, child) {
            return;
        }
        swap(slots, position, child);
        position = child;
    }
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
