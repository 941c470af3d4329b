//! The driver's half of a packed virtqueue (virtio 1.2, 2.8).
//!
//! One ring serves both ways: the driver makes descriptors available in place after place, the
//! device overwrites them as used, in the order in which it finishes. Whose a descriptor is, two
//! flag bits say, compared with wrap counters. A buffer is named by the id that the driver gave
//! it, not by its place.
//!
//! As in [`SplitQueue`](super::SplitQueue), what the driver *knows* lives here: which ids are lent,
//! with how many descriptors and how many bytes to write. Of the ring only the flags, the id and
//! the length of the next used descriptor are read, each once, and checked. A violation marks the
//! queue broken.

use alloc::boxed::Box;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use pbufpool::{DmaMemory, Packet, PacketQueue};

use super::free_ids::FreeIds;
use super::loans::Loans;
use super::packed_layout::{ALWAYS, AT_PLACE, AVAIL, Layout, NEVER, NEXT, USED, WRITE};
use super::pieces::{Piece, only_piece, pieces, writable_bytes};
use super::{Completion, QueueConfig};
use crate::ring::barrier;
use crate::ring::place::Place;
use crate::virtio::transport::QueueAddresses;

/// A packed virtqueue with the packets that are in it.
#[derive(Debug)]
pub struct PackedQueue {
    loans: Loans,
    event_index: bool,
    layout: Layout,
    /// Ids that are free.
    free: FreeIds,
    /// Descriptors of each id that is lent.
    descriptors: Box<[u16]>,
    /// Places that are free.
    room: u16,
    /// Next place to fill; what is not published yet included.
    avail: Place,
    /// The first descriptor that is not published yet, with the flags that will publish it. Those
    /// behind it have theirs already, but the device does not look past this one (2.8.21).
    held: Option<(u16, u16)>,
    /// `avail` when the doorbell was last considered.
    kicked: Place,
    /// Next place in which the device will write a used descriptor.
    used: Place,
    /// An interrupt was asked for and nothing taken since.
    armed: bool,
}

impl PackedQueue {
    /// A queue as `config` says. `None` if there is no memory for it.
    pub fn new(source: &'static dyn DmaMemory, config: QueueConfig) -> Option<Self> {
        let QueueConfig {
            index,
            size,
            event_index,
            ..
        } = config;
        debug_assert!((1..=1 << 15).contains(&size), "a packed queue of {size}");
        Some(Self {
            loans: Loans::new(index, size),
            event_index,
            layout: Layout::new(source, size)?,
            free: FreeIds::new(size),
            descriptors: (0..size).map(|_| 0).collect(),
            room: size,
            avail: Place::START,
            held: None,
            kicked: Place::START,
            used: Place::START,
            armed: true, // fresh memory says so
        })
    }

    /// What it has lent, and to which queue.
    pub(super) fn loans(&self) -> &Loans {
        &self.loans
    }

    /// Bytes of shared memory that a queue of `size` entries takes.
    pub fn bytes(size: u16) -> usize {
        Layout::bytes(size)
    }

    /// Packets of one buffer in it at most.
    pub fn capacity(&self) -> u16 {
        self.loans.size
    }

    /// Where the device finds it.
    pub fn addresses(&self) -> QueueAddresses {
        self.layout.addresses
    }

    /// Descriptors that are free.
    pub fn room(&self) -> usize {
        if self.loans.fault.is_some() {
            0
        } else {
            self.room.into()
        }
    }

    /// Posts a packet: one descriptor for each of its buflets that has data. The device reads its
    /// first `readable` bytes and may write the rest.
    ///
    /// # Errors
    /// The packet, if there is not room for all of it, or it has no data at all.
    #[inline]
    pub fn post(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        if self.loans.fault.is_some() || self.room == 0 {
            return Err(packet);
        }
        let Some(piece) = only_piece(&packet, readable) else {
            return self.post_chain(packet, readable);
        };
        // A lent id has one place at least, so there is an id for each free place.
        let Some(id) = self.free.take() else {
            return Err(packet);
        };
        self.fill(id, piece, 0);
        let posted = if piece.writable { piece.len } else { 0 };
        self.lend(id, packet, posted, 1);
        Ok(())
    }

    #[cold]
    fn post_chain(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        let count = pieces(&packet, readable, 0).count();
        if count == 0 || count > self.room.into() {
            return Err(packet);
        }
        let Some(id) = self.free.take() else {
            return Err(packet);
        };
        for (n, piece) in pieces(&packet, readable, 0).enumerate() {
            self.fill(id, piece, if n + 1 < count { NEXT } else { 0 });
        }
        let posted = writable_bytes(&packet, readable);
        self.lend(id, packet, posted, count as u16);
        Ok(())
    }

