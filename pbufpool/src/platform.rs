//! All that the pool asks of the world: contiguous memory ([`DmaMemory`]), which core runs and
//! a few services of time ([`Platform`]), and hooks where an IOMMU would map ([`SegmentHooks`]).
//! Called by the slab layer (memory, hooks) and by every pool operation (core id).

use core::fmt;
use core::ptr::NonNull;

/// An address as a device sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DmaAddr(u64);

impl DmaAddr {
    /// Wraps a device-visible address.
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }
    /// The plain number, for a descriptor.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
    /// The address `bytes` further on.
    #[allow(clippy::should_implement_trait)] // a byte offset, not a sum of addresses
    pub const fn add(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

impl fmt::Debug for DmaAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaAddr({:#x})", self.0)
    }
}

/// A run of physically contiguous memory.
#[derive(Debug)]
pub struct Segment {
    base: NonNull<u8>,
    dma: DmaAddr,
    len: usize,
}

// SAFETY: a segment names memory; it holds no thread-bound state.
unsafe impl Send for Segment {}
// SAFETY: all methods only read the three words.
unsafe impl Sync for Segment {}

impl Segment {
    /// Describes a segment.
    ///
    /// # Safety
    /// 1. `base` is valid for reads and writes of `len` initialised bytes and used by nothing
    ///    else while the segment lives.
    /// 2. `dma` is the device's address of the same, physically contiguous, range.
    pub const unsafe fn from_raw(base: NonNull<u8>, dma: DmaAddr, len: usize) -> Self {
        Self { base, dma, len }
    }
    /// First byte, as the processor sees it.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }
    /// First byte, as a device sees it.
    pub const fn dma(&self) -> DmaAddr {
        self.dma
    }
    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }
    /// Whether the segment holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A source of physically contiguous memory.
///
/// # Safety
/// A segment it hands out is zeroed, at least `len` bytes long, aligned to `align`, and nobody
/// else's until it is freed.
pub unsafe trait DmaMemory: Sync {
    /// `len` bytes (a multiple of 4 KiB), zeroed; `align` is a power of two.
    fn alloc(&self, len: usize, align: usize) -> Option<Segment>;
    /// Takes a segment back.
    ///
    /// # Safety
    /// `segment` came from [`DmaMemory::alloc`] of the same source, is freed once, and nothing
    /// (no reference, no device) uses it any more.
    unsafe fn free(&self, segment: &Segment);
}

/// The processor as the pool sees it.
///
/// Nothing allocates or frees in interrupt context, so the pool masks no interrupts; a debug
/// assertion catches a re-entry.
///
/// # Safety
/// 1. While code runs with some `core_id`, no other code runs with the same one: neither a
///    second thread nor an interrupt handler that calls the pool. When a core id passes to
///    another thread, a happens-before edge goes with it.
/// 2. If [`Platform::barrier_all_cores`] returns `true`, every core of the machine has executed
///    a full memory barrier between the call and the return; the answer never changes.
pub unsafe trait Platform: Sync {
    /// Number of cores; constant.
    fn cores(&self) -> usize;
    /// The current core, below [`Platform::cores`].
    fn core_id(&self) -> usize;
    /// Makes every core execute a full memory barrier (membarrier(2), an interrupt to all
    /// cores). `false`: there is no such means, and each pool operation then pays for a fence
    /// of its own. With one core there is nobody to order against: `true`.
    fn barrier_all_cores(&self) -> bool {
        self.cores() == 1
    }
    /// Milliseconds since start; used by fault injection and by waiting allocations.
    fn uptime_ms(&self) -> u64 {
        0
    }
    /// Waits about `ms` milliseconds; used by waiting allocations only.
    fn wait_ms(&self, ms: u32) {
        let _ = ms;
        core::hint::spin_loop();
    }
    /// A number that is hard to guess, the same for a whole run (seals, segment sizes).
    fn boot_secret(&self) -> u64 {
        0
    }
}

/// Which way a device moves data in the pool's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// The device writes (receive).
    In,
    /// The device reads (transmit).
    Out,
    /// Both.
    #[default]
    Both,
}

/// A segment could not be made visible to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRefused;

/// Runs when a buffer segment comes to life and when it goes: the place for an IOMMU map or a
/// bounce buffer. One trait with both halves, so that a lone half cannot be configured.
///
/// The hooks run under the region's lock: they must not call the pool.
pub trait SegmentHooks: Send + Sync {
    /// Makes segment `index` visible to the device; returns its device address.
    ///
    /// # Errors
    /// [`MapRefused`] gives the segment back: the allocation that wanted it fails.
    fn map(&self, segment: &Segment, index: usize, dir: Direction) -> Result<DmaAddr, MapRefused>;
    /// Undoes [`SegmentHooks::map`]; runs after the last buffer of the segment is free.
    fn unmap(&self, segment: &Segment, index: usize, dir: Direction);
}
