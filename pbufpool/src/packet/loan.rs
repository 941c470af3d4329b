//! What the ledger needs of a packet: taking its chain apart, and where it belongs.

use super::Packet;
use crate::buflet::{Buflet, flag};
use crate::config::Layer;
use crate::pool::{LoneBuflet, Pool, chain};
use alloc::vec::Vec;

impl Packet {
    /// The embedded buflet, if it has a buffer.
    pub(crate) fn embedded(&self) -> Option<&Buflet> {
        let span = &self.meta().span;
        span.ctl.is_some().then_some(span)
    }

    /// Takes the external buflets out of the chain, each on its own.
    pub(crate) fn take_chain(&mut self) -> Vec<LoneBuflet> {
        let meta = self.meta_mut();
        let mut next = meta.span.next;
        let mut buflets = Vec::with_capacity(meta.span.extent.count.into());
        chain::forget_chain(meta);
        meta.span.extent.count = u16::from(meta.span.ctl.is_some());
        meta.set(flag::SPECIAL, false);
        while let Some(mut buflet) = next {
            // SAFETY: the buflet was in this packet's chain and is in none now.
            unsafe {
                next = buflet.as_mut().span.next.take();
                buflets.push(LoneBuflet::from_raw(buflet));
            }
        }
        buflets
    }

    /// Longest chain of the packet's pool.
    pub(crate) fn max_frags(&self) -> u32 {
        self.meta().inner().config.max_frags.into()
    }

    /// Where the data of the pool's packets starts.
    pub(crate) fn layer(&self) -> Layer {
        self.meta().inner().config.layer
    }

    /// Whether the packet came from `pool`.
    pub fn is_from(&self, pool: &Pool) -> bool {
        core::ptr::eq(self.meta().inner(), pool.inner())
    }

    /// Marks the packet dropped.
    pub(crate) fn reject(&mut self) {
        self.meta_mut().mark_dropped();
    }
}

impl LoneBuflet {
    /// Whether the buflet came from `pool`.
    pub fn is_from(&self, pool: &Pool) -> bool {
        core::ptr::eq(self.ext().pool.as_ptr(), pool.inner())
    }
}
