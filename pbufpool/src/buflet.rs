//! Buflets: a span of one buffer, by address, limit, offset and length.
//!
//! Every packet embeds one; a chain goes on in external buflets ([`ExtBuflet`]), which are
//! constructed with their buffer attached. The first 16 bytes ([`Extent`]) are all that a use
//! changes as a rule, so recycling rewrites just those.
//!
//! Invariant: `ctl` is `None` exactly when the buflet is empty; else `base ..= base + limit`
//! lies inside the buffer of `ctl`, and `offset + len <= limit`.

use crate::buffer::BufCtl;
use crate::platform::DmaAddr;
use crate::pool::Inner;
use core::fmt;
use core::ptr::NonNull;

/// Flag bits of an [`Extent`].
pub(crate) mod flag {
    /// The buffer may have other users: look at its count.
    pub(crate) const SHARED: u16 = 1 << 0;
    /// From the large region.
    pub(crate) const LARGE: u16 = 1 << 1;
    /// The processor may not write.
    pub(crate) const READ_ONLY: u16 = 1 << 2;
    /// Base or limit differ from the buffer's: restore before recycling.
    pub(crate) const WINDOW: u16 = 1 << 3;
    /// An external buflet.
    pub(crate) const EXTERNAL: u16 = 1 << 4;
    /// Packet: the second cache line holds something (see `packet::meta`).
    pub(crate) const EXTRA: u16 = 1 << 5;
    /// Packet: dropped by a check.
    pub(crate) const DROPPED: u16 = 1 << 6;
    /// Packet: its buffers may not hold the whole payload.
    pub(crate) const TRUNCATED: u16 = 1 << 7;
    /// Packet: it was made for, and is shown to, no client.
    pub(crate) const KERNEL_ONLY: u16 = 1 << 8;
    /// Packet: a buflet of its chain is large, shared or windowed.
    pub(crate) const SPECIAL: u16 = 1 << 9;
    /// Packet: the second cache line may hold something that a free has to act on.
    pub(crate) const ACTION: u16 = 1 << 10;
    /// Packet: all data of its chain lies back to back; the second cache line says how much it is.
    pub(crate) const RUN: u16 = 1 << 11;
    /// What a free must look at before it can recycle.
    pub(crate) const UNUSUAL: u16 = SHARED | WINDOW | ACTION | SPECIAL;
    /// What a packet that is one buffer of its own, whatever is noted of it, has none of.
    pub(crate) const NOT_SINGLE: u16 = SHARED | READ_ONLY | DROPPED | SPECIAL;
}

/// The part of a buflet that a use changes: one 16-byte store makes it fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub(crate) struct Extent {
    pub(crate) doff: u32,
    pub(crate) dlen: u32,
    pub(crate) dlim: u32,
    pub(crate) flags: u16,
    /// In a packet's embedded buflet: buflets of the packet.
    pub(crate) count: u16,
}

/// An [`Extent`] as two words, so that stamping a recycled object costs two stores even where
/// there are no vector registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp([u64; 2]);

impl Extent {
    /// An empty span.
    pub(crate) const fn fresh(dlim: usize, flags: u16, count: u16) -> Self {
        Self {
            doff: 0,
            dlen: 0,
            dlim: dlim as u32,
            flags,
            count,
        }
    }

    /// For [`Extent::apply`].
    #[inline(always)]
    pub(crate) const fn stamp(&self) -> Stamp {
        // Read as words: a copy of fields may become one store per field in the end.
        // SAFETY: both are 16 bytes of plain numbers, without padding.
        Stamp(unsafe { (&raw const *self).cast::<[u64; 2]>().read() })
    }

    /// Becomes what was stamped.
    #[inline(always)]
    pub(crate) fn apply(&mut self, stamp: Stamp) {
        // Stored as words: an assignment of fields may become one store per field.
        // SAFETY: any bits are an `Extent`, which has the size of the two words.
        unsafe { (&raw mut *self).cast::<[u64; 2]>().write_unaligned(stamp.0) };
    }
}

impl Stamp {
    /// The same with `count` buflets, where there were none.
    #[inline(always)]
    pub(crate) const fn counting(self, count: u16) -> Self {
        const ONE: u64 = Extent::fresh(0, 0, 1).stamp().0[1];
        Self([self.0[0], self.0[1] + ONE * count as u64])
    }

