//! Frames that are changed where they lie: ARP requests into replies, datagrams into their answers.
#![forbid(unsafe_code)]

use drivers::net::MacAddr;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame,
    EthernetProtocol, IPV4_HEADER_LEN, Ipv4Address, Ipv4Packet, UDP_HEADER_LEN,
};

/// Bytes of all headers of a datagram without IPv4 options.
pub(super) const HEADERS: usize = ETHERNET_HEADER_LEN + IPV4_HEADER_LEN + UDP_HEADER_LEN;

/// Where fields lie, from the start of the frame.
mod at {
    use super::{ETHERNET_HEADER_LEN as IP, IPV4_HEADER_LEN};

    pub(super) const TO_MAC: usize = 0;
    pub(super) const FROM_MAC: usize = 6;
    pub(super) const ETHERTYPE: usize = 12;
    pub(super) const VERSION: usize = IP;
    pub(super) const IP_LENGTH: usize = IP + 2;
    pub(super) const FRAGMENT: usize = IP + 6;
    pub(super) const PROTOCOL: usize = IP + 9;
    pub(super) const FROM_IP: usize = IP + 12;
    pub(super) const TO_IP: usize = IP + 16;
    const UDP: usize = IP + IPV4_HEADER_LEN;
    pub(super) const FROM_PORT: usize = UDP;
    pub(super) const TO_PORT: usize = UDP + 2;
    pub(super) const UDP_LENGTH: usize = UDP + 4;
    pub(super) const UDP_CHECKSUM: usize = UDP + 6;
}

/// IPv4, with a header of 20 bytes.
const VERSION_4: u8 = 0x45;
const UDP: u8 = 17;

/// Makes the reply of an ARP request for `address`; whether the frame was one.
pub(super) fn answer_arp(frame: &mut [u8], mac: MacAddr, address: Ipv4Address) -> bool {
    if frame.get(at::ETHERTYPE..at::VERSION) != Some(&[0x08, 0x06]) {
        return false;
    }
    let ours = EthernetAddress(mac.0);
    let mut frame = EthernetFrame::new_unchecked(frame);
    let request = ArpPacket::new_checked(frame.payload_mut());
    let Ok(request) = request.and_then(|packet| ArpRepr::parse(&packet)) else {
        return false;
    };
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: peer,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = request
    else {
        return false;
    };
    if target_protocol_addr != address {
        return false;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: ours,
        source_protocol_addr: address,
        target_hardware_addr: peer,
        target_protocol_addr: source_protocol_addr,
    };
    frame.set_dst_addr(peer);
    frame.set_src_addr(ours);
    frame.set_ethertype(EthernetProtocol::Arp);
    reply.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    true
}

/// A whole UDP datagram over IPv4 in its frame.
pub(super) struct Datagram<'a> {
    headers: &'a mut [u8; HEADERS],
    data: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The datagram in `frame`, if it is one to `mac`: no options, no fragment, lengths that fit.
    pub(super) fn parse(frame: &'a mut [u8], mac: MacAddr) -> Option<Self> {
        let (headers, rest) = frame.split_first_chunk_mut::<HEADERS>()?;
        let is_udp = headers[at::ETHERTYPE..=at::VERSION] == [0x08, 0x00, VERSION_4]
            && headers[at::PROTOCOL] == UDP
            && headers[at::FRAGMENT] & 0x3f == 0
            && headers[at::FRAGMENT + 1] == 0
            && headers[at::TO_MAC..at::FROM_MAC] == mac.0;
        let length = usize::from(word(headers, at::UDP_LENGTH));
        // Behind the data a short frame is padded.
        let data = rest.get(..length.checked_sub(UDP_HEADER_LEN)?)?;
        let fits = usize::from(word(headers, at::IP_LENGTH)) == IPV4_HEADER_LEN + length;
        (is_udp && fits).then_some(Self { headers, data })
    }

    /// The port that it is for.
    pub(super) fn port(&self) -> u16 {
        word(self.headers, at::TO_PORT)
    }

    /// Its data.
    pub(super) fn data(&self) -> &[u8] {
        self.data
    }

    /// Sends it back to where it came from.
    pub(super) fn turn_round(&mut self) {
        turn_round(self.headers);
    }

    /// The headers of an answer with `data` bytes of data, without a sum over these. They are the same
    /// for all that a client asks from one port.
    pub(super) fn headers_back(&self, data: usize) -> [u8; HEADERS] {
        let mut headers = *self.headers;
        turn_round(&mut headers);
        let length = (UDP_HEADER_LEN + data) as u16;
        headers[at::UDP_LENGTH..at::UDP_CHECKSUM].copy_from_slice(&length.to_be_bytes());
        let mut ip = Ipv4Packet::new_unchecked(&mut headers[ETHERNET_HEADER_LEN..]);
        ip.set_ident(0);
        ip.set_total_len(IPV4_HEADER_LEN as u16 + length);
        ip.fill_checksum();
        headers
    }
}

/// Exchanges the addresses. The header's sum stays right, and so would the datagram's if it was whole; it
/// may be partial, so it gives way to none (RFC 768 allows that).
fn turn_round(headers: &mut [u8; HEADERS]) {
    swap::<6>(headers, at::TO_MAC, at::FROM_MAC);
    swap::<4>(headers, at::FROM_IP, at::TO_IP);
    swap::<2>(headers, at::FROM_PORT, at::TO_PORT);
    headers[at::UDP_CHECKSUM..][..2].fill(0);
}

fn word(headers: &[u8; HEADERS], at: usize) -> u16 {
    u16::from_be_bytes([headers[at], headers[at + 1]])
}

/// Exchanges two fields of `N` bytes.
fn swap<const N: usize>(headers: &mut [u8; HEADERS], one: usize, other: usize) {
    let mut kept = [0; N];
    kept.copy_from_slice(&headers[one..one + N]);
    headers.copy_within(other..other + N, one);
    headers[other..other + N].copy_from_slice(&kept);
}
