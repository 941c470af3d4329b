//! What the rigs of all drivers have in common: a card in memory, the driver on it, a pool, and the moves
//! that tests make.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drivers::DeviceFault;
use drivers::net::{Armed, DropReason, Health, LentCounts, NetDevice, QueueId};
use pbufpool::{Gso, GsoKind, Packet, PacketQueue, PartialChecksum, Pool, PoolConfig};

use super::memory::TestHost;

/// The one queue pair.
pub(crate) const PAIR: QueueId = QueueId(0);

/// A model of a card, as far as its kind does not matter.
pub(crate) trait Model {
    /// What it sent.
    type Sent;

    /// Takes, sends and completes every frame that it was given.
    fn transmit_all(&mut self) -> Vec<Self::Sent>;

    /// The frame that was sent, whole.
    fn frame(sent: &Self::Sent) -> &[u8];

    /// Puts a frame into the next receive buffer. `false`: there is none.
    fn deliver(&mut self, frame: &[u8]) -> bool;

    /// Doorbells that rang, all together.
    fn doorbells(&self) -> usize;
}

/// What lies around the driver.
pub(crate) struct Bench<C> {
    /// The device.
    pub(crate) card: Arc<Mutex<C>>,
    /// The pool that feeds the rings.
    pub(crate) pool: Pool,
    /// The kernel.
    pub(crate) host: &'static TestHost,
}

impl<C> Clone for Bench<C> {
    fn clone(&self) -> Self {
        Self {
            card: self.card.clone(),
            pool: self.pool.clone(),
            host: self.host,
        }
    }
}

/// A running driver on a card.
pub(crate) struct Rig<N, C> {
    /// The driver.
    pub(crate) nic: N,
    /// All else.
    pub(crate) bench: Bench<C>,
    /// Packets received and not looked at yet.
    pub(crate) arrived: PacketQueue,
}

/// A pool's configuration; chains of more than one buffer make it an on-demand one.
pub(crate) fn pool_config(packets: usize, buffer: usize, max_frags: u16) -> PoolConfig {
    PoolConfig::new("test")
        .packets(packets)
        .buffer_size(buffer)
        .max_frags(max_frags)
        .on_demand(max_frags > 1)
        .monolithic(max_frags > 1)
}

impl<N: NetDevice, C: Model> Rig<N, C> {
    /// A driver with what lies around it.
    pub(crate) fn of(nic: N, bench: &Bench<C>) -> Self {
        Self {
            nic,
            bench: bench.clone(),
            arrived: PacketQueue::new(),
        }
    }

    /// The device.
    pub(crate) fn card(&self) -> MutexGuard<'_, C> {
        let card = self.bench.card.lock();
        card.unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet with a frame at the driver's headroom.
    pub(crate) fn packet(&self, frame: &[u8]) -> Packet {
        self.chain(&[frame])
    }

    /// A packet of several buflets, one for each part; the first has the driver's headroom.
    pub(crate) fn chain(&self, parts: &[&[u8]]) -> Packet {
        let one = |headroom, part: &[u8]| {
            let mut packet = self.bench.pool.alloc().expect("the pool has packets");
            packet.set_span(headroom, part.len()).expect("it fits");
            packet.data_mut().expect("not shared").copy_from_slice(part);
            packet
        };
        let mut chain = one(self.nic.tx_headroom(), parts[0]);
        for part in &parts[1..] {
            let next = one(0, part);
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

    /// Posts a packet of any length, parts and offloads, if the pool has it.
    pub(crate) fn post_any(
        &mut self,
        len: usize,
        parts: u8,
        checksum: Option<(u16, u16)>,
        gso: Option<(bool, u16, u16)>,
    ) {
        let Ok(mut packet) = self.bench.pool.alloc() else {
            return;
        };
        packet
            .set_span(self.nic.tx_headroom(), len)
            .expect("it fits");
        for _ in 0..parts {
            let Ok(mut more) = self.bench.pool.alloc() else {
                break;
            };
            let _ = more.set_span(0, len);
            let _ = packet.append(more);
        }
        let offload = packet.offload_mut();
        offload.tx_checksum = checksum.map(|(start, offset)| PartialChecksum { start, offset });
        offload.gso = gso.map(|(six, mss, header_len)| Gso {
            kind: if six { GsoKind::TcpV6 } else { GsoKind::TcpV4 },
            mss,
            header_len,
        });
        self.post_packet(packet);
    }

    /// Sends one packet: it is on the wire when this returns.
    #[track_caller]
    pub(crate) fn send_packet(&mut self, packet: Packet) -> C::Sent {
        assert!(self.post_packet(packet), "there is room");
        self.nic.flush(PAIR);
        let mut sent = self.card().transmit_all();
        self.nic.reclaim(PAIR);
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    /// Sends one frame: it is on the wire when this returns.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &[u8]) -> C::Sent {
        let packet = self.packet(frame);
        self.send_packet(packet)
    }

    /// Takes what the card delivered; the packets stay in `arrived`.
    pub(crate) fn poll(&mut self) -> usize {
        let pairs = self.pairs();
        pairs
            .map(|pair| self.nic.rx_burst(pair, 4096, &mut self.arrived))
            .sum()
    }

    /// Its queue pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = QueueId> + use<N, C> {
        (0..self.nic.info().queue_pairs).map(QueueId)
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
        for pair in self.pairs() {
            self.nic.refill(pair);
            self.nic.flush(pair);
        }
        frames
    }

    /// Asks for an interrupt.
    pub(crate) fn arm(&mut self) -> Armed {
        self.nic.arm(PAIR)
    }

    /// Packets in the rings of all pairs.
    pub(crate) fn lent(&self) -> LentCounts {
        let each = self.pairs().map(|pair| self.nic.lent(pair));
        each.fold(LentCounts::default(), |sum, one| LentCounts {
            rx: sum.rx + one.rx,
            tx: sum.tx + one.tx,
            control: sum.control + one.control,
        })
    }

    /// Every packet outside the pool is in a ring or in hand, and what is in hand can be read.
    #[track_caller]
    pub(crate) fn assert_accounted(&self) {
        let (lent, stats) = (self.lent(), self.bench.pool.stats());
        assert_eq!(
            stats.packets_in_use,
            lent.rx + lent.tx + lent.control + self.arrived.len(),
            "a leak"
        );
        assert_eq!(stats.leaked, 0);
        for packet in &self.arrived {
            let all = packet.buflets().flat_map(|buflet| buflet.data());
            let sum = all.fold(0_u8, |sum, byte| sum ^ byte);
            let in_one = packet
                .contiguous()
                .map(|all| all.iter().fold(0, |a, b| a ^ b));
            assert!(in_one.is_none_or(|other| other == sum));
        }
    }

    /// The same, and the receive ring is full and the transmit ring empty.
    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        self.assert_accounted();
        let (lent, info) = (self.lent(), self.nic.info());
        let full = usize::from(info.rx_ring * info.queue_pairs);
        assert_eq!((lent.rx, lent.tx), (full, 0), "not idle");
    }

