//! Device registers and firmware tables, mapped in an address window of their own. Called by
//! `arch` for interrupt controllers and ACPI, and on behalf of the drivers.
//!
//! Invariant: an address handed out is never used for anything else.

use core::ptr::NonNull;

use spin::Mutex;

use super::FRAME;
use super::paging::{self, Access, LARGE, MapError};

const WINDOW: u64 = 0xFFFF_A000_0000_0000;
const WINDOW_END: u64 = WINDOW + (1 << 42);

/// The first free address of the window.
static NEXT: Mutex<u64> = Mutex::new(WINDOW);

/// Maps device registers, uncached.
///
/// # Safety
///
/// `physical..physical + len` must be a device's, not RAM.
pub unsafe fn map(physical: u64, len: usize) -> Result<NonNull<u8>, MapError> {
    // SAFETY: passed on from our caller.
    unsafe { map_window(physical, len, Access::Device) }
}

/// Maps memory that firmware has left for us to read.
///
/// # Safety
///
/// The range must be readable memory that nobody writes.
pub unsafe fn read_only(physical: u64, len: usize) -> Result<&'static [u8], MapError> {
    // SAFETY: passed on from our caller; what is mapped stays mapped.
    unsafe {
        let base = map_window(physical, len, Access::ReadOnly)?;
        Ok(core::slice::from_raw_parts(base.as_ptr(), len))
    }
}

/// # Safety
/// The range must be usable in the way `access` says.
unsafe fn map_window(physical: u64, len: usize, access: Access) -> Result<NonNull<u8>, MapError> {
    let start = physical / FRAME * FRAME;
    let end = physical.checked_add(len as u64).ok_or(MapError::Taken)?;
    let end = end.checked_next_multiple_of(FRAME).ok_or(MapError::Taken)?;
    let mut next = NEXT.lock();
    let mut at = *next;
    if end - start >= LARGE {
        // The same place within a large page, so that large pages can be used.
        at = at.next_multiple_of(LARGE) + start % LARGE;
    }
    if end - start > WINDOW_END - at {
        return Err(MapError::Taken);
    }
    *next = at + (end - start);
    // SAFETY: the virtual range was free and is now the caller's; the physical one is the
    // caller's promise.
    unsafe { paging::map(at, start, end - start, access)? };
    NonNull::new((at + (physical - start)) as *mut u8).ok_or(MapError::Taken)
}
