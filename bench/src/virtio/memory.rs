//! Memory that the driver shares with the back end: one region of huge pages behind a file.
//!
//! Rings and packet buffers are cut from it. The device's address of a byte is its place in the
//! region plus [`BASE`], which is what the back end is told.

use std::fs::File;
use std::ptr::NonNull;
use std::sync::Mutex;

use anyhow::{Context, Result};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use pbufpool::{DmaAddr, DmaMemory, Segment};
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{FileOffset, GuestAddress, GuestRegionMmap};

/// The device's address of the first byte.
const BASE: u64 = 1 << 32;
const PAGE: usize = 4096;

/// A region of huge pages, and what is free of it.
pub(super) struct HugeMemory {
    region: GuestRegionMmap,
    len: usize,
    free: Mutex<Free>,
}

struct Free {
    /// Where the part begins that was never handed out.
    next: usize,
    /// Places and lengths of what came back.
    returned: Vec<(usize, usize)>,
}

impl HugeMemory {
    /// `len` bytes, a multiple of 2 MiB, that live as long as the process.
    ///
    /// # Errors
    /// There are not enough huge pages.
    pub(super) fn leaked(len: usize) -> Result<&'static Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
        let file = File::from(memfd_create("virtio", flags).context("no huge pages")?);
        file.set_len(len as u64)?;
        // Now, or a page that is missing later is a signal.
        fallocate(&file, FallocateFlags::empty(), 0, len as i64)
            .with_context(|| format!("no {len} bytes of huge pages"))?;
        let at = FileOffset::new(file, 0);
        let region = GuestRegionMmap::from_range(GuestAddress(BASE), len, Some(at))?;
        Ok(Box::leak(Box::new(Self {
            region,
            len,
            free: Mutex::new(Free {
                next: 0,
                returned: Vec::new(),
            }),
        })))
    }

    /// What the back end has to know to map it.
    pub(super) fn info(&self) -> Result<VhostUserMemoryRegionInfo> {
        Ok(VhostUserMemoryRegionInfo::from_guest_region(&self.region)?)
    }

    /// This process's address of a byte, by which the back end is told of rings.
    pub(super) fn user_address(&self, address: DmaAddr) -> u64 {
        self.region.as_ptr().addr() as u64 + (address.as_u64() - BASE)
    }
}

#[allow(unsafe_code, reason = "hands memory out")]
// SAFETY: segments are cut from one mapping of our own, each byte into one segment at a time, page
// aligned, and zeroed when they are handed out.
unsafe impl DmaMemory for HugeMemory {
    fn alloc(&self, len: usize, align: usize) -> Option<Segment> {
        let mut free = self.free.lock().ok()?;
        let fits = |&(at, size): &(usize, usize)| size == len && at.is_multiple_of(align);
        let at = match free.returned.iter().position(fits) {
            Some(place) => free.returned.swap_remove(place).0,
            None => {
                let at = free.next.next_multiple_of(align.max(PAGE));
                free.next = at.checked_add(len).filter(|end| *end <= self.len)?;
                at
            }
        };
        // SAFETY: `at + len` is inside the mapping, which lives for ever, and nobody else's now.
        unsafe {
            let base = NonNull::new(self.region.as_ptr().add(at))?;
            base.write_bytes(0, len);
            Some(Segment::from_raw(base, DmaAddr::new(BASE + at as u64), len))
        }
    }

    unsafe fn free(&self, segment: &Segment) {
        if let Ok(mut free) = self.free.lock() {
            let at = (segment.dma().as_u64() - BASE) as usize;
            free.returned.push((at, segment.len()));
        }
    }
}
