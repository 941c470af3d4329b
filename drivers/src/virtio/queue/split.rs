//! The driver's half of a split virtqueue (virtio 1.2, 2.7).
//!
//! The network driver posts packets and takes completions. What the device is told lives in
//! shared memory; what the driver *knows* lives here: both indices, and in its [`Books`] which ids are
//! lent and how many bytes each may take, and the free descriptors. Nothing is read back from the
//! descriptor table, and what the device writes is checked against our own records:
//!
//! - `used.idx` may not run further ahead than packets are lent;
//! - an id must be in range and lent; a length must not exceed what was posted.
//!
//! A violation marks the queue broken: from then on it does nothing, until the driver has reset
//! the device and called [`SplitQueue::reclaim`].

mod chain;

use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use pbufpool::{DmaMemory, Packet, PacketQueue};

use super::books::{Books, GoOn, Name};
use super::indirect::{Shape, Tables};
use super::kicks::Kicks;
use super::layout::{Descriptor, Layout, rest};
use super::staged::Staged;
use super::used_ring::SplitClaims;
use super::{Completion, QueueConfig, Supply, Taker};
use crate::error::DeviceFault;
use crate::ring::index::RingIndex;
use crate::ring::{barrier, cache_lines};
use crate::virtio::transport::QueueAddresses;

/// Bit 0 of `avail.flags` and `used.flags`: no notification wanted.
const NO_NOTIFY: u16 = 1;

/// Puts `head` into an entry of the available ring. What is right already is left alone: the device
/// keeps the cache line.
#[inline(always)]
fn offer(entry: &AtomicU16, head: u16) {
    if entry.load(Relaxed) != head {
        entry.store(head, Relaxed);
    }
}

/// A split virtqueue with the packets that are in it.
#[derive(Debug)]
#[allow(private_bounds, reason = "books are the queues' own matter")]
pub struct SplitQueue<B: Books> {
    name: Name,
    books: B,
    /// Why the queue is broken, if it is.
    fault: Option<DeviceFault>,
    event_index: bool,
    /// Bytes at the front of a packet that have a descriptor of their own, if any do.
    header: usize,
    capacity: u16,
    layout: Layout,
    /// Descriptors that are not published yet.
    staged: Staged<B::Stage>,
    /// Tables for chains.
    tables: Tables<Descriptor>,
    /// Next place in the available ring; what is not published yet included.
    avail: RingIndex,
    /// What `avail.idx` says.
    published: RingIndex,
    /// How far the doorbell was rung, or need not be.
    kicks: Kicks<RingIndex>,
    /// Next element of the used ring to take.
    used: RingIndex,
    /// What `used.idx` said when it was last read: the elements before it are complete.
    claimed: RingIndex,
    /// Interrupts are on that do not stop by themselves.
    armed: bool,
}

#[allow(private_bounds, reason = "books are the queues' own matter")]
impl<B: Books> SplitQueue<B> {
    /// A queue as `config` says, whose size is a power of two. `None` if there is no memory for it.
    pub fn new(source: &'static dyn DmaMemory, config: QueueConfig) -> Option<Self> {
        let shape = Shape::of(config.size, config.indirect);
        let layout = Layout::modern(source, config.size, shape)?;
        Some(Self::with(layout, shape, config))
    }

    /// The same, laid out as the legacy interface asks.
    pub fn legacy(source: &'static dyn DmaMemory, config: QueueConfig) -> Option<Self> {
        let shape = Shape::of(config.size, config.indirect);
        let layout = Layout::legacy(source, config.size, shape)?;
        Some(Self::with(layout, shape, config))
    }

    fn with(layout: Layout, shape: Shape, config: QueueConfig) -> Self {
        let QueueConfig {
            index,
            size,
            capacity,
            event_index,
            header,
            ..
        } = config;
        debug_assert!(size.is_power_of_two(), "a split queue of {size} entries");
        let capacity = capacity.min(QueueConfig::room(size, header));
        let usable = if header == 0 { capacity } else { 2 * capacity };
        Self {
            name: Name { queue: index, size },
            books: B::new(size, usable),
            fault: None,
            event_index,
            header,
            capacity,
            tables: layout.tables(shape),
            layout,
            staged: Staged::none(),
            avail: RingIndex::default(),
            published: RingIndex::default(),
            kicks: Kicks::default(),
            used: RingIndex::default(),
            claimed: RingIndex::default(),
            armed: !event_index, // fresh memory says so
        }
    }

    /// Its number and size.
    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// Packets in it.
    #[inline]
    pub fn lent(&self) -> usize {
        self.books.slots().lent()
    }

    /// Why it is broken, if it is.
    #[inline]
    pub fn fault(&self) -> Option<DeviceFault> {
        self.fault
    }

    /// Packets of one buffer in it at most.
    pub fn capacity(&self) -> u16 {
        self.capacity
    }

    /// Where the device finds it.
    pub fn addresses(&self) -> QueueAddresses {
        self.layout.addresses
    }

