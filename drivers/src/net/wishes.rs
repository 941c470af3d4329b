//! What was asked of the device and is to hold for good: a device forgets it in a reset.
#![forbid(unsafe_code)]

use alloc::collections::BTreeSet;

use super::{MacAddr, Moderation, RxFilter, VlanId};

/// Everything that was asked for. What never was is the device's own choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) mac: Option<MacAddr>,
    pub(crate) filter: Option<RxFilter>,
    /// Virtual LANs that are let through; none unless asked for.
    pub(crate) vlans: BTreeSet<VlanId>,
    /// The virtual LAN that the station is in.
    pub(crate) joined: Option<VlanId>,
    pub(crate) moderation: Option<Moderation>,
}
