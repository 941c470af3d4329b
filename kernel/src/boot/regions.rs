//! A memory map of fixed size that can be built before there is a heap, in the form that
//! `BootInfo` wants. Used by `pvh`.
//!
//! Invariant: usable regions are page aligned and hold nothing that was reserved.
#![forbid(unsafe_code)]

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

const PAGE: u64 = 4096;

/// Up to `N` regions; what does not fit is left out, and so is not used.
#[derive(Debug)]
pub struct RegionList<const N: usize> {
    regions: [MemoryRegion; N],
    len: usize,
}

impl<const N: usize> RegionList<N> {
    /// An empty map.
    pub const fn new() -> Self {
        Self {
            regions: [MemoryRegion::empty(); N],
            len: 0,
        }
    }

    /// Adds `start..end`. Usable memory is cut down to whole pages.
    pub fn push(&mut self, start: u64, end: u64, kind: MemoryRegionKind) {
        let (start, end) = match kind {
            MemoryRegionKind::Usable => {
                (start.div_ceil(PAGE).saturating_mul(PAGE), end / PAGE * PAGE)
            }
            _ => (start, end),
        };
        if start < end && self.len < N {
            self.regions[self.len] = MemoryRegion { start, end, kind };
            self.len += 1;
        }
    }

    /// Takes `start..end`, rounded out to pages, from the usable memory.
    pub fn reserve(&mut self, start: u64, end: u64) {
        let (start, end) = (start / PAGE * PAGE, end.div_ceil(PAGE).saturating_mul(PAGE));
        for i in 0..self.len {
            let region = self.regions[i];
            if region.kind != MemoryRegionKind::Usable || region.end <= start || end <= region.start
            {
                continue;
            }
            let (low, high) = (start.max(region.start), end.min(region.end));
            self.regions[i] = MemoryRegion {
                start: low,
                end: high,
                kind: MemoryRegionKind::Bootloader,
            };
            self.push(region.start, low, MemoryRegionKind::Usable);
            self.push(high, region.end, MemoryRegionKind::Usable);
        }
    }

    /// The regions, in no particular order.
    pub fn as_slice(&self) -> &[MemoryRegion] {
        &self.regions[..self.len]
    }

    /// The same, to be handed on.
    pub fn as_mut_slice(&mut self) -> &mut [MemoryRegion] {
        &mut self.regions[..self.len]
    }
}
