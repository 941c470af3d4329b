//! How a packed ring is filled: descriptors go to their places, but for those of the first cache line
//! since the last publication. They are kept back, and written all at once to publish them.
//!
//! The flags of the very first have to be kept back anyway, since they make all of them available. Its
//! line is the one that the device polls, on another core: whatever is written to it goes to and fro
//! between the two. So it is written once, in one go.
//!
//! The invariant: until [`Held::publish`], the first descriptor that the device does not have yet is not
//! available, and the device does not look past it (virtio 1.2, 2.8.21).
#![forbid(unsafe_code)]

use super::packed_layout::{AVAIL, Descriptor, Rest, USED};
use super::pieces::Piece;
use crate::ring::place::Place;

/// Descriptors in a cache line of 64 bytes; a ring begins with a page.
const LINE: u16 = 4;

/// The descriptors that are kept back.
#[derive(Debug)]
pub(super) struct Held {
    /// Place of the first.
    first: u16,
    /// How many there are.
    count: u16,
    /// Up to how many there will be: to the end of the line, or of the ring. 0 where none is kept back.
    most: u16,
    entries: [(u64, Rest); LINE as usize],
}

impl Held {
    /// None.
    pub(super) fn none() -> Self {
        Self {
            first: 0,
            count: 0,
            most: 0,
            entries: [(0, Rest::new(0, 0, 0)); LINE as usize],
        }
    }

    /// Writes what is kept back, the first one last. Returns whether there was any.
    #[inline(always)]
    pub(super) fn publish(&mut self, descriptors: &[Descriptor]) -> bool {
        if self.count == 0 {
            return false;
        }
        let kept = self
            .entries
            .iter()
            .zip(&descriptors[usize::from(self.first)..]);
        for ((address, rest), descriptor) in kept.take(self.count.into()).rev() {
            descriptor.set_address(*address);
            descriptor.set_rest(*rest);
        }
        (self.count, self.most) = (0, 0);
        true
    }
}

/// The places that are filled next.
pub(super) struct Filling<'a> {
    pub(super) descriptors: &'a [Descriptor],
    pub(super) avail: Place,
    pub(super) held: &'a mut Held,
}

impl Filling<'_> {
    /// Fills the next place, or keeps back what belongs there.
    #[inline(always)]
    pub(super) fn fill(&mut self, id: u16, piece: Piece, more: u16) {
        let Place { slot, wrap } = self.avail;
        let turn = if wrap { AVAIL } else { USED };
        let rest = Rest::new(piece.len, id, turn | more | piece.flags());
        let size = self.descriptors.len() as u16;
        let held = &mut *self.held;
        if held.most == 0 {
            held.first = slot;
            held.most = (LINE - slot % LINE).min(size - slot);
        }
        if held.count < held.most {
            held.entries[usize::from(held.count)] = (piece.address, rest);
            held.count += 1;
        } else {
            let descriptor = &self.descriptors[usize::from(slot)];
            descriptor.set_address(piece.address);
            descriptor.set_rest(rest);
        }
        self.avail = self.avail.plus(1, size);
    }
}
