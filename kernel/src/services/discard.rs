//! Discard (RFC 863), UDP and TCP port 9: what comes in is counted and thrown away.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use smoltcp::socket::tcp;

use super::{Context, Datagram, Next, Outbox, TcpHandler, TcpService, Traffic, UdpService, Volume};

/// UDP discard.
pub(super) struct UdpDiscard;

impl UdpService for UdpDiscard {
    fn port(&self) -> u16 {
        9
    }

    fn datagram(&mut self, _: &Datagram<'_>, _: &mut Outbox<'_>, cx: &Context<'_>) {
        let count = &cx.status.services.udp_discarded;
        count.set(count.get() + 1);
    }
}

/// TCP discard.
pub(super) struct TcpDiscard;

impl TcpService for TcpDiscard {
    fn port(&self) -> u16 {
        9
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            receive: Volume::Bulk,
            send: Volume::Little,
        }
    }

    fn accept(&mut self) -> Box<dyn TcpHandler> {
        Box::new(Self)
    }
}

impl TcpHandler for TcpDiscard {
    fn turn(&mut self, socket: &mut tcp::Socket<'static>, cx: &Context<'_>) -> Next {
        let count = &cx.status.services.tcp_discarded_bytes;
        while let Ok(len @ 1..) = socket.recv(|data| (data.len(), data.len())) {
            count.set(count.get() + len as u64);
        }
        if socket.may_recv() {
            Next::Wait
        } else {
            Next::Close
        }
    }
}
