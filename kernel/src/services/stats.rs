//! Statistics, UDP port 11: any datagram is answered with one line of `key=value`.
//!
//! The keys are those of [`Status::line`](crate::net::Status::line). (Port 11 was once systat's,
//! RFC 866, which reported on a host in the same spirit.)
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

use super::{Context, Datagram, Outbox, UdpService};

/// Longest line; what does not fit is left off at a space.
const LINE: usize = 1400;

/// UDP statistics.
pub(super) struct Stats;

impl UdpService for Stats {
    fn port(&self) -> u16 {
        11
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>, cx: &Context<'_>) {
        let mut line = Line {
            bytes: [0; LINE],
            len: 0,
        };
        // A full line ends early; what it holds is sound.
        let _ = cx.status.line(&mut line);
        let text = line.text();
        outbox.send(datagram.local, datagram.source, text.len(), |reply| {
            reply.copy_from_slice(text);
        });
    }
}

struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self
            .bytes
            .get_mut(self.len..self.len + text.len())
            .ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
