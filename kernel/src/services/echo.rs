//! Echo (RFC 862), UDP and TCP port 7: what comes in goes back.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use smoltcp::socket::tcp;

use super::{Context, Datagram, Next, Outbox, TcpHandler, TcpService, UdpService};

/// UDP echo.
pub(super) struct UdpEcho;

impl UdpService for UdpEcho {
    fn port(&self) -> u16 {
        7
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>, _: &Context<'_>) {
        let payload = datagram.payload;
        outbox.send(datagram.local, datagram.source, payload.len(), |reply| {
            reply.copy_from_slice(payload);
        });
    }
}

/// TCP echo.
pub(super) struct TcpEcho;

impl TcpService for TcpEcho {
    fn port(&self) -> u16 {
        7
    }

    fn accept(&mut self) -> Box<dyn TcpHandler> {
        Box::new(Self)
    }
}

/// Most bytes moved from one buffer to the other at once …
const CHUNK: usize = 2048;
/// … and where there are no more than these: clearing room for them costs next to nothing.
const LITTLE: usize = 64;

/// Moves up to `N` bytes that came in back out. Returns whether what was read could be sent.
fn bounce<const N: usize>(socket: &mut tcp::Socket<'static>) -> bool {
    // The socket lends one of its two buffers at a time, hence the stop in between.
    let mut chunk = [0; N];
    let room = socket.send_capacity() - socket.send_queue();
    match socket.recv_slice(&mut chunk[..room.min(N)]) {
        Ok(len) => socket.send_slice(&chunk[..len]) == Ok(len),
        Err(_) => true,
    }
}

impl TcpHandler for TcpEcho {
    fn turn(&mut self, socket: &mut tcp::Socket<'static>, _: &Context<'_>) -> Next {
        while socket.can_recv() && socket.can_send() {
            let moved = if socket.recv_queue() <= LITTLE {
                bounce::<LITTLE>(socket)
            } else {
                bounce::<CHUNK>(socket)
            };
            if !moved {
                return Next::Abort; // it had said that there was room
            }
        }
        let finished = !socket.may_recv() && !socket.can_recv();
        if finished { Next::Close } else { Next::Wait }
    }
}
