//! Deadlines of connections, earliest first: an indexed binary heap.
//!
//! The connection table keeps here when to look at which connection: not later than its deadline.
//! An id has at most one entry, and moving it is O(log n) without allocating. What has become
//! later, or has ended, is left where it is until it comes out, so that most packets move nothing.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use smoltcp::time::Instant;

const ABSENT: u32 = u32::MAX;

/// Deadlines by a small integer id.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Vec<(Instant, u32)>,
    /// Where an id stands in the heap, or `ABSENT`.
    place: Vec<u32>,
}

impl Timers {
    /// Makes room for ids below `ids`; later calls for those ids allocate nothing.
    pub(super) fn reserve(&mut self, ids: usize) {
        if self.place.len() < ids {
            self.place.resize(ids, ABSENT);
            self.heap.reserve(ids.saturating_sub(self.heap.len()));
        }
    }

    /// Sets, moves or (with `None`) removes the deadline of `id`.
    pub(super) fn set(&mut self, id: u32, deadline: Option<Instant>) {
        self.reserve(id as usize + 1);
        let at = self.place[id as usize];
        match (deadline, at) {
            (None, ABSENT) => {}
            (None, at) => self.remove(at as usize),
            (Some(when), ABSENT) => {
                self.heap.push((when, id));
                self.sift_up(self.heap.len() - 1);
            }
            (Some(when), at) => {
                let at = at as usize;
                if self.heap[at].0 != when {
                    self.heap[at].0 = when;
                    self.settle(at);
                }
            }
        }
    }

    /// Sees to it that `id` comes out at `deadline` at the latest. An entry that is earlier stays.
    pub(super) fn bound(&mut self, id: u32, deadline: Instant) {
        let at = self.place.get(id as usize).copied().unwrap_or(ABSENT);
        if at == ABSENT || self.heap[at as usize].0 > deadline {
            self.set(id, Some(deadline));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.0)
    }

    /// Takes an id whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let &(when, id) = self.heap.first()?;
        if when > now {
            return None;
        }
        self.remove(0);
        Some(id)
    }

    fn remove(&mut self, at: usize) {
        let (_, id) = self.heap.swap_remove(at);
        self.place[id as usize] = ABSENT;
        if at < self.heap.len() {
            self.settle(at);
        }
    }

    fn settle(&mut self, at: usize) {
        if self.sift_up(at) == at {
            self.sift_down(at);
        }
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        while at > 0 && self.heap[at].0 < self.heap[(at - 1) / 2].0 {
            self.heap.swap(at, (at - 1) / 2);
            self.note(at);
            at = (at - 1) / 2;
        }
        self.note(at);
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let child = 2 * at + 1;
            let earlier = (child..self.heap.len().min(child + 2)).min_by_key(|c| self.heap[*c].0);
            match earlier {
                Some(child) if self.heap[child].0 < self.heap[at].0 => {
                    self.heap.swap(at, child);
                    self.note(at);
                    at = child;
                }
                _ => break,
            }
        }
        self.note(at);
    }

    fn note(&mut self, at: usize) {
        let id = self.heap[at].1;
        self.place[id as usize] = at as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms as i64)
    }

    #[test]
    fn a_due_deadline_comes_out_once_and_in_order() {
        let mut timers = Timers::default();
        timers.set(3, Some(at(30)));
        timers.set(1, Some(at(10)));
        timers.set(2, Some(at(20)));
        timers.set(2, None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(40)), Some(1));
        assert_eq!(timers.pop_due(at(40)), Some(3));
        assert_eq!(timers.pop_due(at(40)), None);
    }

    #[test]
    fn a_bound_brings_an_entry_forward_and_never_puts_it_off() {
        let mut timers = Timers::default();
        timers.bound(2, at(20));
        timers.bound(2, at(30));
        assert_eq!(timers.next(), Some(at(20)));
        timers.bound(2, at(10));
        assert_eq!(timers.pop_due(at(10)), Some(2));
        assert_eq!(timers.next(), None);
        timers.bound(2, at(40));
        assert_eq!(timers.next(), Some(at(40)));
    }

    /// Ten thousand random moves against an ordered map.
    #[test]
    fn random_moves_agree_with_an_ordered_map() {
        let mut timers = Timers::default();
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..10_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let id = (seed % 97) as u32;
            let when = (seed >> 20) % 1000;
            match (seed >> 40) % 4 {
                0 => {
                    timers.set(id, None);
                    model.remove(&id);
                }
                1 => {
                    let due = model.values().min().is_some_and(|least| *least <= when);
                    let popped = timers.pop_due(at(when));
                    assert_eq!(popped.is_some(), due);
                    if let Some(popped) = popped {
                        let least = *model.values().min().unwrap();
                        assert_eq!(model.remove(&popped), Some(least));
                    }
                }
                _ => {
                    timers.set(id, Some(at(when)));
                    model.insert(id, when);
                }
            }
            assert_eq!(timers.next(), model.values().min().map(|ms| at(*ms)));
        }
    }
}
