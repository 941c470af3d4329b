//! Device configuration of a network card (virtio 1.2, 5.1.4).
#![forbid(unsafe_code)]

use crate::error::DriverError;
use crate::net::{LinkState, MacAddr};
use crate::virtio::Features;
use crate::virtio::transport::Transport;

const MAC: usize = 0;
const STATUS: usize = 6;
const MTU: usize = 10;

/// Bit 0 of `status`: the link is up.
const LINK_UP: u16 = 1;
/// Largest MTU used: a frame has to fit a buffer, and nothing asks for more yet.
pub(super) const MOST_MTU: usize = 1500;
/// Smallest MTU that a device may state (5.1.4.1); one that states less says nothing.
const LEAST_MTU: usize = 68;

fn word(transport: &dyn Transport, offset: usize) -> u16 {
    let mut bytes = [0; 2];
    transport.read_config(offset, &mut bytes);
    u16::from_le_bytes(bytes)
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
        LinkState::Up { mbps: None }
    } else {
        LinkState::Down
    }
}
