//! Where crafted frames go in and replies come out: a tap's raw socket, or QEMU's datagram
//! wire, which carries frames of any length (a raw socket refuses some).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv,
    send, socket,
};

use crate::launch::Wire;

/// Longest frame that is received.
const FRAME_MAX: usize = 14 + 65_535;

/// A wire's end.
pub trait Link: Send {
    /// Sends one frame as it is.
    fn send(&self, frame: &[u8]) -> Result<()>;
    /// The next frame from the guest, or `None` after `limit`.
    fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>>;
}

/// A raw socket (`AF_PACKET`) on a tap: it sends to the guest, and sees what the guest sends.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a raw socket on `interface`.
    pub fn open(interface: &str) -> Result<PacketSocket> {
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )
        .context("raw socket")?;
        bind(fd.as_raw_fd(), &link_address(interface)?)?;
        Ok(PacketSocket { fd })
    }
}

/// The address of an interface for `bind`: every protocol.
fn link_address(interface: &str) -> Result<LinkAddr> {
    let index = if_nametoindex(interface).with_context(|| format!("interface {interface}"))?;
    // SAFETY: `sockaddr_ll` is plain numbers; zero is a valid value for each.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(index)?;
    let length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: the pointer is to a whole `sockaddr_ll` of that length, and it is copied.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.context("interface address")
}

impl Link for PacketSocket {
    fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(self.fd.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                // The tap's queue is full: QEMU takes frames as fast as the guest does.
                Err(Errno::ENOBUFS | Errno::EAGAIN) => std::thread::yield_now(),
                Err(error) => return Err(error).context("sending a frame"),
            }
        }
    }

    fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        if poll(
            &mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)],
            timeout,
        )? == 0
        {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME_MAX];
        let length = recv(self.fd.as_raw_fd(), &mut frame, MsgFlags::empty())?;
        frame.truncate(length);
        Ok(Some(frame))
    }
}

/// A link on which all frames are in one virtual LAN.
#[derive(Debug)]
pub struct TaggedLink<L> {
    link: L,
    /// EtherType and tag.
    tag: [u8; 4],
}

impl<L: Link> TaggedLink<L> {
    /// Frames of virtual LAN `vlan` on `link`.
    pub fn new(link: L, vlan: u16) -> TaggedLink<L> {
        let [high, low] = vlan.to_be_bytes();
        let tag = [0x81, 0, high, low];
        TaggedLink { link, tag }
    }
}

impl<L: Link> Link for TaggedLink<L> {
    fn send(&self, frame: &[u8]) -> Result<()> {
        let (addresses, rest) = frame.split_at(12);
        self.link.send(&[addresses, &self.tag, rest].concat())
    }

    /// # Errors
    /// A frame came without the tag.
    fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let Some(mut frame) = self.link.receive(limit)? else {
            return Ok(None);
        };
        let tag = frame.get(12..16);
        anyhow::ensure!(tag == Some(&self.tag), "not tagged: {frame:02x?}");
        frame.drain(12..16);
        Ok(Some(frame))
    }
}

/// Our end of [`Wire::Datagrams`].
#[derive(Debug)]
pub struct DatagramLink {
    socket: UdpSocket,
    guest_port: u16,
}

impl DatagramLink {
    /// Picks two free ports, one for QEMU and one for us.
    pub fn open() -> Result<(DatagramLink, Wire)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Free in this private namespace, where nobody else takes it before QEMU does.
        let guest_port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let our_port = socket.local_addr()?.port();
        Ok((
            DatagramLink { socket, guest_port },
            Wire::Datagrams {
                guest_port,
                our_port,
            },
        ))
    }
}

impl DatagramLink {
    /// The same end once more: what one receives the other does not.
    pub fn try_clone(&self) -> Result<DatagramLink> {
        let socket = self.socket.try_clone()?;
        let guest_port = self.guest_port;
        Ok(DatagramLink { socket, guest_port })
    }
}

impl Link for DatagramLink {
    fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket
            .send_to(frame, (Ipv4Addr::LOCALHOST, self.guest_port))?;
        Ok(())
    }

    fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        self.socket
            .set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut frame = vec![0; FRAME_MAX];
        match self.socket.recv(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("receiving a frame"),
        }
    }
}
