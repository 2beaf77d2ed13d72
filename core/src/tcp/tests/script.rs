//! A peer by hand. Numbers are relative: ours to our ISN, the peer's to its own, as in a trace.

use super::*;
use core::ops::Range;
use core::time::Duration;

/// Our ISN and the peer's, chosen so that all numbers wrap.
const OURS: Seq = Seq(0xffff_f000);
const THEIRS: Seq = Seq(0x7fff_fff0);

/// What the peer sees of a segment of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Out {
    /// When it left, in milliseconds since the handshake began.
    pub(super) at: u64,
    pub(super) bytes: Range<u32>,
    pub(super) flags: Flags,
    /// What it acknowledges.
    pub(super) ack: u32,
    pub(super) window: u32,
    pub(super) header: Header,
}

impl Out {
    pub(super) fn is_pure_ack(&self) -> bool {
        self.bytes.is_empty() && self.flags == Flags::ACK
    }
}

/// A script: one machine, which is the server unless said otherwise.
pub(super) struct Script {
    pub(super) tcb: Tcb<'static>,
    pub(super) now: u64,
    /// The peer's next number, what it acknowledges and offers, all relative.
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) timestamps: bool,
    /// The peer's clock for timestamps; the value that it echoes.
    pub(super) echo: u32,
    pub(super) most: usize,
}

const START: u64 = 1_000_000;

/// A peer that does everything, with segments of 1,000 bytes.
pub(super) fn syn() -> Header {
    Header {
        seq: THEIRS,
        flags: Flags::SYN,
        window: 64_000,
        mss: Some(1_000),
        scale: Some(1),
        sack_permitted: true,
        ..Header::default()
    }
}

pub(super) fn options() -> Options {
    let mut options = Options::new(1_000);
    options.timestamps = false;
    options
}

impl Script {
    /// An established connection; the handshake took `rtt` milliseconds.
    pub(super) fn open(rtt: u64) -> Self {
        Self::with(rtt, &options(), &syn(), 1 << 20)
    }

    pub(super) fn with(rtt: u64, options: &Options, syn: &Header, buffer: usize) -> Self {
        let mut script = Self::half_open(options, syn, buffer);
        let syn_ack = script.out();
        assert_eq!((syn_ack.len(), syn_ack[0].flags), (1, Flags::SYN.with(Flags::ACK)));
        script.echo = syn_ack[0].header.timestamp.map_or(0, |timestamp| timestamp.value);
        script.pass(rtt);
        script.acks(1);
        assert_eq!(script.tcb.state(), State::Established);
        script
    }

    /// The SYN has come; nothing has left.
    pub(super) fn half_open(options: &Options, syn: &Header, buffer: usize) -> Self {
        let mut tcb = Tcb::new(memory(buffer, buffer, 8, 64));
        tcb.accept(Instant::from_micros(START), OURS, 77, options, syn);
        let timestamps = options.timestamps && syn.timestamp.is_some();
        Self { tcb, now: START, seq: 1, ack: 1, window: 64_000, timestamps, echo: 0, most: 1_000 }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    /// Everything that leaves now.
    pub(super) fn out(&mut self) -> Vec<Out> {
        let (now, at) = (self.now(), (self.now - START) / 1_000);
        let mut all = Vec::new();
        let emit = |segment: &Transmit<'_>| {
            let len = segment.payload.iter().map(|part| part.len() as u32).sum::<u32>();
            let (header, start) = (segment.header, segment.header.seq - OURS);
            let ack = if header.flags.has(Flags::ACK) { header.ack - THEIRS } else { 0 };
            Out {
                at,
                bytes: start..start + len,
                flags: header.flags,
                ack,
                window: header.window.into(),
                header,
            }
        };
        while let Some(out) = self.tcb.poll_transmit(now, self.most, emit) {
            all.push(out);
            assert!(all.len() < 2_000, "sends without end");
        }
        all
    }

    /// Lets time pass; what leaves meanwhile, at its time.
    pub(super) fn pass(&mut self, millis: u64) -> Vec<Out> {
        let end = self.now + millis * 1_000;
        let mut all = self.out();
        while let Some(at) = self.tcb.next_deadline().map(Instant::as_micros).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let more = self.out();
            // A deadline that does nothing must not come again and again.
            if more.is_empty() && self.tcb.next_deadline().is_some_and(|at| at.as_micros() <= self.now) {
                self.now += 1;
            }
            all.extend(more);
        }
        self.now = end;
        all.extend(self.out());
        all
    }

    /// A segment of the peer's arrives.
    pub(super) fn give(&mut self, header: Header, payload: &[u8]) {
        let mut header = Header { seq: THEIRS + header.seq.0, ack: OURS + header.ack.0, ..header };
        if self.timestamps && header.timestamp.is_none() {
            header.timestamp = Some(Timestamp { value: (self.now >> 10) as u32, echo: self.echo });
        }
        self.tcb.on_segment(self.now(), &header, payload, Ecn::NotCapable);
    }

    pub(super) fn header(&self, flags: Flags) -> Header {
        Header { seq: Seq(self.seq), ack: Seq(self.ack), flags, window: self.window, ..Header::default() }
    }

    /// The peer acknowledges everything below `ack`.
    pub(super) fn acks(&mut self, ack: u32) {
        self.ack = ack;
        self.give(self.header(Flags::ACK), b"");
    }

    /// The peer acknowledges `ack`, and reports these ranges.
    pub(super) fn sacks(&mut self, ack: u32, ranges: &[Range<u32>]) {
        self.ack = ack;
        let mut header = self.header(Flags::ACK);
        for range in ranges {
            header.push_sack(OURS + range.start, OURS + range.end);
        }
        self.give(header, b"");
    }

    /// The peer's next bytes arrive.
    pub(super) fn data(&mut self, count: usize) {
        self.give(self.header(Flags::ACK), &vec![7; count]);
        self.seq += count as u32;
    }

    pub(super) fn sends(&mut self, count: usize) -> Vec<Out> {
        assert_eq!(self.tcb.send(&vec![1; count]), count);
        self.out()
    }

    pub(super) fn within(&self, millis: u64) -> bool {
        self.tcb.next_deadline().is_some_and(|at| at <= self.now() + Duration::from_millis(millis))
    }
}

/// The ranges of what has payload.
pub(super) fn ranges(out: &[Out]) -> Vec<Range<u32>> {
    out.iter().filter(|out| !out.bytes.is_empty()).map(|out| out.bytes.clone()).collect()
}

/// The ranges of `count` segments of 1,000 bytes from `from` on.
pub(super) fn segments(from: u32, count: u32) -> Vec<Range<u32>> {
    (0..count).map(|at| from + at * 1_000..from + (at + 1) * 1_000).collect()
}
