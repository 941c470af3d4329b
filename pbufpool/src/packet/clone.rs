//! Clones. *Heavy*: another packet with a copy of the bytes. *Light*: another packet over the
//! same buffers, whose use counts go up; both sides then read, and neither writes until it is
//! alone again.
//!
//! A light clone keeps the source's first buffer in its embedded buflet; further buffers of a
//! chain go to bare external buflets. Whoever drops the last use gives the buffer back.
//! Clones are not final, not classified and not traced; requests made of the source
//! (completion, attachments) stay the source's, but a heavy clone duplicates foreign data.

use super::Packet;
use super::attachment::Attachment;
use super::extra::Notes;
use super::meta::Meta;
use crate::buflet::{Buflet, Extent, Stamp, flag};
use crate::config::PacketKind;
use crate::pool::AllocError;
use core::fmt;
use core::ptr::NonNull;

/// Why there is no clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneError {
    /// The source has no buflet.
    Empty,
    /// The source was dropped by a check.
    Dropped,
    /// A packet of a regular pool keeps its buffer: light clones need an on-demand pool.
    RegularPool,
    /// The packet is of another pool than the one that was asked.
    OtherPool,
    /// Quanta are not cloned.
    Quantum,
    /// Foreign data that cannot be duplicated.
    Foreign,
    /// A chain that mixes default and large buffers has no heavy clone.
    MixedChain,
    /// No packet, buflet or buffer for the clone.
    NoMemory(AllocError),
}

impl fmt::Display for CloneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the packet has no buflet to clone"),
            Self::Dropped => f.write_str("the packet was dropped by a check"),
            Self::RegularPool => f.write_str("light clones need an on-demand pool"),
            Self::OtherPool => f.write_str("the packet is of another pool"),
            Self::Quantum => f.write_str("quanta are not cloned"),
            Self::Foreign => f.write_str("the foreign data cannot be duplicated"),
            Self::MixedChain => f.write_str("default and large buffers in one chain"),
            Self::NoMemory(e) => write!(f, "no memory for a clone: {e}"),
        }
    }
}

impl core::error::Error for CloneError {}

impl Packet {
    /// Another packet over the same buffers.
    ///
    /// # Errors
    /// [`CloneError`]; the source is then as it was.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn clone_light(&mut self) -> Result<Packet, CloneError> {
        self.check_cloneable()?;
        // SAFETY: a packet keeps its pool alive.
        let inner = unsafe { self.meta().pool.as_ref() };
        if !inner.config.on_demand {
            return Err(CloneError::RegularPool);
        }
        let mut clone = inner.alloc_bare().map_err(CloneError::NoMemory)?;
        let own = own_of(&inner.fresh_packet);
        share_first(self.meta_mut(), clone.meta_mut(), own);
        if self.buflet_count() > 1 {
            share_rest(self.meta_mut(), clone.meta_mut())?;
        }
        if self.meta().extra().is_some() {
            copy_notes(self, &mut clone);
        }
        Ok(clone)
    }

    /// Another packet with a copy of the data, at the same offsets.
    ///
    /// # Errors
    /// [`CloneError`]; the source is then as it was.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn clone_heavy(&self) -> Result<Packet, CloneError> {
        self.check_cloneable()?;
        let inner = self.meta().inner();
        let large = self.buflets().filter(|b| b.is_large()).count();
        let mut clone = match (self.buflet_count(), large) {
            (k, 0) => inner.alloc(k as u16),
            (1, _) => inner.alloc_large(),
            _ => return Err(CloneError::MixedChain),
        }
        .map_err(CloneError::NoMemory)?;
        let mut to = clone.meta_mut().first_mut().map(NonNull::from);
        for from in self.buflets() {
            let Some(mut buflet) = to else { break };
            // SAFETY: a buflet of the clone's own chain, reached through the chain only.
            let buflet = unsafe { buflet.as_mut() };
            copy_span(from, buflet)?;
            // SAFETY: as above.
            to = buflet
                .next
                .map(|b| unsafe { NonNull::from(&mut (*b.as_ptr()).span) });
        }
        if let Attachment::Foreign(data) = self.attachment() {
            let copy = data.duplicate().ok_or(CloneError::Foreign)?;
            *clone.meta_mut().acting_mut().attachment_mut() = Attachment::Foreign(copy);
        }
        copy_notes(self, &mut clone);
        Ok(clone)
    }

    fn check_cloneable(&self) -> Result<(), CloneError> {
        match () {
            () if self.is_dropped() => Err(CloneError::Dropped),
            () if self.buflet_count() == 0 => Err(CloneError::Empty),
            () if self.meta().inner().config.kind == PacketKind::Quantum => {
                Err(CloneError::Quantum)
            }
            () => Ok(()),
        }
    }
}

