//! How registers are reached.
//!
//! [`mmio`] is the only way a driver touches device memory; ports and configuration space come
//! from the kernel, behind [`crate::pci::ConfigAccess`].
#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "volatile access to mapped device memory")]
pub mod mmio;
