//! A host's stand-ins for hardware: contiguous memory from the heap with made-up device
//! addresses ([`HeapDma`]), and cores that are threads ([`Threads`]). For tests and benchmarks;
//! needs std.

extern crate std;

use crate::platform::{DmaAddr, DmaMemory, Platform, Segment};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::boxed::Box;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::vec::Vec;

/// Contiguous memory from the heap. Device address = processor address + [`HeapDma::OFFSET`],
/// so that mixing them up shows.
#[derive(Debug, Default)]
pub struct HeapDma {
    live: AtomicUsize,
    created: AtomicUsize,
    /// Segments that may exist at once; 0 = no limit.
    limit: AtomicUsize,
}

impl HeapDma {
    /// Device addresses are this much higher.
    pub const OFFSET: u64 = 1 << 52;

    /// A source that lives for ever.
    pub fn leaked() -> &'static Self {
        keep(Self::default())
    }
    /// Segments that exist now.
    pub fn live_segments(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }
    /// Segments ever created.
    pub fn created_segments(&self) -> usize {
        self.created.load(Ordering::SeqCst)
    }
    /// Refuses more than `limit` segments at once; 0 = no limit.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
    }
    /// The address that a device would use for `ptr`.
    pub fn dma_of(ptr: *const u8) -> DmaAddr {
        DmaAddr::new(ptr as u64 + Self::OFFSET)
    }
    /// The processor address of `addr`.
    pub fn ptr_of(addr: DmaAddr) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut((addr.as_u64() - Self::OFFSET) as usize)
    }
}

// SAFETY: the heap's blocks are the caller's alone; they are zeroed and aligned as asked.
unsafe impl DmaMemory for HeapDma {
    fn alloc(&self, len: usize, align: usize) -> Option<Segment> {
        let live = self.live.fetch_add(1, Ordering::SeqCst);
        let limit = self.limit.load(Ordering::SeqCst);
        if limit != 0 && live >= limit {
            self.live.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        assert!(
            len > 0 && len.is_multiple_of(4096),
            "segment of {len} bytes"
        );
        let layout = Layout::from_size_align(len, align.max(4096)).ok()?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        self.created.fetch_add(1, Ordering::SeqCst);
        let dma = DmaAddr::new(base.as_ptr().expose_provenance() as u64 + Self::OFFSET);
        // SAFETY: the block is ours, zeroed, `len` bytes long; the device address is made up.
        Some(unsafe { Segment::from_raw(base, dma, len) })
    }

    unsafe fn free(&self, segment: &Segment) {
        self.live.fetch_sub(1, Ordering::SeqCst);
        let layout = Layout::from_size_align(segment.len(), 4096).expect("as allocated");
        // SAFETY: came from `alloc` with this layout (the pool asks for page alignment).
        unsafe { dealloc(segment.base().as_ptr(), layout) }
    }
}

/// Keeps `value` for ever, and reachable: a leak checker sees only true leaks.
fn keep<T: Send + Sync + 'static>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<&(dyn Send + Sync)>> = Mutex::new(Vec::new());
    let kept: &'static T = Box::leak(Box::new(value));
    KEPT.lock().expect("no panic inside").push(kept);
    kept
}

/// Cores that are threads: each thread that uses a pool leases a core id and gives it back when
/// it ends. Time is a counter that a test moves by hand.
#[derive(Debug)]
pub struct Threads {
    id: usize,
    cores: usize,
    free: Mutex<Vec<usize>>,
    clock: AtomicU64,
    barriers: AtomicU64,
    asymmetric: bool,
}

std::thread_local! {
    /// (platform id, core id) of this thread's current lease: the fast path.
    static LEASE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    static LEASES: std::cell::RefCell<Leases> = const { std::cell::RefCell::new(Leases(Vec::new())) };
}

/// All leases of a thread; given back when it ends.
struct Leases(Vec<(&'static Threads, usize)>);

impl Drop for Leases {
    fn drop(&mut self) {
        // Whoever uses a pool in this thread from here on panics instead of sharing a core.
        LEASE.set((0, 0));
        for (platform, core) in self.0.drain(..) {
            platform.free.lock().expect("no panic inside").push(core);
        }
    }
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);

impl Threads {
    /// A platform of `cores` cores that lives for ever; membarrier(2) orders them.
    pub fn leaked(cores: usize) -> &'static Self {
        Self::build(cores, true)
    }

    /// The same without an asymmetric barrier: each operation executes a fence.
    pub fn leaked_without_barrier(cores: usize) -> &'static Self {
        Self::build(cores, false)
    }

    fn build(cores: usize, want_barrier: bool) -> &'static Self {
        keep(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            cores,
            free: Mutex::new((0..cores).rev().collect()),
            clock: AtomicU64::new(1),
            barriers: AtomicU64::new(0),
            asymmetric: want_barrier && (cores == 1 || membarrier::register()),
        })
    }

    /// Moves the clock.
    pub fn set_uptime_ms(&self, ms: u64) {
        self.clock.store(ms, Ordering::SeqCst);
    }

    /// Barriers on all cores executed so far.
    pub fn barriers(&self) -> u64 {
        self.barriers.load(Ordering::SeqCst)
    }

    #[cold]
    fn lease(&'static self) -> usize {
        LEASES.with(|leases| {
            let mut leases = leases.borrow_mut();
            let known = leases
                .0
                .iter()
                .find(|(p, _)| p.id == self.id)
                .map(|(_, core)| *core);
            let core = known.unwrap_or_else(|| {
                let core = self.free.lock().expect("no panic inside").pop();
                let core = core.expect("more threads than the platform has cores");
                leases.0.push((self, core));
                core
            });
            LEASE.set((self.id, core));
            core
        })
    }
}

// SAFETY: a core id is leased to one thread at a time, the lock of the free list orders its
// passing on, and membarrier(2) executes a barrier on every running thread of the process.
unsafe impl Platform for Threads {
    fn cores(&self) -> usize {
        self.cores
    }
    #[inline]
    fn core_id(&self) -> usize {
        let (platform, core) = LEASE.get();
        if platform == self.id {
            return core;
        }
        // SAFETY: every `Threads` is leaked when built, so it lives for ever.
        let this: &'static Self = unsafe { &*core::ptr::from_ref(self) };
        this.lease()
    }
    fn barrier_all_cores(&self) -> bool {
        self.barriers.fetch_add(1, Ordering::Relaxed);
        if self.asymmetric && self.cores > 1 {
            membarrier::run();
        }
        self.asymmetric
    }
    fn uptime_ms(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }
    fn wait_ms(&self, ms: u32) {
        self.clock.fetch_add(u64::from(ms), Ordering::SeqCst);
        std::thread::yield_now();
    }
    fn boot_secret(&self) -> u64 {
        0x9e37_79b9_7f4a_7c15
    }
}

/// membarrier(2), private expedited.
mod membarrier {
    const REGISTER: libc::c_int = 1 << 4;
    const EXPEDITED: libc::c_int = 1 << 3;

    fn call(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
    /// Announces the intent; `false` where the kernel has no such call, as under Miri.
    pub(super) fn register() -> bool {
        !cfg!(miri) && call(REGISTER)
    }
    pub(super) fn run() {
        assert!(call(EXPEDITED), "membarrier worked when it was registered");
    }
}
