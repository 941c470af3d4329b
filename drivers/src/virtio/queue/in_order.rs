//! The books of a queue whose device uses buffers in the order in which it was given them
//! (`IN_ORDER`).
//!
//! Ids are places in the ring, taken one after the other and round again (virtio 1.2, 2.7.5), so there
//! is no list of free ones. The device may complete a batch with one claim, which names the last buffer
//! of it; those before it count as used completely (2.7.9, 2.8.8). Whatever it claims, loans are settled
//! oldest first: a claim only says how far.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::books::{Books, Claim, Name, Settled};
use crate::error::DeviceFault;
use crate::ring::index::RingIndex;
use crate::ring::slots::Slots;

/// What is noted of a loan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Bytes that the device may write.
    posted: u32,
    /// How many buffers were lent before it.
    number: RingIndex,
    /// Descriptors that it takes.
    descriptors: u16,
}

/// Loans by the place of their first descriptor, in a row.
#[derive(Debug)]
pub struct InOrder {
    slots: Slots<Turn>,
    /// Places of the ring.
    size: u16,
    /// Places that are free.
    room: u16,
    /// The next place to take.
    next: u16,
    /// The place of the oldest buffer.
    oldest: u16,
    /// Buffers that were lent so far.
    lent: RingIndex,
    /// Buffers that were published so far.
    published: RingIndex,
    /// Buffers that were settled so far.
    settled: RingIndex,
    /// Buffers that the last claim speaks for and that are not settled yet.
    batch: u16,
    /// Bytes written to the last of them.
    len: u32,
}

impl InOrder {
    /// The place `steps` behind `place`, at most one lap.
    #[inline(always)]
    fn plus(&self, place: u16, steps: u16) -> u16 {
        let next = u32::from(place) + u32::from(steps);
        let size = u32::from(self.size);
        (if next >= size { next - size } else { next }) as u16
    }

    /// Accepts a claim: how many buffers it speaks for.
    #[inline(always)]
    fn open(&mut self, name: Name, most: u16, claim: Claim) -> Result<(), DeviceFault> {
        // A claim for each buffer, as most devices have it, names the oldest.
        self.batch = if claim.id == u32::from(self.oldest) && self.settled != self.published {
            1
        } else {
            self.batch_up_to(name, most, claim.id)?
        };
        self.len = claim.len;
        Ok(())
    }

    #[cold]
    fn batch_up_to(&self, name: Name, most: u16, id: u32) -> Result<u16, DeviceFault> {
        let id = name.in_range(id)?;
        let not_lent = name.not_lent(id);
        let turn = self.slots.note(id).ok_or(not_lent)?;
        let before = turn.number.since(self.settled);
        if before >= self.outstanding() {
            return Err(not_lent);
        }
        if before >= most {
            return Err(DeviceFault::OutOfOrder {
                queue: name.queue,
                id,
                before,
                claimed: most,
            });
        }
        Ok(before + 1)
    }
}

impl Books for InOrder {
    type Note = Turn;

    fn new(size: u16, usable: u16) -> Self {
        Self {
            slots: Slots::new(size),
            size,
            room: usable,
            next: 0,
            oldest: 0,
            lent: RingIndex::default(),
            published: RingIndex::default(),
            settled: RingIndex::default(),
            batch: 0,
            len: 0,
        }
    }

    fn slots(&self) -> &Slots<Turn> {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots<Turn> {
        &mut self.slots
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.room
    }

    #[inline(always)]
    fn take(&mut self) -> Option<u16> {
        self.room = self.room.checked_sub(1)?;
        let id = self.next;
        self.next = self.plus(id, 1);
        Some(id)
    }

    fn link(&mut self, _: u16, _: u16) {}

    #[inline(always)]
    fn lend(&mut self, first: u16, descriptors: u16, packet: Packet, posted: u32) {
        let turn = Turn {
            posted,
            number: self.lent,
            descriptors,
        };
        self.slots.lend(first, packet.lend(), turn);
        self.lent = self.lent.plus(1);
    }

    fn published(&mut self) {
        self.published = self.lent;
    }

    #[inline(always)]
    fn outstanding(&self) -> u16 {
        self.published.since(self.settled)
    }

    #[inline(always)]
    fn is_skipping(&self) -> bool {
        self.batch != 0
    }

    #[inline(always)]
    fn settle(
        &mut self,
        name: Name,
        most: u16,
        claim: impl FnOnce() -> Claim,
    ) -> Result<Settled, DeviceFault> {
        if self.batch == 0 {
            self.open(name, most, claim())?;
        }
        let (id, len) = (self.oldest, self.len);
        let is_last = self.batch == 1;
        let check = |turn: Turn| {
            if is_last {
                name.fits(id, len, turn.posted)
            } else {
                Ok(())
            }
        };
        let (packet, turn) = self.slots.settle(id, name.not_lent(id), check)?;
        let Turn {
            posted,
            descriptors,
            ..
        } = turn;
        self.oldest = self.plus(id, descriptors);
        self.room += descriptors;
        self.settled = self.settled.plus(1);
        self.batch -= 1;
        Ok(Settled {
            packet,
            len: if is_last && posted != 0 { len } else { posted },
            descriptors,
        })
    }
}
