//! Port I/O. All callers are in `arch`, each with the device whose ports they are.

use x86_64::instructions::port::{Port, PortRead, PortWrite};

/// Reads `port`.
///
/// # Safety
/// The read may have side effects on the device behind the port; they must be wanted.
pub(super) unsafe fn read<T: PortRead>(port: u16) -> T {
    // SAFETY: passed on from our caller.
    unsafe { Port::new(port).read() }
}

/// Writes `port`.
///
/// # Safety
/// What the device does must not harm memory that Rust relies on.
pub(super) unsafe fn write<T: PortWrite>(port: u16, value: T) {
    // SAFETY: passed on from our caller.
    unsafe { Port::new(port).write(value) }
}
