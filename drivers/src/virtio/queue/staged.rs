//! Descriptors that wait for their publication: a burst of them is written to the ring in one go.
//!
//! While a burst is made up, the device, on another core, still reads the one before it, and the
//! prefetcher of its core the lines behind that. What is written there descriptor by descriptor goes to
//! and fro between the two cores with each. So descriptors stay here until they are published, and the
//! lines that the next burst will take are claimed early.
//!
//! The invariant: what is staged is written before the publication that covers it, and the first of it
//! last; in a packed ring that makes available whatever lies behind it.
#![forbid(unsafe_code)]

use crate::ring::prefetch;

/// Descriptors that are staged at most: two bursts. Of more at once the others are written directly.
const MOST: usize = 64;
/// So many places ahead a line is claimed: about a burst.
const AHEAD: usize = 32;
/// Descriptors in a cache line of 64 bytes; a ring begins with a page.
const LINE: u16 = 4;

/// A descriptor of one of the rings.
pub(super) trait Place {
    /// What one says: the address, and all else.
    fn write(&self, address: u64, rest: u64);
}

/// One that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    place: u16,
    address: u64,
    rest: u64,
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Staged {
    count: usize,
    waiting: [Waiting; MOST],
}

impl Staged {
    /// None.
    pub(super) fn none() -> Self {
        let none = Waiting {
            place: 0,
            address: 0,
            rest: 0,
        };
        Self {
            count: 0,
            waiting: [none; MOST],
        }
    }

    /// What the descriptor at `place` will say.
    #[inline(always)]
    pub(super) fn put<P: Place>(&mut self, ring: &[P], place: u16, address: u64, rest: u64) {
        if let Some(next) = self.waiting.get_mut(self.count) {
            *next = Waiting {
                place,
                address,
                rest,
            };
            self.count += 1;
        } else {
            ring[usize::from(place)].write(address, rest);
        }
        if place.is_multiple_of(LINE)
            && let Some(later) = ring.get(usize::from(place) + AHEAD)
        {
            prefetch::for_writing(later);
        }
    }

    /// Writes them all. Returns whether there were any.
    #[inline(always)]
    pub(super) fn write<P: Place>(&mut self, ring: &[P]) -> bool {
        let waiting = self.waiting.iter().take(self.count);
        for Waiting {
            place,
            address,
            rest,
        } in waiting.rev()
        {
            ring[usize::from(*place)].write(*address, *rest);
        }
        core::mem::take(&mut self.count) != 0
    }
}
