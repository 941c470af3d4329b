//! The page tables of a direct boot, in place of the stub's: the image with access rights per
//! section and a hole below the stack, all usable RAM at the direct map, nothing at address 0.
//!
//! Called once by `pvh`. The disk-image ways get the same layout from the bootloader.

use core::ptr;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use x86_64::PhysAddr;
use x86_64::registers::control::Cr3;
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::structures::paging::PageTableFlags as Flags;
use x86_64::structures::paging::page_table::PageTable;

use super::DIRECT_MAP;
use super::regions::RegionList;

/// Distance from virtual to physical addresses of the image, as `linker.ld` places it.
pub const KERNEL_BASE: u64 = 0xFFFF_FFFF_8000_0000;
/// What the stub's tables cover.
pub const FIRST_GIB: u64 = 1 << 30;

const PAGE: u64 = 4096;
const LARGE: u64 = 2 << 20;
const TABLE_REACH: u64 = 1 << 39;

unsafe extern "C" {
    static __image_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
    static boot_stack_guard: u8;
    static mut boot_p4: PageTable;
    static mut boot_p3_high: PageTable;
    static mut boot_pd: PageTable;
    static mut kernel_pd: PageTable;
    static mut kernel_pt: [PageTable; 4];
}

/// A table of the image.
///
/// # Safety
/// There must be no other reference to it.
unsafe fn exclusive<T>(table: *mut T) -> &'static mut T {
    // SAFETY: a static, so it lives for ever; the rest is the caller's promise.
    unsafe { &mut *table }
}

/// Physical address of something in the image.
fn physical<T>(symbol: *const T) -> u64 {
    symbol as u64 - KERNEL_BASE
}

/// First physical address of the image.
pub fn image_start() -> u64 {
    physical(&raw const __image_start)
}

/// First physical address behind the image.
pub fn image_end() -> u64 {
    physical(&raw const __image_end)
}

/// Builds the tables and switches to them. Tables that the image has no room for are taken
/// from usable memory at `free`; the first address behind them is returned.
pub fn build<const N: usize>(regions: &RegionList<N>, free: u64) -> u64 {
    // SAFETY: the tables are used by nobody else, and the processor does not look at the
    // entries changed here until CR3 is written again: the code runs from the stub's 2 MiB
    // entries of `boot_p3_high`, which still hold the same translation for the image.
    unsafe {
        let mut tables = Tables {
            free,
            end: end_of_usable_around(regions.as_slice(), free),
        };
        let no_execute = no_execute();
        tables.map_image(no_execute);
        // From here the image runs from its own tables, and the stub's may change.
        flush();
        tables.map_memory(regions.as_slice(), no_execute);
        let p4 = exclusive(&raw mut boot_p4);
        p4[0].set_unused();
        flush();
        tables.free
    }
}

/// Forgets every cached translation; no entry is global.
///
/// # Safety
/// The tables that CR3 points to must map what is running.
unsafe fn flush() {
    let (frame, flags) = Cr3::read();
    // SAFETY: the same tables again; the caller answers for their contents.
    unsafe { Cr3::write(frame, flags) };
}

fn no_execute() -> Flags {
    if Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE) {
        Flags::NO_EXECUTE
    } else {
        Flags::empty()
    }
}

fn end_of_usable_around(regions: &[MemoryRegion], address: u64) -> u64 {
    regions
        .iter()
        .filter(|region| region.kind == MemoryRegionKind::Usable)
        .find(|region| region.start <= address && address < region.end)
        .map_or(address, |region| region.end.min(FIRST_GIB))
}

/// Page tables beyond the image's own: cut from `free..end`, inside the first GiB.
struct Tables {
    free: u64,
    end: u64,
}

impl Tables {
    /// # Safety
    /// The tables must not be in use but as the stub left them.
    unsafe fn map_image(&mut self, no_execute: Flags) {
        // SAFETY: see above; the references end before the function does.
        let (p3, pd, pts) = unsafe {
            (
                exclusive(&raw mut boot_p3_high),
                exclusive(&raw mut kernel_pd),
                exclusive(&raw mut kernel_pt),
            )
        };
        let rodata = physical(&raw const __rodata_start);
        let data = physical(&raw const __data_start);
        let guard = physical(&raw const boot_stack_guard);
        for page in (image_start()..image_end()).step_by(PAGE as usize) {
            let rights = match page {
                _ if page < rodata => Flags::PRESENT,
                _ if page < data => Flags::PRESENT | no_execute,
                _ if page == guard => Flags::empty(),
                _ => Flags::PRESENT | Flags::WRITABLE | no_execute,
            };
            let (table, entry) = ((page / LARGE) as usize, (page / PAGE % 512) as usize);
            pts[table][entry].set_addr(PhysAddr::new(page), rights);
        }
        let branch = Flags::PRESENT | Flags::WRITABLE;
        for (i, pt) in pts.iter().enumerate() {
            pd[i].set_addr(PhysAddr::new(physical(ptr::from_ref(pt))), branch);
        }
        p3[510].set_addr(PhysAddr::new(physical(ptr::from_ref(pd))), branch);
    }

    /// Maps every usable region at the direct map, with 2 MiB pages.
    ///
    /// # Safety
    /// As for `map_image`.
    unsafe fn map_memory(&mut self, regions: &[MemoryRegion], no_execute: Flags) {
        let rights = Flags::PRESENT | Flags::WRITABLE | Flags::HUGE_PAGE | no_execute;
        // The first GiB is there already, but for the no-execute flag.
        // SAFETY: see above.
        let first = unsafe { exclusive(&raw mut boot_pd) };
        for (i, entry) in first.iter_mut().enumerate() {
            entry.set_addr(PhysAddr::new(i as u64 * LARGE), rights);
        }
        for region in regions
            .iter()
            .filter(|region| region.kind == MemoryRegionKind::Usable)
        {
            let start = (region.start / LARGE * LARGE).max(FIRST_GIB);
            for page in (start..region.end).step_by(LARGE as usize) {
                // SAFETY: as for the whole function.
                let Some(pd) = (unsafe { self.directory_for(page) }) else {
                    return;
                };
                pd[(page / LARGE % 512) as usize].set_addr(PhysAddr::new(page), rights);
            }
        }
    }

    /// The page directory that covers the direct map of `page`; `None` if memory has run out.
    unsafe fn directory_for(&mut self, page: u64) -> Option<&'static mut PageTable> {
        // SAFETY: all tables lie in the image or in the first GiB, which stays mapped at the
        // direct map, and only this walk refers to them.
        let mut table = unsafe { exclusive(&raw mut boot_p4) };
        for index in [256 + page / TABLE_REACH, page / FIRST_GIB % 512] {
            let entry = &mut table[index as usize];
            if entry.is_unused() {
                let next = self.free;
                if next + PAGE > self.end {
                    return None;
                }
                self.free += PAGE;
                // SAFETY: usable memory that nothing else has, inside the first GiB.
                unsafe { ptr::write_bytes((DIRECT_MAP + next) as *mut u8, 0, PAGE as usize) };
                entry.set_addr(PhysAddr::new(next), Flags::PRESENT | Flags::WRITABLE);
            }
            let address = entry.addr().as_u64();
            // SAFETY: as above.
            table = unsafe { &mut *((DIRECT_MAP + address) as *mut PageTable) };
        }
        Some(table)
    }
}
