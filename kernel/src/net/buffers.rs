//! How large a connection's two buffers are: by what its service carries, by the free memory, and by
//! how many connections there are.
//!
//! A full buffer is what keeps a fast link busy for a round trip, and a large one is wasted on a
//! connection that carries little. The table asks for each new connection.
#![forbid(unsafe_code)]

use crate::services::{Traffic, Volume};

/// Smallest buffer: below this a full segment hardly fits.
pub(super) const LEAST: usize = 4096;
/// Largest where nothing is known of the traffic: what a fast link in one building keeps full.
const MEDIUM: usize = 64 * 1024;
/// Largest for bulk: a burst of eight frames of 64 KiB, so that the peer goes on sending while we
/// work off what it sent.
const BULK: usize = 512 * 1024;
/// A buffer takes at most this part of the free memory.
const SHARE: usize = 128;
/// Free memory from which on small buffers are still made.
const RESERVE: usize = 128 * 1024;
/// Each time the number of open connections doubles beyond this, or beyond one for each
/// [`ROOM_FOR_ONE`] of free memory if that is more, buffers are half as large. Many connections share
/// the link, so each needs a smaller part of what is under way, and most of them are idle.
const FEW: usize = 16;
/// Free memory that allows for one more connection with whole buffers.
const ROOM_FOR_ONE: usize = 16 << 20;
/// Each time this many handshakes of a service are under way, a new connection gets half the
/// buffers: a flood of forged SYNs takes little, and a real handshake is over before it counts.
const CROWD: usize = 16;

/// What a new connection meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Free memory, in bytes.
    pub(super) free: usize,
    /// Connections that exist.
    pub(super) open: usize,
    /// Handshakes of its service that are under way.
    pub(super) handshakes: usize,
}

/// Bytes of a connection's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) receive: usize,
    pub(super) send: usize,
}

impl Sizes {
    /// The sizes for `traffic`; `None` if there is too little memory for any.
    pub(super) fn choose(traffic: Traffic, met: Circumstances) -> Option<Self> {
        if met.free < RESERVE {
            return None;
        }
        let share = (met.free / SHARE).max(LEAST);
        let few = FEW.max(met.free / ROOM_FOR_ONE);
        let doublings = (met.open / few).checked_ilog2().map_or(0, |log| log + 1);
        let halvings = doublings as usize + met.handshakes / CROWD;
        let size = |volume| {
            let most = match volume {
                Volume::Little => LEAST,
                Volume::Medium => MEDIUM,
                Volume::Bulk => BULK,
            };
            let whole = 1 << share.min(most).ilog2();
            (whole >> halvings.min(8)).max(LEAST)
        };
        Some(Self {
            receive: size(traffic.receive),
            send: size(traffic.send),
        })
    }

    /// Bytes of both.
    pub(super) fn total(self) -> usize {
        self.receive + self.send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const BOTH: [Volume; 2] = [Volume::Medium, Volume::Bulk];

    /// Sizes for medium traffic in and bulk out.
    fn sizes(free: usize, open: usize, handshakes: usize) -> Option<(usize, usize)> {
        let [receive, send] = BOTH;
        let met = Circumstances {
            free,
            open,
            handshakes,
        };
        let sizes = Sizes::choose(Traffic { receive, send }, met)?;
        Some((sizes.receive / 1024, sizes.send / 1024))
    }

    #[test]
    fn buffers_shrink_with_the_free_memory_and_end() {
        assert_eq!(sizes(200 * MIB, 0, 0), Some((64, 512)));
        assert_eq!(sizes(64 * MIB - 1, 0, 0), Some((64, 256)));
        assert_eq!(sizes(8 * MIB, 0, 0), Some((64, 64)));
        assert_eq!(sizes(8 * MIB - 1, 0, 0), Some((32, 32)));
        assert_eq!(sizes(MIB, 0, 0), Some((8, 8)));
        assert_eq!(sizes(MIB / 4, 0, 0), Some((4, 4)));
        assert_eq!(sizes(MIB / 16, 0, 0), None);
    }

    #[test]
    fn buffers_shrink_with_the_number_of_connections() {
        assert_eq!(sizes(200 * MIB, 15, 0), Some((64, 512)));
        assert_eq!(sizes(200 * MIB, 16, 0), Some((32, 256)));
        assert_eq!(sizes(200 * MIB, 100, 0), Some((8, 64)));
        assert_eq!(sizes(200 * MIB, 60_000, 0), Some((4, 4)));
        assert_eq!(sizes(4096 * MIB, 255, 0), Some((64, 512)));
        assert_eq!(sizes(4096 * MIB, 256, 0), Some((32, 256)));
    }

    #[test]
    fn buffers_shrink_with_the_handshakes_under_way() {
        assert_eq!(sizes(200 * MIB, 0, 16), Some((32, 256)));
        assert_eq!(sizes(200 * MIB, 0, 1024), Some((4, 4)));
    }

    #[test]
    fn little_traffic_gets_the_least() {
        let little = Traffic {
            receive: Volume::Little,
            send: Volume::Little,
        };
        let met = Circumstances {
            free: 200 * MIB,
            open: 0,
            handshakes: 0,
        };
        assert_eq!(
            Sizes::choose(little, met).map(Sizes::total),
            Some(2 * LEAST)
        );
    }
}
