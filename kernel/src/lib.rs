//! The portable half of the kernel: configuration, the path between NIC and smoltcp, services, and
//! what of the self-test needs no machine.
//!
//! Everything here runs as well on a host as on bare metal: it knows the packet pool, the
//! [`NetDevice`](drivers::net::NetDevice) contract and smoltcp, but no machine. The image's
//! `main` (the other half, in this package's binary) brings up the machine and then turns
//! [`net::Stack`] round; the tests turn it on a host, over a NIC made of two queues.
//!
//! ```text
//!   NIC --rx_burst--> classify --> device (RxToken) --> smoltcp --> services
//!    ^                   |                                              |
//!    +----- tx_burst ----+------- device (TxToken) <---- smoltcp <------+
//! ```
//!
//! The invariant: a frame is read where the NIC put it and written where the NIC will read it.
//! Copies between NIC and smoltcp are counted in [`net::Counters`]; those are none for a packet of
//! one buffer. The copies behind that, to and from sockets, are listed in
//! `docs/life-of-a-packet.md`.
#![forbid(unsafe_code)]
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
pub mod idle;
pub mod net;
#[cfg(any(test, feature = "reflector"))]
pub mod reflector;
pub mod selftest;
pub mod services;
