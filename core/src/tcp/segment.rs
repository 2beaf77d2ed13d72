//! What a segment does: RFC 9293, section 3.10.7, in its order, with RFC 5961 (blind attacks) and RFC 7323 (PAWS).

use super::header::{Flags, Header};
use super::receiver::Taken;
use super::tcb::{Challenge, End, State, Tcb};
use super::{Ecn, Micros};
use crate::time::Instant;

impl Tcb<'_> {
    /// Takes a segment of this connection, whose checksum is right. The work is bounded.
    pub fn on_segment(&mut self, now: Instant, header: &Header, payload: &[u8], ecn: Ecn) {
        let now = now.as_micros();
        self.segments_received = self.segments_received.wrapping_add(1);
        match self.state {
            State::Closed => {}
            State::SynSent => self.in_syn_sent(now, header, payload),
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => self.synchronized(now, header, payload, ecn),
        }
    }

    /// Section 3.10.7.3.
    fn in_syn_sent(&mut self, now: Micros, header: &Header, payload: &[u8]) {
        let flags = header.flags;
        let acknowledges = flags.has(Flags::ACK);
        if acknowledges && header.ack != self.iss + 1 {
            if !flags.has(Flags::RST) {
                self.reset = Some(header.ack);
            }
            return;
        }
        if flags.has(Flags::RST) {
            if acknowledges {
                self.finish(End::Refused);
            }
            return;
        }
        if !flags.has(Flags::SYN) {
            return;
        }
        self.learn_syn(now, header);
        if acknowledges {
            self.establish(now, header);
            self.receiver.acknowledge_now();
            let first = Header { seq: header.seq + 1, ..*header };
            self.take_payload(now, &first, payload);
        } else {
            // Both have opened at once.
            self.state = State::SynReceived;
            self.syn_due = true;
        }
    }

    /// The peer has acknowledged our SYN.
    fn establish(&mut self, now: Micros, header: &Header) {
        self.state = match self.state {
            State::SynSent | State::SynReceived => State::Established,
            // Its user has ended the stream already.
            State::Closed
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => self.state,
        };
        (self.syn_open, self.syn_due) = (false, false);
        let sent_at = self.sender.timed.take().map(|(_, at)| at);
        let echoed = self.echoed(now, header).filter(|_| sent_at.is_some());
        let whole = sent_at.map(|at| now.saturating_sub(at).min(60_000_000) as u32);
        // An echo as old as the first SYN says that none was lost: the path is long.
        let is_long = whole.zip(echoed).is_some_and(|(whole, echoed)| echoed.saturating_add(2_048) >= whole);
        let lost_syn = self.syn_repeats > 0 && !is_long;
        let sample = if self.syn_repeats == 0 || is_long { whole } else { echoed };
        self.sender.rtt.end_backoff();
        if lost_syn {
            self.sender.rtt.lost_syn();
        }
        if let Some(sample) = sample {
            self.sender.rtt.sample(now, sample);
        }
        self.sender.open(&self.options, &self.agreed, lost_syn);
        self.heard(now);
    }

    /// Section 3.10.7.4.
    fn synchronized(&mut self, now: Micros, header: &Header, payload: &[u8], ecn: Ecn) {
        let flags = header.flags;
        let len = header.sequence_len(payload.len());
        if self.syn_open && flags.has(Flags::SYN) && header.seq == self.irs {
            return self.on_repeated_syn(now, header);
        }
        if !flags.has(Flags::RST) && self.agreed.timestamps && !self.has_fresh_timestamp(now, header, len) {
            return;
        }
        // First: the sequence number.
        if !self.receiver.accepts(header, len) {
            return self.on_unacceptable(now, header, payload.len(), len);
        }
        // Second: RST (RFC 5961, section 3.2; RFC 1337, section 3, fix F1).
        if flags.has(Flags::RST) {
            return self.on_reset(now, header);
        }
        // Fourth: SYN (RFC 5961, section 4.2).
        if flags.has(Flags::SYN) {
            return self.challenge(now, Challenge::Syn);
        }
        // Fifth: ACK.
        if !flags.has(Flags::ACK) {
            return;
        }
        if self.syn_open {
            if header.ack != self.iss + 1 {
                self.reset = Some(header.ack);
                return;
            }
            self.establish(now, header);
        } else if !self.sender.is_acceptable(header.ack) {
            return self.challenge(now, Challenge::Acknowledgement);
        }
        self.heard(now);
        if let Some(timestamp) = header.timestamp.filter(|_| self.agreed.timestamps) {
            self.receiver.note_timestamp(now, header.seq, timestamp);
        }
        self.note_mark(flags, ecn);
        self.on_acknowledgement(now, header, payload.len());
        if self.state != State::Closed {
            // Sixth to eighth.
            self.take_payload(now, header, payload);
        }
    }

    /// The peer's SYN has come again, or its SYN|ACK after both opened at once (section 3.5).
    fn on_repeated_syn(&mut self, now: Micros, header: &Header) {
        let flags = header.flags;
        if flags.has(Flags::RST) {
            return;
        }
        if flags.has(Flags::ACK) && header.ack == self.iss + 1 {
            self.establish(now, header);
            self.receiver.acknowledge_now();
        } else if !flags.has(Flags::ACK) {
            self.syn_due = true;
        }
    }

    /// PAWS (RFC 7323, section 5.3), and what lacks the timestamp that was agreed (section 3.2).
    fn has_fresh_timestamp(&mut self, now: Micros, header: &Header, len: u32) -> bool {
        let Some(timestamp) = header.timestamp else { return false };
        if !self.receiver.is_old(now, timestamp) {
            return true;
        }
        if len > 0 {
            // A repetition of something that was acknowledged, most likely: the peer must hear so.
            self.receiver.acknowledge_now();
            self.receiver.note_duplicate(header.seq, header.seq + len);
        } else {
            self.challenge(now, Challenge::Timestamp);
        }
        false
    }

    fn on_reset(&mut self, now: Micros, header: &Header) {
        let exact = header.seq == self.receiver.next();
        match self.state {
            // RFC 1337, section 3.
            State::TimeWait => {}
            State::SynReceived if self.syn_open && !exact => {}
            State::Closed
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => {
                if exact {
                    self.finish(End::Reset);
                } else {
                    self.challenge(now, Challenge::Reset);
                }
            }
        }
    }

    /// Tells the peer where we are. What holds data or a FIN is answered always, as every repetition must be; what holds nothing could be an
    /// answer itself, and is answered seldom.
    fn on_unacceptable(&mut self, now: Micros, header: &Header, payload: usize, len: u32) {
        if header.flags.has(Flags::RST) {
            return;
        }
        // A segment of another connection's life that cannot be answered yet.
        if self.syn_open {
            if header.flags.has(Flags::ACK) && header.ack != self.iss + 1 {
                self.reset = Some(header.ack);
            } else {
                self.syn_due |= len > 0;
            }
            return;
        }
        if header.flags.has(Flags::SYN) {
            return self.challenge(now, Challenge::Syn);
        }
        if len > 0 {
            self.duplicates = self.duplicates.wrapping_add(1);
            self.receiver.acknowledge_now();
            self.receiver.note_duplicate(header.seq, header.seq + payload as u32);
        } else {
            self.challenge(now, Challenge::Window);
        }
        // The window is closed for data, not for the acknowledgement that comes with it (section 3.8.6: "MUST be prepared").
        let is_next = header.seq == self.receiver.next();
        if is_next && header.flags.has(Flags::ACK) && self.sender.is_acceptable(header.ack) {
            self.heard(now);
            self.on_acknowledgement(now, header, payload.max(1));
        }
    }

    /// RFC 3168, section 6.1.3.
    fn note_mark(&mut self, flags: Flags, ecn: Ecn) {
        if !self.agreed.ecn {
            return;
        }
        if flags.has(Flags::CWR) {
            self.echo_mark = false;
        }
        if ecn == Ecn::CongestionExperienced {
            self.echo_mark = true;
            self.receiver.acknowledge_now();
        }
    }

    fn on_acknowledgement(&mut self, now: Micros, header: &Header, payload: usize) {
        let echoed = self.echoed(now, header);
        let done = self.sender.on_ack(now, header, payload, echoed, &self.options, &self.agreed);
        if done.fin {
            self.on_fin_acknowledged();
        }
        if let Some(mss) = self.path.retry(now, self.options.mss) {
            self.options.mss = mss;
        }
    }

    fn on_fin_acknowledged(&mut self) {
        match self.state {
            State::FinWait1 => self.state = State::FinWait2,
            State::Closing => self.enter_time_wait(),
            State::LastAck => self.finish(End::Finished),
            State::Closed
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait2
            | State::CloseWait
            | State::TimeWait => {}
        }
    }

    /// Sixth to eighth: URG is ignored, as its data is taken inline (RFC 6093, section 6); text; FIN.
    fn take_payload(&mut self, now: Micros, header: &Header, payload: &[u8]) {
        let fin = header.flags.has(Flags::FIN);
        if payload.is_empty() && !fin {
            return;
        }
        if !self.may_receive() {
            // After the peer's FIN nothing new can come.
            if !payload.is_empty() || fin {
                self.receiver.acknowledge_now();
            }
            return;
        }
        let keep = !self.is_gone();
        let was_finished = self.receiver.is_finished();
        let before = self.receiver.next();
        let taken = self.receiver.take(now, header.seq, payload, fin, header.flags.has(Flags::PSH), keep);
        match taken {
            Taken::InOrder => {}
            Taken::OutOfOrder => self.out_of_order = self.out_of_order.wrapping_add(1),
            Taken::Duplicate => self.duplicates = self.duplicates.wrapping_add(1),
        }
        if !payload.is_empty() && self.receiver.next() != before {
            self.refuse();
        }
        if !was_finished && self.receiver.is_finished() {
            self.on_fin();
        }
    }

    fn on_fin(&mut self) {
        match self.state {
            State::SynReceived | State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(),
            State::Closed
            | State::SynSent
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {}
        }
    }
}
