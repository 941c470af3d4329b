//! One slice out of a chain: where the buflets lie back to back, as a receive ring that posts
//! neighbours in ascending order arranges, the chain *is* one slice. Otherwise it is copied
//! into one large buffer, and the copy is counted.

use super::Packet;
use crate::buflet::{Buflet, flag};
use crate::pool::{AllocError, Pool};
use crate::sync::Ordering;

impl Packet {
    /// All data as one slice, if it is one in memory: no copy. `None` for scattered buflets.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        if self.buflet_count() <= 1 {
            return Some(self.data());
        }
        self.chain_as_slice()
    }

    #[inline(never)]
    fn chain_as_slice(&self) -> Option<&[u8]> {
        if let (Some(run), Some(first)) = (self.meta().run(), self.first()) {
            // SAFETY: as below; whoever noted the run has looked.
            return Some(unsafe { core::slice::from_raw_parts(first.data_start().as_ptr(), run) });
        }
        let mut buflets = self.buflets().filter(|b| !b.is_empty());
        let Some(first) = buflets.next() else {
            return Some(&[]);
        };
        let mut last = first;
        let mut len = first.len();
        for buflet in buflets {
            if !follows(last, buflet) {
                return None;
            }
            len += buflet.len();
            last = buflet;
        }
        // SAFETY: every span is readable (see `Buflet::data`), each starts where the one before
        // ends, and all lie in one segment, which is one allocation.
        Some(unsafe { core::slice::from_raw_parts(first.data_start().as_ptr(), len) })
    }

    /// A packet with the same data in one buflet: itself, if it has no more; else a copy, in a
    /// large buffer of `pool` if the default ones are too small. Offload, notes and what is
    /// attached go along; a completion that was asked for runs, as for any packet freed.
    ///
    /// # Errors
    /// Hands the packet back if `pool` has no buffer that is large enough.
    pub fn linearise(mut self, pool: &Pool) -> Result<Packet, (Packet, AllocError)> {
        if self.buflet_count() <= 1 {
            return Ok(self);
        }
        let len = self.len();
        let copy = match len <= pool.buffer_size() {
            true => pool.alloc(),
            false => pool.alloc_large(),
        };
        let mut copy = match copy {
            Ok(copy) => copy,
            Err(e) => return Err((self, e)),
        };
        if copy.set_span(0, len).is_err() {
            let limit = copy.first().map_or(0, Buflet::limit);
            return Err((
                self,
                AllocError::TooLarge {
                    bytes: len,
                    max: limit,
                },
            ));
        }
        let Some(mut to) = copy.data_mut() else {
            return Err((self, AllocError::ReadOnly));
        };
        for buflet in self.buflets() {
            let Some((here, rest)) = to.split_at_mut_checked(buflet.len()) else {
                break;
            };
            here.copy_from_slice(buflet.data());
            to = rest;
        }
        if self.meta().flags() & flag::EXTRA != 0 {
            *copy.offload_mut() = *self.offload();
            *copy.notes_mut() = self.notes();
            copy.attach(self.detach());
        }
        let counters = &self.meta().inner().counters;
        counters.linearised.fetch_add(1, Ordering::Relaxed);
        counters
            .linearised_bytes
            .fetch_add(len as u64, Ordering::Relaxed);
        Ok(copy)
    }
}

/// Whether `b`'s data starts where `a`'s ends, in the same segment.
fn follows(a: &Buflet, b: &Buflet) -> bool {
    let same_segment = match (a.record(), b.record()) {
        (Some(x), Some(y)) => x.large == y.large && x.segment == y.segment,
        _ => false,
    };
    same_segment && a.data_start().as_ptr().wrapping_add(a.len()) == b.data_start().as_ptr()
}
