//! The virtio driver on the card, with a pool.

use std::sync::{Arc, Mutex};

use drivers::DriverError;
use drivers::net::InterruptMode;
use drivers::virtio::net::{Options, VirtioNet};
use drivers::virtio::transport::{Interface, QueueAddresses, Transport};
use drivers::virtio::{Features, Status};
use pbufpool::Pool;
use pbufpool::test_utils::Threads;

use super::bench::{self, Bench, pool_config};
use super::card::{Card, CardTransport};
use super::memory::{GuestDma, TestHost};
use super::ports;

/// What a rig is made of.
pub(crate) struct Setup {
    /// Whether the card offers packed rings.
    pub(crate) packed: bool,
    /// Whether the card has only the registers from before virtio 1.0, in ports.
    pub(crate) legacy: bool,
    /// Whether the card uses buffers in the order in which it is given them, and completes bursts with
    /// one claim.
    pub(crate) in_order: bool,
    /// Feature bits that it offers besides the usual ones.
    pub(crate) besides: Features,
    /// Feature bits that the card does not offer.
    pub(crate) without: Features,
    /// Ring sizes.
    pub(crate) rings: Options,
    /// Largest queue sizes of the card, if they are not those of the rings.
    pub(crate) queue_max: Option<[u16; 2]>,
    /// Packets in the pool.
    pub(crate) packets: usize,
    /// Longest chain; more than one makes the pool an on-demand one.
    pub(crate) max_frags: u16,
    /// Bytes of memory.
    pub(crate) memory: usize,
    /// Memory to use instead of new one.
    pub(crate) dma: Option<&'static GuestDma>,
    /// Changes to the card before the driver sees it.
    pub(crate) card: fn(&mut Card),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            packed: crate::PACKED,
            legacy: crate::LEGACY,
            in_order: crate::IN_ORDER,
            besides: Features::empty(),
            without: Features::empty(),
            rings: Options {
                rx_ring: 16,
                tx_ring: 16,
                ..Options::default()
            },
            queue_max: None,
            packets: 64,
            max_frags: 1,
            memory: 64 << 20,
            dma: None,
            card: |_| (),
        }
    }
}

impl Setup {
    /// Starts the driver.
    pub(crate) fn start(self) -> Rig {
        self.try_start().1.expect("the driver starts")
    }

    /// Starts the driver, if it can; the card and its memory in any case.
    pub(crate) fn try_start(self) -> (Bench<Card>, Result<Rig, DriverError>) {
        let dma = self.dma.unwrap_or_else(|| GuestDma::leaked(self.memory));
        let host = TestHost::leaked(dma);
        let mut card = Card::new(dma);
        if self.packed {
            card.offered |= Features::RING_PACKED.bits();
        }
        if self.in_order {
            card.offered |= Features::IN_ORDER.bits();
        }
        if self.legacy {
            card.offered = card.offered & u64::from(u32::MAX) | Features::ANY_LAYOUT.bits();
        }
        card.offered |= self.besides.bits();
        card.offered &= !self.without.bits();
        let rings = [self.rings.rx_ring, self.rings.tx_ring];
        card.queue_max = self.queue_max.unwrap_or(rings);
        (self.card)(&mut card);
        let config = pool_config(self.packets, 2048, self.max_frags);
        let pool = Pool::new(config, dma, Threads::leaked(2)).expect("a pool");
        let bench = Bench {
            card: Arc::new(Mutex::new(card)),
            pool,
            host,
        };
        let transport: Box<dyn Transport> = if self.legacy {
            match ports::transport(&bench.card, host) {
                Ok(device) => Box::new(device),
                Err(why) => return (bench, Err(why)),
            }
        } else {
            Box::new(CardTransport(bench.card.clone()))
        };
        let nic = VirtioNet::new(transport, bench.pool.clone(), host, self.rings);
        let rig = nic.map(|nic| Rig::of(nic, &bench));
        (bench, rig)
    }
}

/// A running driver on a card.
pub(crate) type Rig = bench::Rig<VirtioNet<Box<dyn Transport>>, Card>;

impl Rig {
    /// With the default set-up.
    pub(crate) fn new() -> Self {
        Setup::default().start()
    }
}
