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
use super::pieces::{Piece, only_piece, pieces, writable_bytes};
use super::{Completion, QueueConfig};
use crate::error::DeviceFault;
use crate::ring::barrier;
use crate::ring::index::RingIndex;
use crate::ring::slots::Slots;
use crate::virtio::transport::QueueAddresses;

/// Bit 0 of `avail.flags` and `used.flags`: no notification wanted.
const NO_NOTIFY: u16 = 1;

/// Behind the last descriptor of a chain.
const LAST: u16 = u16::MAX;

/// A split virtqueue with the packets that are in it.
#[derive(Debug)]
pub struct SplitQueue {
    index: u16,
    size: u16,
    event_index: bool,
    layout: Layout,
    slots: Slots,
    /// Descriptors that are free.
    free: Vec<u16>,
    /// The descriptor behind each one that is in a chain, or [`LAST`]. Our own record: what lies
    /// in memory that the device could have changed is not followed.
    chain: Box<[u16]>,
    /// Next place in the available ring; what is not published yet included.
    avail: RingIndex,
    /// What `avail.idx` says.
    published: RingIndex,
    /// `avail` when the doorbell was last considered.
    kicked: RingIndex,
    /// Next element of the used ring to take.
    used: RingIndex,
    /// What `used.idx` said when it was last read: the elements before it are complete.
    claimed: RingIndex,
    /// Interrupts are on that do not stop by themselves.
    armed: bool,
    fault: Option<DeviceFault>,
}

impl SplitQueue {
    /// A queue as `config` says, whose size is a power of two. `None` if there is no memory for it.
    pub fn new(source: &'static dyn DmaMemory, config: QueueConfig) -> Option<Self> {
        let QueueConfig {
            index,
            size,
            event_index,
        } = config;
        debug_assert!(size.is_power_of_two(), "a split queue of {size} entries");
        Some(Self {
            index,
            size,
            event_index,
            layout: Layout::new(source, size)?,
            slots: Slots::new(size),
            free: (0..size).rev().collect(),
            chain: (0..size).map(|_| LAST).collect(),
            avail: RingIndex::default(),
            published: RingIndex::default(),
            kicked: RingIndex::default(),
            used: RingIndex::default(),
            claimed: RingIndex::default(),
            armed: !event_index, // fresh memory says so
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

    /// Posts a packet: one descriptor for each of its buflets that has data. The device reads its
    /// first `readable` bytes and may write the rest.
    ///
    /// # Errors
    /// The packet, if there is not room for all of it, or it has no data at all.
    #[inline]
    pub fn post(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        if self.fault.is_some() {
            return Err(packet);
        }
        let Some(piece) = only_piece(&packet, readable) else {
            return self.post_chain(packet, readable);
        };
        let Some(head) = self.free.pop() else {
            return Err(packet);
        };
        let flags = self.describe(head, piece);
        self.layout.descriptor(head).flags.store(flags, Relaxed);
        let posted = if piece.writable { piece.len } else { 0 };
        self.offer(head, packet, posted);
        Ok(())
    }

    #[cold]
    fn post_chain(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        let count = pieces(&packet, readable).count();
        if count == 0 || count > self.free.len() {
            return Err(packet);
        }
        // Descriptors are taken from the end of the free ones, and linked as they are written.
        let rest = self.free.len() - count;
        let mut before: Option<(u16, u16)> = None;
        for (n, piece) in pieces(&packet, readable).enumerate() {
            let id = self.free[rest + count - 1 - n];
            let flags = self.describe(id, piece);
            self.layout.descriptor(id).flags.store(flags, Relaxed);
            if let Some((before, its_flags)) = before.replace((id, flags)) {
                let descriptor = self.layout.descriptor(before);
                descriptor.next.store(id, Relaxed);
                descriptor.flags.store(its_flags | NEXT, Relaxed);
                self.chain[usize::from(before)] = id;
            }
        }
        let head = self.free[rest + count - 1];
        self.free.truncate(rest);
        let posted = writable_bytes(&packet, readable);
        self.offer(head, packet, posted);
        Ok(())
    }

    /// Writes address and length; returns the flags to go with them.
    #[inline(always)]
    fn describe(&self, id: u16, piece: Piece) -> u16 {
        let descriptor = self.layout.descriptor(id);
        descriptor.address.store(piece.address.as_u64(), Relaxed);
        descriptor.len.store(piece.len, Relaxed);
        if piece.writable { WRITE } else { 0 }
    }

    #[inline(always)]
    fn offer(&mut self, head: u16, packet: Packet, posted: u32) {
        self.slots.lend(head, packet.lend(), posted);
        self.layout
            .avail_entry(self.avail.place(self.size))
            .store(head, Relaxed);
        self.avail = self.avail.plus(1);
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

    /// Takes the next completion. The device's index is read only once all that it covered before
    /// is taken: the line that it lies in is the device's.
    #[inline]
    pub fn take(&mut self) -> Option<Completion> {
        if self.used == self.claimed && !self.look() {
            return None;
        }
        let element = &self.layout.used.all()[self.used.place(self.size)];
        // Each is read once: a second read could give another answer.
        let (id, len) = (element.id.load(Relaxed), element.len.load(Relaxed));
        match self.honour(id, len) {
            Ok(completion) => {
                self.used = self.used.plus(1);
                if self.armed {
                    self.disarm();
                }
                Some(completion)
            }
            Err(fault) => {
                self.broken(fault);
                None
            }
        }
    }

    /// Reads the device's index; `true` if it covers something new.
    #[inline]
    fn look(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let claimed = RingIndex(self.layout.used_idx().load(Relaxed));
        let ahead = claimed.since(self.used);
        let outstanding = self.slots.lent() as u16;
        if ahead > outstanding {
            let queue = self.index;
            self.broken(DeviceFault::IndexRanAhead {
                queue,
                claimed: ahead,
                outstanding,
            });
            return false;
        }
        barrier::observe();
        self.claimed = claimed;
        ahead != 0
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
        // Where nothing may be written, the length means nothing (2.7.8.2): it is not looked at.
        let writes = posted != 0;
        if writes && len > posted {
            return Err(DeviceFault::LengthTooLarge {
                queue,
                id,
                len,
                posted,
            });
        }
        let packet = self.slots.take(id).ok_or(not_lent)?;
        let mut next = Some(id);
        while let Some(id) = next {
            self.free.push(id);
            let behind = core::mem::replace(&mut self.chain[usize::from(id)], LAST);
            next = (behind != LAST).then_some(behind);
        }
        Ok(Completion {
            packet,
            len: if writes { len as usize } else { 0 },
        })
    }

    #[cold]
    fn broken(&mut self, fault: DeviceFault) {
        self.fault = Some(fault);
        self.claimed = self.used; // nothing more is taken
    }

    /// Asks for an interrupt once `after` more completions are there, at least one. Returns
    /// whether the queue is quiet: if not, completions came in the meantime.
    pub fn arm(&mut self, after: u16) -> bool {
        let event = self.used.plus(after.max(1) - 1);
        if self.event_index {
            self.layout.used_event().store(event.0, Relaxed);
        } else {
            self.armed = true;
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
            self.armed = false;
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
