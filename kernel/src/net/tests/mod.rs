//! A whole stack on a host, over a NIC made of two queues; the peer is a second smoltcp, or
//! frames made by hand.

mod card;
mod counters_page;
mod ended;
mod lease;
pub(crate) mod nic;
mod peer;
mod segments;
mod timing;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use pbufpool::{Pool, PoolConfig};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::*;

use super::test_frames::*;
use super::*;
use crate::config::Config;
use nic::{PACKETS, Wire, cabled};
use peer::Peer;

struct Roomy;

impl System for Roomy {
    fn interrupts(&self) -> Interrupts {
        Interrupts::default()
    }

    fn naps(&self) -> Naps {
        Naps::default()
    }

    fn memory(&self) -> Memory {
        Memory {
            heap_free_bytes: 64 << 20,
            ..Memory::default()
        }
    }
}

/// A stack with its wire.
struct Bench {
    stack: Box<Stack>,
    pool: Pool,
    wire: Wire,
    now: Instant,
}

impl Bench {
    fn new(line: &str) -> Self {
        let config = Config::parse(line.as_bytes()).unwrap();
        let (nic, pool, wire) = cabled();
        let now = Instant::from_millis(1000);
        let stack = Stack::new(
            &config,
            nic,
            Pools::shared(pool.clone()),
            &Roomy,
            [1, 2, 3],
            now,
        );
        Self {
            stack,
            pool,
            wire,
            now,
        }
    }

    /// With every service and a fixed address, and the peer's hardware address known.
    fn serving() -> Self {
        let mut bench = Self::new("ip=10.0.0.2/24 ip6=auto services=all");
        bench.wire.send(arp_request());
        bench.settle();
        while bench.wire.receive().is_some() {}
        bench
    }

    /// Turns until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if self.stack.turn(self.now) == Turn::Idle {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Sends a frame and returns the answers.
    fn ask(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.wire.send(frame);
        self.settle();
        std::iter::from_fn(|| self.wire.receive()).collect()
    }

    fn counters(&self) -> &Counters {
        &self.stack.core().counters
    }

    /// Every packet is back in the pool, but for the one that waits for the next transmission.
    fn assert_at_rest(&self) {
        let in_use = self.pool.stats().packets_in_use;
        assert_eq!(in_use, self.stack.core().link.in_hand());
        assert!(in_use <= 1, "{in_use} packets are out");
        assert_eq!(
            (self.counters().copies_rx, self.counters().copies_tx),
            (0, 0)
        );
    }
}

/// The payload of a UDP answer, with the ports it went between.
fn udp_answer(frame: &[u8]) -> (u16, u16, Vec<u8>) {
    let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    let udp = UdpPacket::new_checked(ip.payload()).unwrap();
    assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    (udp.src_port(), udp.dst_port(), udp.payload().to_vec())
}

#[test]
fn arp_and_ping_are_answered() {
    let mut bench = Bench::new("ip=10.0.0.2/24 ip6=off");
    let answers = bench.ask(arp_request());
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][12..14], [8, 6]);
    let answers = bench.ask(ping(b"payload"));
    let ip = Ipv4Packet::new_checked(&answers[0][14..]).unwrap();
    assert!(ip.payload().ends_with(b"payload"));
    bench.assert_at_rest();
}

/// The second datagram of a sender goes past smoltcp's sockets, and nobody can tell.
#[test]
fn a_reply_is_the_same_whichever_way_it_took() {
    let data: Vec<u8> = (0..1472_u32).map(|n| n as u8).collect();
    for len in [0, 1, 64, 1471, 1472] {
        let mut bench = Bench::serving();
        let mut ask = || bench.ask(udp((5000, 7), &data[..len]));
        let [by_smoltcp, past_it, again] = [ask(), ask(), ask()];
        assert_eq!(udp_answer(&by_smoltcp[0]), (7, 5000, data[..len].to_vec()));
        assert_eq!(by_smoltcp, past_it, "{len} bytes");
        assert_eq!(past_it, again, "{len} bytes");
        bench.assert_at_rest();
    }
}

