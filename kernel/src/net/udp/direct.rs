//! The short way of a datagram: from its frame to the service, and the reply into a frame, past
//! smoltcp's sockets.
//!
//! The ports take it for IPv4 senders that smoltcp has dealt with a moment ago. From that it is known
//! that smoltcp accepts the sender, and with which Ethernet header it reaches it ([`Senders`]). Every
//! sender goes through smoltcp again after [`FRESH`], which keeps its neighbours alive there; and all
//! do when an ARP message came in or a lease changed, which may have changed the answer.
#![forbid(unsafe_code)]

use pbufpool::Packet;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, IPV4_HEADER_LEN, IpAddress, IpEndpoint, IpProtocol,
    Ipv4Address, Ipv4Packet, UDP_HEADER_LEN, checksum,
};

use crate::net::link::Link;
use crate::net::{offload, sums};

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
    fn place(address: Ipv4Address) -> usize {
        let [_, _, c, d] = address.octets();
        usize::from(c ^ d) % SENDERS
    }

    fn slot(&mut self, address: Ipv4Address) -> &mut Option<Sender> {
        &mut self.0[Self::place(address)]
    }

    /// The sender at `address`, if smoltcp has dealt with it lately.
    #[inline(always)]
    pub(super) fn get(&self, address: Ipv4Address, now: Instant) -> Option<&Sender> {
        let sender = self.0[Self::place(address)].as_ref();
        sender.filter(|sender| sender.address == address && now < sender.until)
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

/// Room for one reply, written where the NIC will read it.
#[derive(Debug)]
pub(crate) struct Reply {
    packet: Packet,
    headroom: usize,
    /// Longest frame.
    longest: usize,
    header: Ethernet,
    /// The NIC completes the checksum.
    nic_sums: bool,
    /// Whom it goes from and to.
    from: Ipv4Endpoint,
    to: Ipv4Endpoint,
    written: bool,
}

/// An IPv4 address with a port.
pub(super) type Ipv4Endpoint = (Ipv4Address, u16);

impl Reply {
    /// A reply from `from` to `to` in the packet that [`Link::reserve_reply`] set aside; `None` if
    /// there is none.
    #[inline(always)]
    pub(super) fn new(
        link: &mut Link,
        header: &Ethernet,
        from: Ipv4Endpoint,
        to: Ipv4Endpoint,
    ) -> Option<Self> {
        let (headroom, longest, nic_sums) =
            (link.headroom(), link.max_frame(), link.completes_udp());
        Some(Self {
            packet: link.take_spare()?,
            headroom,
            longest,
            header: *header,
            nic_sums,
            from,
            to,
            written: false,
        })
    }

    /// Whether this datagram can go this way.
    #[inline(always)]
    pub(crate) fn fits(&self, local: IpAddress, to: IpEndpoint, size: usize) -> bool {
        let (from, (address, port)) = (self.from.0, self.to);
        let same = to.addr == IpAddress::Ipv4(address) && to.port == port;
        let room = self.packet.first().map_or(0, |buflet| buflet.limit());
        let longest = self.longest.min(room.saturating_sub(self.headroom));
        let fits = size <= longest.saturating_sub(HEADERS);
        !self.written && fits && same && local == IpAddress::Ipv4(from)
    }

    /// Writes a reply of `size` bytes that [`fits`](Self::fits). Returns whether it is there.
    #[inline(always)]
    pub(crate) fn write(&mut self, size: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let Some(mut buflet) = self.packet.single_mut() else {
            return false;
        };
        if buflet.set_span(self.headroom, HEADERS + size).is_err() {
            return false;
        }
        let frame = buflet.data_mut();
        let Some((headers, data)) = frame.and_then(|frame| frame.split_first_chunk_mut()) else {
            return false;
        };
        write(data);
        let (header, sum) = headers_of(&self.header, self.from, self.to, size as u16);
        *headers = header;
        if self.nic_sums {
            put_checksum(headers, sum);
            self.packet.offload_mut().tx_checksum = Some(offload::UDP_V4);
        } else {
            let udp = &headers[ETHERNET_HEADER_LEN + IPV4_HEADER_LEN..];
            let sums = [sum, checksum::data(udp), checksum::data(data)];
            // What comes to zero is sent as all ones: zero says that there is none (RFC 768).
            let complement = !checksum::combine(&sums);
            put_checksum(headers, if complement == 0 { !0 } else { complement });
        }
        self.written = true;
        true
    }

    /// The packet, and whether a reply was written.
    #[inline(always)]
    pub(super) fn into_packet(self) -> (Packet, bool) {
        (self.packet, self.written)
    }
}

/// The headers of a datagram of `size` bytes without the UDP checksum, as smoltcp would write them, and
/// the sum over its pseudo-header.
#[inline(always)]
fn headers_of(
    ethernet: &Ethernet,
    (from, from_port): Ipv4Endpoint,
    (to, to_port): Ipv4Endpoint,
    size: u16,
) -> ([u8; HEADERS], u16) {
    let udp_len = UDP_HEADER_LEN as u16 + size;
    let total_len = IPV4_HEADER_LEN as u16 + udp_len;
    let addresses = sums::addresses(from, to);
    let protocol = u8::from(IpProtocol::Udp);
    // Version and length of the header, "don't fragment", hop limit and protocol; the other fields are
    // zero.
    let sum = sums::fold(
        addresses
            + u32::from(total_len)
            + 0x4500
            + 0x4000
            + u32::from(u16::from_be_bytes([HOPS, protocol])),
    );
    let mut headers = [0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| headers[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, ethernet);
    put(14, &[0x45, 0]);
    put(16, &total_len.to_be_bytes());
    put(20, &[0x40, 0, HOPS, protocol]);
    put(24, &(!sum).to_be_bytes());
    put(26, &from.octets());
    put(30, &to.octets());
    put(34, &from_port.to_be_bytes());
    put(36, &to_port.to_be_bytes());
    put(38, &udp_len.to_be_bytes());
    (
        headers,
        sums::pseudo_header(addresses, IpProtocol::Udp, udp_len),
    )
}

/// Puts the UDP checksum, or the sum to start it from, in its place.
#[inline(always)]
fn put_checksum(headers: &mut [u8; HEADERS], sum: u16) {
    headers[HEADERS - 2..].copy_from_slice(&sum.to_be_bytes());
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
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Ipv4Repr, UdpPacket};

    const A: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
    const LIKE_A: Ipv4Address = Ipv4Address::new(10, 0, 0, 65);
    const HEADER: Ethernet = [7; 14];

    fn at(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn a_sender_is_known_for_a_while_and_gives_way_to_one_of_the_same_place() {
        let mut senders = Senders::default();
        assert!(senders.get(A, at(0)).is_none());
        senders.note(A.into(), None, at(0));
        senders.note_header(A.into(), HEADER);
        assert_eq!(senders.get(A, at(9)).unwrap().header, Some(HEADER));
        assert!(senders.get(A, at(10)).is_none());
        assert!(senders.get(LIKE_A, at(9)).is_none());
        senders.note(LIKE_A.into(), None, at(0));
        senders.note_header(A.into(), HEADER);
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
        assert!(senders.0.iter().all(Option::is_none));
    }

    #[test]
    fn headers_are_those_that_smoltcp_writes() {
        let ends = [0_u32, 0x0a00_0001, 0xc0a8_fffe, 0xffff_ffff].map(Ipv4Address::from_bits);
        for (from, to) in ends.into_iter().zip(ends.into_iter().rev()) {
            for size in [0_usize, 1, 64, 1472, 65_000] {
                let mut expected = [0; HEADERS + 65_000];
                expected[..14].copy_from_slice(&HEADER);
                let ip = Ipv4Repr {
                    src_addr: from,
                    dst_addr: to,
                    next_header: IpProtocol::Udp,
                    payload_len: UDP_HEADER_LEN + size,
                    hop_limit: HOPS,
                };
                let checksums = ChecksumCapabilities::default();
                let mut packet = Ipv4Packet::new_unchecked(&mut expected[14..]);
                ip.emit(&mut packet, &checksums);
                let mut udp = UdpPacket::new_unchecked(&mut expected[34..]);
                udp.set_src_port(7);
                udp.set_dst_port(0xfffe);
                udp.set_len((UDP_HEADER_LEN + size) as u16);
                let (headers, sum) = headers_of(&HEADER, (from, 7), (to, 0xfffe), size as u16);
                assert_eq!(headers, expected[..HEADERS], "{from} {to} {size}");
                let len = (UDP_HEADER_LEN + size) as u32;
                let pseudo = checksum::pseudo_header_v4(&from, &to, IpProtocol::Udp, len);
                assert_eq!(sum, pseudo, "{from} {to} {size}");
            }
        }
    }
}
