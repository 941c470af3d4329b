//! One TCP connection driven by hand over a [`Peer`]: each segment is what the test says, and
//! nothing is acknowledged unless the test says so.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::frames::transport::{Ports, Segment, flag};
use crate::frames::{ethernet_payload, ethertype, ipv4, protocol};
use crate::peer::{Peer, REPLY_LIMIT};

/// The first sequence number of every such connection.
pub const INITIAL_SEQ: u32 = 1_000;

/// The hand-driven end of a connection.
pub struct TcpPeer<'p> {
    peer: &'p Peer,
    ports: Ports,
    /// Next sequence number we send.
    pub seq: u32,
    /// Next sequence number we expect, which our segments acknowledge.
    pub ack: u32,
}

impl<'p> TcpPeer<'p> {
    /// Opens a connection to the guest's `service` port.
    pub fn open(peer: &'p Peer, port: u16, service: u16) -> Result<TcpPeer<'p>> {
        let mut connection = TcpPeer {
            peer,
            ports: Ports {
                src: port,
                dst: service,
            },
            seq: 1_000,
            ack: 0,
        };
        let mut syn = connection.segment(flag::SYN);
        syn.options = vec![2, 4, 0x05, 0xb4]; // maximum segment size 1460
        connection.send(syn)?;
        let reply = connection
            .receive(REPLY_LIMIT)?
            .context("no answer to a SYN")?;
        ensure!(
            reply.flags == flag::SYN | flag::ACK,
            "answer to a SYN: {reply:?}"
        );
        ensure!(reply.ack == connection.seq, "answer to a SYN: {reply:?}");
        connection.ack = reply.end();
        connection.send(connection.segment(flag::ACK))?;
        Ok(connection)
    }

    /// A segment at the current sequence numbers.
    pub fn segment(&self, flags: u8) -> Segment {
        let ack = if flags & flag::ACK == 0 { 0 } else { self.ack };
        Segment::new(self.ports, flags, self.seq, ack)
    }

    /// Sends `segment`, and moves our sequence number past it.
    pub fn send(&mut self, segment: Segment) -> Result<()> {
        self.seq = segment.end();
        self.peer.send_tcp(&segment)
    }

    /// Sends `segment` and pretends it was not sent.
    pub fn send_aside(&self, segment: &Segment) -> Result<()> {
        self.peer.send_tcp(segment)
    }

    /// Sends `data` in one segment.
    pub fn send_data(&mut self, data: &[u8]) -> Result<()> {
        let mut segment = self.segment(flag::ACK | flag::PSH);
        segment.data = data.to_vec();
        self.send(segment)
    }

    /// The next segment of this connection, or `None` after `limit`.
    pub fn receive(&self, limit: Duration) -> Result<Option<Segment>> {
        self.peer.wait(limit, |frame| {
            let packet = ethernet_payload(frame, ethertype::IPV4)?;
            let (_, dst, bytes) = ipv4::parse(packet, protocol::TCP)?;
            let segment = Segment::parse(bytes)?;
            let reverse = Ports {
                src: self.ports.dst,
                dst: self.ports.src,
            };
            (dst == self.peer.addr && segment.ports == reverse).then_some(segment)
        })
    }

    /// Collects in-order data until `length` bytes have come, without acknowledging any.
    pub fn collect(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        while data.len() < length {
            let segment = self.receive(REPLY_LIMIT)?;
            let segment = segment
                .with_context(|| format!("{} of {length} bytes came, then nothing", data.len()))?;
            if segment.seq == self.ack {
                data.extend(&segment.data);
                self.ack = segment.end();
            }
        }
        Ok(data)
    }

    /// Collects in-order data until `length` bytes have come, acknowledging each segment.
    pub fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        while data.len() < length {
            data.extend(self.collect(1)?);
            self.send(self.segment(flag::ACK))?;
        }
        Ok(data)
    }

    /// Resets the connection, so that the guest forgets it.
    pub fn reset(&mut self) -> Result<()> {
        self.send(self.segment(flag::RST | flag::ACK))
    }
}