    /// Fills the next place. Its flags make it available, unless it is the first since the last
    /// publication: those are kept back.
    #[inline(always)]
    fn fill(&mut self, id: u16, piece: Piece, more: u16) {
        let Place { slot, wrap } = self.avail;
        let descriptor = self.layout.descriptor(slot);
        descriptor.address.store(piece.address.as_u64(), Relaxed);
        descriptor.len.store(piece.len, Relaxed);
        descriptor.id.store(id, Relaxed);
        let turn = if wrap { AVAIL } else { USED };
        let flags = turn | more | if piece.writable { WRITE } else { 0 };
        match self.held {
            None => self.held = Some((slot, flags)),
            Some(_) => descriptor.flags.store(flags, Relaxed),
        }
        self.avail = self.avail.plus(1, self.loans.size);
    }

    #[inline(always)]
    fn lend(&mut self, id: u16, packet: Packet, posted: u32, descriptors: u16) {
        self.descriptors[usize::from(id)] = descriptors;
        self.room -= descriptors;
        self.loans.lend(id, packet, posted);
    }

    /// Publishes what was posted. Returns whether the doorbell has to be rung.
    pub fn publish(&mut self) -> bool {
        if self.loans.fault.is_some() {
            return false;
        }
        let Some((slot, flags)) = self.held.take() else {
            return false;
        };
        barrier::publish();
        self.layout.descriptor(slot).flags.store(flags, Release);
        self.loans.published();
        barrier::publish_then_check();
        let old = core::mem::replace(&mut self.kicked, self.avail);
        match self.layout.device.flags().load(Acquire) {
            NEVER => false,
            AT_PLACE if self.event_index => {
                let event = self.layout.device.place().load(Relaxed);
                // No such place: the device is confused, and one doorbell too many does no harm.
                Place::from_bits(event, self.loans.size)
                    .is_none_or(|event| self.avail.passed(event, old, self.loans.size))
            }
            _ => true,
        }
    }

    /// Whether the device has completed something.
    pub fn has_completions(&self) -> bool {
        self.loans.fault.is_none() && self.is_used()
    }

    /// Whether the device wrote to the next place. A place that was never filled, or whose
    /// completion was taken, does not look like that, unless the device lies.
    #[inline(always)]
    fn is_used(&self) -> bool {
        let flags = self.layout.descriptor(self.used.slot).flags.load(Acquire);
        let used = if self.used.wrap { AVAIL | USED } else { 0 };
        flags & (AVAIL | USED) == used && self.loans.slots.lent() != 0
    }

    /// Takes the next completion.
    #[inline]
    pub fn take(&mut self) -> Option<Completion> {
        if self.loans.fault.is_some() || !self.is_used() {
            return None;
        }
        let descriptor = self.layout.descriptor(self.used.slot);
        // Each is read once: a second read could give another answer.
        let (id, len) = (descriptor.id.load(Relaxed), descriptor.len.load(Relaxed));
        let (id, completion) = self.loans.settle(id.into(), len)?;
        let descriptors = self.descriptors[usize::from(id)];
        self.free.give(id);
        self.room += descriptors;
        self.used = self.used.plus(descriptors, self.loans.size);
        // The place that was asked for comes round again every other lap.
        if self.armed {
            self.disarm();
        }
        Some(completion)
    }

    /// Asks for an interrupt once about `after` more descriptors are used, at least one. Returns
    /// whether the queue is quiet: if not, completions came in the meantime.
    pub fn arm(&mut self, after: u16) -> bool {
        self.armed = true;
        if self.event_index {
            let out = self.loans.size - self.room;
            let steps = after.clamp(1, out.max(1)) - 1;
            let event = self.used.plus(steps, self.loans.size);
            self.layout.driver.place().store(event.to_bits(), Relaxed);
            barrier::publish();
            self.layout.driver.flags().store(AT_PLACE, Relaxed);
        } else {
            self.layout.driver.flags().store(ALWAYS, Relaxed);
        }
        barrier::publish_then_check();
        self.loans.fault.is_none() && !self.is_used()
    }

    /// Asks for no interrupts.
    pub fn disarm(&mut self) {
        self.armed = false;
        self.layout.driver.flags().store(NEVER, Relaxed);
    }

    /// Takes back every packet and frees the ring's memory.
    ///
    /// # Safety
    /// The device was reset after the queue was last enabled: it uses neither the ring nor the
    /// packets any more.
    pub unsafe fn reclaim(mut self, into: &mut PacketQueue) {
        // SAFETY: the caller reset the device.
        unsafe {
            self.loans.slots.take_all(into);
            self.layout.memory.free();
        }
    }
}
