//! The synchronisation primitives everything else uses: `core` atomics and a spin lock, or
//! loom's models of them under `--cfg loom`. No other file names either directly.
#![forbid(unsafe_code)]

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(loom))]
pub(crate) use spin::{Mutex, MutexGuard};

/// loom explores no compiler reordering, so a compiler fence is nothing there.
#[cfg(loom)]
pub(crate) fn compiler_fence(_: Ordering) {}

#[cfg(loom)]
pub(crate) use loom::sync::MutexGuard;

/// loom's mutex with the spin lock's face.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("loom lock poisoned")
    }
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// Waits a moment inside a spin loop.
pub(crate) fn relax() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Adds to a counter that only its owner core writes: a load and a store, no locked
/// instruction. Other cores may read it at any time.
#[inline(always)]
pub(crate) fn bump(counter: &AtomicU64, by: usize) {
    let now = counter.load(Ordering::Relaxed);
    counter.store(now.wrapping_add(by as u64), Ordering::Relaxed);
}
