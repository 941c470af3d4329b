//! The driver on packed rings: the same cases, and what only a packed ring can do wrong.

mod cases;
mod models;
#[path = "cases/packed_only.rs"]
mod packed_only;

/// The rings of this file's cases.
const PACKED: bool = true;

/// Their interface: the modern one.
#[allow(dead_code, reason = "for the models")]
const LEGACY: bool = false;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
const IN_ORDER: bool = false;