/// What smoltcp does not deliver is not delivered by the short way either.
#[test]
fn a_sender_that_smoltcp_refuses_never_becomes_known() {
    let mut bench = Bench::serving();
    let mut frame = udp((5000, 9), b"hello");
    frame[26..30].copy_from_slice(&[10, 0, 0, 255]); // the network's broadcast address
    fix_ipv4(&mut frame);
    frame[40..42].copy_from_slice(&[0, 0]); // no checksum
    for _ in 0..3 {
        assert!(bench.ask(frame.clone()).is_empty());
    }
    assert_eq!(bench.stack.core().services.udp_discarded.get(), 0);
    bench.ask(udp((5000, 9), b"hello"));
    bench.ask(udp((5000, 9), b"hello"));
    assert_eq!(bench.stack.core().services.udp_discarded.get(), 2);
}

/// An ARP message may say that somebody has moved: the next reply is addressed by smoltcp.
#[test]
fn a_known_sender_that_moves_is_found_again() {
    let mut bench = Bench::serving();
    for _ in 0..2 {
        assert_eq!(bench.ask(udp((5000, 7), b"hello"))[0][..6], PEER_MAC.0);
    }
    let mut moved = arp_request();
    let address = [2, 0, 0, 0, 0, 9];
    moved[6..12].copy_from_slice(&address);
    moved[22..28].copy_from_slice(&address);
    bench.ask(moved);
    for _ in 0..2 {
        assert_eq!(bench.ask(udp((5000, 7), b"hello"))[0][..6], address);
    }
}

#[test]
fn a_station_that_hears_nothing_makes_itself_heard() {
    let mut bench = Bench::new("ip=10.0.0.2/24 ip6=off");
    let after = |bench: &mut Bench, seconds, heard: bool| {
        let mut sent = Vec::new();
        for _ in 0..seconds {
            bench.now += Duration::from_secs(1);
            if heard {
                bench.wire.send(vec![0; 60]);
            }
            bench.settle();
            sent.extend(std::iter::from_fn(|| bench.wire.receive()));
        }
        sent
    };
    assert_eq!(after(&mut bench, 9, false).len(), 0);
    let sent = after(&mut bench, 15, false);
    assert_eq!(sent.len(), 2, "one in ten seconds");
    for frame in sent {
        let arp = ArpPacket::new_checked(&frame[14..]).unwrap();
        let ours = OUR_V4.octets();
        assert_eq!(
            (arp.source_protocol_addr(), arp.target_protocol_addr()),
            (&ours[..], &ours[..])
        );
    }
    assert_eq!(after(&mut bench, 30, true).len(), 0);
}

#[test]
fn udp_comes_back_and_discard_counts() {
    let mut bench = Bench::serving();
    let answers = bench.ask(udp((5000, 7), b"hello"));
    assert_eq!(udp_answer(&answers[0]), (7, 5000, b"hello".to_vec()));
    for _ in 0..10 {
        assert!(bench.ask(udp((5000, 9), b"hello")).is_empty());
    }
    let (_, _, line) = udp_answer(&bench.ask(udp((5000, 11), b"?"))[0]);
    let line = std::string::String::from_utf8(line).unwrap();
    assert!(line.starts_with("udp_rx=10 nic_rx="), "{line}");
    assert!(line.contains(" copies_rx=0 copies_tx=0 "), "{line}");
    bench.assert_at_rest();
}

#[test]
fn chargen_sends_what_was_asked_for_and_no_more() {
    let mut bench = Bench::serving();
    let answers = bench.ask(udp((5000, 19), b"300 1000"));
    assert_eq!(answers.len(), 300);
    assert!(
        answers
            .iter()
            .all(|frame| udp_answer(frame).2.len() == 1000)
    );
    assert!(bench.ask(udp((5000, 19), b"1000000 1000")).is_empty());
    bench.assert_at_rest();
}

