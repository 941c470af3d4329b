//! Physically contiguous memory for devices: the packet pool's [`DmaMemory`], straight from
//! the frames. RAM is reached through the direct map, and devices see physical addresses
//! (there is no IOMMU in between).

use core::ptr::NonNull;
use core::slice;

use pbufpool::{DmaAddr, DmaMemory, Segment};

use super::{FRAME, alloc_frames, direct, free_frames};

/// The one source of segments.
#[derive(Debug)]
pub struct DmaFrames;

/// Memory that every device can reach.
pub fn dma() -> &'static dyn DmaMemory {
    &DmaFrames
}

// SAFETY: a segment is a run of frames that the frame allocator gives to nobody else; it is
// cleared here, contiguous because a run never leaves its zone, and aligned as asked.
unsafe impl DmaMemory for DmaFrames {
    fn alloc(&self, len: usize, align: usize) -> Option<Segment> {
        let frames = len.div_ceil(FRAME as usize);
        let physical = alloc_frames(frames, align as u64)?;
        let base = NonNull::new(direct(physical))?;
        let len = frames * FRAME as usize;
        // SAFETY: the frames are ours, and usable memory is mapped at the direct map.
        unsafe { clear(base.as_ptr(), len) };
        // SAFETY: as above; device addresses are physical addresses.
        Some(unsafe { Segment::from_raw(base, DmaAddr::new(physical), len) })
    }

    unsafe fn free(&self, segment: &Segment) {
        free_frames(segment.dma().as_u64(), segment.len() / FRAME as usize);
    }
}

/// Clears whole frames. Fresh memory of a virtual machine is zero already, and reading it makes
/// the host allocate nothing, so a frame is looked at first: pools lie on the way to the first
/// packet.
///
/// # Safety
/// `base` must be aligned for a page and valid for reads and writes of `len` bytes, a multiple of
/// [`FRAME`].
unsafe fn clear(base: *mut u8, len: usize) {
    // SAFETY: passed on from our caller; any bits are a number.
    let words = unsafe { slice::from_raw_parts_mut(base.cast::<[u64; 8]>(), len / 64) };
    for frame in words.chunks_mut(FRAME as usize / 64) {
        let is_zero = |line: &[u64; 8]| line.iter().fold(0, |all, word| all | word) == 0;
        if !frame.iter().all(is_zero) {
            frame.fill([0; 8]);
        }
    }
}
