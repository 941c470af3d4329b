//! The network device (virtio 1.2, 5.1).
#![deny(unsafe_code)]

mod config;
mod control;
mod device;
mod frames;
mod header;
mod negotiate;
#[allow(
    unsafe_code,
    reason = "takes packets back from a device that was reset"
)]
mod start;

pub use control::RSS_KEY;
pub use device::VirtioNet;
pub use header::{HEADER_LEN, MOST_FRAME, MOST_RECEIVED};
pub use negotiate::OPTIONAL;
pub use start::Options;
