//! Telling the processor early which cache lines it will need. Nothing depends on it: a line that was
//! not asked for is only waited for.

/// The line that `place` lies in will be written. Where another core had it last, that core loses it
/// now, and not only when the first store to it is at its turn: stores wait for one another.
#[inline(always)]
pub fn for_writing<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint: it changes nothing and never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(core::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