    /// The fields' bits that are set in `mask`.
    #[inline(always)]
    pub(crate) const fn masked(self, mask: Self) -> Self {
        Self([self.0[0] & mask.0[0], self.0[1] & mask.0[1]])
    }

    /// The bits of both.
    #[inline(always)]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }
}

/// A span of a buffer.
#[repr(C)]
pub struct Buflet {
    pub(crate) extent: Extent,
    pub(crate) base: NonNull<u8>,
    pub(crate) dma: DmaAddr,
    pub(crate) ctl: Option<NonNull<BufCtl>>,
    pub(crate) next: Option<NonNull<ExtBuflet>>,
}

/// An external buflet: one cache line.
#[repr(C, align(64))]
pub(crate) struct ExtBuflet {
    pub(crate) span: Buflet,
    pub(crate) pool: NonNull<Inner>,
    /// Own index in the buflet region.
    pub(crate) index: u32,
    /// Client that it is on loan to; 0 = none.
    pub(crate) owner: u32,
}

const _: () = assert!(size_of::<Buflet>() == 48 && size_of::<ExtBuflet>() == 64);

/// A span lies outside its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanError {
    /// Offset asked for.
    pub offset: usize,
    /// Length asked for.
    pub len: usize,
    /// What the buflet allows.
    pub limit: usize,
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, len, limit } = self;
        write!(f, "span {offset}+{len} exceeds the buffer's limit {limit}")
    }
}

impl core::error::Error for SpanError {}

impl Buflet {
    /// A buflet without a buffer.
    pub(crate) const fn empty(flags: u16) -> Self {
        Self {
            extent: Extent::fresh(0, flags, 0),
            base: NonNull::dangling(),
            dma: DmaAddr::new(0),
            ctl: None,
            next: None,
        }
    }

    /// A fresh buflet over the whole buffer of `ctl`.
    pub(crate) fn over(ctl: NonNull<BufCtl>, flags: u16) -> Self {
        // SAFETY: the caller holds the buffer, so its record stays.
        let record = unsafe { ctl.as_ref() };
        let large = if record.large { flag::LARGE } else { 0 };
        Self {
            extent: Extent::fresh(record.limit as usize, flags | large, 0),
            base: record.base,
            dma: record.dma,
            ctl: Some(ctl),
            next: None,
        }
    }

