//! The transmit ring: frames go in, and come back once the card has read them.
//!
//! The card says so only where it was asked to, so the descriptors are counted in *batches*: the
//! last one of each asks. A batch ends where the card is told of it, or when it has grown to a
//! quarter of the ring. Which descriptors a batch has is our own record.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use pbufpool::{DmaMemory, Packet, PacketQueue};

use super::descriptor::{self, MOST_PIECE, Tx};
use super::offload::{CONTEXTS, Context, Request};
use super::ring::DescriptorRing;
use crate::ring::barrier;

/// Descriptors for a frame besides those for its data: its context and a sentinel.
const BESIDES: u16 = 2;
/// Descriptors of the longest ring that all cards have.
const MOST_DESCRIPTORS: u16 = 4096;

/// Bytes in a descriptor of their own at the end of a frame that is cut into segments, and of the
/// next one: some cards report the last descriptor before they have read all of it.
const SENTINEL: usize = 4;

/// A transmit ring with the packets that are in it.
#[derive(Debug)]
pub struct TxRing {
    ring: DescriptorRing,
    /// Frames that it holds at most.
    capacity: u16,
    /// Descriptors that a frame in one buffer may need which is not to be cut.
    each: u16,
    /// Where the next descriptor goes.
    next: u16,
    /// Where the batch begins that is not closed yet.
    open: u16,
    /// What the tail register says; a batch ends here.
    told: u16,
    /// Where the oldest batch begins that is not taken back.
    clean: u16,
    /// By the place where a closed batch begins: the place behind it.
    ends: Box<[u16]>,
    /// The contexts that the card has, by their places.
    contexts: [Option<Context>; CONTEXTS],
    /// The last frame was to be cut.
    after_segments: bool,
    /// Whether the card needs [`SENTINEL`].
    premature: bool,
}

impl TxRing {
    /// A ring for `capacity` frames of at most `longest` bytes, but for those to be cut. `None` if
    /// there is no memory for it.
    pub fn new(
        source: &'static dyn DmaMemory,
        capacity: u16,
        longest: usize,
        premature: bool,
    ) -> Option<Self> {
        let ring = DescriptorRing::new(source, Self::descriptors_for(capacity, longest))?;
        Some(Self {
            capacity,
            each: Self::each(longest),
            next: 0,
            open: 0,
            told: 0,
            clean: 0,
            ends: (0..ring.size()).map(|_| 0).collect(),
            contexts: [None; CONTEXTS],
            after_segments: false,
            premature,
            ring,
        })
    }

    fn each(longest: usize) -> u16 {
        BESIDES + longest.div_ceil(MOST_PIECE).max(1) as u16
    }

    /// Descriptors that a ring for `capacity` frames of at most `longest` bytes has in use at most.
    /// A long ring for long frames takes fewer of these at a time, rather than be longer than a ring
    /// may be.
    pub fn descriptors_for(capacity: u16, longest: usize) -> u16 {
        (Self::each(longest) * capacity).min(MOST_DESCRIPTORS - 1)
    }

    /// Its descriptors.
    pub fn descriptors(&self) -> &DescriptorRing {
        &self.ring
    }

    /// Gives up the ring for its descriptors, to take its packets back.
    pub fn into_descriptors(self) -> DescriptorRing {
        self.ring
    }

    /// Packets in it.
    pub fn lent(&self) -> usize {
        self.ring.slots.lent()
    }

    /// Descriptors that are free, but for the one that stays so.
    fn free(&self) -> u16 {
        self.ring.size() - 1 - self.ring.steps(self.clean, self.next)
    }

    /// Frames in one buffer each, none to be cut, that it takes for sure.
    pub fn room(&self) -> usize {
        let held = usize::from(self.capacity).saturating_sub(self.lent());
        usize::from(self.free() / self.each).min(held)
    }

    /// Most descriptors that `packet` may need.
    pub fn needs(&self, packet: &Packet) -> usize {
        let pieces = packet.buflets().map(|b| b.len().div_ceil(MOST_PIECE));
        pieces.sum::<usize>() + usize::from(BESIDES)
    }

    /// Whether a packet that needs `descriptors` would be taken now.
    pub fn fits(&self, descriptors: usize) -> bool {
        descriptors <= self.free().into() && self.lent() < self.capacity.into()
    }

    /// Whether a packet that needs `descriptors` is taken by an empty ring.
    pub fn could_fit(&self, descriptors: usize) -> bool {
        descriptors < self.ring.size().into()
    }

    /// Puts a frame in, for which there is room ([`fits`](Self::fits)), as `request` says. It has data.
    pub fn post(&mut self, packet: Packet, request: &Request) {
        if let Some(context) = request.context
            && self.contexts[usize::from(context.place)] != Some(context)
        {
            self.push(context.low, context.high);
            self.contexts[usize::from(context.place)] = Some(context);
        }
        let sentinel = self.premature && (request.segments || self.after_segments);
        self.after_segments = request.segments;
        let mut left = packet.len();
        for buflet in packet.buflets() {
            let mut at = buflet.dma_addr();
            let mut here = buflet.len();
            while here > 0 {
                let mut len = here.min(MOST_PIECE);
                if sentinel && len == left && len > 2 * SENTINEL {
                    len -= SENTINEL;
                }
                (left, here) = (left - len, here - len);
                let end = if left == 0 { Tx::EOP } else { Tx::empty() };
                self.push(at.as_u64(), len as u64 | request.command | end.bits());
                at = at.add(len);
            }
        }
        let last = self.ring.before(self.next);
        self.ring.slots.lend(last, packet.lend(), ());
        if self.ring.steps(self.open, self.next) >= self.ring.size() / 4 {
            self.close();
        }
    }

    #[inline(always)]
    fn push(&mut self, low: u64, high: u64) {
        self.ring.at(self.next).write(low, high);
        self.next = self.ring.after(self.next);
    }

    /// Ends the open batch: its last descriptor is to be reported. The card does not know of any.
    fn close(&mut self) {
        use core::sync::atomic::Ordering::Relaxed;
        let last = self.ring.at(self.ring.before(self.next));
        let high = last.high.load(Relaxed);
        last.high.store(high | Tx::RS.bits(), Relaxed);
        self.ends[usize::from(self.open)] = self.next;
        self.open = self.next;
    }

    /// The new tail, if there is anything that the card does not know of.
    pub fn publish(&mut self) -> Option<u16> {
        if self.open != self.next {
            self.close();
        }
        if self.told == self.next {
            return None;
        }
        barrier::publish();
        self.told = self.next;
        Some(self.told)
    }

    /// The place behind the oldest batch, if the card is done with it.
    fn done(&self) -> Option<u16> {
        if self.clean == self.told {
            return None;
        }
        let end = self.ends[usize::from(self.clean)];
        descriptor::is_done(self.ring.at(self.ring.before(end))).then_some(end)
    }

    /// Whether there are frames to take back.
    pub fn has_completions(&self) -> bool {
        self.done().is_some()
    }

    /// Takes back the frames that were sent.
    pub fn take(&mut self, into: &mut PacketQueue) {
        while let Some(end) = self.done() {
            while self.clean != end {
                if let Some(packet) = self.ring.slots.take(self.clean) {
                    into.push_back(packet);
                }
                self.clean = self.ring.after(self.clean);
            }
        }
    }
}
