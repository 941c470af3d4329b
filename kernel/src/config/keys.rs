//! The keys: one table of name, allowed values and default, and the draft they fill.
//!
//! Used by [`Config::parse`](super::Config::parse). The table is the only list of keys, so the
//! help text, the error messages and the parser cannot disagree.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use super::{Config, ConfigError, Ipv4Config, Ipv6Config, PACKETS_BESIDES_RINGS, value};
use crate::services::ServiceSet;
use drivers::net::VlanId;

/// Smallest ring: what the kernel chooses when a small pool leaves room for no more.
const LEAST_RING: usize = 16;

/// One key: its name, what it takes, and what it does to the draft.
struct Key {
    name: &'static str,
    allowed: &'static str,
    /// May be given more than once.
    repeatable: bool,
    apply: fn(&mut Draft, &str) -> Option<()>,
}

const fn key(
    name: &'static str,
    allowed: &'static str,
    apply: fn(&mut Draft, &str) -> Option<()>,
) -> Key {
    Key {
        name,
        allowed,
        repeatable: false,
        apply,
    }
}

static KEYS: [Key; 24] = [
    key(
        "ip",
        "dhcp, off, or a host address A.B.C.D/PREFIX (default dhcp)",
        |d, v| {
            d.config.ipv4 = value::ipv4(v)?;
            Some(())
        },
    ),
    key(
        "gw",
        "an IPv4 host address in the network of ip= (default none)",
        |d, v| {
            d.gateway_v4 = Some(value::host_v4(v)?);
            Some(())
        },
    ),
    key(
        "dns",
        "up to three IPv4 addresses, comma-separated (default: from DHCP)",
        |d, v| {
            d.config.dns = value::resolvers(v)?;
            Some(())
        },
    ),
    key(
        "ip6",
        "auto, off, or a host address ADDRESS/PREFIX (default auto)",
        |d, v| {
            d.config.ipv6 = value::ipv6(v)?;
            Some(())
        },
    ),
    key(
        "gw6",
        "an IPv6 host address, only with a fixed ip6= (default none)",
        |d, v| {
            d.gateway_v6 = Some(value::host_v6(v)?);
            Some(())
        },
    ),
    key(
        "services",
        "all, none, or a list of icmp,echo,discard,stats,chargen,http (default icmp,http)",
        |d, v| {
            d.config.services = ServiceSet::parse(v)?;
            Some(())
        },
    ),
    key(
        "log",
        "error, warn, info, debug or trace (default info)",
        |d, v| {
            d.config.log = value::level(v)?;
            Some(())
        },
    ),
    key(
        "pool.packets",
        "96 to 65536 packets (default: by memory and rings)",
        |d, v| {
            d.config.pool.packets = Some(value::number(v, 96, 65_536)?);
            Some(())
        },
    ),
    key(
        "pool.buffer",
        "1664 to 16384 bytes, a multiple of 64 (default 2048, or 4096 to receive merged frames)",
        |d, v| {
            // 1664 holds a full Ethernet frame with a VLAN tag behind the device header's headroom.
            let bytes = value::number(v, 1664, 16_384).filter(|bytes| bytes.is_multiple_of(64))?;
            d.config.pool.buffer = Some(bytes);
            Some(())
        },
    ),
    key(
        "ring.rx",
        "a power of two from 16 to 1024 (default: by memory, at most 256)",
        |d, v| {
            d.config.pool.rx_ring = Some(value::ring(v)?);
            Some(())
        },
    ),
    key(
        "ring.tx",
        "a power of two from 16 to 1024 (default: by memory, at most 256)",
        |d, v| {
            d.config.pool.tx_ring = Some(value::ring(v)?);
            Some(())
        },
    ),
    key(
        "tcp.max",
        "1 to 65536 connections (default 16384)",
        |d, v| {
            d.config.tcp.max = value::number(v, 1, 65_536)?;
            Some(())
        },
    ),
    key(
        "tcp.backlog",
        "1 to 4096 handshakes under way for one service (default 1024)",
        |d, v| {
            d.config.tcp.backlog = value::number(v, 1, 4096)?;
            d.backlog_given = true;
            Some(())
        },
    ),
    key("onfail", "halt, off or reboot (default halt)", |d, v| {
        d.config.on_failure = value::on_failure(v)?;
        Some(())
    }),
    key(
        "mac",
        "a hardware address of a station, as in 52:54:00:12:34:56 (default: the NIC's own)",
        |d, v| {
            d.config.mac = Some(value::mac(v)?);
            Some(())
        },
    ),
    key(
        "nic.queues",
        "1 to 16 queue pairs at most (default 1)",
        |d, v| {
            d.config.queues = value::number(v, 1, 16)?;
            Some(())
        },
    ),
    key(
        "nic.coalesce",
        "0 to 1000 microseconds that a NIC may wait before it interrupts (default: the NIC's own)",
        |d, v| {
            d.config.coalesce = Some(value::number(v, 0, 1000)? as u32);
            Some(())
        },
    ),
    key(
        "nic.mtu",
        "1280 to 9000 bytes in an IP packet; not for virtio cards (default 1500, or what the card says)",
        |d, v| {
            // No IPv6 link may have less (RFC 8200, 5); more, not every switch passes.
            d.config.mtu = Some(value::number(v, 1280, 9000)?);
            Some(())
        },
    ),
    key(
        "nic.vlan",
        "1 to 4094: the virtual LAN that the NIC puts the machine into; not for virtio cards (default none)",
        |d, v| {
            let number = value::number(v, 1, 4094)?;
            d.config.vlan = Some(VlanId::new(number as u16)?);
            Some(())
        },
    ),
    key(
        "idle.poll",
        "0 to 1000 microseconds that an idle core may go on looking before it sleeps (default 200)",
        |d, v| {
            d.config.idle_poll = value::number(v, 0, 1000)? as u16;
            Some(())
        },
    ),
    key(
        "nic",
        "virtio, e1000, e1000e, igb, a number from 0 as in the log, or a place on PCI as in 00:03.0 (default: the first that is found)",
        |d, v| {
            d.config.nic = value::nic(v)?;
            Some(())
        },
    ),
    key(
        "selftest",
        "yes or no: check the machine and stop (default no)",
        |d, v| {
            d.config.self_test = value::yes_or_no(v)?;
            Some(())
        },
    ),
    key(
        "virtio.features",
        "a list of -csum,-guest_csum,-tso,-guest_tso,-mrg,-mtu,-status,-speed,-ctrl,-ctrl_rx,-ctrl_vlan,-ctrl_mac,-announce,-mq,-coal,-event_idx,-indirect_desc,-packed,-in_order,-order_platform,-notif_data (default: all that are offered)",
        |d, v| {
            d.config.virtio_without = value::without(v)?;
            Some(())
        },
    ),
    Key {
        name: "virtio_mmio.device",
        allowed: "SIZE@BASE:IRQ, as in 512@0xfeb00e00:12; may be repeated (default none)",
        repeatable: true,
        apply: |d, v| {
            d.config.mmio.push(value::mmio(v)?);
            Some(())
        },
    },
];

