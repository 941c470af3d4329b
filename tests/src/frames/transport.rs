//! UDP (RFC 768) and TCP (RFC 9293) over either IP version.

use std::net::IpAddr;

use super::{checksum, get16, get32, protocol, pseudo_header, put16};

/// TCP flags.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 16;
}

/// Ports of a datagram or segment, from its sender's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source.
    pub src: u16,
    /// Destination.
    pub dst: u16,
}

/// A UDP datagram with correct length and checksum.
pub fn udp((src, dst): (IpAddr, IpAddr), ports: Ports, data: &[u8]) -> Vec<u8> {
    let length = 8 + data.len();
    let mut datagram = Vec::with_capacity(length);
    datagram.extend(ports.src.to_be_bytes());
    datagram.extend(ports.dst.to_be_bytes());
    datagram.extend((length as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let pseudo = pseudo_header(src, dst, protocol::UDP, length);
    let sum = match checksum(&[&pseudo, &datagram]) {
        0 => 0xffff,
        sum => sum,
    };
    put16(&mut datagram, 6, sum);
    datagram
}

/// Ports and data of a datagram.
pub fn parse_udp(datagram: &[u8]) -> Option<(Ports, &[u8])> {
    let ports = Ports {
        src: get16(datagram, 0)?,
        dst: get16(datagram, 2)?,
    };
    Some((ports, datagram.get(8..usize::from(get16(datagram, 4)?))?))
}

/// A TCP segment's header, and where its data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Ports.
    pub ports: Ports,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// [`flag`]s.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Options, padded by the caller to a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Payload.
    pub data: Vec<u8>,
}

impl Segment {
    /// A segment without data or options, with a wide window.
    pub fn new(ports: Ports, flags: u8, seq: u32, ack: u32) -> Segment {
        Segment {
            ports,
            seq,
            ack,
            flags,
            window: 0xffff,
            options: vec![],
            data: vec![],
        }
    }

    /// The segment with correct offset and checksum.
    pub fn bytes(&self, addresses: (IpAddr, IpAddr)) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut bytes = Vec::with_capacity(header_len + self.data.len());
        bytes.extend(self.ports.src.to_be_bytes());
        bytes.extend(self.ports.dst.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([((header_len / 4) as u8) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.extend(&self.data);
        fix_tcp_checksum(&mut bytes, addresses);
        bytes
    }

    /// Reads a segment (checksum not looked at).
    pub fn parse(bytes: &[u8]) -> Option<Segment> {
        let header_len = usize::from(bytes.get(12)? >> 4) * 4;
        Some(Segment {
            ports: Ports {
                src: get16(bytes, 0)?,
                dst: get16(bytes, 2)?,
            },
            seq: get32(bytes, 4)?,
            ack: get32(bytes, 8)?,
            flags: *bytes.get(13)?,
            window: get16(bytes, 14)?,
            options: bytes.get(20..header_len)?.to_vec(),
            data: bytes.get(header_len..)?.to_vec(),
        })
    }

    /// The sequence number after this segment.
    pub fn end(&self) -> u32 {
        let marks = u32::from(self.flags & flag::SYN != 0) + u32::from(self.flags & flag::FIN != 0);
        self.seq
            .wrapping_add(self.data.len() as u32)
            .wrapping_add(marks)
    }
}

/// Makes the checksum right again after a change.
pub fn fix_tcp_checksum(segment: &mut [u8], (src, dst): (IpAddr, IpAddr)) {
    put16(segment, 16, 0);
    let pseudo = pseudo_header(src, dst, protocol::TCP, segment.len());
    let sum = checksum(&[&pseudo, segment]);
    put16(segment, 16, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ENDS: (IpAddr, IpAddr) = (
        IpAddr::V4(Ipv4Addr::new(10, 7, 0, 9)),
        IpAddr::V4(Ipv4Addr::new(10, 7, 0, 2)),
    );
    const PORTS: Ports = Ports { src: 4000, dst: 7 };

    #[test]
    fn a_datagram_survives_the_wire() {
        let datagram = udp(ENDS, PORTS, b"odd");
        let pseudo = pseudo_header(ENDS.0, ENDS.1, protocol::UDP, datagram.len());
        assert_eq!(checksum(&[&pseudo, &datagram]), 0);
        assert_eq!(parse_udp(&datagram), Some((PORTS, &b"odd"[..])));
        assert_eq!(parse_udp(&datagram[..10]), None);
    }

    #[test]
    fn a_segment_survives_the_wire() {
        let mut segment = Segment::new(PORTS, flag::SYN | flag::FIN, u32::MAX, 5);
        segment.options = vec![2, 4, 5, 0xb4];
        segment.data = b"x".to_vec();
        let bytes = segment.bytes(ENDS);
        let pseudo = pseudo_header(ENDS.0, ENDS.1, protocol::TCP, bytes.len());
        assert_eq!(checksum(&[&pseudo, &bytes]), 0);
        assert_eq!(Segment::parse(&bytes), Some(segment.clone()));
        assert_eq!(segment.end(), 2);
    }
}
