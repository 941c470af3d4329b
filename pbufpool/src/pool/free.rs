//! Freeing packets: one, or a list or an array of them in one go.
//!
//! Per packet: what is unusual about it is undone first (shared buffers, windows, second-line
//! metadata), its external buflets go to their caches, then the metadata. In a regular pool the
//! buffer stays with the metadata.

use super::Inner;
use super::kinds::BufletKind;
use super::walk::Walk;
use crate::buflet::{Buflet, ExtBuflet, Extent, flag};
use crate::cache::{Cache, Returned};
use crate::packet::meta::Meta;
use crate::packet::{AppendReason, Packet};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// Frees one packet.
///
/// # Safety
/// The caller owns `meta` and uses it no more.
#[inline]
pub(crate) unsafe fn packet(meta: NonNull<Meta>) {
    // SAFETY: the packet keeps its pool alive until its references are released, below.
    unsafe {
        let inner = meta.as_ref().pool;
        let pool = inner.as_ref();
        let core = pool.core();
        let mut returned = Returned(0);
        let unusual = meta.as_ref().flags() & flag::UNUSUAL;
        if unusual != 0 && !(unusual == flag::SHARED && leave_shared(meta)) {
            returned += tidy(pool, core, meta);
        }
        if let Some(first) = meta.as_ref().span.next {
            returned += plain_chain(pool, core, meta.as_ref(), first);
        }
        pool.audit.given(meta.as_ref().index);
        returned += pool.metas.give_one(core, meta);
        Inner::release(inner, returned);
    }
}

/// Frees at most `len` packets, up to the first packet of another pool; returns what is left
/// from that one on.
///
/// # Safety
/// The caller owns these packets and uses none of them any more.
#[inline]
pub(crate) unsafe fn run<W: Walk>(packets: W, len: usize) -> W {
    let Some(head) = packets.peek() else {
        return packets;
    };
    // SAFETY: the packets keep their pool alive until their references are released, below.
    unsafe {
        let inner = head.as_ref().pool;
        let (returned, rest) = match &inner.as_ref().buflets {
            None => regular_run(inner, packets, len),
            Some(cache) => on_demand_run(inner, cache, packets, len),
        };
        Inner::release(inner, returned);
        rest
    }
}

/// [`run`] in a regular pool: metadata keeps its buffer. The first loop is for what there is
/// nothing to do about, the second for everything.
#[inline(always)]
unsafe fn regular_run<W: Walk>(inner: NonNull<Inner>, mut packets: W, len: usize) -> (Returned, W) {
    // SAFETY: as in `run`. A packet is walked past before it is given back; in the first loop
    // nobody else can see what was given back before the section ends.
    unsafe {
        let pool = inner.as_ref();
        let core = pool.core();
        let mut returned = Returned(0);
        let mut metas = pool.metas.giver(core);
        let mut room = metas.spare();
        if room.has_room(len) {
            while let Some(meta) = packets.peek()
                && meta.as_ref().pool == inner
                && meta.as_ref().flags() & flag::UNUSUAL == 0
            {
                pool.audit.given(meta.as_ref().index);
                room.put_unchecked(meta);
                packets.advance();
            }
        }
        while let Some(meta) = packets.peek()
            && meta.as_ref().pool == inner
        {
            packets.advance();
            if meta.as_ref().flags() & flag::UNUSUAL != 0 {
                metas.pause(&mut room);
                returned += tidy(pool, core, meta);
            }
            pool.audit.given(meta.as_ref().index);
            metas.give(&mut room, meta);
        }
        returned += metas.finish(room);
        (returned, packets)
    }
}

