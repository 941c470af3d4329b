//! What is counted. Each case prepares a rig, warms it up, and counts turns that are all alike.
//!
//! Every case checks that the work was done: a count of packets that were dropped would be a good
//! one.
#![forbid(unsafe_code)]

use core::hint::black_box;

use drivers::net::QueueId;
use kernel::net::test_frames as frames;
use pbufpool::PacketQueue;

use super::Budget;
use super::rig::{self, OFFLOADS, PLAIN, ROOMY, Rig, TIGHT, count};
use super::tcp::Clients;
use crate::{console, mem};

/// Packets delivered in one turn.
const BURST: usize = 32;
/// Turns before those that count.
const WARM: usize = 16;
/// Turns that count.
const TURNS: usize = 32;
/// Payload of a full TCP segment.
const SEGMENT: usize = 1460;
/// Payload of small datagrams.
const SMALL: [u8; 64] = [0x55; 64];

/// Ports of the services.
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;
const HTTP: u16 = 80;

/// Taking a packet from a pool and giving it back.
pub(super) fn pool(name: &'static str) -> Budget {
    let (_, nic, _card) = rig::start(PLAIN);
    let pairs = 1000;
    let run = || {
        for _ in 0..pairs {
            drop(black_box(nic.pools.tx.alloc()));
        }
    };
    run();
    Budget::new(name, "packet", count(run), pairs)
}

/// The driver alone: a burst is received, dropped, and its ring filled again.
pub(super) fn receive(name: &'static str) -> Budget {
    let (_, mut nic, mut card) = rig::start(OFFLOADS);
    let frame = frames::udp((5000, DISCARD), &SMALL);
    let mut received = PacketQueue::new();
    let mut sum = 0;
    for turn in 0..WARM + TURNS {
        for _ in 0..BURST {
            card.receive(&frame, None);
        }
        let device = &mut nic.device;
        let cost = count(|| {
            let taken = device.rx_burst(QueueId(0), 64, &mut received);
            assert_eq!(taken, BURST);
            received.clear();
            device.refill(QueueId(0));
            device.flush(QueueId(0));
        });
        sum += if turn < WARM { 0 } else { cost };
    }
    Budget::new(name, "packet", sum, TURNS * BURST)
}

/// A turn that finds nothing to do, and the way to sleep behind it: what each time costs that a core is
/// woken, besides its work.
pub(super) fn idle(name: &'static str) -> Budget {
    let mut rig = Rig::new(OFFLOADS, &ROOMY);
    let sum = (0..TURNS).map(|_| rig.turn() + rig.rest()).sum();
    Budget::new(name, "turn", sum, TURNS)
}

/// Datagrams of 64 bytes to `port`, `answers` of which are answered.
fn datagrams(rig: &mut Rig, port: u16, answers: usize) -> u64 {
    let frame = frames::udp((5000, port), &SMALL);
    let mut sum = 0;
    for turn in 0..WARM + TURNS {
        for _ in 0..BURST {
            rig.receive(&frame, None);
        }
        let cost = rig.turn();
        assert_eq!(rig.sent().len(), answers, "answers to {port}/UDP");
        sum += if turn < WARM { 0 } else { cost };
    }
    sum
}

/// UDP echo of 64 bytes, in bursts.
pub(super) fn udp_echo(name: &'static str) -> Budget {
    let mut rig = Rig::new(OFFLOADS, &ROOMY);
    let sum = datagrams(&mut rig, ECHO, BURST);
    Budget::new(name, "datagram", sum, TURNS * BURST)
}

/// UDP datagrams of 64 bytes, received and discarded.
pub(super) fn udp_discard(name: &'static str) -> Budget {
    let mut rig = Rig::new(OFFLOADS, &ROOMY);
    let sum = datagrams(&mut rig, DISCARD, 0);
    Budget::new(name, "datagram", sum, TURNS * BURST)
}

/// Echoes of one byte: in each turn one on each of `at_once` connections, and those are others in
/// the next turn if there are `open` more.
fn echoes(rig: &mut Rig, clients: &mut Clients, at_once: usize, open: usize) -> u64 {
    let (mut sum, mut id) = (0, 0);
    for turn in 0..WARM + TURNS {
        let first = id;
        for _ in 0..at_once {
            clients.send(rig, id, b"x", None);
            id = (id + 1) % open;
        }
        let cost = rig.turn();
        clients.take(rig.sent());
        for n in 0..at_once {
            assert_eq!(clients.came((first + n) % open), 1, "an echo");
        }
        sum += if turn < WARM { 0 } else { cost };
    }
    sum
}

/// TCP echo of one byte over 16 connections.
pub(super) fn tcp_echo(name: &'static str) -> Budget {
    let mut rig = Rig::new(OFFLOADS, &ROOMY);
    let mut clients = Clients::default();
    clients.open(&mut rig, ECHO, 16);
    let sum = echoes(&mut rig, &mut clients, 16, 16);
    Budget::new(name, "echo", sum, TURNS * 16)
}

