//! The packet: an owning handle of metadata and a chain of buflets.
//!
//! One pointer; dropping it gives everything back to its pool, moving it hands it on. There is
//! no `Clone`: sharing a buffer is a named operation of its own. While a device may touch the
//! buffers the packet is a [`Lent`], which gives no access to data.

pub(crate) mod attachment;
pub(crate) mod clone;
pub(crate) mod contiguous;
pub(crate) mod extra;
mod finalize;
mod gather;
mod handle;
mod lent;
mod loan;
pub(crate) mod meta;
mod metadata;
pub(crate) mod offload;

pub use attachment::{Attachment, Foreign, Leaf};
pub use clone::CloneError;
pub use extra::Notes;
pub use finalize::{FinalizeError, Finalized, Rejected};
pub use gather::Gather;
pub use handle::PacketHandle;
pub use lent::Lent;
pub use meta::Buflets;
pub use metadata::NoSubObjects;
pub use offload::{Gso, GsoKind, Offload, PartialChecksum, RxChecksum};

use crate::buflet::{Buflet, Extent, SpanError, flag};
use crate::pool::{self, free};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use meta::Meta;

/// An owned packet.
#[repr(transparent)]
pub struct Packet {
    meta: NonNull<Meta>,
}

// SAFETY: a packet owns its metadata and buffers; pool operations are thread-safe.
unsafe impl Send for Packet {}
// SAFETY: `&Packet` only reads.
unsafe impl Sync for Packet {}

const _: () = assert!(size_of::<Option<Packet>>() == size_of::<usize>());

/// A buflet of a packet, for changing what a user may change.
#[derive(Debug)]
pub struct BufletMut<'a> {
    buflet: &'a mut Buflet,
}

impl BufletMut<'_> {
    /// Sets where the data lies.
    ///
    /// # Errors
    /// [`SpanError`] if it would exceed the buffer's limit; nothing changes.
    pub fn set_span(&mut self, offset: usize, len: usize) -> Result<(), SpanError> {
        self.buflet.set_span(offset, len)
    }
    /// The data, for writing; `None` if the buffer is shared or read-only.
    pub fn data_mut(&mut self) -> Option<&mut [u8]> {
        self.buflet.data_mut()
    }
    /// Grows the data by `n` bytes to the front; returns those bytes, whose content is whatever was
    /// there.
    ///
    /// # Errors
    /// [`SpanError`] if there is less room, or the buffer may not be written; nothing changes.
    #[inline]
    pub fn push_front(&mut self, n: usize) -> Result<&mut [u8], SpanError> {
        self.buflet.push_front(n)
    }
}

impl core::ops::Deref for BufletMut<'_> {
    type Target = Buflet;
    fn deref(&self) -> &Buflet {
        self.buflet
    }
}

/// Why buflets could not be moved behind a packet. Hands the other packet back.
#[derive(Debug)]
pub struct AppendError {
    /// What is wrong.
    pub reason: AppendReason,
    /// The packet that was to be appended, unchanged.
    pub packet: Packet,
}

/// What is wrong with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReason {
    /// The chain would be longer than the pool's `max_frags`.
    TooLong {
        /// Buflets the chain would have.
        buflets: usize,
        /// Buflets it may have.
        max: usize,
    },
    /// Packets of a regular pool keep their one buffer.
    RegularPool,
    /// The packets come from different pools.
    OtherPool,
    /// A buflet object for a shared buffer could not be had.
    NoMemory,
}

impl Packet {
    /// # Safety
    /// The caller owns `meta`: it is allocated, in no queue, and has no other handle.
    #[inline(always)]
    pub(crate) unsafe fn from_meta(meta: NonNull<Meta>) -> Self {
        Self { meta }
    }

    /// Gives up the handle.
    #[inline(always)]
    pub(crate) fn into_meta(self) -> NonNull<Meta> {
        ManuallyDrop::new(self).meta
    }

    /// Where the metadata is; the handle keeps it.
    #[inline(always)]
    pub(crate) fn meta_ptr(&self) -> NonNull<Meta> {
        self.meta
    }

