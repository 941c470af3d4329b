//! Virtqueues: how buffers pass between driver and device.
//!
//! [`Virtqueue`] is what the device drivers use: a split ring or a packed one, whose device completes
//! in any order or in that of posting, whichever was negotiated. All keep the same rule: what the driver knows lives in its own memory, and what
//! the device writes is a claim that is checked against it.
#![deny(unsafe_code)]

mod any_order;
mod books;
mod free_ids;
mod in_order;
mod indirect;
mod kicks;
pub(super) mod layout;
#[allow(
    unsafe_code,
    reason = "takes everything back from a device that was reset"
)]
pub mod packed;
#[allow(unsafe_code, reason = "a struct of atomics")]
mod packed_layout;
mod pieces;
#[allow(
    unsafe_code,
    reason = "takes everything back from a device that was reset"
)]
pub mod split;
mod staged;
mod used_ring;

use pbufpool::{DmaMemory, Packet, PacketQueue};

pub use any_order::AnyOrder;
pub use books::GoOn;
pub use in_order::InOrder;
pub use packed::PackedQueue;
pub use pieces::Piece;
pub use split::SplitQueue;

use super::transport::{Doorbell, QueueAddresses};
use crate::error::DeviceFault;

/// What a queue is to be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueConfig {
    /// Number of the queue.
    pub index: u16,
    /// Entries: a power of two for a split ring, anything up to 32768 for a packed one.
    pub size: u16,
    /// Packets of one buffer in it at most: no more than [`QueueConfig::room`]. Fewer than that
    /// where the driver wants a shorter ring than the device has.
    pub capacity: u16,
    /// Event indices were negotiated (`EVENT_IDX`).
    pub event_index: bool,
    /// The device uses buffers in the order in which it is given them (`IN_ORDER`).
    pub in_order: bool,
    /// Bytes at the front of each packet that have a descriptor of their own, for a legacy device
    /// without `ANY_LAYOUT` (5.1.6.6); else 0. A packed ring knows no such devices.
    pub header: usize,
    /// It posts packets of several buffers, and may do so by tables of descriptors (`INDIRECT_DESC`). Not
    /// where headers have descriptors of their own.
    pub indirect: bool,
}

impl QueueConfig {
    /// Packets of one buffer that a queue of `size` entries has room for.
    pub const fn room(size: u16, header: usize) -> u16 {
        if header == 0 { size } else { size / 2 }
    }
}

/// A packet that the device is done with.
#[derive(Debug)]
pub struct Completion {
    /// The packet.
    pub packet: Packet,
    /// Bytes that the device wrote; never more than were posted for it to write.
    pub len: usize,
}

/// How a ring lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ring {
    /// Three parts (virtio 1.2, 2.7).
    Split,
    /// One part, with two words for notifications (2.8).
    Packed,
    /// A split ring as devices from before virtio 1.0 look for it: in one piece, the used ring on
    /// a page of its own (2.7.2).
    Legacy,
}

/// Where packets to be posted come from. Not a closure, since its method can ask to be inlined, which
/// matters: each kind of queue calls it from a place of its own.
pub trait Supply {
    /// The next packet, of which the device reads the first `readable` bytes; with all its data as one
    /// piece, if that is what it is.
    fn next(&mut self, readable: usize) -> Option<(Packet, Option<Piece>)>;
}

/// At most one packet.
impl Supply for Option<Packet> {
    #[inline(always)]
    fn next(&mut self, readable: usize) -> Option<(Packet, Option<Piece>)> {
        let packet = self.take()?;
        let piece = pieces::only_piece(&packet, readable);
        Some((packet, piece))
    }
}

/// Where completions go; a trait for the same reason as [`Supply`].
pub trait Taker {
    /// Takes one. Says whether it takes more.
    fn give(&mut self, completion: Completion) -> GoOn;
}

impl Taker for &mut dyn Taker {
    #[inline(always)]
    fn give(&mut self, completion: Completion) -> GoOn {
        (**self).give(completion)
    }
}

/// Just one.
impl Taker for Option<Completion> {
    #[inline(always)]
    fn give(&mut self, completion: Completion) -> GoOn {
        *self = Some(completion);
        GoOn::Break(())
    }
}

/// The packets alone, all of them.
impl Taker for PacketQueue {
    #[inline(always)]
    fn give(&mut self, completion: Completion) -> GoOn {
        self.push_back(completion.packet);
        GoOn::Continue(())
    }
}

/// A virtqueue with the packets that are in it.
#[derive(Debug)]
pub enum Virtqueue {
    /// A split ring.
    Split(SplitQueue<AnyOrder>),
    /// A split ring whose device goes by the order.
    SplitInOrder(SplitQueue<InOrder>),
    /// A packed ring.
    Packed(PackedQueue<AnyOrder>),
    /// A packed ring whose device goes by the order.
    PackedInOrder(PackedQueue<InOrder>),
}

macro_rules! either {
    ($queue:expr, $it:ident => $do:expr) => {
        match $queue {
            Self::Split($it) => $do,
            Self::SplitInOrder($it) => $do,
            Self::Packed($it) => $do,
            Self::PackedInOrder($it) => $do,
        }
    };
}

