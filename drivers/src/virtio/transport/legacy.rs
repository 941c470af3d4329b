//! What the legacy interfaces of PCI and MMIO have in common: how a queue is named, and how
//! configuration is read that has no generation.
#![forbid(unsafe_code)]

use super::{CONFIG_TRIES, QueueAddresses};
use crate::error::DriverError;
use crate::virtio::queue::layout::{LEGACY_ALIGN, legacy_addresses};

/// The number by which a device is told where a queue is: that of its first page (4.1.5.1.3,
/// 4.2.4).
///
/// # Errors
/// The queue does not begin on a page, or is not in one piece, or the number has more than 32 bits.
pub(super) fn page_frame(
    queue: u16,
    size: u16,
    addresses: QueueAddresses,
) -> Result<u32, DriverError> {
    let address = addresses.descriptors.as_u64();
    let frame = u32::try_from(address / LEGACY_ALIGN as u64).ok();
    let one_piece = legacy_addresses(address, size) == Some(addresses);
    // Page 0 says that there is no queue.
    let frame = frame.filter(|frame| *frame != 0 && one_piece);
    frame
        .filter(|_| address.is_multiple_of(LEGACY_ALIGN as u64))
        .ok_or(DriverError::QueueUnreachable { queue, address })
}

/// Reads configuration byte by byte until it is the same twice (2.5.4).
pub(super) fn read_settled(byte: impl Fn(usize) -> u8, bytes: &mut [u8]) {
    let read = |bytes: &mut [u8]| {
        let mut same = true;
        for (n, before) in bytes.iter_mut().enumerate() {
            let now = byte(n);
            same &= now == *before;
            *before = now;
        }
        same
    };
    read(bytes);
    for _ in 0..CONFIG_TRIES {
        if read(bytes) {
            break;
        }
    }
}