    #[inline(always)]
    pub(crate) fn meta(&self) -> &Meta {
        // SAFETY: the handle owns the metadata.
        unsafe { self.meta.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn meta_mut(&mut self) -> &mut Meta {
        // SAFETY: the handle owns the metadata, and `self` is `&mut`.
        unsafe { self.meta.as_mut() }
    }

    /// Bytes of data in all buflets.
    #[inline]
    pub fn len(&self) -> usize {
        let meta = self.meta();
        match (meta.flags() & flag::DROPPED, meta.span.extent.count) {
            (0, 1) => self.first().map_or(0, Buflet::len),
            (0, _) => self.chain_len(),
            _ => 0,
        }
    }

    #[inline(never)]
    fn chain_len(&self) -> usize {
        let meta = self.meta();
        match meta.run() {
            Some(run) => run,
            None => meta.buflets().map(Buflet::len).sum(),
        }
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first buflet; `None` if the packet has none.
    pub fn first(&self) -> Option<&Buflet> {
        self.meta().first()
    }

    /// The data of the first buflet.
    pub fn data(&self) -> &[u8] {
        self.first().map_or(&[], Buflet::data)
    }

    /// The data of the first buflet, for writing; `None` if its buffer is shared with a clone
    /// or the pool is read-only.
    pub fn data_mut(&mut self) -> Option<&mut [u8]> {
        match self.meta_mut().first_mut() {
            Some(buflet) => buflet.data_mut(),
            None => Some(&mut []),
        }
    }

    /// Sets where the data lies in the first buflet's buffer.
    ///
    /// # Errors
    /// [`SpanError`] if it would exceed the buffer's limit; nothing changes.
    #[inline]
    pub fn set_span(&mut self, doff: usize, dlen: usize) -> Result<(), SpanError> {
        match self.meta_mut().first_to_change() {
            Some(buflet) => buflet.set_span(doff, dlen),
            None => Err(SpanError {
                offset: doff,
                len: dlen,
                limit: 0,
            }),
        }
    }

    /// Bytes free in front of the data, in the first buflet.
    pub fn headroom(&self) -> usize {
        self.first().map_or(0, Buflet::offset)
    }

    /// Bytes free behind the data, in the first buflet.
    pub fn tailroom(&self) -> usize {
        self.first().map_or(0, |b| b.limit() - b.offset() - b.len())
    }

    /// Grows the data by `n` bytes into the headroom and returns those bytes, whose content is
    /// whatever was there.
    ///
    /// # Errors
    /// [`SpanError`] if the headroom is smaller, or the buffer may not be written.
    #[inline]
    pub fn push_front(&mut self, n: usize) -> Result<&mut [u8], SpanError> {
        match self.meta_mut().first_to_change() {
            Some(buflet) => buflet.push_front(n),
            None => Err(SpanError {
                offset: 0,
                len: n,
                limit: 0,
            }),
        }
    }

    /// Takes `n` bytes off the front of the first buflet's data.
    ///
    /// # Errors
    /// [`SpanError`] if there are fewer; nothing changes.
    pub fn pull_front(&mut self, n: usize) -> Result<(), SpanError> {
        let (doff, dlen) = (self.headroom(), self.first().map_or(0, Buflet::len));
        let rest = dlen.checked_sub(n).ok_or(SpanError {
            offset: doff,
            len: n,
            limit: dlen,
        })?;
        self.set_span(doff + n, rest)
    }

    /// The buflets, in order.
    pub fn buflets(&self) -> Buflets<'_> {
        self.meta().buflets()
    }

    /// The `n`-th buflet, for setting its span and writing its data.
    pub fn buflet_mut(&mut self, n: usize) -> Option<BufletMut<'_>> {
        self.meta_mut()
            .nth_mut(n)
            .map(|buflet| BufletMut { buflet })
    }

    /// The packet's only buflet, if all that there is to know of the packet is in its first cache line:
    /// it is [single](Self::single_mut), and without [offload](Self::offload) or other note. One test
    /// for all of that, for those who treat the usual packet apart.
    #[inline]
    pub fn plain_mut(&mut self) -> Option<BufletMut<'_>> {
        self.only_mut(flag::NOT_SINGLE | flag::EXTRA)
    }

    /// The packet's only buflet, if the packet is one buffer of its own, which may be written, and was
    /// not dropped, whatever is noted of it.
    #[inline]
    pub fn single_mut(&mut self) -> Option<BufletMut<'_>> {
        self.only_mut(flag::NOT_SINGLE)
    }

    /// The packet's only buflet, if the packet has none of these flags.
    #[inline(always)]
    fn only_mut(&mut self, without: u16) -> Option<BufletMut<'_>> {
        let Extent { flags, count, .. } = self.meta().span.extent;
        if flags & without != 0 || count != 1 {
            return None;
        }
        let buflet = self.meta_mut().first_mut()?;
        Some(BufletMut { buflet })
    }

    /// Number of buflets.
    pub fn buflet_count(&self) -> usize {
        usize::from(self.meta().span.extent.count)
    }

    /// What the device found or shall do.
    #[inline]
    pub fn offload(&self) -> &Offload {
        self.meta()
            .extra()
            .and_then(|e| e.offload())
            .unwrap_or(&Offload::NONE)
    }

    /// The same, for writing.
    pub fn offload_mut(&mut self) -> &mut Offload {
        self.meta_mut().extra_mut().offload_mut()
    }

    /// Index of the packet in its pool; the same for its whole life and across recycling.
    pub fn index(&self) -> u32 {
        self.meta().index
    }

    /// Hands the buffers to a device.
    #[inline]
    pub fn lend(self) -> Lent {
        Lent::new(self)
    }

    /// Moves `other`'s buflets behind mine (merged receive); `other`'s metadata goes back.
    ///
    /// # Errors
    /// [`AppendError`] hands `other` back unchanged.
    pub fn append(&mut self, mut other: Packet) -> Result<(), AppendError> {
        if let Err(reason) = pool::chain::splice(self.meta_mut(), other.meta_mut()) {
            return Err(AppendError {
                reason,
                packet: other,
            });
        }
        Ok(())
    }
}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the handle owned the packet and goes.
        unsafe { free::packet(self.meta) }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("index", &self.index())
            .field("len", &self.len())
            .field("buflets", &self.buflet_count())
            .finish()
    }
}
