//! What the device of a split ring claims: the elements of the used ring (virtio 1.2, 2.7.8).
//!
//! [`SplitQueue`](super::SplitQueue) walks it once a burst, with places kept here until the burst ends. The
//! invariant: `next` does not pass `end`, which is an index of the device that was checked.
#![forbid(unsafe_code)]

use super::books::{Claim, Claims};
use super::layout::UsedElement;
use crate::ring::index::RingIndex;

/// The used ring, as far as the device's index covers it.
pub(super) struct SplitClaims<'a> {
    pub(super) used: &'a [UsedElement],
    pub(super) next: RingIndex,
    pub(super) end: RingIndex,
    pub(super) size: u16,
}

impl Claims for SplitClaims<'_> {
    #[inline(always)]
    fn next(&self) -> Option<Claim> {
        if self.next == self.end {
            return None;
        }
        let (id, len) = self.used[self.next.place(self.size)].read();
        Some(Claim { id, len })
    }

    #[inline(always)]
    fn count(&self) -> Option<u16> {
        Some(self.end.since(self.next))
    }

    #[inline(always)]
    fn settled(&mut self, _: u16) {
        self.next = self.next.plus(1);
    }
}
