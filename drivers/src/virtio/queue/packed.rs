//! The driver's half of a packed virtqueue (virtio 1.2, 2.8).
//!
//! One ring serves both ways: the driver makes descriptors available in place after place, the
//! device overwrites them as used, in the order in which it finishes. Whose a descriptor is, two
//! flag bits say, compared with wrap counters. A buffer is named by the id that the driver gave
//! it, not by its place.
//!
//! As in [`SplitQueue`](super::SplitQueue), what the driver *knows* lives here and in its [`Books`]:
//! which ids are lent, with how many descriptors and how many bytes to write. Of the ring only the flags, the id and
//! the length of the next used descriptor are read, at once, and checked. A violation marks the
//! queue broken.

mod chain;
mod filling;

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use pbufpool::{DmaMemory, Packet, PacketQueue};

use self::filling::Filling;
use super::books::{Books, Claim, Claims, Name};
use super::indirect::{Shape, Tables};
use super::kicks::Kicks;
use super::packed_layout::{ALWAYS, AT_PLACE, AVAIL, Descriptor, Layout, NEVER, USED};
use super::staged::Staged;
use super::{Completion, QueueConfig, Supply, Taker};
use crate::error::DeviceFault;
use crate::ring::barrier;
use crate::ring::place::Place;
use crate::virtio::transport::QueueAddresses;

/// The places that the device uses next.
struct PackedClaims<'a> {
    descriptors: &'a [Descriptor],
    next: Place,
}

impl<'a> PackedClaims<'a> {
    #[inline(always)]
    fn new(layout: &'a Layout, next: Place) -> Self {
        let descriptors = layout.descriptors();
        Self { descriptors, next }
    }
}

impl Claims for PackedClaims<'_> {
    #[inline(always)]
    fn next(&self) -> Option<Claim> {
        let rest = self.descriptors[usize::from(self.next.slot)].rest();
        let used = if self.next.wrap { AVAIL | USED } else { 0 };
        let (id, len) = (rest.id().into(), rest.len());
        (rest.flags() & (AVAIL | USED) == used).then_some(Claim { id, len })
    }

    #[inline(always)]
    fn count(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn settled(&mut self, descriptors: u16) {
        let size = self.descriptors.len() as u16;
        self.next = self.next.plus(descriptors, size);
    }
}

/// A packed virtqueue with the packets that are in it.
#[derive(Debug)]
#[allow(private_bounds, reason = "books are the queues' own matter")]
pub struct PackedQueue<B: Books> {
    name: Name,
    /// A packet has an id for each place that it takes, so there are as many free ids as places.
    books: B,
    /// Why the queue is broken, if it is.
    fault: Option<DeviceFault>,
    event_index: bool,
    layout: Layout,
    /// Tables for chains.
    tables: Tables<Descriptor>,
    /// Next place to fill; what is not published yet included.
    avail: Place,
    /// Descriptors that are not published yet. Until the first of them is, the device does not look past
    /// it (2.8.21).
    staged: Staged<B::Stage>,
    /// How far the doorbell was rung, or need not be.
    kicks: Kicks<Place>,
    /// Next place in which the device will write a used descriptor.
    used: Place,
    /// An interrupt was asked for and nothing taken since.
    armed: bool,
}

