//! A packet that a device may be reading or writing: only addresses and lengths, no data.
//! The ring's slot array holds these.

use super::Packet;
use crate::buflet::Buflet;
use crate::platform::DmaAddr;
use crate::sync::Ordering;
use core::fmt;
use core::mem::ManuallyDrop;

/// A packet lent to a device. Dropping it *leaks* the packet on purpose (and counts that), since
/// the device may still write to its buffers.
#[must_use = "dropping a lent packet leaks it"]
pub struct Lent {
    packet: ManuallyDrop<Packet>,
}

impl Lent {
    #[inline(always)]
    pub(super) fn new(packet: Packet) -> Self {
        Self {
            packet: ManuallyDrop::new(packet),
        }
    }

    /// Takes the packet back.
    ///
    /// # Safety
    /// The device has finished with every buffer of the packet: it said so, and the claim was
    /// checked, or it was reset.
    #[inline]
    pub unsafe fn reclaim(self) -> Packet {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `self` is consumed without its `Drop`, so the packet is taken once.
        unsafe { ManuallyDrop::take(&mut this.packet) }
    }

    /// Per buflet: device address and length of its data span, in order. For receive the span
    /// is where the device may write, so set it to the room offered before lending.
    pub fn spans(&self) -> impl Iterator<Item = (DmaAddr, usize)> + Clone + '_ {
        self.packet.buflets().map(|b| (b.dma_addr(), b.len()))
    }

    /// Device address of the first byte of the first span; `None` without a buflet.
    pub fn first_dma(&self) -> Option<DmaAddr> {
        self.packet.first().map(Buflet::dma_addr)
    }

    /// Bytes of all spans.
    pub fn len(&self) -> usize {
        self.packet.len()
    }

    /// Whether all spans are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the buffers hold (sum of the limits).
    pub fn capacity(&self) -> usize {
        self.packet.buflets().map(Buflet::limit).sum()
    }

    /// Number of spans.
    pub fn span_count(&self) -> usize {
        self.packet.buflet_count()
    }

    /// What the device shall do.
    pub fn offload(&self) -> &super::Offload {
        self.packet.offload()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.packet
            .meta()
            .inner()
            .counters
            .leaked
            .fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&*self.packet).finish()
    }
}
