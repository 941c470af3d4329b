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
    ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4Message,
    Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpAddress, IpEndpoint, IpProtocol, Ipv4Address,
    Ipv4Packet, Ipv6Address, Ipv6Packet, TcpOption, TcpPacket, UdpPacket,
};

use super::counters::Refusal;
use super::flow::FlowKey;

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

    fn ipv4(&self, payload: &[u8], verify: bool) -> Result<Class, Refusal> {
        let packet = Ipv4Packet::new_checked(payload).map_err(|_| Refusal::BadIpv4)?;
        if packet.version() != 4 {
            return Err(Refusal::BadIpv4);
        }
        if !packet.verify_checksum() {
            return Err(Refusal::Ipv4Checksum);
        }
        if !is_unicast_source(packet.src_addr()) {
            return Err(Refusal::BadIpv4);
        }
        if packet.more_frags() || packet.frag_offset() != 0 {
            return Ok(Class::Fragment);
        }
        let transport = Transport {
            source: packet.src_addr().into(),
            destination: packet.dst_addr().into(),
            payload: packet.payload(),
            verify,
        };
        match packet.next_header() {
            IpProtocol::Tcp => transport.tcp(),
            IpProtocol::Udp => transport.udp(),
            IpProtocol::Icmp => self.icmpv4(packet.src_addr(), packet.dst_addr(), packet.payload()),
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
        let transport = Transport {
            source: source.into(),
            destination: destination.into(),
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

/// A transport segment with the addresses that its checksum covers.
struct Transport<'a> {
    source: IpAddress,
    destination: IpAddress,
    payload: &'a [u8],
    verify: bool,
}

impl Transport<'_> {
    fn udp(&self) -> Result<Class, Refusal> {
        let packet = UdpPacket::new_checked(self.payload).map_err(|_| Refusal::BadUdp)?;
        if packet.dst_port() == 0 {
            return Err(Refusal::BadUdp);
        }
        // Zero means "none sent", which IPv6 forbids (RFC 8200, 8.1).
        let none_sent = packet.checksum() == 0 && matches!(self.source, IpAddress::Ipv4(_));
        if self.verify && !none_sent {
            let sound =
                packet.checksum() != 0 && packet.verify_checksum(&self.source, &self.destination);
            if !sound {
                return Err(Refusal::UdpChecksum);
            }
        }
        Ok(Class::Udp {
            source: IpEndpoint::new(self.source, packet.src_port()),
            destination: IpEndpoint::new(self.destination, packet.dst_port()),
        })
    }

    fn tcp(&self) -> Result<Class, Refusal> {
        let packet = TcpPacket::new_checked(self.payload).map_err(|_| Refusal::BadTcp)?;
        if packet.src_port() == 0 || packet.dst_port() == 0 || !plausible_flags(&packet) {
            return Err(Refusal::BadTcp);
        }
        if !self.source.is_unicast() || !self.destination.is_unicast() {
            return Err(Refusal::BadTcp);
        }
        if self.verify && !packet.verify_checksum(&self.source, &self.destination) {
            return Err(Refusal::TcpChecksum);
        }
        check_options(packet.options())?;
        Ok(Class::Tcp {
            flow: FlowKey {
                local: IpEndpoint::new(self.destination, packet.dst_port()),
                remote: IpEndpoint::new(self.source, packet.src_port()),
            },
            opens: packet.syn() && !packet.ack(),
        })
    }
}

/// SYN goes with neither FIN nor RST, and a segment has at least one of SYN, ACK and RST.
fn plausible_flags<T: AsRef<[u8]>>(packet: &TcpPacket<T>) -> bool {
    let (syn, fin, rst) = (packet.syn(), packet.fin(), packet.rst());
    !(syn && (fin || rst)) && (syn || packet.ack() || rst)
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
