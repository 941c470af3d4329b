//! The ways in. Whichever was taken, the kernel sees one [`BootInfo`] and nothing else:
//! the `bootloader` crate (BIOS and UEFI disk images) brings it, `pvh` makes it.
//!
//! Called by nobody: both ways end in [`crate::kernel_main`]. After that only
//! [`command_line`] is used.

mod pvh;
mod pvh_paging;
mod regions;

use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::info::{BootInfo, Optional};

/// Where all RAM is mapped, whichever way in: address = this + physical address.
pub const DIRECT_MAP: u64 = 0xFFFF_8000_0000_0000;

/// Bytes of the boot processor's stack: smoltcp's interface, with 64 KiB of fragment buffer in it, is
/// made on it before it is boxed. Code that is not optimised copies it each time it moves.
const STACK_SIZE: u64 = if cfg!(debug_assertions) {
    2 << 20
} else {
    512 << 10
};

static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = STACK_SIZE;
    config.mappings.physical_memory = Some(Mapping::FixedAddress(DIRECT_MAP));
    config
};

bootloader_api::entry_point!(crate::kernel_main, config = &BOOTLOADER_CONFIG);

/// The command line, without the newline or NUL that may end it. It travels as the ramdisk:
/// a file on a disk image, the `-append` string under direct boot. Empty if there is none.
pub fn command_line(info: &BootInfo) -> &'static [u8] {
    let Optional::Some(address) = info.ramdisk_addr else {
        return &[];
    };
    // SAFETY: BootInfo promises `ramdisk_len` readable bytes at this virtual address; nothing
    // writes them or unmaps them, since they are not in a usable memory region.
    let bytes =
        unsafe { core::slice::from_raw_parts(address as *const u8, info.ramdisk_len as usize) };
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    bytes[..end].trim_ascii()
}
