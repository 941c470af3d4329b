//! The first look at a received frame: is it sound, is it ours, and whose is it.
//!
//! Called by the stack for every frame before smoltcp sees it. It serves two ends at once. It
//! names the TCP flow or UDP port, so that the frame meets only the sockets it concerns and the
//! cost of a packet does not grow with idle connections. And it checks everything that can be
//! checked on a frame alone (lengths, versions, checksums that the NIC did not check, flags,
//! options), so that what is dropped is counted by reason; smoltcp is told not to verify
//! receive checksums again.
//!
//! The invariant: nothing here panics or indexes past the frame, whatever the bytes.
#![forbid(unsafe_code)]

use drivers::net::MacAddr;
use pbufpool::RxChecksum;
use smoltcp::wire::{
    ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol,
    IPV4_HEADER_LEN, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpAddress,
    IpEndpoint, IpProtocol, Ipv4Address, Ipv4Packet, Ipv6Address, Ipv6Packet, TCP_HEADER_LEN,
    TcpOption, TcpPacket, UDP_HEADER_LEN, UdpPacket,
};

use super::counters::Refusal;
use super::flow::FlowKey;
use super::sums;

/// Whose a sound frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A TCP segment of this flow.
    Tcp {
        /// Its flow.
        flow: FlowKey,
        /// SYN without ACK: somebody opens a connection.
        opens: bool,
    },
    /// A UDP datagram.
    Udp {
        /// Where it comes from.
        source: IpEndpoint,
        /// Where it goes.
        destination: IpEndpoint,
        /// Its data.
        data: Span,
    },
    /// An IPv4 fragment, to be reassembled first.
    Fragment,
    /// An ICMP or ICMPv6 echo request.
    Echo {
        /// Who asks.
        from: IpAddress,
        /// Whom it asks.
        to: IpAddress,
    },
    /// ARP or neighbour discovery: somebody's hardware address may be known after it.
    Neighbour,
    /// Whatever else the interface deals with by itself.
    Interface,
}

/// A part of a frame. No IP packet is longer than the numbers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    len: u16,
}

impl Span {
    /// Its bytes in `frame`, the one that was classified.
    #[inline(always)]
    pub(super) fn of(self, frame: &[u8]) -> Option<&[u8]> {
        let (start, len) = (usize::from(self.start), usize::from(self.len));
        frame.get(start..)?.get(..len)
    }
}

/// What the classifier has to know of the interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    /// Our hardware address.
    pub mac: MacAddr,
    /// Longest frame, Ethernet header included.
    pub max_frame: usize,
    /// IPv4 is switched on.
    pub ipv4: bool,
    /// IPv6 is switched on.
    pub ipv6: bool,
    /// Echo requests are answered.
    pub icmp_echo: bool,
}

impl Filter {
    /// Classifies `frame`; `checksum` is what the NIC says of its transport checksum.
    ///
    /// # Errors
    /// Why the frame is to be dropped.
    pub(super) fn classify(
        &self,
        frame: &[u8],
        checksum: RxChecksum,
        joined: bool,
    ) -> Result<Class, Refusal> {
        let ethernet = EthernetFrame::new_checked(frame).map_err(|_| Refusal::Runt)?;
        // What was joined of segments or fragments came in frames that were no longer.
        if frame.len() > self.max_frame && !joined {
            return Err(Refusal::Oversize);
        }
        let to = ethernet.dst_addr();
        if to != EthernetAddress(self.mac.0) && !to.is_multicast() && !to.is_broadcast() {
            return Err(Refusal::NotForUs);
        }
        if !ethernet.src_addr().is_unicast() {
            return Err(Refusal::BadSource);
        }
        // A NIC that checked, or a host that never put the frame on a wire, need not be doubted.
        let verify = matches!(checksum, RxChecksum::Unverified);
        match ethernet.ethertype() {
            EthernetProtocol::Arp if self.ipv4 => arp(ethernet.payload()),
            EthernetProtocol::Ipv4 if self.ipv4 => self.ipv4(ethernet.payload(), verify),
            EthernetProtocol::Ipv6 if self.ipv6 => self.ipv6(ethernet.payload(), verify),
            _ => Err(Refusal::EtherType),
        }
    }

