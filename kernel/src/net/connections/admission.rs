//! Who is let in, and who gives way: the limits of the connection table.
//!
//! A SYN to a served port comes here. Buffers are made by free memory and by how many handshakes
//! are under way; when there is no room, handshakes that nobody finishes give way. Established
//! connections never do.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;

use super::Connections;
use super::flows::Owner;
use crate::net::buffers::{Circumstances, Sizes};
use crate::net::connection::{Connection, Line, Stage};
use crate::net::core::Core;
use crate::net::counters::Refusal;
use crate::net::device::Frame;
use crate::net::flow::Flow;

/// A handshake younger than this is not given up for want of room in the table.
const FRESH: Duration = Duration::from_secs(1);

impl Connections {
    /// Makes a connection and gives it its SYN.
    pub(super) fn open<'f>(
        &mut self,
        service: usize,
        flow: Flow,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let line = self.line(service, core);
        let Some(mut line) = line.filter(|_| self.flows.reserve()) else {
            core.counters.refuse(Refusal::SynRefused);
            return Ok(()); // dropped: the peer tries again
        };
        if !line.listen(flow.key.local.port, self.served[service].traffic.send) {
            return Ok(());
        }
        if let Err(frame) = core.deliver(frame, &mut line.sockets) {
            self.spares.keep(service, line);
            return Err(frame);
        }
        if line.state() == State::Listen {
            self.spares.keep(service, line); // smoltcp did not want it: not our address, for instance
            return Ok(());
        }
        self.insert(service, flow, line, core);
        Ok(())
    }

    fn insert(&mut self, service: usize, flow: Flow, line: Line, core: &mut Core) {
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
            deadline: None,
            timed_out: false,
            since: core.now,
        }));
        self.flows.give(flow, Owner::Connection(id));
        self.served[service].handshakes.push(&mut self.links, id);
        core.tcp_open += 1;
        self.mark(id);
    }

    /// A line for a new connection, making room within the limits.
    fn line(&mut self, service: usize, core: &mut Core) -> Option<Line> {
        if self.served[service].handshakes.len() >= self.limits.backlog {
            self.evict_handshake(service, core);
        }
        if core.tcp_open >= self.limits.max && !self.evict_stale(service, core) {
            return None;
        }
        if let Some(line) = self.fitting(service, core) {
            return Some(line);
        }
        // No memory: what other services have spare goes first, then a handshake that nobody finishes.
        self.spares.clear();
        if let Some(line) = self.fitting(service, core) {
            return Some(line);
        }
        if !self.evict_stale(service, core) {
            return None;
        }
        self.spares.take_any(service).or_else(|| {
            self.spares.clear();
            self.fitting(service, core)
        })
    }

    /// A line as large as circumstances allow: a spare one, a new one, or without memory for that a
    /// spare one of any size.
    fn fitting(&mut self, service: usize, core: &Core) -> Option<Line> {
        let served = &self.served[service];
        let met = Circumstances {
            free: core.system.heap_free(),
            open: core.tcp_open,
            handshakes: served.handshakes.len(),
        };
        let spares = &mut self.spares;
        Sizes::choose(served.traffic, met)
            .and_then(|sizes| spares.take(service, sizes).or_else(|| Line::new(sizes)))
            .or_else(|| spares.take_any(service))
    }

    /// Ends the service's oldest handshake, unless it is fresh. Returns whether there was one.
    fn evict_stale(&mut self, service: usize, core: &mut Core) -> bool {
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
}
