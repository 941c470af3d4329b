//! The TCP connections: found by flow, made by a SYN, run when something happened, recycled.
//!
//! The stack gives every segment here. The table keeps the listen backlog that smoltcp lacks:
//! nothing listens while nobody calls; a SYN to a served port makes a socket, within limits, and
//! the oldest unfinished handshake gives way to a newer one. Connections that only wait out
//! TIME-WAIT give way, too.
//!
//! Costs: a segment costs one hash look-up and its own socket; an idle connection costs memory
//! and, at most, a place in the timer heap. What stands there may be early, and of a connection that
//! has ended: then nothing happens. It is never late.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;
use heapless::Deque;
use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;

use super::connection::{Connection, Stage, Unsent, is_established};
use super::core::Core;
use super::device::Frame;
use super::flow::{FlowHash, FlowKey};
use super::lists::{Links, List};
use super::neighbours;
use super::timers::Timers;
use crate::config::TcpLimits;
use crate::services::{TcpService, Traffic};

/// Connections that may wait out TIME-WAIT; beyond, the oldest is let go.
const WAITING: usize = 256;

/// Connections remembered to wait for a neighbour's address; more wait for smoltcp's second.
const BLOCKED: usize = 64;

mod admission;
mod spares;

use spares::Spares;

struct Served {
    service: Box<dyn TcpService>,
    port: u16,
    traffic: Traffic,
    handshakes: List,
}

/// All TCP connections of one stack.
pub(super) struct Connections {
    served: Vec<Served>,
    limits: TcpLimits,
    flows: HashMap<FlowKey, u32, FlowHash>,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    links: Links,
    waiting: List,
    timers: Timers,
    /// What they have to send waits for a neighbour's address.
    blocked: Deque<u32, BLOCKED>,
    /// To be run this turn.
    due: Vec<u32>,
    /// The same for the next turn, while this one is worked off.
    next_due: Vec<u32>,
    spares: Spares,
    nobody: SocketSet<'static>,
}

impl Connections {
    /// An empty table for these services.
    pub(super) fn new(
        services: Vec<Box<dyn TcpService>>,
        limits: TcpLimits,
        hash: FlowHash,
    ) -> Self {
        let served = services.into_iter().map(|service| Served {
            port: service.port(),
            traffic: service.traffic(),
            service,
            handshakes: List::default(),
        });
        let served: Vec<Served> = served.collect();
        Self {
            spares: Spares::new(served.len()),
            served,
            limits,
            flows: HashMap::with_hasher(hash),
            slots: Vec::new(),
            free: Vec::new(),
            links: Links::default(),
            waiting: List::default(),
            timers: Timers::default(),
            blocked: Deque::new(),
            due: Vec::new(),
            next_due: Vec::new(),
            nobody: SocketSet::new(Vec::new()),
        }
    }

