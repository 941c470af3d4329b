//! The driver on split rings whose device uses buffers in their order, and completes bursts with one claim: the
//! same cases, and what only such a device can do wrong.

mod cases;
#[path = "cases/in_order_only.rs"]
mod in_order_only;
mod models;

/// The rings of this file's cases.
const PACKED: bool = false;

/// Their interface: the modern one.
#[allow(dead_code, reason = "for the models")]
const LEGACY: bool = false;

/// Their devices go by the order.
const IN_ORDER: bool = true;
