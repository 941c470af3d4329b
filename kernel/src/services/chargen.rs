//! Character source (after RFC 864), port 19.
//!
//! TCP: writes as fast as the peer takes it, until the peer closes. UDP: a datagram
//! `"<n> <size>"` is answered with `n` datagrams of `size` bytes, within
//! [`UDP_MAX_DATAGRAMS`] and [`UDP_MAX_SIZE`]; anything else is ignored.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use heapless::Deque;
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::{Context, Datagram, Next, Outbox, TcpHandler, TcpService, Traffic, UdpService, Volume};

/// Most datagrams for one request.
pub const UDP_MAX_DATAGRAMS: u32 = 10_000;

/// Largest datagram: what fits one frame at the usual MTU.
pub const UDP_MAX_SIZE: usize = 1472;

/// Requests that wait behind the one being answered.
const REQUESTS: usize = 8;

/// Characters until the pattern begins anew.
const PERIOD: usize = 95;

/// RFC 864's pattern, 95 printable characters over and over; twice, so that a whole period begins
/// at each of the first 95.
const PATTERN: [u8; 2 * PERIOD] = {
    let mut pattern = [0; 2 * PERIOD];
    let mut n = 0;
    while n < pattern.len() {
        pattern[n] = b' ' + (n % PERIOD) as u8;
        n += 1;
    }
    pattern
};

/// Writes the pattern from its character number `from` on.
pub(crate) fn fill(bytes: &mut [u8], from: usize) {
    let first = bytes.len().min(PERIOD);
    let from = from % PERIOD;
    bytes[..first].copy_from_slice(&PATTERN[from..from + first]);
    // Whole periods are copied behind each other, twice as many each time.
    let mut done = first;
    while done < bytes.len() {
        let more = done.min(bytes.len() - done);
        bytes.copy_within(..more, done);
        done += more;
    }
}

struct Request {
    local: IpAddress,
    to: IpEndpoint,
    left: u32,
    size: usize,
}

/// UDP character source.
#[derive(Default)]
pub(super) struct UdpChargen {
    requests: Deque<Request, REQUESTS>,
}

impl UdpService for UdpChargen {
    fn port(&self) -> u16 {
        19
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>, cx: &Context<'_>) {
        let Some((left, size)) = parse(datagram.payload) else {
            return;
        };
        let request = Request {
            local: datagram.local,
            to: datagram.source,
            left,
            size,
        };
        // Beyond `REQUESTS` a request is ignored: a datagram may be lost anyway.
        let _ = self.requests.push_back(request);
        self.more(outbox, cx);
    }

    fn more(&mut self, outbox: &mut Outbox<'_>, _: &Context<'_>) -> bool {
        while let Some(request) = self.requests.front_mut() {
            while request.left > 0 {
                if !outbox.can_send(request.size) {
                    return true;
                }
                outbox.send(request.local, request.to, request.size, |bytes| {
                    fill(bytes, 0)
                });
                request.left -= 1;
            }
            self.requests.pop_front();
        }
        false
    }
}

/// Datagrams and their size that a request asks for, if it is one.
pub(crate) fn parse(payload: &[u8]) -> Option<(u32, usize)> {
    let mut words = core::str::from_utf8(payload).ok()?.split_ascii_whitespace();
    let count: u32 = words.next()?.parse().ok()?;
    let size: usize = words.next()?.parse().ok()?;
    let fits = words.next().is_none() && count <= UDP_MAX_DATAGRAMS && size <= UDP_MAX_SIZE;
    fits.then_some((count, size))
}

/// TCP character source.
pub(super) struct TcpChargen;

impl TcpService for TcpChargen {
    fn port(&self) -> u16 {
        19
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            receive: Volume::Little,
            send: Volume::Bulk,
        }
    }

    fn accept(&mut self) -> Box<dyn TcpHandler> {
        Box::new(Source { at: 0 })
    }
}

struct Source {
    /// Place in the pattern.
    at: usize,
}

impl TcpHandler for Source {
    fn turn(&mut self, socket: &mut tcp::Socket<'static>, _: &Context<'_>) -> Next {
        // Whatever the peer says is thrown away (RFC 864).
        while let Ok(1..) = socket.recv(|data| (data.len(), data.len())) {}
        if !socket.may_recv() {
            return Next::Close;
        }
        let at = &mut self.at;
        while let Ok(len @ 1..) = socket.send(|buffer| {
            fill(buffer, *at);
            (buffer.len(), buffer.len())
        }) {
            *at = (*at + len) % PERIOD;
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn the_pattern_runs_on_over_any_length_from_any_place() {
        for len in [0, 1, 94, 95, 96, 189, 190, 191, 1000, 65_536] {
            for from in [0, 1, 94, 95, 1234] {
                let mut bytes = vec![0; len];
                fill(&mut bytes, from);
                for (n, byte) in bytes.iter().enumerate() {
                    assert_eq!(
                        *byte,
                        b' ' + ((from + n) % 95) as u8,
                        "{len} from {from}: {n}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_request_is_two_numbers_within_bounds() {
        assert_eq!(parse(b"3 100\n"), Some((3, 100)));
        assert_eq!(parse(b"0 0"), Some((0, 0)));
        for bad in [
            &b""[..],
            b"3",
            b"3 1473",
            b"10001 1",
            b"-1 5",
            b"3 4 5",
            b"\xff 1",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
