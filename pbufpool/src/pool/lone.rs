//! Buffers and buflets alone, of on-demand pools: for whoever builds packets piece by piece.

use super::{AllocError, Burst, Inner, Pool, free};
use crate::buffer::BufCtl;
use crate::buflet::{Buflet, ExtBuflet, SpanError, flag};
use crate::cache::Returned;
use crate::packet::{AppendReason, Packet};
use crate::platform::DmaAddr;
use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// A raw default buffer: use count 0. Dropping it gives it back.
pub struct Buffer {
    ctl: NonNull<BufCtl>,
    pool: NonNull<Inner>,
}

// SAFETY: the handle owns the buffer; pool operations are thread-safe.
unsafe impl Send for Buffer {}
// SAFETY: `&Buffer` only reads.
unsafe impl Sync for Buffer {}

/// An external buflet in no packet. Dropping it gives it back, with its buffer.
pub struct LoneBuflet {
    buflet: NonNull<ExtBuflet>,
}

// SAFETY: the handle owns the buflet; pool operations are thread-safe.
unsafe impl Send for LoneBuflet {}
// SAFETY: `&LoneBuflet` only reads.
unsafe impl Sync for LoneBuflet {}

/// A buflet that could not be appended, handed back.
#[derive(Debug)]
pub struct AppendBufletError {
    /// What is wrong.
    pub reason: AppendReason,
    /// The buflet.
    pub buflet: LoneBuflet,
}

impl Pool {
    /// A default buffer without buflet.
    ///
    /// # Errors
    /// [`AllocError::NotSupported`] on a regular pool, whose buffers belong to its packets.
    pub fn alloc_buffer(&self) -> Result<Buffer, AllocError> {
        let inner = self.inner();
        if !inner.config.on_demand {
            return Err(AllocError::NotSupported);
        }
        let ctl = inner
            .buffers
            .take_one(inner.core(), || inner.reclaim_buffers(false));
        let ctl = ctl.ok_or_else(|| inner.fail(AllocError::NoBuffers))?;
        Ok(Buffer {
            ctl,
            pool: NonNull::from(inner),
        })
    }

    /// A buflet with a default or large buffer, in no packet.
    ///
    /// # Errors
    /// [`AllocError`] if there is none, or the pool gives none.
    pub fn alloc_buflet(&self, large: bool) -> Result<LoneBuflet, AllocError> {
        let mut one = Vec::new();
        let burst = self.alloc_buflet_burst(1, large, &mut one);
        one.pop()
            .ok_or(burst.shortfall.unwrap_or(AllocError::NoBuffers))
    }

    /// Up to `n` buflets, appended to `out`.
    pub fn alloc_buflet_burst(&self, n: usize, large: bool, out: &mut Vec<LoneBuflet>) -> Burst {
        let inner = self.inner();
        let cache = match (inner.config.on_demand, inner.buflet_cache(large)) {
            (false, _) => return Burst::refused(AllocError::NotSupported),
            (true, None) => return Burst::refused(AllocError::NoLargeRegion),
            (true, Some(_)) if n == 0 => return Burst::refused(AllocError::Empty),
            (true, Some(cache)) => cache,
        };
        out.reserve(n);
        let fresh = if large {
            inner.fresh_large
        } else {
            inner.fresh_buflet
        };
        let got = cache.take(
            inner.core(),
            n,
            || inner.reclaim_buffers(large),
            |run| {
                for &buflet in run.iter().rev() {
                    // SAFETY: just taken, ours alone.
                    unsafe {
                        (*buflet.as_ptr()).span.extent = fresh;
                        (*buflet.as_ptr()).span.next = None;
                    }
                    out.push(LoneBuflet { buflet });
                }
            },
        );
        let shortfall = (got < n).then(|| inner.fail(AllocError::NoBuffers));
        Burst {
            count: got,
            shortfall,
        }
    }
}

