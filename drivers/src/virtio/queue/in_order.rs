//! The books of a queue whose device uses buffers in the order in which it was given them
//! (`IN_ORDER`).
//!
//! Ids are places in the ring, taken one after the other and round again (virtio 1.2, 2.7.5), so there
//! is no list of free ones. The device may complete a batch with one claim, which names the last buffer
//! of it; those before it count as used completely (2.7.9, 2.8.8). Whatever it claims, loans are settled
//! oldest first: a claim only says how far. Where an index says that already, and nothing was written,
//! the claim is not even read: the memory that it lies in stays the device's.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::books::{Books, Claims, GoOn, Name};
use super::staged::Bursts;
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

/// Where posting is.
#[derive(Clone, Copy, Debug)]
struct Lending {
    /// The next place to take.
    next: u16,
    /// Places that are free.
    room: u16,
    /// Buffers that were lent so far.
    lent: RingIndex,
    /// Bytes to be written were in one of them.
    writable: bool,
}

/// Where settling is.
#[derive(Clone, Copy, Debug)]
struct Settling {
    /// The place of the oldest buffer.
    oldest: u16,
    /// Buffers that were settled so far.
    settled: RingIndex,
    /// Buffers that the last claim speaks for and that are not settled yet.
    batch: u16,
    /// Bytes written to the last of them.
    len: u32,
}

impl Settling {
    /// The oldest buffer is settled.
    #[inline(always)]
    fn settle(&mut self, turn: Turn, size: u16) {
        self.oldest = behind(self.oldest, turn.descriptors, size);
        self.settled = self.settled.plus(1);
    }
}

/// Loans by the place of their first descriptor, in a row.
#[derive(Debug)]
pub struct InOrder {
    slots: Slots<Turn>,
    /// Places of the ring.
    size: u16,
    lending: Lending,
    settling: Settling,
    /// Buffers that were published so far.
    published: RingIndex,
}

/// The place `steps` behind `place`, at most one lap, in a ring of `size`.
#[inline(always)]
fn behind(place: u16, steps: u16, size: u16) -> u16 {
    let next = u32::from(place) + u32::from(steps);
    let size = u32::from(size);
    if next >= size {
        core::hint::cold_path(); // once a lap
        (next - size) as u16
    } else {
        next as u16
    }
}

impl InOrder {
    /// Settles up to `count` loans, whose claims are not read: the device could write nothing.
    #[inline(always)]
    fn settle_unread(
        &mut self,
        count: u16,
        claims: &mut impl Claims,
        mut give: impl FnMut(Packet, u32) -> GoOn,
    ) {
        let (mut now, mut freed) = (self.settling, 0);
        for _ in 0..count.min(self.published.since(now.settled)) {
            let Ok((packet, turn)) = self.slots.settle(now.oldest, (), |_| Ok(())) else {
                break; // cannot be: all that is published and not settled is lent
            };
            now.settle(turn, self.size);
            freed += turn.descriptors;
            claims.settled(turn.descriptors);
            if give(packet, 0).is_break() {
                break;
            }
        }
        self.settling = now;
        self.lending.room += freed;
    }

    /// How many buffers a claim speaks for that does not name the oldest.
    #[cold]
    fn batch_up_to(
        &self,
        name: Name,
        count: Option<u16>,
        settled: RingIndex,
        id: u32,
    ) -> Result<u16, DeviceFault> {
        let id = name.in_range(id)?;
        let not_lent = name.not_lent(id);
        let turn = self.slots.note(id).ok_or(not_lent)?;
        let before = turn.number.since(settled);
        if before >= self.published.since(settled) {
            return Err(not_lent);
        }
        match count {
            Some(claimed) if before >= claimed => Err(DeviceFault::OutOfOrder {
                queue: name.queue,
                id,
                before,
                claimed,
            }),
            _ => Ok(before + 1),
        }
    }
}

impl Books for InOrder {
    type Note = Turn;
    type Stage = Bursts;