/// TCP bulk into the stack: full segments, with checksums in software; or two merged frames, as a
/// host's own TCP makes them. Counted by segment, or by KiB.
pub(super) fn tcp_in(name: &'static str, merged: bool) -> Budget {
    let mut rig = Rig::new(if merged { OFFLOADS } else { PLAIN }, &ROOMY);
    let mut clients = Clients::default();
    clients.open(&mut rig, DISCARD, 1);
    let segments = 40; // what fits the window
    let frame = if merged { 20 * SEGMENT } else { SEGMENT };
    let data = alloc::vec![0x55; segments * SEGMENT];
    let mut sum = 0;
    for turn in 0..WARM + TURNS {
        for data in data.chunks(frame) {
            clients.send(&mut rig, 0, data, merged.then_some(SEGMENT as u16));
        }
        let cost = rig.turn();
        assert!(clients.take(rig.sent()) > 0, "an acknowledgement");
        sum += if turn < WARM { 0 } else { cost };
    }
    if merged {
        Budget::new(name, "KiB", sum, TURNS * data.len() / 1024)
    } else {
        Budget::new(name, "segment", sum, TURNS * segments)
    }
}

/// TCP bulk out of the stack, with checksums in software and every second segment acknowledged; or
/// in frames that the card cuts, each acknowledged. Counted by segment, or by KiB.
pub(super) fn tcp_out(name: &'static str, cut: bool) -> Budget {
    let mut rig = Rig::new(if cut { OFFLOADS } else { PLAIN }, &ROOMY);
    let mut clients = Clients::default();
    clients.open(&mut rig, CHARGEN, 1);
    // The first window came with the handshake.
    clients.acknowledge(&mut rig, 0);
    clients.came(0);
    rig.turn();
    let (mut sum, mut bytes) = (0, 0);
    for turn in 0..4 * WARM + TURNS {
        for sent in rig.sent() {
            clients.take(alloc::vec![sent]);
            if clients.unanswered(0) >= if cut { 1 } else { 2 } {
                clients.acknowledge(&mut rig, 0);
            }
        }
        let (came, cost) = (clients.came(0), rig.turn());
        assert!(came > 0, "it never stops sending");
        if turn >= 4 * WARM {
            (sum, bytes) = (sum + cost, bytes + came);
        }
    }
    if cut {
        Budget::new(name, "KiB", sum, bytes / 1024)
    } else {
        Budget::new(name, "segment", sum, bytes / SEGMENT)
    }
}

/// Connections to the HTTP service, 16 at once: each asks for the status page and ends.
pub(super) fn http(name: &'static str) -> Budget {
    const AT_ONCE: usize = 16;
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";
    // More than are kept in mind in TIME-WAIT, so that each makes the stack forget another.
    let (warm, rounds) = (70, 16);
    let mut rig = Rig::new(OFFLOADS, &ROOMY);
    let mut clients = Clients::default();
    let mut sum = 0;
    for round in 0..warm + rounds {
        let first = round * AT_ONCE;
        let all = first..first + AT_ONCE;
        clients.begin(&mut rig, HTTP, AT_ONCE);
        let mut cost = rig.turn();
        clients.take(rig.sent());
        for id in all.clone() {
            clients.acknowledge(&mut rig, id);
            clients.send(&mut rig, id, REQUEST, None);
        }
        cost += rig.turn();
        clients.take(rig.sent());
        for id in all {
            assert!(clients.came(id) > 500, "a page");
            assert!(clients.is_finished(id), "the server closes");
            clients.acknowledge(&mut rig, id);
            clients.finish(&mut rig, id);
        }
        cost += rig.turn();
        clients.take(rig.sent());
        sum += if round < warm { 0 } else { cost };
    }
    Budget::new(name, "request", sum, rounds * AT_ONCE)
}

/// The same packets with more and more connections open.
pub(super) fn flat(tell: impl Fn(&Budget)) {
    const NAMES: [(usize, [&str; 3]); 4] = [
        (
            10,
            ["udp-echo-of-10", "tcp-echo-one-of-10", "tcp-echo-all-of-10"],
        ),
        (
            100,
            [
                "udp-echo-of-100",
                "tcp-echo-one-of-100",
                "tcp-echo-all-of-100",
            ],
        ),
        (
            1_000,
            [
                "udp-echo-of-1000",
                "tcp-echo-one-of-1000",
                "tcp-echo-all-of-1000",
            ],
        ),
        (
            10_000,
            [
                "udp-echo-of-10000",
                "tcp-echo-one-of-10000",
                "tcp-echo-all-of-10000",
            ],
        ),
    ];
    let mut rig = Rig::new(OFFLOADS, &TIGHT);
    let mut clients = Clients::default();
    let before = mem::stats().heap_used;
    for (open, [idle, one, all]) in NAMES {
        clients.open(&mut rig, ECHO, open);
        let taken = (mem::stats().heap_used - before) / 1024;
        console::line(format_args!("memory: {taken} KiB for {open} connections"));
        let sum = datagrams(&mut rig, ECHO, BURST);
        tell(&Budget::new(idle, "datagram", sum, TURNS * BURST));
        let sum = echoes(&mut rig, &mut clients, 1, 1);
        tell(&Budget::new(one, "echo", sum, TURNS));
        // Ten at once whatever their number, so that a turn's own cost is shared by as many.
        let sum = echoes(&mut rig, &mut clients, 10, open);
        tell(&Budget::new(all, "echo", sum, TURNS * 10));
    }
}
