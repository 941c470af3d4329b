//! The network device (virtio 1.2, 5.1).
#![deny(unsafe_code)]

mod config;
#[allow(unsafe_code, reason = "takes packets back from a device that was reset")]
mod device;
mod header;
mod negotiate;

pub use device::{Options, VirtioNet};
pub use header::HEADER_LEN;
