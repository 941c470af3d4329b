//! Fresh receive buffers in the order of their addresses.
//!
//! A frame may fill several buffers, and where a ring was filled with neighbours, their chain is one
//! slice. So buffers are posted in ascending order, on from the one that was posted last, and round
//! again. A pool that feeds only this ring gives back the very buffers that were taken out, and the
//! order lasts.
#![forbid(unsafe_code)]

use core::cmp::Reverse;

use pbufpool::Packet;

/// Where a ring's next buffer had best lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order(u64);

impl Order {
    /// Sorts `fresh` so that what is best posted next comes last, to be taken from there. All of them
    /// will be posted.
    pub fn sort(&mut self, fresh: &mut [Packet]) {
        let next = self.0;
        fresh.sort_unstable_by_key(|packet| Reverse(address(packet).wrapping_sub(next)));
        self.0 = fresh.first().map_or(next, |packet| address(packet) + 1);
    }
}

/// Device address of a fresh packet's buffer.
fn address(packet: &Packet) -> u64 {
    let first = packet.first();
    first.map_or(0, |buflet| buflet.base_dma().as_u64())
}
