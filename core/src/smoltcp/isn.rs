//! Initial sequence numbers (RFC 6528), and those that remember a connection so that nothing else has to (SYN cookies, RFC 4987, section 3.6).
//!
//! smoltcp draws its initial sequence numbers from a generator of 64 bits of state whose outputs any client can watch: some of them give the
//! state away, and with it all later ones. RFC 6528 asks for `M + F(connection, secret)`, with `M` a clock of 4 microseconds. smoltcp takes no
//! number from outside, but an [`Interface`] takes a seed, and the step of its generator can be undone. So the one segment that opens a
//! connection is processed by an interface made for it, seeded so that the number drawn is the one wanted. It lives for that segment.

use super::flow::Flow;
use super::hash::{Key, Random};
use crate::time::Instant;
use ::smoltcp::iface::{Config, Interface};
use ::smoltcp::phy::{Device, DeviceCapabilities, TxToken};
use ::smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

/// MSS that a cookie can say: the default, Ethernet with IPv6's smallest MTU, Ethernet with IPv6, Ethernet with IPv4.
const MSS: [u16; 4] = [536, 1220, 1440, 1460];

/// `M` counts 4 microseconds; a cookie keeps its bits from here on (67 s) and puts a proof below.
const PROOF_BITS: u32 = 24;
const PROOF: u32 = (1 << PROOF_BITS) - 1;

/// Periods are counted with the bits that the proof leaves.
const PERIODS: u32 = u32::MAX >> PROOF_BITS;

/// What an acknowledged sequence number proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// This side sent it in answer to that very SYN, which offered about this MSS.
    Given {
        mss: u16,
    },
    /// It is of the right time, but not for that SYN.
    Possible,
    None,
}

pub(super) struct SequenceNumbers {
    secret: Key,
    proof: Key,
}

impl SequenceNumbers {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { secret: random.key(), proof: random.key() }
    }

    /// RFC 6528, section 3.
    pub(super) fn initial(&self, flow: &Flow, now: Instant) -> u32 {
        clock(now).wrapping_add(flow.strong_hash(self.secret))
    }

    /// An initial sequence number that proves, when it is acknowledged, that this side sent it in answer to a SYN numbered `peer_isn`.
    pub(super) fn cookie(&self, flow: &Flow, peer_isn: u32, mss: u16, now: Instant) -> u32 {
        let index = MSS.iter().rposition(|known| *known <= mss).unwrap_or(0) as u32;
        let period = clock(now) >> PROOF_BITS;
        let proof = self.proof(flow, peer_isn, period).wrapping_add(index) & PROOF;
        flow.strong_hash(self.secret).wrapping_add((period << PROOF_BITS) | proof)
    }

    /// Whether `isn` is a [`cookie`](Self::cookie) of this minute or the one before.
    pub(super) fn check(&self, flow: &Flow, peer_isn: u32, isn: u32, now: Instant) -> Proof {
        let said = isn.wrapping_sub(flow.strong_hash(self.secret));
        let now = clock(now) >> PROOF_BITS;
        let age = now.wrapping_sub(said >> PROOF_BITS) & PERIODS;
        if age > 1 {
            return Proof::None;
        }
        let proof = self.proof(flow, peer_isn, now.wrapping_sub(age) & PERIODS);
        match MSS.get((said.wrapping_sub(proof) & PROOF) as usize) {
            Some(mss) => Proof::Given { mss: *mss },
            None => Proof::Possible,
        }
    }

    fn proof(&self, flow: &Flow, peer_isn: u32, period: u32) -> u32 {
        self.proof.strong_hash(&[flow.strong_hash(self.proof), peer_isn, period])
    }
}

/// The MSS that a cookie keeps of `mss`.
pub(super) fn rounded_mss(mss: u16) -> u16 {
    MSS.iter().rfind(|known| **known <= mss).copied().unwrap_or(MSS[0])
}

fn clock(now: Instant) -> u32 {
    (now.as_micros() >> 2) as u32
}

/// Lends an interface with the address `local` whose next random number is `isn`. Lends, as it is large and would be copied.
pub(super) fn with_opening<R>(
    caps: &DeviceCapabilities,
    hardware_addr: HardwareAddress,
    local: IpAddress,
    isn: u32,
    open: impl FnOnce(&mut Interface) -> R,
) -> R {
    let mut config = Config::new(hardware_addr);
    config.random_seed = seed_before(isn);
    let mut iface = interface(caps, config);
    iface.update_ip_addrs(|addrs| {
        // Only asked whether it has the address, not for routes. The list was empty: there is room.
        let _ = addrs.push(IpCidr::new(local, 0));
    });
    open(&mut iface)
}

