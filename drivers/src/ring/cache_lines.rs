//! Telling the processor early which core will need a cache line. The queues call it for the lines that
//! pass between this core and the device's. Nothing depends on it: a line that was not asked for is only
//! waited for.

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

/// The line that `place` lies in was written, and another core will read it next: it moves to the cache
/// that the cores share, where it is found sooner than in this core's own. A fence right behind this
/// waits for it. Processors that do not know the instruction pass over it.
#[inline(always)]
pub fn for_other_cores<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint: it changes nothing and never faults.
    unsafe {
        core::arch::asm!(
            "cldemote [{}]",
            in(reg) core::ptr::from_ref(place),
            options(nostack, preserves_flags, readonly),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}
