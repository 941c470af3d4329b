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

use super::{Context, Datagram, Next, Outbox, TcpHandler, TcpService, UdpService};

/// Most datagrams for one request.
pub const UDP_MAX_DATAGRAMS: u32 = 10_000;

/// Largest datagram: what fits one frame at the usual MTU.
pub const UDP_MAX_SIZE: usize = 1472;

/// Requests that wait behind the one being answered.
const REQUESTS: usize = 8;

/// RFC 864's pattern: 95 printable characters, over and over.
fn fill(bytes: &mut [u8], from: usize) {
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = b' ' + ((from + n) % 95) as u8;
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

fn parse(payload: &[u8]) -> Option<(u32, usize)> {
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
            *at = (*at + len) % 95;
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
