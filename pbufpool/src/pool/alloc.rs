//! Allocation of packets: single, burst, by size.
//!
//! A burst first takes metadata, then buflets for all of it, and links them. At the first packet
//! that lacks buflets it stops: that packet, its partial chain and the rest of the metadata go
//! back, so no packet has fewer buflets than asked and nothing leaks. Fresh metadata costs a
//! 16-byte store and a link.

use super::audit::caller;
use super::{Inner, Pool};
use crate::buflet::{Buflet, ExtBuflet, Extent, Stamp, flag};
use crate::cache::Cache;
use crate::packet::Packet;
use crate::packet::meta::Meta;
use crate::queue::{ListBuilder, PacketQueue};
use crate::sync::Ordering;
use core::fmt;
use core::ptr::NonNull;

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// No packet metadata (in a regular pool: no packet with its buffer).
    NoPackets,
    /// No buflet with a buffer.
    NoBuffers,
    /// The pool has no large buffers.
    NoLargeRegion,
    /// A chain this long is not allowed.
    TooManyBuflets {
        /// Buflets asked for.
        asked: usize,
        /// The pool's `max_frags`.
        max: u16,
    },
    /// A regular pool's packets have exactly `max_frags` buflets.
    WrongBufletCount {
        /// Buflets asked for.
        asked: u16,
        /// The only number allowed.
        only: u16,
    },
    /// No buffer, or chain of buffers, holds that much.
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that can be had.
        max: usize,
    },
    /// The pool cannot do this: buffers alone need an on-demand pool.
    NotSupported,
    /// A place for nothing was given.
    Empty,
    /// The processor may not write this pool's buffers.
    ReadOnly,
    /// No memory came free in time.
    TimedOut,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPackets => f.write_str("no packet is free"),
            Self::NoBuffers => f.write_str("no buffer is free"),
            Self::NoLargeRegion => f.write_str("the pool has no large buffers"),
            Self::TooManyBuflets { asked, max } => {
                write!(f, "{asked} buflets asked, max_frags is {max}")
            }
            Self::WrongBufletCount { asked, only } => {
                write!(
                    f,
                    "{asked} buflets asked of a regular pool, which gives {only}"
                )
            }
            Self::TooLarge { bytes, max } => write!(f, "{bytes} bytes asked, at most {max} fit"),
            Self::NotSupported => f.write_str("not supported by this kind of pool"),
            Self::Empty => f.write_str("nothing was asked for"),
            Self::ReadOnly => f.write_str("the pool's buffers are read-only"),
            Self::TimedOut => f.write_str("no memory came free in time"),
        }
    }
}

impl core::error::Error for AllocError {}

/// What a burst came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a burst may be short"]
pub struct Burst {
    /// Packets delivered.
    pub count: usize,
    /// Why there are not more; `None` if all were delivered.
    pub shortfall: Option<AllocError>,
}

/// A burst in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurstStatus {
    /// All were delivered.
    Complete,
    /// Some were (EAGAIN).
    Partial,
    /// None was (ENOMEM, or the request was invalid).
    Nothing,
}

