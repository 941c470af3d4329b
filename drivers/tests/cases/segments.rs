//! Segmentation on transmit: what is asked of the device, and what is refused.

use drivers::net::{DropReason, NetDevice};
use drivers::virtio::Features;
use pbufpool::{Gso, GsoKind, Packet, PartialChecksum, Pool, PoolConfig};

use crate::models::bench::PAIR;
use crate::models::*;

const SEGMENT: Gso = Gso {
    kind: GsoKind::TcpV4,
    mss: 1448,
    header_len: 66,
};
const CHECKSUM: PartialChecksum = PartialChecksum {
    start: 34,
    offset: 16,
};

fn cutting() -> Rig {
    Setup {
        besides: Features::HOST_TSO4 | Features::HOST_TSO6,
        ..Setup::default()
    }
    .start()
}

/// A pool of packets that hold the longest frame.
fn large(rig: &Rig) -> Pool {
    let config = PoolConfig::new("large").packets(4).buffer_size(66_048);
    let cores = pbufpool::test_utils::Threads::leaked(2);
    Pool::new(config, rig.bench.host.dma, cores).expect("a pool")
}

fn packet(rig: &Rig, pool: &Pool, len: usize) -> Packet {
    let mut packet = pool.alloc().expect("a free packet");
    packet
        .set_span(rig.nic.tx_headroom(), len)
        .expect("it fits");
    let bytes = frame(7, len);
    packet
        .data_mut()
        .expect("exclusive")
        .copy_from_slice(&bytes);
    packet.offload_mut().tx_checksum = Some(CHECKSUM);
    packet.offload_mut().gso = Some(SEGMENT);
    packet
}

#[test]
fn a_large_frame_leaves_as_one_descriptor_with_its_segment_size() {
    let mut rig = cutting();
    assert_eq!(rig.nic.capabilities().tso_v4, Some(65_549));
    assert_eq!(rig.nic.capabilities().tso_v6, Some(65_549));
    let pool = large(&rig);
    for len in [1515, 30_000, 65_549] {
        let packet = packet(&rig, &pool, len);
        assert!(rig.post_packet(packet));
        rig.nic.flush(PAIR);
        let sent = rig.card().transmit_all();
        assert_eq!(sent[0].frame(), frame(7, len));
        assert_eq!(sent[0].descriptors, [HEADER as u32 + len as u32]);
        let mut header = Header::default();
        header[..2].copy_from_slice(&[1, 1]);
        header[2] = 66;
        header[4..6].copy_from_slice(&1448_u16.to_le_bytes());
        header[6] = 34;
        header[8] = 16;
        assert_eq!(sent[0].header(), header);
        rig.nic.reclaim(PAIR);
    }
    assert_eq!(rig.nic.stats().tx_gso, 3);
    assert_eq!(pool.stats().packets_in_use, 0);
    rig.assert_traffic_flows();
}

/// Sends a changed packet; says why it was dropped.
fn dropped(rig: &mut Rig, len: usize, change: fn(&mut Packet)) -> Option<DropReason> {
    let pool = large(rig);
    let mut packet = packet(rig, &pool, len);
    change(&mut packet);
    let before = rig.nic.stats().drops;
    assert!(rig.post_packet(packet), "taken, if only to be dropped");
    rig.nic.flush(PAIR);
    rig.card().transmit_all();
    rig.nic.reclaim(PAIR);
    assert_eq!(pool.stats().packets_in_use, 0);
    let after = rig.nic.stats().drops;
    DropReason::ALL
        .iter()
        .copied()
        .find(|reason| after.get(*reason) > before.get(*reason))
}

#[test]
fn what_makes_no_sense_is_not_sent() {
    let mut rig = cutting();
    let offload = Some(DropReason::TxBadOffload);
    let length = Some(DropReason::TxBadLength);
    assert_eq!(dropped(&mut rig, 65_550, |_| ()), length);
    let no_checksum = |p: &mut Packet| p.offload_mut().tx_checksum = None;
    assert_eq!(dropped(&mut rig, 9000, no_checksum), offload);
    let no_size = |p: &mut Packet| p.offload_mut().gso = Some(Gso { mss: 0, ..SEGMENT });
    assert_eq!(dropped(&mut rig, 9000, no_size), offload);
    let udp = |p: &mut Packet| {
        p.offload_mut().gso = Some(Gso {
            kind: GsoKind::Udp,
            ..SEGMENT
        });
    };
    assert_eq!(dropped(&mut rig, 9000, udp), offload);
    let headers = |p: &mut Packet| {
        p.offload_mut().gso = Some(Gso {
            header_len: 60,
            ..SEGMENT
        });
    };
    assert_eq!(dropped(&mut rig, 60, headers), offload);
    let uncut = |p: &mut Packet| p.offload_mut().gso = None;
    assert_eq!(dropped(&mut rig, 1515, uncut), length);
    assert_eq!(dropped(&mut rig, 9000, |_| ()), None);
    rig.assert_traffic_flows();
}

#[test]
fn only_what_was_negotiated_is_cut() {
    let mut rig = Setup {
        besides: Features::HOST_TSO6,
        ..Setup::default()
    }
    .start();
    assert_eq!(rig.nic.capabilities().tso_v4, None);
    let offload = Some(DropReason::TxBadOffload);
    assert_eq!(dropped(&mut rig, 9000, |_| ()), offload);
    let six = |p: &mut Packet| {
        p.offload_mut().gso = Some(Gso {
            kind: GsoKind::TcpV6,
            ..SEGMENT
        });
    };
    assert_eq!(dropped(&mut rig, 9000, six), None);
}
