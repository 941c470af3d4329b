//! One core's stack: made once from the configuration, then turned round by [`turn`](super::turn).
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use drivers::net::NetDevice;
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

use super::addresses::{self, AddressKeeper};
use super::classify::Filter;
use super::connections::Connections;
use super::core::Core;
use super::counters::Counters;
use super::device::Port;
use super::dispatch::Dispatch;
use super::flow::FlowHash;
use super::link::Link;
use super::neighbours::Neighbours;
use super::pools::Pools;
use super::rates::InterruptRates;
use super::reassembly::Reassembly;
use super::reception::Reception;
use super::silence::Silence;
use super::status::{ServiceCounters, System};
use super::udp::UdpPorts;
use crate::config::{Config, Ipv4Config, Ipv6Config};
use crate::services::{self, Service};

/// NIC, smoltcp and services, joined.
pub struct Stack {
    pub(super) reassembly: Reassembly,
    /// When pool and link are next looked at.
    pub(super) maintain_at: Instant,
    pub(super) dispatch: Dispatch,
}

impl Stack {
    /// Joins `nic`, whose packets come from `pools`, with the services that `config` names.
    ///
    /// `seed` has three random words: they choose TCP's sequence numbers, and the key of the
    /// flow hash.
    pub fn new(
        config: &Config,
        nic: Box<dyn NetDevice>,
        pools: Pools,
        system: &'static dyn System,
        seed: [u64; 3],
        now: Instant,
    ) -> Box<Self> {
        let mac = nic.info().mac;
        let mut link = Link::new(nic, pools);
        let mut counters = Counters::default();
        let mut interface = |slaac| {
            let address = HardwareAddress::Ethernet(EthernetAddress(mac.0));
            let mut settings = InterfaceConfig::new(address);
            settings.random_seed = seed[0];
            settings.slaac = slaac;
            Interface::new(settings, &mut Port::new(&mut link, &mut counters), now)
        };
        let clock = Box::new(interface(false));
        let mut iface = interface(config.ipv6 == Ipv6Config::Auto);
        let addresses = addresses::fixed(config, mac, &mut iface);
        let memory = system.memory().heap_free_bytes;
        let filter = Filter {
            mac,
            max_frame: link.max_frame(),
            ipv4: config.ipv4 != Ipv4Config::Off,
            ipv6: config.ipv6 != Ipv6Config::Off,
            icmp_echo: config.services.has(Service::Icmp),
        };
        let tcp = services::tcp_services(config.services);
        let hash = FlowHash::new((seed[1], seed[2]));
        let reception = Reception::new(&iface, filter.ipv4);
        let core = Core {
            iface,
            clock,
            link,
            counters,
            services: ServiceCounters::default(),
            addresses,
            system,
            served: config.services,
            neighbours: Neighbours::default(),
            reception,
            silence: Silence::new(now),
            rates: InterruptRates::default(),
            tcp_open: 0,
            tcp_ended: 0,
            now,
        };
        let dispatch = Dispatch {
            core,
            filter,
            tcp: Connections::new(tcp, config.tcp, hash),
            udp: UdpPorts::new(services::udp_services(config.services), memory),
            keeper: AddressKeeper::new(config),
            nobody: SocketSet::new(Vec::new()),
            upkeep_at: Some(now),
        };
        Box::new(Self {
            reassembly: Reassembly::default(),
            maintain_at: now,
            dispatch,
        })
    }

    /// The shared half: counters, link, status.
    pub fn core(&self) -> &Core {
        &self.dispatch.core
    }

    /// The NIC and what is between it and the stack.
    pub fn link_mut(&mut self) -> &mut Link {
        &mut self.dispatch.core.link
    }
}
