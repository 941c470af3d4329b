//! The short way of a datagram: from its frame to the service, and the reply into a frame, past
//! smoltcp's sockets.
//!
//! The ports take it for IPv4 senders that smoltcp has dealt with a moment ago. From that it is known
//! that smoltcp accepts the sender, and with which Ethernet header it reaches it ([`Senders`]). Every
//! sender goes through smoltcp again after [`FRESH`], which keeps its neighbours alive there; and all
//! do when an ARP message came in, which may have changed the answer.
#![forbid(unsafe_code)]

use pbufpool::Packet;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, IPV4_HEADER_LEN, IpAddress, IpEndpoint, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, UDP_HEADER_LEN, UdpPacket, UdpRepr,
};

use crate::net::link::Link;
use crate::net::offload;

/// How long what smoltcp did for a sender is repeated without it: well below the minute that its
/// neighbours live.
const FRESH: Duration = Duration::from_secs(10);

/// Senders remembered; a power of two.
const SENDERS: usize = 64;

/// Bytes of all headers of a datagram that we send.
const HEADERS: usize = ETHERNET_HEADER_LEN + IPV4_HEADER_LEN + UDP_HEADER_LEN;

/// Hop limit, as smoltcp sets it.
const HOPS: u8 = 64;

/// An Ethernet header.
pub(in crate::net) type Ethernet = [u8; ETHERNET_HEADER_LEN];

/// Somebody whose datagram smoltcp delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    address: Ipv4Address,
    until: Instant,
    /// The Ethernet header of a frame that smoltcp sent there, if it did.
    pub(super) header: Option<Ethernet>,
}

/// The senders of late. One gives way to another whose address ends alike.
#[derive(Debug)]
pub(super) struct Senders([Option<Sender>; SENDERS]);

impl Default for Senders {
    fn default() -> Self {
        Self([None; SENDERS])
    }
}

impl Senders {
    fn slot(&mut self, address: Ipv4Address) -> &mut Option<Sender> {
        let [_, _, c, d] = address.octets();
        &mut self.0[usize::from(c ^ d) % SENDERS]
    }

    /// The sender at `address`, if smoltcp has dealt with it lately.
    pub(super) fn get(&mut self, address: IpAddress, now: Instant) -> Option<Sender> {
        let IpAddress::Ipv4(address) = address else {
            return None;
        };
        self.slot(address)
            .filter(|sender| sender.address == address && now < sender.until)
    }

    /// Notes that smoltcp delivered a datagram of `address`, and how it reached it, if it answered.
    pub(super) fn note(&mut self, address: IpAddress, header: Option<Ethernet>, now: Instant) {
        if let IpAddress::Ipv4(address) = address {
            *self.slot(address) = Some(Sender {
                address,
                until: now + FRESH,
                header,
            });
        }
    }

    /// Notes how smoltcp reached `address`, which does not make it fresher.
    pub(super) fn note_header(&mut self, address: IpAddress, header: Ethernet) {
        if let IpAddress::Ipv4(address) = address
            && let Some(sender) = self.slot(address).as_mut()
            && sender.address == address
        {
            sender.header = Some(header);
        }
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        self.0 = [None; SENDERS];
    }
}

/// The data of a datagram that the classifier found sound.
pub(super) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let ip = Ipv4Packet::new_checked(frame.get(ETHERNET_HEADER_LEN..)?).ok()?;
    UdpPacket::new_checked(ip.payload())
        .ok()
        .map(|udp| udp.payload())
}

/// Room for one reply, written where the NIC will read it.
#[derive(Debug)]
pub(crate) struct Reply {
    packet: Packet,
    headroom: usize,
    /// Longest payload.
    most: usize,
    header: Ethernet,
    checksums: ChecksumCapabilities,
    /// Whom it goes from and to.
    from: IpEndpoint,
    to: IpEndpoint,
    written: bool,
}

