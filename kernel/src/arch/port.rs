//! Port I/O. All callers are in `arch`, each with the device whose ports they are; drivers of what
//! is found on PCI get a [`window`].

use drivers::bus::port::{PortIo, PortRegion, Width};
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

/// The first port that firmware may give to a device on PCI. Those below are the board's own: its
/// interrupt controllers, clocks, configuration and power management, and ISA devices.
const FIRST_FREE: u16 = 0x1000;

/// The `len` ports from `first` on, as a device's BAR names them; `None` if they are the board's, or
/// there are no such ports.
pub fn window(first: u16, len: u16) -> Option<PortRegion> {
    let exist = first.checked_add(len.checked_sub(1)?).is_some();
    // SAFETY: a device on PCI has these ports, none of which is the board's, and its driver asks for
    // them.
    (exist && first >= FIRST_FREE)
        .then(|| unsafe { PortRegion::from_raw(&Instructions, first, len) })
}

/// The processor's instructions.
struct Instructions;

impl PortIo for Instructions {
    unsafe fn read(&self, port: u16, width: Width) -> u32 {
        // SAFETY: passed on from our caller.
        unsafe {
            match width {
                Width::Byte => read::<u8>(port).into(),
                Width::Word => read::<u16>(port).into(),
                Width::Double => read(port),
            }
        }
    }

    unsafe fn write(&self, port: u16, width: Width, value: u32) {
        // SAFETY: passed on from our caller.
        unsafe {
            match width {
                Width::Byte => write(port, value as u8),
                Width::Word => write(port, value as u16),
                Width::Double => write(port, value),
            }
        }
    }
}
