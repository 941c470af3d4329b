//! The slots beside a descriptor ring: who owns a packet that the device holds.
//!
//! A ring lends a packet under an id and takes it back by that id when the device says that it is
//! done. The invariant: a packet comes out exactly once for each time it went in.

use alloc::boxed::Box;

use pbufpool::{Lent, Packet, PacketQueue};

/// One lent packet and what the ring notes of it.
#[derive(Debug)]
struct Loan<T> {
    packet: Lent,
    note: T,
}

/// Loans by id, each with a note of the ring's own.
#[derive(Debug)]
pub struct Slots<T> {
    loans: Box<[Option<Loan<T>>]>,
    lent: usize,
}

impl<T: Copy> Slots<T> {
    /// `size` free slots.
    pub fn new(size: u16) -> Self {
        Self {
            loans: (0..size).map(|_| None).collect(),
            lent: 0,
        }
    }

    /// Packets that are lent.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Lends `packet` under `id`, a free slot.
    #[inline(always)]
    pub fn lend(&mut self, id: u16, packet: Lent, note: T) {
        let slot = &mut self.loans[usize::from(id)];
        debug_assert!(slot.is_none(), "slot {id} is lent already");
        // Free, so nothing is there to be dropped.
        core::mem::forget(slot.replace(Loan { packet, note }));
        self.lent += 1;
    }

    /// What was noted of `id`, if it is lent.
    #[inline(always)]
    pub fn note(&self, id: u16) -> Option<T> {
        let slot = self.loans.get(usize::from(id))?.as_ref();
        slot.map(|loan| loan.note)
    }

    /// Takes back what the device finished with; `None` if it was not lent.
    pub fn take(&mut self, id: u16) -> Option<Packet> {
        let settled = self.settle(id, (), |_| Ok(()));
        settled.ok().map(|(packet, _)| packet)
    }

    /// Takes back `id`, if it is lent and `check` agrees with what was noted of it.
    ///
    /// # Errors
    /// What `check` says; `not_lent` without one. It stays lent then.
    #[inline(always)]
    pub fn settle<E>(
        &mut self,
        id: u16,
        not_lent: E,
        check: impl FnOnce(T) -> Result<(), E>,
    ) -> Result<(Packet, T), E> {
        let Some(slot) = self.loans.get_mut(usize::from(id)) else {
            return Err(not_lent);
        };
        let Some(Loan { note, .. }) = slot else {
            return Err(not_lent);
        };
        let note = *note;
        check(note)?;
        match slot.take() {
            Some(loan) => {
                self.lent -= 1;
                // SAFETY: the device completed this id, and it held exactly this packet under it.
                Ok((unsafe { loan.packet.reclaim() }, note))
            }
            None => Err(not_lent), // cannot be: looked at above
        }
    }

    /// Takes everything back from a device that was reset.
    ///
    /// # Safety
    /// The device has been reset since the last loan: it touches none of the buffers any more.
    pub unsafe fn take_all(&mut self, into: &mut PacketQueue) {
        for loan in self.loans.iter_mut().filter_map(Option::take) {
            // SAFETY: the caller reset the device.
            into.push_back(unsafe { loan.packet.reclaim() });
        }
        self.lent = 0;
    }
}
