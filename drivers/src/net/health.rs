//! Whether a device keeps its side of the contract, and whether a core may sleep on it.
//!
//! Each driver answers [`NetDevice::health`](super::NetDevice::health) and
//! [`NetDevice::arm`](super::NetDevice::arm) with these; the kernel's loop acts on them.
#![forbid(unsafe_code)]

use crate::error::DeviceFault;

/// The answer to [`NetDevice::arm`](super::NetDevice::arm).
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Armed {
    /// Nothing is waiting and the next event interrupts: the core may sleep.
    Sleep,
    /// Something came in the meantime, or the device is broken and may be reset: turn once more.
    Work,
}

/// Whether the device still keeps its side of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It does.
    Ok,
    /// It does not, or asked to be reset; [`reset`](super::NetDevice::reset) is the way back, now.
    Broken(DeviceFault),
    /// It does not, and was reset a short while ago: it becomes `Broken` when it is time to try
    /// again. Nothing wakes the core for that, so it has to look from time to time.
    Waiting(DeviceFault),
}

impl Health {
    /// What [`arm`](super::NetDevice::arm) answers for a device that is not well: a reset is due at once, but
    /// while it has to wait, nothing is work.
    pub(crate) fn armed(self) -> Option<Armed> {
        match self {
            Self::Ok => None,
            Self::Broken(_) => Some(Armed::Work),
            Self::Waiting(_) => Some(Armed::Sleep),
        }
    }
}
