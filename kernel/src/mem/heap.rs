//! The heap: `linked_list_allocator` in an address window of its own that grows by mapping
//! more frames, so that it takes no more than it needs. Everybody's `alloc` ends here; the
//! packet path does not allocate, and the counters show it.
//!
//! The list allocator walks its holes, which takes long once there are thousands, so blocks of up
//! to 64 KiB that were freed wait in a bin for the next one of their size class. When memory runs
//! out the bins are emptied into the list, where neighbours join.
//!
//! Invariant: the window is mapped from its start without holes, and belongs to the heap. A block
//! in a bin has the full size of the bin's class and nobody refers to it.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use linked_list_allocator::Heap;
use spin::Mutex;

use super::paging::{self, Access, LARGE};
use super::size_class::{CLASSES, GRAIN, class_of, size_of_class};
use super::{FRAME, MemStats, alloc_frames, frames_left, free_frames};

const WINDOW: u64 = 0xFFFF_9000_0000_0000;
const WINDOW_LEN: usize = 1 << 40;
/// Least growth, so that small allocations do not map single pages.
const STEP: usize = 128 * 1024;
/// Growth is in large pages with this many free frames, once the first large page's worth of
/// small ones is in use: a host gives a page when it is first written, and large ones take long.
const PLENTY: usize = 8192;
/// Frames that are left for page tables and device mappings.
const RESERVE: usize = 32;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(Mutex::new(Window {
    heap: Heap::empty(),
    bins: [None; CLASSES],
    binned: 0,
    mapped: 0,
    allocations: 0,
    frees: 0,
    peak: 0,
}));

struct KernelHeap(Mutex<Window>);

/// A free block in a bin.
struct Free {
    next: Option<NonNull<Free>>,
}

struct Window {
    heap: Heap,
    /// Free blocks by class.
    bins: [Option<NonNull<Free>>; CLASSES],
    /// Bytes in bins.
    binned: usize,
    /// Bytes mapped from the start of the window.
    mapped: usize,
    allocations: u64,
    frees: u64,
    peak: usize,
}

// SAFETY: the blocks in bins are in memory that belongs to the heap, reached under its lock.
unsafe impl Send for Window {}

// SAFETY: `Heap` hands out disjoint blocks of memory that is mapped and nobody else's; a bin hands
// out each of its blocks once, for layouts that fit its class.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut window = self.0.lock();
        let block = match class_of(layout) {
            Some(class) => window
                .pop(class)
                .or_else(|| window.carve(class_layout(class))),
            None => window.carve(layout),
        };
        let Some(block) = block else {
            return ptr::null_mut();
        };
        window.allocations += 1;
        window.peak = window.peak.max(window.used());
        block.as_ptr()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else {
            return;
        };
        let mut window = self.0.lock();
        match class_of(layout) {
            // SAFETY: `alloc` gave the block out for this class, and its owner is done with it.
            Some(class) => unsafe { window.push(class, block) },
            // SAFETY: our caller got `block` from `alloc` with the same layout.
            None => unsafe { window.heap.deallocate(block, layout) },
        }
        window.frees += 1;
    }
}

/// What the list is asked for on behalf of a class.
fn class_layout(class: usize) -> Layout {
    // Always valid: a power of two, and far from overflow.
    Layout::from_size_align(size_of_class(class), GRAIN).unwrap_or(Layout::new::<Free>())
}

impl Window {
    /// Bytes that somebody has.
    fn used(&self) -> usize {
        self.heap.used() - self.binned
    }

    fn pop(&mut self, class: usize) -> Option<NonNull<u8>> {
        let block = self.bins[class]?;
        // SAFETY: blocks in bins are ours and hold a `Free`.
        self.bins[class] = unsafe { block.as_ref() }.next;
        self.binned -= size_of_class(class);
        Some(block.cast())
    }

    /// # Safety
    /// `block` must be of the class, and nobody may refer to it.
    unsafe fn push(&mut self, class: usize, block: NonNull<u8>) {
        let block = block.cast::<Free>();
        // SAFETY: the block is at least a grain long and aligned to it, which a `Free` fits.
        unsafe {
            block.write(Free {
                next: self.bins[class],
            })
        };
        self.bins[class] = Some(block);
        self.binned += size_of_class(class);
    }

    /// Takes a block from the list, growing the window or emptying the bins if need be.
    fn carve(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if let Ok(block) = self.heap.allocate_first_fit(layout) {
            return Some(block);
        }
        if !self.grow(layout) {
            self.empty_bins();
        }
        self.heap.allocate_first_fit(layout).ok()
    }

    fn empty_bins(&mut self) {
        for class in 0..CLASSES {
            while let Some(block) = self.pop(class) {
                // SAFETY: `carve` took it from the list with this layout, and it was in a bin.
                unsafe { self.heap.deallocate(block, class_layout(class)) };
            }
        }
    }

    /// Makes room for `layout`; `false` if no memory was found at all.
    fn grow(&mut self, layout: Layout) -> bool {
        // Worst case: the whole need behind what is there, at an odd address.
        let need = layout
            .size()
            .saturating_add(layout.align())
            .saturating_add(64);
        let large = frames_left() >= PLENTY && self.mapped >= LARGE as usize;
        let step = if large { LARGE as usize } else { STEP };
        let Some(by) = need.checked_next_multiple_of(step) else {
            return false;
        };
        if by > WINDOW_LEN - self.mapped || by / FRAME as usize + RESERVE > frames_left() {
            return false;
        }
        let before = self.mapped;
        while self.mapped - before < by && self.map_more(large) {}
        let grown = self.mapped - before;
        if grown == 0 {
            return false;
        }
        // SAFETY: the bytes from `before` on were mapped just now, behind the heap's end.
        unsafe {
            if before == 0 {
                self.heap.init(WINDOW as *mut u8, grown);
            } else {
                self.heap.extend(grown);
            }
        }
        true
    }

    /// Maps one more page, large if wanted and possible.
    fn map_more(&mut self, large: bool) -> bool {
        let at = WINDOW + self.mapped as u64;
        if large && at.is_multiple_of(LARGE) && self.map_run(at, LARGE) {
            return true;
        }
        self.map_run(at, FRAME)
    }

    fn map_run(&mut self, at: u64, len: u64) -> bool {
        let frames = (len / FRAME) as usize;
        let Some(physical) = alloc_frames(frames, len) else {
            return false;
        };
        // SAFETY: frames nobody else has, at the end of our own window.
        let mapped = unsafe { paging::map(at, physical, len, Access::Memory) }.is_ok();
        if mapped {
            self.mapped += len as usize;
        } else {
            free_frames(physical, frames);
        }
        mapped
    }
}

/// The heap's part of the counters; the rest is zero.
pub(super) fn stats() -> MemStats {
    let window = HEAP.0.lock();
    MemStats {
        total_kb: 0,
        available_kb: 0,
        heap_allocations: window.allocations,
        heap_frees: window.frees,
        heap_used: window.used(),
        heap_peak: window.peak,
        heap_size: window.mapped,
    }
}