    /// Packets of one buffer for which there is room.
    pub fn room(&self) -> usize {
        if self.fault.is_some() {
            0
        } else if self.header == 0 {
            self.books.room().into()
        } else {
            usize::from(self.books.room() / 2)
        }
    }

    /// Posts packets that are one piece each, for as long as there is room and `from` has one. The device
    /// reads their first `readable` bytes and may write the rest. Returns the packet that is something
    /// else, for [`post`](Self::post), if it came to one.
    #[inline(always)]
    pub fn post_each(&mut self, readable: usize, from: &mut impl Supply) -> Option<Packet> {
        // One descriptor may be left where each packet needs two.
        if self.room() == 0 {
            return None;
        }
        let (descriptors, ring) = (self.layout.descriptors(), self.layout.avail_ring());
        let (one_piece, size) = (self.header == 0, self.name.size);
        let (mut avail, staged) = (self.avail, &mut self.staged);
        let mut other = None;
        self.books.lend_each(|id| {
            let (packet, piece) = from.next(readable)?;
            let Some(piece) = piece.filter(|_| one_piece) else {
                other = Some(packet);
                return None;
            };
            let rest = rest(piece.len, piece.flags(), 0);
            staged.put(descriptors, id, !piece.writable, (piece.address, rest));
            offer(&ring[avail.place(size)], id);
            avail = avail.plus(1);
            Some((packet, piece.writable_bytes()))
        });
        self.avail = avail;
        other
    }

    /// Posts a packet: one descriptor for each of its buflets that has data, and one for the header
    /// if it needs its own; in a table, if one is free. The device reads its first `readable` bytes and may
    /// write the rest.
    ///
    /// # Errors
    /// The packet, if there is not room for all of it, or it has no data at all.
    pub fn post(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        let mut packet = Some(packet);
        match self.post_each(readable, &mut packet) {
            Some(chain) => self.post_chain(chain, readable),
            None => packet.map_or(Ok(()), Err),
        }
    }

    /// Publishes what was posted. Returns whether the doorbell has to be rung.
    pub fn publish(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        if self.avail != self.published {
            self.staged.write(self.layout.descriptors());
            barrier::publish();
            self.layout.avail_idx().store(self.avail.0, Release);
            self.published = self.avail;
            self.books.published();
        }
        if self.kicks.is_settled(self.avail) {
            return false;
        }
        barrier::publish_then_check();
        let wanted = if self.event_index {
            let event = RingIndex(self.layout.avail_event().load(Relaxed));
            let passed = |new: RingIndex, old| new.passed(event, old);
            self.kicks.wanted(self.avail, passed)
        } else {
            self.layout.used_flags().load(Relaxed) & NO_NOTIFY == 0
        };
        self.kicks.found(self.avail, wanted);
        // The index that a device that polls reads next. Not before the fence, which would wait for it.
        cache_lines::for_other_cores(self.layout.avail_idx());
        wanted
    }

    /// Where the next entry will be made available, as a doorbell says it: the index (2.9).
    pub(super) fn next_available(&self) -> u16 {
        self.published.0
    }

    /// Whether the device has completed something.
    pub fn has_completions(&self) -> bool {
        self.fault.is_none() && self.layout.used_idx().load(Acquire) != self.used.0
    }

    /// Gives completions to `to` while there are any and it takes more. The device's
    /// index is read only once all that it covered before is taken: the line that it lies in is the
    /// device's.
    #[inline(always)]
    pub fn take_each(&mut self, to: &mut impl Taker) {
        let mut went_on = GoOn::Continue(());
        // What was left the last time, and what came since.
        let left = self.used != self.claimed;
        for is_left in [left, false] {
            if went_on.is_break() || !(is_left || self.look()) {
                return;
            }
            let mut claims = SplitClaims {
                used: self.layout.used.all(),
                next: self.used,
                end: self.claimed,
                size: self.name.size,
            };
            let settled = self
                .books
                .settle_each(self.name, &mut claims, |packet, len| {
                    let len = len as usize;
                    went_on = to.give(Completion { packet, len });
                    went_on
                });
            self.used = claims.next;
            if let Err(fault) = settled {
                self.fault = Some(fault);
                self.claimed = self.used; // nothing more is taken
                return;
            }
            if self.armed {
                self.disarm();
            }
            if !is_left {
                return;
            }
        }
    }

    /// Takes the next completion.
    pub fn take(&mut self) -> Option<Completion> {
        let mut taken = None;
        self.take_each(&mut taken);
        taken
    }

    /// Reads the device's index; `true` if it covers something new.
    #[inline]
    fn look(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let claimed = RingIndex(self.layout.used_idx().load(Relaxed));
        let ahead = claimed.since(self.used);
        let outstanding = self.books.outstanding();
        if ahead > outstanding {
            let queue = self.name.queue;
            self.fault = Some(DeviceFault::IndexRanAhead {
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
            self.books.slots_mut().take_all(into);
            self.layout.memory.free();
        }
    }
}
