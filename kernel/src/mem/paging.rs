//! Changes to the page tables that the way in has left us. Used by the other files of `mem`,
//! and by backtraces, which must not follow a bad pointer.
//!
//! Invariant: mappings are only added, in address windows of our own; what is mapped stays.

use spin::Mutex;
use x86_64::registers::control::Cr3;
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::structures::paging::mapper::{MapToError, MapperFlush};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTableFlags, PhysFrame, Size2MiB,
    Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use super::{FRAME, alloc_frames};
use crate::boot::DIRECT_MAP;

/// Bytes per large page.
pub const LARGE: u64 = Size2MiB::SIZE;

/// What a mapping is for.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// RAM, read and written.
    Memory,
    /// RAM that is only read (firmware tables).
    ReadOnly,
    /// Device registers: uncached (PCD and PWT select the uncached type of the power-on PAT).
    Device,
}

/// Why nothing was mapped.
#[derive(Clone, Copy, Debug)]
pub enum MapError {
    /// No frame left for a page table.
    NoMemory,
    /// Something is mapped there, or an address is not canonical.
    Taken,
}

/// Held while tables are changed.
static TABLES: Mutex<()> = Mutex::new(());

struct TableFrames;

// SAFETY: frames from the pool belong to whoever took them.
unsafe impl FrameAllocator<Size4KiB> for TableFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        alloc_frames(1, FRAME).map(|address| PhysFrame::containing_address(PhysAddr::new(address)))
    }
}

/// Maps `len` bytes from `physical` at `virtual_address`, all multiples of [`FRAME`]; with
/// large pages where both addresses allow it.
///
/// # Safety
///
/// The physical range must be free to be used in the way `access` says, and the virtual range
/// must be the caller's.
pub unsafe fn map(
    virtual_address: u64,
    physical: u64,
    len: u64,
    access: Access,
) -> Result<(), MapError> {
    let _guard = TABLES.lock();
    let flags = flags(access);
    let mut done = 0;
    while done < len {
        let (at, from) = (virtual_address + done, physical + done);
        let large = (at | from).is_multiple_of(LARGE) && len - done >= LARGE;
        // SAFETY: passed on from our caller.
        unsafe {
            if large {
                map_one::<Size2MiB>(at, from, flags)?;
            } else {
                map_one::<Size4KiB>(at, from, flags)?;
            }
        }
        done += if large { LARGE } else { FRAME };
    }
    Ok(())
}

/// # Safety
/// As for [`map`], with [`TABLES`] held.
unsafe fn map_one<S: PageSize>(at: u64, from: u64, flags: PageTableFlags) -> Result<(), MapError>
where
    for<'a> OffsetPageTable<'a>: Mapper<S>,
{
    let at = VirtAddr::try_new(at).map_err(|_| MapError::Taken)?;
    let from = PhysAddr::try_new(from).map_err(|_| MapError::Taken)?;
    let (page, frame) = (
        Page::<S>::containing_address(at),
        PhysFrame::containing_address(from),
    );
    // SAFETY: the lock is held; the mapping itself is the caller's promise.
    let result = unsafe { tables().map_to(page, frame, flags, &mut TableFrames) };
    match result {
        // Nothing was mapped there, and the processor does not remember absent pages.
        Ok(flush) => MapperFlush::ignore(flush),
        Err(MapToError::FrameAllocationFailed) => return Err(MapError::NoMemory),
        Err(_) => return Err(MapError::Taken),
    }
    Ok(())
}

/// The physical address that `virtual_address` is mapped to.
pub fn translate(virtual_address: u64) -> Option<u64> {
    let address = VirtAddr::try_new(virtual_address).ok()?;
    // SAFETY: only reads; entries change from absent to present and never back.
    unsafe { tables() }
        .translate_addr(address)
        .map(PhysAddr::as_u64)
}

/// # Safety
/// The result must not be used to change tables without [`TABLES`].
unsafe fn tables() -> OffsetPageTable<'static> {
    let (frame, _) = Cr3::read();
    let table = super::direct(frame.start_address().as_u64()).cast();
    // SAFETY: page tables lie in RAM, which the direct map covers.
    unsafe { OffsetPageTable::new(&mut *table, VirtAddr::new(DIRECT_MAP)) }
}

fn flags(access: Access) -> PageTableFlags {
    let mut flags = PageTableFlags::PRESENT;
    if Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE) {
        flags |= PageTableFlags::NO_EXECUTE;
    }
    flags
        | match access {
            Access::Memory => PageTableFlags::WRITABLE,
            Access::ReadOnly => PageTableFlags::empty(),
            Access::Device => {
                PageTableFlags::WRITABLE | PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH
            }
        }
}