#[allow(private_bounds, reason = "books are the queues' own matter")]
impl<B: Books> PackedQueue<B> {
    /// A queue as `config` says. `None` if there is no memory for it.
    pub fn new(source: &'static dyn DmaMemory, config: QueueConfig) -> Option<Self> {
        let QueueConfig {
            index,
            size,
            event_index,
            ..
        } = config;
        debug_assert!((1..=1 << 15).contains(&size), "a packed queue of {size}");
        let shape = Shape::of(size, config.indirect);
        let layout = Layout::new(source, size, shape)?;
        Some(Self {
            name: Name { queue: index, size },
            books: B::new(size, size),
            fault: None,
            event_index,
            tables: layout.tables(shape),
            layout,
            avail: Place::START,
            staged: Staged::none(),
            kicks: Kicks::new(Place::START),
            used: Place::START,
            armed: true, // fresh memory says so
        })
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
        self.name.size
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
            self.books.room().into()
        }
    }

    /// Posts packets that are one piece each, for as long as there is room and `from` has one. The device
    /// reads their first `readable` bytes and may write the rest. Returns the packet that is something
    /// else, for [`post`](Self::post), if it came to one.
    #[inline(always)]
    pub fn post_each(&mut self, readable: usize, from: &mut impl Supply) -> Option<Packet> {
        if self.fault.is_some() {
            return None;
        }
        let mut filling = Filling::new(self.layout.descriptors(), self.avail, &mut self.staged);
        let mut other = None;
        self.books.lend_each(|id| {
            let (packet, piece) = from.next(readable)?;
            let Some(piece) = piece else {
                other = Some(packet);
                return None;
            };
            filling.fill(id, piece, 0);
            Some((packet, piece.writable_bytes()))
        });
        self.avail = filling.avail();
        other
    }

    /// Posts a packet: one descriptor for each of its buflets that has data; in a table, if one is free.
    /// The device reads its first `readable` bytes and may write the rest.
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
        if self.staged.write(self.layout.descriptors()) {
            self.books.published();
        }
        if self.kicks.is_settled(self.avail) {
            return false;
        }
        barrier::publish_then_check();
        let wanted = match self.layout.device.flags().load(Acquire) {
            NEVER => false,
            AT_PLACE if self.event_index => {
                let event = self.layout.device.place().load(Relaxed);
                // No such place: the device is confused, and one doorbell too many does no harm.
                Place::from_bits(event, self.name.size).is_none_or(|event| {
                    let passed = |new: Place, old| new.passed(event, old, self.name.size);
                    self.kicks.wanted(self.avail, passed)
                })
            }
            _ => true,
        };
        self.kicks.found(self.avail, wanted);
        wanted
    }

    /// Where the next descriptor will be made available, as a doorbell says it: the place, and in bit 15
    /// its wrap counter (2.9). Asked for right after a publication.
    pub(super) fn next_available(&self) -> u16 {
        self.avail.to_bits()
    }

    /// Whether the device has completed something.
    pub fn has_completions(&self) -> bool {
        self.fault.is_none() && self.has_next()
    }

    /// Whether a completion is to be taken: of those that a claim spoke for, or that the device wrote to
    /// the next place. A place that was never filled, or whose completion was taken, does not look like
    /// that, unless the device lies.
    fn has_next(&self) -> bool {
        self.books.is_skipping()
            || (self.lent() != 0 && PackedClaims::new(&self.layout, self.used).next().is_some())
    }

    /// Gives completions to `to` while there are any and it takes more.
    #[inline(always)]
    pub fn take_each(&mut self, to: &mut impl Taker) {
        if self.fault.is_some() {
            return;
        }
        let mut claims = PackedClaims::new(&self.layout, self.used);
        let settled = self
            .books
            .settle_each(self.name, &mut claims, |packet, len| {
                let len = len as usize;
                to.give(Completion { packet, len })
            });
        let took = self.used != claims.next;
        self.used = claims.next;
        self.fault = settled.err();
        // The place that was asked for comes round again every other lap.
        if self.armed && took {
            self.disarm();
        }
    }

    /// Takes the next completion.
    pub fn take(&mut self) -> Option<Completion> {
        let mut taken = None;
        self.take_each(&mut taken);
        taken
    }

    /// Asks for an interrupt once about `after` more descriptors are used, at least one. Returns
    /// whether the queue is quiet: if not, completions came in the meantime.
    pub fn arm(&mut self, after: u16) -> bool {
        self.armed = true;
        if self.event_index {
            let out = self.name.size - self.books.room();
            let steps = after.clamp(1, out.max(1)) - 1;
            let event = self.used.plus(steps, self.name.size);
            self.layout.driver.place().store(event.to_bits(), Relaxed);
            barrier::publish();
            self.layout.driver.flags().store(AT_PLACE, Relaxed);
        } else {
            self.layout.driver.flags().store(ALWAYS, Relaxed);
        }
        barrier::publish_then_check();
        self.fault.is_none() && !self.has_next()
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
            self.books.slots_mut().take_all(into);
            self.layout.memory.free();
        }
    }
}
