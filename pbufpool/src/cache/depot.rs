//! The depot: a cache's full and empty magazines, shared by all cores behind one lock.
//!
//! Each list remembers the least length it had since the last update: what was never needed in
//! an interval is outside the working set and may be reaped. Called by the cache when a core's
//! two magazines do not help, and by reap, purge and resize.
#![forbid(unsafe_code)]

use super::magazine::Magazine;
use alloc::vec::Vec;

/// A list of magazines with its working-set marks.
pub(crate) struct List<T> {
    magazines: Vec<Magazine<T>>,
    min: usize,
    reap_limit: usize,
}

impl<T> List<T> {
    fn new(room: usize) -> Self {
        Self {
            magazines: Vec::with_capacity(room),
            min: 0,
            reap_limit: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.magazines.len()
    }

    pub(crate) fn push(&mut self, magazine: Magazine<T>) {
        self.magazines.push(magazine);
    }

    pub(crate) fn pop(&mut self) -> Option<Magazine<T>> {
        let magazine = self.magazines.pop();
        self.min = self.min.min(self.magazines.len());
        magazine
    }

    /// Ends an interval: what stayed unused in it becomes reapable.
    pub(crate) fn update(&mut self) {
        self.reap_limit = self.min;
        self.min = self.magazines.len();
    }

    /// Makes the whole list reapable.
    pub(crate) fn zero_working_set(&mut self) {
        self.reap_limit = self.magazines.len();
        self.min = self.magazines.len();
    }

    /// Takes what lies outside the working set.
    pub(crate) fn reap(&mut self) -> Vec<Magazine<T>> {
        let n = self.reap_limit.min(self.min).min(self.magazines.len());
        self.reap_limit -= n.min(self.reap_limit);
        self.min -= n;
        self.magazines.drain(..n).collect()
    }

    /// Takes everything.
    pub(crate) fn take_all(&mut self) -> Vec<Magazine<T>> {
        self.min = 0;
        self.reap_limit = 0;
        self.magazines.drain(..).collect()
    }
}

/// Full and empty magazines.
pub(crate) struct Depot<T> {
    pub(crate) full: List<T>,
    pub(crate) empty: List<T>,
    /// Magazines that moved between a core and the depot.
    pub(crate) exchanges: u64,
}

impl<T> Depot<T> {
    /// An empty depot with room for `room` magazines per list.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            full: List::new(room),
            empty: List::new(room),
            exchanges: 0,
        }
    }
}
