//! What can be wrong with a device: at start ([`DriverError`]) and later ([`DeviceFault`]).
#![forbid(unsafe_code)]

use core::fmt;

use crate::bus::mmio::MmioError;
use crate::host::HostError;
use crate::net::{ControlError, MacAddr};
use crate::pci::PciError;

/// A device broke its contract after it was started. Each variant carries what it said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceFault {
    /// It completed a buffer number that the ring does not have.
    IdOutOfRange {
        /// The ring.
        queue: u16,
        /// The number it named.
        id: u32,
        /// The size of the ring.
        size: u16,
    },
    /// It completed a buffer it had not been given, or had given back already.
    NotLent {
        /// The ring.
        queue: u16,
        /// The buffer it named.
        id: u32,
    },
    /// It claims to have written more than the buffer holds.
    LengthTooLarge {
        /// The ring.
        queue: u16,
        /// The buffer it named.
        id: u16,
        /// The length it claims, in bytes.
        len: u32,
        /// What the buffer holds, in bytes.
        posted: u32,
    },
    /// It promised to use buffers in their order, and completed one before others that it does not say
    /// it is done with.
    OutOfOrder {
        /// The ring.
        queue: u16,
        /// The buffer it named.
        id: u16,
        /// Buffers that it has and that come before that one.
        before: u16,
        /// Completions it claims in all.
        claimed: u16,
    },
    /// Its index says that more buffers are complete than it was given.
    IndexRanAhead {
        /// The ring.
        queue: u16,
        /// Completions it claims.
        claimed: u16,
        /// Buffers it had.
        outstanding: u16,
    },
    /// It says that a received frame has more parts than it completed (virtio 1.2, 5.1.6.4).
    PartsMissing {
        /// The ring.
        queue: u16,
        /// Parts it claims.
        claimed: u16,
        /// Parts that were there.
        found: u16,
    },
    /// It answered a command with a number that is no answer (virtio 1.2, 5.1.6.5).
    BadAnswer {
        /// What was asked of it.
        command: &'static str,
        /// The number.
        answer: u8,
    },
    /// It did not answer a command.
    NoAnswer {
        /// What was asked of it.
        command: &'static str,
        /// What it had for it, in milliseconds.
        ms: u64,
    },
    /// It completed nothing of what it was given to send.
    Stalled {
        /// The ring.
        queue: u16,
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// It asked to be reset (virtio 1.2, 2.1.1).
    NeedsReset,
    /// It runs no more, though nobody stopped it.
    Stopped {
        /// Its status register.
        status: u8,
    },
    /// It went away: its registers read as all ones.
    Gone,
    /// The last attempt to reset it failed.
    ResetFailed,
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IdOutOfRange { queue, id, size } => {
                write!(
                    f,
                    "queue {queue}: completed buffer {id}, but the ring has {size}"
                )
            }
            Self::NotLent { queue, id } => {
                write!(
                    f,
                    "queue {queue}: completed buffer {id}, which it does not hold"
                )
            }
            Self::LengthTooLarge {
                queue,
                id,
                len,
                posted,
            } => {
                write!(
                    f,
                    "queue {queue}: buffer {id} holds {posted} bytes, claims {len}"
                )
            }
            Self::OutOfOrder {
                queue,
                id,
                before,
                claimed,
            } => {
                write!(
                    f,
                    "queue {queue}: completed buffer {id} with {before} before it, but no more than {claimed} in all"
                )
            }
            Self::IndexRanAhead {
                queue,
                claimed,
                outstanding,
            } => {
                write!(
                    f,
                    "queue {queue}: claims {claimed} completions, holds {outstanding}"
                )
            }
            Self::PartsMissing {
                queue,
                claimed,
                found,
            } => {
                write!(
                    f,
                    "queue {queue}: a frame of {claimed} parts has only {found}"
                )
            }
            Self::BadAnswer { command, answer } => {
                write!(f, "answers {answer:#x} when asked for {command}")
            }
            Self::NoAnswer { command, ms } => {
                write!(f, "no answer in {ms} ms when asked for {command}")
            }
            Self::Stalled { queue, ms } => {
                write!(f, "queue {queue}: sent nothing for {ms} ms")
            }
            Self::NeedsReset => f.write_str("asks to be reset"),
            Self::Stopped { status } => write!(f, "stopped by itself, its status is {status:#x}"),
            Self::Gone => f.write_str("does not answer any more"),
            Self::ResetFailed => f.write_str("could not be reset"),
        }
    }
}

impl core::error::Error for DeviceFault {}

