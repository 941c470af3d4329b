//! Transmit offload: what smoltcp left out is asked of the NIC.
//!
//! Called by the transmit token on every frame when the NIC computes checksums. smoltcp leaves
//! the checksum field zero then; the NIC wants the sum over the pseudo-header there and the
//! place of the field (Virtio 1.2, 5.1.6.2). Frames of other protocols pass unchanged.
//!
//! A frame that the NIC is to cut carries the sum over a pseudo-header with the length of the
//! whole frame: whoever cuts it takes that length off and adds each segment's. With a length of
//! 0, as some hardware wants it, the segments that a Linux host makes in software are invalid.
#![forbid(unsafe_code)]

use core::num::NonZeroU16;

use drivers::net::{Capabilities, ChecksumSupport};
use pbufpool::{Gso, GsoKind, Packet, PartialChecksum};
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, IPV4_HEADER_LEN, IpProtocol, Ipv4Address,
    Ipv6Packet, TcpPacket, checksum,
};

use super::sums;

/// Offset of the checksum field in a TCP header.
const TCP_CHECKSUM: u16 = 16;
/// Offset of the checksum field in a UDP header.
const UDP_CHECKSUM: u16 = 6;

/// Asks the NIC for the transport checksum of `packet` where smoltcp left it out, and for segments
/// of `segment` bytes of payload, if so.
pub(super) fn complete(
    packet: &mut Packet,
    capabilities: &Capabilities,
    segment: Option<NonZeroU16>,
) {
    if capabilities.tx_checksum == ChecksumSupport::NONE {
        return;
    }
    let Some((partial, sum)) = wanted(packet.data(), capabilities.tx_checksum) else {
        return;
    };
    let field = usize::from(partial.start + partial.offset);
    if let Some(bytes) = packet
        .data_mut()
        .and_then(|data| data.get_mut(field..field + 2))
    {
        bytes.copy_from_slice(&sum.to_be_bytes());
        packet.offload_mut().tx_checksum = Some(partial);
    }
    if let Some(mss) = segment {
        packet.offload_mut().gso = segments(packet.data(), partial.start.into(), mss);
    }
}

/// How the TCP frame is to be cut, whose TCP header begins at `start`.
fn segments(frame: &[u8], start: usize, mss: NonZeroU16) -> Option<Gso> {
    let kind = match EthernetFrame::new_checked(frame).ok()?.ethertype() {
        EthernetProtocol::Ipv4 => GsoKind::TcpV4,
        _ => GsoKind::TcpV6,
    };
    let tcp = TcpPacket::new_checked(frame.get(start..)?).ok()?;
    Some(Gso {
        kind,
        mss: mss.get(),
        header_len: (start + usize::from(tcp.header_len())) as u16,
    })
}

/// Where the checksum goes, and the pseudo-header's sum to start from.
///
/// Every frame to be sent comes by here, and smoltcp made it: what is read is read once, in place.
fn wanted(frame: &[u8], support: ChecksumSupport) -> Option<(PartialChecksum, u16)> {
    let all_tcp = support.tcp_v4 && support.tcp_v6;
    let all_udp = support.udp_v4 && support.udp_v6;
    let offset = |protocol| match protocol {
        IpProtocol::Tcp if all_tcp => Some(TCP_CHECKSUM),
        IpProtocol::Udp if all_udp => Some(UDP_CHECKSUM),
        _ => None,
    };
    let (ethernet, rest) = frame.split_first_chunk::<ETHERNET_HEADER_LEN>()?;
    match ethernet[12..] {
        [0x08, 0x00] => {
            let ip = rest.first_chunk::<IPV4_HEADER_LEN>()?;
            // smoltcp sums a datagram before it cuts it.
            if (ip[6] & 0x3f) | ip[7] != 0 {
                return None;
            }
            let protocol = IpProtocol::from(ip[9]);
            let offset = offset(protocol)?;
            let header = u16::from(ip[0] & 0x0f) * 4;
            let len = u16::from_be_bytes([ip[2], ip[3]]).saturating_sub(header);
            let address = |at| Ipv4Address::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
            let sum = sums::pseudo_header(sums::addresses(address(12), address(16)), protocol, len);
            let start = ETHERNET_HEADER_LEN as u16 + header;
            Some((PartialChecksum { start, offset }, sum))
        }
        [0x86, 0xdd] => {
            let ip = Ipv6Packet::new_checked(rest).ok()?;
            let offset = offset(ip.next_header())?;
            let (from, to, len) = (ip.src_addr(), ip.dst_addr(), ip.payload_len());
            let sum = checksum::pseudo_header_v6(&from, &to, ip.next_header(), len.into());
            let start = (ETHERNET_HEADER_LEN + ip.header_len()) as u16;
            Some((PartialChecksum { start, offset }, sum))
        }
        _ => None,
    }
}

/// What to ask of a NIC for a UDP datagram behind an IPv4 header without options, in whose checksum
/// field the pseudo-header's sum is.
pub(super) const UDP_V4: PartialChecksum = PartialChecksum {
    start: (ETHERNET_HEADER_LEN + IPV4_HEADER_LEN) as u16,
    offset: UDP_CHECKSUM,
};
