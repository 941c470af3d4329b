//! The path of a packet above the driver: one [`Stack`] per core, turned round by `main`.
//!
//! In the order of the path: [`device`](self) takes bursts from the NIC and gives them back,
//! `classify` looks at each frame first, `reassembly` joins fragments, `dispatch` knows who gets
//! it, `connections` and `udp` own the sockets, and `core` is the way into smoltcp. `turn` is
//! the loop's body; `status` is what can be seen of all this.
//!
//! Beside the path: `addresses` (DHCP, SLAAC), `neighbours` (whom to ask for), `offload`
//! (transmit checksums and segmentation), `pools` (where packets come from), `reception` (what the
//! NIC lets through), `announce` (who and where we are), `silence`
//! (a NIC from which nothing comes), `spread` (which queue pair to send by), `sums`
//! (checksums of headers), `rates` (how often interrupts come). `connection`, `flow`, `lists` and `timers` are what `connections` is
//! made of.
#![forbid(unsafe_code)]

mod addresses;
mod announce;
mod buffers;
mod classify;
mod connection;
mod connections;
mod core;
mod counters;
mod device;
mod dispatch;
mod flow;
mod held;
mod link;
mod lists;
mod neighbours;
mod offload;
mod pools;
mod rates;
mod reassembly;
mod reception;
mod silence;
mod spread;
mod stack;
mod status;
mod sums;
#[cfg(any(test, feature = "budgets"))]
pub mod test_frames;
#[cfg(test)]
pub(crate) mod tests;
mod timers;
mod turn;
mod udp;

pub use addresses::Addresses;
pub use counters::{Counters, Refusal};
pub use link::Link;
pub use pools::{Pools, PoolsStats};
pub use stack::Stack;
pub use status::{Interrupts, Kind, Memory, Metric, Naps, ServiceCounters, Status, System};
pub use turn::{BURST, Rest, Turn};
pub(crate) use udp::Reply;
