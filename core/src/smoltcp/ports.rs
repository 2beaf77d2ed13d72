//! Local ports for outgoing connections: RFC 6056, algorithm 4 (double-hash port selection).

use super::flow::Flow;
use super::hash::{Key, Random};

/// The dynamic ports (RFC 6335, section 6): 49,152 to 65,535.
const FIRST: u16 = 49_152;
const COUNT: u16 = 16_384;
const TABLE: usize = 8;

pub(super) struct Ports {
    offset_key: Key,
    index_key: Key,
    counters: [u16; TABLE],
}

impl Ports {
    pub(super) fn new(random: &mut Random) -> Self {
        let (offset_key, index_key) = (random.key(), random.key());
        Self { offset_key, index_key, counters: [(); TABLE].map(|()| random.next() as u16) }
    }

    /// A port for `flow` (whose own local port does not count) that `is_free` likes; each is tried once at most.
    pub(super) fn choose(&mut self, flow: &Flow, mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
        let flow = Flow { local_port: 0, ..*flow };
        let offset = flow.strong_hash(self.offset_key) as u16;
        let counter = self.counters.get_mut(flow.strong_hash(self.index_key) as usize % TABLE)?;
        for _ in 0..COUNT {
            let port = FIRST + offset.wrapping_add(*counter) % COUNT;
            *counter = counter.wrapping_add(1);
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}