/// Why a driver cannot start (or restart) a device.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DriverError {
    /// Nothing there that this driver drives.
    NoDevice,
    /// A virtio device of another type (virtio 1.2, section 5).
    WrongType {
        /// The type it reports.
        found: u32,
        /// The type that was looked for.
        wanted: u32,
    },
    /// Configuration space is inconsistent.
    Pci(PciError),
    /// A register lies outside its window.
    Mmio(MmioError),
    /// The kernel could not give what the driver needs.
    Host(HostError),
    /// A structure that the device has to have is missing.
    Missing(&'static str),
    /// A structure of the device lies where it cannot be.
    BadStructure {
        /// Which one.
        what: &'static str,
        /// Its offset in the BAR.
        offset: u64,
        /// Its length.
        len: u64,
        /// What is available.
        available: u64,
    },
    /// The device did not reach a state in time.
    Timeout(&'static str),
    /// The device refuses features that the driver cannot do without.
    FeaturesRefused {
        /// Offered.
        offered: u64,
        /// Accepted by the driver.
        accepted: u64,
    },
    /// A feature that the driver needs is not offered.
    FeatureMissing(&'static str),
    /// A queue is absent, or smaller than the driver needs.
    QueueTooSmall {
        /// The queue.
        queue: u16,
        /// The largest size the device supports; 0 where there is no such queue.
        max: u16,
    },
    /// A queue has a size that its ring cannot have: it has to be a power of two.
    QueueSize {
        /// The queue.
        queue: u16,
        /// The size.
        size: u16,
    },
    /// A queue does not lie where the legacy interface can name it: in one piece, on a page whose
    /// number has 32 bits.
    QueueUnreachable {
        /// The queue.
        queue: u16,
        /// Its device address.
        address: u64,
    },
    /// A queue is in use already, or would not start.
    QueueRefused {
        /// The queue.
        queue: u16,
    },
    /// The device has no room for another interrupt vector.
    VectorRefused {
        /// The vector.
        vector: u16,
    },
    /// The pool's buffers are too small for the device.
    BufferTooSmall {
        /// Bytes that a buffer holds.
        size: usize,
        /// Bytes it has to hold.
        needed: usize,
    },
    /// An option that makes no sense.
    BadOption {
        /// Its name.
        name: &'static str,
        /// What it says.
        value: usize,
        /// What would be allowed.
        allowed: &'static str,
    },
    /// The device reports an address that no station can have.
    BadMac([u8; 6]),
    /// The device would not be set up as it was asked to.
    Control(ControlError),
    /// The device came out of a reset with other features, or another address.
    Changed,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("no device"),
            Self::WrongType { found, wanted } => {
                write!(f, "virtio device of type {found}, not {wanted}")
            }
            Self::Pci(error) => write!(f, "pci: {error}"),
            Self::Mmio(error) => write!(f, "{error}"),
            Self::Host(error) => write!(f, "{error}"),
            Self::Missing(what) => write!(f, "the device has no {what}"),
            Self::BadStructure {
                what,
                offset,
                len,
                available,
            } => write!(
                f,
                "{what} at {offset:#x}, {len:#x} bytes long, does not fit into {available:#x}"
            ),
            Self::Timeout(what) => write!(f, "timed out waiting for {what}"),
            Self::FeaturesRefused { offered, accepted } => {
                write!(
                    f,
                    "device offers features {offered:#x} but refuses {accepted:#x}"
                )
            }
            Self::FeatureMissing(name) => write!(f, "device does not offer {name}"),
            Self::QueueTooSmall { queue, max } => {
                write!(f, "queue {queue} has at most {max} descriptors")
            }
            Self::QueueSize { queue, size } => {
                write!(f, "queue {queue} has {size} descriptors, no power of two")
            }
            Self::QueueUnreachable { queue, address } => {
                write!(
                    f,
                    "queue {queue} at {address:#x} is not in one piece on a page that the device can name"
                )
            }
            Self::QueueRefused { queue } => write!(f, "queue {queue} would not start"),
            Self::VectorRefused { vector } => write!(f, "device refuses vector {vector}"),
            Self::BufferTooSmall { size, needed } => {
                write!(
                    f,
                    "pool buffers hold {size} bytes, the device needs {needed}"
                )
            }
            Self::BadOption {
                name,
                value,
                allowed,
            } => {
                write!(f, "{name}={value}: allowed is {allowed}")
            }
            Self::Control(error) => write!(f, "{error}"),
            Self::Changed => f.write_str("the device is another one after its reset"),
            Self::BadMac(mac) => write!(f, "{} is no hardware address of a station", MacAddr(*mac)),
        }
    }
}

impl core::error::Error for DriverError {}

impl From<PciError> for DriverError {
    fn from(error: PciError) -> Self {
        Self::Pci(error)
    }
}

impl From<ControlError> for DriverError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<MmioError> for DriverError {
    fn from(error: MmioError) -> Self {
        Self::Mmio(error)
    }
}

impl From<HostError> for DriverError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}
