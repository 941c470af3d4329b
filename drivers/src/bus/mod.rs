//! How registers are reached.
//!
//! [`mmio`] is the only way a driver touches device memory, and [`port`] the only way to ports;
//! configuration space comes from the kernel, behind [`crate::pci::ConfigAccess`].
#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "volatile access to mapped device memory")]
pub mod mmio;
#[allow(unsafe_code, reason = "access to ports that a device's BAR names")]
pub mod port;
