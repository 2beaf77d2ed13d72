use super::{Deadlines, MAX_SLOTS, ManagedSlice, NONE, Timed, Timer};
use crate::time::Instant;
use core::fmt;

/// Names a value in a [`Slab`]; it goes stale when the value is removed, and never names another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Id {
    index: u16,
    generation: u32,
}

impl Id {
    /// The slot's index, from 0 to the capacity: for a table of one's own beside the slab.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

/// Memory for one value of a [`Slab`]: the value and 24 bytes at most.
#[derive(Debug)]
pub struct SlabSlot<T> {
    value: Option<T>,
    timer: Timer,
    generation: u32,
    next_free: u16,
}

impl<T> SlabSlot<T> {
    /// An empty slot: what storage is filled with before it is given away.
    pub const EMPTY: Self = Self { value: None, timer: Timer::STOPPED, generation: 0, next_free: NONE };
}

impl<T> Default for SlabSlot<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T> Timed for SlabSlot<T> {
    fn timer(&self) -> &Timer {
        &self.timer
    }
    fn timer_mut(&mut self) -> &mut Timer {
        &mut self.timer
    }
}

/// Values behind generation-checked [`Id`]s, each with a deadline, in storage of fixed size.
///
/// Inserting and removing cost O(1), a deadline O(log n) of those that are set. A slot is used again as late as possible.
#[derive(Debug)]
pub struct Slab<'a, T> {
    slots: ManagedSlice<'a, SlabSlot<T>>,
    deadlines: Deadlines,
    first_free: u16,
    last_free: u16,
    len: usize,
}

impl<'a, T> Slab<'a, T> {
    /// An empty slab; what `storage` held is dropped.
    pub fn new(storage: impl Into<ManagedSlice<'a, SlabSlot<T>>>) -> Self {
        let mut slots = storage.into();
        let capacity = slots.len().min(MAX_SLOTS);
        for (index, slot) in slots.iter_mut().enumerate() {
            slot.value = None;
            slot.timer = Timer::STOPPED;
            slot.next_free = if index + 1 < capacity { index as u16 + 1 } else { NONE };
        }
        let (first_free, last_free) = if capacity == 0 { (NONE, NONE) } else { (0, capacity as u16 - 1) };
        Self { slots, deadlines: Deadlines::new(), first_free, last_free, len: 0 }
    }

    /// How many values it has room for.
    pub fn capacity(&self) -> usize {
        self.slots.len().min(MAX_SLOTS)
    }

    /// How many values are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the next [`insert`](Self::insert) would give the value back.
    pub fn is_full(&self) -> bool {
        self.first_free == NONE
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// The value itself, when the slab is full.
    pub fn insert(&mut self, value: T) -> Result<Id, T> {
        let index = self.first_free;
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return Err(value) };
        self.first_free = slot.next_free;
        if self.first_free == NONE {
            self.last_free = NONE;
        }
        slot.value = Some(value);
        self.len += 1;
        Ok(Id { index, generation: slot.generation })
    }

    /// Takes a value out. Its id is stale from now on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        self.deadlines.set(&mut self.slots, id.index, None);
        let slot = self.slots.get_mut(id.index())?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next_free = NONE;
        let value = slot.value.take();
        match self.slots.get_mut(usize::from(self.last_free)) {
            Some(last) => last.next_free = id.index,
            None => self.first_free = id.index,
        }
        self.last_free = id.index;
        self.len -= 1;
        value
    }

    /// The value that `id` names.
    pub fn get(&self, id: Id) -> Option<&T> {
        let slot = self.slots.get(id.index())?;
        if slot.generation == id.generation { slot.value.as_ref() } else { None }
    }

    /// The value that `id` names, to change it.
    #[cfg_attr(target_arch = "arm", inline(never))]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation == id.generation { slot.value.as_mut() } else { None }
    }

    /// The id of the value at `index`, if there is one.
    pub fn id_at(&self, index: usize) -> Option<Id> {
        let slot = self.slots.get(index)?;
        slot.value.as_ref()?;
        Some(Id { index: u16::try_from(index).ok()?, generation: slot.generation })
    }

    /// All values, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            Some((Id { index: index as u16, generation: slot.generation }, slot.value.as_ref()?))
        })
    }

    /// Sets or (with `None`) clears the deadline of `id`.
    pub fn set_deadline(&mut self, id: Id, at: Option<Instant>) {
        if self.get(id).is_some() {
            self.deadlines.set(&mut self.slots, id.index, at);
        }
    }

    /// The deadline of `id`.
    pub fn deadline(&self, id: Id) -> Option<Instant> {
        self.get(id)?;
        self.slots.get(id.index())?.timer.due()
    }

    /// The earliest of all deadlines.
    pub fn earliest(&self) -> Option<Instant> {
        self.deadlines.earliest()
    }

    /// Takes one whose deadline has come, clearing the deadline.
    pub fn take_due(&mut self, now: Instant) -> Option<Id> {
        let index = self.deadlines.take_due(&mut self.slots, now)?;
        self.id_at(usize::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_slab_gives_the_value_back() {
        let mut storage = [SlabSlot::EMPTY; 2];
        let mut slab = Slab::new(&mut storage[..]);
        slab.insert('a').unwrap();
        slab.insert('b').unwrap();
        assert!(slab.is_full());
        assert_eq!(slab.insert('c'), Err('c'));
    }

    #[test]
    fn a_stale_id_does_not_name_the_next_value() {
        let mut storage = [SlabSlot::EMPTY; 1];
        let mut slab = Slab::new(&mut storage[..]);
        let a = slab.insert('a').unwrap();
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.get(b), slab.len()), (Some(&'b'), 1));
    }

    #[test]
    fn slots_are_used_again_as_late_as_possible() {
        let mut storage = [SlabSlot::EMPTY; 3];
        let mut slab = Slab::new(&mut storage[..]);
        let a = slab.insert(0).unwrap();
        slab.remove(a);
        assert_eq!([1, 2, 3].map(|value| slab.insert(value).unwrap().index()), [1, 2, 0]);
    }

    #[test]
    fn no_storage_no_values() {
        let mut slab = Slab::new(&mut [][..]);
        assert_eq!(slab.insert(1), Err(1));
        assert_eq!((slab.capacity(), slab.earliest()), (0, None));
    }

    #[test]
    fn a_removed_value_is_never_due() {
        let mut storage = [SlabSlot::EMPTY; 2];
        let mut slab = Slab::new(&mut storage[..]);
        let (a, b) = (slab.insert('a').unwrap(), slab.insert('b').unwrap());
        slab.set_deadline(a, Some(Instant::from_secs(1)));
        slab.set_deadline(b, Some(Instant::from_secs(2)));
        slab.remove(a);
        assert_eq!(slab.earliest(), Some(Instant::from_secs(2)));
        assert_eq!(slab.take_due(Instant::from_secs(1)), None);
        assert_eq!(slab.take_due(Instant::from_secs(2)), Some(b));
        assert_eq!(slab.deadline(b), None);
    }
}
