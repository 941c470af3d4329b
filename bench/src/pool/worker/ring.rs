//! A ring for one producer and one consumer that moves bursts as DPDK's `rte_ring` does: runs of
//! objects are copied, with one look at the other side's index and one update of one's own. The ring
//! is rtrb's; what is ours is that a run moves by copy instead of item by item.
//!
//! Invariant: a slot between the indices holds an object, which belongs to the ring. A ring that
//! is dropped with objects in it leaks them; the measured loops leave none.
#![allow(unsafe_code)] // runs are moved by copy

use std::mem::MaybeUninit;
use std::ptr;

use rtrb::chunks::{ChunkError, ReadChunk};
use rtrb::{Consumer, Producer, PushError, RingBuffer};

/// The end that sends.
pub(super) struct Tx<T>(Producer<MaybeUninit<T>>);

/// The end that receives.
pub(super) struct Rx<T>(Consumer<MaybeUninit<T>>);

/// A ring of `slots`.
pub(super) fn ring<T>(slots: usize) -> (Tx<T>, Rx<T>) {
    let (tx, rx) = RingBuffer::new(slots);
    (Tx(tx), Rx(rx))
}

impl<T> Tx<T> {
    /// Sends one object, or hands it back if the ring is full.
    #[inline]
    pub(super) fn push(&mut self, item: T) -> Result<(), T> {
        self.0
            .push(MaybeUninit::new(item))
            // SAFETY: it is the object that was just put in.
            .map_err(|PushError::Full(item)| unsafe { item.assume_init() })
    }

    /// Sends what fits from the front of `items`; returns how many.
    #[inline]
    pub(super) fn push_run(&mut self, items: &mut Vec<T>) -> usize {
        let mut n = items.len();
        let mut chunk = loop {
            match self.0.write_chunk_uninit(n) {
                Ok(chunk) => break chunk,
                Err(ChunkError::TooFewSlots(0)) => return 0,
                Err(ChunkError::TooFewSlots(fewer)) => n = fewer,
            }
        };
        let (low, high) = chunk.as_mut_slices();
        // SAFETY: the two slices have `n` slots together, which the vector's first `n` objects
        // move to; the vector keeps those behind them.
        unsafe {
            let from = items.as_mut_ptr();
            ptr::copy_nonoverlapping(from.cast(), low.as_mut_ptr(), low.len());
            ptr::copy_nonoverlapping(from.add(low.len()).cast(), high.as_mut_ptr(), high.len());
            chunk.commit_all();
            let left = items.len() - n;
            if left != 0 {
                ptr::copy(from.add(n), from, left);
            }
            items.set_len(left);
        }
        n
    }
}

impl<T> Tx<T> {
    /// Sends what fits of the `n` objects that `items` yields, and takes no more from it; returns
    /// how many.
    #[inline]
    pub(super) fn push_each(&mut self, mut n: usize, items: impl Iterator<Item = T>) -> usize {
        loop {
            match self.0.write_chunk_uninit(n) {
                Ok(chunk) => return chunk.fill_from_iter(items.map(MaybeUninit::new)),
                Err(ChunkError::TooFewSlots(0)) => return 0,
                Err(ChunkError::TooFewSlots(fewer)) => n = fewer,
            }
        }
    }
}

impl<T> Rx<T> {
    /// Receives one object.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        // SAFETY: what comes out was put in by `Tx`, as an object.
        self.0.pop().ok().map(|item| unsafe { item.assume_init() })
    }

    /// Receives up to `n` objects and hands each to `f`; returns how many.
    #[inline]
    pub(super) fn pop_each(&mut self, n: usize, mut f: impl FnMut(T)) -> usize {
        let Some(chunk) = self.up_to(n) else { return 0 };
        let (low, high) = chunk.as_slices();
        let n = chunk.len();
        // SAFETY: what comes out was put in by `Tx`, as objects, and is dropped from the ring.
        low.iter()
            .for_each(|item| f(unsafe { item.assume_init_read() }));
        // SAFETY: as above.
        high.iter()
            .for_each(|item| f(unsafe { item.assume_init_read() }));
        chunk.commit_all();
        n
    }

    #[inline]
    fn up_to(&mut self, mut n: usize) -> Option<ReadChunk<'_, MaybeUninit<T>>> {
        if let Err(ChunkError::TooFewSlots(fewer)) = self.0.read_chunk(n) {
            n = fewer;
        }
        (n != 0).then(|| self.0.read_chunk(n).ok()).flatten()
    }

    /// Receives up to `n` objects, appended to `items`; returns how many.
    #[inline]
    pub(super) fn pop_run(&mut self, n: usize, items: &mut Vec<T>) -> usize {
        let Some(chunk) = self.up_to(n) else { return 0 };
        let n = chunk.len();
        items.reserve(n);
        let (low, high) = chunk.as_slices();
        // SAFETY: the two slices hold `n` objects together, which move to the vector's spare part;
        // the ring drops nothing, as its items are `MaybeUninit`.
        unsafe {
            let to = items.as_mut_ptr().add(items.len());
            ptr::copy_nonoverlapping(low.as_ptr().cast(), to, low.len());
            ptr::copy_nonoverlapping(high.as_ptr().cast(), to.add(low.len()), high.len());
            items.set_len(items.len() + n);
        }
        chunk.commit_all();
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_wrap_in_order_and_keep_what_does_not_fit() {
        let (mut tx, mut rx) = ring(4);
        let text = |n: u32| n.to_string();
        let mut items: Vec<String> = (0..6).map(text).collect();
        assert_eq!(tx.push_run(&mut items), 4);
        assert_eq!(items, ["4", "5"]);
        assert_eq!(tx.push("full".to_owned()), Err("full".to_owned()));
        let mut got = Vec::new();
        assert_eq!(rx.pop_run(3, &mut got), 3);
        assert_eq!(tx.push_run(&mut items), 2);
        assert_eq!(rx.pop(), Some(text(3)));
        assert_eq!(rx.pop_run(8, &mut got), 2);
        assert_eq!(got, ["0", "1", "2", "4", "5"]);
        let mut more = (6..12).map(text);
        assert_eq!(tx.push_each(6, more.by_ref()), 4);
        assert_eq!(more.next(), Some(text(10)), "no more was taken than fits");
        got.clear();
        assert_eq!(rx.pop_each(9, |item| got.push(item)), 4);
        assert_eq!(got, ["6", "7", "8", "9"]);
        assert_eq!((rx.pop_run(8, &mut got), rx.pop()), (0, None));
    }
}
