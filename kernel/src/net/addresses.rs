//! Our addresses and where they come from: the command line, DHCP, router advertisements.
//!
//! The stack sets what is [`fixed`] once; from then on [`AddressKeeper`] runs DHCP and announces
//! changes. The gateway is kept in the interface's routes and, with the resolvers, in
//! [`Addresses`].
#![forbid(unsafe_code)]

use core::fmt;

use drivers::net::MacAddr;
use heapless::Vec;
use log::{info, warn};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpCidr, Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr};

use super::core::{Core, Egress};
use super::device::Frame;
use crate::config::{Config, Ipv4Config, Ipv6Config};

/// Resolvers kept: three from the command line, three from DHCP.
const RESOLVERS: usize = 6;

/// First wait for a DHCP answer; smoltcp's ten seconds is long for a machine that boots in 0.1.
const DHCP_DISCOVER: Duration = Duration::from_secs(2);
/// First wait for the answer to a request.
const DHCP_REQUEST: Duration = Duration::from_secs(2);

/// What is in force besides the interface's own list of addresses.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The IPv4 default gateway.
    pub gateway: Option<Ipv4Address>,
    /// Name servers: those of the command line, then those of DHCP.
    pub resolvers: Vec<Ipv4Address, RESOLVERS>,
}

impl Addresses {
    fn clear_v4(&mut self, iface: &mut Interface) {
        iface.update_ip_addrs(|all| all.retain(|cidr| !matches!(cidr, IpCidr::Ipv4(_))));
        iface.routes_mut().remove_default_ipv4_route();
        self.gateway = None;
    }

    fn set_v4(&mut self, iface: &mut Interface, address: Ipv4Cidr, gateway: Option<Ipv4Address>) {
        self.clear_v4(iface);
        add_address(iface, IpCidr::Ipv4(address));
        if let Some(gateway) = gateway {
            match iface.routes_mut().add_default_ipv4_route(gateway) {
                Ok(_) => self.gateway = Some(gateway),
                Err(_) => warn!("gateway {gateway}: the route table is full"),
            }
        }
    }
}

/// Sets what the command line fixes; returns what is in force from the start.
pub(super) fn fixed(config: &Config, mac: MacAddr, iface: &mut Interface) -> Addresses {
    let mut addresses = Addresses {
        gateway: None,
        resolvers: config.dns.iter().copied().collect(),
    };
    if let Ipv4Config::Static { address, gateway } = config.ipv4 {
        addresses.set_v4(iface, address, gateway);
    }
    if config.ipv6 != Ipv6Config::Off {
        add_address(iface, IpCidr::Ipv6(Ipv6Cidr::new(link_local(mac), 64)));
    }
    if let Ipv6Config::Static { address, gateway } = config.ipv6 {
        add_address(iface, IpCidr::Ipv6(address));
        if let Some(gateway) = gateway
            && iface.routes_mut().add_default_ipv6_route(gateway).is_err()
        {
            warn!("gw6={gateway}: the route table is full");
        }
    }
    addresses
}

/// Keeps the addresses: runs DHCP, and says when something changed.
pub(super) struct AddressKeeper {
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    /// Resolvers of the command line.
    given: alloc::vec::Vec<Ipv4Address>,
    /// What was last announced.
    announced: Vec<IpCidr, 8>,
    /// The IPv4 address or the gateway is another one since this was last taken.
    moved: bool,
}

impl AddressKeeper {
    /// Starts DHCP where `config` asks for it.
    pub(super) fn new(config: &Config) -> Self {
        let mut sockets = SocketSet::new(alloc::vec::Vec::new());
        let dhcp = (config.ipv4 == Ipv4Config::Dhcp).then(|| {
            let mut socket = dhcpv4::Socket::new();
            let mut retry = dhcpv4::RetryConfig::default();
            retry.discover_timeout = DHCP_DISCOVER;
            retry.initial_request_timeout = DHCP_REQUEST;
            socket.set_retry_config(retry);
            sockets.add(socket)
        });
        Self {
            sockets,
            dhcp,
            given: config.dns.clone(),
            announced: Vec::new(),
            moved: false,
        }
    }

