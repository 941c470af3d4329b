//! One core's turn: the loop's body, which carries packets from the NIC to the services and back.
//!
//! `main` calls [`Stack::turn`] for ever, and when a turn found nothing to do it asks
//! [`Stack::rest`] whether, and for how long, the core may sleep. A turn takes at most
//! [`BURST`] frames, so that timers and transmissions are never starved.
//!
//! ```text
//!   reclaim, receive a burst → each frame: classify → smoltcp → service
//!                            → connections with news: service → smoltcp
//!                            → upkeep: DHCP, router solicitation, fragments
//!                            → transmit, refill, one doorbell
//! ```
#![forbid(unsafe_code)]

use drivers::net::{Armed, Health, LinkState};
use log::{error, info, warn};
use pbufpool::Packet;
use smoltcp::time::{Duration, Instant};

use super::announce::announce;
use super::classify::Class;
use super::core::Core;
use super::device::Frame;
use super::link::slice;
use super::stack::Stack;

/// Frames taken in one turn.
pub const BURST: usize = 64;

/// A ring that could not be filled is tried again after this long, even if nothing arrives: an
/// empty receive ring raises no interrupt.
const REFILL: Duration = Duration::from_millis(10);

/// How often pool and link are looked at. The pool keeps its own, longer, period.
const MAINTAIN: Duration = Duration::from_secs(1);

/// What a turn did.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Packets moved or connections ran: turn again.
    Worked,
    /// Nothing happened.
    Idle,
}

/// What the core may do until the next turn.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Turn again at once.
    No,
    /// Sleep until an interrupt, and no longer than until this time.
    Until(Option<Instant>),
}

impl Stack {
    /// Does everything that can be done at `now`.
    pub fn turn(&mut self, now: Instant) -> Turn {
        self.dispatch.core.now = now;
        self.recover();
        self.maintain();
        let mut moved = self.link_mut().begin(BURST);
        self.dispatch.finish_fragments();
        while let Some(packet) = self.next_packet() {
            self.receive(packet);
        }
        moved += self.dispatch.serve();
        let Core { link, counters, .. } = &mut self.dispatch.core;
        moved += link.end(counters);
        if moved == 0 { Turn::Idle } else { Turn::Worked }
    }

    /// Whether the core may sleep now; arms the NIC's interrupt if so.
    pub fn rest(&mut self) -> Rest {
        let stalled = self.link_mut().stalled();
        // What is stalled waits for the NIC to free a slot, which interrupts.
        if !stalled && (self.link_mut().has_received() || self.dispatch.is_due()) {
            return Rest::No;
        }
        if self.link_mut().arm() == Armed::Work {
            return Rest::No;
        }
        // Nothing interrupts when it is time to reset a broken NIC again.
        let broken = self.link_mut().nic().health() != Health::Ok;
        let retry = broken || self.link_mut().starved() || stalled;
        let retry = retry.then_some(self.dispatch.core.now + REFILL);
        Rest::Until(
            [self.dispatch.deadline(), retry, Some(self.maintain_at)]
                .into_iter()
                .flatten()
                .min(),
        )
    }

    /// Once a second: interrupts are counted, the pool looks after its magazines, the NIC says how its
    /// link is, and whether it wants the station to announce itself. So does a station that hears
    /// nothing, to see whether its NIC still works.
    fn maintain(&mut self) {
        let now = self.dispatch.core.now;
        if self.maintain_at > now {
            return;
        }
        self.maintain_at = now + MAINTAIN;
        let core = &mut self.dispatch.core;
        core.rates.note(now, core.system.interrupts());
        let link = &mut core.link;
        link.pools()
            .maintain(u64::try_from(now.total_millis()).unwrap_or(0));
        core.reception.tell(link.nic_mut());
        let before = link.state();
        let after = link.look();
        let came_up = before == LinkState::Down && after != LinkState::Down;
        if (before == LinkState::Down) != (after == LinkState::Down) {
            info!("nic: link {}", if came_up { "up" } else { "down" });
        }
        let wanted = link.nic().wants_announcement();
        let silent = core.silence.note(now, link.nic().stats().rx_packets);
        if came_up || wanted || (silent && after != LinkState::Down) {
            announce(core);
        }
        if wanted {
            info!("nic: announced, as it asked");
            if let Err(why) = core.link.nic_mut().announced() {
                warn!("nic: {why}");
            }
        }
    }

    /// The next packet in hand, as long as smoltcp could answer it.
    fn next_packet(&mut self) -> Option<Packet> {
        let Core { link, counters, .. } = &mut self.dispatch.core;
        if link.stalled() {
            None
        } else {
            link.next(counters)
        }
    }

    /// A NIC that broke its contract is reset; connections live on. The driver says when: one that
    /// keeps breaking is `Waiting` for ever longer.
    fn recover(&mut self) {
        let Health::Broken(fault) = self.link_mut().nic().health() else {
            return;
        };
        match self.link_mut().nic_mut().reset() {
            Ok(()) => warn!("nic: {fault}; reset, carrying on"),
            Err(why) => error!("nic: {fault}; reset failed: {why}"),
        }
    }

    fn receive(&mut self, packet: Packet) {
        let offload = packet.offload();
        let (checksum, merged) = (offload.rx_checksum, offload.gso.is_some());
        let frame = slice(&packet);
        match self.dispatch.filter.classify(frame, checksum, merged) {
            Err(why) => self.dispatch.core.counters.refuse(why),
            Ok(Class::Fragment) => self.reassemble(frame),
            Ok(class) => {
                let refused = self.dispatch.route(class, Frame::Packet(packet));
                if let Err(Frame::Packet(packet)) = refused {
                    self.link_mut().put_back(packet);
                }
            }
        }
    }

    /// Adds a fragment; the datagram it completes takes the way of any frame.
    fn reassemble(&mut self, fragment: &[u8]) {
        let Self {
            reassembly,
            dispatch,
            ..
        } = self;
        dispatch.core.counters.fragments += 1;
        match reassembly.add(fragment, dispatch.core.now) {
            Ok(None) => {}
            Err(why) => dispatch.core.counters.refuse(why),
            Ok(Some(datagram)) => {
                dispatch.core.counters.reassembled += 1;
                dispatch.receive_whole(datagram);
            }
        }
    }
}
