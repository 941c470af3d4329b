//! What every packet meets: interface, link, counters; and the two ways into smoltcp.
//!
//! The connection table, the UDP ports and the address keeper call [`Core::deliver`] with one
//! frame and the sockets that it concerns, and [`Core::send_from`] with sockets that have
//! something to say. They own the sockets; this owns the rest.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use smoltcp::iface::{Interface, PollResult, SocketSet};
use smoltcp::time::Instant;

use super::addresses::Addresses;
use super::counters::Counters;
use super::device::{Frame, Port};
use super::link::Link;
use super::neighbours::Neighbours;
use super::rates::InterruptRates;
use super::reception::Reception;
use super::silence::Silence;
use super::status::{ServiceCounters, Status, System};
use crate::services::ServiceSet;

/// Frames that one socket may send before others get their turn.
const EGRESS_BUDGET: usize = 64;

/// Why [`Core::send_from`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// The sockets have nothing to send now; this is when they next have, by themselves.
    Done(Option<Instant>),
    /// The caller recognised the last frame that they have to send now.
    Last,
    /// No transmit packet or slot is free; there is more to send.
    Stalled,
    /// The budget is used up; there may be more.
    Budget,
}

/// The shared half of the stack.
pub struct Core {
    /// smoltcp's interface.
    pub iface: Interface,
    /// One that is only asked when sockets next have something to do. Smoltcp 0.14 puts what SLAAC waits
    /// for into that answer: a time that is past, for ever, where no router answered; no time at all,
    /// though a socket has one, where one gave neither route nor prefix. This one does without SLAAC.
    pub(super) clock: Box<Interface>,
    /// NIC, pool and what is between.
    pub link: Link,
    /// Counters of the path.
    pub counters: Counters,
    /// Counters of the services.
    pub services: ServiceCounters,
    /// Gateway and resolvers in force.
    pub addresses: Addresses,
    /// The machine.
    pub system: &'static dyn System,
    /// What is served.
    pub served: ServiceSet,
    /// Hosts whose hardware address was asked for.
    pub(super) neighbours: Neighbours,
    /// What the NIC is to let through.
    pub(super) reception: Reception,
    /// Since when nothing was heard.
    pub(super) silence: Silence,
    /// How often interrupts come.
    pub(super) rates: InterruptRates,
    /// TCP connections that exist, in whatever state but TIME-WAIT.
    pub tcp_open: usize,
    /// Those in TIME-WAIT, of which only the name is left.
    pub tcp_ended: usize,
    /// This turn's time.
    pub now: Instant,
}

impl Core {
    /// The state of everything, for a service.
    pub fn status(&self) -> Status<'_> {
        Status::new(self)
    }

    /// The way out, for a frame that does not come from smoltcp.
    pub(super) fn port(&mut self) -> Port<'_, 'static> {
        Port::new(&mut self.link, &mut self.counters)
    }

    /// Gives `frame` to smoltcp with the only `sockets` it may concern. Returns the frame again,
    /// which smoltcp has read.
    ///
    /// # Errors
    /// The frame, if no transmit packet was free to answer it with: try again next turn.
    pub fn deliver<'f>(
        &mut self,
        frame: Frame<'f>,
        sockets: &mut SocketSet<'static>,
    ) -> Result<Option<Frame<'f>>, Frame<'f>> {
        let mut port = Port::receiving(&mut self.link, &mut self.counters, frame);
        self.iface.poll_ingress_single(self.now, &mut port, sockets);
        port.take_back()
    }

    /// Lets `sockets` send what they have, within a budget.
    pub fn send_from(&mut self, sockets: &mut SocketSet<'static>) -> Egress {
        self.send_up_to(sockets, &|_, _| false)
    }

    /// The same, for a caller that can tell by a sent frame's length whether it was the last one:
    /// smoltcp is not asked then.
    pub(super) fn send_up_to(
        &mut self,
        sockets: &mut SocketSet<'static>,
        is_last: &dyn Fn(&SocketSet<'static>, usize) -> bool,
    ) -> Egress {
        for _ in 0..EGRESS_BUDGET {
            let mut port = Port::new(&mut self.link, &mut self.counters);
            let result = self.iface.poll_egress(self.now, &mut port, sockets);
            if self.link.stalled() {
                return Egress::Stalled;
            }
            if result != PollResult::None && is_last(sockets, self.link.last_length()) {
                return Egress::Last;
            }
            // Cheaper than to find out by another attempt, and the answer is wanted anyway.
            let next = self.clock.poll_at(self.now, sockets);
            if result == PollResult::None || next.is_none_or(|next| next > self.now) {
                return Egress::Done(next);
            }
        }
        Egress::Budget
    }
}
