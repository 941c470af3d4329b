//! Places in a ring that need not be a power of two long, each with a wrap counter: how packed
//! virtqueues count (virtio 1.2, 2.8.1).
#![forbid(unsafe_code)]

/// A place in a ring, and whether this is an odd lap: the first lap's wrap counter is 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Number of the descriptor.
    pub slot: u16,
    /// The wrap counter.
    pub wrap: bool,
}

impl Place {
    /// Where both sides begin.
    pub const START: Self = Self {
        slot: 0,
        wrap: true,
    };

    /// The place `steps` further, at most one lap, in a ring of `size`.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, steps: u16, size: u16) -> Self {
        let next = self.slot as u32 + steps as u32;
        if next >= size as u32 {
            // Once a lap: a jump that is foretold, where a choice would be computed each time.
            core::hint::cold_path();
            Self {
                slot: (next - size as u32) as u16,
                wrap: !self.wrap,
            }
        } else {
            Self {
                slot: next as u16,
                wrap: self.wrap,
            }
        }
    }

    /// Bits 0 to 14: the slot; bit 15: the wrap counter (2.8.14).
    pub const fn to_bits(self) -> u16 {
        self.slot | (self.wrap as u16) << 15
    }

    /// The inverse; `None` if a ring of `size` has no such place.
    pub const fn from_bits(bits: u16, size: u16) -> Option<Self> {
        let place = Self {
            slot: bits & 0x7fff,
            wrap: bits >> 15 != 0,
        };
        if place.slot < size { Some(place) } else { None }
    }

    /// Steps from `earlier` to here, less than two laps of `size`.
    pub const fn since(self, earlier: Self, size: u16) -> u32 {
        let ahead = self.position(size) + 2 * size as u32 - earlier.position(size);
        ahead % (2 * size as u32)
    }

    /// Whether moving from `old` to `self`, at most one lap, passed `event`, so that the other
    /// side wants to be told.
    pub const fn passed(self, event: Self, old: Self, size: u16) -> bool {
        let beyond = self.since(event, size);
        beyond != 0 && beyond <= self.since(old, size)
    }

    /// Counted over two laps, after which everything repeats.
    const fn position(self, size: u16) -> u32 {
        self.slot as u32 + if self.wrap { 0 } else { size as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// All places of a ring, in order.
    fn places(size: u16) -> Vec<Place> {
        let laps = [true, false].into_iter();
        laps.flat_map(|wrap| (0..size).map(move |slot| Place { slot, wrap }))
            .collect()
    }

    #[test]
    fn places_wrap_at_any_size() {
        for size in [1, 2, 3, 7, 256, 32_768] {
            let mut place = Place::START;
            for expected in places(size).into_iter().chain(places(size)) {
                assert_eq!(place, expected, "{size}");
                assert_eq!(Place::from_bits(place.to_bits(), size), Some(place));
                place = place.plus(1, size);
            }
        }
    }

    #[test]
    fn distances_are_those_that_were_walked() {
        for size in [1, 2, 3, 7, 256] {
            for from in places(size) {
                for steps in 0..=size {
                    assert_eq!(from.plus(steps, size).since(from, size), steps.into());
                }
            }
        }
    }

    #[test]
    fn an_event_is_passed_exactly_when_it_lies_on_the_way() {
        for size in [1, 2, 3, 7] {
            let all = places(size);
            for (at, &old) in all.iter().enumerate() {
                for steps in 0..=size {
                    let new = old.plus(steps, size);
                    let mut way = (at..at + usize::from(steps)).map(|n| all[n % all.len()]);
                    for &event in &all {
                        let on_the_way = way.clone().any(|place| place == event);
                        assert_eq!(new.passed(event, old, size), on_the_way);
                    }
                    assert_eq!(way.next().is_none(), steps == 0);
                }
            }
        }
    }

    #[test]
    fn a_place_outside_the_ring_is_none() {
        assert_eq!(Place::from_bits(7, 7), None);
        assert_eq!(Place::from_bits(0xffff, 256), None);
    }
}