    /// Gives `frame`, a segment of `flow`, to its connection; a SYN to a served port makes one.
    ///
    /// # Errors
    /// The frame, if it could not be delivered now.
    pub(super) fn deliver<'f>(
        &mut self,
        flow: FlowKey,
        opens: bool,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        if let Some(&id) = self.flows.get(&flow) {
            // A SYN to a connection that only waits begins a new one (RFC 9293, 3.6.1).
            let renews = opens && self.stage(id) == Some(Stage::Waiting);
            if !renews {
                return self.deliver_to(id, frame, core);
            }
            self.end(id, core);
        }
        let service = self
            .served
            .iter()
            .position(|s| opens && s.port == flow.local.port);
        match service {
            Some(service) => self.open(service, flow, frame, core),
            // Nobody's: smoltcp answers with a reset.
            None => core.deliver(frame, &mut self.nobody).map(drop),
        }
    }

    /// Runs every connection on which something happened or whose time has come. Returns how
    /// many ran.
    pub(super) fn run(&mut self, core: &mut Core) -> usize {
        while let Some(id) = self.timers.pop_due(core.now) {
            self.time_out(id, core.now);
        }
        let mut due = core::mem::take(&mut self.due);
        self.due = core::mem::take(&mut self.next_due);
        let ran = due.len();
        for id in due.drain(..) {
            self.run_one(id, core);
        }
        self.next_due = due;
        ran
    }

    /// A neighbour's address came in: what waits for one is tried again.
    pub(super) fn retry(&mut self) {
        while let Some(id) = self.blocked.pop_front() {
            self.mark(id);
        }
    }

    /// Whether a connection waits to be run.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When a connection next has something to do by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn stage(&self, id: u32) -> Option<Stage> {
        self.slots
            .get(id as usize)?
            .as_ref()
            .map(|connection| connection.stage)
    }

    /// The time has come at which `id` was to be looked at. Its deadline may have moved since, or it
    /// may be another connection.
    fn time_out(&mut self, id: u32, now: Instant) {
        let Some(Some(connection)) = self.slots.get_mut(id as usize) else {
            return;
        };
        match connection.deadline {
            Some(deadline) if deadline > now => self.timers.bound(id, deadline),
            Some(_) => {
                connection.timed_out = true;
                self.mark(id);
            }
            None => {}
        }
    }

    fn mark(&mut self, id: u32) {
        if let Some(Some(connection)) = self.slots.get_mut(id as usize)
            && !connection.due
        {
            connection.due = true;
            self.due.push(id);
        }
    }

    fn deliver_to<'f>(
        &mut self,
        id: u32,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let Some(Some(connection)) = self.slots.get_mut(id as usize) else {
            return Err(frame);
        };
        drop(core.deliver(frame, &mut connection.line.sockets)?);
        self.mark(id);
        Ok(())
    }

    fn run_one(&mut self, id: u32, core: &mut Core) {
        let Some(Some(connection)) = self.slots.get_mut(id as usize) else {
            return;
        };
        connection.due = false;
        if connection.stage == Stage::Handshake && is_established(connection.line.state()) {
            let served = &mut self.served[connection.service];
            served.handshakes.remove(&mut self.links, id);
            connection.handler = Some(served.service.accept());
            connection.stage = Stage::Open;
            connection.line.established();
            core.counters.tcp_accepted += 1;
        }
        connection.turn(core);
        core.link.take_unused();
        core.link.take_asked();
        let sent = connection.send(core);
        let asked = core.link.take_asked();
        let unanswered = core.link.take_unused();
        if unanswered && !asked {
            neighbours::ask(connection.flow.remote.addr, core);
        }
        if asked || unanswered {
            connection.line.silence();
            // Full: it tries again by itself after a second.
            let _ = self.blocked.push_back(id);
        }
        if connection.line.is_over() {
            self.end(id, core);
            return;
        }
        match (sent, connection.deadline) {
            (Err(Unsent), _) => {
                connection.due = true;
                self.due.push(id);
            }
            (Ok(()), Some(deadline)) => self.timers.bound(id, deadline),
            (Ok(()), None) => {}
        }
        if connection.stage != Stage::Waiting && connection.line.state() == State::TimeWait {
            self.wait(id, core);
        }
    }

    /// Moves a connection to TIME-WAIT's list.
    fn wait(&mut self, id: u32, core: &mut Core) {
        if self.waiting.len() >= WAITING {
            self.let_oldest_waiter_go(core);
        }
        let Some(Some(connection)) = self.slots.get_mut(id as usize) else {
            return;
        };
        if connection.stage == Stage::Handshake {
            self.served[connection.service]
                .handshakes
                .remove(&mut self.links, id);
        }
        connection.stage = Stage::Waiting;
        connection.wake = None;
        connection.handler = None;
        self.waiting.push(&mut self.links, id);
    }

    /// Takes a connection out of every list and keeps its line.
    fn end(&mut self, id: u32, core: &mut Core) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        let Some(connection) = slot.take() else {
            return;
        };
        self.flows.remove(&connection.flow);
        match connection.stage {
            Stage::Handshake => {
                self.served[connection.service]
                    .handshakes
                    .remove(&mut self.links, id);
            }
            Stage::Waiting => self.waiting.remove(&mut self.links, id),
            Stage::Open | Stage::Closing(_) => {}
        }
        self.free.push(id);
        core.tcp_open -= 1;
        self.spares.keep(connection.service, connection.line);
    }
}
