//! SMSC LAN9118, through its FIFO registers.

use super::{Errors, FRAME, Fifo, pack, unpack};
use crate::registers::Registers;

const RX_DATA: usize = 0x00;
const TX_DATA: usize = 0x20;
const RX_STATUS: usize = 0x40;
const TX_STATUS: usize = 0x48;
const IRQ_CFG: usize = 0x54;
const INT_STS: usize = 0x58;
const INT_EN: usize = 0x5c;
const FIFO_INT: usize = 0x68;
const TX_CFG: usize = 0x70;
const HW_CFG: usize = 0x74;
const RX_FIFO_INF: usize = 0x7c;
const TX_FIFO_INF: usize = 0x80;
const MAC_CSR_CMD: usize = 0xa4;
const MAC_CSR_DATA: usize = 0xa8;

/// INT_STS, INT_EN: more frames than the level in FIFO_INT are waiting.
const RX_LEVEL: u32 = 1 << 3;
/// IRQ_CFG: enabled, active high, push-pull.
const IRQ_ON: u32 = 1 << 8 | 1 << 4 | 1;
/// HW_CFG: store and forward; 5 KiB of the FIFO for sending.
const STORE_AND_FORWARD: u32 = 1 << 20 | 5 << 16;
const SOFT_RESET: u32 = 1;
const TX_ON: u32 = 1 << 1;
/// TX command A: first and last part of the frame.
const WHOLE_FRAME: u32 = 1 << 13 | 1 << 12;
/// RX and TX status: the frame is bad.
const ERROR: u32 = 1 << 15;

const MAC_CR: u32 = 1;
const MAC_ADDRH: u32 = 2;
const MAC_ADDRL: u32 = 3;
/// MAC_CR: multicast passes; transmitter and receiver on.
const MAC_ON: u32 = 1 << 19 | 1 << 3 | 1 << 2;
const MAC_BUSY: u32 = 1 << 31;
const MAC_READ: u32 = 1 << 30;

/// How often a register is read for a bit that the chip changes within microseconds.
const PATIENCE: u32 = 10_000;

/// The chip.
pub struct Lan9118 {
    chip: Registers,
    errors: Errors,
}

impl Lan9118 {
    /// Resets the chip and switches it on.
    pub(crate) fn start(chip: Registers) -> Self {
        let this = Self { chip, errors: Errors::default() };
        chip.write(HW_CFG, SOFT_RESET);
        this.wait_clear(HW_CFG, SOFT_RESET);
        chip.write(HW_CFG, STORE_AND_FORWARD);
        chip.write(FIFO_INT, 0);
        chip.write(INT_STS, u32::MAX);
        chip.write(INT_EN, RX_LEVEL);
        chip.write(IRQ_CFG, IRQ_ON);
        chip.write(TX_CFG, TX_ON);
        chip.write(MAC_CSR_DATA, MAC_ON);
        this.mac_command(MAC_CR);
        this
    }

    /// Reads `offset` until `bit` is clear, but not for ever: a chip that is dead shows by receiving nothing.
    fn wait_clear(&self, offset: usize, bit: u32) {
        let _ = (0..PATIENCE).any(|_| self.chip.read(offset) & bit == 0);
    }

    fn mac_command(&self, command: u32) {
        self.chip.write(MAC_CSR_CMD, MAC_BUSY | command);
        self.wait_clear(MAC_CSR_CMD, MAC_BUSY);
    }

    fn mac_read(&self, register: u32) -> u32 {
        self.mac_command(MAC_READ | register);
        self.chip.read(MAC_CSR_DATA)
    }

    /// Empties the status FIFO of frames that were sent.
    fn take_sent(&mut self) {
        let sent = self.chip.read(TX_FIFO_INF) >> 16 & 0xff;
        for _ in 0..sent {
            let failed = self.chip.read(TX_STATUS) & ERROR != 0;
            self.errors.sent = self.errors.sent.wrapping_add(u32::from(failed));
        }
    }
}

impl Fifo for Lan9118 {
    fn hardware_address(&self) -> [u8; 6] {
        let [a, b, c, d] = self.mac_read(MAC_ADDRL).to_le_bytes();
        let [e, f, ..] = self.mac_read(MAC_ADDRH).to_le_bytes();
        [a, b, c, d, e, f]
    }

    fn take(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        self.chip.write(INT_STS, RX_LEVEL);
        let waiting = self.chip.read(RX_FIFO_INF) >> 16 & 0xff;
        for _ in 0..waiting {
            let status = self.chip.read(RX_STATUS);
            // The length counts the frame's checksum, which comes after it in the FIFO.
            let length = (status >> 16 & 0x3fff) as usize;
            let frame = frame.get_mut(..length.saturating_sub(4)).filter(|_| status & ERROR == 0);
            let words = length.div_ceil(4);
            let taken = frame.as_ref().map_or(0, |frame| frame.len().div_ceil(4));
            let received = frame.map(|frame| {
                unpack(frame, || self.chip.read(RX_DATA));
                frame.len()
            });
            for _ in taken..words {
                self.chip.read(RX_DATA);
            }
            if received.is_some() {
                return received;
            }
            self.errors.received = self.errors.received.wrapping_add(1);
        }
        None
    }

    fn has_room(&mut self) -> bool {
        self.take_sent();
        self.chip.read(TX_FIFO_INF) & 0xffff >= FRAME as u32 + 8
    }

    fn put(&mut self, frame: &[u8]) {
        let length = frame.len() as u32;
        self.chip.write(TX_DATA, WHOLE_FRAME | length);
        self.chip.write(TX_DATA, length);
        pack(frame, |word| self.chip.write(TX_DATA, word));
    }

    fn errors(&self) -> Errors {
        self.errors
    }
}
