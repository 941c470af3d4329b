//! The books of a region's slabs: which exist, which have free objects, which objects are
//! allocated. Kept by [`Slabs`](super::Slabs) under its lock.
//!
//! Invariant: the list holds exactly the partial slabs and the spare one; an object is in its
//! slab's free list or marked in the bitmap, never both.

use super::{SlabStats, Slot};
use crate::platform::{DmaAddr, Segment};
use crate::region::Geometry;
use alloc::vec;
use alloc::vec::Vec;

/// "No index": end of a list.
pub(super) const NIL: u32 = u32::MAX;

pub(super) struct State {
    pub(super) slabs: Vec<Slab>,
    pub(super) front: u32,
    pub(super) back: u32,
    /// No vacant slab lies below this one.
    pub(super) vacant_hint: usize,
    pub(super) next_free: Vec<u32>,
    pub(super) allocated: Vec<u64>,
    /// The slab with nothing outstanding that is kept.
    pub(super) spare: Option<usize>,
    pub(super) stats: SlabStats,
}

pub(super) struct Slab {
    pub(super) memory: Option<(Segment, DmaAddr)>,
    pub(super) free_head: u32,
    pub(super) in_use: u32,
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl State {
    /// All vacant.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let count = geometry.count();
        let vacant = || Slab {
            memory: None,
            free_head: NIL,
            in_use: 0,
            prev: NIL,
            next: NIL,
        };
        Self {
            slabs: (0..geometry.segments).map(|_| vacant()).collect(),
            front: NIL,
            back: NIL,
            vacant_hint: 0,
            next_free: vec![NIL; count],
            allocated: vec![0; count.div_ceil(64)],
            spare: None,
            stats: SlabStats::default(),
        }
    }

    pub(super) fn slot(&self, geometry: &Geometry, index: u32) -> Option<Slot> {
        let (segment, within) = geometry.split(index as usize);
        let (memory, dma) = self.slabs[segment].memory.as_ref()?;
        let offset = geometry.offset(within);
        // SAFETY: `within` is below `per_segment`, so the object lies inside the segment.
        let ptr = unsafe { memory.base().add(offset) };
        Some(Slot {
            index,
            segment: segment as u32,
            ptr,
            dma: dma.add(offset),
        })
    }

    pub(super) fn is_allocated(&self, index: u32) -> bool {
        self.allocated[index as usize / 64] & (1 << (index % 64)) != 0
    }

    pub(super) fn mark(&mut self, index: u32, allocated: bool) {
        let bit = 1 << (index % 64);
        match allocated {
            true => self.allocated[index as usize / 64] |= bit,
            false => self.allocated[index as usize / 64] &= !bit,
        }
    }

    pub(super) fn push_front(&mut self, number: usize) {
        (self.slabs[number].prev, self.slabs[number].next) = (NIL, self.front);
        match self.front {
            NIL => self.back = number as u32,
            old => self.slabs[old as usize].prev = number as u32,
        }
        self.front = number as u32;
    }

    pub(super) fn push_back(&mut self, number: usize) {
        (self.slabs[number].prev, self.slabs[number].next) = (self.back, NIL);
        match self.back {
            NIL => self.front = number as u32,
            old => self.slabs[old as usize].next = number as u32,
        }
        self.back = number as u32;
    }

    pub(super) fn unlink(&mut self, number: usize) {
        let (prev, next) = (self.slabs[number].prev, self.slabs[number].next);
        match prev {
            NIL => self.front = next,
            p => self.slabs[p as usize].next = next,
        }
        match next {
            NIL => self.back = prev,
            n => self.slabs[n as usize].prev = prev,
        }
        (self.slabs[number].prev, self.slabs[number].next) = (NIL, NIL);
    }
}
