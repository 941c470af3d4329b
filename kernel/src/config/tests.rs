//! The command line's contract, case by case.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use drivers::virtio::net::OPTIONAL;

fn parse(line: &str) -> Result<Config, ConfigError> {
    Config::parse(line.as_bytes())
}

fn message(line: &str) -> alloc::string::String {
    parse(line).expect_err("must be refused").to_string()
}

#[test]
fn an_empty_line_gives_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.ipv4, Ipv4Config::Dhcp);
    assert_eq!(config.services, ServiceSet::parse("icmp,http").unwrap());
}

#[test]
fn a_static_address_takes_its_gateway_in_either_order() {
    let want = Ipv4Config::Static {
        address: Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 2), 24),
        gateway: Some(Ipv4Address::new(10, 0, 0, 1)),
    };
    assert_eq!(parse("ip=10.0.0.2/24 gw=10.0.0.1").unwrap().ipv4, want);
    assert_eq!(parse("gw=10.0.0.1  ip=10.0.0.2/24\n").unwrap().ipv4, want);
}

#[test]
fn ipv6_is_auto_off_or_fixed() {
    assert_eq!(parse("ip6=off").unwrap().ipv6, Ipv6Config::Off);
    let fixed = parse("ip6=fd00::2/64 gw6=fe80::1").unwrap().ipv6;
    assert!(matches!(
        fixed,
        Ipv6Config::Static {
            gateway: Some(_),
            ..
        }
    ));
}

#[test]
fn a_nic_is_named_by_its_kind_or_its_place() {
    let at = |bus, device, function| NicChoice::At {
        bus,
        device,
        function,
    };
    for (text, want) in [
        ("virtio", NicChoice::Virtio),
        ("e1000", NicChoice::E1000),
        ("e1000e", NicChoice::E1000e),
        ("igb", NicChoice::Igb),
        ("0", NicChoice::Number(0)),
        ("255", NicChoice::Number(255)),
        ("00:03.0", at(0, 3, 0)),
        ("0000:ff:1f.7", at(255, 31, 7)),
    ] {
        let nic = parse(&format!("nic={text}")).unwrap().nic;
        assert_eq!(nic, want, "{text}");
        let shown = nic.to_string();
        assert!(text.ends_with(&shown), "{shown} is what {text} is");
    }
    for text in [
        "",
        "first",
        "i210",
        "256",
        "-1",
        "+1",
        "00:03",
        "00:20.0",
        "00:00.8",
        "100:0.0",
        "0001:00:03.0",
        "+1:0.0",
        "00:03.0 x",
    ] {
        let line = format!("nic={text}");
        assert!(parse(&line).is_err(), "{line}");
    }
}

#[test]
fn microvm_devices_may_be_repeated() {
    let config =
        parse("virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=4K@0xd0000000:5").unwrap();
    let want = [
        MmioDevice {
            len: 512,
            base: 0xfeb0_0e00,
            irq: 12,
        },
        MmioDevice {
            len: 4096,
            base: 0xd000_0000,
            irq: 5,
        },
    ];
    assert_eq!(config.mmio, want);
}

#[test]
fn messages_name_key_value_and_what_is_allowed() {
    for (line, parts) in [
        ("color=red", &["color=red", "unknown key", "services"][..]),
        ("quiet", &["'quiet'", "key=value"]),
        (
            "ip=10.0.0.300/24",
            &["ip=10.0.0.300/24", "dhcp, off", "default dhcp"],
        ),
        ("ip=10.0.0.2", &["ip=10.0.0.2", "A.B.C.D/PREFIX"]),
        ("ip=10.0.0.0/24", &["ip=10.0.0.0/24", "host address"]),
        ("ip=10.0.0.255/24", &["ip=10.0.0.255/24", "host address"]),
        ("ip=224.0.0.1/24", &["ip=224.0.0.1/24", "host address"]),
        ("ip=dhcp ip=dhcp", &["ip=dhcp", "given twice"]),
        ("gw=10.0.0.1", &["gw=10.0.0.1", "needs a fixed ip="]),
        (
            "ip=10.0.0.2/24 gw=10.0.1.1",
            &["gw=10.0.1.1", "network of ip=10.0.0.2/24"],
        ),
        ("gw6=fe80::1", &["gw6=fe80::1", "needs a fixed ip6="]),
        ("ip6=::1/64", &["ip6=::1/64", "auto, off"]),
        (
            "services=echo,gopher",
            &["services=echo,gopher", "icmp,echo,discard", "default"],
        ),
        ("services=", &["services=", "all, none"]),
        ("onfail=explode", &["onfail=explode", "halt, off or reboot"]),
        ("log=loud", &["log=loud", "trace", "default info"]),
        ("ring.rx=100", &["ring.rx=100", "power of two"]),
        ("ring.tx=2048", &["ring.tx=2048", "16 to 1024"]),
        ("pool.packets=12", &["pool.packets=12", "96 to 65536"]),
        (
            "pool.packets=100 ring.rx=64",
            &["pool.packets=100", "ring.rx=64", "at least 144"],
        ),
        ("pool.buffer=2000", &["pool.buffer=2000", "multiple of 64"]),
        ("tcp.max=0", &["tcp.max=0", "1 to 65536"]),
        (
            "tcp.max=10 tcp.backlog=20",
            &["tcp.backlog=20", "at most tcp.max=10"],
        ),
        ("dns=1.2.3.4,,", &["dns=1.2.3.4,,", "comma-separated"]),
        (
            "virtio_mmio.device=512@0xfeb00e00",
            &["virtio_mmio.device", "SIZE@BASE:IRQ"],
        ),
    ] {
        let message = message(line);
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "{line}: '{message}' lacks '{part}'");
        }
    }
}