#[test]
fn services_answer_neither_groups_nor_each_other() {
    let mut bench = Bench::serving();
    for port in [7, 9, 11, 19] {
        assert!(bench.ask(udp((port, 7), b"loop")).is_empty());
    }
    assert_eq!(bench.counters().refused(Refusal::UdpLoop), 4);
    for group in [[10, 0, 0, 255], [255, 255, 255, 255], [224, 0, 0, 1]] {
        let to = Ipv4Address::from(group);
        let payload = udp_bytes(PEER_V4.into(), to.into(), (5000, 7), b"all");
        let mut frame = ipv4(IpProtocol::Udp, &payload);
        frame[..6].copy_from_slice(&[0xff; 6]);
        frame[30..34].copy_from_slice(&group);
        fix_ipv4(&mut frame);
        assert!(bench.ask(frame).is_empty(), "{to}");
    }
    assert_eq!(bench.counters().refused(Refusal::UdpGroup), 3);
    bench.assert_at_rest();
}

#[test]
fn a_sender_that_does_not_exist_silences_nobody() {
    let mut bench = Bench::serving();
    let nobody = Ipv4Address::new(10, 0, 0, 99);
    for _ in 0..5 {
        let mut frame = ipv4(
            IpProtocol::Udp,
            &udp_bytes(nobody.into(), OUR_V4.into(), (1, 7), b"x"),
        );
        frame[26..30].copy_from_slice(&nobody.octets());
        fix_ipv4(&mut frame);
        bench.ask(frame);
        let answers = bench.ask(udp((5000, 7), b"still there"));
        assert_eq!(udp_answer(&answers[0]).2, b"still there");
    }
    bench.assert_at_rest();
}

#[test]
fn the_first_ping_of_an_unknown_host_is_answered_once_its_address_is_known() {
    let mut bench = Bench::new("ip=10.0.0.2/24 ip6=off");
    let asked = bench.ask(ping(b"first"));
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (&asked[0][12..14], asked[0][21]),
        (&[8, 6][..], 1),
        "an ARP request"
    );
    let answers = bench.ask(arp_request());
    assert_eq!(answers.len(), 2, "the ARP reply, and the echo reply");
    assert!(answers[1].ends_with(b"first"));
    bench.assert_at_rest();
}

#[test]
fn a_host_is_asked_for_at_once_though_another_stays_silent() {
    let mut bench = Bench::new("ip=10.0.0.2/24 ip6=off");
    for host in 90..95 {
        let mut frame = ping(b"who?");
        frame[29] = host;
        fix_ipv4(&mut frame);
        let asked = bench.ask(frame);
        assert_eq!(asked.len(), 1, "host {host}");
        assert_eq!(
            (asked[0][21], asked[0][41]),
            (1, host),
            "an ARP request for {host}"
        );
    }
    assert!(bench.ask(ping(b"me"))[0].ends_with(&PEER_V4.octets()));
    assert!(
        bench.ask(ping(b"me again")).is_empty(),
        "once a second is enough"
    );
    assert!(bench.ask(arp_request()).len() >= 2);
}

#[test]
fn pings_of_hosts_that_stay_unknown_are_given_up() {
    let mut bench = Bench::new("ip=10.0.0.2/24 ip6=off");
    for _ in 0..100 {
        bench.ask(ping(b"who?"));
    }
    assert!(bench.pool.stats().packets_in_use <= 9);
    bench.now += Duration::from_secs(2);
    bench.settle();
    bench.assert_at_rest();
}

