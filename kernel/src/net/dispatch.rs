//! Who gets a frame: the table of everything that a frame, or the clock, can concern.
//!
//! The turn hands over frames that the classifier found sound, then lets everybody with news
//! run. The invariant: a frame reaches smoltcp once, with only the sockets it concerns.
#![forbid(unsafe_code)]

use pbufpool::RxChecksum;
use smoltcp::iface::SocketSet;
use smoltcp::time::Instant;
use smoltcp::wire::{DHCP_CLIENT_PORT, IpAddress, IpEndpoint};

use super::addresses::AddressKeeper;
use super::classify::{Class, Filter};
use super::connections::Connections;
use super::core::{Core, Egress};
use super::counters::Refusal;
use super::device::Frame;
use super::link::slice;
use super::neighbours;
use super::udp::UdpPorts;
use crate::services::SMALL_SERVICES;

/// Frames that the interface may send in one go to finish a datagram it cut up: more than one
/// of 64 KiB takes.
const FRAGMENTS: usize = 64;

/// Everything behind the classifier.
pub(super) struct Dispatch {
    pub(super) core: Core,
    pub(super) filter: Filter,
    pub(super) tcp: Connections,
    pub(super) udp: UdpPorts,
    pub(super) keeper: AddressKeeper,
    /// For frames that concern no socket.
    pub(super) nobody: SocketSet<'static>,
    /// When the interface itself next has something to do.
    pub(super) upkeep_at: Option<Instant>,
}

impl Dispatch {
    /// Gives a sound frame to whom it concerns.
    ///
    /// # Errors
    /// The frame, if the NIC had no room for an answer: try again next turn.
    pub(super) fn route<'f>(&mut self, class: Class, frame: Frame<'f>) -> Result<(), Frame<'f>> {
        let core = &mut self.core;
        match class {
            Class::Tcp { flow, opens } => self.tcp.deliver(flow, opens, frame, core),
            Class::Udp { destination, .. } if destination.port == DHCP_CLIENT_PORT => {
                self.upkeep_at = Some(core.now);
                self.keeper.deliver(frame, core)
            }
            Class::Udp {
                source,
                destination,
                data,
            } if let Some(port) = self.udp.served(destination.port) => {
                match not_answered(core, source, destination) {
                    Some(why) => {
                        core.counters.refuse(why);
                        Ok(())
                    }
                    None => {
                        let ends = (source, destination);
                        self.udp.deliver(port, ends, data, frame, core)
                    }
                }
            }
            Class::Echo { from, to } => self.echo(from, to, frame),
            Class::Neighbour => {
                core.deliver(frame, &mut self.nobody)?;
                self.retry();
                Ok(())
            }
            Class::Udp { .. } | Class::Interface | Class::Fragment => {
                // It may have been a router's advertisement.
                self.upkeep_at = Some(core.now);
                core.deliver(frame, &mut self.nobody).map(drop)
            }
        }
    }

    /// Has an echo request answered. smoltcp drops the reply if it does not know its next hop yet
    /// and asks for that; then the request is kept until the answer comes.
    fn echo<'f>(
        &mut self,
        from: IpAddress,
        to: IpAddress,
        frame: Frame<'f>,
    ) -> Result<(), Frame<'f>> {
        let core = &mut self.core;
        core.link.take_asked();
        let sent = core.counters.tx_frames;
        let read = core.deliver(frame, &mut self.nobody)?;
        let asked = core.link.take_asked();
        if (asked || core.counters.tx_frames == sent)
            && core.iface.has_ip_addr(to)
            && let Some(Frame::Packet(packet)) = read
        {
            if !asked {
                neighbours::ask(from, core);
            }
            core.link.held().keep(packet, core.now);
        }
        Ok(())
    }

    /// A neighbour's address may have come in: tries everything that waits for one.
    fn retry(&mut self) {
        self.tcp.retry();
        self.udp.retry();
        for packet in self.core.link.held().take(self.core.now) {
            let checksum = packet.offload().rx_checksum;
            if let Ok(Class::Echo { from, to }) =
                self.filter.classify(slice(&packet), checksum, false)
            {
                // Without room for the answer it is dropped: it was late already.
                let _ = self.echo(from, to, Frame::Packet(packet));
            }
        }
    }

    /// Classifies and routes a datagram that was put together from fragments. It is lost if the
    /// NIC is full, as a datagram may be.
    pub(super) fn receive_whole(&mut self, datagram: &[u8]) {
        match self.filter.classify(datagram, RxChecksum::Unverified, true) {
            Err(why) => self.core.counters.refuse(why),
            Ok(class) => {
                if self.route(class, Frame::Bytes(datagram)).is_err() {
                    self.core.counters.refuse(Refusal::NoRoom);
                }
                self.finish_fragments();
            }
        }
    }

    /// Lets everybody run who has something to do. Returns how many did.
    pub(super) fn serve(&mut self) -> usize {
        self.core.link.held().expire(self.core.now);
        let ran = self.tcp.run(&mut self.core) + self.udp.resume(&mut self.core);
        ran + self.upkeep()
    }

    /// Whether somebody has something to do at once.
    pub(super) fn is_due(&self) -> bool {
        self.tcp.is_due() || self.udp.is_due()
    }

    /// When somebody has something to do by themselves.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.core.link.held_until();
        let all = [
            self.tcp.deadline(),
            self.udp.deadline(),
            self.upkeep_at,
            held,
        ];
        all.into_iter().flatten().min()
    }

    /// Sends the rest of a datagram that smoltcp cut up, before another one takes its place.
    pub(super) fn finish_fragments(&mut self) {
        for _ in 0..FRAGMENTS {
            if self.core.iface.poll_at(self.core.now, &self.nobody) != Some(Instant::ZERO)
                || self.core.send_from(&mut self.nobody) == Egress::Stalled
            {
                break;
            }
        }
    }

    /// What the interface does by itself: DHCP, router solicitation, left-over fragments.
    fn upkeep(&mut self) -> usize {
        if self.upkeep_at.is_none_or(|at| at > self.core.now) {
            return 0;
        }
        self.core.iface.poll_maintenance(self.core.now);
        let egress = self.keeper.update(&mut self.core);
        if self.keeper.take_moved() {
            self.udp.retry();
        }
        self.finish_fragments();
        self.upkeep_at = match egress {
            Egress::Done(_) => self.keeper.deadline(&mut self.core),
            Egress::Last | Egress::Stalled | Egress::Budget => Some(self.core.now),
        };
        1
    }
}

/// Why a datagram to a service is not given to it: services answer neither groups nor each other.
fn not_answered(core: &Core, source: IpEndpoint, destination: IpEndpoint) -> Option<Refusal> {
    if SMALL_SERVICES.contains(&source.port) {
        return Some(Refusal::UdpLoop);
    }
    // An address that is not exactly ours is a group's (or nobody's, which smoltcp would drop).
    let from_host = !source.addr.is_unspecified() && source.port != 0;
    (!core.iface.has_ip_addr(destination.addr) || !from_host).then_some(Refusal::UdpGroup)
}