    /// Gives DHCP a datagram.
    ///
    /// # Errors
    /// As [`Core::deliver`].
    pub(super) fn deliver<'f>(
        &mut self,
        frame: Frame<'f>,
        core: &mut Core,
    ) -> Result<(), Frame<'f>> {
        core.deliver(frame, &mut self.sockets).map(drop)
    }

    /// Takes what DHCP or a router said into force, and lets DHCP send.
    pub(super) fn update(&mut self, core: &mut Core) -> Egress {
        self.take_lease(core);
        self.announce(core);
        core.send_from(&mut self.sockets)
    }

    /// Whether DHCP changed the IPv4 address or the gateway since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        core::mem::take(&mut self.moved)
    }

    /// When DHCP or the interface next has something to do.
    pub(super) fn deadline(&self, core: &mut Core) -> Option<Instant> {
        let now = core.now;
        let dhcp = core.clock.poll_at(now, &self.sockets);
        // What is past by itself is over: see `Core::clock`.
        let both = core
            .iface
            .poll_at(now, &self.sockets)
            .filter(|at| *at > now);
        [dhcp, both].into_iter().flatten().min()
    }

    fn take_lease(&mut self, core: &mut Core) {
        let Some(handle) = self.dhcp else { return };
        let (iface, addresses) = (&mut core.iface, &mut core.addresses);
        match self.sockets.get_mut::<dhcpv4::Socket>(handle).poll() {
            Some(dhcpv4::Event::Configured(lease)) => {
                addresses.set_v4(iface, lease.address, lease.router);
                let all = self.given.iter().chain(lease.dns_servers.iter());
                addresses.resolvers = all.copied().take(RESOLVERS).collect();
                self.moved = true;
            }
            Some(dhcpv4::Event::Deconfigured) if v4_of(iface).is_some() => {
                warn!("DHCP: the lease is over");
                addresses.clear_v4(iface);
                self.moved = true;
            }
            Some(dhcpv4::Event::Deconfigured) | None => {}
        }
    }

    /// Logs addresses that are new. The IPv4 line is the one that says "ready".
    fn announce(&mut self, core: &mut Core) {
        let addresses = core.iface.ip_addrs();
        if addresses == self.announced.as_slice() {
            return;
        }
        core.reception.note(&core.iface);
        core.reception.tell(core.link.nic_mut());
        let known = core::mem::take(&mut self.announced);
        self.announced = addresses.iter().copied().take(8).collect();
        for cidr in addresses.iter().filter(|cidr| !known.contains(cidr)) {
            match cidr {
                IpCidr::Ipv4(cidr) => {
                    let gateway = Gateway(core.addresses.gateway);
                    info!(
                        "millrace: ready ip={cidr}{gateway}{}",
                        Dns(&core.addresses.resolvers)
                    );
                }
                IpCidr::Ipv6(cidr) => info!("millrace: address ip6={cidr}"),
            }
        }
    }
}

/// The interface's IPv4 address with its prefix.
pub(super) fn v4_of(iface: &Interface) -> Option<Ipv4Cidr> {
    iface.ip_addrs().iter().find_map(|cidr| match cidr {
        IpCidr::Ipv4(cidr) => Some(*cidr),
        IpCidr::Ipv6(_) => None,
    })
}

fn add_address(iface: &mut Interface, address: IpCidr) {
    iface.update_ip_addrs(|all| {
        // The table has room for eight: ours are three at most, the rest is SLAAC's.
        if all.push(address).is_err() {
            warn!("{address}: no room for another address");
        }
    });
}

/// The link-local address of a MAC address (RFC 4291, appendix A: modified EUI-64).
fn link_local(mac: MacAddr) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac.0;
    let half = |high: u8, low: u8| u16::from(high) << 8 | u16::from(low);
    Ipv6Address::new(
        0xfe80,
        0,
        0,
        0,
        half(a ^ 2, b),
        half(c, 0xff),
        half(0xfe, d),
        half(e, f),
    )
}

struct Gateway(Option<Ipv4Address>);

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |gateway| write!(f, " gw={gateway}"))
    }
}

struct Dns<'a>(&'a [Ipv4Address]);

impl fmt::Display for Dns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, server) in self.0.iter().enumerate() {
            write!(f, "{}{server}", if n == 0 { " dns=" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_is_made_from_the_mac() {
        let address = link_local(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(
            address,
            "fe80::5054:ff:fe12:3456".parse::<Ipv6Address>().unwrap()
        );
    }
}