    /// Nearly all frames come by here, so the header is read by place.
    fn ipv4(&self, packet: &[u8], verify: bool) -> Result<Class, Refusal> {
        let (header, _) = packet
            .split_first_chunk::<IPV4_HEADER_LEN>()
            .ok_or(Refusal::BadIpv4)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let packet = packet.get(..total_len).ok_or(Refusal::BadIpv4)?;
        if header[0] >> 4 != 4 || header_len < IPV4_HEADER_LEN {
            return Err(Refusal::BadIpv4);
        }
        let payload = packet.get(header_len..).ok_or(Refusal::BadIpv4)?;
        let sound = if header_len == IPV4_HEADER_LEN {
            sums::is_sound(header)
        } else {
            Ipv4Packet::new_unchecked(packet).verify_checksum()
        };
        if !sound {
            return Err(Refusal::Ipv4Checksum);
        }
        let address =
            |at| Ipv4Address::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let (source, destination) = (address(12), address(16));
        if !is_unicast_source(source) {
            return Err(Refusal::BadIpv4);
        }
        // More to come, or not the first.
        if (header[6] & 0x3f) | header[7] != 0 {
            return Ok(Class::Fragment);
        }
        let transport = Transport {
            source,
            destination,
            start: ETHERNET_HEADER_LEN + header_len,
            payload,
            verify,
        };
        match IpProtocol::from(header[9]) {
            IpProtocol::Tcp => transport.tcp(),
            IpProtocol::Udp => transport.udp(),
            IpProtocol::Icmp => self.icmpv4(source, destination, payload),
            _ => Ok(Class::Interface),
        }
    }

    fn ipv6(&self, payload: &[u8], verify: bool) -> Result<Class, Refusal> {
        let packet = Ipv6Packet::new_checked(payload).map_err(|_| Refusal::BadIpv6)?;
        if packet.version() != 6 || packet.src_addr().is_multicast() {
            return Err(Refusal::BadIpv6);
        }
        let (protocol, payload) = skip_hop_by_hop(packet.next_header(), packet.payload())?;
        let (source, destination) = (packet.src_addr(), packet.dst_addr());
        let before = packet.header_len() + packet.payload().len() - payload.len();
        let transport = Transport {
            source,
            destination,
            start: ETHERNET_HEADER_LEN + before,
            payload,
            verify,
        };
        match protocol {
            IpProtocol::Tcp => transport.tcp(),
            IpProtocol::Udp => transport.udp(),
            IpProtocol::Icmpv6 => self.icmpv6(source, destination, payload),
            IpProtocol::Ipv6Frag => Err(Refusal::Ipv6Fragment),
            _ => Ok(Class::Interface),
        }
    }

    fn icmpv4(
        &self,
        source: Ipv4Address,
        destination: Ipv4Address,
        payload: &[u8],
    ) -> Result<Class, Refusal> {
        let packet = Icmpv4Packet::new_checked(payload).map_err(|_| Refusal::BadIcmp)?;
        if !packet.verify_checksum() {
            return Err(Refusal::IcmpChecksum);
        }
        match packet.msg_type() {
            Icmpv4Message::EchoRequest => self.echo(source.into(), destination.into()),
            _ => Ok(Class::Interface),
        }
    }

    fn icmpv6(
        &self,
        source: Ipv6Address,
        destination: Ipv6Address,
        payload: &[u8],
    ) -> Result<Class, Refusal> {
        let packet = Icmpv6Packet::new_checked(payload).map_err(|_| Refusal::BadIcmp)?;
        if !packet.verify_checksum(&source, &destination) {
            return Err(Refusal::IcmpChecksum);
        }
        match packet.msg_type() {
            Icmpv6Message::EchoRequest => self.echo(source.into(), destination.into()),
            Icmpv6Message::NeighborAdvert | Icmpv6Message::NeighborSolicit => Ok(Class::Neighbour),
            _ => Ok(Class::Interface),
        }
    }

    fn echo(&self, from: IpAddress, to: IpAddress) -> Result<Class, Refusal> {
        if self.icmp_echo {
            Ok(Class::Echo { from, to })
        } else {
            Err(Refusal::IcmpOff)
        }
    }
}

fn arp(payload: &[u8]) -> Result<Class, Refusal> {
    ArpPacket::new_checked(payload)
        .and_then(|packet| ArpRepr::parse(&packet))
        .map(|_| Class::Neighbour)
        .map_err(|_| Refusal::BadArp)
}

/// Unspecified is allowed: DHCP servers and probing hosts use it.
fn is_unicast_source(address: Ipv4Address) -> bool {
    !address.is_multicast() && !address.is_broadcast() && !address.is_loopback()
}

