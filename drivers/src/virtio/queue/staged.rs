//! Descriptors that wait for their publication: a burst of them is written to the ring in one go.
//!
//! While a burst is made up, the device, on another core, still reads the one before it, and the
//! prefetcher of its core the lines behind that. What is written there descriptor by descriptor goes to
//! and fro between the two cores with each. So descriptors stay here until they are published, and the
//! lines that the next burst will take are claimed early.
//!
//! That is worth its instructions where what is posted is read at once, by a device that goes through the
//! ring in bursts and in order, as the back ends do that promise so. Of other posts one descriptor waits, as
//! a packed ring has it anyway, and the rest are written at once.
//!
//! The invariant: what is staged lies in places one behind the other, and is written before the
//! publication that covers it, the first of it last; in a packed ring that makes available whatever lies
//! behind it. So once one descriptor was written directly, so are all until the publication.
#![forbid(unsafe_code)]

use crate::ring::cache_lines;

/// Where the device goes by the order: two bursts. Of more at once the others are written directly.
pub(super) type Bursts = [Waiting; 64];
/// Where it does not.
pub(super) type One = [Waiting; 1];

/// Places for descriptors that wait.
pub(super) trait Stage: AsRef<[Waiting]> + AsMut<[Waiting]> + core::fmt::Debug {
    /// With nothing in them that counts.
    const EMPTY: Self;
}

impl<const N: usize> Stage for [Waiting; N] {
    const EMPTY: Self = [(0, 0); N];
}

/// So many places ahead a line is claimed: about a burst.
const AHEAD: usize = 32;
/// Descriptors in a cache line of 64 bytes; a ring begins with a page.
const LINE: u16 = 4;

/// A descriptor of one of the rings.
pub(super) trait Place {
    /// What one says: the address, and all else.
    fn write(&self, address: u64, rest: u64);
}

/// One that waits: its address, and all else.
pub(super) type Waiting = (u64, u64);

/// Those that wait.
#[derive(Debug)]
pub(super) struct Staged<S> {
    /// Place of the first; the others follow.
    first: u16,
    count: u16,
    /// How many may wait, as the first of them has it.
    most: u16,
    waiting: S,
}

impl<S: Stage> Staged<S> {
    /// None.
    pub(super) fn none() -> Self {
        Self {
            first: 0,
            count: 0,
            most: 0,
            waiting: S::EMPTY,
        }
    }

    /// What the descriptor at `place` will say, which lies behind the one before. `soon`: the device reads
    /// it as soon as it is published; it is the first of a publication by which all of them go.
    #[inline(always)]
    pub(super) fn put<P: Place>(
        &mut self,
        ring: &[P],
        place: u16,
        soon: bool,
        (address, rest): Waiting,
    ) {
        let waiting = self.waiting.as_mut();
        let several = waiting.len() > 1;
        if self.count == 0 {
            self.first = place;
            self.most = if soon { waiting.len() as u16 } else { 1 };
        }
        let may_wait = !several || self.count < self.most;
        let next = waiting.get_mut(usize::from(self.count));
        if let Some(next) = next.filter(|_| may_wait) {
            *next = (address, rest);
            self.count += 1;
        } else {
            ring[usize::from(place)].write(address, rest);
        }
        if several
            && soon
            && place.is_multiple_of(LINE)
            && let Some(later) = ring.get(usize::from(place) + AHEAD)
        {
            cache_lines::for_writing(later);
        }
    }

    /// Writes them all. Returns whether there were any.
    #[inline(always)]
    pub(super) fn write<P: Place>(&mut self, ring: &[P]) -> bool {
        let count = usize::from(core::mem::take(&mut self.count));
        let Some(([first, others @ ..], start)) = self
            .waiting
            .as_ref()
            .get(..count)
            .zip(ring.get(usize::from(self.first)))
        else {
            return false;
        };
        let mut place = usize::from(self.first);
        for (address, rest) in others {
            place += 1;
            if place == ring.len() {
                core::hint::cold_path(); // once a lap
                place = 0;
            }
            ring[place].write(*address, *rest);
        }
        start.write(first.0, first.1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::vec::Vec;

    /// A descriptor, and when it was written.
    #[derive(Default)]
    struct Slot<'a> {
        said: Cell<Waiting>,
        when: Cell<u32>,
        clock: Option<&'a Cell<u32>>,
    }

    impl Place for Slot<'_> {
        fn write(&self, address: u64, rest: u64) {
            let clock = self.clock.expect("a clock");
            clock.set(clock.get() + 1);
            self.when.set(clock.get());
            self.said.set((address, rest));
        }
    }

    /// Publishes `soon.len()` descriptors from each place of a ring of `size`.
    fn publish<S: Stage>(size: u16, soon: &[bool]) {
        let clock = Cell::new(0);
        let slot = |_| Slot {
            clock: Some(&clock),
            ..Slot::default()
        };
        let ring: Vec<Slot> = (0..size).map(slot).collect();
        let mut staged = Staged::<S>::none();
        assert!(!staged.write(&ring), "nothing waits");
        for first in 0..size {
            let places = (0..soon.len() as u16).map(|n| (first + n) % size);
            let before = clock.get();
            for (n, place) in places.clone().enumerate() {
                staged.put(&ring, place, soon[n], (n as u64, first.into()));
            }
            assert!(ring[usize::from(first)].when.get() <= before, "{soon:?}");
            assert!(staged.write(&ring) && !staged.write(&ring));
            assert_eq!(clock.get() - before, soon.len() as u32, "each once");
            assert_eq!(ring[usize::from(first)].when.get(), clock.get());
            for (n, place) in places.enumerate() {
                let said = ring[usize::from(place)].said.get();
                assert_eq!(said, (n as u64, first.into()), "{soon:?} from {first}");
            }
        }
    }

    #[test]
    fn each_descriptor_comes_to_its_place_and_the_first_one_last() {
        for len in 1..=8 {
            for pattern in 0..1_u32 << len {
                let soon: Vec<bool> = (0..len).map(|n| pattern >> n & 1 != 0).collect();
                for size in [8, 11] {
                    publish::<Bursts>(size, &soon);
                    publish::<One>(size, &soon);
                }
            }
        }
        for soon in [true, false] {
            publish::<Bursts>(100, &[soon; 100]);
            publish::<One>(100, &[soon; 100]);
        }
    }
}
