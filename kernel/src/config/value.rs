//! Parsers of single values; each returns `None` for anything but exactly what it reads.
//!
//! Called by the key table only. They never panic and never accept trailing text.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::str::FromStr;

use drivers::net::MacAddr;
use drivers::virtio::Features;
use drivers::virtio::net::OPTIONAL;
use log::LevelFilter;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr};

use super::{Ipv4Config, Ipv6Config, MmioDevice, NicChoice, OnFailure};

fn split_prefix(text: &str, most: u8) -> Option<(&str, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = u8::from_str(prefix).ok().filter(|bits| *bits <= most)?;
    Some((address, prefix))
}

/// An address that a host can have: not unspecified, multicast, broadcast or loopback.
pub(super) fn host_v4(text: &str) -> Option<Ipv4Address> {
    Ipv4Address::from_str(text).ok().filter(|a| {
        !(a.is_unspecified() || a.is_multicast() || a.is_broadcast() || a.is_loopback())
    })
}

/// As [`host_v4`], for IPv6.
pub(super) fn host_v6(text: &str) -> Option<Ipv6Address> {
    Ipv6Address::from_str(text)
        .ok()
        .filter(|a| !(a.is_unspecified() || a.is_multicast() || a.is_loopback()))
}

/// `dhcp`, `off` or `A.B.C.D/N`; the gateway is filled in later.
pub(super) fn ipv4(text: &str) -> Option<Ipv4Config> {
    match text {
        "dhcp" => Some(Ipv4Config::Dhcp),
        "off" => Some(Ipv4Config::Off),
        _ => {
            let (address, prefix) = split_prefix(text, 32)?;
            let address = Ipv4Cidr::new(host_v4(address)?, prefix);
            // Neither the network's own address nor its broadcast address can be a host's.
            let network = prefix < 31 && address.network().address() == address.address();
            if network || address.broadcast() == Some(address.address()) {
                return None;
            }
            Some(Ipv4Config::Static {
                address,
                gateway: None,
            })
        }
    }
}

/// `auto`, `off` or `ADDRESS/N`.
pub(super) fn ipv6(text: &str) -> Option<Ipv6Config> {
    match text {
        "auto" => Some(Ipv6Config::Auto),
        "off" => Some(Ipv6Config::Off),
        _ => {
            let (address, prefix) = split_prefix(text, 128)?;
            let address = Ipv6Cidr::new(host_v6(address)?, prefix);
            Some(Ipv6Config::Static {
                address,
                gateway: None,
            })
        }
    }
}

/// Up to three resolvers, separated by commas.
pub(super) fn resolvers(text: &str) -> Option<Vec<Ipv4Address>> {
    let list: Option<Vec<_>> = text.split(',').map(host_v4).collect();
    list.filter(|list| list.len() <= 3)
}

/// A log level by name.
pub(super) fn level(text: &str) -> Option<LevelFilter> {
    match text {
        "error" => Some(LevelFilter::Error),
        "warn" => Some(LevelFilter::Warn),
        "info" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        "trace" => Some(LevelFilter::Trace),
        _ => None,
    }
}

/// What to do at the end.
pub(super) fn on_failure(text: &str) -> Option<OnFailure> {
    match text {
        "halt" => Some(OnFailure::Halt),
        "off" => Some(OnFailure::Off),
        "reboot" => Some(OnFailure::Reboot),
        _ => None,
    }
}

/// A decimal number within `least..=most`.
pub(super) fn number(text: &str, least: usize, most: usize) -> Option<usize> {
    usize::from_str(text)
        .ok()
        .filter(|n| (least..=most).contains(n))
}

/// A ring size: a power of two in 16..=1024 (the split virtqueue needs a power of two).
pub(super) fn ring(text: &str) -> Option<usize> {
    number(text, 16, 1024).filter(|n| n.is_power_of_two())
}

fn hex_or_decimal(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => u64::from_str(text).ok(),
    }
}

/// A kind of NIC, or its place `BUS:DEVICE.FUNCTION` in hexadecimal.
pub(super) fn nic(text: &str) -> Option<NicChoice> {
    let place = match text {
        "virtio" => return Some(NicChoice::Virtio),
        "e1000" => return Some(NicChoice::E1000),
        "e1000e" => return Some(NicChoice::E1000e),
        "igb" => return Some(NicChoice::Igb),
        number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            return number.parse().ok().map(NicChoice::Number);
        }
        place => place.strip_prefix("0000:").unwrap_or(place),
    };
    let (bus, rest) = place.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let digits = |text: &str, most: u8| {
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u8::from_str_radix(text, 16).ok();
        number.filter(|number| hex && *number <= most)
    };
    Some(NicChoice::At {
        bus: digits(bus, 0xff)?,
        device: digits(device, 31)?,
        function: digits(function, 7)?,
    })
}

/// `SIZE@BASE:IRQ`, as Linux and QEMU write it (`virtio_mmio.device=512@0xfeb00e00:12`).
pub(super) fn mmio(text: &str) -> Option<MmioDevice> {
    let (size, rest) = text.split_once('@')?;
    let (base, irq) = rest.split_once(':')?;
    let len = match size.strip_suffix(['k', 'K']) {
        Some(kilobytes) => usize::from_str(kilobytes).ok()?.checked_mul(1024)?,
        None => usize::try_from(hex_or_decimal(size)?).ok()?,
    };
    let base = hex_or_decimal(base)?;
    let irq = u32::from_str(irq).ok()?;
    // Registers end at 0x100 and the configuration follows (Virtio 1.2, 4.2.2).
    let fits = (0x100..=0x1_0000).contains(&len) && base.is_multiple_of(4) && irq < 256;
    fits.then_some(MmioDevice { len, base, irq })
}

/// A station's hardware address, as in `52:54:00:12:34:56`.
pub(super) fn mac(text: &str) -> Option<MacAddr> {
    let mut bytes = [0; 6];
    let mut words = text.split(':');
    for byte in &mut bytes {
        let word = words.next().filter(|word| word.len() == 2)?;
        *byte = u8::from_str_radix(word, 16).ok()?;
    }
    let mac = MacAddr(bytes);
    (words.next().is_none() && mac.is_station()).then_some(mac)
}

/// Features to do without: `-tso,-packed`.
pub(super) fn without(text: &str) -> Option<Features> {
    text.split(',').try_fold(Features::empty(), |all, word| {
        let name = word.strip_prefix('-')?;
        let (_, feature) = OPTIONAL.iter().find(|(known, _)| *known == name)?;
        Some(all | *feature)
    })
}

/// `yes` or `no`.
pub(super) fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}
