//! Each reason to refuse a frame, and that nothing sound is refused.

use super::*;
use crate::net::test_frames::*;
use pbufpool::PartialChecksum;
use smoltcp::wire::{TcpControl, TcpSeqNumber};
use std::vec::Vec;

const FILTER: Filter = Filter {
    mac: OUR_MAC,
    max_frame: 1514,
    ipv4: true,
    ipv6: true,
    icmp_echo: true,
};

fn classify(frame: &[u8]) -> Result<Class, Refusal> {
    FILTER.classify(frame, RxChecksum::Unverified, false)
}

/// The frame with one byte changed.
fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

#[test]
fn sound_frames_are_named() {
    assert_eq!(classify(&arp_request()), Ok(Class::Neighbour));
    assert_eq!(
        classify(&ping(b"abc")),
        Ok(Class::Echo {
            from: PEER_V4.into(),
            to: OUR_V4.into()
        })
    );
    let frame = udp((5000, 7), b"data");
    let Ok(Class::Udp {
        source,
        destination,
        data,
    }) = classify(&frame)
    else {
        panic!()
    };
    assert_eq!(data.of(&frame), Some(&b"data"[..]));
    assert_eq!(data.of(&frame[..45]), None);
    assert_eq!((source.port, destination.port), (5000, 7));
    assert_eq!(destination.addr, OUR_V4.into());
    let Ok(Class::Tcp { flow, opens }) = classify(&tcp(|_| {})) else {
        panic!()
    };
    assert!(opens);
    assert_eq!((flow.local.port, flow.remote.port), (7, 40_000));
    let ack = tcp(|s| (s.control, s.ack_number) = (TcpControl::None, Some(TcpSeqNumber(1))));
    assert!(matches!(
        classify(&ack),
        Ok(Class::Tcp { opens: false, .. })
    ));
}

#[test]
fn ipv6_segments_are_named_behind_a_hop_by_hop_header() {
    let datagram = udp_bytes(PEER_V6.into(), OUR_V6.into(), (5000, 7), b"x");
    let plain = ipv6(IpProtocol::Udp, &datagram);
    assert!(matches!(classify(&plain), Ok(Class::Udp { .. })));
    let mut extended: Vec<u8> = [17, 0, 1, 4, 0, 0, 0, 0].to_vec();
    extended.extend_from_slice(&datagram);
    let frame = ipv6(IpProtocol::HopByHop, &extended);
    let Ok(Class::Udp { data, .. }) = classify(&frame) else {
        panic!()
    };
    assert_eq!(data.of(&frame), Some(&b"x"[..]));
    extended[1] = 200; // longer than the packet
    assert_eq!(
        classify(&ipv6(IpProtocol::HopByHop, &extended)),
        Err(Refusal::BadIpv6)
    );
}

#[test]
fn each_defect_has_its_reason() {
    let echo = || udp((5000, 7), b"x");
    let segment = || tcp(|_| {});
    let v4_field = |at, byte| {
        let mut frame = with(echo(), at, byte);
        fix_ipv4(&mut frame);
        frame
    };
    let cases: &[(&str, Vec<u8>, Refusal)] = &[
        ("runt", echo()[..13].to_vec(), Refusal::Runt),
        (
            "oversize",
            echo().into_iter().chain([0; 1500]).collect(),
            Refusal::Oversize,
        ),
        ("other station", with(echo(), 5, 0x99), Refusal::NotForUs),
        ("group source", with(echo(), 6, 0x03), Refusal::BadSource),
        (
            "vlan",
            with(with(echo(), 12, 0x81), 13, 0),
            Refusal::EtherType,
        ),
        ("arp hardware", with(arp_request(), 15, 9), Refusal::BadArp),
        ("arp short", arp_request()[..30].to_vec(), Refusal::BadArp),
        ("version", v4_field(14, 0x65), Refusal::BadIpv4),
        ("header length 4", with(echo(), 14, 0x41), Refusal::BadIpv4),
        ("header length 60", with(echo(), 14, 0x4f), Refusal::BadIpv4),
        ("total length", v4_field(17, 200), Refusal::BadIpv4),
        ("truncated", echo()[..30].to_vec(), Refusal::BadIpv4),
        (
            "header checksum",
            with(echo(), 24, 0),
            Refusal::Ipv4Checksum,
        ),
        ("multicast source", v4_field(26, 224), Refusal::BadIpv4),
        (
            "icmp checksum",
            with(ping(b"abc"), 36, 9),
            Refusal::IcmpChecksum,
        ),
        ("udp length", with(echo(), 39, 200), Refusal::BadUdp),
        ("udp port 0", udp((5000, 0), b"x"), Refusal::BadUdp),
        ("udp checksum", with(echo(), 42, b'y'), Refusal::UdpChecksum),
        (
            "tcp header length",
            with(segment(), 46, 0x10),
            Refusal::BadTcp,
        ),
        ("tcp flags none", with(segment(), 47, 0), Refusal::BadTcp),
        ("tcp flags syn fin", with(segment(), 47, 3), Refusal::BadTcp),
        (
            "tcp checksum",
            with(segment(), 38, 99),
            Refusal::TcpChecksum,
        ),
        (
            "ipv6 version",
            with(ipv6(IpProtocol::Udp, &[0; 8]), 14, 0x40),
            Refusal::BadIpv6,
        ),
        (
            "ipv6 length",
            ipv6(IpProtocol::Udp, &[0; 8])[..60].to_vec(),
            Refusal::BadIpv6,
        ),
        (
            "ipv6 fragment",
            ipv6(IpProtocol::Ipv6Frag, &[0; 16]),
            Refusal::Ipv6Fragment,
        ),
        (
            "icmpv6 short",
            ipv6(IpProtocol::Icmpv6, &[128, 0]),
            Refusal::BadIcmp,
        ),
        (
            "icmpv6 checksum",
            ipv6(IpProtocol::Icmpv6, &[128, 0, 1, 1, 0, 0, 0, 0]),
            Refusal::IcmpChecksum,
        ),
        (
            "ipv6 udp without checksum",
            ipv6(IpProtocol::Udp, &[19, 136, 0, 7, 0, 8, 0, 0]),
            Refusal::UdpChecksum,
        ),
    ];
    for (name, frame, why) in cases {
        assert_eq!(classify(frame), Err(*why), "{name}");
    }
}

