//! What a driver counts: frames, the reasons why it dropped some, and the packets that its rings hold.
//!
//! Drivers count; the stack adds up and prints. A [`DropReason`] has a name, so that none is counted
//! without one.
#![forbid(unsafe_code)]

/// Packets that a queue pair's rings hold: lent to the device, or done and not reclaimed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LentCounts {
    /// In the receive ring.
    pub rx: usize,
    /// In the transmit ring.
    pub tx: usize,
    /// Requests to the device itself that it never answered; counted with the first pair.
    pub control: usize,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a driver threw a frame away.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used in statistics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    /// Received: shorter than an Ethernet header.
    RxRunt = "rx_runt",
    /// Received: longer than the buffer that was posted, by the device's own account.
    RxTooLong = "rx_too_long",
    /// Received: the device's header makes no sense.
    RxBadHeader = "rx_bad_header",
    /// Received: a segmentation type that was not negotiated.
    RxBadGso = "rx_bad_gso",
    /// Received: a checksum position outside the frame, or a partial sum nobody asked for.
    RxBadChecksum = "rx_bad_checksum",
    /// Received: a merged frame whose parts do not fit together.
    RxBadMerge = "rx_bad_merge",
    /// Received: the device flagged the frame as damaged.
    RxError = "rx_error",
    /// Received: not in the virtual LAN that was joined.
    RxVlan = "rx_vlan",
    /// Received, or taken back empty, when the device was reset.
    RxReset = "rx_reset",
    /// To send: no room in front of the frame for the device's header.
    TxNoHeadroom = "tx_no_headroom",
    /// To send: shorter than an Ethernet header or longer than the device takes.
    TxBadLength = "tx_bad_length",
    /// To send: more buflets than the ring has descriptors, which is the longest chain that there may be.
    TxTooManyBuflets = "tx_too_many_buflets",
    /// To send: asks for an offload that the device does not have, or at an impossible place.
    TxBadOffload = "tx_bad_offload",
    /// Sent or not, nobody knows: the device was reset while it held the frame.
    TxReset = "tx_reset",
}

/// Counters of dropped frames, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts one frame.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `frames` frames.
    pub fn add(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// How many were dropped for `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many were dropped in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason's name with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason.name(), self.get(reason)))
    }

    /// Adds another set of counters to this one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// What a device has done since it was first initialised; a reset does not clear it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NicStats {
    /// Frames handed to the stack.
    pub rx_packets: u64,
    /// Their bytes, without device headers.
    pub rx_bytes: u64,
    /// Frames given to the device to send.
    pub tx_packets: u64,
    /// Their bytes, without device headers.
    pub tx_bytes: u64,
    /// Frames handed to the stack that filled more than one buffer.
    pub rx_merged: u64,
    /// Of these, frames whose buffers lie back to back: one slice, read in place.
    pub rx_merged_in_place: u64,
    /// Frames handed to the stack that are segments merged by the device.
    pub rx_gso: u64,
    /// Frames given to the device to be cut into segments.
    pub tx_gso: u64,
    /// Doorbells rung: each is one register write, and under a hypervisor one exit.
    pub doorbells: u64,
    /// Requests made of the device besides moving packets.
    pub commands: u64,
    /// Calls of [`on_interrupt`](super::NetDevice::on_interrupt) that found the device to be the cause.
    pub interrupts: u64,
    /// Times a receive ring could not be filled because the pool was empty.
    pub rx_no_buffer: u64,
    /// Times the device was reset after a fault.
    pub resets: u64,
    /// Frames dropped by the driver, by reason.
    pub drops: DropCounts,
}