// smoltcp's generator: state = state * M + A, output = (state >> (29 - (state >> 61))) as u32.
const M: u64 = 0xbb2e_fcec_3c39_611d;
const A: u64 = 0x7590_ef39;
const M_INVERSE: u64 = {
    // Newton's iteration doubles the correct bits; an odd number is its own inverse in the lowest three.
    let mut inverse = M;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(M.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
};

/// Numbers that smoltcp draws when it makes an interface: one for IPv4, and one each for what another package may have asked for.
const DRAWS: u32 = {
    let sixlowpan = size_of_return(Interface::sixlowpan_address_context) > 0;
    // An IEEE 802.15.4 address is longer than an Ethernet address.
    let ieee802154 = size_of::<HardwareAddress>() > 1 + size_of::<EthernetAddress>();
    1 + sixlowpan as u32 + ieee802154 as u32
};

/// Has a method that smoltcp's [`Interface`] has by itself if it was built with 6LoWPAN; then that one is meant by its name.
trait WithoutSixlowpan {
    #[allow(dead_code, reason = "only its type is looked at, if it is meant at all")]
    fn sixlowpan_address_context(&self) {}
}

impl WithoutSixlowpan for Interface {}

const fn size_of_return<'i, R>(_: fn(&'i Interface) -> R) -> usize {
    size_of::<R>()
}

/// Returns a seed from which the number that is drawn after an interface was made is `isn`.
fn seed_before(isn: u32) -> u64 {
    // With the top three bits clear the output is bits 29 to 60; those below are free. An interface draws again where 8 or 16 bits
    // come out zero, so then another state has to do.
    let mut state = u64::from(isn) << 29;
    loop {
        let mut before = state;
        let good = (0..DRAWS).all(|_| {
            before = back(before);
            let drawn = (before >> (29 - (before >> 61))) as u32;
            drawn & 0xff != 0 && (drawn ^ (drawn >> 16)) as u16 != 0
        });
        if good {
            return back(before);
        }
        state += 1;
    }
}

/// Undoes one step of smoltcp's generator.
fn back(state: u64) -> u64 {
    state.wrapping_sub(A).wrapping_mul(M_INVERSE)
}

/// An interface for a device that can do `caps`; made in one place, for its code to be in the image once.
pub(super) fn interface(caps: &DeviceCapabilities, config: Config) -> Interface {
    Interface::new(config, &mut Described(caps), ::smoltcp::time::Instant::ZERO)
}

/// A device that is only asked what it can do.
struct Described<'c>(&'c DeviceCapabilities);

/// There is no such token: the device is never asked to transmit.
enum Never {}

impl TxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self {}
    }
}

impl Device for Described<'_> {
    type RxToken<'t>
        = super::token::SeenRx<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Never
    where
        Self: 't;

    fn receive(&mut self, _: ::smoltcp::time::Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _: ::smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::Address;
    use super::*;

    fn flow(port: u16) -> Flow {
        let ip = |last: u32| Address::from_v4_bits(0x0a00_0000 | last);
        Flow { local: ip(2), remote: ip(1), local_port: 7, remote_port: port }
    }

    fn numbers() -> SequenceNumbers {
        SequenceNumbers::new(&mut Random::new(5))
    }

    #[test]
    fn numbers_of_one_connection_rise_with_time_and_say_nothing_of_another() {
        let (numbers, now) = (numbers(), Instant::from_secs(10));
        let later = now + crate::time::Duration::from_millis(1);
        let (a, b) = (numbers.initial(&flow(1), now), numbers.initial(&flow(1), later));
        assert_eq!(b.wrapping_sub(a), 250);
        assert!(numbers.initial(&flow(2), now).abs_diff(a) > 1_000_000);
    }

    #[test]
    fn a_cookie_is_good_for_a_minute_or_two_and_for_its_connection_only() {
        let (numbers, now) = (numbers(), Instant::from_secs(1_000));
        let cookie = numbers.cookie(&flow(1), 77, 1460, now);
        let check = |flow: &Flow, peer_isn, seconds: u64| {
            numbers.check(flow, peer_isn, cookie, Instant::from_secs(1_000 + seconds))
        };
        assert_eq!(check(&flow(1), 77, 0), Proof::Given { mss: 1460 });
        assert_eq!(check(&flow(1), 77, 60), Proof::Given { mss: 1460 });
        assert_eq!(check(&flow(1), 77, 140), Proof::None);
        assert_eq!(check(&flow(1), 78, 0), Proof::Possible);
        assert_eq!(check(&flow(2), 77, 0), Proof::None);
    }

    #[test]
    fn a_cookie_keeps_the_mss_in_steps() {
        let (numbers, now) = (numbers(), Instant::from_secs(1_000));
        for (said, kept) in [(100, 536), (1_300, 1220), (1_440, 1440), (9_000, 1460)] {
            let cookie = numbers.cookie(&flow(1), 77, said, now);
            assert_eq!(numbers.check(&flow(1), 77, cookie, now), Proof::Given { mss: kept });
            assert_eq!(rounded_mss(said), kept);
        }
    }

    #[test]
    fn guesses_fail() {
        let (numbers, now) = (numbers(), Instant::from_secs(1_000));
        let check = |guess: u32| numbers.check(&flow(1), 77, guess.wrapping_mul(0x9e37_79b9), now);
        let hits = (0..1_000_000).filter(|guess| matches!(check(*guess), Proof::Given { .. })).count();
        assert!(hits <= 2, "{hits} of a million, where 0.004 are to be expected");
    }
}