#[test]
fn a_malformed_option_is_refused() {
    // The option kind 2 (MSS) with length 1, where 4 is meant; checksum not looked at.
    let mut frame = tcp(|_| {});
    frame[55] = 1;
    assert_eq!(
        FILTER.classify(&frame, RxChecksum::Verified, false),
        Err(Refusal::BadTcpOptions)
    );
}

#[test]
fn what_the_nic_verified_is_not_verified_again() {
    let damaged = with(udp((5000, 7), b"x"), 42, b'y');
    assert!(
        FILTER
            .classify(&damaged, RxChecksum::Verified, false)
            .is_ok()
    );
    let partial = RxChecksum::Partial(PartialChecksum {
        start: 34,
        offset: 6,
    });
    assert!(FILTER.classify(&damaged, partial, false).is_ok());
}

#[test]
fn families_and_echo_can_be_switched_off() {
    let v6_only = Filter {
        ipv4: false,
        ..FILTER
    };
    assert_eq!(
        v6_only.classify(&ping(b""), RxChecksum::Unverified, false),
        Err(Refusal::EtherType)
    );
    assert_eq!(
        v6_only.classify(&arp_request(), RxChecksum::Unverified, false),
        Err(Refusal::EtherType)
    );
    let silent = Filter {
        icmp_echo: false,
        ..FILTER
    };
    assert_eq!(
        silent.classify(&ping(b""), RxChecksum::Unverified, false),
        Err(Refusal::IcmpOff)
    );
}

#[test]
fn fragments_are_set_aside() {
    let mut frame = udp((5000, 7), b"x");
    frame[20] = 0x20;
    fix_ipv4(&mut frame);
    assert_eq!(classify(&frame), Ok(Class::Fragment));
}

/// Every truncation and two hundred thousand random damages of sound frames: no panic.
#[test]
fn no_damage_makes_it_panic() {
    let sound = [
        udp((5000, 7), b"hello"),
        tcp(|_| {}),
        ping(b"hello"),
        arp_request(),
        ipv6(
            IpProtocol::Udp,
            &udp_bytes(PEER_V6.into(), OUR_V6.into(), (5000, 7), b"x"),
        ),
        ipv6(IpProtocol::HopByHop, &[17, 0, 1, 4, 0, 0, 0, 0, 1, 2, 3]),
    ];
    let mut seed = 88_172_645_463_325_252_u64;
    let mut refused = 0;
    for frame in &sound {
        for len in 0..frame.len() {
            let _ = classify(&frame[..len]);
        }
    }
    for round in 0..200_000 {
        let mut frame = sound[round % sound.len()].clone();
        for _ in 0..1 + round % 4 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = (seed as usize) % frame.len();
            frame[at] ^= (seed >> 32) as u8;
        }
        refused += usize::from(
            FILTER
                .classify(&frame, RxChecksum::Verified, false)
                .is_err(),
        );
    }
    assert!(refused > 0);
}