impl Virtqueue {
    /// A queue; `None` if there is no memory for it.
    pub fn new(source: &'static dyn DmaMemory, ring: Ring, config: QueueConfig) -> Option<Self> {
        match (ring, config.in_order) {
            (Ring::Split, false) => SplitQueue::new(source, config).map(Self::Split),
            (Ring::Split, true) => SplitQueue::new(source, config).map(Self::SplitInOrder),
            // The legacy interface has no such feature.
            (Ring::Legacy, _) => SplitQueue::legacy(source, config).map(Self::Split),
            (Ring::Packed, false) => PackedQueue::new(source, config).map(Self::Packed),
            (Ring::Packed, true) => PackedQueue::new(source, config).map(Self::PackedInOrder),
        }
    }

    /// Bytes of shared memory that a queue takes.
    pub fn bytes(ring: Ring, config: &QueueConfig) -> usize {
        let size = config.size;
        let bytes = match ring {
            Ring::Split => layout::Layout::modern_bytes(size),
            Ring::Legacy => layout::Layout::legacy_bytes(size),
            Ring::Packed => packed_layout::Layout::bytes(size),
        };
        indirect::Shape::of(size, config.indirect).bytes_behind(bytes)
    }

    fn name(&self) -> books::Name {
        either!(self, queue => queue.name())
    }

    /// Number of the queue.
    pub fn index(&self) -> u16 {
        self.name().queue
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.name().size
    }

    /// Packets of one buffer in it at most.
    pub fn capacity(&self) -> u16 {
        either!(self, queue => queue.capacity())
    }

    /// Where the device finds it.
    pub fn addresses(&self) -> QueueAddresses {
        either!(self, queue => queue.addresses())
    }

    /// Packets of one buffer for which there is room.
    #[inline]
    pub fn room(&self) -> usize {
        either!(self, queue => queue.room())
    }

    /// In whose place a packet of `buffers` fits as things stand: of one of those for which there is
    /// [`room`](Self::room) if a table is free for it, else of as many as it has buffers.
    pub fn needs(&self, buffers: usize) -> usize {
        either!(self, queue => queue.entries(buffers))
    }

    /// Packets in the queue.
    pub fn lent(&self) -> usize {
        either!(self, queue => queue.lent())
    }

    /// Why the queue is broken, if it is.
    pub fn fault(&self) -> Option<DeviceFault> {
        either!(self, queue => queue.fault())
    }

    /// Posts a packet, of which the device reads the first `readable` bytes and may write the
    /// rest: one descriptor for each buflet that has data, in a table if one is free.
    ///
    /// # Errors
    /// The packet, if there is not room for all of it, or it has no data at all.
    pub fn post(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        either!(self, queue => queue.post(packet, readable))
    }

    /// Publishes what was posted. Returns the doorbell that has to be rung, if one has.
    pub fn publish(&mut self) -> Option<Doorbell> {
        let wanted = either!(self, queue => queue.publish());
        wanted.then(|| Doorbell {
            queue: self.index(),
            next: either!(self, queue => queue.next_available()),
        })
    }

    /// Whether the device has completed something.
    pub fn has_completions(&self) -> bool {
        either!(self, queue => queue.has_completions())
    }

    /// Posts packets that are one piece each, for as long as there is room and `from` has one. The device
    /// reads their first `readable` bytes and may write the rest: all of one or all of the other. Returns
    /// the packet that is something else, for [`post`](Self::post), if it came to one.
    #[inline(always)]
    pub fn post_each(&mut self, readable: usize, from: &mut impl Supply) -> Option<Packet> {
        either!(self, queue => queue.post_each(readable, from))
    }

    /// Gives completions to `to` while there are any and it takes more.
    #[inline(always)]
    pub fn take_each(&mut self, to: &mut impl Taker) {
        either!(self, queue => queue.take_each(to));
    }

    /// The same for those that are not worth code of their own for each kind of queue.
    #[inline(never)]
    pub fn take_for(&mut self, mut to: &mut dyn Taker) {
        self.take_each(&mut to);
    }

    /// Takes the next completion.
    pub fn take(&mut self) -> Option<Completion> {
        let mut taken = None;
        self.take_for(&mut taken);
        taken
    }

    /// Asks for an interrupt once about `after` more completions are there, at least one. Returns
    /// whether the queue is quiet: if not, completions came in the meantime.
    pub fn arm(&mut self, after: u16) -> bool {
        either!(self, queue => queue.arm(after))
    }

    /// Asks for no interrupts.
    pub fn disarm(&mut self) {
        either!(self, queue => queue.disarm());
    }

    /// Takes back every packet and frees the ring's memory.
    ///
    /// # Safety
    /// The device was reset after the queue was last enabled: it uses neither the ring nor the
    /// packets any more.
    #[allow(unsafe_code, reason = "passes the caller's promise on")]
    pub unsafe fn reclaim(self, into: &mut PacketQueue) {
        // SAFETY: as the caller promises.
        either!(self, queue => unsafe { queue.reclaim(into) });
    }
}
