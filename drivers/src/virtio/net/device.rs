//! The virtio network device as a [`NetDevice`].
//!
//! The kernel makes one of a probed [`Transport`]; the stack turns it. A packet is one descriptor
//! each way: the device's header lies in the buffer's headroom. Receive buffers are posted whole;
//! a frame to send has room for the header in front. The invariant: every packet is with the
//! caller or in exactly one of the two queues, and comes back from there only by a completion
//! that was checked or by a reset that was waited for.

use alloc::string::String;

use pbufpool::{Packet, PacketQueue, Pool};

use super::header::{self, HEADER_LEN};
use super::{config, negotiate};
use crate::error::{DeviceFault, DriverError};
use crate::host::Host;
use crate::net::*;
use crate::virtio::queue::split::Direction;
use crate::virtio::queue::{Completion, SplitQueue};
use crate::virtio::transport::Transport;
use crate::virtio::{Features, Status};

/// Ethernet header, and the shortest frame that says anything.
const ETHERNET: usize = 14;
/// Receive queue of pair 0 (5.1.2).
const RX: u16 = 0;
/// Transmit queue of pair 0.
const TX: u16 = 1;

/// Choices for one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Descriptors of the receive ring at most; a power of two.
    pub rx_ring: u16,
    /// Descriptors of the transmit ring at most; a power of two.
    pub tx_ring: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { rx_ring: 256, tx_ring: 256 }
    }
}

/// Both queues of a running device.
struct Queues {
    rx: SplitQueue,
    tx: SplitQueue,
}

/// A virtio network card.
pub struct VirtioNet<T: Transport> {
    transport: T,
    host: &'static dyn Host,
    pool: Pool,
    options: Options,
    features: Features,
    info: DeviceInfo,
    /// `None` only while the device could not be restarted after a reset.
    queues: Option<Queues>,
    fault: Option<DeviceFault>,
    stats: NicStats,
    /// Frames sent and not given back to the pool yet, batched.
    done: PacketQueue,
}

impl<T: Transport> VirtioNet<T> {
    /// Starts the device; its rings are fed from `pool`.
    ///
    /// # Errors
    /// What the device lacks, or what the pool or the options do not allow.
    pub fn new(
        mut transport: T,
        pool: Pool,
        host: &'static dyn Host,
        options: Options,
    ) -> Result<Self, DriverError> {
        check_options(options, &pool)?;
        let started = start(&mut transport, host, options);
        let (features, queues) = started.inspect_err(|_| {
            transport.set_status(Status::FAILED);
        })?;
        let info = DeviceInfo {
            model: "virtio-net",
            location: transport.location(),
            mac: config::mac(&transport, features)?,
            mtu: config::mtu(&transport, features),
            queue_pairs: 1,
            rx_ring: queues.rx.size(),
            tx_ring: queues.tx.size(),
            interrupts: transport.interrupts(),
            features: describe(features),
        };
        let mut device = Self {
            transport,
            host,
            pool,
            options,
            features,
            info,
            queues: Some(queues),
            fault: None,
            stats: NicStats::default(),
            done: PacketQueue::new(),
        };
        device.refill(QueueId(0));
        device.flush(QueueId(0));
        Ok(device)
    }

    fn queues(&mut self, queue: QueueId) -> Option<&mut Queues> {
        if queue != QueueId(0) || self.fault.is_some() {
            return None;
        }
        self.queues.as_mut()
    }

    /// Notes a fault that a queue found.
    fn note_faults(&mut self) {
        let Some(queues) = &self.queues else { return };
        if self.fault.is_none() {
            self.fault = queues.rx.fault().or(queues.tx.fault());
        }
    }

    /// Makes a received packet of a completion, or says why it is dropped.
    fn received(&self, completion: Completion) -> Result<Packet, DropReason> {
        let Completion { mut packet, len } = completion;
        let frame_len = len.checked_sub(HEADER_LEN).ok_or(DropReason::RxBadHeader)?;
        if frame_len < ETHERNET {
            return Err(DropReason::RxRunt);
        }
        let head = packet.data().first_chunk().copied().ok_or(DropReason::RxBadHeader)?;
        let guest_csum = self.features.contains(Features::GUEST_CSUM);
        let checksum = header::parse(&head, frame_len, guest_csum)?;
        packet.set_span(HEADER_LEN, frame_len).map_err(|_| DropReason::RxTooLong)?;
        packet.offload_mut().rx_checksum = checksum;
        Ok(packet)
    }

    /// Puts the header in front of a frame.
    fn prepare(&self, mut packet: Packet) -> Result<Packet, (Packet, DropReason)> {
        let len = packet.len();
        if !(ETHERNET..=self.info.mtu + ETHERNET).contains(&len) {
            return Err((packet, DropReason::TxBadLength));
        }
        if packet.buflet_count() > usize::from(self.info.tx_ring) {
            return Err((packet, DropReason::TxTooManyBuflets));
        }
        if !self.can_offload(&packet) {
            return Err((packet, DropReason::TxBadOffload));
        }
        let header = header::build(packet.offload());
        match packet.push_front(HEADER_LEN) {
            Ok(room) => {
                room.copy_from_slice(&header);
                Ok(packet)
            }
            Err(_) => Err((packet, DropReason::TxNoHeadroom)),
        }
    }

