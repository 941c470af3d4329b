//! Frames that wait for a neighbour's hardware address (RFC 1122, 2.3.2.2).
//!
//! An echo request whose answer could not be addressed is kept here by the link, for a second at
//! most, and answered when the neighbour has said who it is. Bounded, oldest out first.
#![forbid(unsafe_code)]

use heapless::Deque;
use pbufpool::Packet;
use smoltcp::time::{Duration, Instant};

/// Frames kept.
const FRAMES: usize = 8;
/// How long.
const HOLD: Duration = Duration::from_secs(1);

/// The frames, oldest first.
#[derive(Default)]
pub(super) struct Held {
    frames: Deque<(Packet, Instant), FRAMES>,
}

impl Held {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Keeps a frame until a second from now. When there are too many the oldest is dropped.
    pub(super) fn keep(&mut self, packet: Packet, now: Instant) {
        if self.frames.is_full() {
            self.frames.pop_front();
        }
        // There is room: one was just taken out.
        let _ = self.frames.push_back((packet, now + HOLD));
    }

    /// Takes out the frames that may still be answered; those whose time is over are dropped.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = Packet> + use<> {
        self.expire(now);
        core::mem::take(&mut self.frames)
            .into_iter()
            .map(|(packet, _)| packet)
    }

    /// Drops the frames whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.until().is_some_and(|until| until <= now) {
            self.frames.pop_front();
        }
    }

    /// Until when the oldest frame is kept.
    pub(super) fn until(&self) -> Option<Instant> {
        self.frames.front().map(|(_, until)| *until)
    }
}
