//! Guest memory as a source of segments, and the kernel's services over it.

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use drivers::bus::mmio::MmioRegion;
use drivers::bus::port::{PortIo, PortRegion};
use drivers::host::{Host, HostError, MsiMessage};
use pbufpool::{DmaAddr, DmaMemory, Segment};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
};

/// Where guest memory begins: above 4 GiB, so that an address cut to 32 bits shows.
const BASE: u64 = 0x3_0000_0000;

/// Keeps `value` for ever, and reachable: a leak checker sees only true leaks.
pub(crate) fn keep<T: Send + Sync + 'static>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<&(dyn Send + Sync)>> = Mutex::new(Vec::new());
    let kept: &'static T = Box::leak(Box::new(value));
    KEPT.lock().expect("no panic inside").push(kept);
    kept
}

/// Guest memory with what is free of it.
pub(crate) struct GuestDma {
    memory: GuestMemoryMmap,
    end: u64,
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// Freed segments: address and length.
    free: Vec<(u64, usize)>,
    live: usize,
}

impl GuestDma {
    /// `len` bytes of memory that live for ever.
    pub(crate) fn leaked(len: usize) -> &'static Self {
        let state = State {
            next: BASE,
            free: Vec::new(),
            live: 0,
        };
        keep(Self {
            memory: mapped(len),
            end: BASE + len as u64,
            state: Mutex::new(state),
        })
    }

    /// The memory, as the device sees it.
    pub(crate) fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Segments that were taken and not given back.
    pub(crate) fn live(&self) -> usize {
        self.state.lock().expect("no panic inside").live
    }
}

/// `len` bytes from [`BASE`] on, where they begin with a page.
fn mapped(len: usize) -> GuestMemoryMmap {
    let at = GuestAddress(BASE);
    if !cfg!(miri) {
        return GuestMemoryMmap::from_ranges(&[(at, len)]).expect("mmap");
    }
    // Miri maps nothing, and what it is given instead may begin anywhere.
    let layout = Layout::from_size_align(len, 4096).expect("not too long");
    // SAFETY: some bytes, which are kept for ever with what is made of them.
    let region = unsafe { MmapRegion::build_raw(alloc_zeroed(layout), len, 0, 0) };
    let region = GuestRegionMmap::new(region.expect("aligned"), at).expect("an address");
    GuestMemoryMmap::from_regions(vec![region]).expect("one region")
}

// SAFETY: segments are cut from one mapping, each byte into one segment at a time, page aligned,
// and zeroed when they are handed out.
unsafe impl DmaMemory for GuestDma {
    fn alloc(&self, len: usize, align: usize) -> Option<Segment> {
        let mut state = self.state.lock().expect("no panic inside");
        let fits = |&(at, size): &(u64, usize)| size == len && at.is_multiple_of(align as u64);
        let at = match state.free.iter().position(fits) {
            Some(place) => state.free.swap_remove(place).0,
            None => {
                let at = state.next.next_multiple_of(align.max(4096) as u64);
                if at + len as u64 > self.end {
                    return None;
                }
                state.next = at + len as u64;
                at
            }
        };
        state.live += 1;
        self.memory
            .write_slice(&vec![0; len], GuestAddress(at))
            .ok()?;
        let base = self.memory.get_host_address(GuestAddress(at)).ok()?;
        // SAFETY: inside the mapping, which lives for ever, and handed out once.
        Some(unsafe { Segment::from_raw(NonNull::new(base)?, DmaAddr::new(at), len) })
    }

    unsafe fn free(&self, segment: &Segment) {
        let mut state = self.state.lock().expect("no panic inside");
        state.live -= 1;
        state.free.push((segment.dma().as_u64(), segment.len()));
    }
}

/// The kernel's services to a driver.
pub(crate) struct TestHost {
    /// Memory for rings.
    pub(crate) dma: &'static GuestDma,
    /// The clock, which only tests move.
    pub(crate) now_ms: AtomicU64,
    waited_us: AtomicU64,
    /// What happens whenever a driver waits.
    pub(crate) meanwhile: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The device behind the ports, if there is one.
    pub(crate) ports: OnceLock<&'static (dyn PortIo + Send)>,
}

impl TestHost {
    /// Services that live for ever.
    pub(crate) fn leaked(dma: &'static GuestDma) -> &'static Self {
        keep(Self {
            dma,
            now_ms: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            meanwhile: OnceLock::new(),
            ports: OnceLock::new(),
        })
    }

    /// Microseconds that drivers asked to wait.
    pub(crate) fn waited_us(&self) -> u64 {
        self.waited_us.load(Ordering::Relaxed)
    }
}

impl Host for TestHost {
    fn map_mmio(&self, phys: u64, len: usize) -> Result<MmioRegion, HostError> {
        Err(HostError::CannotMap { phys, len })
    }

    fn ports(&self, first: u16, len: u16) -> Result<PortRegion, HostError> {
        let device = self.ports.get().ok_or(HostError::NoPorts { first, len })?;
        // SAFETY: the model of a device does nothing to memory but what the driver shows it.
        Ok(unsafe { PortRegion::from_raw(*device, first, len) })
    }

    fn dma(&self) -> &'static dyn DmaMemory {
        self.dma
    }

    fn msi(&self) -> Option<MsiMessage> {
        None
    }

    fn delay_us(&self, us: u32) {
        self.waited_us.fetch_add(us.into(), Ordering::Relaxed);
        if let Some(happens) = self.meanwhile.get() {
            happens();
        }
    }

    fn uptime_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}