impl Reply {
    /// A reply from `from` to `to` in the packet that [`Link::reserve_reply`] set aside; `None` if
    /// there is none.
    pub(super) fn new(
        link: &mut Link,
        header: Ethernet,
        from: IpEndpoint,
        to: IpEndpoint,
    ) -> Option<Self> {
        let (headroom, checksums) = (link.headroom(), link.checksums());
        let longest = link.max_frame();
        let packet = link.take_spare()?;
        let room = packet.first().map_or(0, |buflet| buflet.limit());
        Some(Self {
            most: longest
                .min(room.saturating_sub(headroom))
                .saturating_sub(HEADERS),
            packet,
            headroom,
            header,
            checksums,
            from,
            to,
            written: false,
        })
    }

    /// Whether this datagram can go this way.
    pub(crate) fn fits(&self, local: IpAddress, to: IpEndpoint, size: usize) -> bool {
        !self.written && size <= self.most && to == self.to && local == self.from.addr
    }

    /// Writes a reply of `size` bytes that [`fits`](Self::fits). Returns whether it is there.
    pub(crate) fn write(&mut self, size: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let (IpAddress::Ipv4(from), IpAddress::Ipv4(to)) = (self.from.addr, self.to.addr) else {
            return false;
        };
        if self.packet.set_span(self.headroom, HEADERS + size).is_err() {
            return false;
        }
        let Some(frame) = self.packet.data_mut() else {
            return false;
        };
        let (ethernet, rest) = frame.split_at_mut(ETHERNET_HEADER_LEN);
        ethernet.copy_from_slice(&self.header);
        let ip = Ipv4Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Udp,
            payload_len: UDP_HEADER_LEN + size,
            hop_limit: HOPS,
        };
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut *rest), &self.checksums);
        let udp = UdpRepr {
            src_port: self.from.port,
            dst_port: self.to.port,
        };
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut rest[IPV4_HEADER_LEN..]),
            &self.from.addr,
            &self.to.addr,
            size,
            write,
            &self.checksums,
        );
        if !self.checksums.udp.tx() {
            let len = (UDP_HEADER_LEN + size) as u32;
            offload::complete_udp(&mut self.packet, from, to, len);
        }
        self.written = true;
        true
    }

    /// The packet, and whether a reply was written.
    pub(super) fn into_packet(self) -> (Packet, bool) {
        (self.packet, self.written)
    }
}

/// The Ethernet header of `frame`, if it carries an IPv4 packet to `address`.
pub(in crate::net) fn header_to(frame: &[u8], address: Ipv4Address) -> Option<Ethernet> {
    let is_ipv4 = frame.get(12..14)? == [0x08, 0x00];
    let to = EthernetFrame::new_checked(frame).ok()?;
    let to = Ipv4Packet::new_checked(to.payload()).ok()?.dst_addr();
    (is_ipv4 && to == address).then(|| frame.first_chunk().copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddress = IpAddress::v4(10, 0, 0, 1);
    const LIKE_A: IpAddress = IpAddress::v4(10, 0, 0, 65);
    const HEADER: Ethernet = [7; 14];

    fn at(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn a_sender_is_known_for_a_while_and_gives_way_to_one_of_the_same_place() {
        let mut senders = Senders::default();
        assert!(senders.get(A, at(0)).is_none());
        senders.note(A, None, at(0));
        senders.note_header(A, HEADER);
        assert_eq!(senders.get(A, at(9)).unwrap().header, Some(HEADER));
        assert!(senders.get(A, at(10)).is_none());
        assert!(senders.get(LIKE_A, at(9)).is_none());
        senders.note(LIKE_A, None, at(0));
        senders.note_header(A, HEADER);
        assert!(senders.get(A, at(1)).is_none());
        assert!(senders.get(LIKE_A, at(1)).unwrap().header.is_none());
        senders.clear();
        assert!(senders.get(LIKE_A, at(1)).is_none());
    }

    #[test]
    fn only_ipv4_senders_are_remembered() {
        let mut senders = Senders::default();
        let v6 = "fe80::1".parse::<IpAddress>().unwrap();
        senders.note(v6, Some(HEADER), at(0));
        assert!(senders.get(v6, at(0)).is_none());
        assert!(senders.0.iter().all(Option::is_none));
    }
}
