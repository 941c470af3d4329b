//! Bringing a device to life: reset, features, status (virtio 1.2, 3.1.1).
#![forbid(unsafe_code)]

use pbufpool::Pool;

use super::start::Options;
use super::{config, header};
use crate::error::DriverError;
use crate::host::Host;
use crate::virtio::queue::QueueConfig;
use crate::virtio::transport::{Interface, Transport};
use crate::virtio::{Features, Status};

/// What the driver uses if it is offered. Each bit that is not here is explained in
/// `docs/virtio-features.md`.
pub(super) const WANTED: Features = Features::CSUM
    .union(Features::GUEST_CSUM)
    .union(Features::MTU)
    .union(Features::MAC)
    .union(Features::GUEST_TSO4)
    .union(Features::GUEST_TSO6)
    .union(Features::GUEST_ECN)
    .union(Features::HOST_TSO4)
    .union(Features::HOST_TSO6)
    .union(Features::MRG_RXBUF)
    .union(Features::STATUS)
    .union(Features::SPEED_DUPLEX)
    .union(Features::CTRL_VQ)
    .union(Features::CTRL_RX)
    .union(Features::CTRL_RX_EXTRA)
    .union(Features::CTRL_VLAN)
    .union(Features::CTRL_MAC_ADDR)
    .union(Features::GUEST_ANNOUNCE)
    .union(SEVERAL_PAIRS)
    .union(Features::NOTF_COAL)
    .union(Features::ANY_LAYOUT)
    .union(Features::INDIRECT_DESC)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::RING_PACKED)
    .union(Features::IN_ORDER)
    .union(Features::NOTIFICATION_DATA)
    // The barriers of a x86 processor are strong enough for any device (`ring::barrier`).
    .union(Features::ORDER_PLATFORM);

/// Features that the command line can do without, under the names it knows them by. Those that are
/// missing here are not a matter of choice.
pub const OPTIONAL: [(&str, Features); 21] = [
    ("csum", Features::CSUM),
    ("guest_csum", Features::GUEST_CSUM),
    ("tso", Features::HOST_TSO4.union(Features::HOST_TSO6)),
    ("guest_tso", LARGE_RECEIVE),
    ("mrg", Features::MRG_RXBUF),
    ("mtu", Features::MTU),
    ("status", Features::STATUS),
    ("speed", Features::SPEED_DUPLEX),
    ("ctrl", Features::CTRL_VQ),
    ("ctrl_rx", Features::CTRL_RX),
    ("ctrl_vlan", Features::CTRL_VLAN),
    ("ctrl_mac", Features::CTRL_MAC_ADDR),
    ("announce", Features::GUEST_ANNOUNCE),
    ("mq", SEVERAL_PAIRS),
    ("coal", Features::NOTF_COAL),
    ("event_idx", Features::EVENT_IDX),
    ("indirect_desc", Features::INDIRECT_DESC),
    ("packed", Features::RING_PACKED),
    ("in_order", Features::IN_ORDER),
    ("order_platform", Features::ORDER_PLATFORM),
    ("notif_data", Features::NOTIFICATION_DATA),
];

/// Features that are worth nothing, or not allowed, without one of others (5.1.3.1).
const DEPENDENT: [(Features, Features); 7] = [
    // Devices that insist on how a header lies do so with commands, each in its own way (5.1.6.6):
    // nothing is asked of them, nor are descriptors put elsewhere than in the ring.
    (
        Features::CTRL_VQ.union(Features::INDIRECT_DESC),
        Features::VERSION_1.union(Features::ANY_LAYOUT),
    ),
    (
        Features::CTRL_RX
            .union(Features::CTRL_VLAN)
            .union(Features::CTRL_MAC_ADDR)
            .union(Features::GUEST_ANNOUNCE)
            .union(SEVERAL_PAIRS)
            .union(Features::NOTF_COAL),
        Features::CTRL_VQ,
    ),
    (Features::CTRL_RX_EXTRA, Features::CTRL_RX),
    (Features::GUEST_ANNOUNCE, Features::STATUS),
    (
        Features::GUEST_TSO4.union(Features::GUEST_TSO6),
        Features::GUEST_CSUM,
    ),
    (
        Features::HOST_TSO4.union(Features::HOST_TSO6),
        Features::CSUM,
    ),
    (
        Features::GUEST_ECN,
        Features::GUEST_TSO4.union(Features::GUEST_TSO6),
    ),
];

/// More queue pairs than one, whoever chooses among them.
pub(super) const SEVERAL_PAIRS: Features = Features::MQ.union(Features::RSS);

/// Receive segmentation: frames of up to [`header::MOST_RECEIVED`] bytes.
const LARGE_RECEIVE: Features = Features::GUEST_TSO4
    .union(Features::GUEST_TSO6)
    .union(Features::GUEST_ECN);

/// Those of the `offered` features that are `wanted` and make sense together, for receive packets
/// of at most `longest` bytes in chains of at most `max_frags` buffers.
pub(super) fn choose(
    offered: Features,
    wanted: Features,
    longest: usize,
    max_frags: u16,
) -> Features {
    let mut accepted = offered & wanted;
    if max_frags < 2 {
        accepted.remove(Features::MRG_RXBUF);
    }
    let one_buffer = longest / usize::from(max_frags.max(1));
    let room = if accepted.contains(Features::MRG_RXBUF) {
        longest
    } else {
        one_buffer
    };
    if room < header::MOST_RECEIVED {
        accepted.remove(LARGE_RECEIVE);
    }
    if accepted.contains(Features::VERSION_1) {
        accepted.remove(Features::ANY_LAYOUT);
    }
    for (dependent, base) in DEPENDENT {
        if !accepted.intersects(base) {
            accepted.remove(dependent);
        }
    }
    accepted
}

