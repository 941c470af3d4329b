//! What the image serves, and the two traits that a service implements.
//!
//! A service is a value that the stack calls: [`UdpService::datagram`] for each datagram to its
//! port, [`TcpService::accept`] for each connection, whose [`TcpHandler`] then gets a turn
//! whenever something changed on it. Services never block and never see a NIC.
//!
//! The small services answer neither groups nor each other (the stack drops such datagrams), so
//! that two hosts cannot be set against each other by one forged datagram.
#![forbid(unsafe_code)]

pub(crate) mod chargen;
mod discard;
mod echo;
pub mod http;
mod set;
mod stats;

use alloc::boxed::Box;
use alloc::vec::Vec;

use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::net::{Reply, Status};

pub use chargen::{UDP_MAX_DATAGRAMS, UDP_MAX_SIZE};
pub use set::{Service, ServiceSet};

/// Ports of the small services; a datagram from one of them is never answered.
pub const SMALL_SERVICES: [u16; 4] = [7, 9, 11, 19];

/// What a service is given besides its traffic.
pub struct Context<'a> {
    /// The time.
    pub now: Instant,
    /// The state of everything, for those who report it.
    pub status: &'a Status<'a>,
}

/// One received datagram.
pub struct Datagram<'a> {
    /// Where it came from.
    pub source: IpEndpoint,
    /// The address of ours that it was sent to.
    pub local: IpAddress,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Sends datagrams from a service's port.
pub struct Outbox<'a> {
    socket: &'a mut udp::Socket<'static>,
    /// The way past the socket, for one reply.
    reply: Option<&'a mut Reply>,
    /// Something was queued in the socket.
    queued: bool,
}

impl<'a> Outbox<'a> {
    /// An outbox that queues in `socket`.
    pub fn new(socket: &'a mut udp::Socket<'static>) -> Self {
        Self::with_reply(socket, None)
    }

    /// The same, whose first datagram goes into `reply` if it fits there.
    pub(crate) fn with_reply(
        socket: &'a mut udp::Socket<'static>,
        reply: Option<&'a mut Reply>,
    ) -> Self {
        Self {
            socket,
            reply,
            queued: false,
        }
    }

    /// Whether something was queued that is to be sent now.
    pub(crate) fn has_queued(&self) -> bool {
        self.queued
    }

    /// Whether another datagram of `size` bytes can surely be queued.
    pub fn can_send(&self, size: usize) -> bool {
        let free = self
            .socket
            .payload_send_capacity()
            .saturating_sub(self.socket.send_queue());
        self.socket.can_send() && free >= 2 * size
    }

    /// Queues a datagram of `size` bytes, written by `write`, from `local` to `to`. Returns
    /// whether there was room.
    pub fn send(
        &mut self,
        local: IpAddress,
        to: IpEndpoint,
        size: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        // Only the first one: none may overtake another.
        if let Some(reply) = self.reply.take()
            && reply.fits(local, to, size)
        {
            return reply.write(size, write);
        }
        let mut meta = udp::UdpMetadata::from(to);
        meta.local_address = Some(local);
        let sent = self.socket.send(size, meta).map(write).is_ok();
        self.queued |= sent;
        sent
    }
}

/// A service on a UDP port.
pub trait UdpService: Send {
    /// The port.
    fn port(&self) -> u16;

    /// A datagram came in.
    fn datagram(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>, cx: &Context<'_>);

    /// Sends what is still owed. Returns whether there is more to send after this.
    fn more(&mut self, _outbox: &mut Outbox<'_>, _cx: &Context<'_>) -> bool {
        false
    }
}

/// How much a connection has under way in one direction, which says how large a buffer is worth
/// its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// Requests and small answers: the least buffer, 4 KiB.
    Little,
    /// Nothing in particular: up to 64 KiB, by memory.
    Medium,
    /// As much as the peer takes or gives: up to 512 KiB, by memory.
    Bulk,
}

/// What a service's connections carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// From the peer.
    pub receive: Volume,
    /// To the peer.
    pub send: Volume,
}

/// A service on a TCP port.
pub trait TcpService: Send {
    /// The port.
    fn port(&self) -> u16;

    /// What its connections carry; the same at each call.
    fn traffic(&self) -> Traffic {
        Traffic {
            receive: Volume::Medium,
            send: Volume::Medium,
        }
    }

    /// What runs the next connection.
    fn accept(&mut self) -> Box<dyn TcpHandler>;
}

/// What a connection's handler wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A turn when something happens on the connection.
    Wait,
    /// The same, or at this time if nothing happens before.
    WaitUntil(Instant),
    /// To close: what is queued is sent, then FIN.
    Close,
    /// To reset the connection at once.
    Abort,
}

/// One TCP connection's behaviour.
pub trait TcpHandler: Send {
    /// A turn: read what is there, write what fits.
    fn turn(&mut self, socket: &mut tcp::Socket<'static>, cx: &Context<'_>) -> Next;
}

/// The UDP services of `set`.
pub fn udp_services(set: ServiceSet) -> Vec<Box<dyn UdpService>> {
    let mut services: Vec<Box<dyn UdpService>> = Vec::new();
    if set.has(Service::Echo) {
        services.push(Box::new(echo::UdpEcho));
    }
    if set.has(Service::Discard) {
        services.push(Box::new(discard::UdpDiscard));
    }
    if set.has(Service::Stats) {
        services.push(Box::new(stats::Stats));
    }
    if set.has(Service::Chargen) {
        services.push(Box::new(chargen::UdpChargen::default()));
    }
    services
}

/// The TCP services of `set`.
pub fn tcp_services(set: ServiceSet) -> Vec<Box<dyn TcpService>> {
    let mut services: Vec<Box<dyn TcpService>> = Vec::new();
    if set.has(Service::Echo) {
        services.push(Box::new(echo::TcpEcho));
    }
    if set.has(Service::Discard) {
        services.push(Box::new(discard::TcpDiscard));
    }
    if set.has(Service::Chargen) {
        services.push(Box::new(chargen::TcpChargen));
    }
    if set.has(Service::Http) {
        services.push(Box::new(http::Http));
    }
    services
}

/// The examples of the manual, compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-service.md")]
struct WritingAService;
