//! Size classes of the heap: which small allocations may take each other's place. Used by `heap`
//! alone; plain arithmetic, so it is tested on the host (`tests/size_class.rs`).
//!
//! Multiples of 16 up to 128, then four classes to each doubling, so that rounding up wastes a
//! fifth at most beyond the first few.
#![forbid(unsafe_code)]

use core::alloc::Layout;

/// Every class size is a multiple of this.
pub const GRAIN: usize = 16;
/// The largest class.
pub const LARGEST: usize = 64 * 1024;
/// How many classes there are.
pub const CLASSES: usize = LINEAR + 4 * (LARGEST / TOP).ilog2() as usize;

/// The classes that are multiples of [`GRAIN`], up to `TOP`.
const LINEAR: usize = TOP / GRAIN;
const TOP: usize = 128;

/// The class that serves `layout`; `None` if it is too large or too strictly aligned for any.
pub fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size == 0 || size > LARGEST || layout.align() > GRAIN {
        return None;
    }
    if size <= TOP {
        return Some(size.div_ceil(GRAIN) - 1);
    }
    // Doubling 0 is TOP (exclusive) to 2 * TOP (inclusive), in steps of a quarter of TOP.
    let doubling = (size - 1).ilog2() - TOP.ilog2();
    let step = (TOP / 4) << doubling;
    let quarter = (size - (TOP << doubling)).div_ceil(step) - 1;
    Some(LINEAR + 4 * doubling as usize + quarter)
}

/// Bytes of a block of `class`.
pub const fn size_of_class(class: usize) -> usize {
    if class < LINEAR {
        return (class + 1) * GRAIN;
    }
    let (doubling, quarter) = ((class - LINEAR) / 4, (class - LINEAR) % 4);
    (TOP << doubling) + (quarter + 1) * ((TOP / 4) << doubling)
}
