//! The driver on split rings, whose device side `virtio-queue` plays: traffic, sleep, hostile
//! devices, and the mistakes that others made.

mod cases;
mod models;
#[path = "cases/split_only.rs"]
mod split_only;

/// The rings of this file's cases.
const PACKED: bool = false;

/// Their interface: the modern one.
#[allow(dead_code, reason = "for the models")]
const LEGACY: bool = false;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
const IN_ORDER: bool = false;
