//! The Ethernet controller of Stellaris LM3S parts.

use super::{Errors, FRAME, Fifo, pack, unpack};
use crate::registers::Registers;

const RIS_IACK: usize = 0x00;
const IM: usize = 0x04;
const RCTL: usize = 0x08;
const TCTL: usize = 0x0c;
const DATA: usize = 0x10;
const IA0: usize = 0x14;
const IA1: usize = 0x18;
const NP: usize = 0x34;
const TR: usize = 0x38;

/// RIS, IM: a frame has come; sending failed (taken back, it also empties the sender's FIFO); the receiver ran over.
const RX: u32 = 1 << 0;
const TX_ERROR: u32 = 1 << 1;
const RX_OVERRUN: u32 = 1 << 3;
/// RCTL: on, multicast passes, drop bad frames, empty the FIFO.
const RX_ON: u32 = 1 << 0 | 1 << 1 | 1 << 3;
const RX_EMPTY: u32 = 1 << 4;
/// TCTL: on, pad, append the checksum, full duplex.
const TX_ON: u32 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4;

/// Two bytes of length stand before a frame, and its checksum behind.
const LENGTH: usize = 2;
const CHECKSUM: usize = 4;
const HEADER: usize = 14;

/// The controller.
pub struct Stellaris {
    chip: Registers,
    errors: Errors,
}

impl Stellaris {
    /// Switches the controller on.
    pub(crate) fn start(chip: Registers) -> Self {
        chip.write(RCTL, RX_EMPTY);
        chip.write(RIS_IACK, u32::MAX);
        chip.write(IM, RX);
        chip.write(TCTL, TX_ON);
        chip.write(RCTL, RX_ON);
        Self { chip, errors: Errors::default() }
    }

    /// Counts the errors that the controller has seen, and takes back every interrupt.
    fn acknowledge(&mut self) {
        let status = self.chip.read(RIS_IACK);
        self.chip.write(RIS_IACK, RX | status & (RX_OVERRUN | TX_ERROR));
        self.errors.received = self.errors.received.wrapping_add(u32::from(status & RX_OVERRUN != 0));
        self.errors.sent = self.errors.sent.wrapping_add(u32::from(status & TX_ERROR != 0));
    }
}

impl Fifo for Stellaris {
    fn hardware_address(&self) -> [u8; 6] {
        let [a, b, c, d] = self.chip.read(IA0).to_le_bytes();
        let [e, f, ..] = self.chip.read(IA1).to_le_bytes();
        [a, b, c, d, e, f]
    }

    fn take(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        self.acknowledge();
        let waiting = self.chip.read(NP) & 0x3f;
        for _ in 0..waiting {
            // The first word holds the length of all that follows, itself included, and the frame's first two bytes.
            let first = self.chip.read(DATA);
            let all = (first & 0xffff) as usize;
            let length = all.saturating_sub(LENGTH + CHECKSUM);
            let words = all.div_ceil(4).saturating_sub(1);
            let [_, _, a, b] = first.to_le_bytes();
            let Some((start, rest)) = frame.get_mut(..length).and_then(|frame| frame.split_first_chunk_mut())
            else {
                (0..words).for_each(|_| _ = self.chip.read(DATA));
                self.errors.received = self.errors.received.wrapping_add(1);
                continue;
            };
            *start = [a, b];
            unpack(rest, || self.chip.read(DATA));
            (rest.len().div_ceil(4)..words).for_each(|_| _ = self.chip.read(DATA));
            return Some(length);
        }
        None
    }

    /// The FIFO holds one frame, and TR is set while it is being sent.
    fn has_room(&mut self) -> bool {
        self.chip.read(TR) & 1 == 0
    }

    fn put(&mut self, frame: &[u8]) {
        let Some((&[a, b], rest)) = frame.split_first_chunk() else {
            self.errors.sent = self.errors.sent.wrapping_add(1);
            return;
        };
        let [low, high, ..] = (frame.len().saturating_sub(HEADER) as u32).to_le_bytes();
        self.chip.write(DATA, u32::from_le_bytes([low, high, a, b]));
        pack(rest, |word| self.chip.write(DATA, word));
        self.chip.write(TR, 1);
    }

    fn errors(&self) -> Errors {
        self.errors
    }
}
