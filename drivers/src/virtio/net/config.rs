//! Device configuration of a network card (virtio 1.2, 5.1.4).
#![forbid(unsafe_code)]

use super::control::RSS_KEY;
use crate::error::DriverError;
use crate::net::{LinkState, MacAddr};
use crate::virtio::Features;
use crate::virtio::transport::Transport;

const MAC: usize = 0;
const STATUS: usize = 6;
const MAX_PAIRS: usize = 8;
const MTU: usize = 10;
const SPEED: usize = 12;
const RSS_MAX_KEY: usize = 17;
const RSS_MAX_TABLE: usize = 18;
const HASH_TYPES: usize = 20;

/// Bit 0 of `status`: the link is up.
const LINK_UP: u16 = 1;
/// Bit 1: the station is to announce itself.
const ANNOUNCE: u16 = 2;
/// A speed above this is none (5.1.4).
const MOST_SPEED: u32 = i32::MAX as u32;
/// Entries of the indirection table that are used at most.
const MOST_TABLE: u16 = 128;
/// What frames are steered by where the device can: addresses and ports of TCP and UDP, addresses
/// of all else (5.1.6.4.3.1).
const WANTED_HASHES: u32 = 0x3f;
/// Largest MTU used: a frame has to fit a buffer, and nothing asks for more yet.
pub(super) const MOST_MTU: usize = 1500;
/// Smallest MTU that a device may state (5.1.4.1); one that states less says nothing.
const LEAST_MTU: usize = 68;

fn word(transport: &dyn Transport, offset: usize) -> u16 {
    let mut bytes = [0; 2];
    transport.read_config(offset, &mut bytes);
    u16::from_le_bytes(bytes)
}

fn double_word(transport: &dyn Transport, offset: usize) -> u32 {
    let mut bytes = [0; 4];
    transport.read_config(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// The hardware address; one made up from the location if the device has none.
pub(super) fn mac(transport: &dyn Transport, features: Features) -> Result<MacAddr, DriverError> {
    if !features.contains(Features::MAC) {
        // Locally administered, the same at each boot of the same machine.
        let sum = transport
            .location()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
        let [a, b, c, d] = sum.to_be_bytes();
        return Ok(MacAddr([0x02, 0x6d, a, b, c, d]));
    }
    let mut bytes = [0; 6];
    transport.read_config(MAC, &mut bytes);
    let mac = MacAddr(bytes);
    if mac.is_station() {
        Ok(mac)
    } else {
        Err(DriverError::BadMac(bytes))
    }
}

/// Whether the driver can have receive buffers for the MTU that the device states, which it
/// promises by accepting the feature (5.1.4.2). Read before that, as the specification allows
/// (2.5.1).
pub(super) fn can_keep_mtu(transport: &dyn Transport) -> bool {
    (LEAST_MTU..=MOST_MTU).contains(&word(transport, MTU).into())
}

/// The largest layer-3 packet. The bounds hold here too: the device may have changed its mind.
pub(super) fn mtu(transport: &dyn Transport, features: Features) -> usize {
    let said = if features.contains(Features::MTU) {
        word(transport, MTU).into()
    } else {
        0
    };
    if said < LEAST_MTU {
        MOST_MTU
    } else {
        said.min(MOST_MTU)
    }
}

/// The link, up where the device does not say.
pub(super) fn link(transport: &dyn Transport, features: Features) -> LinkState {
    let up = !features.contains(Features::STATUS) || word(transport, STATUS) & LINK_UP != 0;
    if up {
        let known = features.contains(Features::SPEED_DUPLEX);
        let mbps = known.then(|| double_word(transport, SPEED));
        LinkState::Up {
            mbps: mbps.filter(|speed| (1..=MOST_SPEED).contains(speed)),
        }
    } else {
        LinkState::Down
    }
}

/// Whether the station is to announce itself (5.1.6.5.4).
pub(super) fn wants_announcement(transport: &dyn Transport, features: Features) -> bool {
    features.contains(Features::GUEST_ANNOUNCE) && word(transport, STATUS) & ANNOUNCE != 0
}

/// Queue pairs that the device has, for `MQ` and `RSS`; one if what it says makes no sense
/// (5.1.4.1), such as leaving no number for the control queue.
pub(super) fn max_pairs(transport: &dyn Transport) -> u16 {
    match word(transport, MAX_PAIRS) {
        pairs @ 1..=0x7fff => pairs,
        _ => 1,
    }
}

/// How the device can steer by a hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steering {
    /// Entries of the indirection table.
    pub(super) entries: u16,
    /// What is hashed.
    pub(super) hash_types: u32,
}

/// How the device can steer by a hash, for `RSS`; `None` if what it says makes no sense.
pub(super) fn steering(transport: &dyn Transport) -> Option<Steering> {
    let mut key = [0];
    transport.read_config(RSS_MAX_KEY, &mut key);
    let most = word(transport, RSS_MAX_TABLE).min(MOST_TABLE);
    let hash_types = double_word(transport, HASH_TYPES) & WANTED_HASHES;
    let usable = usize::from(key[0]) >= RSS_KEY && hash_types != 0;
    let entries = 1 << most.checked_ilog2()?;
    usable.then_some(Steering {
        entries,
        hash_types,
    })
}
