//! Joining packets of one buffer each to one with a chain, as the parts of a merged frame come in.
//!
//! [`Packet::append`] does the same for any two packets. Here what it does each time is done once: the
//! end of the chain stays at hand, the emptied packets go back to their pool together, and whether the
//! parts lie back to back is found while they pass, so that nobody walks the chain for it again.
//!
//! Invariant: `last` is the end of the packet's chain. As long as all of the chain's data lies back to back
//! in one segment, `end` is where it ends; otherwise it is null.

use super::{AppendError, Packet};
use crate::buflet::{Buflet, ExtBuflet, flag};
use crate::queue::PacketQueue;
use core::fmt;
use core::ptr::NonNull;

/// What an ordinary part has none of.
const UNUSUAL: u16 = flag::NOT_SINGLE | flag::EXTRA | flag::UNUSUAL;

/// A packet to which others are joined.
pub struct Gather {
    packet: Packet,
    /// Packets without buffers, for the pool.
    shells: PacketQueue,
    last: NonNull<Buflet>,
    /// The same, if it is not the packet's embedded one.
    tail: Option<NonNull<ExtBuflet>>,
    end: *const u8,
    /// Segment in which the data lies, all of it up to `end`.
    segment: u32,
    /// Buflets that a packet of the pool may have.
    most: u16,
    /// Bytes up to `end`.
    run: usize,
}

// SAFETY: the pointers lead into the packet's own chain, and packets are `Send`.
unsafe impl Send for Gather {}
// SAFETY: `&Gather` only reads.
unsafe impl Sync for Gather {}

impl Gather {
    /// Begins with `packet`.
    pub fn new(mut packet: Packet) -> Self {
        if packet.meta().extra().is_some() {
            packet.meta_mut().extra_mut().forget_tail(); // until the end is known again
        }
        let mut gather = Self {
            last: NonNull::dangling(),
            tail: None,
            end: core::ptr::null(),
            segment: 0,
            most: packet.meta().inner().config.max_frags,
            run: 0,
            shells: PacketQueue::new(),
            packet,
        };
        if let (1, Some(first)) = (gather.packet.buflet_count(), gather.packet.first())
            && let Some(record) = first.record()
            && !record.large
            && !first.is_empty()
        {
            (gather.segment, gather.run) = (record.segment, first.len());
            gather.end = first.data_start().as_ptr().wrapping_add(gather.run);
        }
        gather.find_end();
        gather
    }

    /// Moves `part`'s buflets behind those that there are.
    ///
    /// # Errors
    /// [`AppendError`] hands `part` back unchanged.
    #[inline]
    pub fn push(&mut self, part: Packet) -> Result<(), AppendError> {
        let (to, from) = (self.packet.meta_ptr(), part.meta_ptr());
        // SAFETY: both packets are owned; no reference to either is kept.
        unsafe {
            let (to, from) = (to.as_ptr(), from.as_ptr());
            let extent = (*from).span.extent;
            let usual = (*from).pool == (*to).pool
                && extent.flags & UNUSUAL == 0
                && extent.count == 1
                && (*from).span.ctl.is_none()
                && (*to).span.extent.count < self.most;
            let Some(buflet) = (*from).span.next.filter(|_| usual) else {
                return self.append(part);
            };
            let span = &raw mut (*buflet.as_ptr()).span;
            self.note(&*span);
            (*self.last.as_ptr()).next = Some(buflet);
            (*to).span.extent.count += 1;
            self.last = NonNull::new_unchecked(span);
            self.tail = Some(buflet);
            (*from).span.next = None;
            (*from).span.extent.count = 0;
        }
        self.shells.push_back(part);
        Ok(())
    }

    /// The packet with all that was joined to it.
    pub fn finish(mut self) -> Packet {
        self.note_tail();
        if self.tail.is_some() {
            let meta = self.packet.meta_mut();
            match u32::try_from(self.run) {
                Ok(run) if !self.end.is_null() => meta.set_run(run),
                _ => meta.set(flag::RUN, false),
            }
        }
        self.packet
    }

    /// Adds any packet.
    #[cold]
    fn append(&mut self, part: Packet) -> Result<(), AppendError> {
        self.note_tail();
        self.packet.append(part)?;
        self.end = core::ptr::null();
        self.find_end();
        Ok(())
    }

    /// The next buflet in the chain, of a default buffer, is `buflet`: does the run go on?
    #[inline(always)]
    fn note(&mut self, buflet: &Buflet) {
        let start: *const u8 = buflet.data_start().as_ptr();
        let segment = buflet.record().map(|record| record.segment);
        if start == self.end && segment == Some(self.segment) {
            self.end = start.wrapping_add(buflet.len());
            self.run += buflet.len();
        } else {
            self.end = core::ptr::null();
        }
    }

    /// Tells the packet where its chain ends.
    fn note_tail(&mut self) {
        if let Some(tail) = self.tail {
            self.packet.meta_mut().extra_mut().set_tail(tail);
        }
    }

    /// Looks for the end of the chain.
    fn find_end(&mut self) {
        // SAFETY: the packet owns its chain; no reference is kept.
        unsafe {
            let mut last = &raw mut (*self.packet.meta_ptr().as_ptr()).span;
            while let Some(next) = (*last).next {
                self.tail = Some(next);
                last = &raw mut (*next.as_ptr()).span;
            }
            self.last = NonNull::new_unchecked(last);
        }
    }
}

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gather").field(&self.packet).finish()
    }
}