/// The key names, comma-separated.
pub(super) struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, key) in KEYS.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            f.write_str(key.name)?;
        }
        Ok(())
    }
}

/// Writes the keys with what each takes, a line each.
pub fn help(out: &mut dyn fmt::Write) -> fmt::Result {
    KEYS.iter()
        .try_for_each(|key| writeln!(out, "{}=  {}", key.name, key.allowed))
}

/// A configuration under construction.
#[derive(Default)]
pub(super) struct Draft {
    config: Config,
    seen: [bool; KEYS.len()],
    gateway_v4: Option<smoltcp::wire::Ipv4Address>,
    gateway_v6: Option<smoltcp::wire::Ipv6Address>,
    backlog_given: bool,
}

impl Draft {
    /// Takes one word of the command line.
    pub(super) fn word(&mut self, word: &str) -> Result<(), ConfigError> {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| ConfigError::NotKeyValue {
                word: word.to_string(),
            })?;
        let index = KEYS
            .iter()
            .position(|key| key.name == name)
            .ok_or_else(|| ConfigError::UnknownKey {
                key: name.to_string(),
                value: value.to_string(),
            })?;
        let key = &KEYS[index];
        if self.seen[index] && !key.repeatable {
            return Err(ConfigError::Repeated {
                key: key.name,
                value: value.to_string(),
            });
        }
        self.seen[index] = true;
        (key.apply)(self, value).ok_or_else(|| ConfigError::BadValue {
            key: key.name,
            value: value.to_string(),
            allowed: key.allowed,
        })
    }

    /// Checks the settings against each other.
    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        self.settle_gateway_v4()?;
        self.settle_gateway_v6()?;
        self.check_pool()?;
        self.check_backlog()?;
        Ok(self.config)
    }

    fn settle_gateway_v4(&mut self) -> Result<(), ConfigError> {
        let Some(wanted) = self.gateway_v4 else {
            return Ok(());
        };
        let refuse = |why: String| ConfigError::Conflict {
            key: "gw",
            value: wanted.to_string(),
            why,
        };
        match &mut self.config.ipv4 {
            Ipv4Config::Static { address, gateway } => {
                if !address.contains_addr(&wanted) || address.address() == wanted {
                    return Err(refuse(format!(
                        "must be another host in the network of ip={address}"
                    )));
                }
                *gateway = Some(wanted);
                Ok(())
            }
            Ipv4Config::Dhcp => Err(refuse(
                "needs a fixed ip=; with ip=dhcp it is DHCP's".into(),
            )),
            Ipv4Config::Off => Err(refuse("needs a fixed ip=; ip=off has no IPv4".into())),
        }
    }

    fn settle_gateway_v6(&mut self) -> Result<(), ConfigError> {
        let Some(wanted) = self.gateway_v6 else {
            return Ok(());
        };
        match &mut self.config.ipv6 {
            Ipv6Config::Static { gateway, .. } => {
                *gateway = Some(wanted);
                Ok(())
            }
            Ipv6Config::Auto | Ipv6Config::Off => Err(ConfigError::Conflict {
                key: "gw6",
                value: wanted.to_string(),
                why: "needs a fixed ip6=ADDRESS/PREFIX".into(),
            }),
        }
    }

    /// A pool that the rings alone could empty would leave nothing to receive into.
    fn check_pool(&self) -> Result<(), ConfigError> {
        let pool = &self.config.pool;
        let Some(packets) = pool.packets else {
            return Ok(());
        };
        let rx = pool.rx_ring.unwrap_or(LEAST_RING);
        let tx = pool.tx_ring.unwrap_or(LEAST_RING);
        let queues = self.config.queues;
        let least = queues * (rx + tx) + PACKETS_BESIDES_RINGS;
        if packets >= least {
            return Ok(());
        }
        Err(ConfigError::Conflict {
            key: "pool.packets",
            value: packets.to_string(),
            why: format!(
                "too few: ring.rx={rx} and ring.tx={tx} with nic.queues={queues} need at least {least} (rings and {PACKETS_BESIDES_RINGS} in hand)"
            ),
        })
    }

    fn check_backlog(&mut self) -> Result<(), ConfigError> {
        let tcp = &mut self.config.tcp;
        if tcp.backlog > tcp.max && self.backlog_given {
            return Err(ConfigError::Conflict {
                key: "tcp.backlog",
                value: tcp.backlog.to_string(),
                why: format!("at most tcp.max={}", tcp.max),
            });
        }
        tcp.backlog = tcp.backlog.min(tcp.max);
        Ok(())
    }
}
