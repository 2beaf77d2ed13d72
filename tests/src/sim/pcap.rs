//! A packet trace: each host an interface, each frame as that host saw it.

use super::faults::Direction;
use core::fmt;
use smoltcp::wire::{EthernetFrame, PrettyPrinter};
use socklet::time::Instant;
use std::io;
use std::path::Path;

/// Frames as they were sent and received.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    frames: Vec<Recorded>,
}

#[derive(Debug, Clone)]
struct Recorded {
    host: usize,
    direction: Direction,
    at: Instant,
    octets: Vec<u8>,
}

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const LINK_ETHERNET: u16 = 1;
const OPTION_FLAGS: u16 = 2;
const OPTION_NAME: u16 = 2;

impl Tape {
    pub(super) fn record(&mut self, host: usize, direction: Direction, at: Instant, octets: &[u8]) {
        self.frames.push(Recorded { host, direction, at, octets: octets.to_vec() });
    }

    /// Writes a pcapng file, for Wireshark or tcpdump.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = Vec::new();
        let mut section = Vec::new();
        section.extend(0x1A2B_3C4D_u32.to_le_bytes());
        section.extend(1_u32.to_le_bytes());
        section.extend(u64::MAX.to_le_bytes());
        block(&mut file, SECTION, &section);
        let hosts = self.frames.iter().map(|frame| frame.host + 1).max().unwrap_or(0);
        for host in 0..hosts {
            let mut interface = Vec::new();
            interface.extend(LINK_ETHERNET.to_le_bytes());
            interface.extend([0; 6]);
            option(&mut interface, OPTION_NAME, format!("host {host}").as_bytes());
            block(&mut file, INTERFACE, &interface);
        }
        self.frames.iter().for_each(|frame| block(&mut file, PACKET, &frame.packet()));
        std::fs::write(path, file)
    }
}

impl Recorded {
    /// Times are in microseconds, pcapng's default.
    fn packet(&self) -> Vec<u8> {
        let (micros, len) = (self.at.as_micros(), self.octets.len() as u32);
        let mut body = Vec::with_capacity(self.octets.len() + 32);
        for word in [self.host as u32, (micros >> 32) as u32, micros as u32, len, len] {
            body.extend(word.to_le_bytes());
        }
        pad(&mut body, &self.octets);
        let flags: u32 = match self.direction {
            Direction::Down => 1,
            Direction::Up => 2,
        };
        option(&mut body, OPTION_FLAGS, &flags.to_le_bytes());
        body
    }
}

/// One frame a line.
impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Recorded { host, direction, at, octets } in &self.frames {
            let direction = match direction {
                Direction::Down => "receives",
                Direction::Up => "sends   ",
            };
            let text = PrettyPrinter::<EthernetFrame<&[u8]>>::new("", octets).to_string();
            writeln!(f, "{at} host {host} {direction} {}", text.replace(['\n', '\\'], ""))?;
        }
        Ok(())
    }
}

fn pad(to: &mut Vec<u8>, data: &[u8]) {
    to.extend(data);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// One option, and the end of options.
fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    to.extend(code.to_le_bytes());
    to.extend((value.len() as u16).to_le_bytes());
    pad(to, value);
    to.extend([0; 4]);
}

fn block(to: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = (body.len() as u32 + 12).to_le_bytes();
    to.extend(kind.to_le_bytes());
    to.extend(len);
    to.extend(body);
    to.extend(len);
}
