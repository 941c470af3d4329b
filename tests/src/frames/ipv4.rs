//! IPv4 headers (RFC 791) and ICMP (RFC 792).

use std::net::Ipv4Addr;

use super::{checksum, protocol, put16};

/// The fields of an IPv4 header that tests vary.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Identification, which fragments of a packet share.
    pub id: u16,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Offset of this fragment in bytes, a multiple of 8.
    pub fragment_offset: u16,
    /// Options, padded by the caller to a multiple of 4 bytes.
    pub options: Vec<u8>,
}

impl Ipv4 {
    /// A plain header.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> Ipv4 {
        Ipv4 {
            src,
            dst,
            protocol,
            id: 1,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
        }
    }

    /// Header and payload, with correct lengths and checksum.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total = (header_len + payload.len()) as u16;
        let fragment = (u16::from(self.more_fragments) << 13) | (self.fragment_offset / 8);
        let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
        packet.extend(total.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(self.src.octets());
        packet.extend(self.dst.octets());
        packet.extend(&self.options);
        packet.extend(payload);
        fix_checksum(&mut packet);
        packet
    }
}

/// Makes the header checksum right again after a change to the header.
pub fn fix_checksum(packet: &mut [u8]) {
    let header_len = (usize::from(packet[0] & 15) * 4).clamp(12, packet.len());
    put16(packet, 10, 0);
    let sum = checksum(&[&packet[..header_len]]);
    put16(packet, 10, sum);
}

/// The payload of an unfragmented packet of `wanted` protocol, with its two addresses.
pub fn parse(packet: &[u8], wanted: u8) -> Option<(Ipv4Addr, Ipv4Addr, &[u8])> {
    let header_len = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(super::get16(packet, 2)?);
    if packet[0] >> 4 != 4 || *packet.get(9)? != wanted || super::get16(packet, 6)? & 0x3fff != 0 {
        return None;
    }
    let address = |at: usize| -> Option<Ipv4Addr> {
        Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into())
    };
    Some((address(12)?, address(16)?, packet.get(header_len..total)?))
}

/// An ICMP message with a correct checksum. `rest` is the second word of its header.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(data);
    let sum = checksum(&[&message]);
    put16(&mut message, 2, sum);
    message
}

/// An echo request.
pub fn echo_request(id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    icmp(8, 0, [a, b, c, d], data)
}

/// Splits `payload` into two fragments at `at`, a multiple of 8.
pub fn two_fragments(header: &Ipv4, payload: &[u8], at: u16) -> [Vec<u8>; 2] {
    let (head, tail) = payload.split_at(usize::from(at));
    let first = Ipv4 {
        more_fragments: true,
        ..header.clone()
    };
    let second = Ipv4 {
        fragment_offset: at,
        ..header.clone()
    };
    [first.packet(head), second.packet(tail)]
}

/// A header for ICMP.
pub fn icmp_header(src: Ipv4Addr, dst: Ipv4Addr) -> Ipv4 {
    Ipv4::new(src, dst, protocol::ICMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 9);
    const B: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

    #[test]
    fn a_correct_header_sums_to_zero() {
        let packet = Ipv4 {
            options: vec![1, 1, 1, 0],
            ..Ipv4::new(A, B, 17)
        }
        .packet(b"data");
        assert_eq!(packet.len(), 28);
        assert_eq!(checksum(&[&packet[..24]]), 0);
        assert_eq!(parse(&packet, 17), Some((A, B, &b"data"[..])));
        assert_eq!(parse(&packet, 6), None);
    }

    #[test]
    fn fragments_carry_the_whole_payload() {
        let payload: Vec<u8> = (0..100).collect();
        let [first, second] = two_fragments(&icmp_header(A, B), &payload, 64);
        assert_eq!([&first[20..], &second[20..]].concat(), payload);
        assert_eq!(&first[6..8], [0x20, 0]);
        assert_eq!(&second[6..8], [0, 8]);
        assert_eq!(parse(&first, 1), None);
    }
}
