//! Receive: buffers into the ring, frames out of it, whole.
//!
//! A frame longer than a buffer lies in several, and only the last says that it ends and whether it
//! is sound. They become one packet with a chain. The end may come later than the beginning, or
//! never: what there is of a frame waits in [`Assembly`] and grows no longer than a packet may be.
#![forbid(unsafe_code)]

use pbufpool::{Packet, RxChecksum};

use super::super::bus::RegisterBus;
use super::super::descriptor::RxStatus;
use super::super::rx_ring::Part;
use super::{ETHERNET, IntelNet};
use crate::net::{DropReason, QueueId};

/// What came of a frame before its end.
#[derive(Debug, Default)]
pub(super) enum Assembly {
    /// Nothing: the next buffer begins one.
    #[default]
    Between,
    /// Its first buffers.
    Begun(Packet),
    /// Nothing any more: the rest of it is thrown away, for this reason.
    Discarding(DropReason),
}

impl Assembly {
    /// Packets in it.
    pub(super) fn packets(&self) -> usize {
        usize::from(matches!(self, Self::Begun(_)))
    }
}

impl<B: RegisterBus> IntelNet<B> {
    /// Fills the ring from the pool; returns how many buffers went in.
    pub(super) fn fill(&mut self, queue: QueueId) -> usize {
        let mut fresh = core::mem::take(&mut self.fresh);
        let wanted = self.pair(queue).map_or(0, |rings| rings.rx.room());
        if wanted > 0 && !self.pool.alloc_vec(wanted, &mut fresh).is_complete() {
            self.stats.rx_no_buffer += 1;
        }
        let mut posted = 0;
        let several = self.longest() > self.sizes.buffer.into();
        if let Some(rings) = self.pair(queue) {
            if several {
                rings.order.sort(&mut fresh);
            }
            while let Some(packet) = fresh.pop() {
                if rings.rx.post(packet).is_err() {
                    break; // cannot be: an exclusive buffer, large enough, and there is room
                }
                posted += 1;
            }
        }
        fresh.clear();
        self.fresh = fresh;
        posted
    }

    /// The next received frame, or why it was dropped; `None` if there is none, or not all of it.
    #[inline]
    pub(super) fn receive(&mut self, queue: QueueId) -> Option<Result<Packet, DropReason>> {
        loop {
            let part = self.pair(queue)?.rx.take()?;
            let frame = match (part, &self.assembly) {
                (Ok(part), Assembly::Between) if part.status.contains(RxStatus::EOP) => {
                    Some(finish(part.packet, part.status))
                }
                (Ok(part), _) => self.gather(part),
                (Err(why), _) => {
                    self.assembly = Assembly::Between;
                    Some(Err(why))
                }
            };
            if frame.is_some() {
                return frame;
            }
        }
    }

    /// Adds a part to what there is of a frame. Returns the frame, if this was its end.
    #[cold]
    #[inline(never)]
    fn gather(&mut self, part: Part) -> Option<Result<Packet, DropReason>> {
        let Part {
            packet,
            status,
            full,
        } = part;
        let end = status.contains(RxStatus::EOP);
        let before = core::mem::take(&mut self.assembly);
        // A part before the last fills its buffer: else there is no telling where the next begins.
        let grown = match before {
            Assembly::Discarding(why) => Err(why),
            _ if !end && !full => Err(DropReason::RxBadMerge),
            Assembly::Between => Ok(packet),
            // All bytes may have been in the parts before, and only the check sequence in this.
            Assembly::Begun(frame) if packet.is_empty() => Ok(frame),
            Assembly::Begun(mut frame) => match frame.append(packet) {
                Ok(()) => Ok(frame),
                Err(_) => Err(DropReason::RxBadMerge),
            },
        };
        let longest = self.longest();
        let grown = grown.and_then(|frame| {
            if frame.len() > longest {
                Err(DropReason::RxTooLong)
            } else {
                Ok(frame)
            }
        });
        if !end {
            self.assembly = match grown {
                Ok(frame) => Assembly::Begun(frame),
                Err(why) => Assembly::Discarding(why),
            };
            return None;
        }
        Some(grown.and_then(|frame| {
            let frame = finish(frame, status)?;
            self.stats.rx_merged += 1;
            self.stats.rx_merged_in_place += u64::from(frame.contiguous().is_some());
            Ok(frame)
        }))
    }
}

/// The whole frame with what its last descriptor says of it.
#[inline]
fn finish(mut frame: Packet, status: RxStatus) -> Result<Packet, DropReason> {
    if status.intersects(RxStatus::DAMAGED) {
        return Err(DropReason::RxError);
    }
    if frame.len() < ETHERNET {
        return Err(DropReason::RxRunt);
    }
    // Where the card finds a sum wrong, the stack looks for itself and counts.
    if status.is_verified() {
        frame.offload_mut().rx_checksum = RxChecksum::Verified;
    }
    Ok(frame)
}