    fn new(size: u16, usable: u16) -> Self {
        let none = RingIndex::default();
        Self {
            slots: Slots::new(size),
            size,
            lending: Lending {
                next: 0,
                room: usable,
                lent: none,
                writable: false,
            },
            settling: Settling {
                oldest: 0,
                settled: none,
                batch: 0,
                len: 0,
            },
            published: none,
        }
    }

    fn slots(&self) -> &Slots<Turn> {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots<Turn> {
        &mut self.slots
    }

    fn loan(&self, id: u16) -> Option<u32> {
        self.slots.note(id).map(|turn| turn.number.0.into())
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.lending.room
    }

    fn take(&mut self) -> Option<u16> {
        let Lending { next, room, .. } = &mut self.lending;
        *room = room.checked_sub(1)?;
        let id = *next;
        *next = behind(id, 1, self.size);
        Some(id)
    }

    fn link(&mut self, _: u16, _: u16) {}

    fn lend(&mut self, first: u16, descriptors: u16, packet: Packet, posted: u32) {
        let turn = Turn {
            posted,
            number: self.lending.lent,
            descriptors,
        };
        self.slots.lend(first, packet.lend(), turn);
        self.lending.writable |= posted != 0;
        self.lending.lent = self.lending.lent.plus(1);
    }

    #[inline(always)]
    fn lend_each(&mut self, mut next: impl FnMut(u16) -> Option<(Packet, u32)>) {
        let mut now = self.lending;
        while now.room != 0
            && let Some((packet, posted)) = next(now.next)
        {
            let turn = Turn {
                posted,
                number: now.lent,
                descriptors: 1,
            };
            self.slots.lend(now.next, packet.lend(), turn);
            now.next = behind(now.next, 1, self.size);
            now.lent = now.lent.plus(1);
            now.writable |= posted != 0;
            now.room -= 1;
        }
        self.lending = now;
    }

    fn published(&mut self) {
        self.published = self.lending.lent;
    }

    #[inline(always)]
    fn outstanding(&self) -> u16 {
        self.published.since(self.settling.settled)
    }

    #[inline(always)]
    fn is_skipping(&self) -> bool {
        self.settling.batch != 0
    }

    #[inline(always)]
    fn settle_each(
        &mut self,
        name: Name,
        claims: &mut impl Claims,
        mut give: impl FnMut(Packet, u32) -> GoOn,
    ) -> Result<(), DeviceFault> {
        // Where an index says all that there is to know.
        if let (Some(count), false) = (claims.count(), self.lending.writable) {
            self.settle_unread(count, claims, give);
            return Ok(());
        }
        let (mut now, mut freed) = (self.settling, 0);
        let outcome = loop {
            // What a device says that holds nothing is not even looked at.
            if now.settled == self.published {
                break Ok(());
            }
            let id = now.oldest;
            if now.batch == 0 {
                let Some(claim) = claims.next() else {
                    break Ok(());
                };
                (now.batch, now.len) = (1, claim.len);
                // A claim for each buffer, as most devices have it, names the oldest.
                if claim.id != u32::from(id) {
                    match self.batch_up_to(name, claims.count(), now.settled, claim.id) {
                        Ok(batch) => now.batch = batch,
                        Err(fault) => break Err(fault),
                    }
                }
            }
            // What a claim skips is full.
            let says = |posted| if now.batch == 1 { now.len } else { posted };
            let check = |turn: Turn| name.fits(id, says(turn.posted), turn.posted);
            let settled = self.slots.settle(id, name.not_lent(id), check);
            let (packet, turn) = match settled {
                Ok(settled) => settled,
                Err(fault) => break Err(fault),
            };
            let len = if turn.posted == 0 {
                0
            } else {
                says(turn.posted)
            };
            now.batch -= 1;
            now.settle(turn, self.size);
            freed += turn.descriptors;
            claims.settled(turn.descriptors);
            if give(packet, len).is_break() {
                break Ok(());
            }
        };
        self.settling = now;
        self.lending.room += freed;
        outcome
    }
}