#[test]
fn a_connection_from_an_unknown_host_goes_on_once_its_address_is_known() {
    let mut bench = Bench::new("ip=10.0.0.2/24 ip6=off services=echo");
    assert_eq!(bench.ask(tcp(|_| {}))[0][12..14], [8, 6], "an ARP request");
    let answers = bench.ask(arp_request());
    let ip = Ipv4Packet::new_checked(&answers[1][14..]).unwrap();
    let segment = TcpPacket::new_checked(ip.payload()).unwrap();
    assert!(segment.syn() && segment.ack());
}

#[test]
fn large_pings_and_datagrams_are_put_together_and_cut_up() {
    let mut bench = Bench::serving();
    let data: Vec<u8> = (0..4000).map(|n| n as u8).collect();
    let whole = udp_bytes(PEER_V4.into(), OUR_V4.into(), (5000, 7), &data);
    let mut answers = Vec::new();
    for (from, to) in [(0, 1480), (1480, 2960), (2960, whole.len())] {
        let mut frame = ipv4(IpProtocol::Udp, &whole[from..to]);
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        packet.set_more_frags(to < whole.len());
        packet.set_frag_offset(from as u16);
        packet.fill_checksum();
        answers.extend(bench.ask(frame));
    }
    assert_eq!(answers.len(), 3);
    let back: Vec<u8> = answers
        .iter()
        .flat_map(|frame| {
            Ipv4Packet::new_checked(&frame[14..])
                .unwrap()
                .payload()
                .to_vec()
        })
        .collect();
    assert_eq!(back[8..], data);
    bench.assert_at_rest();
}

#[test]
fn a_jumbo_frame_is_answered_by_one() {
    let config = Config::parse(b"ip=10.0.0.2/24 ip6=off services=all").unwrap();
    let (nic, rx, wire) = nic::with_mtu(9000);
    let sent = PoolConfig::new("sent").packets(64).buffer_size(9088);
    let pools = Pools {
        rx: rx.clone(),
        tx: nic::make(sent.magazine_capacity(8)),
        large: None,
    };
    let now = Instant::from_millis(1000);
    let stack = Stack::new(&config, nic, pools, &Roomy, [1, 2, 3], now);
    let mut bench = Bench {
        stack,
        pool: rx,
        wire,
        now,
    };
    bench.ask(arp_request());
    // Lengths around each number of buffers, the longest last.
    for len in [18, 1994, 1995, 4042, 4043, 8138, 8139, 8972] {
        let data: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let answers = bench.ask(udp((5000, 7), &data));
        assert_eq!(answers.len(), 1, "{len} bytes");
        assert_eq!(udp_answer(&answers[0]), (7, 5000, data));
    }
    assert_eq!(bench.ask(udp((5000, 7), &[0; 8973])).len(), 0);
    assert_eq!(bench.counters().refused(Refusal::Oversize), 1);
    assert_eq!(bench.counters().fragments, 0);
    assert_eq!(bench.pool.stats().packets_in_use, 0);
}