    /// Device address of the first data byte.
    #[inline]
    pub fn dma_addr(&self) -> DmaAddr {
        self.dma.add(self.offset())
    }
    /// Device address of the first byte that the buflet may use.
    pub fn base_dma(&self) -> DmaAddr {
        self.dma
    }
    /// Bytes usable from the base (`dlim`).
    pub fn limit(&self) -> usize {
        self.extent.dlim as usize
    }
    /// Where the data starts (`doff`).
    pub fn offset(&self) -> usize {
        self.extent.doff as usize
    }
    /// Bytes of data (`dlen`).
    pub fn len(&self) -> usize {
        self.extent.dlen as usize
    }
    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.extent.dlen == 0
    }
    /// Index of the buffer in its region; `None` without a buffer.
    pub fn buffer_index(&self) -> Option<u32> {
        self.record().map(|r| r.index)
    }
    /// Whether the buffer comes from the large region.
    pub fn is_large(&self) -> bool {
        self.extent.flags & flag::LARGE != 0
    }
    /// Whether other packets use the same buffer now.
    pub fn is_shared(&self) -> bool {
        self.extent.flags & flag::SHARED != 0 && self.uses() > 1
    }
    /// Buflets that use the buffer: 1 = this one alone, 0 = there is no buffer.
    pub fn uses(&self) -> u32 {
        self.record().map_or(0, |r| r.uses().get())
    }

    /// The data.
    pub fn data(&self) -> &[u8] {
        // SAFETY: the span lies in the buffer (invariant), whose bytes are initialised; no one
        // writes them: the processor only through an exclusive `&mut`, a device only through
        // `Lent`, which gives no `&Buflet`.
        unsafe { core::slice::from_raw_parts(self.data_start().as_ptr(), self.len()) }
    }

    /// The data, for writing; `None` if the buffer is shared or the pool read-only.
    #[inline(always)]
    pub fn data_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: as for `data`; exclusive, since the use count is 1 and `self` is `&mut`.
        self.is_writable().then(|| unsafe {
            core::slice::from_raw_parts_mut(self.data_start().as_ptr(), self.len())
        })
    }

    /// Sets where the data lies.
    ///
    /// # Errors
    /// [`SpanError`] if it would leave the buffer; nothing changes.
    #[inline]
    pub fn set_span(&mut self, offset: usize, len: usize) -> Result<(), SpanError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.limit() => {
                self.extent.doff = offset as u32;
                self.extent.dlen = len as u32;
                Ok(())
            }
            _ => Err(SpanError {
                offset,
                len,
                limit: self.limit(),
            }),
        }
    }

    /// Grows the data by `n` bytes to the front; returns those bytes.
    #[inline(always)]
    pub(crate) fn push_front(&mut self, n: usize) -> Result<&mut [u8], SpanError> {
        let offset = self.offset();
        let refused = SpanError {
            offset,
            len: n,
            limit: offset,
        };
        if n > offset || !self.is_writable() {
            return Err(refused);
        }
        self.extent.doff -= n as u32;
        self.extent.dlen += n as u32;
        // SAFETY: as for `data_mut`: it is writable, and the data begins with these bytes.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.data_start().as_ptr(), n) })
    }

    /// Narrows the buflet to `len` bytes from `start` of its *buffer*, with an empty span at
    /// its beginning. Recycling restores the whole buffer.
    ///
    /// # Errors
    /// [`SpanError`] if that is not inside the buffer; nothing changes.
    pub fn set_window(&mut self, start: usize, len: usize) -> Result<(), SpanError> {
        let limit = self.record().map_or(0, |r| r.limit as usize);
        let error = SpanError {
            offset: start,
            len,
            limit,
        };
        let end = start.checked_add(len).ok_or(error)?;
        let Some(record) = self.record().filter(|_| end <= limit) else {
            return Err(error);
        };
        // SAFETY: `start` lies inside the buffer.
        let (base, dma) = unsafe { (record.base.add(start), record.dma.add(start)) };
        (self.base, self.dma) = (base, dma);
        let flags = self.extent.flags | flag::WINDOW;
        self.extent = Extent {
            doff: 0,
            dlen: 0,
            dlim: len as u32,
            flags,
            ..self.extent
        };
        Ok(())
    }

    /// Whether the window lies in the buffer and the span in the window.
    pub(crate) fn is_inside_buffer(&self) -> bool {
        let Some(record) = self.record() else {
            return false;
        };
        let start = (self.base.as_ptr() as usize).checked_sub(record.base.as_ptr() as usize);
        let window_end = start.and_then(|s| s.checked_add(self.limit()));
        window_end.is_some_and(|end| end <= record.limit as usize)
            && self
                .offset()
                .checked_add(self.len())
                .is_some_and(|end| end <= self.limit())
    }

    /// Undoes [`Buflet::set_window`].
    pub(crate) fn restore_window(&mut self) {
        if let Some(record) = self.record() {
            let (base, dma, limit) = (record.base, record.dma, record.limit);
            (self.base, self.dma, self.extent.dlim) = (base, dma, limit);
        }
    }

    /// Whether the processor may write.
    #[inline]
    pub(crate) fn is_writable(&self) -> bool {
        let flags = self.extent.flags;
        flags & (flag::SHARED | flag::READ_ONLY) == 0
            || (flags & flag::READ_ONLY == 0 && self.uses() <= 1)
    }

    /// First data byte.
    pub(crate) fn data_start(&self) -> NonNull<u8> {
        // SAFETY: the offset lies inside the buffer (invariant).
        unsafe { self.base.add(self.offset()) }
    }

    /// The buffer's record.
    pub(crate) fn record(&self) -> Option<&BufCtl> {
        // SAFETY: a buflet holds a use of its buffer, so the record stays and is not rewritten.
        self.ctl.map(|ctl| unsafe { &*ctl.as_ptr() })
    }
}

impl fmt::Debug for Buflet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buflet")
            .field("buffer", &self.buffer_index())
            .field("dma", &self.dma)
            .field("limit", &self.limit())
            .field("offset", &self.offset())
            .field("len", &self.len())
            .finish()
    }
}
