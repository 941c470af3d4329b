//! Which queue pair a frame leaves by: the same for all frames of a connection, both its ends' ports
//! deciding, so that none overtakes another. A device that steers by itself learns from this which
//! pair a connection's frames are to come back on.
#![forbid(unsafe_code)]

use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet};

/// The pair of `pairs`, at least one, that `frame` leaves by. What has no ports leaves by the first.
pub(super) fn pair_of(frame: &[u8], pairs: usize) -> usize {
    if pairs < 2 {
        return 0;
    }
    let Some([a, b, c, d]) = ports(frame) else {
        return 0;
    };
    // Ports of one client are neighbours, often all even; a product spreads them over its high bits
    // (Knuth, The Art of Computer Programming 3, 6.4).
    let both = u32::from(u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d]));
    (both.wrapping_mul(0x9e37_79b1) >> 16) as usize % pairs
}

/// Both ports of a TCP segment or UDP datagram that is not a fragment.
fn ports(frame: &[u8]) -> Option<[u8; 4]> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let (protocol, transport) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            if packet.more_frags() || packet.frag_offset() != 0 {
                return None;
            }
            (packet.next_header(), packet.payload())
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            (packet.next_header(), packet.payload())
        }
        _ => return None,
    };
    match protocol {
        IpProtocol::Tcp | IpProtocol::Udp => transport.first_chunk().copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::test_frames::{arp_request, ping, tcp, udp};

    #[test]
    fn a_connection_keeps_its_pair_and_connections_spread() {
        let mut seen = [0; 4];
        for port in (40_000..40_128).step_by(2) {
            let frame = udp((port, 7), b"text");
            let pair = pair_of(&frame, 4);
            assert_eq!(pair, pair_of(&udp((port, 7), b"other text"), 4));
            assert_eq!(pair, pair_of(&udp((7, port), b"the way back"), 4));
            seen[pair] += 1;
        }
        assert!(seen.iter().all(|frames| *frames >= 8), "{seen:?} of 64");
        assert!(pair_of(&tcp(|tcp| tcp.src_port = 40_001), 3) < 3);
    }

    #[test]
    fn what_has_no_ports_leaves_by_the_first() {
        for frame in [&ping(b"x")[..], &arp_request(), &[0; 14], &[]] {
            assert_eq!(pair_of(frame, 4), 0);
        }
        assert_eq!(pair_of(&udp((1, 2), b""), 1), 0);
    }
}
