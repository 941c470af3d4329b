//! The image's own stack over the driver: a datagram goes from the receive ring through the classifier,
//! smoltcp and the echo service to the transmit ring. The code is the kernel's, turned round in this
//! process; only the machine below it is another.
//!
//! `testpmd` swaps addresses and ports of what it gets (`5tswap`) and sends it back, so that a datagram
//! from our echo port comes again as one to it, and goes round for ever.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Instant as Clock;

use anyhow::{Context, Result, ensure};
use drivers::net::{Health, NetDevice};
use drivers::virtio::net::VirtioNet;
use kernel::config::Config;
use kernel::net::{self, Interrupts, Memory, Naps, Pools, Stack, System};
use pbufpool::{PacketQueue, Pool};
use smoltcp::time::Instant;
use tests::frames::arp::{Arp, REQUEST};
use tests::frames::ipv4::Ipv4;
use tests::frames::transport::{Ports, parse_udp, udp};
use tests::frames::{Mac, ethernet, ethernet_payload, ethertype, protocol};

use super::super::transport::VhostUser;
use super::super::tsc;
use super::loops::{DRAIN, FRAME, Limit, PAIR, SETTLE, Tally, Turn, WINDOW, turns};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER_MAC: Mac = [2, 0, 0, 0, 0, 1];
const LINE: &str = "ip=10.0.0.2/24 ip6=off services=echo";
/// The echo service, and who asks it.
const PORTS: Ports = Ports { src: 7, dst: 9000 };
/// Bytes of a datagram in a frame of [`FRAME`] bytes.
const PAYLOAD: usize = FRAME - 14 - 20 - 8;

/// What the stack asks of a machine.
struct Process;

impl System for Process {
    fn memory(&self) -> Memory {
        Memory {
            heap_free_bytes: 64 << 20,
            ..Memory::default()
        }
    }

    fn interrupts(&self) -> Interrupts {
        Interrupts::default()
    }

    fn naps(&self) -> Naps {
        Naps::default()
    }
}

/// A stack that echoes.
pub(super) struct Serving {
    stack: Box<Stack>,
    cycles_per_us: u64,
}

impl Serving {
    /// A stack over `nic`, with [`WINDOW`] datagrams on their way round.
    ///
    /// # Errors
    /// The pool or the ring is too small.
    pub(super) fn new(
        mut nic: VirtioNet<VhostUser>,
        pools: Pools,
        cycles_per_ms: u64,
    ) -> Result<Self> {
        sleep(SETTLE);
        let mac = nic.info().mac.0;
        // It comes back as the peer's, from which the stack learns the peer's address.
        let question = Arp {
            operation: REQUEST,
            sender_mac: PEER_MAC,
            sender: PEER,
            target_mac: [0; 6],
            target: OURS,
        };
        let question = ethernet(PEER_MAC, mac, ethertype::ARP, &question.bytes());
        send(&mut nic, &pools.tx, &[question])?;
        sleep(SETTLE);
        let datagrams: Vec<_> = (0..WINDOW).map(|n| datagram(mac, n)).collect();
        send(&mut nic, &pools.tx, &datagrams)?;
        let config = Config::parse(LINE.as_bytes()).map_err(|why| anyhow::anyhow!("{why}"))?;
        let cycles_per_us = cycles_per_ms / 1000;
        let now = time(cycles_per_us);
        let stack = Stack::new(&config, Box::new(nic), pools, &Process, [1, 2, 3], now);
        Ok(Self {
            stack,
            cycles_per_us,
        })
    }

    /// Turns the stack.
    pub(super) fn run(&mut self, limit: Limit) -> Tally {
        let (stack, per_us) = (&mut self.stack, self.cycles_per_us);
        turns(limit, || {
            let before = stack.core().counters.rx_delivered;
            let turn = stack.turn(time(per_us));
            Turn {
                frames: (stack.core().counters.rx_delivered - before) as usize,
                other: usize::from(turn == net::Turn::Worked),
            }
        })
    }

    /// Takes the datagrams out again; returns how many are missing or changed.
    ///
    /// # Errors
    /// The stack refused something, or the device broke.
    pub(super) fn end(mut self) -> Result<u64> {
        let refused = self.stack.core().counters.refused_total();
        ensure!(refused == 0, "the stack refused {refused} frames");
        let (start, mut seen) = (Clock::now(), [false; WINDOW]);
        let nic = self.stack.link_mut().nic_mut();
        let mut queue = PacketQueue::new();
        while start.elapsed() < DRAIN && seen.contains(&false) {
            nic.refill(PAIR);
            nic.rx_burst(PAIR, WINDOW, &mut queue);
            for number in queue.iter().filter_map(|packet| number_of(packet.data())) {
                seen[number] = true;
            }
            queue.clear();
            nic.reclaim(PAIR);
            nic.flush(PAIR);
        }
        ensure!(nic.health() == Health::Ok, "{:?}", nic.health());
        let drops = nic.stats().drops;
        ensure!(drops.total() == 0, "dropped: {drops:?}");
        let missing = seen.iter().filter(|seen| !**seen).count();
        Ok(missing as u64)
    }
}

/// The stack's clock.
fn time(cycles_per_us: u64) -> Instant {
    Instant::from_micros((tsc::now() / cycles_per_us) as i64)
}

/// The datagram number `n`, from our echo port to the peer.
fn datagram(mac: Mac, n: usize) -> Vec<u8> {
    let data: [u8; PAYLOAD] = std::array::from_fn(|at| (n + at) as u8);
    let segment = udp((OURS.into(), PEER.into()), PORTS, &data);
    let packet = Ipv4::new(OURS, PEER, protocol::UDP).packet(&segment);
    ethernet(PEER_MAC, mac, ethertype::IPV4, &packet)
}

/// Which of the datagrams a frame to us is; `None` if it is none of them, or was changed.
fn number_of(frame: &[u8]) -> Option<usize> {
    let packet = ethernet_payload(frame, ethertype::IPV4)?;
    let (ports, data) = parse_udp(packet.get(20..)?)?;
    let number = usize::from(*data.first()?);
    let whole = data.len() == PAYLOAD && number < WINDOW;
    let same = (0..)
        .zip(data)
        .all(|(at, byte)| *byte == (number + at) as u8);
    (whole
        && same
        && ports
            == Ports {
                src: PORTS.dst,
                dst: PORTS.src,
            })
    .then_some(number)
}

fn send(nic: &mut impl NetDevice, pool: &Pool, frames: &[Vec<u8>]) -> Result<()> {
    let mut queue = PacketQueue::new();
    for frame in frames {
        let mut packet = pool.alloc().context("packets to begin with")?;
        packet.set_span(nic.tx_headroom(), frame.len())?;
        let data = packet.data_mut().context("a fresh packet")?;
        data.copy_from_slice(frame);
        queue.push_back(packet);
    }
    let sent = nic.tx_burst(PAIR, &mut queue);
    nic.flush(PAIR);
    ensure!(
        sent == frames.len(),
        "{sent} of {} frames sent",
        frames.len()
    );
    Ok(())
}
