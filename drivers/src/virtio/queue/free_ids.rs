//! The ids that are free, first in, first out.
//!
//! A device completes mostly in order, so ids come round in order too: descriptors are written one
//! behind the other and only after the device has long left their cache lines, and an available
//! ring soon holds the right numbers already. The invariant: each id is in here or lent, never both.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

/// Free ids of a queue.
#[derive(Debug)]
pub(super) struct FreeIds {
    ids: Box<[u16]>,
    /// Where the next one is taken.
    head: u16,
    /// How many there are, from `head` on.
    len: u16,
}

impl FreeIds {
    /// All ids below `size` are free.
    pub(super) fn new(size: u16) -> Self {
        Self {
            ids: (0..size).collect(),
            head: 0,
            len: size,
        }
    }

    /// How many are free.
    #[inline(always)]
    pub(super) fn len(&self) -> u16 {
        self.len
    }

    /// The one that has been free for longest.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<u16> {
        if self.len == 0 {
            return None;
        }
        self.ids.get(usize::from(self.head)).copied()
    }

    /// Takes it.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<u16> {
        let id = self.first()?;
        self.head = self.wrap(usize::from(self.head) + 1);
        self.len -= 1;
        Some(id)
    }

    /// Gives back one that was taken.
    #[inline(always)]
    pub(super) fn give(&mut self, id: u16) {
        debug_assert!(
            usize::from(self.len) < self.ids.len(),
            "id {id} is given back twice"
        );
        let place = self.wrap(usize::from(self.head) + usize::from(self.len));
        if let Some(slot) = self.ids.get_mut(usize::from(place)) {
            *slot = id;
            self.len += 1;
        }
    }

    #[inline(always)]
    fn wrap(&self, place: usize) -> u16 {
        let size = self.ids.len();
        (if place >= size { place - size } else { place }) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ids_come_round_in_the_order_in_which_they_were_given_back() {
        let mut free = FreeIds::new(3);
        let all = |free: &mut FreeIds| core::iter::from_fn(|| free.take()).collect::<Vec<_>>();
        assert_eq!(all(&mut free), [0, 1, 2]);
        free.give(2);
        free.give(0);
        assert_eq!(free.len(), 2);
        assert_eq!(free.take(), Some(2));
        free.give(1);
        free.give(2);
        assert_eq!(all(&mut free), [0, 1, 2]);
        assert_eq!(free.take(), None);
    }
}
