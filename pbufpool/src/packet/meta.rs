//! Packet metadata: what a [`Packet`](crate::Packet) points to.
//!
//! The first cache line is all that allocation, free and queues touch: link, pool and the
//! embedded buflet, whose extent carries flags and buflet count. Everything else lies behind
//! and counts only while its bit in `present` is set, which in turn counts only while
//! `flag::EXTRA` is set in the first line. A recycled packet is therefore made fresh by one
//! 16-byte store: nothing of its previous life can be read.

use crate::buflet::{Buflet, ExtBuflet, flag};
use crate::packet::extra::Extra;
use crate::pool::Inner;
use crate::sync::Ordering;
use core::ptr::NonNull;

/// Metadata of one packet.
#[repr(C, align(64))]
pub(crate) struct Meta {
    /// Next packet of the queue it is in.
    pub(crate) link: Option<NonNull<Meta>>,
    pub(crate) pool: NonNull<Inner>,
    pub(crate) span: Buflet,
    // ---- second cache line on
    pub(crate) extra: Extra,
    /// Own index in the metadata region.
    pub(crate) index: u32,
}

const _: () = assert!(core::mem::offset_of!(Meta, extra) == 64);
const _: () = assert!(size_of::<Meta>() <= 256);

impl Meta {
    /// Metadata without a buffer, as constructed.
    pub(crate) fn new(pool: NonNull<Inner>, index: u32) -> Self {
        Self {
            link: None,
            pool,
            span: Buflet::empty(0),
            extra: Extra::default(),
            index,
        }
    }

    #[inline(always)]
    pub(crate) fn flags(&self) -> u16 {
        self.span.extent.flags
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, bit: u16, on: bool) {
        match on {
            true => self.span.extent.flags |= bit,
            false => self.span.extent.flags &= !bit,
        }
    }

    /// The first buflet with a buffer: the embedded one, or the first external one.
    #[inline(always)]
    pub(crate) fn first(&self) -> Option<&Buflet> {
        match self.span.ctl {
            Some(_) => Some(&self.span),
            // SAFETY: a linked buflet belongs to the packet, so it lives as long.
            None => self.span.next.map(|b| unsafe { &(*b.as_ptr()).span }),
        }
    }

    #[inline(always)]
    pub(crate) fn first_mut(&mut self) -> Option<&mut Buflet> {
        match self.span.ctl {
            Some(_) => Some(&mut self.span),
            // SAFETY: as for `first`, and `self` is `&mut`.
            None => self.span.next.map(|b| unsafe { &mut (*b.as_ptr()).span }),
        }
    }

    /// The first buflet with a buffer, for changing its span.
    #[inline(always)]
    pub(crate) fn first_to_change(&mut self) -> Option<&mut Buflet> {
        self.set(flag::RUN, false);
        self.first_mut()
    }

    /// The `n`-th buflet, for changing its span.
    pub(crate) fn nth_mut(&mut self, n: usize) -> Option<&mut Buflet> {
        let mut buflet = self.first_to_change()?;
        for _ in 0..n {
            // SAFETY: as for `first_mut`; one reference at a time.
            buflet = buflet.next.map(|b| unsafe { &mut (*b.as_ptr()).span })?;
        }
        Some(buflet)
    }

    /// The last buflet of the chain; the embedded one if there are no others, empty or not.
    pub(crate) fn last_mut(&mut self) -> &mut Buflet {
        if self.flags() & flag::EXTRA != 0
            && let Some(tail) = self.extra.tail()
        {
            // SAFETY: as for `first_mut`; the tail is the last buflet of this chain.
            return unsafe { &mut (*tail.as_ptr()).span };
        }
        let mut last = &mut self.span;
        while let Some(next) = last.next {
            // SAFETY: as for `first_mut`.
            last = unsafe { &mut (*next.as_ptr()).span };
        }
        last
    }

    /// Links external buflets `from ..= to`, `n` of them, behind the chain.
    pub(crate) fn link_tail(&mut self, from: NonNull<ExtBuflet>, to: NonNull<ExtBuflet>, n: u16) {
        self.set(flag::RUN, false);
        self.last_mut().next = Some(from);
        self.span.extent.count += n;
        self.extra_mut().set_tail(to);
    }

    /// Notes that the chain's data lies back to back in one segment, `bytes` of it. Whatever changes a
    /// span or the chain has to take that back: `set(flag::RUN, false)`.
    pub(crate) fn set_run(&mut self, bytes: u32) {
        self.extra_mut().run = bytes;
        self.set(flag::RUN, true);
    }

    /// Bytes of a chain that is known to lie back to back.
    #[inline(always)]
    pub(crate) fn run(&self) -> Option<usize> {
        (self.flags() & flag::RUN != 0).then_some(self.extra.run as usize)
    }

    /// The second line, made fresh if nothing in it counted so far.
    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        if self.flags() & flag::EXTRA == 0 {
            self.extra.forget();
            self.set(flag::EXTRA, true);
        }
        &mut self.extra
    }

    /// The second line, to put something there that a free has to act on.
    pub(crate) fn acting_mut(&mut self) -> &mut Extra {
        self.set(flag::ACTION, true);
        self.extra_mut()
    }

    /// The second line, if anything in it counts.
    pub(crate) fn extra(&self) -> Option<&Extra> {
        (self.flags() & flag::EXTRA != 0).then_some(&self.extra)
    }

    /// Follows the chain.
    pub(crate) fn buflets(&self) -> Buflets<'_> {
        Buflets { next: self.first() }
    }

    /// The pool.
    pub(crate) fn inner(&self) -> &Inner {
        // SAFETY: a packet out of the slab holds a reference on its pool.
        unsafe { self.pool.as_ref() }
    }

    /// Marks the packet dropped: it has no data any more.
    pub(crate) fn mark_dropped(&mut self) {
        self.inner()
            .counters
            .rejected
            .fetch_add(1, Ordering::Relaxed);
        self.set(flag::DROPPED, true);
    }
}

/// A cursor over a packet's buflets.
#[derive(Clone, Debug)]
pub struct Buflets<'a> {
    next: Option<&'a Buflet>,
}

impl<'a> Iterator for Buflets<'a> {
    type Item = &'a Buflet;
    #[inline]
    fn next(&mut self) -> Option<&'a Buflet> {
        let here = self.next?;
        // SAFETY: a linked buflet belongs to the packet that the cursor borrows.
        self.next = here.next.map(|b| unsafe { &(*b.as_ptr()).span });
        Some(here)
    }
}
