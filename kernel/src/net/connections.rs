//! The TCP connections: found by flow, made by a SYN, run when something happened, recycled.
//!
//! The stack gives every segment here. The table keeps the listen backlog that smoltcp lacks:
//! nothing listens while nobody calls; a SYN to a served port makes a socket, within limits, and
//! the oldest unfinished handshake gives way to a newer one. Of a connection in TIME-WAIT only the name
//! is kept.
//!
//! Costs: a segment costs one hash look-up and its own socket; an idle connection costs memory
//! and, at most, a place in the timer heap. What stands there may be early, and of a connection that
//! has ended: then nothing happens. It is never late.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use heapless::Deque;
use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;

use super::connection::{Connection, Stage, Unsent, is_established};
use super::core::Core;
use super::device::Frame;
use super::flow::{Flow, FlowHash, FlowKey};
use super::lists::{Links, List};
use super::neighbours;
use super::timers::Timers;
use crate::config::TcpLimits;
use crate::services::{TcpService, Traffic};

/// Connections remembered to wait for a neighbour's address; more wait for smoltcp's second.
const BLOCKED: usize = 64;

mod admission;
mod ended;
mod flows;
mod spares;

use ended::Ended;
use flows::{Flows, Owner};
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
    hash: FlowHash,
    flows: Flows,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    links: Links,
    /// Closed on both sides.
    ended: Ended,
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
            hash,
            flows: Flows::default(),
            slots: Vec::new(),
            free: Vec::new(),
            links: Links::default(),
            ended: Ended::default(),
            timers: Timers::default(),
            blocked: Deque::new(),
            due: Vec::new(),
            next_due: Vec::new(),
            nobody: SocketSet::new(Vec::new()),
        }
    }

    /// Gives `frame`, a segment of the flow `key`, to its connection; a SYN to a served port makes one.
    ///
    /// # Errors
    /// The frame, if it could not be delivered now.
    pub(super) fn deliver<'f>(
        &mut self,
        key: FlowKey,
        opens: bool,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let flow = self.hash.flow(key);
        match self.flows.find(&flow) {
            Some(Owner::Connection(id)) => return self.deliver_to(id, frame, core),
            Some(Owner::Ended(number)) if !opens && self.ended.lasts(number, core.now) => {
                return ended::acknowledge(frame, core);
            }
            Some(Owner::Ended(_)) | None => {}
        }
        let service = self
            .served
            .iter()
            .position(|s| opens && s.port == key.local.port);
        match service {
            Some(service) => self.open(service, flow, frame, core),
            // Nobody's: smoltcp answers with a reset.
            None => core.deliver(frame, &mut self.nobody).map(drop),
        }
    }

    /// Runs every connection on which something happened or whose time has come. Returns how
    /// many ran.
    pub(super) fn run(&mut self, core: &mut Core) -> usize {
        self.ended.expire(core.now, &mut self.flows);
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
        core.tcp_ended = self.ended.len();
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
            neighbours::ask(connection.flow.key.remote.addr, core);
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
        // It has said its last word, to a neighbour that is known.
        let said = sent.is_ok() && !asked && !unanswered;
        if said && connection.line.state() == State::TimeWait {
            if let Some(flow) = self.release(id, core) {
                let gave_way = self.ended.keep(flow, core.now, &mut self.flows);
                core.counters.tcp_recycled += u64::from(gave_way);
            }
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
    }

    /// Ends a connection.
    fn end(&mut self, id: u32, core: &mut Core) {
        if let Some(flow) = self.release(id, core) {
            self.flows.remove(&flow);
        }
    }

    /// Takes a connection out of every list and keeps its line. Whose its flow is then is for the caller
    /// to say.
    fn release(&mut self, id: u32, core: &mut Core) -> Option<Flow> {
        let connection = self.slots.get_mut(id as usize)?.take()?;
        if connection.stage == Stage::Handshake {
            let served = &mut self.served[connection.service];
            served.handshakes.remove(&mut self.links, id);
        }
        self.free.push(id);
        core.tcp_open -= 1;
        self.spares.keep(connection.service, connection.line);
        Some(connection.flow)
    }
}
