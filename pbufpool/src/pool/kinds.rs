//! What the pool's caches construct: metadata (with its buffer, in a regular pool) and external
//! buflets (always with a buffer). Destructing is the inverse; any failure undoes all.

use super::Inner;
use crate::buffer::{BufCtl, BufferKind};
use crate::buflet::{Buflet, ExtBuflet, flag};
use crate::cache::{Cache, Kind, NoMemory, Returned};
use crate::fault::{FaultPoint, Faults};
use crate::packet::meta::Meta;
use crate::slab::Slot;
use crate::subobject::SubObjects;
use crate::sync::{AtomicPtr, Ordering};
use alloc::sync::Arc;
use core::ptr::NonNull;

/// Makes packet metadata.
pub(crate) struct MetaKind {
    pub(crate) pool: AtomicPtr<Inner>,
    /// Regular pool: where a packet's one buffer comes from.
    pub(crate) buffers: Option<Arc<Cache<BufferKind>>>,
    pub(crate) flags: u16,
    pub(crate) faults: Faults,
    pub(crate) sub_objects: Option<SubObjects>,
}

/// Makes external buflets.
pub(crate) struct BufletKind {
    pub(crate) pool: AtomicPtr<Inner>,
    pub(crate) buffers: Arc<Cache<BufferKind>>,
    pub(crate) flags: u16,
    pub(crate) faults: Faults,
}

fn pool_of(pool: &AtomicPtr<Inner>) -> Result<NonNull<Inner>, NoMemory> {
    NonNull::new(pool.load(Ordering::Acquire)).ok_or(NoMemory)
}

/// Takes a raw buffer and makes the caller its one user.
fn take_buffer(buffers: &Cache<BufferKind>, core: usize) -> Result<NonNull<BufCtl>, NoMemory> {
    let ctl = buffers.take_one(core, || false).ok_or(NoMemory)?;
    // SAFETY: just taken, so the caller holds the buffer.
    unsafe { ctl.as_ref() }.uses().set(1);
    Ok(ctl)
}

impl Kind for MetaKind {
    type Object = Meta;

    fn construct(&self, slot: Slot, core: usize) -> Result<NonNull<Meta>, NoMemory> {
        let pool = pool_of(&self.pool)?;
        if self.faults.hit(FaultPoint::Metadata) {
            return Err(NoMemory);
        }
        let mut meta = Meta::new(pool, slot.index);
        if let Some(sub_objects) = &self.sub_objects {
            meta.extra.subs = sub_objects.take(&self.faults)?;
        }
        if let Some(buffers) = &self.buffers {
            match take_buffer(buffers, core) {
                Ok(ctl) => meta.span = Buflet::over(ctl, self.flags),
                Err(e) => {
                    self.give_subs(&mut meta);
                    return Err(e);
                }
            }
        }
        let place = slot.ptr.cast::<Meta>();
        // SAFETY: the slot is raw, at least as large as `Meta` and aligned to a cache line.
        unsafe { place.write(meta) };
        Ok(place)
    }

    unsafe fn destruct(&self, object: NonNull<Meta>, core: usize) -> (u32, Returned) {
        // SAFETY: the caller gives the object up.
        let mut meta = unsafe { object.read() };
        let mut returned = Returned(0);
        self.give_subs(&mut meta);
        if let (Some(buffers), Some(ctl)) = (&self.buffers, meta.span.ctl) {
            // SAFETY: the metadata held a use of the buffer.
            if unsafe { ctl.as_ref() }.uses().release() {
                returned += buffers.give_one(core, ctl);
            }
        }
        (meta.index, returned)
    }
}

impl MetaKind {
    fn give_subs(&self, meta: &mut Meta) {
        if let Some(sub_objects) = &self.sub_objects {
            sub_objects.give(core::mem::take(&mut meta.extra.subs));
        }
    }
}

impl Kind for BufletKind {
    type Object = ExtBuflet;

    fn construct(&self, slot: Slot, core: usize) -> Result<NonNull<ExtBuflet>, NoMemory> {
        let pool = pool_of(&self.pool)?;
        if self.faults.hit(FaultPoint::Buflet) {
            return Err(NoMemory);
        }
        let ctl = take_buffer(&self.buffers, core)?;
        self.place(slot, pool, Buflet::over(ctl, self.flags | flag::EXTERNAL))
    }

    fn construct_bare(&self, slot: Slot, _core: usize) -> Result<NonNull<ExtBuflet>, NoMemory> {
        let pool = pool_of(&self.pool)?;
        if self.faults.hit(FaultPoint::Buflet) {
            return Err(NoMemory);
        }
        self.place(slot, pool, Buflet::empty(self.flags | flag::EXTERNAL))
    }

    unsafe fn destruct(&self, object: NonNull<ExtBuflet>, core: usize) -> (u32, Returned) {
        // SAFETY: the caller gives the object up.
        let buflet = unsafe { object.read() };
        let mut returned = Returned(0);
        if let Some(ctl) = buflet.span.ctl {
            // SAFETY: the buflet held a use of the buffer.
            if unsafe { ctl.as_ref() }.uses().release() {
                returned += self.buffers.give_one(core, ctl);
            }
        }
        (buflet.index, returned)
    }
}

impl BufletKind {
    fn place(
        &self,
        slot: Slot,
        pool: NonNull<Inner>,
        span: Buflet,
    ) -> Result<NonNull<ExtBuflet>, NoMemory> {
        let place = slot.ptr.cast::<ExtBuflet>();
        // SAFETY: the slot is raw, as large as `ExtBuflet` and aligned to a cache line.
        unsafe {
            place.write(ExtBuflet {
                span,
                pool,
                index: slot.index,
                owner: 0,
            })
        };
        Ok(place)
    }
}
