//! Bringing a device to life: reset, features, status (virtio 1.2, 3.1.1).
#![forbid(unsafe_code)]

use super::config;
use crate::error::DriverError;
use crate::host::Host;
use crate::virtio::transport::Transport;
use crate::virtio::{Features, Status};

/// What the driver uses if it is offered. Left out, and why: mergeable buffers and receive
/// segmentation (a frame is one buffer yet), transmit segmentation (smoltcp sends frames), the
/// control queue with what depends on it, indirect descriptors (a packet is one
/// descriptor).
pub(super) const WANTED: Features = Features::CSUM
    .union(Features::GUEST_CSUM)
    .union(Features::MTU)
    .union(Features::MAC)
    .union(Features::STATUS)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::RING_PACKED)
    // The barriers of a x86 processor are strong enough for any device (`ring::barrier`).
    .union(Features::ORDER_PLATFORM);

/// Milliseconds for the device to come out of a reset.
const RESET_MS: u32 = 1000;

/// Resets the device and waits until it says that it is done (2.4.1, 4.1.4.3.2).
///
/// # Errors
/// It does not come out of the reset in time.
pub(super) fn reset(transport: &mut dyn Transport, host: &dyn Host) -> Result<(), DriverError> {
    transport.set_status(Status::empty());
    for _ in 0..RESET_MS * 10 {
        if transport.status().is_empty() {
            return Ok(());
        }
        host.delay_us(100);
    }
    Err(DriverError::Timeout("the device's reset"))
}

/// Negotiates those of the `wanted` features that are offered; the device is left before
/// `DRIVER_OK`.
///
/// # Errors
/// The device offers no virtio 1.0, or refuses the choice.
pub(super) fn negotiate(
    transport: &mut dyn Transport,
    wanted: Features,
) -> Result<Features, DriverError> {
    transport.set_status(Status::ACKNOWLEDGE);
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    let offered = transport.device_features();
    let mut accepted = Features::from_bits_truncate(offered) & wanted;
    if accepted.contains(Features::MTU) && !config::can_keep_mtu(transport) {
        accepted.remove(Features::MTU);
    }
    if !accepted.contains(Features::VERSION_1) {
        return Err(DriverError::FeatureMissing("VIRTIO_F_VERSION_1"));
    }
    transport.set_driver_features(accepted.bits());
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
    if !transport.status().contains(Status::FEATURES_OK) {
        return Err(DriverError::FeaturesRefused {
            offered,
            accepted: accepted.bits(),
        });
    }
    Ok(accepted)
}

/// Tells the device that the driver is ready.
pub(super) fn ready(transport: &mut dyn Transport) {
    let all = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
    transport.set_status(all);
}
