//! What every descriptor ring needs: wrapping indices, slots that own what the device holds,
//! memory that both sides see, and the ordering between them.
//!
//! ```text
//!   caller --Packet--> Slots::lend --address--> descriptor --> device
//!   caller <--Packet-- Slots::take <---id----- completion <--- device
//! ```
//!
//! A packet in a slot is the device's; nothing else refers to it. A completion is a claim: it is
//! honoured only for a slot that is lent, so it can neither name a packet twice nor one it never
//! had.
#![deny(unsafe_code)]

pub mod barrier;
#[allow(unsafe_code, reason = "hints to the processor")]
pub mod cache_lines;
pub mod index;
#[cfg(all(test, loom))]
mod loom_tests;
#[allow(unsafe_code, reason = "memory that a device writes, behind atomics")]
pub mod memory;
pub mod order;
pub mod place;
#[allow(
    unsafe_code,
    reason = "takes a packet back from the device that said it is done"
)]
pub mod slots;
