//! A network card in memory, for the driver's tests.
//!
//! [`memory`] is the guest's memory, which gives the pool and the rings their segments, so that
//! device addresses are guest addresses. [`card`] is the device: registers behind the driver's
//! own `Transport`, the device half of its queues in [`half`], with tables of descriptors in [`table`], its end of the control queue in
//! [`control`], and the misbehaviour that a test asks for; [`ports`] puts it behind the real transport
//! of legacy devices. [`registers`] are a transport's without a device. [`rig`] joins them to the real
//! driver. [`intel`] is another device, with its transmitter in [`intel_tx`], its PHY in [`intel_phy`], the
//! choice of a receive ring in [`intel_rss`], and what the igb family has of its own in [`intel_igb`]; and [`intel_rig`] joins it
//! to its driver. The moves that tests make on either are in [`bench`].
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the models"
)]

pub(crate) mod bench;
pub(crate) mod card;
pub(crate) mod control;
pub(crate) mod half;
pub(crate) mod intel;
pub(crate) mod intel_igb;
pub(crate) mod intel_phy;
pub(crate) mod intel_rig;
pub(crate) mod intel_rss;
pub(crate) mod intel_tx;
pub(crate) mod memory;
pub(crate) mod packed;
pub(crate) mod ports;
pub(crate) mod registers;
pub(crate) mod rig;
pub(crate) mod table;

pub(crate) use bench::{PAIR, frame};
pub(crate) use card::{Card, HEADER, Header, OFFERED, QUEUES, RX, TX};
pub(crate) use control::{Manner, Told};
pub(crate) use rig::{Rig, Setup};
