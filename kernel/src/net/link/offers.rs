//! What smoltcp may leave to the NIC: checksums to complete, segments to cut.
//!
//! Asked by [`device`](crate::net::device) when it describes itself to smoltcp. Nothing is offered here that
//! the NIC did not.
#![forbid(unsafe_code)]

use core::num::NonZeroUsize;

use smoltcp::phy::{Checksum, ChecksumCapabilities, SegmentationCapabilities};

use super::Link;

impl Link {
    /// Whether the NIC completes the checksums of UDP.
    pub(in crate::net) fn completes_udp(&self) -> bool {
        let tx = self.capabilities.tx_checksum;
        tx.udp_v4 && tx.udp_v6
    }

    /// What smoltcp may leave to the NIC. Receive checksums are verified by the classifier.
    pub(in crate::net) fn checksums(&self) -> ChecksumCapabilities {
        let tx = self.capabilities.tx_checksum;
        let mut checksums = ChecksumCapabilities::default();
        checksums.ipv4 = Checksum::Tx;
        checksums.icmpv4 = Checksum::Tx;
        checksums.icmpv6 = Checksum::Tx;
        checksums.tcp = if tx.tcp_v4 && tx.tcp_v6 {
            Checksum::None
        } else {
            Checksum::Tx
        };
        checksums.udp = if self.completes_udp() {
            Checksum::None
        } else {
            Checksum::Tx
        };
        checksums
    }

    /// What smoltcp may leave uncut.
    pub(in crate::net) fn segmentation(&self) -> SegmentationCapabilities {
        let room = self.pools.large.as_ref().map(|pool| pool.buffer_size());
        let longest = room.map_or(0, |room| room - self.headroom);
        let most = |nic: Option<usize>| NonZeroUsize::new(nic?.min(longest));
        let mut segmentation = SegmentationCapabilities::default();
        segmentation.tcpv4 = most(self.capabilities.tso_v4);
        // smoltcp 0.14 hands over no segment size for IPv6: it drops the packet, longer than the
        // MTU, that it just made for us to cut.
        segmentation.tcpv6 = None;
        segmentation
    }
}
