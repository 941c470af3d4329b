//! The driver's half of a split virtqueue (virtio 1.2, 2.7).
//!
//! The network driver posts packets and takes completions. What the device is told lives in
//! shared memory; what the driver *knows* lives here: which ids are lent and how many bytes each
//! may take, the free descriptors, both indices. Nothing is read back from the descriptor table,
//! and what the device writes is checked against our own records:
//!
//! - `used.idx` may not run further ahead than packets are lent;
//! - an id must be in range and lent; a length must not exceed what was posted.
//!
//! A violation marks the queue broken: from then on it does nothing, until the driver has reset
//! the device and called [`SplitQueue::reclaim`].

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use pbufpool::{DmaMemory, Packet, PacketQueue};

use super::layout::{Layout, NEXT, WRITE};
use crate::error::DeviceFault;
use crate::ring::barrier;
use crate::ring::index::RingIndex;
use crate::ring::slots::Slots;
use crate::virtio::transport::QueueAddresses;

/// Bit 0 of `avail.flags` and `used.flags`: no notification wanted.
const NO_NOTIFY: u16 = 1;

/// Which way a queue's buffers go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The device writes: receive.
    DeviceWrites,
    /// The device reads: transmit.
    DeviceReads,
}

/// A packet that the device is done with.
#[derive(Debug)]
pub struct Completion {
    /// The packet.
    pub packet: Packet,
    /// Bytes that the device wrote; never more than were posted.
    pub len: usize,
}

/// A split virtqueue with the packets that are in it.
#[derive(Debug)]
pub struct SplitQueue {
    index: u16,
    size: u16,
    direction: Direction,
    event_index: bool,
    layout: Layout,
    slots: Slots,
    /// Descriptors that are free.
    free: Vec<u16>,
    /// Descriptors of the chain behind each head but the head itself; empty for most.
    chains: Box<[Vec<u16>]>,
    /// Next place in the available ring; what is not published yet included.
    avail: RingIndex,
    /// What `avail.idx` says.
    published: RingIndex,
    /// `avail` when the doorbell was last considered.
    kicked: RingIndex,
    /// Next element of the used ring to take.
    used: RingIndex,
    fault: Option<DeviceFault>,
}

impl SplitQueue {
    /// A queue of `size` entries (a power of two), number `index` of its device. `None` if there
    /// is no memory for it.
    pub fn new(
        source: &'static dyn DmaMemory,
        index: u16,
        size: u16,
        direction: Direction,
        event_index: bool,
    ) -> Option<Self> {
        debug_assert!(size.is_power_of_two(), "a split queue of {size} entries");
        Some(Self {
            index,
            size,
            direction,
            event_index,
            layout: Layout::new(source, size)?,
            slots: Slots::new(size),
            free: (0..size).rev().collect(),
            chains: (0..size).map(|_| Vec::new()).collect(),
            avail: RingIndex::default(),
            published: RingIndex::default(),
            kicked: RingIndex::default(),
            used: RingIndex::default(),
            fault: None,
        })
    }

    /// Bytes of shared memory that a queue of `size` entries takes.
    pub fn bytes(size: u16) -> usize {
        Layout::bytes(size)
    }

    /// Number of the queue.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where the device finds it.
    pub fn addresses(&self) -> QueueAddresses {
        self.layout.addresses
    }

    /// Descriptors that are free.
    pub fn room(&self) -> usize {
        if self.fault.is_some() {
            0
        } else {
            self.free.len()
        }
    }

    /// Packets in the queue.
    pub fn lent(&self) -> usize {
        self.slots.lent()
    }

    /// Why the queue is broken, if it is.
    pub fn fault(&self) -> Option<DeviceFault> {
        self.fault
    }

    /// Posts a packet: one descriptor for each of its buflets that has data.
    ///
    /// # Errors
    /// The packet, if there is not room for all of it, or it has no data at all.
    pub fn post(&mut self, packet: Packet) -> Result<(), Packet> {
        // Devices take a descriptor without a byte for a broken driver.
        let spans = packet.buflets().filter(|buflet| !buflet.is_empty()).count();
        if spans == 0 || spans > self.room() {
            return Err(packet);
        }
        let lent = packet.lend();
        let (mut head, mut previous): (Option<u16>, Option<u16>) = (None, None);
        let flags = if self.direction == Direction::DeviceWrites {
            WRITE
        } else {
            0
        };
        for (address, len) in lent.spans().filter(|(_, len)| *len > 0) {
            let Some(id) = self.free.pop() else { break }; // counted above
            let descriptor = &self.layout.descriptors.all()[usize::from(id)];
            descriptor.address.store(address.as_u64(), Relaxed);
            descriptor.len.store(len as u32, Relaxed);
            descriptor.flags.store(flags, Relaxed);
            if let (Some(before), Some(head)) = (previous, head) {
                let before = &self.layout.descriptors.all()[usize::from(before)];
                before.next.store(id, Relaxed);
                before.flags.store(flags | NEXT, Relaxed);
                self.chains[usize::from(head)].push(id);
            }
            head = head.or(Some(id));
            previous = Some(id);
        }
        let Some(head) = head else { return Ok(()) }; // not reached: there is a span
        let posted = if self.direction == Direction::DeviceWrites {
            lent.len() as u32
        } else {
            0
        };
        self.slots.lend(head, lent, posted);
        self.layout
            .avail_entry(self.avail.place(self.size))
            .store(head, Relaxed);
        self.avail = self.avail.plus(1);
        Ok(())
    }

