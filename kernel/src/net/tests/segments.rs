//! Bulk out of the stack over cards that cut, that only sum, and that do neither: the peer reads the
//! same bytes from each.
#![forbid(unsafe_code)]

use std::vec::Vec;

use drivers::net::{Capabilities, ChecksumSupport};
use pbufpool::{Pool, PoolConfig};

use super::nic::{Asked, with_offloads};
use super::*;
use crate::services::chargen;

/// Longest frame without an offload: the MTU behind an Ethernet header.
const MTU_FRAME: usize = 1514;
/// Buffers for frames to be cut.
const LARGE: usize = 4;
/// Bytes that the peer reads.
const BULK: usize = 200_000;

/// A card that sums.
const SUMS: Capabilities = Capabilities {
    rx_checksum: ChecksumSupport::NONE,
    tx_checksum: ChecksumSupport::ALL,
    tso_v4: None,
    tso_v6: None,
    max_burst: 64,
};
/// A card that cuts.
const CUTS: Capabilities = Capabilities {
    tso_v4: Some(65_549),
    tso_v6: Some(65_549),
    ..SUMS
};
/// A card that does neither.
const PLAIN: Capabilities = Capabilities {
    tx_checksum: ChecksumSupport::NONE,
    ..SUMS
};

/// A stack on such a card, with large buffers.
fn bench(capabilities: Capabilities) -> (Bench, Pool) {
    let config = Config::parse(b"ip=10.0.0.2/24 ip6=off services=all").unwrap();
    let (nic, pool, wire) = with_offloads(capabilities);
    let large = PoolConfig::new("large").packets(LARGE).buffer_size(65_664);
    let large = nic::make(large.magazine_capacity(0));
    let pools = Pools {
        rx: pool.clone(),
        tx: pool.clone(),
        large: Some(large.clone()),
    };
    let now = Instant::from_millis(1000);
    let stack = Stack::new(&config, nic, pools, &Roomy, [1, 2, 3], now);
    let mut bench = Bench {
        stack,
        pool,
        wire,
        now,
    };
    bench.ask(arp_request());
    (bench, large)
}

/// Has the peer read from the character source, and returns what the stack asked of its card.
fn read_bulk(bench: &mut Bench) -> Vec<Asked> {
    let mut peer = Peer::new(&bench.wire);
    let handle = peer.connect(19, 40_000);
    let mut read = Vec::new();
    for _ in 0..5000 {
        peer.poll(bench.now);
        let _ = bench.stack.turn(bench.now);
        bench.now += Duration::from_micros(500);
        let socket = peer.socket(handle);
        let mut take = || {
            socket.recv(|data| {
                read.extend_from_slice(data);
                (data.len(), data.len())
            })
        };
        while take().is_ok_and(|len| len > 0) {}
        if read.len() >= BULK {
            break;
        }
    }
    let mut expected = vec![0; read.len()];
    chargen::fill(&mut expected, 0);
    assert!(read.len() >= BULK, "only {} bytes came", read.len());
    assert!(read == expected, "the bytes differ");
    bench.wire.asked()
}

#[test]
fn bulk_is_left_to_the_card_to_cut() {
    let (mut bench, _) = bench(CUTS);
    let asked = read_bulk(&mut bench);
    let cut: Vec<_> = asked.iter().filter(|frame| frame.len > MTU_FRAME).collect();
    assert!(!cut.is_empty(), "no frame was long");
    for frame in &asked {
        let partial = frame
            .offload
            .tx_checksum
            .expect("every segment asks for it");
        assert_eq!((partial.start, partial.offset), (34, 16));
        match frame.offload.gso {
            Some(gso) => {
                assert_eq!((gso.mss, gso.header_len), (1460, 54));
            }
            None => assert!(frame.len <= MTU_FRAME, "{} bytes whole", frame.len),
        }
    }
    assert_eq!(bench.counters().tx_oversize, 0);
}

#[test]
fn a_card_that_cannot_cut_gets_frames_of_the_mtu() {
    for capabilities in [SUMS, PLAIN] {
        let sums = capabilities.tx_checksum == ChecksumSupport::ALL;
        let (mut bench, large) = bench(capabilities);
        let asked = read_bulk(&mut bench);
        assert!(
            bench.wire.longest() <= MTU_FRAME,
            "{} bytes",
            bench.wire.longest()
        );
        assert_eq!(asked.is_empty(), !sums);
        assert!(asked.iter().all(|frame| frame.offload.gso.is_none()));
        assert!(large.stats().packets_in_use <= 1);
    }
}
