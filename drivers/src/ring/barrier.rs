//! Ordering between this side's accesses and the device's, in one place.
//!
//! A virtual device runs on another core of the same machine and a real one snoops the caches,
//! so the fences of the memory model are enough; on x86 only [`publish_then_check`] costs an
//! instruction, since stores pass later loads there and nothing else is reordered.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering;
#[cfg(not(loom))]
use core::sync::atomic::fence;

#[cfg(loom)]
use loom::sync::atomic::fence;

/// Ring contents, before the index that publishes them (virtio 1.2, 2.7.13.2).
#[inline]
pub fn publish() {
    fence(Ordering::Release);
}

/// Our index store, before our load of what the device says about notifications (2.7.13.3.1);
/// and our request for an interrupt, before our last look at the device's index (2.7.14).
///
/// It is not to be relied on alone: QEMU 7.2's translator leaves fences out where there is one virtual
/// processor, though its devices are on another thread. Whoever calls this looks again a little later.
#[inline]
pub fn publish_then_check() {
    fence(Ordering::SeqCst);
}

/// The device's index, before the contents that it covers (2.7.14).
#[inline]
pub fn observe() {
    fence(Ordering::Acquire);
}
