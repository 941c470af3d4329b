//! A station without a stack: each datagram goes back in the packet that it came in, its addresses
//! swapped.
//!
//! It shows what NIC, driver and pool allow: nothing that serves can be faster, so the benchmarks
//! measure beside it (`cargo run -p bench -- guests`, the column "ceiling"). The image that is built
//! for that turns a [`Reflector`] instead of a stack; the ordinary image has none of it. It speaks as
//! much as the clients of the benchmarks ask for: ARP for one address, and over IPv4 UDP echo,
//! discard, the count of what was discarded, and the character source.
//!
//! The invariant: what is answered is an intact frame to our hardware address; anything else is
//! dropped, and no length in it is believed.
#![forbid(unsafe_code)]

mod frame;
mod source;

use alloc::format;

use drivers::net::MacAddr;
use pbufpool::{Offload, Packet, PacketQueue, Pool};
use smoltcp::wire::Ipv4Address;

use frame::Datagram;
use source::Source;

/// Ports, as the services of the stack have them.
mod port {
    pub(super) const ECHO: u16 = 7;
    pub(super) const DISCARD: u16 = 9;
    pub(super) const STATISTICS: u16 = 11;
    pub(super) const SOURCE: u16 = 19;
}

/// The station.
pub struct Reflector {
    mac: MacAddr,
    address: Ipv4Address,
    /// Where a frame begins in a buffer, so that the device's header fits before it.
    headroom: usize,
    /// Datagrams that were discarded.
    discarded: u64,
    source: Option<Source>,
}

impl Reflector {
    /// A station with these addresses, whose frames begin `headroom` bytes into their buffers.
    pub fn new(mac: MacAddr, address: Ipv4Address, headroom: usize) -> Self {
        Self {
            mac,
            address,
            headroom,
            discarded: 0,
            source: None,
        }
    }

    /// What a received packet becomes: its answer, if it has one.
    pub fn answer(&mut self, mut packet: Packet) -> Option<Packet> {
        // What the NIC said about the frame is nothing to ask of it on the way back.
        if *packet.offload() != Offload::NONE {
            *packet.offload_mut() = Offload::NONE;
        }
        let frame = packet.data_mut()?;
        let Some(mut datagram) = Datagram::parse(frame, self.mac) else {
            return frame::answer_arp(frame, self.mac, self.address).then_some(packet);
        };
        match datagram.port() {
            port::ECHO => {
                datagram.turn_round();
                Some(packet)
            }
            port::DISCARD => {
                self.discarded += 1;
                None
            }
            port::STATISTICS => {
                let line = format!("udp_rx={}\n", self.discarded);
                let headers = datagram.headers_back(line.len());
                fill(packet, self.headroom, &[&headers, line.as_bytes()])
            }
            port::SOURCE => {
                Source::ask(&mut self.source, &datagram);
                None
            }
            _ => None,
        }
    }

    /// Writes up to `most` frames of those that the character source owes, in packets of `pool`, and
    /// puts them into `into`. Returns how many.
    pub fn send(&mut self, pool: &Pool, most: usize, into: &mut PacketQueue) -> usize {
        let Some(source) = &mut self.source else {
            return 0;
        };
        let written = source.send(pool, self.headroom, most, into);
        if source.is_done() {
            self.source = None;
        }
        written
    }
}

/// Makes `parts`, one behind the other, the frame in `packet`; `None` if its buffer is too short.
fn fill(mut packet: Packet, headroom: usize, parts: &[&[u8]]) -> Option<Packet> {
    let length = parts.iter().map(|part| part.len()).sum();
    packet.set_span(headroom, length).ok()?;
    let mut rest = packet.data_mut()?;
    for part in parts {
        let (room, behind) = rest.split_at_mut(part.len());
        room.copy_from_slice(part);
        rest = behind;
    }
    Some(packet)
}

#[cfg(test)]
mod tests;
