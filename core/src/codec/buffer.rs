use crate::storage::ManagedSlice;

/// The unfinished frame, in the caller's memory.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    bytes: ManagedSlice<'a, u8>,
    len: usize,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(bytes: ManagedSlice<'a, u8>) -> Self {
        Self { bytes, len: 0 }
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds all of it, or says `false` and adds nothing.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let Some(free) = self.bytes.get_mut(self.len..) else { return false };
        let Some(free) = free.get_mut(..piece.len()) else { return false };
        free.copy_from_slice(piece);
        self.len += piece.len();
        true
    }

    /// The frame is complete: gives it, and is empty for the next one.
    pub(super) fn take(&mut self) -> &[u8] {
        let len = core::mem::take(&mut self.len);
        self.bytes.get(..len).unwrap_or_default()
    }
}
