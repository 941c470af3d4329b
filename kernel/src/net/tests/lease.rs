//! What changes with a lease, from a DHCP server made by hand (RFC 2131).
#![forbid(unsafe_code)]

use std::vec;
use std::vec::Vec;

use smoltcp::time::Duration;
use smoltcp::wire::*;

use super::Bench;
use crate::net::test_frames::*;

/// Seconds of a lease; it is renewed after half of them.
const LEASE: u32 = 120;
/// Somebody behind the router.
const FAR: Ipv4Address = Ipv4Address::new(192, 168, 7, 7);
/// Another router.
const OTHER: Ipv4Address = Ipv4Address::new(10, 0, 0, 3);

/// The payload of a datagram to a DHCP server.
fn dhcp(frame: &[u8]) -> Option<&[u8]> {
    if frame[12..14] != [8, 0] || frame[23] != 17 || frame[36..38] != [0, DHCP_SERVER] {
        return None;
    }
    frame.get(42..)
}

const DHCP_SERVER: u8 = 67;

/// What the server says to `frame`, if that is for it: our address, and this router.
fn server(frame: &[u8], router: Ipv4Address) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(dhcp(frame)?).unwrap();
    let asked = DhcpRepr::parse(&packet).unwrap();
    let repr = DhcpRepr {
        message_type: match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            _ => DhcpMessageType::Ack,
        },
        transaction_id: asked.transaction_id,
        secs: 0,
        client_hardware_address: asked.client_hardware_address,
        client_ip: Ipv4Address::UNSPECIFIED,
        your_ip: OUR_V4,
        server_ip: PEER_V4,
        router: Some(router),
        subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
        relay_agent_ip: Ipv4Address::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(PEER_V4),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
    repr.emit(&mut packet).unwrap();
    Some(udp((DHCP_SERVER.into(), 68), &bytes))
}

/// Has the server, which names `router`, answer what is asked in `frames`. Returns how often it did.
fn serve(bench: &mut Bench, mut frames: Vec<Vec<u8>>, router: Ipv4Address) -> usize {
    let mut answered = 0;
    while let Some(frame) = frames.pop() {
        if let Some(answer) = server(&frame, router) {
            frames.extend(bench.ask(answer));
            answered += 1;
        }
    }
    answered
}

/// A datagram from afar to the echo service.
fn from_afar() -> Vec<u8> {
    let bytes = udp_bytes(FAR.into(), OUR_V4.into(), (5000, 7), b"far");
    let mut frame = ipv4(IpProtocol::Udp, &bytes);
    frame[26..30].copy_from_slice(&FAR.octets());
    fix_ipv4(&mut frame);
    frame
}

/// Senders that are known are answered without smoltcp, by the way that led to them: not any more once
/// that is another one.
#[test]
fn a_known_sender_is_answered_by_the_router_of_the_new_lease() {
    let mut bench = Bench::new("ip=dhcp ip6=off services=echo");
    bench.settle();
    let asked = std::iter::from_fn(|| bench.wire.receive()).collect();
    assert_eq!(
        serve(&mut bench, asked, PEER_V4),
        2,
        "an offer, and a lease"
    );
    bench.now += Duration::from_secs(u64::from(LEASE) / 2 + 1);
    let mut asked = bench.ask(arp_request());
    for _ in 0..3 {
        let answers = bench.ask(from_afar());
        let reply = answers.iter().find(|frame| frame.ends_with(b"far"));
        assert_eq!(reply.expect("a reply")[..6], PEER_MAC.0);
        asked.extend(answers);
    }
    assert_eq!(serve(&mut bench, asked, OTHER), 1, "a renewal");
    let answers = bench.ask(from_afar());
    assert_eq!(answers.len(), 1);
    let arp = ArpPacket::new_checked(&answers[0][14..]).unwrap();
    assert_eq!(
        arp.target_protocol_addr(),
        &OTHER.octets()[..],
        "who is it?"
    );
}
