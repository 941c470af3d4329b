//! What a queue knows of the buffers that the device has, whatever its ring looks like.
//!
//! A buffer takes as many ids as it has descriptors; the first of them names it. In a split ring an id
//! is the number of a descriptor, in a packed one it is only a name. The books are kept in one of two
//! ways: [`AnyOrder`](super::any_order::AnyOrder) where the device may complete what it likes first, and
//! [`InOrder`](super::in_order::InOrder) where it promised to go by the order in which it was given
//! buffers.
//!
//! The invariant of both: a claim is honoured only if its id is in range, lent and published, and its
//! length no greater than what was posted; then the loan is over. A loan that was not published yet
//! could not be known to the device, and its descriptor is still to come.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::staged::Stage;
use crate::error::DeviceFault;
use crate::ring::slots::Slots;

/// A queue, for naming it in faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    /// Its number.
    pub(super) queue: u16,
    /// Its entries.
    pub(super) size: u16,
}

impl Name {
    /// The id in a claim, if the ring has it.
    #[inline(always)]
    pub(super) fn in_range(self, id: u32) -> Result<u16, DeviceFault> {
        let Self { queue, size } = self;
        match u16::try_from(id) {
            Ok(id) if id < size => Ok(id),
            _ => Err(DeviceFault::IdOutOfRange { queue, id, size }),
        }
    }

    /// The claim is about a buffer that the device does not have.
    #[inline(always)]
    pub(super) fn not_lent(self, id: u16) -> DeviceFault {
        DeviceFault::NotLent {
            queue: self.queue,
            id: id.into(),
        }
    }

    /// The length in a claim, if the device may have written that much to the `posted` bytes of `id`.
    /// Where it may write nothing, the length means nothing (2.7.8.2).
    #[inline(always)]
    pub(super) fn fits(self, id: u16, len: u32, posted: u32) -> Result<(), DeviceFault> {
        if posted != 0 && len > posted {
            let queue = self.queue;
            return Err(DeviceFault::LengthTooLarge {
                queue,
                id,
                len,
                posted,
            });
        }
        Ok(())
    }
}

/// What the device wrote about a buffer that it is done with: its id, and bytes written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) id: u32,
    pub(super) len: u32,
}

/// The claims of a device, in the order in which it makes them.
pub(super) trait Claims {
    /// The next claim; `None` if there is none yet.
    fn next(&self) -> Option<Claim>;

    /// Buffers that the device has completed and that were not settled yet; `None` if it does not say
    /// how many.
    fn count(&self) -> Option<u16>;

    /// A loan of so many descriptors was settled.
    fn settled(&mut self, descriptors: u16);
}

/// Whether to go on: `Break` ends a burst.
pub type GoOn = core::ops::ControlFlow<()>;

/// How a queue keeps its books.
pub(super) trait Books {
    /// What is noted of each loan.
    type Note: Copy;

    /// Where descriptors wait for their publication.
    type Stage: Stage;

    /// Nothing lent, in a ring of `size` entries of which `usable` may be used.
    fn new(size: u16, usable: u16) -> Self;

    /// The packets that are lent.
    fn slots(&self) -> &Slots<Self::Note>;

    /// The same, for taking all of them back.
    fn slots_mut(&mut self) -> &mut Slots<Self::Note>;

    /// A number that tells the loan under `id` from later ones; `None` if nothing is lent under it.
    fn loan(&self, id: u16) -> Option<u32>;

    /// Ids that are free.
    fn room(&self) -> u16;

    /// Takes a free id.
    fn take(&mut self) -> Option<u16>;

    /// The buffer to which `before` belongs takes `id` as well, which was taken right after it.
    fn link(&mut self, before: u16, id: u16);

    /// Lends `packet` under `first`, the first of `descriptors` ids that were taken; the device may write
    /// `posted` bytes.
    fn lend(&mut self, first: u16, descriptors: u16, packet: Packet, posted: u32);

    /// Lends packets of one descriptor for as long as there is room. For each free id in turn, `next` has
    /// the packet and how many bytes of it the device may write; with `None` it ends.
    fn lend_each(&mut self, next: impl FnMut(u16) -> Option<(Packet, u32)>);

    /// What was lent is published.
    fn published(&mut self);

    /// Buffers that the device can be done with, at most.
    fn outstanding(&self) -> u16;

    /// The device is known to be done with the next buffer, though it made no claim about it.
    fn is_skipping(&self) -> bool {
        false
    }

    /// Settles loans one after the other, as the device's `claims` have it, while `give`, which gets each
    /// packet with the bytes that the device wrote, lets it go on.
    ///
    /// # Errors
    /// What is wrong with a claim; those before it are settled.
    fn settle_each(
        &mut self,
        name: Name,
        claims: &mut impl Claims,
        give: impl FnMut(Packet, u32) -> GoOn,
    ) -> Result<(), DeviceFault>;
}
