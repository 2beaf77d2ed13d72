use super::NONE;
use core::marker::PhantomData;

/// What a slot contributes to a [`List`]: 4 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    next: u16,
    previous: u16,
}

impl Link {
    /// In no list.
    pub const UNLINKED: Self = Self { next: NONE, previous: NONE };
}

/// A slot that has a [`Link`] of the kind `K`: one slot can be in one list of each kind.
pub trait Linked<K> {
    /// The slot's link.
    fn link(&self) -> &Link;
    /// The slot's link, to change it.
    fn link_mut(&mut self) -> &mut Link;
}

/// A queue of slots of one slice, threaded through the slots: push, pop and removal from the middle cost O(1).
///
/// Every call takes the slice, and it must be the same one each time. Who calls knows which list a slot is in.
#[derive(Debug)]
pub struct List<K> {
    first: u16,
    last: u16,
    len: u16,
    kind: PhantomData<K>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> List<K> {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: NONE, last: NONE, len: 0, kind: PhantomData }
    }

    /// How many slots are in it.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The oldest.
    pub fn first(&self) -> Option<u16> {
        (self.first != NONE).then_some(self.first)
    }

    /// The newest.
    pub fn last(&self) -> Option<u16> {
        (self.last != NONE).then_some(self.last)
    }

    /// The one after `slot`.
    pub fn next<T: Linked<K>>(&self, slots: &[T], slot: u16) -> Option<u16> {
        let next = slots.get(usize::from(slot))?.link().next;
        (next != NONE).then_some(next)
    }

    /// Adds `slot`, which is in no list of this kind, at the end.
    pub fn push<T: Linked<K>>(&mut self, slots: &mut [T], slot: u16) {
        let last = self.last;
        let Some(added) = slots.get_mut(usize::from(slot)) else { return };
        *added.link_mut() = Link { next: NONE, previous: last };
        match slots.get_mut(usize::from(last)) {
            Some(last) => last.link_mut().next = slot,
            None => self.first = slot,
        }
        self.last = slot;
        self.len += 1;
    }

    /// Takes the oldest.
    pub fn pop<T: Linked<K>>(&mut self, slots: &mut [T]) -> Option<u16> {
        let slot = self.first()?;
        self.remove(slots, slot);
        Some(slot)
    }

    /// Takes `slot`, which is in this list, out of it.
    pub fn remove<T: Linked<K>>(&mut self, slots: &mut [T], slot: u16) {
        let Some(removed) = slots.get_mut(usize::from(slot)) else { return };
        let Link { next, previous } = core::mem::replace(removed.link_mut(), Link::UNLINKED);
        match slots.get_mut(usize::from(previous)) {
            Some(previous) => previous.link_mut().next = next,
            None => self.first = next,
        }
        match slots.get_mut(usize::from(next)) {
            Some(next) => next.link_mut().previous = previous,
            None => self.last = previous,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Queue;
    impl Linked<Queue> for Link {
        fn link(&self) -> &Link {
            self
        }
        fn link_mut(&mut self) -> &mut Link {
            self
        }
    }

    #[test]
    fn first_in_first_out_with_removal_from_the_middle() {
        let mut slots = [Link::UNLINKED; 4];
        let mut list = List::<Queue>::new();
        for slot in [2, 0, 3, 1] {
            list.push(&mut slots, slot);
        }
        list.remove(&mut slots, 3);
        list.remove(&mut slots, 2);
        assert_eq!(list.next(&slots, 0), Some(1));
        assert_eq!(list.len(), 2);
        list.push(&mut slots, 2);
        assert_eq!([(); 4].map(|()| list.pop(&mut slots)), [Some(0), Some(1), Some(2), None]);
        assert!(list.is_empty());
    }
}
