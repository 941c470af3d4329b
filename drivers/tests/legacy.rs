//! The driver on a legacy card, behind the real transport: the same cases as on the others, and what
//! only such a card can do wrong.

mod cases;
#[path = "cases/legacy_only.rs"]
mod legacy_only;
#[path = "cases/legacy_registers.rs"]
mod legacy_registers;
mod models;
#[path = "cases/split_only.rs"]
mod split_only;

/// The rings of this file's cases.
const PACKED: bool = false;

/// Their interface: the one from before virtio 1.0.
const LEGACY: bool = true;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
const IN_ORDER: bool = false;
