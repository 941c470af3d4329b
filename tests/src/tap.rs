//! A tap interface: the wire between the host's stack and one guest.
//!
//! Each tap has its own subnets, so that what one guest leaves behind in the host's
//! neighbour and route tables never meets the next guest. The interface goes when the
//! `Tap` is dropped.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};

use crate::frames::{Mac, mac_text};
use crate::namespace::ip;

/// One tap interface with the host at `10.7.N.1/24` and `2001:db8:7:N::1/64`.
#[derive(Debug)]
pub struct Tap {
    name: String,
    net: u8,
}

static NEXT_NET: AtomicU8 = AtomicU8::new(1);

impl Tap {
    /// A tap with a subnet of its own.
    pub fn new() -> Result<Tap> {
        Tap::on_net(NEXT_NET.fetch_add(1, Ordering::Relaxed), &[])
    }

    /// The same for a card with several queue pairs.
    pub fn with_queues() -> Result<Tap> {
        let net = NEXT_NET.fetch_add(1, Ordering::Relaxed);
        Tap::on_net(net, &["multi_queue"])
    }

    /// The tap for `10.7.0.0/24`, the subnet that the disk images are built for. Only one at a
    /// time.
    pub fn for_disk_image() -> Result<Tap> {
        // A test that ran out of time may have left it behind.
        let _ = ip(&["link", "del", "mill0"]);
        let tap = Tap::on_net(0, &[])?;
        // The host may still be asking for the last guest here, and about to give up.
        tap.know_guest()?;
        Ok(tap)
    }

    fn on_net(net: u8, kind: &[&str]) -> Result<Tap> {
        let name = format!("mill{net}");
        ip(&[&["tuntap", "add", "dev", &name, "mode", "tap"], kind].concat())
            .context("making a tap (is /dev/net/tun there and open to this user?)")?;
        let tap = Tap { name, net };
        tap.configure()
            .with_context(|| format!("setting up {}", tap.name))?;
        Ok(tap)
    }

    fn configure(&self) -> Result<()> {
        // Addresses usable at once, and no router solicitations of the host's own.
        for key in ["accept_dad", "accept_ra", "router_solicitations"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{}/{key}", self.name), "0")?;
        }
        let host4 = format!("{}/24", self.host());
        let host6 = format!("{}/64", self.host6());
        ip(&["addr", "add", &host4, "dev", &self.name])?;
        ip(&["-6", "addr", "add", &host6, "dev", &self.name, "nodad"])?;
        let mac = mac_text(self.host_mac());
        ip(&["link", "set", &self.name, "address", &mac])?;
        ip(&["link", "set", &self.name, "txqueuelen", "4000", "up"])
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address, which is also the guest's gateway.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 7, self.net, 1)
    }

    /// The address a static guest uses.
    pub fn guest(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 7, self.net, 2)
    }

    /// The IPv6 prefix (64 bits) of this wire.
    pub fn prefix6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 7, u16::from(self.net), 0, 0, 0, 0)
    }

    /// The host's global IPv6 address.
    pub fn host6(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix6().to_bits() | 1)
    }

    /// The host's MAC address (set by us, so that crafted frames can name it).
    pub fn host_mac(&self) -> Mac {
        [0x02, 0, 0, 7, self.net, 1]
    }

    /// Command-line words that give a guest its static address and gateway here.
    pub fn static_config(&self) -> String {
        format!("ip={}/24 gw={}", self.guest(), self.host())
    }

    /// Tells the host the guest's MAC address, so that it need not ask for it.
    pub fn know_guest(&self) -> Result<()> {
        let (guest, mac) = (self.guest().to_string(), mac_text(self.guest_mac()));
        let entry = [
            "neigh", "replace", &guest, "lladdr", &mac, "dev", &self.name,
        ];
        ip(&[&entry[..], &["nud", "permanent"]].concat())
    }

    /// The MAC address of the guest on this tap, which no other guest of this test run has.
    pub fn guest_mac(&self) -> Mac {
        [0x52, 0x54, 0x00, 0x07, self.net, 2]
    }

    /// Sets the host side's MTU (frames beyond it cannot be sent even by a raw socket).
    pub fn set_mtu(&self, mtu: usize) -> Result<()> {
        ip(&["link", "set", &self.name, "mtu", &mtu.to_string()])
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Nothing is lost if it fails: the namespace ends with the test process.
        let _ = ip(&["link", "del", &self.name]);
    }
}
