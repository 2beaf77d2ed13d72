//! Sockets of other protocols, which share the device, the addresses and the neighbours with the connections.

use super::SmoltcpStack;
use super::engine::{BURST, DEVICE_PAUSE, Engine, instant, stamp};
use super::token::{Egress, Exit, OneFrame};
use crate::time::Instant;
use ::smoltcp::iface::{Context, PollResult, SocketSet};
use ::smoltcp::phy::{Device, PacketMeta, TxToken};

impl<'a, D: Device> SmoltcpStack<'a, D> {
    /// The same with sockets of other protocols beside the connections, as smoltcp has them: DHCP, DNS, UDP, ICMP.
    ///
    /// They are processed by [`poll`](crate::stack::TcpStack::poll), whose deadline is also theirs. smoltcp looks through all of them for a
    /// packet that is not TCP's: a handful is meant. Which kinds there are is a matter of smoltcp's own features (`socket-udp`,
    /// `socket-dhcpv4`, ...); TCP sockets do not belong among them. [The guide](crate::guide) shows a DHCP client.
    #[must_use]
    pub fn with_sockets(mut self, sockets: SocketSet<'a>) -> Self {
        self.engine.others = sockets;
        self.engine.others_at = Instant::ZERO;
        self
    }

    /// Those sockets, and what some of their calls ask for. What they have to send leaves with the next
    /// [`poll`](crate::stack::TcpStack::poll).
    pub fn sockets(&mut self) -> (&mut SocketSet<'a>, &mut Context) {
        self.engine.others_at = Instant::ZERO;
        (&mut self.engine.others, self.engine.iface.context())
    }
}

impl Engine<'_> {
    /// What belongs to no connection: ARP, ICMP, segments for nobody, and what the other sockets wait for.
    pub(super) fn process_other(&mut self, frame: &[u8], meta: PacketMeta, answer: impl TxToken) {
        let mut one = OneFrame::new(frame, meta, Exit::<_, false> { token: Some(answer), watch: None });
        self.iface.poll_ingress_single(stamp(self.now), &mut one, &mut self.others);
    }

    /// Sends what the interface itself and the other sockets have to send. Seldom.
    #[cold]
    pub(super) fn send_others<D: Device>(&mut self, device: &mut D) {
        let now = stamp(self.now);
        let mut device = Egress::<D, false> { device: Some(device), watch: None };
        let mut left = BURST;
        while left > 0 && self.iface.poll_egress(now, &mut device, &mut self.others) != PollResult::None {
            left -= 1;
        }
        // What is still due found no room in the device, or has had its turn.
        let at = self.iface.poll_at(now, &self.others).map_or(Instant::FAR_FUTURE, instant);
        self.others_at = at.max(self.now + DEVICE_PAUSE);
    }
}
