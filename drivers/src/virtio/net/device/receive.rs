//! Receive: buffers into the ring in the order of their addresses, frames out of it, whole.
//!
//! With `MRG_RXBUF` a frame may fill several buffers. They become one packet with a chain, which is
//! one slice where [`Order`](crate::ring::order::Order) had its way.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use pbufpool::{Gather, Packet, PacketQueue};

use super::super::frames::{FirstPart, Rules, Whole, add_part};
use super::VirtioNet;
use crate::error::DeviceFault;
use crate::net::{DropReason, QueueId};
use crate::virtio::Features;
use crate::virtio::queue::{Completion, GoOn, Piece, Supply, Taker};
use crate::virtio::transport::Transport;

/// Fresh packets, each with its whole buffer to be written.
struct Emptied<'a>(&'a mut Vec<Packet>);

impl Supply for Emptied<'_> {
    #[inline(always)]
    fn next(&mut self, readable: usize) -> Option<(Packet, Option<Piece>)> {
        let mut packet = self.0.pop()?;
        // A fresh packet is one.
        let mut buflet = packet.plain_mut()?;
        let whole = buflet.limit();
        buflet.set_span(0, whole).ok()?;
        let piece = Piece::whole(&buflet, readable);
        Some((packet, piece))
    }
}

/// Frames of one buffer on their way to the stack.
struct Received<'a> {
    rules: &'a Rules,
    into: &'a mut PacketQueue,
    /// How many more may come.
    room: usize,
    bytes: usize,
    /// The completion at which they end.
    other: Option<Completion>,
}

impl Taker for Received<'_> {
    #[inline(always)]
    fn give(&mut self, mut completion: Completion) -> GoOn {
        let Some(len) = self.rules.single_frame(&mut completion) else {
            self.other = Some(completion);
            return GoOn::Break(());
        };
        self.bytes += len;
        self.into.push_back(completion.packet);
        self.room -= 1;
        if self.room > 0 {
            GoOn::Continue(())
        } else {
            GoOn::Break(())
        }
    }
}

/// The other parts of a merged frame, on their way into it.
struct Parts {
    frame: Gather,
    /// How many are still to come, at least one while any is given.
    left: u16,
    /// What is wrong with the frame, if something is.
    outcome: Result<(), DropReason>,
}

impl Taker for Parts {
    fn give(&mut self, completion: Completion) -> GoOn {
        self.left -= 1;
        let last = self.left == 0;
        if self.outcome.is_ok()
            && let Err(why) = add_part(&mut self.frame, completion, last)
        {
            self.outcome = Err(why);
        }
        if last {
            GoOn::Break(())
        } else {
            GoOn::Continue(())
        }
    }
}

impl<T: Transport> VirtioNet<T> {
    /// Fills the ring; `fresh` is empty before and after.
    pub(super) fn refill_through(&mut self, fresh: &mut Vec<Packet>, queue: QueueId) -> usize {
        let merges = self.rules.features.contains(Features::MRG_RXBUF);
        let Some(wanted) = self.pair(queue).map(|pair| pair.rx.room()) else {
            return 0;
        };
        if wanted == 0 {
            return 0;
        }
        if !self.pool.alloc_vec(wanted, fresh).is_complete() {
            self.stats.rx_no_buffer += 1;
        }
        let Some(pair) = self.pair(queue) else {
            return 0;
        };
        if merges {
            pair.order.sort(fresh);
        }
        let before = pair.rx.lent();
        let mut next = Emptied(fresh);
        // Those that need more than one descriptor are posted one by one.
        while let Some(packet) = pair.rx.post_each(0, &mut next) {
            if pair.rx.post(packet, 0).is_err() {
                break;
            }
        }
        next.0.clear();
        pair.rx.lent() - before
    }

    /// Takes frames of one buffer out of the ring until `taken`, of the two tallies, reaches `budget`, or
    /// there are no more; or until something else comes, which is returned.
    #[inline(always)]
    pub(super) fn single_frames(
        &mut self,
        queue: QueueId,
        budget: usize,
        (taken, bytes): (&mut usize, &mut usize),
        into: &mut PacketQueue,
    ) -> Option<Completion> {
        let rules = self.rules;
        let pair = self.pair(queue)?;
        let room = budget.checked_sub(*taken).filter(|room| *room > 0)?;
        let mut frames = Received {
            rules: &rules,
            into,
            room,
            bytes: 0,
            other: None,
        };
        pair.rx.take_each(&mut frames);
        *taken = budget - frames.room;
        *bytes += frames.bytes;
        frames.other
    }

    /// The received frame that begins with `completion`, with its length, or why it was dropped.
    pub(super) fn receive(
        &mut self,
        queue: QueueId,
        completion: Completion,
    ) -> Result<(Packet, usize), DropReason> {
        let first = self.rules.first_part(completion)?;
        let frame = if first.parts == 1 {
            first
        } else {
            self.gather(queue, first)?
        };
        let Whole {
            packet,
            len,
            merged,
        } = self.rules.whole(frame)?;
        self.stats.rx_gso += u64::from(merged);
        Ok((packet, len))
    }

    /// Collects the other parts of a frame, which the device completes together with the first
    /// (5.1.6.4). Even those of a frame that is dropped are taken: the next frame is behind them.
    #[cold]
    #[inline(never)]
    fn gather(&mut self, queue: QueueId, mut first: FirstPart) -> Result<FirstPart, DropReason> {
        let claimed = first.parts;
        let (left, fine) = match claimed.checked_sub(1) {
            Some(others) => (others, others == 0 || first.full),
            None => (0, false),
        };
        let mut parts = Parts {
            left,
            frame: Gather::new(first.packet),
            outcome: if fine {
                Ok(())
            } else {
                Err(DropReason::RxBadMerge)
            },
        };
        if left > 0
            && let Some(pair) = self.pair(queue)
        {
            pair.rx.take_for(&mut parts);
        }
        let Parts {
            left,
            frame,
            outcome,
        } = parts;
        if left > 0 {
            self.part_missing(queue, claimed, claimed - left);
            return Err(DropReason::RxBadMerge);
        }
        outcome?;
        first.packet = frame.finish();
        self.stats.rx_merged += 1;
        self.stats.rx_merged_in_place += u64::from(first.packet.contiguous().is_some());
        Ok(first)
    }

    /// A part of a frame is not there: unless the ring itself is broken, that is the fault.
    fn part_missing(&mut self, queue: QueueId, claimed: u16, found: u16) {
        self.note_faults();
        if let Some(pair) = self.pair(queue) {
            let queue = pair.rx.index();
            self.fault = Some(DeviceFault::PartsMissing {
                queue,
                claimed,
                found,
            });
        }
    }
}
