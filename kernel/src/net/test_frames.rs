//! Frames from a peer to us, made with smoltcp's own emitters: for the tests of this module, and for
//! the image that counts its own instructions.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use drivers::net::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;

/// Our hardware address.
pub const OUR_MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
/// The peer's hardware address.
pub const PEER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
/// Our IPv4 address.
pub const OUR_V4: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
/// The peer's IPv4 address.
pub const PEER_V4: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
/// The peer's link-local address.
pub const PEER_V6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Our link-local address, made of our hardware address.
pub const OUR_V6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0x5054, 0x00ff, 0xfe12, 0x3456);

/// An Ethernet frame to us with this payload.
pub fn ethernet(ethertype: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + payload.len()];
    let mut header = EthernetFrame::new_unchecked(&mut frame[..]);
    header.set_dst_addr(EthernetAddress(OUR_MAC.0));
    header.set_src_addr(PEER_MAC);
    header.set_ethertype(ethertype);
    header.payload_mut().copy_from_slice(payload);
    frame
}

/// An IPv4 packet from the peer to us, in its frame.
pub fn ipv4(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv4Repr {
        src_addr: PEER_V4,
        dst_addr: OUR_V4,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 20 + payload.len()];
    repr.emit(
        &mut Ipv4Packet::new_unchecked(&mut bytes[..]),
        &ChecksumCapabilities::default(),
    );
    bytes[20..].copy_from_slice(payload);
    ethernet(EthernetProtocol::Ipv4, &bytes)
}

/// An IPv6 packet from the peer to us, in its frame.
pub fn ipv6(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv6Repr {
        src_addr: PEER_V6,
        dst_addr: OUR_V6,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 40 + payload.len()];
    repr.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[..]));
    bytes[40..].copy_from_slice(payload);
    ethernet(EthernetProtocol::Ipv6, &bytes)
}

/// A UDP datagram between these addresses.
pub fn udp_bytes(from: IpAddress, to: IpAddress, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let repr = UdpRepr {
        src_port: ports.0,
        dst_port: ports.1,
    };
    let mut bytes = vec![0; 8 + data.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[..]),
        &from,
        &to,
        data.len(),
        |payload| payload.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// A UDP datagram from the peer to us, in its frame.
pub fn udp(ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    ipv4(
        IpProtocol::Udp,
        &udp_bytes(PEER_V4.into(), OUR_V4.into(), ports, data),
    )
}

/// A TCP segment from the peer to us, in its frame.
pub fn tcp<'a>(change: impl FnOnce(&mut TcpRepr<'a>)) -> Vec<u8> {
    let mut repr = TcpRepr {
        src_port: 40_000,
        dst_port: 7,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1000),
        ack_number: None,
        window_len: 64_000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    change(&mut repr);
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut bytes[..]),
        &PEER_V4.into(),
        &OUR_V4.into(),
        &ChecksumCapabilities::default(),
    );
    ipv4(IpProtocol::Tcp, &bytes)
}

/// An ICMP echo request from the peer to us, in its frame.
pub fn ping(data: &[u8]) -> Vec<u8> {
    let repr = Icmpv4Repr::EchoRequest {
        ident: 1,
        seq_no: 2,
        data,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &mut Icmpv4Packet::new_unchecked(&mut bytes[..]),
        &ChecksumCapabilities::default(),
    );
    ipv4(IpProtocol::Icmp, &bytes)
}

/// An ARP request from the peer for our address, in its frame.
pub fn arp_request() -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: PEER_MAC,
        source_protocol_addr: PEER_V4,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OUR_V4,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    ethernet(EthernetProtocol::Arp, &bytes)
}

/// Writes the IPv4 header checksum anew, after a test changed the header.
pub fn fix_ipv4(frame: &mut [u8]) {
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
}