/// Receive queue of the first pair (5.1.2).
const RX: u16 = 0;

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

/// Negotiates those of the `wanted` features that are offered and fit the `options` and the receive
/// `pool`; the device is left before `DRIVER_OK`.
///
/// # Errors
/// A device that is no legacy one offers no virtio 1.0, or refuses the choice.
pub(super) fn negotiate(
    transport: &mut dyn Transport,
    wanted: Features,
    options: &Options,
    pool: &Pool,
) -> Result<Features, DriverError> {
    transport.set_status(Status::ACKNOWLEDGE);
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    let offered = transport.device_features();
    let known = Features::from_bits_truncate(offered);
    let legacy = transport.interface() == Interface::Legacy;
    // The ring has to hold the longest frame by itself.
    let room = QueueConfig::room(
        transport.queue_max(RX),
        own_descriptor(legacy, known & wanted),
    );
    let parts = room.min(options.rx_ring).min(pool.max_frags());
    let longest = pool.buffer_size() * usize::from(parts);
    let mut accepted = choose(known, wanted, longest, parts);
    if accepted.contains(Features::MTU) && !config::can_keep_mtu(transport) {
        accepted.remove(Features::MTU);
    }
    if options.pairs < 2 || config::max_pairs(transport) < 2 {
        accepted.remove(SEVERAL_PAIRS);
    }
    if accepted.contains(Features::RSS) && config::steering(transport).is_none() {
        accepted.remove(Features::RSS);
    }
    if !legacy && !accepted.contains(Features::VERSION_1) {
        return Err(DriverError::FeatureMissing("VIRTIO_F_VERSION_1"));
    }
    transport.set_driver_features(accepted.bits());
    if legacy {
        return Ok(accepted); // a device cannot object
    }
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
    transport.set_status(match transport.interface() {
        Interface::Modern => all,
        Interface::Legacy => all - Status::FEATURES_OK,
    });
}

/// Bytes of the header that have a descriptor of their own, which devices from before `ANY_LAYOUT`
/// insist on (5.1.6.6); else 0.
pub(super) fn own_descriptor(legacy: bool, features: Features) -> usize {
    if legacy && !features.contains(Features::ANY_LAYOUT) {
        header::len(features)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 2048;

    fn chosen(offered: Features, max_frags: u16) -> Features {
        choose(offered, WANTED, SMALL * usize::from(max_frags), max_frags)
    }

    #[test]
    fn large_frames_need_somewhere_to_go() {
        let all = Features::all();
        assert!(chosen(all, 36).contains(LARGE_RECEIVE | Features::MRG_RXBUF));
        assert!(!chosen(all, 1).intersects(LARGE_RECEIVE | Features::MRG_RXBUF));
        assert!(!chosen(all, 31).intersects(LARGE_RECEIVE), "31 are too few");
        let unmerged = choose(all - Features::MRG_RXBUF, WANTED, SMALL * 36, 36);
        assert!(!unmerged.intersects(LARGE_RECEIVE), "a buffer is too small");
        let large = choose(all, WANTED, 66_000, 1);
        assert!(large.contains(LARGE_RECEIVE) && !large.contains(Features::MRG_RXBUF));
    }

    #[test]
    fn what_is_asked_of_the_card_needs_its_control_queue() {
        let left = chosen(Features::all() - Features::CTRL_VQ, 36);
        let control = Features::CTRL_RX | Features::CTRL_RX_EXTRA | Features::CTRL_VLAN;
        let control = control | Features::CTRL_MAC_ADDR | Features::GUEST_ANNOUNCE;
        assert!(!left.intersects(control | SEVERAL_PAIRS | Features::NOTF_COAL));
        let without = |feature| chosen(Features::all() - feature, 36);
        assert!(!without(Features::CTRL_RX).contains(Features::CTRL_RX_EXTRA));
        assert!(!without(Features::STATUS).contains(Features::GUEST_ANNOUNCE));
        assert!(chosen(Features::all(), 36).contains(control | SEVERAL_PAIRS));
    }

    #[test]
    fn a_feature_goes_with_what_it_depends_on() {
        let without = |feature| chosen(Features::all() - feature, 36);
        assert!(!without(Features::GUEST_CSUM).intersects(LARGE_RECEIVE));
        let cut = Features::HOST_TSO4 | Features::HOST_TSO6;
        assert!(without(Features::CSUM).intersection(cut).is_empty());
        assert!(without(Features::MAC).contains(cut | LARGE_RECEIVE));
        let tso = Features::GUEST_TSO4 | Features::GUEST_TSO6;
        assert!(!without(tso).contains(Features::GUEST_ECN));
        assert!(without(Features::GUEST_TSO4).contains(Features::GUEST_ECN));
    }

    #[test]
    fn what_came_with_virtio_1_does_not_mix_with_what_was_before() {
        let control = Features::CTRL_VQ | Features::CTRL_RX;
        let modern = chosen(Features::all(), 36);
        assert!(modern.contains(control) && !modern.contains(Features::ANY_LAYOUT));
        let legacy = chosen(Features::all() - Features::VERSION_1, 36);
        assert!(legacy.contains(control | Features::ANY_LAYOUT));
        let old = Features::all() - Features::VERSION_1 - Features::ANY_LAYOUT;
        assert!(
            !chosen(old, 36).intersects(control),
            "commands lie anywhere"
        );
        assert!(!chosen(old, 36).contains(Features::INDIRECT_DESC));
        assert!(
            legacy
                .intersection(modern)
                .contains(Features::INDIRECT_DESC)
        );
        assert_eq!(own_descriptor(true, chosen(old, 36)), 12);
        assert_eq!(own_descriptor(true, legacy), 0);
        assert_eq!(own_descriptor(false, Features::VERSION_1), 0);
    }
}
