//! Virtqueues: how buffers pass between driver and device.
#![deny(unsafe_code)]

mod layout;
#[allow(
    unsafe_code,
    reason = "takes everything back from a device that was reset"
)]
pub mod split;

pub use split::{Completion, SplitQueue};
