//! Network drivers whose rings are fed from a packet pool, and nothing of any kernel.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod bus;
pub mod error;
pub mod host;
pub mod net;
pub mod pci;
pub mod ring;
pub mod virtio;

pub use error::{DeviceFault, DriverError};