    /// Frames pass both ways, and the driver is idle again afterwards.
    #[track_caller]
    pub(crate) fn assert_traffic_flows(&mut self) {
        assert_eq!(self.nic.health(), Health::Ok);
        for n in 0..40 {
            let (out, back) = (frame(n, 60 + n as usize), frame(!n, 1514 - n as usize));
            assert_eq!(C::frame(&self.send(&out)), out);
            assert!(self.card().deliver(&back), "no receive buffer");
            assert_eq!(self.receive(), [back]);
        }
        self.assert_idle();
    }

    /// Traffic passes, and then five frames to send are with the card, which knows of them.
    #[track_caller]
    pub(crate) fn keep_busy(&mut self) {
        self.assert_traffic_flows();
        for n in 0..5 {
            assert!(self.post(&frame(n, 60)));
        }
        self.nic.flush(PAIR);
    }

    /// Both verbs that look at completions run; the card must have been found out, and then gets
    /// and gives nothing.
    #[track_caller]
    pub(crate) fn assert_found_out(&mut self, fault: DeviceFault) {
        let received = self.nic.stats().rx_packets;
        self.poll();
        self.nic.reclaim(PAIR);
        assert_eq!(self.nic.health(), Health::Broken(fault));
        assert_eq!(
            self.nic.stats().rx_packets,
            received,
            "a false claim is not a frame"
        );
        self.assert_does_nothing();
    }

    /// A broken card gets and gives nothing.
    #[track_caller]
    pub(crate) fn assert_does_nothing(&mut self) {
        let (lent, doorbells) = (self.lent(), self.card().doorbells());
        let mut queue = PacketQueue::new();
        queue.push_back(self.packet(&frame(0, 60)));
        assert_eq!(self.nic.refill(PAIR), 0);
        assert_eq!(self.nic.rx_burst(PAIR, 100, &mut PacketQueue::new()), 0);
        assert_eq!(
            (self.nic.tx_room(PAIR), self.nic.tx_burst(PAIR, &mut queue)),
            (0, 0)
        );
        assert_eq!(self.nic.reclaim(PAIR), 0);
        self.nic.flush(PAIR);
        assert_eq!((self.lent(), self.card().doorbells()), (lent, doorbells));
        assert_eq!(self.arm(), Armed::Work, "a reset is due");
    }

    /// A reset takes back what the card held, and traffic flows again.
    #[track_caller]
    pub(crate) fn assert_recovers(&mut self) {
        let (lent, before) = (self.lent(), self.nic.stats());
        self.nic.reset().expect("the card comes up again");
        let after = self.nic.stats();
        let dropped = |reason| after.drops.get(reason) - before.drops.get(reason);
        assert_eq!(dropped(DropReason::RxReset), lent.rx as u64);
        assert_eq!(dropped(DropReason::TxReset), lent.tx as u64);
        assert_eq!(after.resets, before.resets + 1);
        self.assert_traffic_flows();
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
