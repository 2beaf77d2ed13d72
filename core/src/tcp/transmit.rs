//! What leaves next, in the order of urgency, and its header.

use super::header::{Flags, Header, Timestamp};
use super::plan::{Data, Kind, Size};
use super::tcb::{State, Tcb};
use super::{Ecn, Micros, Seq};
use crate::time::Instant;

/// A segment to transmit.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'t> {
    /// Its header.
    pub header: Header,
    /// Its payload, in two parts where the ring of the send buffer wraps.
    pub payload: [&'t [u8]; 2],
    /// Payload of each packet that the device is to cut it into, in bytes, if the payload is longer.
    pub segment: usize,
    /// What the IP header says of congestion notification.
    pub ecn: Ecn,
}

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Reset(Seq),
    Syn,
    Data(Data),
    KeepAlive,
    Acknowledgement,
}

impl Tcb<'_> {
    /// Gives the next segment that may leave now to `emit`, and returns what that returns; `None` if there is none.
    ///
    /// Call it until it gives `None`: after segments have come, after calls of the user, and at
    /// [`next_deadline`](Self::next_deadline). `most` is the longest payload that the device takes at a time: with segmentation offload many
    /// segments, else one. The segment counts as sent when `emit` returns, so call this only if the device has room for it.
    pub fn poll_transmit<R>(
        &mut self,
        now: Instant,
        most: usize,
        emit: impl FnOnce(&Transmit<'_>) -> R,
    ) -> Option<R> {
        let now = now.as_micros();
        let (plan, header, size) = self.next_segment(now, most)?;
        let payload = match plan {
            Plan::Data(data) => {
                let offset = data.seq.past(self.sender.base) as usize;
                self.sender.ring.slices(offset, data.len as usize)
            }
            Plan::Reset(_) | Plan::Syn | Plan::KeepAlive | Plan::Acknowledgement => [&[][..], &[][..]],
        };
        let fresh = matches!(plan, Plan::Data(Data { kind: Kind::Fresh, .. }));
        // RFC 3168, section 6.1.5: what is sent again is not marked.
        let ecn = if self.agreed.ecn && fresh { Ecn::Capable } else { Ecn::NotCapable };
        let result = emit(&Transmit { header, payload, segment: size.segment as usize, ecn });
        self.has_left(now, plan, &header, size);
        Some(result)
    }

    /// Returns `true` if a segment is owed although the connection is over: a reset, or the last acknowledgement.
    pub fn owes_segment(&self) -> bool {
        self.reset.is_some() || (self.may_acknowledge() && self.receiver.is_due(0))
    }

    /// Not generic: in an image once, whatever `emit` is.
    fn next_segment(&mut self, now: Micros, most: usize) -> Option<(Plan, Header, Size)> {
        self.expire(now);
        self.settle_refusal();
        let limit = self.sender.limit(&self.options);
        let options = self.option_bytes();
        let size = Size::new(limit.saturating_sub(options), most);
        let plan = self.plan(now, size)?;
        Some((plan, self.header(now, &plan), size))
    }

    /// Returns the bytes of options in a segment with data: timestamps, and SACK blocks if there are any to report.
    fn option_bytes(&self) -> u32 {
        let (stamps, most) = if self.agreed.timestamps { (12, 3) } else { (0, 4) };
        let blocks = if self.agreed.sack { self.receiver.blocks().min(most) as u32 } else { 0 };
        stamps + if blocks > 0 { 4 + 8 * blocks } else { 0 }
    }

    fn plan(&mut self, now: Micros, size: Size) -> Option<Plan> {
        if let Some(seq) = self.reset {
            return Some(Plan::Reset(seq));
        }
        let due = self.may_acknowledge() && self.receiver.is_due(now);
        if self.state == State::Closed || self.state == State::TimeWait {
            return due.then_some(Plan::Acknowledgement);
        }
        if self.syn_open {
            if self.syn_due {
                return Some(Plan::Syn);
            }
            return (due && self.state != State::SynSent).then_some(Plan::Acknowledgement);
        }
        if let Some(data) = self.sender.plan(now, size, &self.options) {
            return Some(Plan::Data(data));
        }
        // What the user has given meanwhile may wait for a window.
        self.sender.arm(now, size.segment, &self.agreed);
        if self.keep_alive.due {
            return Some(Plan::KeepAlive);
        }
        due.then_some(Plan::Acknowledgement)
    }

    fn header(&mut self, now: Micros, plan: &Plan) -> Header {
        let mut header = Header::default();
        // RFC 7323, section 3.2: once agreed, in every segment; in a reset too.
        if self.agreed.timestamps {
            let echo = if self.state == State::SynSent { 0 } else { self.receiver.echo() };
            header.timestamp = Some(Timestamp { value: self.clock(now), echo });
        }
        if self.state != State::SynSent {
            header.flags = Flags::ACK;
            header.ack = self.receiver.next();
        }
        match *plan {
            Plan::Reset(seq) => {
                header.seq = seq;
                header.flags = Flags::RST;
                header.ack = Seq(0);
                return header;
            }
            Plan::Syn => return self.syn_header(header),
            Plan::Data(data) => {
                header.seq = data.seq;
                if data.fin {
                    header.flags = header.flags.with(Flags::FIN);
                }
                if data.len > 0 && data.seq + data.len == self.sender.stream_end() {
                    header.flags = header.flags.with(Flags::PSH);
                }
                if data.kind == Kind::Fresh && self.agreed.ecn && self.sender.reduced {
                    header.flags = header.flags.with(Flags::CWR);
                }
            }
            Plan::KeepAlive => header.seq = self.sender.board.end() - 1,
            Plan::Acknowledgement => header.seq = self.sender.board.end(),
        }
        if self.echo_mark {
            header.flags = header.flags.with(Flags::ECE);
        }
        header.window = self.receiver.offer();
        if self.agreed.sack {
            self.receiver.report(&mut header);
        }
        header
    }

    fn syn_header(&mut self, mut header: Header) -> Header {
        header.seq = self.iss;
        header.flags = header.flags.with(Flags::SYN);
        header.mss = Some(self.options.mss);
        header.scale = self.agreed.scaling.then(|| self.receiver.scale());
        header.sack_permitted = self.agreed.sack;
        header.window = self.receiver.offer_first();
        // RFC 3168, section 6.1.1; a SYN that got no answer goes again without (section 6.1.1.1).
        if self.agreed.ecn && self.syn_repeats == 0 {
            let asks = self.state == State::SynSent;
            header.flags = header.flags.with(if asks { Flags::ECE.with(Flags::CWR) } else { Flags::ECE });
        }
        header
    }

    fn has_left(&mut self, now: Micros, plan: Plan, header: &Header, size: Size) {
        self.segments_sent = self.segments_sent.wrapping_add(1);
        match plan {
            Plan::Reset(_) => self.reset = None,
            Plan::Syn => self.syn_has_left(now),
            Plan::Data(data) => {
                if header.flags.has(Flags::CWR) {
                    self.sender.reduced = false;
                }
                let clock = header.timestamp.map(|timestamp| timestamp.value);
                self.sender.has_left(now, &data, size, clock, &self.agreed);
            }
            Plan::KeepAlive => self.keep_alive.due = false,
            Plan::Acknowledgement => {}
        }
    }

    fn syn_has_left(&mut self, now: Micros) {
        self.syn_due = false;
        match self.sender.timed {
            None => self.sender.timed = Some((self.iss + 1, now)),
            Some(_) => self.syn_repeats = self.syn_repeats.saturating_add(1),
        }
        self.sender.syn_left(now);
    }
}
