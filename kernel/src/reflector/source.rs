//! The character source without a stack: one frame, written as often as it was asked for.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use pbufpool::{PacketQueue, Pool};

use super::frame::{Datagram, HEADERS};
use crate::services::chargen;

/// What is owed to somebody.
pub(super) struct Source {
    frame: Vec<u8>,
    left: u64,
}

impl Source {
    /// Adds what a datagram asks for to what `owed` holds. It takes the place of what is owed to
    /// somebody else, or in another size.
    pub(super) fn ask(owed: &mut Option<Self>, request: &Datagram<'_>) {
        let Some((count, size)) = chargen::parse(request.data()) else {
            return;
        };
        let headers = request.headers_back(size);
        let count = u64::from(count);
        match owed {
            Some(same) if same.frame.starts_with(&headers) => same.left += count,
            _ => {
                let mut frame = headers.to_vec();
                frame.resize(HEADERS + size, 0);
                chargen::fill(&mut frame[HEADERS..], 0);
                *owed = Some(Self { frame, left: count });
            }
        }
    }

    /// Writes up to `most` frames, `headroom` bytes into packets of `pool`, and puts them into `into`.
    /// Returns how many.
    pub(super) fn send(
        &mut self,
        pool: &Pool,
        headroom: usize,
        most: usize,
        into: &mut PacketQueue,
    ) -> usize {
        let mut written = 0;
        while written < most && self.left > 0 {
            let Ok(packet) = pool.alloc() else {
                break;
            };
            let Some(packet) = super::fill(packet, headroom, &[&self.frame]) else {
                self.left = 0; // buffers are all alike
                break;
            };
            into.push_back(packet);
            self.left -= 1;
            written += 1;
        }
        written
    }

    /// Whether nothing is owed.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }
}