#[test]
fn a_full_transmit_ring_loses_nothing_and_stops_nothing() {
    let mut bench = Bench::serving();
    bench.wire.set_tx_room(2);
    for n in 0..10 {
        bench.wire.send(udp((5000, 7), &[n]));
    }
    for _ in 0..20 {
        let _ = bench.stack.turn(bench.now);
    }
    assert!(bench.counters().tx_stalls > 0);
    bench.wire.set_tx_room(usize::MAX);
    bench.settle();
    let answers: Vec<u8> = std::iter::from_fn(|| bench.wire.receive())
        .map(|frame| udp_answer(&frame).2[0])
        .collect();
    assert_eq!(answers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    bench.assert_at_rest();
}

#[test]
fn an_empty_pool_drops_nothing_that_is_in_hand() {
    let mut bench = Bench::serving();
    let mut hoard = Vec::new();
    while let Ok(packet) = bench.pool.alloc() {
        hoard.push(packet);
    }
    assert!(hoard.len() >= PACKETS);
    bench.wire.send(udp((5000, 7), b"wait"));
    for _ in 0..5 {
        let _ = bench.stack.turn(bench.now);
    }
    drop(hoard);
    bench.settle();
    assert_eq!(udp_answer(&bench.wire.receive().unwrap()).2, b"wait");
    bench.assert_at_rest();
}

#[test]
fn a_syn_to_a_port_without_service_is_reset() {
    let mut bench = Bench::serving();
    let answers = bench.ask(tcp(|segment| segment.dst_port = 4444));
    let ip = Ipv4Packet::new_checked(&answers[0][14..]).unwrap();
    assert!(TcpPacket::new_checked(ip.payload()).unwrap().rst());
    bench.assert_at_rest();
}

#[test]
fn handshakes_that_never_finish_give_way() {
    let mut bench = Bench::new("ip=10.0.0.2/24 services=all tcp.max=20 tcp.backlog=8");
    bench.ask(arp_request());
    for port in 1000..1200 {
        bench.ask(tcp(|segment| segment.src_port = port));
    }
    assert_eq!(bench.stack.core().tcp_open, 8);
    assert_eq!(bench.counters().tcp_evicted, 192);
    // Those that are left give up by themselves.
    for _ in 0..200 {
        bench.now += Duration::from_millis(100);
        bench.settle();
    }
    assert_eq!(bench.stack.core().tcp_open, 0);
    bench.assert_at_rest();
}

#[test]
fn many_connections_echo_at_once_and_end() {
    let mut bench = Bench::serving();
    let mut peer = Peer::new(&bench.wire);
    let handles: Vec<_> = (0..200).map(|n| peer.connect(7, 20_000 + n)).collect();
    let mut echoed = vec![Vec::new(); handles.len()];
    for round in 0..400 {
        for (n, &handle) in handles.iter().enumerate() {
            let socket = peer.socket(handle);
            if round == 50 {
                assert!(socket.may_send(), "connection {n} is open after 50 rounds");
                socket.send_slice(&[n as u8; 100]).unwrap();
            }
            if socket.can_recv() {
                socket
                    .recv(|data| (data.len(), echoed[n].extend_from_slice(data)))
                    .unwrap();
            }
            if round == 200 {
                assert_eq!(echoed[n], [n as u8; 100]);
                socket.close();
            }
        }
        bench.now += Duration::from_millis(5);
        peer.poll(bench.now);
        let _ = bench.stack.turn(bench.now);
    }
    assert_eq!(bench.counters().tcp_accepted, 200);
    bench.now += Duration::from_secs(20);
    bench.settle();
    assert_eq!(bench.stack.core().tcp_open, 0);
    bench.assert_at_rest();
}

#[test]
fn http_keeps_a_connection_and_answers_in_order() {
    let mut bench = Bench::serving();
    let mut peer = Peer::new(&bench.wire);
    let handle = peer.connect(80, 20_000);
    let mut text = Vec::new();
    for round in 0..200 {
        let socket = peer.socket(handle);
        if round == 10 {
            let requests = "GET /metrics HTTP/1.1\r\nHost: m\r\n\r\nGET /no HTTP/1.1\r\nHost: m\r\n\r\n\
                            HEAD / HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n";
            socket.send_slice(requests.as_bytes()).unwrap();
        }
        if socket.can_recv() {
            socket
                .recv(|data| (data.len(), text.extend_from_slice(data)))
                .unwrap();
        }
        bench.now += Duration::from_millis(5);
        peer.poll(bench.now);
        let _ = bench.stack.turn(bench.now);
    }
    let text = std::string::String::from_utf8(text).unwrap();
    let heads: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("HTTP/1.1 "))
        .collect();
    assert_eq!(
        heads,
        [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 404 Not Found",
            "HTTP/1.1 200 OK"
        ]
    );
    assert!(text.contains("# TYPE millrace_pool_outstanding gauge"));
    assert!(
        !peer.socket(handle).may_recv(),
        "closed after Connection: close"
    );
}
