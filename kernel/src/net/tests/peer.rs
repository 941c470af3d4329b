//! The other host: a second smoltcp at the far end of the wire.
#![forbid(unsafe_code)]

use std::vec;
use std::vec::Vec;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, IpCidr};

use super::Wire;
use crate::net::test_frames::{OUR_V4, PEER_MAC, PEER_V4};

/// A host with sockets.
pub(super) struct Peer {
    iface: Interface,
    end: FarEnd,
    sockets: SocketSet<'static>,
}

impl Peer {
    pub(super) fn new(wire: &Wire) -> Self {
        let mut end = FarEnd(wire.clone());
        let config = Config::new(PEER_MAC.into());
        let mut iface = Interface::new(config, &mut end, Instant::ZERO);
        iface.update_ip_addrs(|all| {
            all.push(IpCidr::new(PEER_V4.into(), 24))
                .expect("room for one address");
        });
        Self {
            iface,
            end,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    pub(super) fn connect(&mut self, port: u16, from: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 16 * 1024]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        let remote = (IpAddress::from(OUR_V4), port);
        socket
            .connect(self.iface.context(), remote, from)
            .expect("a fresh socket connects");
        self.sockets.add(socket)
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(super) fn poll(&mut self, now: Instant) {
        self.iface.poll(now, &mut self.end, &mut self.sockets);
    }
}

struct FarEnd(Wire);

struct Rx(Vec<u8>);
struct Tx<'a>(&'a Wire);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.send(frame);
        result
    }
}

impl phy::Device for FarEnd {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.0.receive()?), Tx(&self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}
