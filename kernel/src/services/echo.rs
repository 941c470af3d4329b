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

/// Most bytes moved from one buffer to the other at once.
const CHUNK: usize = 2048;

impl TcpHandler for TcpEcho {
    fn turn(&mut self, socket: &mut tcp::Socket<'static>, _: &Context<'_>) -> Next {
        // The socket lends one of its two buffers at a time, hence the stop in between.
        let mut chunk = [0; CHUNK];
        while socket.can_recv() && socket.can_send() {
            let room = socket.send_capacity() - socket.send_queue();
            let Ok(len) = socket.recv_slice(&mut chunk[..room.min(CHUNK)]) else {
                break;
            };
            if socket.send_slice(&chunk[..len]) != Ok(len) {
                return Next::Abort; // it had said that there was room
            }
        }
        let finished = !socket.may_recv() && !socket.can_recv();
        if finished { Next::Close } else { Next::Wait }
    }
}
