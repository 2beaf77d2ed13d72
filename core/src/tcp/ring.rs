//! A ring of bytes over the caller's memory: the send buffer and the receive buffer.

use crate::storage::ManagedSlice;

pub(super) struct Ring<'a> {
    bytes: ManagedSlice<'a, u8>,
    head: usize,
    len: usize,
}

impl<'a> Ring<'a> {
    pub(super) const fn new(bytes: ManagedSlice<'a, u8>) -> Self {
        Self { bytes, head: 0, len: 0 }
    }

    /// Returns the number of bytes that fit: at most 1 GiB (RFC 7323, section 2.3).
    pub(super) fn capacity(&self) -> usize {
        self.bytes.len().min(1 << 30)
    }

    /// Returns the number of readable bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn free(&self) -> usize {
        self.capacity() - self.len
    }

    pub(super) fn clear(&mut self) {
        (self.head, self.len) = (0, 0);
    }

    fn place(&self, offset: usize) -> usize {
        let (at, capacity) = (self.head + offset, self.capacity());
        if at < capacity { at } else { at - capacity }
    }

    /// Returns `len` bytes from `offset` behind the head, in two parts where the ring wraps.
    pub(super) fn slices(&self, offset: usize, len: usize) -> [&[u8]; 2] {
        let len = len.min(self.capacity());
        let at = self.place(offset);
        let first = len.min(self.capacity() - at);
        [self.bytes.get(at..at + first).unwrap_or(&[]), self.bytes.get(..len - first).unwrap_or(&[])]
    }

    /// Returns the readable bytes up to where the ring wraps.
    pub(super) fn front(&self) -> &[u8] {
        let end = (self.head + self.len).min(self.capacity());
        self.bytes.get(self.head..end).unwrap_or(&[])
    }

    /// Writes `data` from `offset` behind the head without making it readable. What exceeds the ring is cut.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let (at, capacity) = (self.place(offset), self.capacity());
        let (one, two) = data.split_at_checked(capacity - at).unwrap_or((data, &[]));
        if let Some(place) = self.bytes.get_mut(at..at + one.len()) {
            place.copy_from_slice(one);
        }
        if let Some(place) = self.bytes.get_mut(..two.len()) {
            place.copy_from_slice(two);
        }
    }

    /// Returns the longest contiguous free piece behind the readable bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.len == 0 {
            self.head = 0;
        }
        let at = self.place(self.len);
        let end = (at + self.free()).min(self.capacity());
        self.bytes.get_mut(at..end).unwrap_or(&mut [])
    }

    /// Makes `len` more bytes readable.
    pub(super) fn commit(&mut self, len: usize) {
        self.len = (self.len + len).min(self.capacity());
    }

    /// Drops `len` readable bytes.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.head = self.place(len);
        self.len -= len;
    }

    /// Moves the head to the start while the ring is empty and nothing is written ahead of it: then all of it is contiguous.
    pub(super) fn settle(&mut self) {
        if self.len == 0 {
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_across_the_wrap() {
        let mut memory = [0; 10];
        let mut ring = Ring::new(ManagedSlice::Borrowed(&mut memory));
        let (mut written, mut read) = (0u8, 0u8);
        for step in 0..200 {
            let count = (step % 7).min(ring.free());
            let data: Vec<u8> = (0..count as u8).map(|at| written.wrapping_add(at)).collect();
            ring.write(ring.len(), &data);
            ring.commit(count);
            written = written.wrapping_add(count as u8);
            let taken = (step % 5).min(ring.len());
            let [one, two] = ring.slices(0, taken);
            for byte in one.iter().chain(two) {
                assert_eq!(*byte, read);
                read = read.wrapping_add(1);
            }
            ring.consume(taken);
            assert!(ring.front().len() <= ring.len() && (ring.front().is_empty() == (ring.len() == 0)));
        }
    }

    #[test]
    fn a_ring_of_no_size_takes_nothing() {
        let mut ring = Ring::new(ManagedSlice::Borrowed(&mut []));
        ring.write(0, b"abc");
        ring.commit(3);
        assert_eq!((ring.len(), ring.free(), ring.room().len(), ring.front().len()), (0, 0, 0, 0));
    }
}
