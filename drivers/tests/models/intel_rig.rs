//! The real driver on an Intel card, with a pool, and the moves that tests make.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use drivers::DriverError;
use drivers::intel::{Card, Family, IntelNet, Model, Options};
use drivers::net::{Armed, Health, LentCounts, NetDevice};
use pbufpool::test_utils::Threads;
use pbufpool::{Packet, PacketQueue, Pool, PoolConfig};

use super::intel::{CardBus, IntelCard};
use super::intel_tx::Sent;
use super::memory::{GuestDma, TestHost};
use super::rig::{PAIR, frame};

/// The kinds of card: family, and whether it interrupts by MSI-X.
pub(crate) const KINDS: [(Family, bool); 3] = [
    (Family::E8254x, false),
    (Family::E82574, false),
    (Family::E82574, true),
];

/// What a rig is made of.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// Family, and whether it interrupts by MSI-X.
    pub(crate) kind: (Family, bool),
    /// Rings and MTU.
    pub(crate) options: Options,
    /// Packets in the pool.
    pub(crate) packets: usize,
    /// Bytes of a buffer.
    pub(crate) buffer: usize,
    /// Longest chain; more than one makes the pool an on-demand one.
    pub(crate) max_frags: u16,
    /// Memory to use instead of new one.
    pub(crate) dma: Option<&'static GuestDma>,
    /// Changes to the card before the driver sees it.
    pub(crate) card: fn(&mut IntelCard),
}

impl Setup {
    /// A card of this kind with small rings.
    pub(crate) fn new(kind: (Family, bool)) -> Self {
        Self {
            kind,
            options: Options {
                rx_ring: 16,
                tx_ring: 16,
                ..Options::default()
            },
            packets: 64,
            buffer: 2048,
            max_frags: 1,
            dma: None,
            card: |_| (),
        }
    }

    /// Jumbo frames of up to 9,000 bytes in buffers of 2 KiB.
    pub(crate) fn jumbo(kind: (Family, bool)) -> Self {
        let mut setup = Self::new(kind);
        setup.max_frags = 5;
        setup.options.mtu = 9000;
        setup
    }

    /// Starts the driver.
    #[track_caller]
    pub(crate) fn start(self) -> Rig {
        self.try_start().1.expect("the driver starts")
    }

    /// Starts the driver, if it can; the card and its memory in any case.
    pub(crate) fn try_start(self) -> (Bench, Result<Rig, DriverError>) {
        let dma = self.dma.unwrap_or_else(|| GuestDma::leaked(64 << 20));
        let host = TestHost::leaked(dma);
        let (family, msix) = self.kind;
        let mut card = IntelCard::new(dma, family, msix);
        (self.card)(&mut card);
        let config = PoolConfig::new("test")
            .packets(self.packets)
            .buffer_size(self.buffer)
            .max_frags(self.max_frags)
            .on_demand(self.max_frags > 1)
            .monolithic(self.max_frags > 1);
        let pool = Pool::new(config, dma, Threads::leaked(2)).expect("a pool");
        let bench = Bench {
            card: Arc::new(Mutex::new(card)),
            pool,
            host,
        };
        let model = Model {
            device: 0,
            family,
            name: "test",
        };
        let bus = CardBus(bench.card.clone());
        let card = Card::new(bus, model, "here".into(), msix);
        let nic = IntelNet::new(card, bench.pool.clone(), host, self.options);
        let rig = nic.map(|nic| Rig {
            nic,
            bench: bench.clone(),
            arrived: PacketQueue::new(),
        });
        (bench, rig)
    }
}

/// What lies around the driver.
#[derive(Clone)]
pub(crate) struct Bench {
    /// The device.
    pub(crate) card: Arc<Mutex<IntelCard>>,
    /// The pool that feeds the rings.
    pub(crate) pool: Pool,
    /// The kernel.
    pub(crate) host: &'static TestHost,
}

/// A running driver on a card.
pub(crate) struct Rig {
    /// The driver.
    pub(crate) nic: IntelNet<CardBus>,
    /// All else.
    pub(crate) bench: Bench,
    /// Packets received and not looked at yet.
    pub(crate) arrived: PacketQueue,
}

