//! What makes a completion a packet, and a packet a frame to send: every check of one frame.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::header::{self, HEADER_LEN};
use crate::net::DropReason;
use crate::virtio::Features;
use crate::virtio::queue::Completion;

/// Ethernet header, and the shortest frame that says anything.
const ETHERNET: usize = 14;

/// What a frame may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) features: Features,
    /// Largest layer-3 packet.
    pub(super) mtu: usize,
    /// Descriptors of the transmit ring.
    pub(super) tx_ring: u16,
}

impl Rules {
    /// Makes a received packet of a completion, or says why it is dropped.
    pub(super) fn received(&self, completion: Completion) -> Result<Packet, DropReason> {
        let Completion { mut packet, len } = completion;
        let frame_len = len.checked_sub(HEADER_LEN).ok_or(DropReason::RxBadHeader)?;
        if frame_len < ETHERNET {
            return Err(DropReason::RxRunt);
        }
        let head = packet
            .data()
            .first_chunk()
            .copied()
            .ok_or(DropReason::RxBadHeader)?;
        let guest_csum = self.features.contains(Features::GUEST_CSUM);
        let checksum = header::parse(&head, frame_len, guest_csum)?;
        packet
            .set_span(HEADER_LEN, frame_len)
            .map_err(|_| DropReason::RxTooLong)?;
        packet.offload_mut().rx_checksum = checksum;
        Ok(packet)
    }

    /// Puts the header in front of a frame, or says why it cannot be sent.
    pub(super) fn prepare(&self, mut packet: Packet) -> Result<Packet, DropReason> {
        if !(ETHERNET..=self.mtu + ETHERNET).contains(&packet.len()) {
            return Err(DropReason::TxBadLength);
        }
        if packet.buflet_count() > usize::from(self.tx_ring) {
            return Err(DropReason::TxTooManyBuflets);
        }
        if !self.can_offload(&packet) {
            return Err(DropReason::TxBadOffload);
        }
        let header = header::build(packet.offload());
        let room = packet
            .push_front(HEADER_LEN)
            .map_err(|_| DropReason::TxNoHeadroom)?;
        room.copy_from_slice(&header);
        Ok(packet)
    }

    fn can_offload(&self, packet: &Packet) -> bool {
        let offload = packet.offload();
        let checksum = offload.tx_checksum.is_none_or(|partial| {
            let end = usize::from(partial.start) + usize::from(partial.offset) + 2;
            self.features.contains(Features::CSUM) && end <= packet.len()
        });
        checksum && offload.gso.is_none()
    }
}
