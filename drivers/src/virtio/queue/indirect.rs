//! Tables of descriptors: with one, a chain takes a single entry of the ring (`INDIRECT_DESC`; virtio 1.2,
//! 2.7.5.3 and 2.8.7).
//!
//! A queue that posts chains has a few tables behind its ring, in the same block of memory, which is
//! given up with the ring. [`Tables`] notes for which loan each was written. The invariant: a table is
//! written only while no loan has it. Whether one does is asked of the queue's [`Books`]: a table is free
//! as soon as its loan is settled, and whoever settles loans need not know of tables. Nothing is read back
//! from one.
//!
//! What finds no table is posted descriptor by descriptor, or waits.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use pbufpool::DmaAddr;

use super::books::Books;
use super::pieces::Piece;
use crate::ring::memory::{DeviceVisible, RingMemory, Shared};

/// The descriptor refers to a table. Never beside `NEXT`, and not in a table.
pub(super) const INDIRECT: u16 = 4;

/// Tables of a queue at most: as many chains are one entry each at a time.
const MOST_TABLES: u16 = 16;
/// Descriptors of a table at most. The longest frame in buffers of 2 KiB takes 33.
const MOST_ENTRIES: u16 = 64;
/// A table begins with a cache line; the specification asks for nothing.
const ALIGN: usize = 64;

/// A descriptor of a table, whose layout follows that of the ring.
pub(super) trait TableEntry: DeviceVisible {
    /// Writes it: `piece`, and which entry comes behind it.
    fn set(&self, piece: Piece, next: Option<u16>);
}

/// How many tables a queue has, and how long they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    tables: u16,
    entries: u16,
}

impl Shape {
    /// No tables.
    const NONE: Self = Self {
        tables: 0,
        entries: 0,
    };

    /// The tables beside a ring of `size` entries, if it `has` any.
    ///
    /// Each is shorter than the ring. A chain must not be longer than the ring is, whether it lies in a
    /// table or not (2.7.5.3.1, 2.8.17). Linux goes beyond that, and QEMU and vhost-net bear it; but a DPDK back
    /// end stops at such a chain, in a packed ring at one that is just as long, too.
    pub(super) fn of(size: u16, has: bool) -> Self {
        match MOST_ENTRIES.min(size.saturating_sub(1)) {
            entries @ 2.. if has => Self {
                tables: MOST_TABLES.min(size),
                entries,
            },
            _ => Self::NONE,
        }
    }

    fn descriptors(self) -> usize {
        usize::from(self.tables) * usize::from(self.entries)
    }

    /// Bytes of a block with the tables behind a ring of `ring` bytes.
    pub(super) fn bytes_behind(self, ring: usize) -> usize {
        match self.descriptors() {
            0 => ring,
            count => ring.next_multiple_of(ALIGN) + 16 * count,
        }
    }
}

/// A loan that has, or had, a table.
#[derive(Clone, Copy, Debug)]
struct Holder {
    id: u16,
    /// What [`Books::loan`] says of it.
    loan: u32,
}

/// The tables of a queue.
#[derive(Debug)]
pub(super) struct Tables<D> {
    descriptors: Shared<D>,
    address: DmaAddr,
    entries: u16,
    /// For which loan each was written last.
    holders: Box<[Option<Holder>]>,
    /// The one behind the last that was written: chains are mostly done in the order in which they were posted.
    next: usize,
}

impl<D: TableEntry> Tables<D> {
    /// The tables in `memory`, behind a ring of `ring` bytes, for which [`Shape::bytes_behind`] left room.
    pub(super) fn new(memory: &RingMemory, ring: usize, shape: Shape) -> Self {
        let count = shape.descriptors();
        let at = if count == 0 {
            0
        } else {
            ring.next_multiple_of(ALIGN)
        };
        Self {
            descriptors: memory.shared(at, count),
            address: memory.address(at),
            entries: shape.entries,
            holders: (0..shape.tables).map(|_| None).collect(),
            next: 0,
        }
    }

    /// A free table for a chain of `pieces`, if there is one. A single piece needs none.
    pub(super) fn find(&self, pieces: usize, books: &impl Books) -> Option<usize> {
        if !(2..=self.entries.into()).contains(&pieces) {
            return None;
        }
        // A number may come round while the same id is lent again. Then the table waits for that loan,
        // and is only free too late.
        let is_free = |holder: Option<Holder>| {
            holder.is_none_or(|Holder { id, loan }| books.loan(id) != Some(loan))
        };
        let count = self.holders.len();
        let mut all = (0..count).map(|step| (self.next + step) % count);
        all.find(|table| is_free(self.holders[*table]))
    }

    /// Entries of the ring that a packet of `pieces` takes as things stand.
    pub(super) fn entries(&self, pieces: usize, books: &impl Books) -> usize {
        self.find(pieces, books).map_or(pieces, |_| 1)
    }

    /// Writes the pieces of a chain to a table that was found free for it. Returns the piece that is posted in
    /// their place.
    pub(super) fn write(&self, table: usize, pieces: impl Iterator<Item = Piece>) -> Piece {
        let first = table * usize::from(self.entries);
        let entries = &self.descriptors.all()[first..][..self.entries.into()];
        let mut pieces = pieces.peekable();
        let mut count = 0;
        for entry in entries {
            let Some(piece) = pieces.next() else { break };
            count += 1;
            // One behind the other, as devices that go by the order want it (2.7.5.3.1).
            entry.set(piece, pieces.peek().map(|_| count));
        }
        Piece {
            address: self.address.add(16 * first).as_u64(),
            len: 16 * u32::from(count),
            writable: false, // says nothing here (2.7.5.3.2, 2.8.7)
        }
    }

    /// What was written to `table` has been lent under `id`.
    pub(super) fn lent(&mut self, table: usize, id: u16, books: &impl Books) {
        self.holders[table] = books.loan(id).map(|loan| Holder { id, loan });
        self.next = (table + 1) % self.holders.len();
    }
}
