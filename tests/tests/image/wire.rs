//! What is on the wire in the end, as an independent decoder sees it: every checksum and every
//! segment of the guest's frames, after a host has cut and summed what the guest left to it.
//!
//! A host that is itself the peer trusts such frames, so a wrong sum stays hidden there. Here they
//! are forwarded to another host through an interface without offloads.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::{must_echo_udp, must_ping};
use tests::far::{FarHost, missing, run};
use tests::guest::Guest;
use tests::http::must_get;
use tests::launch::{Machine, Nic};
use tests::limit::case;
use tests::stats::must_be_idle;

use crate::intel;
use crate::virtio::start;

pub(crate) fn tests() -> Vec<Trial> {
    let missing = missing(&["tshark", "dumpcap", "ethtool"]);
    if !missing.is_empty() {
        eprintln!(
            "wire tests are ignored: not installed: {}",
            missing.join(", ")
        );
    }
    let kinds = [
        ("offloads_on_a_split_ring", "packed=off"),
        ("offloads_on_a_packed_ring", "packed=on"),
        ("checksums_only", "host_tso4=off,host_tso6=off"),
        ("no_offloads", "csum=off,guest_csum=off"),
    ];
    let trial = |name: &str, valid: Box<dyn FnOnce() -> Result<()> + Send>| {
        let name = format!("wire::with_{name}_every_frame_is_valid");
        case(name, 90, valid).with_ignored_flag(!missing.is_empty())
    };
    let virtio = kinds.into_iter().map(|(name, options)| {
        let cuts = !options.contains("off,");
        let start = move || start(Machine::Q35, options, "", |launch| launch);
        trial(name, Box::new(move || valid(start()?, cuts)))
    });
    let intel = [
        ("an_e1000", Nic::E1000),
        ("an_e1000e", Nic::E1000e),
        ("an_igb", Nic::Igb),
    ];
    let intel = intel.into_iter().map(|(name, nic)| {
        let start = move || intel::start(nic, Machine::Q35, "", |launch| launch);
        trial(name, Box::new(move || valid(start()?, true)))
    });
    virtio.chain(intel).collect()
}

/// Whether all that `guest` sends is, of which the card is left to cut some, or none.
fn valid(guest: Guest, cuts_some: bool) -> Result<()> {
    let far = FarHost::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("wire.pcapng");
    far.record(&file, || traffic(&guest))?;
    let cuts = must_be_idle(&guest)?.get("nic_tx_gso")?;
    ensure!((cuts > 0) == cuts_some, "{cuts} frames were left to be cut");

    let file = file.to_str().context("a plain path")?;
    let list = |filter: &str| -> Result<Vec<String>> {
        let filter = format!("ip.src == {} && ({filter})", guest.addr());
        let checks = [
            "ip.check_checksum",
            "tcp.check_checksum",
            "udp.check_checksum",
        ];
        let checks = checks.map(|key| format!("{key}:TRUE"));
        let mut arguments = vec!["-n", "-r", file, "-Y", &filter];
        for check in &checks {
            arguments.extend(["-o", check.as_str()]);
        }
        let found = run("tshark", &arguments)?;
        Ok(found.lines().map(str::to_owned).collect())
    };
    let count = |filter: &str| -> Result<usize> { Ok(list(filter)?.len()) };
    // A status of 0 is bad, 1 is good, 2 is not checked. Linux writes 0xffff for a sum of 0, in TCP as in
    // UDP: the same number in one's complement, which tshark would have written as 0 (RFC 1624).
    let bad = "ip.checksum.status == 0 || (tcp.checksum.status == 0 && tcp.checksum != 0xffff) || udp.checksum.status == 0 || icmp.checksum.status == 0";
    let bad = list(bad)?;
    ensure!(bad.is_empty(), "frames with a bad checksum: {bad:?}");
    let (segments, datagrams) = (
        count("tcp.checksum.status == 1")?,
        count("udp.checksum.status == 1")?,
    );
    ensure!(segments > 4000, "{segments} good segments");
    ensure!(datagrams >= 3, "{datagrams} good datagrams");
    ensure!(count("icmp.checksum.status == 1")? >= 2, "no good pings");
    let broken = "tcp.analysis.lost_segment || tcp.analysis.out_of_order || _ws.malformed";
    ensure!(
        count(broken)? == 0,
        "{} frames out of place",
        count(broken)?
    );
    ensure!(count("frame.len > 1514")? == 0, "frames above the MTU");
    ensure!(
        count("tcp.len == 1448 || tcp.len == 1460")? > 4000,
        "few full segments"
    );
    Ok(())
}

/// All kinds, from the far host.
fn traffic(guest: &Guest) -> Result<()> {
    must_ping(&guest.addr().to_string(), 2, "-s 1000")?;
    for size in [1, 100, 1472] {
        must_echo_udp(guest.port(7), &vec![7; size])?;
    }
    must_get(&guest.url("/metrics"))?;
    bulk::echo(guest.port(7), 4 << 20, 21)?;
    bulk::drain(guest.port(19), 4 << 20)?;
    Ok(())
}
