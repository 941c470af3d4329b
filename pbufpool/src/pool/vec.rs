//! Bursts in a `Vec` instead of a queue. No packet is linked to another, so neither side chases
//! pointers: a burst costs a stamp and a copied pointer a packet.
//!
//! Semantics are those of [`Pool::alloc_burst_buflets`] and [`Pool::free_queue`].

use super::walk::{Handles, Walk};
use super::{AllocError, Burst, Inner, Pool, free};
use crate::packet::Packet;
use crate::packet::meta::Meta;
use ::alloc::vec::Vec;
use core::ptr::NonNull;

impl Pool {
    /// Up to `n` packets as from [`Pool::alloc`], appended to `out` in order. This is the
    /// fastest way to get a burst; the vector grows only if it lacks the capacity.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_vec(&self, n: usize, out: &mut Vec<Packet>) -> Burst {
        self.inner().burst_vec(n, 1, out)
    }

    /// Up to `n` packets of `k` default buflets each, appended to `out` in order.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_vec_buflets(&self, n: usize, k: u16, out: &mut Vec<Packet>) -> Burst {
        match self.inner().check_count(k) {
            Ok(()) => self.inner().burst_vec(n, k, out),
            Err(e) => Burst::refused(e),
        }
    }

    /// Gives back every packet of `packets`, which ends empty, in one go; returns how many.
    /// Packets of other pools go to their own.
    #[inline]
    pub fn free_vec(&self, packets: &mut Vec<Packet>) -> usize {
        let n = packets.len();
        // SAFETY: a packet is its metadata pointer; the vector gives up its packets, and is
        // borrowed while they are read.
        unsafe {
            packets.set_len(0);
            free_handles(core::slice::from_raw_parts(packets.as_ptr().cast(), n));
        }
        n
    }
}

/// Frees packets, whatever pools they are of.
///
/// # Safety
/// The caller owns them and uses them no more.
#[inline]
unsafe fn free_handles(handles: &[NonNull<Meta>]) {
    let mut left = Handles::new(handles);
    while left.peek().is_some() {
        // SAFETY: as the caller promises.
        left = unsafe { free::run(left, handles.len()) };
    }
}

impl Inner {
    #[cfg_attr(feature = "audit", track_caller)]
    fn burst_vec(&self, n: usize, k: u16, out: &mut Vec<Packet>) -> Burst {
        let core = self.core();
        let fresh = self.fresh_of(k);
        out.reserve(n.min(self.metas.slabs.geometry().count()));
        let place = out
            .spare_capacity_mut()
            .as_mut_ptr()
            .cast::<NonNull<Meta>>();
        let mut at = place;
        let took = self.take_metas(core, n, |meta| {
            // SAFETY: just taken: ours alone. There was room for `n`, or for as many as the
            // region has.
            unsafe {
                (*meta.as_ptr()).span.extent.apply(fresh);
                at.write(meta);
                at = at.add(1);
            }
        });
        // SAFETY: that many were written.
        let handles = unsafe { core::slice::from_raw_parts(place, took) };
        let mut whole = took;
        if let Some(cache) = &self.buflets {
            // SAFETY: the packets are ours until the vector gets them.
            whole = unsafe { self.attach(cache, core, Handles::new(handles), took, k) };
        }
        // SAFETY: the whole ones are the vector's from now on, the others are freed.
        unsafe {
            out.set_len(out.len() + whole);
            free_handles(&handles[whole..]);
        }
        Burst {
            count: whole,
            shortfall: self.shortfall(n, took, whole),
        }
    }

    /// What a burst of `n` that got `took` packets, `whole` of them with their buflets, lacks.
    #[inline(always)]
    pub(super) fn shortfall(&self, n: usize, took: usize, whole: usize) -> Option<AllocError> {
        let packets = (took < n).then(|| self.fail(AllocError::NoPackets));
        let buffers = (whole < took).then(|| self.fail(AllocError::NoBuffers));
        buffers.or(packets)
    }
}
