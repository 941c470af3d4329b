//! What a queue knows of its own, whatever its ring looks like: its number and size, the packets
//! that the device holds by the ids under which they were lent, and whether the device has lied.
//!
//! The invariant: a claim is honoured only if its id is in range, lent and published, and its length
//! no greater than what was posted; then the loan is over. A loan that was not published yet could
//! not be known to the device, and its descriptor is still to come.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::Completion;
use crate::error::DeviceFault;
use crate::ring::slots::{Offer, Slots};

/// The loans of one queue.
#[derive(Debug)]
pub(super) struct Loans {
    pub(super) index: u16,
    pub(super) size: u16,
    pub(super) slots: Slots,
    pub(super) fault: Option<DeviceFault>,
    /// Number of the next publication.
    batch: u32,
}

impl Loans {
    /// No loans yet, of at most `size`.
    pub(super) fn new(index: u16, size: u16) -> Self {
        Self {
            index,
            size,
            slots: Slots::new(size),
            fault: None,
            batch: 0,
        }
    }

    /// Lends `packet` under `id`, of which the device may write `posted` bytes.
    #[inline(always)]
    pub(super) fn lend(&mut self, id: u16, packet: Packet, posted: u32) {
        let batch = self.batch;
        self.slots.lend(id, packet.lend(), Offer { posted, batch });
    }

    /// What was lent since the last publication is published.
    pub(super) fn published(&mut self) {
        self.batch = self.batch.wrapping_add(1);
    }

    /// Checks a claim that the device is done with `id` and wrote `len` bytes, and settles it. A
    /// false one breaks the queue.
    #[inline(always)]
    pub(super) fn settle(&mut self, id: u32, len: u32) -> Option<(u16, Completion)> {
        let outcome = self.honour(id, len);
        if let Err(fault) = outcome {
            self.fault = Some(fault);
        }
        outcome.ok()
    }

    #[inline(always)]
    fn honour(&mut self, id: u32, len: u32) -> Result<(u16, Completion), DeviceFault> {
        let (queue, size) = (self.index, self.size);
        let Some(id) = u16::try_from(id).ok().filter(|id| *id < size) else {
            return Err(DeviceFault::IdOutOfRange { queue, id, size });
        };
        let not_lent = DeviceFault::NotLent {
            queue,
            id: id.into(),
        };
        let batch = self.batch;
        let check = |offer: Offer| match offer.posted {
            _ if offer.batch == batch => Err(not_lent),
            // Where nothing may be written, the length means nothing (2.7.8.2).
            posted if posted != 0 && len > posted => Err(DeviceFault::LengthTooLarge {
                queue,
                id,
                len,
                posted,
            }),
            _ => Ok(()),
        };
        let (packet, offer) = self.slots.settle(id, not_lent, check)?;
        let len = if offer.posted != 0 { len as usize } else { 0 };
        Ok((id, Completion { packet, len }))
    }
}