impl Burst {
    /// Whether all, some or none were delivered.
    pub fn status(&self) -> BurstStatus {
        match (self.shortfall, self.count) {
            (None, _) => BurstStatus::Complete,
            (Some(_), 0) => BurstStatus::Nothing,
            (Some(_), _) => BurstStatus::Partial,
        }
    }
    /// Whether all were delivered.
    pub fn is_complete(&self) -> bool {
        self.shortfall.is_none()
    }
    pub(super) fn refused(error: AllocError) -> Self {
        Self {
            count: 0,
            shortfall: Some(error),
        }
    }
}

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
    fn check_count(&self, k: u16) -> Result<(), AllocError> {
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
        self.alloc_from(k, self.buflets.as_ref().map(|c| (c, self.fresh_buflet)))
    }

    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn alloc_large(&self) -> Result<Packet, AllocError> {
        let large = self
            .large_buflets
            .as_ref()
            .ok_or(AllocError::NoLargeRegion)?;
        let mut packet = self.alloc_from(1, Some((large, self.fresh_large)))?;
        packet.meta_mut().set(flag::SPECIAL, true);
        Ok(packet)
    }

    /// One packet of an on-demand pool without buflets, for a light clone.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn alloc_bare(&self) -> Option<Packet> {
        let core = self.core();
        let Some(mut meta) = self.metas.take_one(core, || self.reclaim()) else {
            self.fail(AllocError::NoPackets);
            return None;
        };
        // SAFETY: just taken: ours alone. The packet made of it gives it back.
        unsafe {
            let m = meta.as_mut();
            m.span.extent = self.fresh_packet;
            m.span.next = None;
            self.audit.taken(m.index, caller(), core, self.platform);
            Some(Packet::from_meta(meta))
        }
    }

    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    fn alloc_from(
        &self,
        k: u16,
        buflets: Option<(&Cache<super::kinds::BufletKind>, Extent)>,
    ) -> Result<Packet, AllocError> {
        let core = self.core();
        let Some(mut meta) = self.metas.take_one(core, || self.reclaim()) else {
            return Err(self.fail(AllocError::NoPackets));
        };
        // SAFETY: just taken: ours alone. The packet made of it gives it back.
        let packet = unsafe {
            let m = meta.as_mut();
            m.span.extent = Extent {
                count: k,
                ..self.fresh_packet
            };
            m.link = None;
            self.audit.taken(m.index, caller(), core, self.platform);
            Packet::from_meta(meta)
        };
        if let Some((cache, fresh)) = buflets {
            // SAFETY: as above; the packet made of it is not used until the chain is whole.
            let mut chain = unsafe { Chainer::new(meta, k, fresh) };
            let got = cache.take(
                core,
                usize::from(k),
                || self.reclaim(),
                |run| chain.add(run),
            );
            if got < usize::from(k) || k == 0 {
                chain.end_all();
            }
            if got < usize::from(k) {
                return Err(self.fail(AllocError::NoBuffers));
            }
        }
        Ok(packet)
    }

    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub(crate) fn burst(&self, n: usize, k: u16, out: &mut PacketQueue) -> Burst {
        let core = self.core();
        let fresh = Extent {
            count: k,
            ..self.fresh_packet
        }
        .stamp();
        let by = caller();
        let on_demand = self.buflets.as_ref();
        let mut head = None;
        // SAFETY: `head` outlives the builder.
        let mut list = unsafe { ListBuilder::new(&raw mut head) };
        let took = self.metas.take(
            core,
            n,
            || self.reclaim(),
            |run| {
                for &meta in run.iter().rev() {
                    // SAFETY: just taken: ours alone.
                    unsafe {
                        (*meta.as_ptr()).span.extent.apply(fresh);
                        self.audit
                            .taken((*meta.as_ptr()).index, by, core, self.platform);
                    }
                    list.push(meta);
                }
            },
        );
        let Some(mut fresh_packets) = list.finish(head, took) else {
            return match n {
                0 => Burst {
                    count: 0,
                    shortfall: None,
                },
                _ => Burst::refused(self.fail(AllocError::NoPackets)),
            };
        };
        let mut shortfall = None;
        if took < n {
            shortfall = Some(self.fail(AllocError::NoPackets));
        }
        if let Some(cache) = on_demand {
            let whole = self.attach(cache, core, &fresh_packets, k);
            if whole < took {
                shortfall = Some(self.fail(AllocError::NoBuffers));
                drop(fresh_packets.split_off(whole));
            }
        }
        let count = fresh_packets.len();
        out.append(&mut fresh_packets);
        core::mem::forget(fresh_packets); // empty: spares the check
        Burst { count, shortfall }
    }

    /// Gives each packet of the list `k` buflets; returns how many packets got theirs. The next
    /// one may have a partial chain; it and the rest are the caller's to free.
    fn attach(
        &self,
        cache: &Cache<super::kinds::BufletKind>,
        core: usize,
        packets: &PacketQueue,
        k: u16,
    ) -> usize {
        let Some(head) = packets.head() else { return 0 };
        let Some(total) = packets.len().checked_mul(usize::from(k)) else {
            return 0;
        };
        // SAFETY: the list owns its packets and nobody uses them meanwhile.
        let mut chain = unsafe { Chainer::new(head, k, self.fresh_buflet) };
        let got = cache.take(core, total, || self.reclaim(), |run| chain.add(run));
        if got == total {
            if k == 0 {
                chain.end_all();
            }
            return packets.len();
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

/// Hands buflets out to packets in list order, `k` to each.
struct Chainer {
    packet: Option<NonNull<Meta>>,
    /// The last buflet of the current packet's chain so far, its embedded one to begin with.
    last: *mut Buflet,
    /// Buflets that the current packet still needs.
    left: usize,
    k: usize,
    fresh: Stamp,
}

impl Chainer {
    /// # Safety
    /// `packet`, and every packet it links to, is the caller's alone while this lives. At most
    /// `k` buflets per packet are added, and [`Chainer::end_all`] follows if it were fewer.
    #[inline(always)]
    unsafe fn new(packet: NonNull<Meta>, k: u16, fresh: Extent) -> Self {
        let k = usize::from(k);
        Self {
            packet: Some(packet),
            last: embedded(packet),
            left: k,
            k,
            fresh: fresh.stamp(),
        }
    }

    /// Adds a run of buflets, last to first.
    #[inline(always)]
    fn add(&mut self, mut run: &[NonNull<ExtBuflet>]) {
        while !run.is_empty() {
            if self.left == self.k {
                run = self.add_whole(run);
            }
            let n = self.left.min(run.len());
            let (rest, mine) = run.split_at(run.len() - n);
            run = rest;
            // SAFETY: `last` is a packet's or buflet's of ours.
            self.last = unsafe { link_all(self.last, mine, self.fresh) };
            self.left -= n;
            if self.left == 0 {
                self.next_packet();
            }
        }
    }

    /// Serves packets while the run has enough for a whole one: the loop that bursts live in.
    #[inline(always)]
    fn add_whole<'a>(&mut self, mut run: &'a [NonNull<ExtBuflet>]) -> &'a [NonNull<ExtBuflet>] {
        let (k, fresh) = (self.k, self.fresh);
        let Some(mut packet) = self.packet else {
            return run;
        };
        while run.len() >= k {
            let (rest, mine) = run.split_at(run.len() - k);
            run = rest;
            // SAFETY: the packet is ours, and so is the one it links to. There is one for
            // every `k` buflets, and `k` is not 0, or no buflets were added.
            unsafe {
                (*link_all(embedded(packet), mine, fresh)).next = None;
                match (*packet.as_ptr()).link {
                    Some(next) => packet = next,
                    None => {
                        self.packet = None;
                        return run;
                    }
                }
            }
        }
        self.packet = Some(packet);
        self.last = embedded(packet);
        run
    }

    /// Ends the current packet's chain and goes on to the next one.
    #[inline(always)]
    fn next_packet(&mut self) {
        // SAFETY: `last` is the end of the current packet's chain; the packets are linked up to
        // the last one, after which nothing is added.
        unsafe {
            (*self.last).next = None;
            self.packet = self.packet.and_then(|p| (*p.as_ptr()).link);
            if let Some(next) = self.packet {
                self.last = embedded(next);
            }
        }
        self.left = self.k;
    }

    /// Ends the chains of all packets that did not get all their buflets.
    fn end_all(&mut self) {
        while self.packet.is_some() {
            self.next_packet();
        }
    }
}

/// A packet's embedded buflet.
#[inline(always)]
fn embedded(packet: NonNull<Meta>) -> *mut Buflet {
    // SAFETY: metadata that was taken from its cache is constructed.
    unsafe { &raw mut (*packet.as_ptr()).span }
}

/// Links fresh buflets, last to first, behind `last`; returns the new last one.
///
/// # Safety
/// `last` is writable, and the buflets are the caller's alone.
#[inline(always)]
unsafe fn link_all(
    mut last: *mut Buflet,
    buflets: &[NonNull<ExtBuflet>],
    fresh: Stamp,
) -> *mut Buflet {
    let mut left = buflets.len();
    while left != 0 {
        left -= 1;
        // SAFETY: as the caller promises; `left` is below the slice's length.
        unsafe {
            let buflet = *buflets.get_unchecked(left);
            (*last).next = Some(buflet);
            last = &raw mut (*buflet.as_ptr()).span;
            (*last).extent.apply(fresh);
        }
    }
    last
}
