//! From state to state: what follows from what smoltcp did with a connection, and from its deadlines.

use super::engine::Engine;
use super::flow::Flow;
use super::listener::{ListenerSlot, ListenerState};
use super::slot::{ASKED, End, Life, LifeList, Limit, Slot, Snapshot, Work, end_of};
use super::token::Sequence;
use crate::log::debug;
use crate::stack::{ErrorKind, Readiness, Tag};
use crate::storage::List;
use crate::time::{Duration, Instant, earliest};
use ::smoltcp::socket::tcp;

impl Engine<'_> {
    /// Draws the consequences of what smoltcp did with a connection.
    pub(super) fn settle(&mut self, index: u16, before: &Snapshot, after: &Snapshot, reset: bool) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        let mut ended = None;
        if after.state != before.state && slot.end.is_none() {
            ended = end_of(before.state, after.state, reset);
            slot.end = ended;
            if let Some(end) = ended {
                debug!(
                    "the connection with {} ended: {:?}; segments: {} in, {} out, {} again",
                    slot.flow.remote_addr(),
                    end,
                    slot.segments_received,
                    slot.segments_sent,
                    slot.retransmitted
                );
            }
        }
        match slot.life {
            Life::Free => {}
            Life::HalfOpen { listener } => self.settle_half_open(index, listener, after.state),
            Life::Queued { .. } => {
                if let Some(End::Failed(_)) = ended {
                    self.release(index);
                }
            }
            Life::Owned { .. } => self.settle_owned(index, before, after, ended),
            Life::Lingering => self.settle_lingering(index, after.state),
            Life::TimeWait => {
                if after.state == tcp::State::Closed {
                    self.release(index);
                }
            }
        }
    }

    fn settle_half_open(&mut self, index: u16, listener: u8, state: tcp::State) {
        match state {
            tcp::State::SynReceived => {}
            // smoltcp did not take the SYN (a wrong checksum, say), or the peer reset it.
            tcp::State::Listen | tcp::State::Closed => self.release(index),
            tcp::State::SynSent
            | tcp::State::Established
            | tcp::State::FinWait1
            | tcp::State::FinWait2
            | tcp::State::CloseWait
            | tcp::State::Closing
            | tcp::State::LastAck
            | tcp::State::TimeWait => {
                self.set_life(index, Life::Queued { listener });
                self.set_limit(index, Limit::NEVER);
                self.woke = true;
            }
        }
    }

    fn settle_owned(&mut self, index: u16, before: &Snapshot, after: &Snapshot, ended: Option<End>) {
        let mut changed = after.since(before);
        changed.ended = ended.is_some();
        let opened = before.state != after.state && after.state == tcp::State::Established;
        if opened {
            self.set_limit(index, Limit::NEVER);
        }
        match ended {
            None => {}
            Some(End::Finished) => self.set_limit(index, Limit::at(self.now + self.time_wait())),
            Some(End::Failed(_)) => {
                self.unfile(index);
                self.set_limit(index, Limit::NEVER);
            }
        }
        self.report(index, changed);
    }

    /// Nobody receives any more: make room for the peer's last bytes and its FIN.
    fn settle_lingering(&mut self, index: u16, state: tcp::State) {
        self.discard_received(index);
        match state {
            tcp::State::TimeWait => {
                self.set_life(index, Life::TimeWait);
                self.set_limit(index, Limit::at(self.now + self.time_wait()));
            }
            tcp::State::Closed | tcp::State::Listen => self.release(index),
            tcp::State::SynSent
            | tcp::State::SynReceived
            | tcp::State::Established
            | tcp::State::FinWait1
            | tcp::State::FinWait2
            | tcp::State::CloseWait
            | tcp::State::Closing
            | tcp::State::LastAck => {}
        }
    }

    pub(super) fn discard_received(&mut self, index: u16) {
        let Some(socket) = self.slots.get_mut(usize::from(index)).and_then(Slot::socket_mut) else { return };
        while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {
            // Twice at most: the buffer is a ring.
        }
    }

    /// smoltcp forgets everything, received bytes included, 10 s after it entered TIME-WAIT: be earlier.
    pub(super) fn time_wait(&self) -> Duration {
        self.config.time_wait.min(Duration::from_secs(9))
    }

    /// Ends what has taken too long, and marks those that smoltcp wants to see.
    pub(super) fn expire(&mut self) {
        while let Some(index) = self.deadlines.take_due(&mut self.slots, self.now) {
            let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
            if slot.limit.due().is_some_and(|at| at <= self.now) {
                self.limit_reached(index);
            } else {
                self.set_work(index, Work::Dirty);
            }
        }
    }

    fn limit_reached(&mut self, index: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        slot.limit = Limit::NEVER;
        debug!("the time of {} is up ({:?})", slot.flow.remote_addr(), slot.life);
        match slot.life {
            Life::Free => {}
            Life::HalfOpen { .. } => {
                self.stats.half_open_dropped += 1;
                self.release(index);
            }
            Life::Queued { .. } => self.set_work(index, Work::Dirty),
            Life::Owned { .. } => {
                if slot.end.is_none() {
                    slot.end = Some(End::Failed(ErrorKind::TimedOut));
                    let changed = Readiness { ended: true, ..Default::default() };
                    self.report(index, changed);
                }
                self.unfile(index);
            }
            Life::Lingering => {
                // The reset leaves with this poll, and settling frees the slot.
                if let Some(socket) = slot.socket_mut() {
                    socket.abort();
                }
                self.set_work(index, Work::Dirty);
            }
            Life::TimeWait => self.release(index),
        }
    }

    /// Tells the owner of a connection what changed.
    pub(super) fn report(&mut self, index: u16, changed: Readiness) {
        if changed.is_empty() {
            return;
        }
        self.woke = true;
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        let Life::Owned { listener: Some(listener) } = slot.life else { return };
        let is_listed = !slot.changed.is_empty();
        slot.changed.readable |= changed.readable;
        slot.changed.writable |= changed.writable;
        slot.changed.ended |= changed.ended;
        if is_listed {
            return;
        }
        if let Some(listener) = self.listeners.get_mut(usize::from(listener)) {
            listener.ready.push(&mut self.slots, index);
        }
    }

    /// Takes a free slot into use.
    pub(super) fn occupy(&mut self, index: u16, flow: Flow, life: Life) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        slot.flow = flow;
        slot.end = None;
        slot.tag = Tag(0);
        (slot.segments_received, slot.segments_sent, slot.retransmitted) = (0, 0, 0);
        if core::mem::take(&mut slot.marks) & ASKED != 0 {
            slot.forget_neighbor();
        }
        let capacity = slot.socket().map_or(0, tcp::Socket::recv_capacity);
        slot.scale = (usize::BITS - capacity.leading_zeros()).saturating_sub(u16::BITS) as u8;
        slot.sequence = Sequence::NOTHING;
        self.flows.insert(&mut self.slots, index);
        self.set_life(index, life);
    }

    /// Frees a slot without a word to the peer.
    pub(super) fn release(&mut self, index: u16) {
        self.unfile(index);
        self.set_work(index, Work::None);
        self.set_life(index, Life::Free);
        self.deadlines.set(&mut self.slots, index, None);
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        slot.generation = slot.generation.wrapping_add(1);
        slot.limit = Limit::NEVER;
        if let Some(socket) = slot.socket_mut() {
            // Never run again in this state, so the reset that smoltcp would send is not sent.
            socket.abort();
        }
    }

    /// No segment reaches the slot any more, and its flow may be used again.
    pub(super) fn unfile(&mut self, index: u16) {
        if self.latest.index == index {
            self.latest = Default::default();
        }
        self.flows.remove(&mut self.slots, index);
    }

    /// Moves a slot from the list of its old life to that of its new one.
    pub(super) fn set_life(&mut self, index: u16, life: Life) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        let old = core::mem::replace(&mut slot.life, life);
        let was_ready = !core::mem::take(&mut slot.changed).is_empty();
        if let Some(list) = list_of(old, &mut self.free, &mut self.time_wait, &mut self.listeners) {
            list.remove(&mut self.slots, index);
        }
        if let Life::Owned { listener: Some(listener) } = old
            && let Some(listener) = self.listeners.get_mut(usize::from(listener))
        {
            if was_ready {
                listener.ready.remove(&mut self.slots, index);
            }
            listener.disown();
        }
        if let Some(list) = list_of(life, &mut self.free, &mut self.time_wait, &mut self.listeners) {
            list.push(&mut self.slots, index);
        }
        if let Life::Owned { listener: Some(listener) } = life
            && let Some(listener) = self.listeners.get_mut(usize::from(listener))
        {
            listener.accepted += 1;
        }
    }

    pub(super) fn set_work(&mut self, index: u16, work: Work) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return };
        let old = core::mem::replace(&mut slot.work, work);
        if old == work {
            return;
        }
        match old {
            Work::None => {}
            Work::Dirty => self.dirty.remove(&mut self.slots, index),
            Work::AwaitsNeighbor => self.awaiting_neighbor.remove(&mut self.slots, index),
        }
        match work {
            Work::None => {}
            Work::Dirty => self.dirty.push(&mut self.slots, index),
            Work::AwaitsNeighbor => self.awaiting_neighbor.push(&mut self.slots, index),
        }
    }

    pub(super) fn set_limit(&mut self, index: u16, limit: Limit) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.limit = limit;
        }
    }

    /// Starts the slot's timer for the earlier of its own limit and `due`.
    pub(super) fn set_timer(&mut self, index: u16, due: Option<Instant>) {
        let Some(slot) = self.slots.get(usize::from(index)) else { return };
        if slot.life == Life::Free {
            return;
        }
        let at = earliest(slot.limit.due(), due);
        match (slot.timer.due(), at) {
            (None, None) => {}
            // A timer that runs out too early costs one look at the slot; to move it with every segment costs more.
            (Some(running), Some(at)) if running <= at => {}
            (_, at) => self.deadlines.set(&mut self.slots, index, at),
        }
    }
}

/// The list that a slot is in during this life, if it is in one.
fn list_of<'l>(
    life: Life,
    free: &'l mut List<LifeList>,
    time_wait: &'l mut List<LifeList>,
    listeners: &'l mut [ListenerSlot],
) -> Option<&'l mut List<LifeList>> {
    match life {
        Life::Free => Some(free),
        Life::TimeWait => Some(time_wait),
        Life::HalfOpen { listener } => Some(&mut listeners.get_mut(usize::from(listener))?.half_open),
        Life::Queued { listener } => Some(&mut listeners.get_mut(usize::from(listener))?.queue),
        Life::Owned { .. } | Life::Lingering => None,
    }
}

impl ListenerSlot {
    /// One accepted connection less; the last one of a closed listener frees it.
    fn disown(&mut self) {
        self.accepted = self.accepted.saturating_sub(1);
        self.free_if_unused();
    }

    pub(super) fn free_if_unused(&mut self) {
        if self.state == ListenerState::Closed && self.accepted == 0 {
            self.state = ListenerState::Free;
            self.generation = self.generation.wrapping_add(1);
        }
    }
}
