//! The UDP ports: one service, one inbox and one outbox each.
//!
//! The stack gives a datagram to the port it was sent to, and only to that; the service is
//! called at once, while the datagram is in the cache, and its reply leaves the socket before
//! the next datagram is looked at. Two sockets a port, because smoltcp lends one buffer of a
//! socket at a time and an echo needs both.
//!
//! A reply whose next hop does not answer ARP or NDISC may not hold up the others: it gives way
//! to the next datagram (see [`Port::unblock`]).
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::IpAddress;

use super::core::{Core, Egress};
use super::device::Frame;
use super::neighbours;
use crate::services::{Context, Datagram, Outbox, UdpService};

/// Datagrams that an inbox holds. The service is called after each, so one is enough; a few
/// more cost little.
const INBOX_DATAGRAMS: usize = 4;

/// Datagrams that an outbox holds: a burst of the character source.
const OUTBOX_DATAGRAMS: usize = 64;

/// Bytes of an inbox and of an outbox for a machine with memory to spare: one datagram of the
/// largest size, and then some.
const BUFFER: usize = 128 * 1024;

struct Port {
    service: Box<dyn UdpService>,
    inbox: SocketSet<'static>,
    receiver: SocketHandle,
    outbox: SocketSet<'static>,
    sender: SocketHandle,
    number: u16,
    /// Who sent the last datagram: whom a reply that waits most likely goes to.
    last_from: Option<IpAddress>,
    /// It has something to send that could not be sent yet.
    pending: bool,
    deadline: Option<Instant>,
}

fn buffer(datagrams: usize, bytes: usize) -> udp::PacketBuffer<'static> {
    udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; datagrams], vec![0; bytes])
}

fn bound(
    number: u16,
    rx: udp::PacketBuffer<'static>,
    tx: udp::PacketBuffer<'static>,
) -> udp::Socket<'static> {
    let mut socket = udp::Socket::new(rx, tx);
    let outcome = socket.bind(number);
    debug_assert!(outcome.is_ok(), "a fresh socket takes any port but 0");
    socket
}

impl Port {
    fn new(service: Box<dyn UdpService>, bytes: usize) -> Self {
        let number = service.port();
        let nothing = || buffer(0, 0);
        let mut inbox = SocketSet::new(Vec::with_capacity(1));
        let receiver = inbox.add(bound(number, buffer(INBOX_DATAGRAMS, bytes), nothing()));
        let mut outbox = SocketSet::new(Vec::with_capacity(1));
        let sender = outbox.add(bound(number, nothing(), buffer(OUTBOX_DATAGRAMS, bytes)));
        Self {
            service,
            inbox,
            receiver,
            outbox,
            sender,
            number,
            last_from: None,
            pending: false,
            deadline: None,
        }
    }

    /// Calls the service for everything in the inbox.
    fn serve(&mut self, core: &Core) {
        let status = core.status();
        let cx = Context {
            now: core.now,
            status: &status,
        };
        let receiver = self.inbox.get_mut::<udp::Socket>(self.receiver);
        let mut outbox = Outbox::new(self.outbox.get_mut(self.sender));
        while let Ok((payload, meta)) = receiver.recv() {
            // smoltcp knows which of our addresses it came to; the stack lets no group pass.
            let Some(local) = meta.local_address else {
                continue;
            };
            self.last_from = Some(meta.endpoint.addr);
            let datagram = Datagram {
                source: meta.endpoint,
                local,
                payload,
            };
            self.service.datagram(&datagram, &mut outbox, &cx);
        }
    }

    /// Sends what the service queued, and what it still owes.
    fn send(&mut self, core: &mut Core) {
        core.link.take_asked();
        loop {
            match core.send_from(&mut self.outbox) {
                Egress::Stalled | Egress::Budget => {
                    self.pending = true;
                    return;
                }
                Egress::Done => {}
            }
            if self.outbox.get::<udp::Socket>(self.sender).send_queue() > 0 {
                // Not sent, though there was room: the next hop is being looked up.
                if let Some(to) = self.last_from
                    && !core.link.take_asked()
                {
                    neighbours::ask(to, core);
                }
                self.pending = false;
                self.deadline = core.iface.poll_at(core.now, &self.outbox);
                return;
            }
            self.deadline = None;
            let status = core.status();
            let cx = Context {
                now: core.now,
                status: &status,
            };
            let mut outbox = Outbox::new(self.outbox.get_mut(self.sender));
            self.pending = self.service.more(&mut outbox, &cx);
            if self.outbox.get::<udp::Socket>(self.sender).send_queue() == 0 {
                return;
            }
        }
    }

    /// Throws away what waits for a next hop, so that a datagram from somebody who does not
    /// exist cannot silence the service. A new socket entry forgets smoltcp's silence, too.
    fn unblock(&mut self) {
        if self.deadline.take().is_none() {
            return;
        }
        let removed = self.outbox.remove(self.sender);
        let smoltcp::socket::Socket::Udp(mut socket) = removed else {
            return;
        };
        socket.close();
        let outcome = socket.bind(self.number);
        debug_assert!(outcome.is_ok(), "a closed socket takes any port but 0");
        self.sender = self.outbox.add(socket);
    }
}

/// All UDP ports that are served.
pub(super) struct UdpPorts {
    ports: Vec<Port>,
}

impl UdpPorts {
    /// One port a service; the buffers take at most a sixteenth of `memory` bytes of free heap.
    pub(super) fn new(services: Vec<Box<dyn UdpService>>, memory: usize) -> Self {
        let share = memory / 16 / (2 * services.len().max(1));
        let bytes = share.clamp(4096, BUFFER);
        Self {
            ports: services
                .into_iter()
                .map(|service| Port::new(service, bytes))
                .collect(),
        }
    }

    /// Whether a datagram to this port concerns a service.
    pub(super) fn serves(&self, number: u16) -> bool {
        self.ports.iter().any(|port| port.number == number)
    }

    /// Gives `frame`, a datagram to port `number`, to its service.
    ///
    /// # Errors
    /// The frame, if it could not be delivered now.
    pub(super) fn deliver<'f>(
        &mut self,
        number: u16,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let Some(port) = self.ports.iter_mut().find(|port| port.number == number) else {
            return Err(frame);
        };
        drop(core.deliver(frame, &mut port.inbox)?);
        port.unblock();
        port.serve(core);
        port.send(core);
        Ok(())
    }

    /// Sends what could not be sent before. Returns how many ports did something.
    pub(super) fn resume(&mut self, core: &mut Core) -> usize {
        let now = core.now;
        let due = |port: &Port| port.pending || port.deadline.is_some_and(|at| at <= now);
        self.ports
            .iter_mut()
            .filter(|port| due(port))
            .map(|port| port.send(core))
            .count()
    }

    /// A neighbour's address came in: what waits for one is tried again.
    pub(super) fn retry(&mut self) {
        for port in &mut self.ports {
            port.pending |= port.deadline.is_some();
        }
    }

    /// Whether a port has something to send at once.
    pub(super) fn is_due(&self) -> bool {
        self.ports.iter().any(|port| port.pending)
    }

    /// When a port next has something to do by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ports.iter().filter_map(|port| port.deadline).min()
    }
}
