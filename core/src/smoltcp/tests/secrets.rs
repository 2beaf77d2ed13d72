//! What a neighbour can find out from what it sees: smoltcp's generator, but none of this crate's secrets.

use super::*;
use crate::smoltcp::flow::{Address, Flow};
use crate::smoltcp::isn::SequenceNumbers;
use ::smoltcp::iface::SocketStorage;
use ::smoltcp::socket::dhcpv4;
use ::smoltcp::wire::{DhcpPacket, UdpPacket};

// smoltcp's generator: state = state * M + A, output = (state >> (29 - (state >> 61))) as u32.
const M: u64 = 0xbb2e_fcec_3c39_611d;
const A: u64 = 0x7590_ef39;

fn step(state: u64) -> u64 {
    state.wrapping_mul(M).wrapping_add(A)
}

fn back(state: u64) -> u64 {
    let mut inverse = M;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(M.wrapping_mul(inverse)));
    }
    state.wrapping_sub(A).wrapping_mul(inverse)
}

fn output(state: u64) -> u32 {
    (state >> (29 - (state >> 61))) as u32
}

/// Returns the least x with low <= a * x mod m <= high, by Euclid's algorithm.
fn first_in_range(a: u128, m: u128, low: u128, high: u128) -> Option<u128> {
    if low == 0 {
        return Some(0);
    }
    if a == 0 {
        return None;
    }
    let x = low.div_ceil(a);
    if x * a <= high {
        return Some(x);
    }
    let y = first_in_range(m % a, a, (a - high % a) % a, (a - low % a) % a)?;
    Some((low + m * y).div_ceil(a))
}

/// Finds the state that gave the first of three outputs in a row.
///
/// An output shows 32 of the 64 bits; where they stand is said by the top three, which can be tried. Those between and those below are
/// unknown: 29 in all. For each way in which two states in a row may be laid out, the lower unknown bits are where a multiple of a known
/// number falls into a known range.
fn recover(outputs: [u32; 3]) -> Option<u64> {
    let layouts = |output: u32| {
        (0..8u64).flat_map(move |top| {
            let shift = 29 - top;
            (0..1u64 << top).map(move |gap| {
                // The bits shown reach up to 61 - top; above them are as many unknown ones as `top` says, and then `top`.
                ((top << 61) | (gap << (61 - top)) | (u64::from(output) << shift), shift)
            })
        })
    };
    for (first, shift) in layouts(outputs[0]) {
        for (second, spread) in layouts(outputs[1]) {
            // M * low + (M * first + A) is between `second` and `second` + 2^spread.
            let low = u128::from(second.wrapping_sub(step(first)));
            let high = low + (1 << spread) - 1;
            let modulus = 1u128 << 64;
            let x = if high >= modulus { Some(0) } else { first_in_range(M.into(), modulus, low, high) };
            let Some(x) = x.filter(|x| *x < 1 << shift) else { continue };
            let state = first | x as u64;
            let next = step(state);
            if [output(state), output(next), output(step(next))] == outputs {
                return Some(state);
            }
        }
    }
    None
}

/// The transaction ids of three messages of a DHCP client that nobody answers.
fn transaction_ids(seed: u64) -> [u32; 3] {
    let mut storage = Storage::<1, 512, 512>::new();
    let mut room = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut room[..]);
    sockets.add(dhcpv4::Socket::new());
    let config = Config::new(HardwareAddress::Ethernet(MAC), seed);
    let mut stack = SmoltcpStack::new(Queues::default(), config, &mut storage).unwrap().with_sockets(sockets);
    let mut now = Instant::from_secs(1);
    let mut ids = Vec::new();
    while ids.len() < 3 {
        let due = stack.poll(now).expect("the client asks again");
        for frame in stack.device.tx.drain(..) {
            let ethernet = EthernetFrame::new_checked(&frame[..]).unwrap();
            let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            ids.push(DhcpPacket::new_checked(udp.payload()).unwrap().transaction_id());
        }
        now = due.max(now + Duration::from_micros(1));
    }
    [ids[0], ids[1], ids[2]]
}

/// How secrets were derived once: by a generator that can be turned back.
struct SplitMix(u64);

impl SplitMix {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The seed of which `first` is the first output.
    fn seed(first: u64) -> u64 {
        let unshift = |z: u64, by: u32| (0..7).fold(z, |found, _| z ^ (found >> by));
        let invert = |odd: u64| {
            (0..6).fold(odd, |found, _| found.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(found))))
        };
        let z = unshift(first, 31).wrapping_mul(invert(0x94d0_49bb_1331_11eb));
        let z = unshift(z, 27).wrapping_mul(invert(0xbf58_476d_1ce4_e5b9));
        unshift(z, 30).wrapping_sub(Self::STEP)
    }
}

#[test]
fn the_attack_works_on_what_can_be_turned_back() {
    let seed = 0x1234_5678_9abc_def0;
    let given_to_smoltcp = SplitMix(seed).next();
    assert_eq!(SplitMix::seed(given_to_smoltcp), seed);
    for mut state in [given_to_smoltcp, 1, 77 << 50, u64::MAX / 3] {
        for _ in 0..20 {
            state = step(state);
            let second = step(state);
            assert_eq!(recover([output(state), output(second), output(step(second))]), Some(state));
        }
    }
}

/// Three broadcast messages give smoltcp's generator away, and the seed that it was made from. Neither that nor anything on the way to it is
/// this stack's seed, or foretells a sequence number.
#[test]
fn what_dhcp_gives_away_foretells_no_sequence_number() {
    let seed = 0x1234_5678_9abc_def0;
    let mut state = recover(transaction_ids(seed)).expect("smoltcp's generator has been found");

    let (mut storage, now) = (Storage::<1, 512, 512>::new(), Instant::from_secs(1));
    let mut host = Host::configured(&mut storage, |config| config.seed = seed);
    host.stack.listen(addr(ECHO), &ListenOptions::default()).unwrap();
    let [Answer { seq: actual, .. }] = host.arrives(syn(5_000))[..] else { panic!("no SYN|ACK") };
    let flow = Flow {
        local: Address::from(IpAddr::V4(IP)),
        remote: Address::from(IpAddr::V4(PEER)),
        local_port: 7,
        remote_port: 5_000,
    };
    let foretold = |random: &mut Random| {
        // As `SmoltcpStack::new` draws: for smoltcp, for the flow table, for the ports, then for the sequence numbers.
        let _ = (random.next(), random.key(), Ports::new(random));
        SequenceNumbers::new(random).initial(&flow, now)
    };
    assert_eq!(foretold(&mut Random::new(seed)), actual.0 as u32, "who has the seed can tell");

    let mut given = Random::new(seed);
    let given = given.next();
    let mut was_found = false;
    for _ in 0..8 {
        state = back(state);
        was_found |= state == given;
        for guess in [state, SplitMix::seed(state)] {
            assert_ne!(guess, seed);
            assert_ne!(foretold(&mut Random::new(guess)), actual.0 as u32);
        }
    }
    assert!(was_found, "the attack went as far as it can go");
}