    /// Publishes what was posted. Returns whether the doorbell has to be rung.
    pub fn publish(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        if self.avail != self.published {
            barrier::publish();
            self.layout.avail_idx().store(self.avail.0, Release);
            self.published = self.avail;
        }
        if self.avail == self.kicked {
            return false;
        }
        barrier::publish_then_check();
        let old = core::mem::replace(&mut self.kicked, self.avail);
        if self.event_index {
            self.avail
                .passed(RingIndex(self.layout.avail_event().load(Relaxed)), old)
        } else {
            self.layout.used_flags().load(Relaxed) & NO_NOTIFY == 0
        }
    }

    /// Whether the device has completed something.
    pub fn has_completions(&self) -> bool {
        self.fault.is_none() && self.layout.used_idx().load(Acquire) != self.used.0
    }

    /// Takes the next completion.
    pub fn take(&mut self) -> Option<Completion> {
        if self.fault.is_some() {
            return None;
        }
        let claimed = RingIndex(self.layout.used_idx().load(Relaxed));
        let ahead = claimed.since(self.used);
        if ahead == 0 {
            return None;
        }
        let outstanding = self.slots.lent() as u16;
        if ahead > outstanding {
            let queue = self.index;
            return self.broken(DeviceFault::IndexRanAhead {
                queue,
                claimed: ahead,
                outstanding,
            });
        }
        barrier::observe();
        let element = &self.layout.used.all()[self.used.place(self.size)];
        // Each is read once: a second read could give another answer.
        let (id, len) = (element.id.load(Relaxed), element.len.load(Relaxed));
        match self.honour(id, len) {
            Ok(completion) => {
                self.used = self.used.plus(1);
                Some(completion)
            }
            Err(fault) => self.broken(fault),
        }
    }

    /// Checks a claim against what was lent, and settles it.
    fn honour(&mut self, id: u32, len: u32) -> Result<Completion, DeviceFault> {
        let (queue, size) = (self.index, self.size);
        let Some(id) = u16::try_from(id).ok().filter(|id| *id < size) else {
            return Err(DeviceFault::IdOutOfRange { queue, id, size });
        };
        let not_lent = DeviceFault::NotLent {
            queue,
            id: id.into(),
        };
        let posted = self.slots.posted(id).ok_or(not_lent)?;
        // A transmit queue's length means nothing (2.7.8.2), so it is not looked at.
        let writes = self.direction == Direction::DeviceWrites;
        if writes && len > posted {
            return Err(DeviceFault::LengthTooLarge {
                queue,
                id,
                len,
                posted,
            });
        }
        let packet = self.slots.take(id).ok_or(not_lent)?;
        self.free.append(&mut self.chains[usize::from(id)]);
        self.free.push(id);
        Ok(Completion {
            packet,
            len: if writes { len as usize } else { 0 },
        })
    }

    fn broken<T>(&mut self, fault: DeviceFault) -> Option<T> {
        self.fault = Some(fault);
        None
    }

    /// Asks for an interrupt once `after` more completions are there, at least one. Returns
    /// whether the queue is quiet: if not, completions came in the meantime.
    pub fn arm(&mut self, after: u16) -> bool {
        let event = self.used.plus(after.max(1) - 1);
        if self.event_index {
            self.layout.used_event().store(event.0, Relaxed);
        } else {
            self.layout.avail_flags().store(0, Relaxed);
        }
        barrier::publish_then_check();
        let done = RingIndex(self.layout.used_idx().load(Relaxed)).since(self.used);
        self.fault.is_none() && done < after.max(1)
    }

    /// Asks for no interrupts. With event indices they stop by themselves, since the event stays
    /// behind (2.7.10.1).
    pub fn disarm(&mut self) {
        if !self.event_index {
            self.layout.avail_flags().store(NO_NOTIFY, Relaxed);
        }
    }

    /// Takes back every packet and frees the ring's memory.
    ///
    /// # Safety
    /// The device was reset after the queue was last enabled: it uses neither the ring nor the
    /// packets any more.
    pub unsafe fn reclaim(mut self, into: &mut PacketQueue) {
        // SAFETY: the caller reset the device.
        unsafe {
            self.slots.take_all(into);
            self.layout.memory.free();
        }
    }
}
