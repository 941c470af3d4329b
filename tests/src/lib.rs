//! What the image tests and the benches are made of: a private network, a guest in QEMU,
//! and real clients that talk to it.
//!
//! ```text
//!   private network namespace (namespace)
//!   +---------------------------------------------------------------------+
//!   |  ping, curl, sockets (clients)        crafted frames (frames, peer)  |
//!   |             |                                   |                    |
//!   |        host stack ------------ tap (tap) -------+                    |
//!   |                                 |                                    |
//!   |                           QEMU (launch) -- serial log (serial)       |
//!   +---------------------------------------------------------------------+
//! ```
//!
//! Invariants: every process started here is ended by the owner that started it and by its
//! own process id ([`process::Process`]); every wait has an end ([`limit`]); nothing outside
//! the namespace is changed.

pub mod bulk;
pub mod clients;
pub mod dhcp;
pub mod env;
pub mod far;
pub mod fixture;
pub mod frames;
pub mod gdb;
pub mod guest;
pub mod http;
pub mod launch;
pub mod limit;
pub mod link;
pub mod many;
pub mod namespace;
pub mod peer;
pub mod process;
pub mod qmp;
pub mod router;
pub mod screen;
pub mod serial;
pub mod stats;
pub mod tap;
pub mod tcp_peer;