    fn can_offload(&self, packet: &Packet) -> bool {
        let offload = packet.offload();
        let checksum = offload.tx_checksum.is_none_or(|partial| {
            let end = usize::from(partial.start) + usize::from(partial.offset) + 2;
            self.features.contains(Features::CSUM) && end <= packet.len()
        });
        checksum && offload.gso.is_none()
    }
}

fn check_options(options: Options, pool: &Pool) -> Result<(), DriverError> {
    for (name, value) in [("ring.rx", options.rx_ring), ("ring.tx", options.tx_ring)] {
        if !value.is_power_of_two() || value > 1 << 15 {
            let allowed = "a power of two up to 32768";
            return Err(DriverError::BadOption { name, value: value.into(), allowed });
        }
    }
    let needed = HEADER_LEN + ETHERNET + 1500;
    let size = pool.buffer_size();
    if size < needed { Err(DriverError::BufferTooSmall { size, needed }) } else { Ok(()) }
}

/// Resets, negotiates, makes the queues and says that the driver is ready (3.1.1).
fn start(
    transport: &mut dyn Transport,
    host: &dyn Host,
    options: Options,
) -> Result<(Features, Queues), DriverError> {
    negotiate::reset(transport, host)?;
    let features = negotiate::negotiate(transport)?;
    let events = features.contains(Features::EVENT_IDX);
    let rx = queue(transport, host, RX, options.rx_ring, Direction::DeviceWrites, events)?;
    let tx = queue(transport, host, TX, options.tx_ring, Direction::DeviceReads, events)?;
    negotiate::ready(transport);
    Ok((features, Queues { rx, tx }))
}

fn queue(
    transport: &mut dyn Transport,
    host: &dyn Host,
    index: u16,
    wanted: u16,
    direction: Direction,
    events: bool,
) -> Result<SplitQueue, DriverError> {
    let max = transport.queue_max(index);
    // The largest power of two that the device allows, no larger than wanted.
    let size = wanted.min(1 << max.checked_ilog2().unwrap_or(0));
    if max < 2 {
        return Err(DriverError::QueueTooSmall { queue: index, max });
    }
    let memory = crate::host::HostError::OutOfDmaMemory { len: usize::from(size) * 26 };
    let queue = SplitQueue::new(host.dma(), index, size, direction, events).ok_or(memory)?;
    transport.enable_queue(index, size, queue.addresses())?;
    Ok(queue)
}

fn describe(features: Features) -> String {
    let mut text = String::from("split ring");
    for (name, _) in features.iter_names() {
        text.push(' ');
        text.push_str(&name.to_ascii_lowercase());
    }
    text
}

