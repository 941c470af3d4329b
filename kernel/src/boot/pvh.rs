//! Direct boot (PVH): what the 32-bit stub calls once it is in the high half. Turns Xen's
//! `hvm_start_info` (xen/include/public/arch-x86/hvm/start_info.h) into a [`BootInfo`].
//!
//! Everything needed from the loader's structures is copied into the image first, so nothing
//! outside the image has to be kept: memory below 1 MiB, where they usually lie, is never used.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;

use bootloader_api::info::{BootInfo, MemoryRegionKind, Optional};

use super::DIRECT_MAP;
use super::pvh_paging::{self, FIRST_GIB, KERNEL_BASE};
use super::regions::RegionList;

global_asm!(
    include_str!("pvh_stub.s"),
    stack_size = const super::STACK_SIZE,
    options(att_syntax)
);

const MAGIC: u32 = 0x336e_c578;
const COMMAND_LINE_MAX: usize = 4096;
const MAX_ENTRIES: u32 = 128;

/// `struct hvm_start_info`, version 1.
#[repr(C)]
#[derive(Clone, Copy)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// `struct hvm_memmap_table_entry`; `kind` as in E820.
#[repr(C)]
#[derive(Clone, Copy)]
struct MapEntry {
    start: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// What lives on after boot. Written once, before `kernel_main`.
struct Handover {
    regions: RegionList<192>,
    command_line: [u8; COMMAND_LINE_MAX],
    info: MaybeUninit<BootInfo>,
}

struct HandoverCell(UnsafeCell<Handover>);

// SAFETY: only `pvh_main` touches it, on the boot processor, once.
unsafe impl Sync for HandoverCell {}

static HANDOVER: HandoverCell = HandoverCell(UnsafeCell::new(Handover {
    regions: RegionList::new(),
    command_line: [0; COMMAND_LINE_MAX],
    info: MaybeUninit::uninit(),
}));

/// Entered from `pvh_stub.s` with the physical address of the start info.
#[unsafe(no_mangle)]
extern "C" fn pvh_main(start_info: u32) -> ! {
    // SAFETY: runs once, and nothing else refers to the cell (see `HandoverCell`).
    let handover = unsafe { &mut *HANDOVER.0.get() };
    // No valid start info: an empty memory map, which `kernel_main` refuses in words.
    let start = read::<StartInfo>(start_info.into()).filter(|info| info.magic == MAGIC);
    if let Some(start) = &start {
        read_memory_map(start, &mut handover.regions);
    }
    let image_end = pvh_paging::image_end();
    handover.regions.reserve(0, 1 << 20);
    handover
        .regions
        .reserve(pvh_paging::image_start(), image_end);
    let tables_end = pvh_paging::build(&handover.regions, image_end);
    handover.regions.reserve(image_end, tables_end);

    let mut info = BootInfo::new(handover.regions.as_mut_slice().into());
    info.physical_memory_offset = Optional::Some(DIRECT_MAP);
    info.kernel_addr = pvh_paging::image_start();
    info.kernel_len = image_end - pvh_paging::image_start();
    info.kernel_image_offset = KERNEL_BASE + pvh_paging::image_start();
    if let Some(start) = start {
        info.rsdp_addr = Some(start.rsdp).filter(|&address| address != 0).into();
        let text = copy_command_line(start.command_line, &mut handover.command_line);
        info.ramdisk_addr = Optional::Some(text.as_ptr() as u64);
        info.ramdisk_len = text.len() as u64;
    }
    crate::kernel_main(handover.info.write(info))
}

fn read_memory_map<const N: usize>(start: &StartInfo, regions: &mut RegionList<N>) {
    // Version 0 has no memory map.
    let entries = if start.version >= 1 {
        start.memory_map_entries
    } else {
        0
    };
    for i in 0..entries.min(MAX_ENTRIES) {
        let at = start
            .memory_map
            .wrapping_add(u64::from(i) * size_of::<MapEntry>() as u64);
        let Some(entry) = read::<MapEntry>(at) else {
            break;
        };
        let kind = match entry.kind {
            1 => MemoryRegionKind::Usable,
            other => MemoryRegionKind::UnknownBios(other),
        };
        regions.push(entry.start, entry.start.saturating_add(entry.size), kind);
    }
}

fn copy_command_line(from: u64, into: &mut [u8; COMMAND_LINE_MAX]) -> &[u8] {
    let mut len = 0;
    while from != 0 && len < into.len() {
        match read::<u8>(from + len as u64) {
            Some(byte) if byte != 0 => into[len] = byte,
            _ => break,
        }
        len += 1;
    }
    &into[..len]
}

/// Reads a `T` at a physical address; `None` beyond what the stub has mapped.
fn read<T: Copy>(physical: u64) -> Option<T> {
    if physical.checked_add(size_of::<T>() as u64)? > FIRST_GIB {
        return None;
    }
    // SAFETY: the stub's direct map covers the first GiB; all types read here are plain
    // integers, for which any bytes will do.
    Some(unsafe { ptr::read_unaligned((DIRECT_MAP + physical) as *const T) })
}
