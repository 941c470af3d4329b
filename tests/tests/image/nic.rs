//! The NIC in the forms that QEMU can give it, and machines that differ in what is around it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::udp;
use tests::guest::Guest;
use tests::launch::{Launch, Machine, Nic, Wire};
use tests::limit::case;
use tests::link::{Link, PacketSocket};
use tests::tap::Tap;

use crate::boot::must_serve;

/// What QEMU exits with when the guest writes 0x14 to `isa-debug-exit`: no usable NIC.
const NO_DEVICE: i32 = (0x14 << 1) | 1;

/// Test, properties of the NIC, further words of the command line.
const VARIANTS: [(&str, &str, &str); 14] = [
    ("without_checksum_offload", "csum=off,guest_csum=off", ""),
    ("without_event_index", "event_idx=off", ""),
    ("with_an_interrupt_line_only", "vectors=0", ""),
    ("with_a_single_msi_x_vector", "vectors=1", ""),
    (
        // QEMU has no longer transmit rings on a tap: 7.2 makes them shorter, later ones refuse.
        "with_a_receive_ring_of_1024",
        "rx_queue_size=1024",
        "ring.rx=1024 ring.tx=1024",
    ),
    (
        "with_large_buffers",
        "mrg_rxbuf=on",
        "pool.buffer=16384 pool.packets=700",
    ),
    ("with_a_packed_ring_on_offer", "packed=on", ""),
    ("with_several_queues_on_offer", "mq=on,vectors=10", ""),
    ("without_legacy_registers", "disable-legacy=on", ""),
    (
        "without_modern_registers",
        "disable-modern=on,disable-legacy=off",
        "",
    ),
    (
        "without_modern_registers_and_msi_x",
        "disable-modern=on,disable-legacy=off,vectors=0",
        "",
    ),
    (
        "with_a_descriptor_for_each_header",
        "disable-modern=on,disable-legacy=off,any_layout=off",
        "",
    ),
    (
        "with_a_descriptor_for_each_short_header",
        "disable-modern=on,disable-legacy=off,any_layout=off,mrg_rxbuf=off",
        "ring.rx=64",
    ),
    (
        "with_access_platform",
        "disable-legacy=on,iommu_platform=on",
        "",
    ),
];

pub(crate) fn tests() -> Vec<Trial> {
    let variant = |(name, options, words): (&str, &'static str, &'static str)| {
        case(format!("nic::{name}_it_serves"), 40, move || {
            serves(|launch| launch.nic_options(options), Machine::Q35, words)
        })
    };
    let mut trials = Vec::from(VARIANTS.map(variant));
    trials.extend([
        case("nic::behind_a_pci_bridge_it_serves", 40, || {
            let port = |launch: Launch| {
                launch
                    .device("pcie-root-port,id=rp0,slot=1")
                    .nic_options("bus=rp0")
            };
            serves(port, Machine::Q35, "")
        }),
        case("nic::a_small_mtu_is_kept", 40, small_mtu),
        case("nic::before_virtio_1_its_features_are_few", 40, legacy),
        case("nic::a_machine_without_one_says_so", 20, none),
        case("nic::one_that_is_not_driven_is_named", 20, unknown),
        case("nic::one_of_several_is_chosen", 60, chosen),
        case("nic::one_that_is_not_there_cannot_be_chosen", 20, absent),
        case("machine::with_six_gibibytes_it_serves", 40, || {
            serves(|launch| launch.mem(6144), Machine::Q35, "")
        }),
        case(
            "machine::with_an_interrupt_line_on_pc_it_serves",
            40,
            || serves(|launch| launch.nic_options("vectors=0"), Machine::Pc, ""),
        ),
        case("machine::with_a_second_processor_it_serves", 40, || {
            serves(|launch| launch.arg("-smp").arg("2"), Machine::Q35, "")
        }),
        case("machine::with_the_plainest_processor_it_serves", 40, || {
            serves(|launch| launch.arg("-cpu").arg("qemu64"), Machine::Q35, "")
        }),
    ]);
    trials
}

fn start(change: impl FnOnce(Launch) -> Launch, machine: Machine, words: &str) -> Result<Guest> {
    let tap = Tap::new()?;
    let cmdline = format!("{} services=all {words}", tap.static_config());
    Guest::start_ready(&change(Launch::pvh(machine, cmdline).nic(Nic::Virtio)), tap)
}

