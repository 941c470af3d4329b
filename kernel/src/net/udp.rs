//! The UDP ports: one service, one inbox and one outbox each.
//!
//! The stack gives a datagram to the port it was sent to, and only to that; the service is
//! called at once, while the datagram is in the cache, and its reply leaves the socket before
//! the next datagram is looked at. Two sockets a port, because smoltcp lends one buffer of a
//! socket at a time and an echo needs both.
//!
//! Senders that smoltcp knows take a shorter way, past the sockets (`direct`).
//!
//! A reply whose next hop does not answer ARP or NDISC may not hold up the others: it gives way
//! to the next datagram (see [`Port::unblock`]).
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

mod direct;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address};

use super::classify::Span;
use super::core::{Core, Egress};
use super::device::Frame;
use super::link::slice;
use super::neighbours;
use crate::services::{Context, Datagram, Outbox, UdpService};
pub(crate) use direct::Reply;
pub(super) use direct::{Ethernet, header_to};
use direct::{Ipv4Endpoint, Senders};

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
    /// Something is in the outbox.
    queued: bool,
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
            queued: false,
            pending: false,
            deadline: None,
        }
    }

    /// Calls the service for everything in the inbox. Returns whether there was anything.
    fn serve(&mut self, core: &Core) -> bool {
        let mut any = false;
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
            any = true;
            let datagram = Datagram {
                source: meta.endpoint,
                local,
                payload,
            };
            self.service.datagram(&datagram, &mut outbox, &cx);
        }
        self.queued |= outbox.has_queued();
        any
    }

    /// Whether nothing waits to be sent.
    fn is_quiet(&self) -> bool {
        !self.queued && !self.pending
    }

    /// Calls the service with a datagram in its frame, from `source` to `local`. Its reply is written into
    /// a frame if it is known, by `header`, what leads to the sender; whatever else it sends is queued.
    #[inline(always)]
    fn serve_directly(
        &mut self,
        payload: &[u8],
        (source, local): (Ipv4Endpoint, Ipv4Endpoint),
        header: Option<&Ethernet>,
        core: &mut Core,
    ) {
        let mut reply = header.and_then(|header| Reply::new(&mut core.link, header, local, source));
        core.link.serve(1 + usize::from(reply.is_some()));
        let status = core.status();
        let cx = Context {
            now: core.now,
            status: &status,
        };
        let datagram = Datagram {
            source: IpEndpoint::new(source.0.into(), source.1),
            local: local.0.into(),
            payload,
        };
        let socket = self.outbox.get_mut(self.sender);
        let mut outbox = Outbox::with_reply(socket, reply.as_mut());
        self.service.datagram(&datagram, &mut outbox, &cx);
        self.queued = outbox.has_queued();
        if !self.queued {
            // As `send` would ask, if there were anything to send.
            self.pending = self.service.more(&mut outbox, &cx);
            self.queued = outbox.has_queued();
        }
        core.link.serve(0);
        self.last_from = Some(source.0.into());
        if let Some(reply) = reply {
            let (packet, written) = reply.into_packet();
            if written {
                core.link.send_packet(packet, &mut core.counters);
            } else {
                core.link.put_spare(packet);
            }
        }
        core.counters.rx_delivered += 1;
    }

    /// Sends what the service queued, and what it still owes.
    fn send(&mut self, core: &mut Core) {
        core.link.take_asked();
        loop {
            if self.queued {
                let Egress::Done(next) = core.send_from(&mut self.outbox) else {
                    self.pending = true;
                    return;
                };
                if self.outbox.get::<udp::Socket>(self.sender).send_queue() > 0 {
                    // Not sent, though there was room: the next hop is being looked up.
                    if let Some(to) = self.last_from
                        && !core.link.take_asked()
                    {
                        neighbours::ask(to, core);
                    }
                    self.pending = false;
                    self.deadline = next;
                    return;
                }
                self.deadline = None;
            }
            let status = core.status();
            let cx = Context {
                now: core.now,
                status: &status,
            };
            let mut outbox = Outbox::new(self.outbox.get_mut(self.sender));
            self.pending = self.service.more(&mut outbox, &cx);
            self.queued = outbox.has_queued();
            if !self.queued {
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
        self.queued = false;
        let outcome = socket.bind(self.number);
        debug_assert!(outcome.is_ok(), "a closed socket takes any port but 0");
        self.sender = self.outbox.add(socket);
    }
}

/// A port that is served, by its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServedPort(usize);

/// All UDP ports that are served.
pub(super) struct UdpPorts {
    ports: Vec<Port>,
    /// Their numbers, side by side.
    numbers: Vec<u16>,
    senders: Senders,
}

impl UdpPorts {
    /// One port a service; the buffers take at most a sixteenth of `memory` bytes of free heap.
    pub(super) fn new(services: Vec<Box<dyn UdpService>>, memory: usize) -> Self {
        let share = memory / 16 / (2 * services.len().max(1));
        let bytes = share.clamp(4096, BUFFER);
        let ports = services.into_iter();
        let ports: Vec<_> = ports.map(|service| Port::new(service, bytes)).collect();
        Self {
            numbers: ports.iter().map(|port| port.number).collect(),
            ports,
            senders: Senders::default(),
        }
    }

    /// The port of this number, if it is served.
    #[inline(always)]
    pub(super) fn served(&self, number: u16) -> Option<ServedPort> {
        let place = self.numbers.iter().position(|served| *served == number);
        place.map(ServedPort)
    }

    /// Gives `frame`, a datagram from `source` to `destination`, to the service of `served`; `data` is
    /// where its bytes are.
    ///
    /// # Errors
    /// The frame, if it could not be delivered now.
    #[inline(always)]
    pub(super) fn deliver<'f>(
        &mut self,
        served: ServedPort,
        (source, destination): (IpEndpoint, IpEndpoint),
        data: Span,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let port = &mut self.ports[served.0];
        if let (IpAddress::Ipv4(from), IpAddress::Ipv4(to)) = (source.addr, destination.addr)
            && let Frame::Packet(packet) = frame
        {
            let Some(payload) = data.of(slice(&packet)).filter(|_| port.is_quiet()) else {
                return self.deliver_by_socket(served, source, Frame::Packet(packet), core);
            };
            let Some(sender) = self.senders.get(from, core.now) else {
                return self.deliver_by_socket(served, source, Frame::Packet(packet), core);
            };
            // As for a token of smoltcp's: what comes in is only taken if it can be answered.
            if !core.link.reserve_reply() {
                return Err(Frame::Packet(packet));
            }
            let ends = ((from, source.port), (to, destination.port));
            port.serve_directly(payload, ends, sender.header.as_ref(), core);
            if port.queued {
                self.send_queued(served, from, core);
            }
            core.link.spend(packet);
            return Ok(());
        }
        self.deliver_by_socket(served, source, frame, core)
    }

    /// Sends what a service queued that was called past the sockets.
    #[inline(never)]
    fn send_queued(&mut self, served: ServedPort, to: Ipv4Address, core: &mut Core) {
        core.link.watch(to.into());
        self.ports[served.0].send(core);
        if let Some(header) = core.link.take_watched() {
            self.senders.note_header(to.into(), header);
        }
    }

    /// Gives a datagram to its service by way of smoltcp and the port's sockets.
    #[inline(never)]
    fn deliver_by_socket<'f>(
        &mut self,
        served: ServedPort,
        source: IpEndpoint,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        let port = &mut self.ports[served.0];
        drop(core.deliver(frame, &mut port.inbox)?);
        port.unblock();
        let any = port.serve(core);
        core.link.watch(source.addr);
        port.send(core);
        let header = core.link.take_watched();
        if any {
            self.senders.note(source.addr, header, core.now);
        }
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

    /// A neighbour's address came in, or our own changed: what is known of senders counts no more, and what
    /// waits for a next hop is tried again.
    #[cold]
    #[inline(never)]
    pub(super) fn retry(&mut self) {
        self.senders.clear();
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
