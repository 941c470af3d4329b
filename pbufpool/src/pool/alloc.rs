//! Allocation of packets: single, burst, by size.
//!
//! A burst first takes metadata, then buflets for all of it, and links them. At the first packet
//! that lacks buflets it stops: that packet, its partial chain and the rest of the metadata go
//! back, so no packet has fewer buflets than asked and nothing leaks. Fresh metadata costs a
//! 16-byte store and a link.

use super::audit::caller;
use super::chain::Chainer;
use super::walk::{Handles, Links, Walk};
use super::{AllocError, Burst, Inner, Pool};
use crate::buflet::{Extent, Stamp, flag};
use crate::cache::Cache;
use crate::packet::Packet;
use crate::packet::meta::Meta;
use crate::queue::{ListBuilder, PacketQueue};
use crate::sync::Ordering;
use core::ptr::NonNull;

impl Pool {
    /// One packet: with its buffer (regular) or one default buflet (on demand).
    ///
    /// # Errors
    /// [`AllocError`] if none is free; never waits.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc(&self) -> Result<Packet, AllocError> {
        self.inner().alloc(1)
    }

    /// One packet with `k` default buflets.
    ///
    /// # Errors
    /// [`AllocError`] if there are not enough, or the pool gives no such packet.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_buflets(&self, k: u16) -> Result<Packet, AllocError> {
        self.inner().check_count(k)?;
        self.inner().alloc(k)
    }

    /// One packet with one large buflet.
    ///
    /// # Errors
    /// [`AllocError`] if none is free, or the pool has none.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_large(&self) -> Result<Packet, AllocError> {
        self.inner().alloc_large()
    }

    /// One packet that holds `bytes`: default buflets in an on-demand pool (none for 0 bytes),
    /// its one buffer in a regular one.
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the longest chain is too short for that.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_bytes(&self, bytes: usize) -> Result<Packet, AllocError> {
        let inner = self.inner();
        let max = self.buffer_size() * usize::from(self.max_frags());
        if bytes > max {
            return Err(AllocError::TooLarge { bytes, max });
        }
        match self.is_on_demand() {
            true => inner.alloc(bytes.div_ceil(self.buffer_size()) as u16),
            false => inner.alloc(self.max_frags()),
        }
    }

    /// Up to `n` packets as from [`Pool::alloc`], appended to `out` in order.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_burst(&self, n: usize, out: &mut PacketQueue) -> Burst {
        self.inner().burst(n, 1, out)
    }

    /// Up to `n` packets of `k` default buflets each, appended to `out` in order.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_burst_buflets(&self, n: usize, k: u16, out: &mut PacketQueue) -> Burst {
        match self.inner().check_count(k) {
            Ok(()) => self.inner().burst(n, k, out),
            Err(e) => Burst::refused(e),
        }
    }
}

impl Pool {
    /// Up to `n` packets of `k` default buflets each, appended to `out` in order; `each` is
    /// called once per delivered packet, with its number from 0.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_burst_each(
        &self,
        n: usize,
        k: u16,
        out: &mut PacketQueue,
        mut each: impl FnMut(usize, &mut Packet),
    ) -> Burst {
        let mut fresh = PacketQueue::new();
        let burst = self.alloc_burst_buflets(n, k, &mut fresh);
        let mut number = 0;
        while let Some(mut packet) = fresh.pop_front() {
            each(number, &mut packet);
            out.push_back(packet);
            number += 1;
        }
        burst
    }

    /// Fills an array with packets of `k` default buflets each, from the front; what a slot held
    /// before is freed if it is filled.
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn alloc_array(&self, slots: &mut [Option<Packet>], k: u16) -> Burst {
        if slots.is_empty() {
            return Burst::refused(AllocError::Empty);
        }
        let mut fresh = PacketQueue::new();
        let burst = self.alloc_burst_buflets(slots.len(), k, &mut fresh);
        for slot in slots {
            let Some(packet) = fresh.pop_front() else {
                break;
            };
            *slot = Some(packet);
        }
        burst
    }
}

impl Inner {
    pub(super) fn check_count(&self, k: u16) -> Result<(), AllocError> {
        let max = self.config.max_frags;
        match self.config.on_demand {
            true if k > max => Err(AllocError::TooManyBuflets {
                asked: k.into(),
                max,
            }),
            false if k != max => Err(AllocError::WrongBufletCount {
                asked: k,
                only: max,
            }),
            _ => Ok(()),
        }
    }

