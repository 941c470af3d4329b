//! Intel's gigabit cards, as QEMU has them: e1000 (82540EM) with an interrupt line, e1000e (82574L)
//! and igb (82576) with MSI-X.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use tests::bulk;
use tests::clients::{eventually, must_echo_udp, must_flood_ping, must_ping};
use tests::frames::mac_text;
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::{Boot, Launch, Machine, Nic};
use tests::limit::case;
use tests::link::{Link as _, PacketSocket};
use tests::many::Many;
use tests::qmp::Qmp;
use tests::stats::{Stats, must_be_idle, must_copy_only_scattered};
use tests::tap::Tap;

use crate::boot::must_serve;
use crate::virtio_control::{OTHER, handed_over, must_be};

pub(crate) const CARDS: [(&str, Nic); 3] = [
    ("e1000", Nic::E1000),
    ("e1000e", Nic::E1000e),
    ("igb", Nic::Igb),
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, nic) in CARDS {
        for (on, machine) in [("q35", Machine::Q35), ("pc", Machine::Pc)] {
            let name = format!("intel::{name}_on_{on}_serves_every_client");
            trials.push(case(name, 90, move || serves(nic, machine)));
        }
        for ring in [16, 1024] {
            let words = format!("ring.rx={ring} ring.tx={ring}");
            let name = format!("intel::{name}_with_rings_of_{ring}_serves");
            trials.push(case(name, 60, move || serves_bulk(nic, &words, |it| it)));
        }
        trials.extend([
            case(
                format!("intel::{name}_with_six_gibibytes_serves"),
                60,
                move || serves_bulk(nic, "", |launch| launch.mem(6144)),
            ),
            case(
                format!("intel::{name}_loses_its_link_and_gets_it_back"),
                90,
                move || link(nic),
            ),
            case(
                format!("intel::{name}_keeps_out_what_is_not_for_us"),
                60,
                move || filtered(nic),
            ),
            case(
                format!("intel::{name}_takes_another_hardware_address"),
                60,
                move || address(nic),
            ),
        ]);
        for (with, words) in [
            // Much longer than a frame, and than a window of TCP: 94 to 99 % were in one piece then.
            ("jumbo_frames", "ring.rx=1024"),
            (
                "jumbo_frames_in_one_buffer",
                "pool.buffer=16384 pool.packets=700",
            ),
        ] {
            let name = format!("intel::{name}_with_{with}_serves");
            trials.push(case(name, 60, move || jumbo(nic, words)));
        }
        for (way, boot) in [("bios", Boot::Bios), ("uefi", Boot::Uefi)] {
            let name = format!("intel::{name}_from_a_{way}_disk");
            trials.push(case(format!("{name}_serves"), 90, move || {
                disk(nic, boot, |launch| launch)
            }));
            trials.push(case(
                format!("{name}_with_six_gibibytes_serves"),
                90,
                move || disk(nic, boot, |launch| launch.mem(6144)),
            ));
        }
    }
    trials
}

/// A guest on a tap whose card is `nic`.
pub(crate) fn start(
    nic: Nic,
    machine: Machine,
    words: &str,
    change: impl FnOnce(Launch) -> Launch,
) -> Result<Guest> {
    let tap = Tap::new()?;
    let cmdline = format!("{} services=all {words}", tap.static_config());
    let launch = change(Launch::pvh(machine, cmdline)).nic(nic);
    Guest::start_ready(&launch, tap)
}

/// What the card counts is in order: nothing dropped, nothing broken, nothing lost.
fn must_be_in_order(guest: &Guest) -> Result<()> {
    let stats = must_be_idle(guest)?;
    ensure!(stats.get("nic_resets")? == 0, "the card was reset");
    ensure!(stats.get("nic_drop")? == 0, "the driver dropped frames");
    ensure!(stats.get("pool_alloc_fail")? == 0, "the pool ran dry");
    Ok(())
}

fn serves(nic: Nic, machine: Machine) -> Result<()> {
    let guest = start(nic, machine, "", |launch| launch)?;
    let interrupts = match nic {
        Nic::E1000e => "extended descriptors msix",
        Nic::Igb => "advanced descriptors msix",
        _ => "legacy descriptors line",
    };
    let log = guest.log();
    log.find(interrupts).context("how it interrupts")?;
    ensure!(log.find("is polled").is_none(), "the line was not routed");
    must_serve(&guest)?;
    let address = guest.addr().to_string();
    for size in [0, 18, 1472, 4000] {
        must_ping(&address, 2, &format!("-s {size} -p a55a0f"))?;
    }
    must_flood_ping(&address, 2000, "")?;
    let target = format!("{}%{}", guest.link_local(), guest.tap().name());
    must_ping(&target, 3, "-6 -s 1000")?;
    for size in [1, 2, 17, 18, 19, 100, 1471, 1472] {
        must_echo_udp(guest.port(7), &vec![0x5a; size])?;
    }
    bulk::echo(guest.port(7), 8 << 20, 3)?;
    bulk::drain(guest.port(19), 8 << 20)?;
    must_get(&guest.url("/metrics"))?;
    let mut many = Many::open(guest.port(7), 50, Duration::from_secs(20))?;
    many.echo(1, Duration::from_secs(20))?;
    drop(many);
    let stats = must_be_idle(&guest)?;
    let cut = stats.get("nic_tx_gso")?;
    ensure!(cut > 0, "no frame was left to be cut");
    must_be_in_order(&guest)
}

