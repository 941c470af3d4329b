//! The TCP connections: found by flow, made by a SYN, run when something happened, recycled.
//!
//! The stack gives every segment here. The table keeps the listen backlog that smoltcp lacks:
//! nothing listens while nobody calls; a SYN to a served port makes a socket, within limits, and
//! the oldest unfinished handshake gives way to a newer one. Connections that only wait out
//! TIME-WAIT give way, too.
//!
//! Costs: a segment costs one hash look-up and its own socket; an idle connection costs memory
//! and, at most, a place in the timer heap.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;
use heapless::Deque;
use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration, Instant};

use super::connection::{Connection, LEAST_BUFFER, LINGER, Line, Stage};
use super::core::{Core, Egress};
use super::counters::Refusal;
use super::device::Frame;
use super::flow::{FlowHash, FlowKey};
use super::lists::{Links, List};
use super::neighbours;
use super::timers::Timers;
use crate::config::TcpLimits;
use crate::services::{Context, Next, TcpService};

/// Lines kept for the next connections, so that short connections cost no allocation.
const SPARES: usize = 64;

/// Connections that may wait out TIME-WAIT; beyond, the oldest is let go.
const WAITING: usize = 256;

/// Connections remembered to wait for a neighbour's address; more wait for smoltcp's second.
const BLOCKED: usize = 64;

/// A handshake younger than this is not given up for want of room in the table.
const FRESH: Duration = Duration::from_secs(1);

/// Each time this many handshakes of a service are under way, a new one gets half the buffer: a
/// flood of forged SYNs takes little, and a real handshake is over before it counts.
const CROWD: usize = 16;