fn serves(change: impl FnOnce(Launch) -> Launch, machine: Machine, words: &str) -> Result<()> {
    let guest = start(change, machine, words)?;
    must_serve(&guest)?;
    bulk::echo(guest.port(7), 2 << 20, 11)
}

/// The device's MTU bounds what the guest sends, TCP and UDP alike.
fn small_mtu() -> Result<()> {
    const MTU: usize = 1400;
    let guest = start(
        // A frame that the host is to cut passes the tap whole.
        |launch| launch.nic_options("host_mtu=1400,host_tso4=off,host_tso6=off"),
        Machine::Q35,
        "",
    )?;
    let wire = PacketSocket::open(guest.tap().name())?;
    must_serve(&guest)?;
    bulk::echo(guest.port(7), 1 << 20, 12)?;
    // More than fits: in fragments or not at all.
    udp(guest.port(19))?.send(b"1 1472")?;
    must_serve(&guest)?;
    let mut longest = 0;
    while let Some(frame) = wire.receive(Duration::ZERO)? {
        if frame.get(6..12) == Some(&guest.mac()) {
            longest = longest.max(frame.len());
        }
    }
    ensure!(longest <= MTU + 14, "a frame of {longest} bytes");
    ensure!(longest > MTU - 100, "the longest frame has {longest} bytes");
    Ok(())
}

fn must_stop_without_nic(launch: &Launch, wire: &Wire, words: &[&str]) -> Result<()> {
    let vm = Guest::start_on(launch, wire, [0x52, 0x54, 0, 0x12, 0x34, 0x56])?;
    let status = vm.process.wait(Duration::from_secs(15))?;
    let log = vm.log.wait_end(Duration::from_secs(5));
    for word in words {
        ensure!(log.contains(word), "the log lacks {word:?}");
    }
    ensure!(status.code() == Some(NO_DEVICE), "exit status {status}");
    Ok(())
}

/// Without modern registers there is none of what needs a feature bit above the 32nd.
fn legacy() -> Result<()> {
    let only = |launch: Launch| launch.nic_options("disable-modern=on,disable-legacy=off");
    let guest = start(only, Machine::Pc, "")?;
    let line = guest.log().wait_for("virtio-net at", Duration::ZERO);
    let line = line.context("no word of the card")?;
    for (word, expected) in [
        ("rings 256/256", true),
        ("split ring", true),
        ("any_layout", true),
        ("mrg_rxbuf", true),
        ("version_1", false),
    ] {
        ensure!(line.contains(word) == expected, "{word} in {line:?}");
    }
    must_serve(&guest)?;
    // A header in a descriptor of its own leaves room for half as many frames.
    let only = "disable-modern=on,disable-legacy=off,any_layout=off";
    let guest = start(|launch| launch.nic_options(only), Machine::Q35, "")?;
    let line = guest.log().wait_for("virtio-net at", Duration::ZERO);
    let line = line.context("no word of the card")?;
    ensure!(
        line.contains("rings 128/128") && !line.contains("any_layout"),
        "{line:?}"
    );
    must_serve(&guest)
}

fn none() -> Result<()> {
    let launch = Launch::pvh(Machine::Q35, "ip=10.0.0.2/24");
    must_stop_without_nic(&launch, &Wire::Nothing, &["no network card"])
}

fn unknown() -> Result<()> {
    let launch = Launch::pvh(Machine::Q35, "ip=10.0.0.2/24").device("rtl8139,romfile=");
    let words = [
        "10ec:8139",
        "no driver for this network card",
        "e1000e",
        "no network card that is supported",
    ];
    must_stop_without_nic(&launch, &Wire::Nothing, &words)
}

/// A second card, in front of the one that is plugged in.
fn chosen() -> Result<()> {
    for words in ["nic=virtio", "nic=00:02.0", "nic=1"] {
        let second = |launch: Launch| launch.device("e1000,romfile=");
        let guest = start(second, Machine::Q35, words)?;
        must_serve(&guest)?;
        let log = guest.log();
        let other = "e1000 (82540EM) at pci 0000:00:01.0: not used";
        log.find(other).context("the other one is not named")?;
        let used = "nic 1: virtio-net at pci 0000:00:02.0: used";
        log.find(used).context("the one in use is not named")?;
    }
    Ok(())
}

fn absent() -> Result<()> {
    let launch = Launch::pvh(Machine::Q35, "ip=10.0.0.2/24 nic=e1000e").nic(Nic::Virtio);
    let words = ["fits nic=e1000e", "at 0000:00:01.0 (virtio-net)"];
    must_stop_without_nic(&launch, &Wire::User, &words)
}
