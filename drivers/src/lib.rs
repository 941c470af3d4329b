//! Network drivers whose rings are fed from a packet pool, and nothing of any kernel.
//!
//! ```text
//!   kernel ──Host, ConfigAccess──▶ pci, bus      how a device is found and its registers reached
//!                                     │
//!                          virtio::transport     how one kind of device is talked to
//!                                     │
//!   pbufpool ──Packet──▶ ring, virtio::queue     how packets are lent to it and come back
//!                                     │
//!                        virtio::net, intel      what the device is for
//!                                     │
//!   stack ◀──PacketQueue──── net::NetDevice      the contract, the same for every driver
//! ```
//!
//! Three rules hold throughout:
//!
//! 1. **A packet has one owner.** It is with the caller, in a [`pbufpool::PacketQueue`], or lent to
//!    the device in a slot of a ring ([`ring::slots`]). It leaves a slot by a completion that was
//!    checked, or by a reset that was waited for; if neither comes it stays there for ever, since
//!    the device may still write to it.
//! 2. **What a device says is a claim.** Registers, configuration space, ring contents and headers
//!    are read once, compared with our own records, and never used to index or to size anything
//!    before that. A frame that makes no sense is dropped and counted ([`net::DropReason`]); a ring
//!    that makes no sense marks the device broken ([`DeviceFault`]) until it is reset.
//! 3. **The path of a packet costs nothing it need not.** For a frame of one buflet: one
//!    descriptor, no heap, no lock; for a burst: one doorbell; and the only fence that costs an
//!    instruction is where x86 needs one ([`ring::barrier`]).
//!
//! Proof, beside the tests (`cargo test -p drivers`), which run the driver on cards that keep their
//! contract and on cards that do not, on split and on packed rings,
//! and on Intel cards of each kind:
//!
//! - `scripts/fuzz.sh drivers card 120`: a card that does what it likes to rings, headers and registers;
//!   `scripts/fuzz.sh drivers intel 120`: the same of an Intel card; `scripts/fuzz.sh drivers configuration 60`:
//!   any contents of configuration space and registers. All with AddressSanitizer. After each run nothing is leaked and traffic flows.
//! - `RUSTFLAGS="--cfg loom" cargo test -p drivers --lib --release loom`: no wake-up is lost under any
//!   interleaving, and without the barrier one is (`ring/loom_tests.rs`).
//!
//! `unsafe` lives in [`bus::mmio`], [`bus::port`], [`ring::memory`], [`ring::slots`], in the list of ring structures
//! that memory may hold (`virtio::queue`'s layout, `intel::descriptor`) and where a reset device gives its packets back.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod bus;
pub mod error;
pub mod host;
pub mod intel;
pub mod net;
pub mod pci;
pub mod ring;
pub mod virtio;
pub mod watchdog;

pub use error::{DeviceFault, DriverError};
