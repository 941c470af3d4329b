//! Chains: linking buflets to packets as they are allocated ([`Chainer`]), and moving them from
//! one packet to another.

use super::free;
use super::walk::Walk;
use crate::buflet::{Buflet, ExtBuflet, Extent, Stamp, flag};
use crate::packet::AppendReason;
use crate::packet::meta::Meta;
use core::ptr::NonNull;

/// Moves `from`'s buflets behind `to`'s; `from` is left without any, for its owner to drop.
pub(crate) fn splice(to: &mut Meta, from: &mut Meta) -> Result<(), AppendReason> {
    if to.pool != from.pool {
        return Err(AppendReason::OtherPool);
    }
    let config = &to.inner().config;
    if !config.on_demand {
        return Err(AppendReason::RegularPool);
    }
    let buflets = usize::from(to.span.extent.count) + usize::from(from.span.extent.count);
    let max = usize::from(config.max_frags);
    if buflets > max {
        return Err(AppendReason::TooLong { buflets, max });
    }
    free::externalise(from)?;
    let Some(first) = from.span.next else {
        return Ok(());
    };
    let mut last = first;
    // SAFETY: the chain belongs to `from`.
    while let Some(next) = unsafe { last.as_ref() }.span.next {
        last = next;
    }
    let special = from.flags() & flag::SPECIAL != 0;
    to.set(flag::SPECIAL, special || to.flags() & flag::SPECIAL != 0);
    to.link_tail(first, last, from.span.extent.count);
    forget_chain(from);
    Ok(())
}

/// Leaves a packet without buflets.
pub(crate) fn forget_chain(meta: &mut Meta) {
    meta.span.next = None;
    meta.span.extent.count = 0;
    meta.set(flag::RUN, false);
    if meta.extra().is_some() {
        meta.extra_mut().forget_tail();
    }
}

/// Hands buflets out to packets in their order, `k` to each.
pub(super) struct Chainer<W> {
    /// From the packet on that is being served.
    packets: W,
    /// The last buflet of the current packet's chain so far, its embedded one to begin with.
    last: *mut Buflet,
    /// Buflets that the current packet still needs.
    left: usize,
    k: usize,
    fresh: Stamp,
}

impl<W: Walk> Chainer<W> {
    /// # Safety
    /// The packets are the caller's alone while this lives. At most `k` buflets per packet are
    /// added, and [`Chainer::end_all`] follows if it were fewer.
    #[inline(always)]
    pub(super) unsafe fn new(packets: W, k: u16, fresh: Extent) -> Self {
        let k = usize::from(k);
        Self {
            last: packets.peek().map_or(core::ptr::null_mut(), embedded),
            packets,
            left: k,
            k,
            fresh: fresh.stamp(),
        }
    }

    /// Adds a run of buflets, last to first.
    #[inline(always)]
    pub(super) fn add(&mut self, mut run: &[NonNull<ExtBuflet>]) {
        while !run.is_empty() {
            if self.left == self.k {
                // A loop of its own for the commonest chain: one buflet.
                run = match self.k {
                    1 => self.add_whole(1, run),
                    k => self.add_whole(k, run),
                };
            }
            let n = self.left.min(run.len());
            let (rest, mine) = run.split_at(run.len() - n);
            run = rest;
            // SAFETY: `last` is a packet's or buflet's of ours; with no packet left there is no
            // buflet either.
            self.last = unsafe { link_all(self.last, mine, self.fresh) };
            self.left -= n;
            if self.left == 0 {
                self.next_packet();
            }
        }
    }

    /// Serves packets while the run has enough for a whole one: the loop that bursts live in.
    #[inline(always)]
    fn add_whole<'a>(
        &mut self,
        k: usize,
        mut run: &'a [NonNull<ExtBuflet>],
    ) -> &'a [NonNull<ExtBuflet>] {
        let fresh = self.fresh;
        let mut packets = self.packets.clone(); // in registers
        while run.len() >= k
            && let Some(packet) = packets.peek()
        {
            let (rest, mine) = run.split_at(run.len() - k);
            run = rest;
            // SAFETY: the packet is ours. There is one for every `k` buflets, and `k` is not
            // 0, or no buflets were added.
            unsafe {
                (*link_all(embedded(packet), mine, fresh)).next = None;
                packets.advance();
            }
        }
        self.packets = packets;
        if let Some(packet) = self.packets.peek() {
            self.last = embedded(packet);
        }
        run
    }

    /// Ends the current packet's chain and goes on to the next one.
    #[inline(always)]
    fn next_packet(&mut self) {
        // SAFETY: `last` is the end of the current packet's chain; after the last packet
        // nothing is added.
        unsafe {
            (*self.last).next = None;
            self.packets.advance();
        }
        if let Some(next) = self.packets.peek() {
            self.last = embedded(next);
        }
        self.left = self.k;
    }

    /// Ends the chains of all packets that did not get all their buflets.
    pub(super) fn end_all(&mut self) {
        while self.packets.peek().is_some() {
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
