//! Frames made by hand, right and wrong, and the little parsing that replies need.
//!
//! The builders write correct headers and checksums; a test that wants a wrong one changes
//! bytes afterwards. Nothing here shares code with the image, so a shared mistake cannot hide.
#![forbid(unsafe_code)]

pub mod arp;
pub mod ipv4;
pub mod ipv6;
pub mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A MAC address.
pub type Mac = [u8; 6];

/// Everyone on the wire.
pub const BROADCAST: Mac = [0xff; 6];

/// EtherType values (IEEE 802 numbers).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Bytes of an Ethernet header.
pub const ETH_HEADER: usize = 14;

/// `52:54:00:…`
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The EUI-64 interface identifier of `mac` under `prefix` (RFC 4291, appendix A).
pub fn eui64(prefix: Ipv6Addr, mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let identifier = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits((prefix.to_bits() >> 64 << 64) | u128::from(identifier))
}

/// The link-local address of `mac`.
pub fn link_local(mac: Mac) -> Ipv6Addr {
    eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

/// An Ethernet II frame, not padded.
pub fn ethernet(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETH_HEADER + payload.len());
    frame.extend(dst);
    frame.extend(src);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The payload of `frame`, if it is of this type.
pub fn ethernet_payload(frame: &[u8], ethertype: u16) -> Option<&[u8]> {
    (frame.get(12..14)? == ethertype.to_be_bytes()).then(|| &frame[ETH_HEADER..])
}

/// The Internet checksum (RFC 1071) of `parts` laid end to end; all but the last are even.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo header that transport checksums cover (RFC 9293, 3.1; RFC 8200, 8.1).
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.extend(src.octets());
            header.extend(dst.octets());
            header.extend([0, protocol]);
            header.extend((length as u16).to_be_bytes());
        }
        (src, dst) => {
            header.extend(as_v6(src).octets());
            header.extend(as_v6(dst).octets());
            header.extend((length as u32).to_be_bytes());
            header.extend([0, 0, 0, protocol]);
        }
    }
    header
}

fn as_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => Ipv4Addr::to_ipv6_mapped(&addr),
        IpAddr::V6(addr) => addr,
    }
}

/// Writes `value` big-endian at `at`.
pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Reads a big-endian number at `at`.
pub fn get16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a big-endian number at `at`.
pub fn get32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        // RFC 1071, section 3: the sum of these is 0xddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&bytes]), !0xddf2);
        assert_eq!(checksum(&[&bytes[..4], &bytes[4..]]), !0xddf2);
        assert_eq!(checksum(&[&[0xab]]), !0xab00);
    }

    #[test]
    fn an_interface_identifier_flips_the_universal_bit() {
        let mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
        assert_eq!(link_local(mac).to_string(), "fe80::5054:ff:fe12:3456");
    }
}
