//! What a contender must do for the measured loops: hand out objects one by one and in bulk,
//! and take them back.
#![forbid(unsafe_code)]

use super::ring::{Rx, Tx};

/// Objects between being taken and being given back.
pub(super) trait Bulk: Default + Iterator + Extend<<Self as Iterator>::Item> {
    /// How many.
    fn size(&self) -> usize;
    /// Moves what fits to the ring; returns how many.
    fn send(&mut self, tx: &mut Tx<Self::Item>) -> usize;
    /// Moves up to `n` from the ring to here; returns how many.
    fn receive(&mut self, n: usize, rx: &mut Rx<Self::Item>) -> usize;
}

/// Where objects come from and go to; any core may take, any other give back.
pub(super) trait Source: Sync {
    /// One object; what passes from core to core.
    type Item: Send;
    /// Several.
    type Burst: Bulk<Item = Self::Item>;

    /// One object, if there is one.
    fn take_one(&self) -> Option<Self::Item>;
    /// Takes one object back.
    fn give_one(&self, item: Self::Item);
    /// Up to `n` objects; returns how many.
    fn take(&self, n: usize, burst: &mut Self::Burst) -> usize;
    /// Takes the whole burst back.
    fn give(&self, burst: &mut Self::Burst);

    /// [`Source::take`], one object through the call for one.
    #[inline]
    fn take_any(&self, n: usize, burst: &mut Self::Burst) -> usize {
        if n != 1 {
            return self.take(n, burst);
        }
        let one = self.take_one();
        let got = usize::from(one.is_some());
        burst.extend(one);
        got
    }
    /// [`Source::give`], one object through the call for one.
    #[inline]
    fn give_any(&self, burst: &mut Self::Burst) {
        if burst.size() != 1 {
            self.give(burst);
        } else if let Some(one) = burst.next() {
            self.give_one(one);
        }
    }
}

/// A contender that knows single objects only.
pub(super) trait Single: Sync {
    /// One object.
    type Item: Send;
    /// One object, if there is one.
    fn get(&self) -> Option<Self::Item>;
    /// Takes one object back.
    fn put(&self, item: Self::Item);
}

/// A stack of objects; iterating takes them out.
pub(super) struct Stack<T>(pub(super) Vec<T>);

impl<T> Default for Stack<T> {
    fn default() -> Self {
        Self(Vec::with_capacity(256))
    }
}

impl<T> Iterator for Stack<T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.pop()
    }
}

impl<T> Extend<T> for Stack<T> {
    #[inline]
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.0.push(item));
    }
}

impl<T> Bulk for Stack<T> {
    #[inline]
    fn size(&self) -> usize {
        self.0.len()
    }
    #[inline]
    fn send(&mut self, tx: &mut Tx<T>) -> usize {
        tx.push_run(&mut self.0)
    }
    #[inline]
    fn receive(&mut self, n: usize, rx: &mut Rx<T>) -> usize {
        rx.pop_run(n, &mut self.0)
    }
}

impl<S: Single> Source for S {
    type Item = S::Item;
    type Burst = Stack<S::Item>;

    #[inline]
    fn take_one(&self) -> Option<S::Item> {
        self.get()
    }
    #[inline]
    fn give_one(&self, item: S::Item) {
        self.put(item);
    }
    #[inline]
    fn take(&self, n: usize, burst: &mut Self::Burst) -> usize {
        for got in 0..n {
            match self.get() {
                Some(item) => burst.0.push(item),
                None => return got,
            }
        }
        n
    }
    #[inline]
    fn give(&self, burst: &mut Self::Burst) {
        burst.0.drain(..).for_each(|item| self.put(item));
    }
}