/// What a clone inherits.
#[cold]
pub(crate) fn copy_notes(source: &Packet, clone: &mut Packet) {
    let Some(extra) = source.meta().extra() else {
        return;
    };
    if let Some(offload) = extra.offload() {
        *clone.offload_mut() = *offload;
    }
    let notes = extra.notes();
    if notes != Notes::default() {
        *clone.notes_mut() = Notes {
            trace_id: 0,
            ..notes
        };
    }
}

/// Copies `min(dlen, dlim)` bytes; `to` is fresh.
fn copy_span(from: &Buflet, to: &mut Buflet) -> Result<(), CloneError> {
    let len = from.len().min(from.limit());
    let offset = if from.offset() + len <= to.limit() {
        from.offset()
    } else {
        0
    };
    let too_large = AllocError::TooLarge {
        bytes: len,
        max: to.limit(),
    };
    to.set_span(offset, len)
        .map_err(|_| CloneError::NoMemory(too_large))?;
    let place = to
        .data_mut()
        .ok_or(CloneError::NoMemory(AllocError::ReadOnly))?;
    place.copy_from_slice(&from.data()[..len]);
    Ok(())
}

/// What a clone's embedded buflet has of its source's: the span and these flags.
const IDENTITY: Stamp = Extent {
    doff: u32::MAX,
    dlen: u32::MAX,
    dlim: u32::MAX,
    flags: flag::LARGE | flag::READ_ONLY | flag::WINDOW,
    count: 0,
}
.stamp();

/// What a clone has of its own: a fresh packet's flags, and one buflet that is shared.
#[inline(always)]
pub(crate) fn own_of(fresh: &Extent) -> Stamp {
    Extent::fresh(0, fresh.flags | flag::SHARED, 1).stamp()
}

/// The clone's embedded buflet becomes a second user of the source's first buffer. But for
/// `own`, what was in the clone before counts no more.
#[inline(always)]
pub(crate) fn share_first(source: &mut Meta, clone: &mut Meta, own: Stamp) {
    if source.span.ctl.is_none() && source.flags() & flag::SPECIAL == 0 {
        source.set(flag::SPECIAL, true);
    }
    let Some(from) = source.first_mut() else {
        return;
    };
    let shared = from.extent.stamp().masked(IDENTITY).with(own);
    clone.span.extent.apply(shared);
    (clone.span.base, clone.span.dma, clone.span.ctl) = (from.base, from.dma, from.ctl);
    clone.span.next = None;
    // Stored only if new, and after the load of the whole: a load waits for a narrower store that
    // it overlaps.
    if from.extent.flags & flag::SHARED == 0 {
        from.extent.flags |= flag::SHARED;
    }
    if let Some(record) = from.record() {
        record.uses().share();
    }
}

/// The rest of the chain, into bare external buflets. On failure the clone, which is dropped,
/// gives back what it got.
#[cold]
pub(crate) fn share_rest(source: &mut Meta, clone: &mut Meta) -> Result<(), CloneError> {
    source.set(flag::SPECIAL, true);
    clone.set(flag::SPECIAL, true);
    let pool = clone.pool;
    // SAFETY: the clone keeps its pool alive.
    let inner = unsafe { pool.as_ref() };
    let mut next = source.first().and_then(|b| b.next);
    while let Some(mut from) = next {
        // SAFETY: a buflet of the source's own chain, and `source` is `&mut`.
        let from = unsafe { &mut from.as_mut().span };
        next = from.next;
        let none = CloneError::NoMemory(AllocError::NoBuffers);
        let cache = inner.buflet_cache(from.is_large()).ok_or(none)?;
        let mut bare = cache.make_bare(inner.core()).ok_or(none)?;
        from.extent.flags |= flag::SHARED;
        if let Some(record) = from.record() {
            record.uses().share();
        }
        // SAFETY: just made, ours alone.
        unsafe { bare.as_mut() }.span = Buflet {
            extent: Extent {
                flags: from.extent.flags | flag::EXTERNAL,
                count: 0,
                ..from.extent
            },
            base: from.base,
            dma: from.dma,
            ctl: from.ctl,
            next: None,
        };
        clone.link_tail(bare, bare, 1);
    }
    Ok(())
}