/// Steps over a hop-by-hop header (RFC 8200, 4.3), which may only come first.
fn skip_hop_by_hop(next: IpProtocol, payload: &[u8]) -> Result<(IpProtocol, &[u8]), Refusal> {
    if next != IpProtocol::HopByHop {
        return Ok((next, payload));
    }
    let &[next, units, ..] = payload else {
        return Err(Refusal::BadIpv6);
    };
    let rest = payload
        .get((usize::from(units) + 1) * 8..)
        .ok_or(Refusal::BadIpv6)?;
    Ok((IpProtocol::from(next), rest))
}

/// A transport segment with the addresses, of one family, that its checksum covers.
struct Transport<'a, Address> {
    source: Address,
    destination: Address,
    /// Where it begins in the frame.
    start: usize,
    payload: &'a [u8],
    verify: bool,
}

impl<Address: Copy + Into<IpAddress>> Transport<'_, Address> {
    #[inline(always)]
    fn udp(&self) -> Result<Class, Refusal> {
        let header = self.payload.first_chunk::<UDP_HEADER_LEN>();
        let [s, t, d, e, l, m, c, k] = *header.ok_or(Refusal::BadUdp)?;
        let (from, to) = (u16::from_be_bytes([s, t]), u16::from_be_bytes([d, e]));
        let len = usize::from(u16::from_be_bytes([l, m]));
        if to == 0 || !(UDP_HEADER_LEN..=self.payload.len()).contains(&len) {
            return Err(Refusal::BadUdp);
        }
        // Zero means "none sent", which IPv6 forbids (RFC 8200, 8.1).
        let sent = [c, k] != [0, 0];
        let needed = sent || matches!(self.source.into(), IpAddress::Ipv6(_));
        if self.verify && needed {
            let packet = UdpPacket::new_unchecked(self.payload);
            if !sent || !packet.verify_checksum(&self.source.into(), &self.destination.into()) {
                return Err(Refusal::UdpChecksum);
            }
        }
        Ok(Class::Udp {
            source: IpEndpoint::new(self.source.into(), from),
            destination: IpEndpoint::new(self.destination.into(), to),
            data: Span {
                start: (self.start + UDP_HEADER_LEN) as u16,
                len: (len - UDP_HEADER_LEN) as u16,
            },
        })
    }

    #[inline(always)]
    fn tcp(&self) -> Result<Class, Refusal> {
        let header = self.payload.first_chunk::<TCP_HEADER_LEN>();
        let [s, t, d, e, _, _, _, _, _, _, _, _, offset, flags, ..] =
            *header.ok_or(Refusal::BadTcp)?;
        let (from, to) = (u16::from_be_bytes([s, t]), u16::from_be_bytes([d, e]));
        let header_len = usize::from(offset >> 4) * 4;
        // None as well if it is shorter than what was read.
        let options = self.payload.get(TCP_HEADER_LEN..header_len);
        let options = options.ok_or(Refusal::BadTcp)?;
        if from == 0 || to == 0 || !are_plausible(flags) {
            return Err(Refusal::BadTcp);
        }
        let (source, destination) = (self.source.into(), self.destination.into());
        if !source.is_unicast() || !destination.is_unicast() {
            return Err(Refusal::BadTcp);
        }
        if self.verify {
            let packet = TcpPacket::new_unchecked(self.payload);
            if !packet.verify_checksum(&self.source.into(), &self.destination.into()) {
                return Err(Refusal::TcpChecksum);
            }
        }
        check_options(options)?;
        Ok(Class::Tcp {
            flow: FlowKey {
                local: IpEndpoint::new(destination, to),
                remote: IpEndpoint::new(source, from),
            },
            opens: flags & (flag::SYN | flag::ACK) == flag::SYN,
        })
    }
}

/// Flags of a TCP segment (RFC 9293, 3.1).
mod flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;
}

/// SYN goes with neither FIN nor RST, and a segment has at least one of SYN, ACK and RST.
fn are_plausible(flags: u8) -> bool {
    let has = |any: u8| flags & any != 0;
    !(has(flag::SYN) && has(flag::FIN | flag::RST)) && has(flag::SYN | flag::ACK | flag::RST)
}

fn check_options(mut options: &[u8]) -> Result<(), Refusal> {
    while !options.is_empty() {
        match TcpOption::parse(options) {
            Ok((_, TcpOption::EndOfList)) => break,
            Ok((rest, _)) => options = rest,
            Err(_) => return Err(Refusal::BadTcpOptions),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
