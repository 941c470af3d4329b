//! Memory: physical frames, page tables, the heap, DMA segments, device registers.
//!
//! `main` calls [`init`] once; the host side of the drivers takes [`dma`] and
//! [`mmio::map`]. Heap, page tables and DMA draw frames from one pool, so neither starves while
//! the other has memory to spare.
//!
//! Locks are taken in the order heap, page tables, frames; nothing allocates in interrupt
//! context.

pub mod dma;
mod frames;
mod heap;
pub mod mmio;
pub mod paging;
mod routines;
mod size_class;

use bootloader_api::info::{BootInfo, MemoryRegion, MemoryRegionKind};
use spin::{Mutex, Once};

pub use self::frames::FRAME;
use self::frames::{Frames, Zone, words};
use crate::boot::DIRECT_MAP;

/// Memory below this belongs to firmware and to legacy devices.
const LOW_MEMORY: u64 = 1 << 20;
/// Regions smaller than this are not worth a bitmap.
const LEAST_FRAMES: u64 = 16;

/// Usable regions that are kept. A PC's firmware may cut its memory into dozens, and the last are the
/// largest.
const ZONES: usize = 128;

static FRAMES: Mutex<Frames<'static, ZONES>> = Mutex::new(Frames::new());
static REGIONS: Once<&'static [MemoryRegion]> = Once::new();

/// How much memory there is and who has it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    feature = "reflector",
    expect(dead_code, reason = "it reports nothing")
)]
pub struct MemStats {
    /// RAM as the way in reports it, in KiB, including the image and the boot loader's share.
    pub total_kb: u64,
    /// Free frames and the free part of the heap, in KiB.
    pub available_kb: u64,
    /// Heap allocations since boot.
    pub heap_allocations: u64,
    /// Heap frees since boot.
    pub heap_frees: u64,
    /// Bytes of the heap in use.
    pub heap_used: usize,
    /// The most that was ever in use, in bytes.
    pub heap_peak: usize,
    /// Bytes mapped for the heap.
    pub heap_size: usize,
}

/// No memory to work with.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

/// Takes over the usable memory. From here on the heap works.
///
/// # Safety
///
/// Called once, with the boot information as it was handed over: usable regions must be in
/// nobody's use and mapped at [`DIRECT_MAP`].
pub unsafe fn init(info: &'static BootInfo) -> Result<(), NoMemory> {
    if info.physical_memory_offset.into_option() != Some(DIRECT_MAP) {
        return Err(NoMemory);
    }
    let regions = REGIONS.call_once(|| &info.memory_regions);
    let mut frames = FRAMES.lock();
    for region in regions
        .iter()
        .filter(|region| region.kind == MemoryRegionKind::Usable)
    {
        // SAFETY: passed on from our caller.
        if let Some(zone) = unsafe { zone(region) } {
            frames.push(zone);
        }
    }
    if frames.free_frames() == 0 {
        Err(NoMemory)
    } else {
        Ok(())
    }
}

/// Makes a zone of `region`, with its bitmap in its own first frames.
///
/// # Safety
/// As for [`init`].
unsafe fn zone(region: &MemoryRegion) -> Option<Zone<'static>> {
    let start = region.start.max(LOW_MEMORY).next_multiple_of(FRAME);
    let frames = (region.end / FRAME).checked_sub(start / FRAME)?;
    // A direct boot leaves memory unmapped that it had no page tables for.
    if frames < LEAST_FRAMES || paging::translate(DIRECT_MAP + region.end - 1).is_none() {
        return None;
    }
    let words = words(frames as usize);
    // SAFETY: the region is ours, mapped, page aligned, and longer than its bitmap (8 bytes
    // for 64 frames).
    let bitmap = unsafe { core::slice::from_raw_parts_mut(direct(start).cast::<u64>(), words) };
    let taken = (words as u64 * 8).div_ceil(FRAME);
    Some(Zone::new(
        start + taken * FRAME,
        (frames - taken) as usize,
        bitmap,
    ))
}

/// Memory that is, or was until boot, usable as such.
fn ram() -> impl Iterator<Item = &'static MemoryRegion> {
    let regions = REGIONS.get().copied().unwrap_or(&[]);
    let kinds = [MemoryRegionKind::Usable, MemoryRegionKind::Bootloader];
    regions
        .iter()
        .filter(move |region| kinds.contains(&region.kind))
}

/// Whether some of `physical..physical + len` is RAM, and so no device's.
pub fn is_ram(physical: u64, len: usize) -> bool {
    let end = physical.saturating_add(len as u64);
    ram().any(|region| physical < region.end && region.start < end)
}

/// Where physical memory is mapped. Only RAM surely is.
pub fn direct(physical: u64) -> *mut u8 {
    (DIRECT_MAP + physical) as *mut u8
}

/// Takes `count` physically contiguous frames, their address a multiple of `align` bytes.
/// They hold whatever they held before.
pub(crate) fn alloc_frames(count: usize, align: u64) -> Option<u64> {
    FRAMES.lock().alloc(count, align)
}

/// Gives back frames from [`alloc_frames`].
pub(crate) fn free_frames(address: u64, count: usize) {
    let known = FRAMES.lock().free(address, count);
    debug_assert!(known, "{count} frames at {address:#x} were not taken");
}

/// Frames that nobody has.
pub(crate) fn frames_left() -> usize {
    FRAMES.lock().free_frames()
}

/// Bytes that nobody has: free frames and the free part of the heap.
#[cfg_attr(
    feature = "reflector",
    expect(dead_code, reason = "it has no connections")
)]
pub fn available() -> u64 {
    available_beside(&heap::stats())
}

fn available_beside(heap: &MemStats) -> u64 {
    frames_left() as u64 * FRAME + (heap.heap_size - heap.heap_used) as u64
}

/// Counters for the status page and the tests.
pub fn stats() -> MemStats {
    let heap = heap::stats();
    let free = available_beside(&heap);
    let total: u64 = ram().map(|region| region.end - region.start).sum();
    MemStats {
        total_kb: total / 1024,
        available_kb: free / 1024,
        ..heap
    }
}