    /// One packet of `k` default buflets; `k` is checked.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn alloc(&self, k: u16) -> Result<Packet, AllocError> {
        match &self.buflets {
            Some(cache) => self.alloc_with(k, cache, &self.fresh_buflet),
            None => self.alloc_meta(self.core(), k),
        }
    }

    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn alloc_large(&self) -> Result<Packet, AllocError> {
        let large = self
            .large_buflets
            .as_ref()
            .ok_or(AllocError::NoLargeRegion)?;
        let mut packet = self.alloc_with(1, large, &self.fresh_large)?;
        packet.meta_mut().set(flag::SPECIAL, true);
        Ok(packet)
    }

    /// One packet of an on-demand pool without buflets, for a light clone.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn alloc_bare(&self) -> Result<Packet, AllocError> {
        let mut packet = self.alloc_meta(self.core(), 0)?;
        packet.meta_mut().span.next = None;
        Ok(packet)
    }

    /// One packet that says it has `k` buflets. In a regular pool it is whole; otherwise the
    /// chain of its last life is still linked to it.
    #[inline(always)]
    #[cfg_attr(feature = "audit", track_caller)]
    fn alloc_meta(&self, core: usize, k: u16) -> Result<Packet, AllocError> {
        let Some(mut meta) = self.metas.take_one(core, || self.reclaim_packets()) else {
            return Err(self.fail(AllocError::NoPackets));
        };
        // SAFETY: just taken: ours alone. The packet made of it gives it back.
        unsafe {
            let m = meta.as_mut();
            m.span.extent.apply(self.fresh_of(k));
            self.audit.taken(m.index, caller(), core, self.platform);
            Ok(Packet::from_meta(meta))
        }
    }

    /// One packet with `k` buflets of this cache.
    #[cfg_attr(feature = "audit", track_caller)]
    fn alloc_with(
        &self,
        k: u16,
        cache: &Cache<super::kinds::BufletKind>,
        fresh: &Extent,
    ) -> Result<Packet, AllocError> {
        let core = self.core();
        let mut packet = self.alloc_meta(core, k)?;
        let exhausted = || self.reclaim_buffers(fresh.flags & flag::LARGE != 0);
        if k == 1 {
            let buflet = cache.take_one(core, exhausted);
            packet.meta_mut().span.next = buflet;
            let Some(mut buflet) = buflet else {
                return Err(self.fail(AllocError::NoBuffers));
            };
            // SAFETY: just taken, and now the packet's.
            let span = unsafe { &mut buflet.as_mut().span };
            span.extent.apply(fresh.stamp());
            span.next = None;
            return Ok(packet);
        }
        let handles = [packet.meta_ptr()];
        // SAFETY: the packet is ours, and not used until its chain is whole.
        let mut chain = unsafe { Chainer::new(Handles::new(&handles), k, *fresh) };
        let got = cache.take(core, usize::from(k), exhausted, |run| chain.add(run));
        if got < usize::from(k) || k == 0 {
            chain.end_all();
        }
        if got < usize::from(k) {
            return Err(self.fail(AllocError::NoBuffers));
        }
        Ok(packet)
    }

    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn burst(&self, n: usize, k: u16, out: &mut PacketQueue) -> Burst {
        let core = self.core();
        let fresh = self.fresh_of(k);
        let mut head = None;
        // SAFETY: `head` outlives the builder.
        let mut list = unsafe { ListBuilder::new(&raw mut head) };
        let took = self.take_metas(core, n, |meta| {
            // SAFETY: just taken: ours alone.
            unsafe { (*meta.as_ptr()).span.extent.apply(fresh) };
            list.push(meta);
        });
        let mut whole = took;
        if let Some(mut fresh_packets) = list.finish(head, took) {
            if let Some(cache) = &self.buflets {
                // SAFETY: the list owns its packets and nobody uses them meanwhile.
                whole = unsafe { self.attach(cache, core, Links(head), took, k) };
                if whole < took {
                    drop(fresh_packets.split_off(whole));
                }
            }
            out.append(&mut fresh_packets);
            core::mem::forget(fresh_packets); // empty: spares the check
        }
        Burst {
            count: whole,
            shortfall: self.shortfall(n, took, whole),
        }
    }

    /// What makes metadata a fresh packet of `k` buflets.
    #[inline(always)]
    pub(super) fn fresh_of(&self, k: u16) -> Stamp {
        self.fresh_packet.stamp().counting(k)
    }

    /// Takes up to `n` metadata and hands each, as its last user left it, to `put`; returns how
    /// many there were. `put` must not use the pool.
    #[inline(always)]
    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn take_metas(
        &self,
        core: usize,
        n: usize,
        mut put: impl FnMut(NonNull<Meta>),
    ) -> usize {
        let by = caller();
        self.metas.take(
            core,
            n,
            || self.reclaim_packets(),
            |run| {
                for &meta in run.iter().rev() {
                    // SAFETY: just taken, and constructed.
                    let index = unsafe { (*meta.as_ptr()).index };
                    self.audit.taken(index, by, core, self.platform);
                    put(meta);
                }
            },
        )
    }

    /// Gives each of `count` packets `k` buflets; returns how many packets got theirs. The next
    /// one may have a partial chain; it and the rest are the caller's to free.
    ///
    /// # Safety
    /// The packets are the caller's alone.
    #[inline]
    pub(super) unsafe fn attach<W: Walk>(
        &self,
        cache: &Cache<super::kinds::BufletKind>,
        core: usize,
        packets: W,
        count: usize,
        k: u16,
    ) -> usize {
        // SAFETY: as the caller promises.
        let mut chain = unsafe { Chainer::new(packets, k, self.fresh_buflet) };
        let Some(total) = count.checked_mul(usize::from(k)) else {
            chain.end_all();
            return 0;
        };
        let got = cache.take(
            core,
            total,
            || self.reclaim_buffers(false),
            |run| chain.add(run),
        );
        if got == total {
            if k == 0 {
                chain.end_all();
            }
            return count;
        }
        chain.end_all();
        got / usize::from(k)
    }

    #[cold]
    pub(super) fn fail(&self, error: AllocError) -> AllocError {
        self.counters.alloc_failures.fetch_add(1, Ordering::Relaxed);
        error
    }
}
