//! Which slot a segment belongs to: a hash table with chains, threaded through the slots themselves.
//!
//! There are as many buckets as slots and a link in each slot, so the table can never be full before the slots are, it needs no
//! deletion marks, and a lookup visits 1.5 slots on average when all are taken. The hash is keyed: a peer cannot aim at a bucket.

use super::hash::Key;
use super::slot::Slot;
use crate::storage::MAX_SLOTS;
#[cfg(feature = "ipv6")]
use core::net::Ipv6Addr;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

const NONE: u16 = u16::MAX;
/// The link of a slot that the table does not have; no slot has this index either.
const UNFILED: u16 = u16::MAX - 1;
const _: () = assert!(MAX_SLOTS <= UNFILED as usize);

/// An IP address in 16 octets, IPv4 as an IPv4-mapped one (RFC 4291, section 2.5.5.2); in 4 where there is no IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address([u32; WORDS]);

const WORDS: usize = if cfg!(feature = "ipv6") { 4 } else { 1 };

impl Address {
    const NONE: Self = Self([0; WORDS]);
    #[cfg(feature = "ipv6")]
    const V4_PREFIX: [u32; 3] = [0, 0, 0xffff];

    #[cfg(feature = "ipv6")]
    pub(super) const fn from_v4_bits(bits: u32) -> Self {
        let [a, b, c] = Self::V4_PREFIX;
        Self([a, b, c, bits])
    }

    #[cfg(not(feature = "ipv6"))]
    pub(super) const fn from_v4_bits(bits: u32) -> Self {
        Self([bits])
    }

    pub(super) fn v4(octets: &[u8]) -> Option<Self> {
        Some(Self::from_v4_bits(u32::from_be_bytes(octets.try_into().ok()?)))
    }

    #[cfg(feature = "ipv6")]
    pub(super) fn v6(octets: &[u8]) -> Option<Self> {
        let octets: [u8; 16] = octets.try_into().ok()?;
        Some(Self::from(Ipv6Addr::from(octets)))
    }

    #[cfg(not(feature = "ipv6"))]
    pub(super) fn ip(self) -> IpAddr {
        let [bits] = self.0;
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    }

    #[cfg(feature = "ipv6")]
    pub(super) fn ip(self) -> IpAddr {
        let [a, b, c, d] = self.0;
        if [a, b, c] == Self::V4_PREFIX {
            return IpAddr::V4(Ipv4Addr::from_bits(d));
        }
        let high = (u128::from(a) << 32) | u128::from(b);
        let low = (u128::from(c) << 32) | u128::from(d);
        IpAddr::V6(Ipv6Addr::from_bits((high << 64) | low))
    }

    /// Whether a segment may come from here: no multicast, no broadcast, not the unspecified address (RFC 1122, section 4.2.3.10).
    pub(super) fn is_unicast(self) -> bool {
        match self.ip() {
            IpAddr::V4(ip) => !(ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified()),
            IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unspecified()),
        }
    }
}

#[cfg(feature = "ipv6")]
impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        let bits = ip.to_bits();
        Self([(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32])
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::from_v4_bits(ip.to_bits()),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(ip) => ip.into(),
            // No address of the interface is one, and no call takes one.
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => Self::NONE,
        }
    }
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
}

impl Flow {
    pub(super) const NONE: Self =
        Self { local: Address::NONE, remote: Address::NONE, local_port: 0, remote_port: 0 };

    pub(super) fn local_addr(&self) -> SocketAddr {
        SocketAddr::new(self.local.ip(), self.local_port)
    }

    pub(super) fn remote_addr(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip(), self.remote_port)
    }

    /// Returns a keyed hash of both ends, for the flow table.
    pub(super) fn hash(&self, key: Key) -> u32 {
        self.hashed(key, Key::hash, Key::hash)
    }

    /// Returns a keyed hash of both ends that nobody can foretell from others (RFC 6528, section 3).
    pub(super) fn strong_hash(&self, key: Key) -> u32 {
        self.hashed(key, Key::strong_hash, Key::strong_hash)
    }

    #[inline]
    fn hashed(
        &self,
        key: Key,
        v4: impl Fn(Key, &[u32; 3]) -> u32,
        v6: impl Fn(Key, &[u32; 9]) -> u32,
    ) -> u32 {
        let ports = (u32::from(self.local_port) << 16) | u32::from(self.remote_port);
        #[cfg(not(feature = "ipv6"))]
        let ([local], [remote]) = (self.local.0, self.remote.0);
        #[cfg(not(feature = "ipv6"))]
        let _ = v6;
        #[cfg(not(feature = "ipv6"))]
        return v4(key, &[ports, local, remote]);
        #[cfg(feature = "ipv6")]
        match (self.local.0, self.remote.0) {
            ([0, 0, 0xffff, local], [0, 0, 0xffff, remote]) => v4(key, &[ports, local, remote]),
            ([a, b, c, d], [e, f, g, h]) => v6(key, &[ports, a, b, c, d, e, f, g, h]),
        }
    }
}

/// The table; its buckets and links are in the slots ([`Chain`]).
pub(super) struct FlowTable {
    key: Key,
}

/// What each slot gives to the table: the head of one bucket, and the link of its own chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    head: u16,
    next: u16,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { head: NONE, next: UNFILED };

    /// Whether the flow table has the slot.
    pub(super) fn is_filed(&self) -> bool {
        self.next != UNFILED
    }
}

impl FlowTable {
    pub(super) const fn new(key: Key) -> Self {
        Self { key }
    }

    fn bucket(&self, slots: &[Slot<'_>], flow: &Flow) -> usize {
        // Multiply and shift: a division is expensive where this runs.
        ((u64::from(flow.hash(self.key)) * slots.len() as u64) >> 32) as usize
    }

    /// The slot that `flow` is filed under.
    pub(super) fn find(&self, slots: &[Slot<'_>], flow: &Flow) -> Option<u16> {
        let mut index = slots.get(self.bucket(slots, flow))?.chain.head;
        loop {
            let slot = slots.get(usize::from(index))?;
            if slot.flow == *flow {
                return Some(index);
            }
            index = slot.chain.next;
        }
    }

    /// Files `index` under the flow in its slot.
    pub(super) fn insert(&self, slots: &mut [Slot<'_>], index: u16) {
        let Some(flow) = slots.get(usize::from(index)).map(|slot| slot.flow) else { return };
        let bucket = self.bucket(slots, &flow);
        let Some(head) = slots.get_mut(bucket).map(|slot| core::mem::replace(&mut slot.chain.head, index))
        else {
            return;
        };
        if let Some(slot) = slots.get_mut(usize::from(index)) {
            slot.chain.next = head;
        }
    }

    /// Takes `index` out, if it is filed.
    pub(super) fn remove(&self, slots: &mut [Slot<'_>], index: u16) {
        let Some(slot) = slots.get_mut(usize::from(index)) else { return };
        if !slot.chain.is_filed() {
            return;
        }
        let (flow, next) = (slot.flow, core::mem::replace(&mut slot.chain.next, UNFILED));
        let bucket = self.bucket(slots, &flow);
        let Some(head) = slots.get_mut(bucket).map(|slot| &mut slot.chain.head) else { return };
        if *head == index {
            *head = next;
            return;
        }
        let mut before = *head;
        while let Some(slot) = slots.get_mut(usize::from(before)) {
            if slot.chain.next == index {
                slot.chain.next = next;
                return;
            }
            before = slot.chain.next;
        }
    }
}
