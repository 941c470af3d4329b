//! Receive: buffers into a ring, frames out of it, whole.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::super::assembly::{Assembly, finish};
use super::super::bus::RegisterBus;
use super::IntelNet;
use crate::net::{DropReason, QueueId};

impl<B: RegisterBus> IntelNet<B> {
    /// Fills the ring from the pool; returns how many buffers went in.
    pub(super) fn fill(&mut self, queue: QueueId) -> usize {
        let mut fresh = core::mem::take(&mut self.fresh);
        let wanted = self.pair(queue).map_or(0, |pair| pair.rx.room());
        if wanted > 0 && !self.pool.alloc_vec(wanted, &mut fresh).is_complete() {
            self.stats.rx_no_buffer += 1;
        }
        let mut posted = 0;
        let several = self.longest() > self.sizes.buffer.into();
        if let Some(pair) = self.pair(queue) {
            if several {
                pair.order.sort(&mut fresh);
            }
            while let Some(packet) = fresh.pop() {
                if pair.rx.post(packet).is_err() {
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
        let (longest, vlan) = (self.longest(), self.wishes.joined);
        loop {
            let pair = self.pair(queue)?;
            let part = match pair.rx.take()? {
                Ok(part) => part,
                Err(why) => {
                    pair.assembly = Assembly::Between;
                    return Some(Err(why));
                }
            };
            if pair.assembly.is_whole(part.status) {
                return Some(finish(part.packet, part.status, part.tag, vlan));
            }
            if let Some(frame) = pair.assembly.add(part, longest, vlan) {
                if let Ok(frame) = &frame {
                    self.stats.rx_merged += 1;
                    self.stats.rx_merged_in_place += u64::from(frame.contiguous().is_some());
                }
                return Some(frame);
            }
        }
    }
}
