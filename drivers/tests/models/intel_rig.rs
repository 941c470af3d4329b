//! The driver for Intel cards on one, with a pool.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use drivers::DriverError;
use drivers::intel::{Card, Family, IntelNet, Model, Options};
use drivers::net::NetDevice;
use pbufpool::Pool;
use pbufpool::test_utils::Threads;

use super::bench::{self, Bench, PAIR, pool_config};
use super::intel::{CardBus, IntelCard};
use super::memory::{GuestDma, TestHost};

/// The kinds of card: family, and whether it interrupts by MSI-X.
pub(crate) const KINDS: [(Family, bool); 7] = [
    (Family::E8254x, false),
    (Family::E82574, false),
    (Family::E82574, true),
    (Family::E82576, false),
    (Family::E82576, true),
    (Family::I350, true),
    (Family::I210, true),
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
    /// MSI-X vectors, if other than one for each pair that the card has.
    pub(crate) vectors: Option<u16>,
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
            vectors: None,
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
    pub(crate) fn try_start(self) -> (Bench<IntelCard>, Result<Rig, DriverError>) {
        let dma = self.dma.unwrap_or_else(|| GuestDma::leaked(64 << 20));
        let host = TestHost::leaked(dma);
        let (family, msix) = self.kind;
        let mut card = IntelCard::new(dma, family, msix);
        card.vectors = self.vectors.unwrap_or(card.vectors);
        let vectors = card.vectors;
        (self.card)(&mut card);
        let config = pool_config(self.packets, self.buffer, self.max_frags);
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
        let card = Card::new(bus, model, "here".into(), vectors);
        let nic = IntelNet::new(card, bench.pool.clone(), host, self.options);
        let rig = nic.map(|nic| Rig::of(nic, &bench));
        (bench, rig)
    }
}

/// A running driver on a card.
pub(crate) type Rig = bench::Rig<IntelNet<CardBus>, IntelCard>;

impl Rig {
    /// With the default set-up.
    pub(crate) fn with(kind: (Family, bool)) -> Self {
        Setup::new(kind).start()
    }

    /// Lets `ms` pass, with a look at the device every second.
    pub(crate) fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 1000 {
            self.bench.host.now_ms.fetch_add(1000, Relaxed);
            self.nic.reclaim(PAIR);
            self.nic.link();
        }
    }
}
