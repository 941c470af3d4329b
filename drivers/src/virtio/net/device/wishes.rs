//! What was asked of the device and is to hold for good: a device forgets it in a reset.
#![forbid(unsafe_code)]

use alloc::collections::BTreeSet;

use crate::net::{MacAddr, Moderation, RxFilter, VlanId};

/// Everything that was asked for. What never was is the device's own choice.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) mac: Option<MacAddr>,
    pub(super) filter: Option<RxFilter>,
    /// Virtual LANs that are let through; none unless asked for.
    pub(super) vlans: BTreeSet<VlanId>,
    pub(super) moderation: Option<Moderation>,
}
