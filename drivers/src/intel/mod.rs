//! Intel's gigabit cards: the 8254x family, the 82574L, and the igb family (`e1000`, `e1000e` and `igb` to
//! most people).
//!
//! ```text
//!   pci ──▶ Window (RegisterBus) ──▶ Card: a card that was reset, and of which kind it is
//!                                      │
//!   pool ──Packet──▶ Pairs of rings ◀── IntelNet: the NetDevice contract
//! ```
//!
//! [`model`] knows the cards by their PCI ids. [`registers`] names the registers and types what
//! they hold; [`bus`] reaches them; [`descriptor`] is what lies in the rings. [`rx_ring`] and
//! [`tx_ring`] lend packets to the card, on what both share in [`ring`], and make up the queue pairs in
//! [`rings`]; `assembly` joins what lies in several buffers. [`offload`] says what a frame to send asks
//! of the card, [`filter`] which frames it hands over, [`rss`] on which pair, [`interrupts`] when it
//! interrupts. [`reset`] stops a card, [`bring_up`] programs one that was stopped, with [`igb`] for what
//! that family has of its own. [`phy`] makes links, and turns frames round for a self-test;
//! [`ownership`] is who has it. [`pci`] finds it all. [`device`] puts it together.
//!
//! Numbers like "SDM 13.4.22" are sections of the PCI/PCI-X Family of Gigabit Ethernet Controllers
//! Software Developer's Manual (317453); "82574 10.2.2.1" those of the 82574 GbE Controller Family
//! Datasheet, "82576 7.2.2" and "I210 8.8.3" those of the Datasheets of these controllers.
#![deny(unsafe_code)]

mod assembly;
pub mod bring_up;
pub mod bus;
pub mod descriptor;
pub mod device;
pub mod filter;
pub mod igb;
pub mod interrupts;
pub mod model;
pub mod offload;
pub mod ownership;
pub mod pci;
pub mod phy;
pub mod registers;
pub mod reset;
pub mod ring;
#[allow(unsafe_code, reason = "takes packets back from a card that was reset")]
pub mod rings;
pub mod rss;
pub mod rx_ring;
pub mod tx_ring;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

pub use device::{IntelNet, Options};
pub use model::{Family, MODELS, Model, model};
pub use reset::Card;
