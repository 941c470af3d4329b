//! The slots beside a descriptor ring: who owns a packet that the device holds.
//!
//! A ring lends a packet under an id and takes it back by that id when the device says that it is
//! done. The invariant: a packet comes out exactly once for each time it went in.

use alloc::boxed::Box;

use pbufpool::{Lent, Packet, PacketQueue};

/// One lent packet and what was offered to the device with it.
#[derive(Debug)]
struct Loan {
    packet: Lent,
    offer: Offer,
}

/// What a device was told of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Bytes that the device may write.
    pub posted: u32,
    /// Number of the publication that tells it of the packet.
    pub batch: u32,
}

/// Loans by id.
#[derive(Debug)]
pub struct Slots {
    loans: Box<[Option<Loan>]>,
    lent: usize,
}

impl Slots {
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
    pub fn lend(&mut self, id: u16, packet: Lent, offer: Offer) {
        let slot = &mut self.loans[usize::from(id)];
        debug_assert!(slot.is_none(), "slot {id} is lent already");
        *slot = Some(Loan { packet, offer });
        self.lent += 1;
    }

    /// Takes back what the device finished with; `None` if it was not lent.
    pub fn take(&mut self, id: u16) -> Option<Packet> {
        let loan = self.loans.get_mut(usize::from(id))?.take()?;
        self.lent -= 1;
        // SAFETY: the device completed this id, and it held exactly this packet under it.
        Some(unsafe { loan.packet.reclaim() })
    }

    /// Whether `id` is lent, and what the device was told of it.
    pub fn offer(&self, id: u16) -> Option<Offer> {
        Some(self.loans.get(usize::from(id))?.as_ref()?.offer)
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
