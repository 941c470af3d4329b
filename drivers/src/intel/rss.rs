//! Which queue pair of an 82574 or a card of the igb family a received frame goes to: one by its
//! addresses, and by its ports if it is TCP (receive-side scaling, 82574 7.1.2.10, 82576 7.1.2.8).
//!
//! The card mixes these with a key to a hash, and looks the pair up in a table by the hash's lower
//! seven bits. The key is random, so that no sender can aim at one pair. What is no IP goes to the
//! first pair.
#![forbid(unsafe_code)]

use super::bus::{RegisterBus, Typed};
use super::registers::{Array, Mrqc, Register};
use super::reset::Card;

/// Bytes of the key.
pub const KEY: usize = 40;

/// What is mixed, if anything.
const MRQC: Register<Mrqc> = Register::at(0x5818);
/// The table: four entries a register.
const RETA: Array = Array::at(0x5c00, 4, 32);
/// The key, its first byte the lowest.
const RSSRK: Array = Array::at(0x5c80, 4, 10);
/// The bit of a table's entry that says which pair of an 82574.
const PAIR: u32 = 1 << 7;
/// The same of the igb family, whose entries are numbers.
const IGB_PAIR: u32 = 1;

/// Has frames spread over the pairs, if there are two. To be called while the card does not receive.
pub fn program<B: RegisterBus>(card: &Card<B>, pairs: usize, key: &[u8; KEY]) {
    let bus = card.bus();
    if pairs < 2 {
        bus.set(MRQC, Mrqc::empty());
        return;
    }
    for (register, bytes) in RSSRK.each().zip(key.chunks_exact(4)) {
        let word = bytes
            .iter()
            .rfold(0, |word, byte| word << 8 | u32::from(*byte));
        bus.set(register, word);
    }
    let addresses = Mrqc::TCP_V4 | Mrqc::V4 | Mrqc::TCP_V6 | Mrqc::V6;
    let (pair, of) = if card.family().is_igb() {
        (IGB_PAIR, Mrqc::IGB_RSS | Mrqc::IGB_TCP_V6 | addresses)
    } else {
        (PAIR, Mrqc::RSS | addresses)
    };
    // Neighbours in the table are on different pairs.
    for register in RETA.each() {
        bus.set(register, pair << 8 | pair << 24);
    }
    bus.set(MRQC, of);
}