impl<T: Transport> NetDevice for VirtioNet<T> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        let checksums = |feature| {
            if self.features.contains(feature) { ChecksumSupport::ALL } else { ChecksumSupport::NONE }
        };
        Capabilities {
            rx_checksum: checksums(Features::GUEST_CSUM),
            tx_checksum: checksums(Features::CSUM),
            tso_v4: None,
            tso_v6: None,
            max_burst: self.info.rx_ring.min(self.info.tx_ring).into(),
        }
    }

    fn link(&mut self) -> LinkState {
        if self.transport.status().contains(Status::NEEDS_RESET) {
            self.fault = self.fault.or(Some(DeviceFault::NeedsReset));
        }
        config::link(&self.transport, self.features)
    }

    fn stats(&self) -> NicStats {
        self.stats
    }

    fn lent(&self, queue: QueueId) -> LentCounts {
        match &self.queues {
            Some(queues) if queue == QueueId(0) => {
                LentCounts { rx: queues.rx.lent(), tx: queues.tx.lent() }
            }
            _ => LentCounts::default(),
        }
    }

    fn tx_headroom(&self) -> usize {
        HEADER_LEN
    }

    fn refill(&mut self, queue: QueueId) -> usize {
        let pool = self.pool.clone();
        let Some(queues) = self.queues(queue) else { return 0 };
        let mut posted = 0;
        let mut dry = false;
        let mut fresh = PacketQueue::new();
        let wanted = queues.rx.room();
        if wanted > 0 {
            dry = !pool.alloc_burst(wanted, &mut fresh).is_complete();
        }
        while let Some(mut packet) = fresh.pop_front() {
            let whole = packet.first().map_or(0, pbufpool::Buflet::limit);
            if packet.set_span(0, whole).is_err() || queues.rx.post(packet).is_err() {
                break; // cannot be: an exclusive buffer, and there is room
            }
            posted += 1;
        }
        self.stats.rx_no_buffer += u64::from(dry);
        posted
    }

    fn rx_burst(&mut self, queue: QueueId, budget: usize, into: &mut PacketQueue) -> usize {
        let mut taken = 0;
        while taken < budget {
            let Some(completion) = self.queues(queue).and_then(|queues| queues.rx.take()) else {
                break;
            };
            match self.received(completion) {
                Ok(packet) => {
                    self.stats.rx_packets += 1;
                    self.stats.rx_bytes += packet.len() as u64;
                    into.push_back(packet);
                    taken += 1;
                }
                Err(reason) => self.stats.drops.count(reason),
            }
        }
        self.note_faults();
        taken
    }

    fn tx_room(&self, queue: QueueId) -> usize {
        match &self.queues {
            Some(queues) if queue == QueueId(0) && self.fault.is_none() => queues.tx.room(),
            _ => 0,
        }
    }

    fn tx_burst(&mut self, queue: QueueId, from: &mut PacketQueue) -> usize {
        let mut left = 0;
        while let Some(packet) = from.front() {
            if self.tx_room(queue) < packet.buflet_count().max(1) {
                break;
            }
            let Some(packet) = from.pop_front() else { break };
            left += 1;
            match self.prepare(packet) {
                Err((_, reason)) => self.stats.drops.count(reason),
                Ok(packet) => {
                    let bytes = (packet.len() - HEADER_LEN) as u64;
                    let posted = self.queues(queue).map(|queues| queues.tx.post(packet));
                    if matches!(posted, Some(Ok(()))) {
                        self.stats.tx_packets += 1;
                        self.stats.tx_bytes += bytes;
                    } else {
                        self.stats.drops.count(DropReason::TxBadLength);
                    }
                }
            }
        }
        left
    }

    fn reclaim(&mut self, queue: QueueId) -> usize {
        let mut done = core::mem::take(&mut self.done);
        if let Some(queues) = self.queues(queue) {
            while let Some(completion) = queues.tx.take() {
                done.push_back(completion.packet);
            }
        }
        let reclaimed = done.len();
        done.clear();
        self.done = done;
        self.note_faults();
        reclaimed
    }

    fn flush(&mut self, queue: QueueId) {
        let Some(queues) = self.queues(queue) else { return };
        let kicks = [(RX, queues.rx.publish()), (TX, queues.tx.publish())];
        for (index, _) in kicks.into_iter().filter(|(_, wanted)| *wanted) {
            self.transport.notify(index);
            self.stats.doorbells += 1;
        }
    }

    fn arm(&mut self, queue: QueueId) -> Armed {
        let Some(queues) = self.queues(queue) else { return Armed::Sleep };
        // A ring with room waits for nobody; a full one for a quarter of its packets.
        let full = queues.tx.room() == 0;
        let after = (queues.tx.lent() / 4).max(1) as u16;
        let quiet_tx = !full || queues.tx.arm(after);
        if !full {
            queues.tx.disarm();
        }
        let quiet_rx = queues.rx.arm(1);
        if quiet_rx && quiet_tx {
            return Armed::Sleep;
        }
        queues.rx.disarm();
        queues.tx.disarm();
        Armed::Work
    }

    fn on_interrupt(&mut self) {
        if self.transport.acknowledge() {
            self.stats.interrupts += 1;
        }
    }

    fn health(&self) -> Health {
        self.fault.map_or(Health::Ok, Health::Broken)
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        let stopped = negotiate::reset(&mut self.transport, self.host);
        if let Err(why) = stopped {
            // It may still write: what it holds stays lent, and is counted as leaked one day.
            self.fault = Some(DeviceFault::ResetFailed);
            return Err(why);
        }
        if let Some(Queues { rx, tx }) = self.queues.take() {
            let (mut received, mut sent) = (PacketQueue::new(), PacketQueue::new());
            // SAFETY: the device has just been reset and said so.
            unsafe {
                rx.reclaim(&mut received);
                tx.reclaim(&mut sent);
            }
            self.stats.drops.add(DropReason::RxReset, received.len() as u64);
            self.stats.drops.add(DropReason::TxReset, sent.len() as u64);
        }
        let (features, queues) = start(&mut self.transport, self.host, self.options)
            .inspect_err(|_| self.fault = Some(DeviceFault::ResetFailed))?;
        self.features = features;
        self.queues = Some(queues);
        self.fault = None;
        self.stats.resets += 1;
        self.refill(QueueId(0));
        self.flush(QueueId(0));
        Ok(())
    }
}

impl<T: Transport> Drop for VirtioNet<T> {
    fn drop(&mut self) {
        // Stopped, the device gives everything back; one that cannot be stopped keeps it.
        if negotiate::reset(&mut self.transport, self.host).is_ok()
            && let Some(Queues { rx, tx }) = self.queues.take()
        {
            let mut all = PacketQueue::new();
            // SAFETY: the device has just been reset and said so.
            unsafe {
                rx.reclaim(&mut all);
                tx.reclaim(&mut all);
            }
        }
    }
}