impl Buffer {
    /// # Safety
    /// The caller owns the buffer, which is of that pool.
    pub(super) unsafe fn from_raw(ctl: NonNull<BufCtl>, pool: NonNull<Inner>) -> Self {
        Self { ctl, pool }
    }
    fn record(&self) -> &BufCtl {
        // SAFETY: the handle owns the buffer.
        unsafe { self.ctl.as_ref() }
    }
    /// Device address.
    pub fn dma_addr(&self) -> DmaAddr {
        self.record().dma
    }
    /// Bytes.
    pub fn len(&self) -> usize {
        self.record().limit as usize
    }
    /// Whether the buffer holds no byte (never).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Segment that it lies in, and its index there.
    pub fn place(&self) -> (usize, usize) {
        // SAFETY: the buffer keeps its pool alive.
        let geometry = unsafe { self.pool.as_ref() }.config.geometry.buffers;
        geometry.split(self.record().index as usize)
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the handle owns the whole buffer, which is initialised.
        unsafe { core::slice::from_raw_parts(self.record().base.as_ptr(), self.len()) }
    }
    /// The bytes, for writing; `None` in a read-only pool.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: the buffer keeps its pool alive.
        let read_only = unsafe { self.pool.as_ref() }.config.cpu_read_only;
        let (base, len) = (self.record().base, self.len());
        // SAFETY: as for `bytes`, and `self` is `&mut`.
        (!read_only).then(|| unsafe { core::slice::from_raw_parts_mut(base.as_ptr(), len) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the buffer keeps its pool alive until its reference is released.
        unsafe {
            let inner = self.pool.as_ref();
            let returned = inner.buffers.give_one(inner.core(), self.ctl);
            Inner::release(self.pool, returned);
        }
    }
}

impl LoneBuflet {
    /// # Safety
    /// The caller owns the buflet, which is linked to nothing.
    pub(crate) unsafe fn from_raw(buflet: NonNull<ExtBuflet>) -> Self {
        Self { buflet }
    }

    /// Gives up the handle.
    pub(crate) fn into_raw(self) -> NonNull<ExtBuflet> {
        ManuallyDrop::new(self).buflet
    }

    pub(crate) fn ext(&self) -> &ExtBuflet {
        // SAFETY: the handle owns the buflet.
        unsafe { self.buflet.as_ref() }
    }

    fn span_mut(&mut self) -> &mut Buflet {
        // SAFETY: the handle owns the buflet, and `self` is `&mut`.
        unsafe { &mut self.buflet.as_mut().span }
    }

    /// The span.
    pub fn span(&self) -> &Buflet {
        &self.ext().span
    }
    /// Sets where the data lies.
    ///
    /// # Errors
    /// [`SpanError`] if it would leave the buffer.
    pub fn set_span(&mut self, offset: usize, len: usize) -> Result<(), SpanError> {
        self.span_mut().set_span(offset, len)
    }
    /// Narrows the buflet to a part of its buffer.
    ///
    /// # Errors
    /// [`SpanError`] if that is not inside the buffer.
    pub fn set_window(&mut self, start: usize, len: usize) -> Result<(), SpanError> {
        self.span_mut().set_window(start, len)
    }
    /// The data, for writing; `None` if the buffer is shared or read-only.
    pub fn data_mut(&mut self) -> Option<&mut [u8]> {
        self.span_mut().data_mut()
    }
}

impl Drop for LoneBuflet {
    fn drop(&mut self) {
        // SAFETY: the buflet keeps its pool alive until its references are released; the handle
        // owned it.
        unsafe {
            let pool = self.buflet.as_ref().pool;
            let inner = pool.as_ref();
            let returned: Returned = free::special(inner, inner.core(), self.buflet);
            Inner::release(pool, returned);
        }
    }
}

impl fmt::Debug for LoneBuflet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span().fmt(f)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("place", &self.place())
            .field("dma", &self.dma_addr())
            .finish()
    }
}

impl Packet {
    /// Links `buflet` behind the packet's chain. There is no way to put it anywhere else, or to
    /// link it twice: it is moved.
    ///
    /// # Errors
    /// [`AppendBufletError`] hands the buflet back.
    pub fn append_buflet(&mut self, buflet: LoneBuflet) -> Result<(), AppendBufletError> {
        let meta = self.meta();
        let buflets = self.buflet_count() + 1;
        let max = usize::from(meta.inner().config.max_frags);
        let reason = match () {
            () if meta.pool != buflet.ext().pool => Some(AppendReason::OtherPool),
            () if buflets > max => Some(AppendReason::TooLong { buflets, max }),
            () => None,
        };
        if let Some(reason) = reason {
            return Err(AppendBufletError { reason, buflet });
        }
        const SPECIAL: u16 = flag::LARGE | flag::SHARED | flag::WINDOW;
        let special = buflet.span().extent.flags & SPECIAL != 0;
        let raw = buflet.into_raw();
        let meta = self.meta_mut();
        meta.link_tail(raw, raw, 1);
        if special {
            meta.set(flag::SPECIAL, true);
        }
        Ok(())
    }
}
