//! Frames over several receive buffers: parts come in, whole frames with what the card says of them
//! go out.
//!
//! A frame longer than a buffer lies in several, and only the last says that it ends and whether it
//! is sound. They become one packet with a chain. The end may come later than the beginning, or
//! never: what there is of a frame waits in [`Assembly`] and grows no longer than a frame may be.
#![forbid(unsafe_code)]

use pbufpool::{Packet, RxChecksum};

use super::ETHERNET;
use super::descriptor::RxStatus;
use super::rx_ring::Part;
use crate::net::{DropReason, VlanId};

/// The bits of a tag that number the virtual LAN; the others are a priority (IEEE 802.1Q, 9.6).
const VLAN: u16 = 0xfff;

/// What came of a frame before its end.
#[derive(Debug, Default)]
pub(super) enum Assembly {
    /// Nothing: the next buffer begins one.
    #[default]
    Between,
    /// Its first buffers.
    Begun(Packet),
    /// Nothing any more: the rest of it is thrown away, for this reason.
    Discarding(DropReason),
}

impl Assembly {
    /// Packets in it.
    pub(super) fn packets(&self) -> usize {
        usize::from(matches!(self, Self::Begun(_)))
    }

    /// Whether a part with `status` is a frame by itself.
    #[inline]
    pub(super) fn is_whole(&self, status: RxStatus) -> bool {
        matches!(self, Self::Between) && status.contains(RxStatus::EOP)
    }

    /// Adds a part to what there is of a frame of at most `longest` bytes, in `vlan` if the station is
    /// in one. Returns the frame, or why it was dropped, if this was its end.
    #[cold]
    #[inline(never)]
    pub(super) fn add(
        &mut self,
        part: Part,
        longest: usize,
        vlan: Option<VlanId>,
    ) -> Option<Result<Packet, DropReason>> {
        let Part {
            packet,
            status,
            tag,
            full,
        } = part;
        let end = status.contains(RxStatus::EOP);
        // A part before the last fills its buffer: else there is no telling where the next begins.
        let grown = match core::mem::take(self) {
            Self::Discarding(why) => Err(why),
            _ if !end && !full => Err(DropReason::RxBadMerge),
            Self::Between => Ok(packet),
            // All bytes may have been in the parts before, and only the check sequence in this.
            Self::Begun(frame) if packet.is_empty() => Ok(frame),
            Self::Begun(mut frame) => match frame.append(packet) {
                Ok(()) => Ok(frame),
                Err(_) => Err(DropReason::RxBadMerge),
            },
        };
        let grown = grown.and_then(|frame| {
            if frame.len() > longest {
                Err(DropReason::RxTooLong)
            } else {
                Ok(frame)
            }
        });
        if !end {
            *self = match grown {
                Ok(frame) => Self::Begun(frame),
                Err(why) => Self::Discarding(why),
            };
            return None;
        }
        Some(grown.and_then(|frame| finish(frame, status, tag, vlan)))
    }
}

/// The whole frame with what its last descriptor says of it, if it is in `vlan`.
///
/// # Errors
/// Why it is none.
#[inline]
pub(super) fn finish(
    mut frame: Packet,
    status: RxStatus,
    tag: u16,
    vlan: Option<VlanId>,
) -> Result<Packet, DropReason> {
    if status.intersects(RxStatus::DAMAGED) {
        return Err(DropReason::RxError);
    }
    if frame.len() < ETHERNET {
        return Err(DropReason::RxRunt);
    }
    // Untagged frames pass any filter, and a card may say what it likes.
    if let Some(vlan) = vlan
        && !(status.contains(RxStatus::VP) && tag & VLAN == vlan.get())
    {
        return Err(DropReason::RxVlan);
    }
    // Where the card finds a sum wrong, the stack looks for itself and counts.
    if status.is_verified() {
        frame.offload_mut().rx_checksum = RxChecksum::Verified;
    }
    Ok(frame)
}