/// [`run`] in an on-demand pool: the chains go back as well. Two loops, as above.
#[inline(always)]
unsafe fn on_demand_run<W: Walk>(
    inner: NonNull<Inner>,
    cache: &Cache<BufletKind>,
    mut packets: W,
    len: usize,
) -> (Returned, W) {
    // SAFETY: as in `regular_run`.
    unsafe {
        let pool = inner.as_ref();
        let core = pool.core();
        let longest = usize::from(pool.config.max_frags);
        let mut returned = Returned(0);
        let mut metas = pool.metas.giver(core);
        let mut room = metas.spare();
        let mut buflets = cache.giver(core);
        let mut buflet_room = buflets.spare();
        if room.has_room(len) {
            while let Some(meta) = packets.peek()
                && meta.as_ref().pool == inner
                && buflet_room.has_room(longest)
            {
                let unusual = meta.as_ref().flags() & flag::UNUSUAL;
                if unusual != 0 && !(unusual == flag::SHARED && leave_shared(meta)) {
                    break;
                }
                for_each_buflet(meta.as_ref(), |buflet| buflet_room.put_unchecked(buflet));
                pool.audit.given(meta.as_ref().index);
                room.put_unchecked(meta);
                packets.advance();
            }
        }
        while let Some(meta) = packets.peek()
            && meta.as_ref().pool == inner
        {
            packets.advance();
            let unusual = meta.as_ref().flags() & flag::UNUSUAL;
            if unusual != 0 && !(unusual == flag::SHARED && leave_shared(meta)) {
                metas.pause(&mut room);
                buflets.pause(&mut buflet_room);
                returned += tidy(pool, core, meta);
            }
            // A chain that `tidy` left to us has only plain buflets.
            for_each_buflet(meta.as_ref(), |buflet| {
                buflets.give(&mut buflet_room, buflet)
            });
            pool.audit.given(meta.as_ref().index);
            metas.give(&mut room, meta);
        }
        // Buflets first: the packets' metadata references keep the pool alive meanwhile.
        returned += buflets.finish(buflet_room);
        returned += metas.finish(room);
        (returned, packets)
    }
}

/// Drops the use of a shared embedded buffer, the plain case of a light clone; `false`, and
/// nothing done, if the packet may be the last user.
///
/// # Safety
/// The caller owns the packet.
#[inline(always)]
unsafe fn leave_shared(mut meta: NonNull<Meta>) -> bool {
    // SAFETY: the caller owns the packet, which holds a use of its buffer.
    unsafe {
        let span = &mut meta.as_mut().span;
        match span.ctl {
            Some(ctl) if ctl.as_ref().uses().release_unless_last() => {
                span.ctl = None;
                true
            }
            _ => false,
        }
    }
}

/// Hands the external buflets of a packet to `f`, in order; `f` may give them back. A packet's
/// only buflet is not looked at: the core that got the packet may have left its cache line where
/// it was, with the core that will use it next.
///
/// # Safety
/// The caller owns the packet.
#[inline(always)]
unsafe fn for_each_buflet(meta: &Meta, mut f: impl FnMut(NonNull<ExtBuflet>)) {
    let mut chain = meta.span.next;
    if meta.span.extent.count == 1
        && let Some(only) = chain
    {
        // SAFETY: the packet, and with it the chain, is the caller's.
        let next = || unsafe { only.as_ref() }.span.next;
        debug_assert!(next().is_none(), "more buflets than counted");
        return f(only);
    }
    while let Some(buflet) = chain {
        // SAFETY: as above; the link is read before the buflet is given back.
        chain = unsafe { buflet.as_ref() }.span.next;
        f(buflet);
    }
}

/// Gives a packet's chain of plain buflets back.
///
/// # Safety
/// The caller owns the packet and holds no section.
unsafe fn plain_chain(
    pool: &Inner,
    core: usize,
    meta: &Meta,
    first: NonNull<ExtBuflet>,
) -> Returned {
    let Some(cache) = &pool.buflets else {
        return Returned(0);
    };
    if meta.span.extent.count == 1 {
        return cache.give_one(core, first);
    }
    let mut giver = cache.giver(core);
    let mut room = giver.spare();
    // SAFETY: as the caller promises; the giver's section is open meanwhile.
    unsafe { for_each_buflet(meta, |buflet| giver.give(&mut room, buflet)) };
    giver.finish(room)
}

