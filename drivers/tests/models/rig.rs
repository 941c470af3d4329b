//! The real driver on the card, with a pool, and the moves that tests make.

use std::sync::{Arc, Mutex, MutexGuard};

use drivers::DriverError;
use drivers::net::{Armed, Health, InterruptMode, LentCounts, NetDevice, QueueId};
use drivers::virtio::net::{Options, VirtioNet};
use drivers::virtio::transport::{Interface, QueueAddresses, Transport};
use drivers::virtio::{Features, Status};
use pbufpool::test_utils::Threads;
use pbufpool::{Packet, PacketQueue, Pool, PoolConfig};

use super::card::{Card, CardTransport, Posted};
use super::memory::{GuestDma, TestHost};
use super::ports;

/// The one queue pair.
pub(crate) const PAIR: QueueId = QueueId(0);

/// What a rig is made of.
pub(crate) struct Setup {
    /// Whether the card offers packed rings.
    pub(crate) packed: bool,
    /// Whether the card has only the registers from before virtio 1.0, in ports.
    pub(crate) legacy: bool,
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
    pub(crate) fn try_start(self) -> (Bench, Result<Rig, DriverError>) {
        let dma = self.dma.unwrap_or_else(|| GuestDma::leaked(self.memory));
        let host = TestHost::leaked(dma);
        let mut card = Card::new(dma);
        if self.packed {
            card.offered |= Features::RING_PACKED.bits();
        }
        if self.legacy {
            card.offered = card.offered & u64::from(u32::MAX) | Features::ANY_LAYOUT.bits();
        }
        card.offered |= self.besides.bits();
        card.offered &= !self.without.bits();
        let rings = [self.rings.rx_ring, self.rings.tx_ring];
        card.queue_max = self.queue_max.unwrap_or(rings);
        (self.card)(&mut card);
        let config = PoolConfig::new("test")
            .packets(self.packets)
            .buffer_size(2048);
        let config = config
            .max_frags(self.max_frags)
            .on_demand(self.max_frags > 1)
            .monolithic(self.max_frags > 1);
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
        let transport = Wired(transport);
        let nic = VirtioNet::new(transport, bench.pool.clone(), host, self.rings);
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
    pub(crate) card: Arc<Mutex<Card>>,
    /// The pool that feeds the rings.
    pub(crate) pool: Pool,
    /// The kernel.
    pub(crate) host: &'static TestHost,
}

/// One way or another to the card.
pub(crate) struct Wired(Box<dyn Transport>);

impl Transport for Wired {
    fn location(&self) -> String {
        self.0.location()
    }

    fn interface(&self) -> Interface {
        self.0.interface()
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn set_status(&mut self, status: Status) {
        self.0.set_status(status);
    }

    fn device_features(&mut self) -> u64 {
        self.0.device_features()
    }

    fn set_driver_features(&mut self, features: u64) {
        self.0.set_driver_features(features);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.0.queue_max(queue)
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        self.0.enable_queue(queue, size, addresses)
    }

    fn notify(&self, queue: u16) {
        self.0.notify(queue);
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        self.0.read_config(offset, bytes);
    }

    fn interrupts(&self) -> InterruptMode {
        self.0.interrupts()
    }

    fn acknowledge(&mut self) -> bool {
        self.0.acknowledge()
    }
}

/// A running driver on a card.
pub(crate) struct Rig {
    /// The driver.
    pub(crate) nic: VirtioNet<Wired>,
    /// All else.
    pub(crate) bench: Bench,
    /// Packets received and not looked at yet.
    pub(crate) arrived: PacketQueue,
}

impl Rig {
    /// With the default set-up.
    pub(crate) fn new() -> Self {
        Setup::default().start()
    }

    /// The device.
    pub(crate) fn card(&self) -> MutexGuard<'_, Card> {
        self.bench.card.lock().expect("no panic inside")
    }

    /// A packet with a frame at the driver's headroom.
    pub(crate) fn packet(&self, frame: &[u8]) -> Packet {
        let mut packet = self.bench.pool.alloc().expect("the pool has packets");
        packet
            .set_span(self.nic.tx_headroom(), frame.len())
            .expect("it fits");
        packet
            .data_mut()
            .expect("not shared")
            .copy_from_slice(frame);
        packet
    }

    /// A packet of several buflets, one for each part; the first has the driver's headroom.
    pub(crate) fn chain(&self, parts: &[&[u8]]) -> Packet {
        let mut chain = self.packet(parts[0]);
        for part in &parts[1..] {
            let mut next = self.bench.pool.alloc().expect("the pool has packets");
            next.set_span(0, part.len()).expect("it fits");
            next.data_mut().expect("not shared").copy_from_slice(part);
            chain.append(next).expect("the pool allows chains");
        }
        chain
    }

    /// Posts one frame without telling the device; returns whether the driver took it.
    pub(crate) fn post(&mut self, frame: &[u8]) -> bool {
        let packet = self.packet(frame);
        self.post_packet(packet)
    }

    /// Posts one packet without telling the device; returns whether the driver took it.
    pub(crate) fn post_packet(&mut self, packet: Packet) -> bool {
        let mut queue = PacketQueue::new();
        queue.push_back(packet);
        self.nic.tx_burst(PAIR, &mut queue) == 1
    }

    /// Sends one frame: it is on the wire when this returns.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Posted {
        assert!(self.post(frame), "there is room");
        self.nic.flush(PAIR);
        let mut sent = self.card().transmit_all();
        self.nic.reclaim(PAIR);
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    /// Takes what the card delivered; the packets stay in `arrived`.
    pub(crate) fn poll(&mut self) -> usize {
        self.nic.rx_burst(PAIR, 4096, &mut self.arrived)
    }

    /// Takes what the card delivered, gives the buffers back and posts new ones.
    pub(crate) fn receive(&mut self) -> Vec<Vec<u8>> {
        self.poll();
        let frames = self
            .arrived
            .iter()
            .map(|packet| packet.data().to_vec())
            .collect();
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

    /// Every packet outside the pool is in a ring, and the receive ring is full.
    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        let (lent, stats) = (self.lent(), self.bench.pool.stats());
        assert_eq!(
            stats.packets_in_use,
            lent.rx + lent.tx + self.arrived.len(),
            "a leak"
        );
        assert_eq!(
            (lent.rx, lent.tx),
            (self.nic.info().rx_ring.into(), 0),
            "not idle"
        );
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

/// A frame of `len` bytes that no other `n` gives.
pub(crate) fn frame(n: u32, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len)
        .map(|at| (at as u32 ^ n.wrapping_mul(31)) as u8)
        .collect();
    frame[..4].copy_from_slice(&n.to_le_bytes());
    frame
}
