//! Lone buffers in batches: whole runs are copied between the magazines and the batch, so a
//! buffer costs a fraction of what one handle after the other does. Fastest with
//! [`PoolConfig::buffer_magazines`](crate::PoolConfig::buffer_magazines).
//!
//! Invariant: a batch holds raw buffers of its own pool only, since it is made by that pool.

use super::lone::Buffer;
use super::{AllocError, Burst, Pool};
use crate::buffer::BufCtl;
use ::alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

/// Default buffers of one pool, without buflets. Dropping the batch gives them back.
pub struct BufferBatch {
    pool: Pool,
    ctls: Vec<NonNull<BufCtl>>,
}

// SAFETY: the batch owns its buffers; pool operations are thread-safe.
unsafe impl Send for BufferBatch {}
// SAFETY: `&BufferBatch` only reads.
unsafe impl Sync for BufferBatch {}

impl Pool {
    /// An empty batch for this pool's buffers, which it keeps alive.
    pub fn buffer_batch(&self) -> BufferBatch {
        BufferBatch {
            pool: self.clone(),
            ctls: Vec::new(),
        }
    }
}

impl BufferBatch {
    /// Adds up to `n` default buffers. The shortfall is [`AllocError::NotSupported`] on a
    /// regular pool, whose buffers belong to its packets.
    #[inline]
    pub fn alloc(&mut self, n: usize) -> Burst {
        let inner = self.pool.inner();
        if !inner.config.on_demand {
            return Burst::refused(AllocError::NotSupported);
        }
        let cache = &*inner.buffers;
        if self.ctls.capacity() - self.ctls.len() < n {
            make_room(&mut self.ctls, n.min(cache.slabs.geometry().count()));
        }
        let mut at = self.ctls.spare_capacity_mut().as_mut_ptr().cast();
        let got = cache.take(
            inner.core(),
            n,
            || inner.reclaim_buffers(false),
            |run| {
                // SAFETY: there was room for `n`, or for as many as the region has.
                unsafe {
                    core::ptr::copy_nonoverlapping(run.as_ptr(), at, run.len());
                    at = at.add(run.len());
                }
            },
        );
        // SAFETY: that many were written.
        unsafe { self.ctls.set_len(self.ctls.len() + got) };
        Burst {
            count: got,
            shortfall: (got < n).then(|| inner.fail(AllocError::NoBuffers)),
        }
    }

    /// Gives every buffer back in one go; returns how many.
    #[inline]
    pub fn free(&mut self) -> usize {
        let inner = self.pool.inner();
        let mut giver = inner.buffers.giver(inner.core());
        let mut room = giver.spare();
        let mut left = room.put_run(&self.ctls);
        while let [first, rest @ ..] = left {
            giver.give(&mut room, *first);
            left = room.put_run(rest);
        }
        let returned = giver.finish(room);
        let freed = self.ctls.len();
        self.ctls.clear();
        inner.return_some(returned);
        freed
    }

    /// Takes one buffer out, the last one.
    #[inline]
    pub fn pop(&mut self) -> Option<Buffer> {
        let ctl = self.ctls.pop()?;
        // SAFETY: the batch owned the buffer, which is its pool's.
        Some(unsafe { Buffer::from_raw(ctl, NonNull::from(self.pool.inner())) })
    }

    /// Buffers in the batch.
    pub fn len(&self) -> usize {
        self.ctls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ctls.is_empty()
    }
}

#[cold]
#[inline(never)]
fn make_room(ctls: &mut Vec<NonNull<BufCtl>>, more: usize) {
    ctls.reserve(more);
}

impl Drop for BufferBatch {
    fn drop(&mut self) {
        self.free();
    }
}

impl fmt::Debug for BufferBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferBatch")
            .field("pool", &self.pool)
            .field("len", &self.len())
            .finish()
    }
}
