//! IPv6 headers (RFC 8200), ICMPv6 (RFC 4443) and the Neighbour Discovery messages that the
//! tests send (RFC 4861).

use std::net::Ipv6Addr;

use super::{Mac, checksum, get16, protocol, pseudo_header, put16};

/// ICMPv6 types.
pub mod kind {
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation.
    pub const ROUTER_SOLICIT: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICIT: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERT: u8 = 136;
}

/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A packet whose first header after the fixed one is `next`.
pub fn packet(src: Ipv6Addr, dst: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hops]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

/// Source, destination and payload of a packet whose next header is `wanted`.
pub fn parse(packet: &[u8], wanted: u8) -> Option<(Ipv6Addr, Ipv6Addr, &[u8])> {
    if packet.first()? >> 4 != 6 || *packet.get(6)? != wanted {
        return None;
    }
    let address = |at: usize| -> Option<Ipv6Addr> {
        Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into())
    };
    let length = usize::from(get16(packet, 4)?);
    Some((address(8)?, address(24)?, packet.get(40..40 + length)?))
}

/// An ICMPv6 message with a correct checksum. `rest` is the second word of its header.
pub fn icmp(
    (src, dst): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    code: u8,
    rest: [u8; 4],
    data: &[u8],
) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(data);
    let pseudo = pseudo_header(src.into(), dst.into(), protocol::ICMPV6, message.len());
    let sum = checksum(&[&pseudo, &message]);
    put16(&mut message, 2, sum);
    message
}

/// The multicast group that a neighbour solicitation for `addr` is sent to.
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let prefix = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(prefix | (addr.to_bits() & 0xff_ffff))
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464, 7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// A solicited advertisement that `addr` is at `mac`, sent to `to`.
pub fn neighbour_advert(addr: Ipv6Addr, mac: Mac, to: Ipv6Addr) -> Vec<u8> {
    let mut data = addr.octets().to_vec();
    data.extend([2, 1]); // target link-layer address
    data.extend(mac);
    let flags = [0x60, 0, 0, 0]; // solicited, override
    let message = icmp((addr, to), kind::NEIGHBOUR_ADVERT, 0, flags, &data);
    packet(addr, to, protocol::ICMPV6, 255, &message)
}

/// A router advertisement from `router` (at `mac`) for the 64-bit `prefix`, to all nodes.
pub fn router_advert(router: Ipv6Addr, mac: Mac, prefix: Ipv6Addr) -> Vec<u8> {
    let rest = [64, 0, 0x07, 0x08]; // hop limit 64, router lifetime 1800 s
    let mut data = vec![0; 8]; // reachable and retransmission times: not said
    data.extend([1, 1]); // source link-layer address
    data.extend(mac);
    data.extend([3, 4, 64, 0xc0]); // prefix information: on-link, autonomous
    data.extend(7200u32.to_be_bytes());
    data.extend(3600u32.to_be_bytes());
    data.extend([0; 4]);
    data.extend(prefix.octets());
    let message = icmp((router, ALL_NODES), kind::ROUTER_ADVERT, 0, rest, &data);
    packet(router, ALL_NODES, protocol::ICMPV6, 255, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icmpv6_message_sums_to_zero_with_its_pseudo_header() {
        let router: Ipv6Addr = "fe80::1".parse().unwrap();
        let bytes = router_advert(router, [2, 0, 0, 0, 0, 1], "2001:db8::".parse().unwrap());
        let (src, dst, message) = parse(&bytes, protocol::ICMPV6).unwrap();
        let pseudo = pseudo_header(src.into(), dst.into(), protocol::ICMPV6, message.len());
        assert_eq!(checksum(&[&pseudo, message]), 0);
        assert_eq!(message.len(), 16 + 8 + 32);
    }

    #[test]
    fn a_solicited_node_group_keeps_the_last_three_bytes() {
        let group = solicited_node("fe80::5054:ff:fe12:3456".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ff12:3456");
        assert_eq!(multicast_mac(group), [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    }
}