/// Frees the external buflets from `first` on, whatever they are.
///
/// # Safety
/// The caller owns the chain and holds no section.
pub(crate) unsafe fn chain(pool: &Inner, core: usize, first: NonNull<ExtBuflet>) -> Returned {
    let mut returned = Returned(0);
    let mut next = Some(first);
    while let Some(buflet) = next {
        // SAFETY: the caller owns the chain; the link is read before the buflet is given back.
        unsafe {
            next = buflet.as_ref().span.next;
            returned += special(pool, core, buflet);
        }
    }
    returned
}

/// Frees a buflet that is large, windowed or (perhaps) shared. A shared one never enters a
/// magazine: its buffer lives on elsewhere and would be handed out twice.
///
/// # Safety
/// The caller owns the buflet.
#[cold]
pub(crate) unsafe fn special(
    pool: &Inner,
    core: usize,
    mut buflet: NonNull<ExtBuflet>,
) -> Returned {
    // SAFETY: the caller owns the buflet.
    let span = unsafe { &mut buflet.as_mut().span };
    let Some(cache) = pool.buflet_cache(span.is_large()) else {
        return Returned(0);
    };
    if span.extent.flags & flag::WINDOW != 0 {
        span.restore_window();
    }
    match span.is_shared() {
        true => cache.give_uncached(core, buflet),
        false => cache.give_one(core, buflet),
    }
}

/// Undoes what is unusual about a packet, up to a chain of plain buflets or none.
///
/// # Safety
/// The caller owns the packet and holds no section: completions and what is attached run code
/// of others.
#[cold]
#[inline(never)]
unsafe fn tidy(pool: &Inner, core: usize, mut meta: NonNull<Meta>) -> Returned {
    // SAFETY: the caller owns the packet.
    unsafe {
        if meta.as_ref().flags() & flag::ACTION != 0 && meta.as_ref().extra.needs_action() {
            let mut packet = ManuallyDrop::new(Packet::from_meta(meta));
            packet.complete(None, 0, 0);
            drop(packet.detach());
        }
        let m = meta.as_mut();
        let mut returned = Returned(0);
        if !pool.config.on_demand {
            m.span.restore_window();
        } else if let Some(ctl) = m.span.ctl.take()
            && ctl.as_ref().uses().release()
        {
            returned += pool.buffer_cache(ctl.as_ref().large).give_one(core, ctl);
        }
        if m.flags() & flag::SPECIAL != 0
            && let Some(first) = m.span.next.take()
        {
            returned += chain(pool, core, first);
        }
        returned
    }
}

/// Moves an embedded buffer into an external buflet in front of the chain, so that all of the
/// packet's buflets can move to another packet.
pub(crate) fn externalise(meta: &mut Meta) -> Result<(), AppendReason> {
    let Some(ctl) = meta.span.ctl else {
        return Ok(());
    };
    let pool = meta.inner();
    let large = meta.span.is_large();
    let cache = pool.buflet_cache(large).ok_or(AppendReason::NoMemory)?;
    let bare = cache.make_bare(pool.core()).ok_or(AppendReason::NoMemory)?;
    let identity =
        meta.span.extent.flags & (flag::SHARED | flag::WINDOW | flag::READ_ONLY | flag::LARGE);
    let span = Buflet {
        extent: Extent {
            flags: identity | flag::EXTERNAL,
            count: 0,
            ..meta.span.extent
        },
        base: meta.span.base,
        dma: meta.span.dma,
        ctl: Some(ctl),
        next: meta.span.next,
    };
    let mut buflet = bare.cast::<ExtBuflet>();
    // SAFETY: the slot was made bare for this buflet, which takes over the embedded use.
    unsafe { buflet.as_mut().span = span };
    meta.span.ctl = None;
    meta.span.next = Some(buflet);
    let (flags, count) = (meta.flags() & !identity, meta.span.extent.count);
    meta.span.extent = Extent {
        count,
        ..Extent::fresh(0, flags | flag::SPECIAL, 0)
    };
    Ok(())
}
