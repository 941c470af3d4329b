//! The books of a queue whose device completes buffers in any order.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use pbufpool::Packet;

use super::books::{Books, Claim, Claims, GoOn, Name};
use super::free_ids::FreeIds;
use super::staged::One;
use crate::error::DeviceFault;
use crate::ring::slots::Slots;

/// Behind the last id of a buffer.
const LAST: u16 = u16::MAX;

/// What is noted of a loan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// Bytes that the device may write.
    posted: u32,
    /// Number of the publication that tells the device of it.
    batch: u32,
}

/// Loans by the ids that the device names, and the ids that are free.
#[derive(Debug)]
pub struct AnyOrder {
    slots: Slots<Offer>,
    /// Ids that are free; those that the driver is not to use are never here.
    free: FreeIds,
    /// The id behind each one that is lent, or [`LAST`]. Our own record: what lies in memory that the
    /// device could have changed is not followed.
    behind: Box<[u16]>,
    /// Number of the next publication.
    batch: u32,
}

impl AnyOrder {
    /// The ids of the buffer that `first` names are free again; returns how many.
    #[inline(always)]
    fn give_back(&mut self, first: u16) -> u16 {
        let (mut next, mut count) = (first, 0);
        while next != LAST {
            self.free.give(next);
            next = core::mem::replace(&mut self.behind[usize::from(next)], LAST);
            count += 1;
        }
        count
    }
}

impl Books for AnyOrder {
    type Note = Offer;
    type Stage = One;

    fn new(size: u16, usable: u16) -> Self {
        Self {
            slots: Slots::new(size),
            free: FreeIds::new(usable),
            behind: (0..size).map(|_| LAST).collect(),
            batch: 0,
        }
    }

    fn slots(&self) -> &Slots<Offer> {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots<Offer> {
        &mut self.slots
    }

    fn loan(&self, id: u16) -> Option<u32> {
        // The next one is of a later batch, since what was not published is not settled.
        self.slots.note(id).map(|offer| offer.batch)
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.free.len()
    }

    #[inline(always)]
    fn take(&mut self) -> Option<u16> {
        self.free.take()
    }

    fn link(&mut self, before: u16, id: u16) {
        self.behind[usize::from(before)] = id;
    }

    #[inline(always)]
    fn lend(&mut self, first: u16, _: u16, packet: Packet, posted: u32) {
        let batch = self.batch;
        self.slots
            .lend(first, packet.lend(), Offer { posted, batch });
    }

    #[inline(always)]
    fn lend_each(&mut self, mut next: impl FnMut(u16) -> Option<(Packet, u32)>) {
        while let Some(id) = self.free.first()
            && let Some((packet, posted)) = next(id)
        {
            self.free.take();
            self.lend(id, 1, packet, posted);
        }
    }

    fn published(&mut self) {
        self.batch = self.batch.wrapping_add(1);
    }

    fn outstanding(&self) -> u16 {
        self.slots.lent() as u16
    }

    #[inline(always)]
    fn settle_each(
        &mut self,
        name: Name,
        claims: &mut impl Claims,
        mut give: impl FnMut(Packet, u32) -> GoOn,
    ) -> Result<(), DeviceFault> {
        let batch = self.batch;
        // What a device says that holds nothing is not even looked at.
        while self.slots.lent() != 0
            && let Some(Claim { id, len }) = claims.next()
        {
            let id = name.in_range(id)?;
            let check = |offer: Offer| match offer.posted {
                _ if offer.batch == batch => Err(name.not_lent(id)),
                posted => name.fits(id, len, posted),
            };
            let (packet, offer) = self.slots.settle(id, name.not_lent(id), check)?;
            claims.settled(self.give_back(id));
            let len = if offer.posted != 0 { len } else { 0 };
            if give(packet, len).is_break() {
                break;
            }
        }
        Ok(())
    }
}