#[test]
fn a_line_that_is_not_text_is_refused_by_position() {
    let error = Config::parse(b"ip=\xff").unwrap_err();
    assert_eq!(error, ConfigError::NotText { byte: 0xff, at: 3 });
}

#[test]
fn the_backlog_follows_a_small_total() {
    assert_eq!(parse("tcp.max=10").unwrap().tcp.backlog, 10);
}

#[test]
fn features_to_do_without_are_named_one_by_one() {
    let without = |line: &str| Config::parse(line.as_bytes()).map(|c| c.virtio_without);
    let cut = Features::HOST_TSO4 | Features::HOST_TSO6;
    assert_eq!(without("").unwrap(), Features::empty());
    assert_eq!(without("virtio.features=-tso").unwrap(), cut);
    let two = without("virtio.features=-packed,-tso").unwrap();
    assert_eq!(two, cut | Features::RING_PACKED);
    for bad in ["tso", "-", "", "-tso,", "-TSO", "-version_1", "-tso;-mrg"] {
        let line = alloc::format!("virtio.features={bad}");
        let why = without(&line).unwrap_err().to_string();
        assert!(why.contains("-guest_tso,-mrg,"), "{bad}: {why}");
    }
}

#[test]
fn the_features_that_are_allowed_are_those_that_the_driver_names() {
    let line = Config::parse(b"virtio.features=x").unwrap_err().to_string();
    let all: Vec<_> = OPTIONAL
        .iter()
        .map(|(n, _)| alloc::format!("-{n}"))
        .collect();
    assert!(line.contains(&all.join(",")), "{line}");
}

#[test]
fn every_key_is_in_the_help() {
    let mut text = alloc::string::String::new();
    help(&mut text).unwrap();
    assert_eq!(text.lines().count(), 24);
    assert!(text.lines().all(|line| line.contains("default")), "{text}");
}

#[test]
fn a_hardware_address_is_that_of_a_station() {
    let mac = MacAddr([0x52, 0x54, 0, 0xAB, 0x34, 0x56]);
    assert_eq!(parse("mac=52:54:00:aB:34:56").unwrap().mac, Some(mac));
    for bad in [
        "52:54:00:12:34",
        "52:54:00:12:34:56:78",
        "52-54-00-12-34-56",
        "52:54:0:12:34:56",
        "52:54:00:12:34:5g",
        "00:00:00:00:00:00",
        "01:00:5e:00:00:01",
        "",
    ] {
        let line = alloc::format!("mac={bad}");
        assert!(message(&line).contains("a hardware address of a station"));
    }
}

#[test]
fn an_idle_core_looks_on_for_up_to_a_millisecond() {
    assert_eq!(parse("").unwrap().idle_poll, 200);
    assert_eq!(parse("idle.poll=0").unwrap().idle_poll, 0);
    assert_eq!(parse("idle.poll=1000").unwrap().idle_poll, 1000);
    assert!(parse("idle.poll=1001").is_err());
}

#[test]
fn queue_pairs_and_moderation_are_bounded() {
    let config = parse("nic.queues=4 nic.coalesce=50").unwrap();
    assert_eq!((config.queues, config.coalesce), (4, Some(50)));
    for bad in ["nic.queues=0", "nic.queues=17", "nic.coalesce=1001"] {
        assert!(message(bad).contains("allowed: "));
    }
    // Each pair needs both rings.
    assert!(parse("nic.queues=1 pool.packets=96").is_ok());
    assert!(message("nic.queues=2 pool.packets=96").contains("nic.queues=2 need at least 128"));
}

#[test]
fn the_mtu_is_bounded_by_ipv6_and_by_switches() {
    assert_eq!(parse("").unwrap().mtu, None);
    for mtu in [1280, 1500, 9000] {
        assert_eq!(parse(&format!("nic.mtu={mtu}")).unwrap().mtu, Some(mtu));
    }
    for bad in ["nic.mtu=1279", "nic.mtu=9001", "nic.mtu=jumbo"] {
        assert!(message(bad).contains("1280 to 9000 bytes"));
    }
}

#[test]
fn a_virtual_lan_has_a_number_of_its_own() {
    assert_eq!(parse("").unwrap().vlan, None);
    for id in [1, 4094] {
        let vlan = parse(&format!("nic.vlan={id}")).unwrap().vlan;
        assert_eq!(vlan, VlanId::new(id));
    }
    for bad in ["nic.vlan=0", "nic.vlan=4095", "nic.vlan=-1"] {
        assert!(message(bad).contains("1 to 4094"));
    }
}

#[test]
fn a_self_test_is_asked_for_by_yes() {
    assert!(parse("selftest=yes").unwrap().self_test);
    assert!(!parse("selftest=no").unwrap().self_test);
    assert!(!parse("").unwrap().self_test);
    assert!(message("selftest=1").contains("yes or no"));
}