struct Served {
    service: Box<dyn TcpService>,
    port: u16,
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
    spares: Vec<Line>,
    /// Buffer size of the largest spare line so far; smaller ones are not kept.
    largest: usize,
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
            service,
            handshakes: List::default(),
        });
        Self {
            served: served.collect(),
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
            spares: Vec::with_capacity(SPARES),
            largest: 0,
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
            self.mark(id);
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

    /// Makes a connection and gives it its SYN.
    fn open<'f>(
        &mut self,
        service: usize,
        flow: FlowKey,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let Some(mut line) = self.line(service, core) else {
            core.counters.refuse(Refusal::SynRefused);
            return Ok(()); // dropped: the peer tries again
        };
        if !line.listen(flow.local.port) {
            return Ok(());
        }
        if let Err(frame) = core.deliver(frame, &mut line.sockets) {
            self.keep(line);
            return Err(frame);
        }
        if line.state() == State::Listen {
            self.keep(line); // smoltcp did not want it: not our address, for instance
            return Ok(());
        }
        self.insert(service, flow, line, core);
        Ok(())
    }

    fn insert(&mut self, service: usize, flow: FlowKey, line: Line, core: &mut Core) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        // Whatever happens to a connection later allocates nothing.
        self.timers.reserve(self.slots.len());
        for list in [&mut self.due, &mut self.next_due, &mut self.free] {
            list.reserve(self.slots.len().saturating_sub(list.len()));
        }
        self.slots[id as usize] = Some(Box::new(Connection {
            flow,
            line,
            service,
            handler: None,
            stage: Stage::Handshake,
            due: false,
            wake: None,
            since: core.now,
        }));
        self.flows.insert(flow, id);
        self.served[service].handshakes.push(&mut self.links, id);
        core.tcp_open += 1;
        self.mark(id);
    }

    /// A line for a new connection, making room within the limits.
    fn line(&mut self, service: usize, core: &mut Core) -> Option<Line> {
        if self.served[service].handshakes.len() >= self.limits.backlog {
            self.evict_handshake(service, core);
        }
        if core.tcp_open >= self.limits.max && !self.let_one_go(service, core) {
            return None;
        }
        if let Some(spare) = self.spares.pop() {
            return Some(spare);
        }
        let free = core.system.memory().heap_free_bytes;
        let crowd = self.served[service].handshakes.len() / CROWD;
        let buffer = Line::buffer_for(free).map(|full| (full >> crowd.min(8)).max(LEAST_BUFFER));
        if let Some(line) = buffer.and_then(Line::new) {
            return Some(line);
        }
        // No memory: what only waits gives its buffers.
        if self.let_one_go(service, core) {
            self.spares.pop()
        } else {
            None
        }
    }

    /// Ends the connection that is missed least. Returns whether there was one.
    fn let_one_go(&mut self, service: usize, core: &mut Core) -> bool {
        if let Some(id) = self.waiting.front() {
            core.counters.tcp_recycled += 1;
            self.end(id, core);
            return true;
        }
        let oldest = self.served[service].handshakes.front();
        let oldest = oldest.and_then(|id| self.slots.get(id as usize)?.as_ref());
        let stale = oldest.is_some_and(|connection| connection.since + FRESH <= core.now);
        stale && self.evict_handshake(service, core)
    }

    fn evict_handshake(&mut self, service: usize, core: &mut Core) -> bool {
        let Some(id) = self.served[service].handshakes.front() else {
            return false;
        };
        core.counters.tcp_evicted += 1;
        self.end(id, core);
        true
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
        let egress = core.send_from(&mut connection.line.sockets);
        let asked = core.link.take_asked();
        let unanswered = core.link.take_unused();
        if unanswered && !asked {
            neighbours::ask(connection.flow.remote.addr, core);
        }
        if asked || unanswered {
            // Full: it tries again by itself after a second.
            let _ = self.blocked.push_back(id);
        }
        if connection.line.is_over() {
            self.end(id, core);
            return;
        }
        if connection.stage != Stage::Waiting && connection.line.state() == State::TimeWait {
            self.wait(id, core);
        }
        self.schedule(id, egress, core);
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

    fn let_oldest_waiter_go(&mut self, core: &mut Core) {
        if let Some(oldest) = self.waiting.front() {
            core.counters.tcp_recycled += 1;
            self.end(oldest, core);
        }
    }

    fn schedule(&mut self, id: u32, egress: Egress, core: &mut Core) {
        if egress != Egress::Done {
            self.mark(id);
            return;
        }
        let Some(Some(connection)) = self.slots.get_mut(id as usize) else {
            return;
        };
        let socket = core.iface.poll_at(core.now, &connection.line.sockets);
        let linger = match connection.stage {
            Stage::Closing(until) => Some(until),
            _ => None,
        };
        let deadline = [socket, connection.wake, linger]
            .into_iter()
            .flatten()
            .min();
        self.timers.set(id, deadline);
    }

    /// Takes a connection out of every list and keeps its line.
    fn end(&mut self, id: u32, core: &mut Core) {
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return;
        };
        let Some(connection) = slot.take() else {
            return;
        };
        self.timers.set(id, None);
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
        self.keep(connection.line);
    }

    /// Keeps a line for the next connection, unless there are enough or it is a small one.
    fn keep(&mut self, line: Line) {
        if self.spares.len() < SPARES && line.buffer() >= self.largest {
            self.largest = line.buffer();
            self.spares.push(line);
        }
    }
}

impl Connection {
    /// Gives the handler its turn and does what it asks for.
    fn turn(&mut self, core: &Core) {
        match self.stage {
            Stage::Open => {}
            Stage::Closing(until) if until <= core.now => return self.line.socket().abort(),
            Stage::Handshake | Stage::Closing(_) | Stage::Waiting => return,
        }
        let Some(handler) = &mut self.handler else {
            return;
        };
        let status = core.status();
        let cx = Context {
            now: core.now,
            status: &status,
        };
        self.wake = None;
        match handler.turn(self.line.socket(), &cx) {
            Next::Wait => {}
            Next::WaitUntil(at) => self.wake = Some(at),
            Next::Close => {
                self.line.socket().close();
                self.stage = Stage::Closing(core.now + LINGER);
            }
            Next::Abort => self.line.socket().abort(),
        }
    }
}

/// Whether the handshake is behind this state.
fn is_established(state: State) -> bool {
    !matches!(
        state,
        State::Listen | State::SynSent | State::SynReceived | State::Closed
    )
}
