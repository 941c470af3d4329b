//! Filling a packed ring place by place, lap by lap: for the posts of one call.
#![forbid(unsafe_code)]

use super::super::packed_layout::{AVAIL, Descriptor, Rest, USED};
use super::super::pieces::Piece;
use super::super::staged::{Stage, Staged};
use crate::ring::place::Place;

/// The places that are filled next.
pub(super) struct Filling<'a, S> {
    descriptors: &'a [Descriptor],
    staged: &'a mut Staged<S>,
    /// The next place, and the flag that makes it available in this lap.
    slot: u16,
    turn: u16,
}

impl<'a, S: Stage> Filling<'a, S> {
    /// Filling from `avail` on.
    #[inline(always)]
    pub(super) fn new(
        descriptors: &'a [Descriptor],
        avail: Place,
        staged: &'a mut Staged<S>,
    ) -> Self {
        Self {
            descriptors,
            staged,
            slot: avail.slot,
            turn: if avail.wrap { AVAIL } else { USED },
        }
    }

    /// The place that is next.
    #[inline(always)]
    pub(super) fn avail(&self) -> Place {
        Place {
            slot: self.slot,
            wrap: self.turn == AVAIL,
        }
    }

    /// Fills the next place.
    #[inline(always)]
    pub(super) fn fill(&mut self, id: u16, piece: Piece, more: u16) {
        let rest = Rest::new(piece.len, id, self.turn | more | piece.flags());
        self.staged.put(
            self.descriptors,
            self.slot,
            !piece.writable,
            (piece.address, rest.bits()),
        );
        self.slot += 1;
        if usize::from(self.slot) == self.descriptors.len() {
            core::hint::cold_path(); // once a lap
            self.slot = 0;
            self.turn ^= AVAIL | USED;
        }
    }
}