impl Rig {
    /// With the default set-up.
    pub(crate) fn new(kind: (Family, bool)) -> Self {
        Setup::new(kind).start()
    }

    /// The device.
    pub(crate) fn card(&self) -> MutexGuard<'_, IntelCard> {
        self.bench
            .card
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A packet with a frame.
    pub(crate) fn packet(&self, frame: &[u8]) -> Packet {
        self.chain(&[frame])
    }

    /// A packet of several buflets, one for each part.
    pub(crate) fn chain(&self, parts: &[&[u8]]) -> Packet {
        let one = |part: &[u8]| {
            let mut packet = self.bench.pool.alloc().expect("the pool has packets");
            packet.set_span(0, part.len()).expect("it fits");
            packet.data_mut().expect("not shared").copy_from_slice(part);
            packet
        };
        let mut chain = one(parts[0]);
        for part in &parts[1..] {
            chain.append(one(part)).expect("the pool allows chains");
        }
        chain
    }

    /// Posts one packet without telling the device; returns whether the driver took it.
    pub(crate) fn post_packet(&mut self, packet: Packet) -> bool {
        let mut queue = PacketQueue::new();
        queue.push_back(packet);
        self.nic.tx_burst(PAIR, &mut queue) == 1
    }

    /// Posts one frame without telling the device; returns whether the driver took it.
    pub(crate) fn post(&mut self, frame: &[u8]) -> bool {
        let packet = self.packet(frame);
        self.post_packet(packet)
    }

    /// Sends one packet: it is on the wire when this returns.
    #[track_caller]
    pub(crate) fn send_packet(&mut self, packet: Packet) -> Sent {
        assert!(self.post_packet(packet), "there is room");
        self.nic.flush(PAIR);
        let mut sent = self.card().transmit_all();
        self.nic.reclaim(PAIR);
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    /// Sends one frame: it is on the wire when this returns.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &[u8]) -> Sent {
        let packet = self.packet(frame);
        self.send_packet(packet)
    }

    /// Takes what the card delivered; the packets stay in `arrived`.
    pub(crate) fn poll(&mut self) -> usize {
        self.nic.rx_burst(PAIR, 4096, &mut self.arrived)
    }

    /// Takes what the card delivered, gives the buffers back and posts new ones.
    pub(crate) fn receive(&mut self) -> Vec<Vec<u8>> {
        self.poll();
        let bytes = |packet: &Packet| {
            let parts = packet.buflets().map(|buflet| buflet.data());
            parts.collect::<Vec<_>>().concat()
        };
        let frames = self.arrived.iter().map(bytes).collect();
        self.arrived.clear();
        self.nic.refill(PAIR);
        self.nic.flush(PAIR);
        frames
    }

    /// Asks for an interrupt.
    pub(crate) fn arm(&mut self) -> Armed {
        self.nic.arm(PAIR)
    }

    /// Packets in the rings.
    pub(crate) fn lent(&self) -> LentCounts {
        self.nic.lent(PAIR)
    }

    /// Lets `ms` pass, with a look at the device every second.
    pub(crate) fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 1000 {
            self.bench.host.now_ms.fetch_add(1000, Relaxed);
            self.nic.reclaim(PAIR);
            self.nic.link();
        }
    }

    /// Every packet outside the pool is in a ring, and the receive ring is full.
    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        let (lent, stats) = (self.lent(), self.bench.pool.stats());
        assert_eq!(
            stats.packets_in_use,
            lent.rx + lent.tx + self.arrived.len(),
            "a leak"
        );
        let full = self.nic.info().rx_ring.into();
        assert_eq!((lent.rx, lent.tx), (full, 0), "not idle");
        assert_eq!(stats.leaked, 0);
    }

    /// Frames pass both ways, and the driver is idle again afterwards.
    #[track_caller]
    pub(crate) fn assert_traffic_flows(&mut self) {
        assert_eq!(self.nic.health(), Health::Ok);
        for n in 0..40 {
            let (out, back) = (frame(n, 60 + n as usize), frame(!n, 1514 - n as usize));
            assert_eq!(self.send(&out).frame(), out);
            assert!(self.card().deliver(&back), "no receive buffer");
            assert_eq!(self.receive(), [back]);
        }
        self.assert_idle();
    }
}