fn serves_bulk(nic: Nic, words: &str, change: impl FnOnce(Launch) -> Launch) -> Result<()> {
    let guest = start(nic, Machine::Q35, words, change)?;
    must_serve(&guest)?;
    bulk::echo(guest.port(7), 4 << 20, 11)?;
    bulk::drain(guest.port(19), 4 << 20)?;
    must_serve(&guest)?;
    let stats = must_be_idle(&guest)?;
    ensure!(stats.get("nic_resets")? == 0, "the card was reset");
    Ok(())
}

/// Frames of up to 9,014 bytes each way, whole, over several descriptors where buffers are short.
fn jumbo(nic: Nic, words: &str) -> Result<()> {
    const MTU: usize = 9000;
    let tap = Tap::new()?;
    tap.set_mtu(MTU)?;
    let cmdline = format!("{} services=all nic.mtu={MTU} {words}", tap.static_config());
    let launch = Launch::pvh(Machine::Q35, cmdline).nic(nic).mem(256);
    let guest = Guest::start_ready(&launch, tap)?;
    let address = guest.addr().to_string();
    for size in [0, 1472, 1473, 2006, 2007, 4054, 8150, 8972] {
        must_ping(&address, 2, &format!("-M do -s {size} -p a55a0f"))?;
        must_echo_udp(guest.port(7), &vec![0xa5; size.max(1)])?;
    }
    let target = format!("{}%{}", guest.link_local(), guest.tap().name());
    must_ping(&target, 2, "-6 -M do -s 8952")?;
    let wire = PacketSocket::open(guest.tap().name())?;
    must_ping(&address, 1, "-M do -s 8972")?;
    let mut longest = 0;
    while let Some(frame) = wire.receive(Duration::ZERO)? {
        if frame.get(6..12) == Some(&guest.mac()) {
            longest = longest.max(frame.len());
        }
    }
    ensure!(
        longest == MTU + 14,
        "the longest answer has {longest} bytes"
    );
    bulk::echo(guest.port(7), 8 << 20, 3)?;
    bulk::drain(guest.port(19), 8 << 20)?;
    must_serve(&guest)?;
    let stats = Stats::read(&guest)?;
    let several = stats.get("nic_rx_merged")?;
    let whole = words.contains("pool.buffer");
    ensure!(
        (several > 50) != whole,
        "{several} frames in several buffers"
    );
    ensure!(stats.get("fragments")? == 0 && stats.get("tx_oversize")? == 0);
    must_copy_only_scattered(&stats)?;
    must_be_in_order(&guest)
}

fn disk(nic: Nic, boot: Boot, change: impl FnOnce(Launch) -> Launch) -> Result<()> {
    let launch = change(Launch::disk(boot, Machine::Q35).nic(nic));
    let guest = Guest::start_ready(&launch, Tap::for_disk_image()?)?;
    must_serve(&guest)?;
    bulk::echo(guest.port(7), 1 << 20, 11)?;
    must_be_in_order(&guest)
}

/// Without a carrier the card is left alone; connections outlive it.
fn link(nic: Nic) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("qmp");
    let socket = format!("unix:{},server=on,wait=off", path.display());
    let guest = start(nic, Machine::Q35, "", |launch| {
        launch.arg("-qmp").arg(&socket)
    })?;
    must_serve(&guest)?;
    let mut many = Many::open(guest.port(7), 5, Duration::from_secs(10))?;
    let mut qmp = Qmp::connect(&path)?;
    let mut set = |up: bool| qmp.ask("set_link", json!({ "name": "n0", "up": up }));
    let limit = Duration::from_secs(10);
    let said = |what: &str| guest.log().wait_for(what, limit).context(what.to_owned());
    set(false)?;
    said("nic: link down")?;
    set(true)?;
    said("nic: link up")?;
    eventually(limit, || must_echo_udp(guest.port(7), b"again"))?;
    many.echo(1, Duration::from_secs(20))?;
    drop(many);
    must_serve(&guest)?;
    must_be_in_order(&guest)
}

/// Frames for others, for groups that the guest is not in and in virtual LANs stay outside; what is
/// for its own groups comes in.
fn filtered(nic: Nic) -> Result<()> {
    let guest = start(nic, Machine::Q35, "", |launch| launch)?;
    let came = handed_over(&guest, 40)?;
    ensure!(came == 0, "{came} foreign frames came in");
    let target = format!("{}%{}", guest.link_local(), guest.tap().name());
    must_ping(&target, 3, "-6")?;
    must_be_in_order(&guest)
}

fn address(nic: Nic) -> Result<()> {
    let words = format!("mac={}", mac_text(OTHER));
    let guest = start(nic, Machine::Q35, &words, |launch| launch)?;
    must_be(&guest, OTHER)
}
