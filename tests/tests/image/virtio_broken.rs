//! A virtio card that breaks while it is used: its ring is damaged from outside, as by a fault in the
//! host, and the guest has to notice, reset it and carry on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use tempfile::TempDir;
use tests::bulk::Pattern;
use tests::clients::{eventually, tcp};
use tests::frames::{BROADCAST, ethernet};
use tests::gdb::Gdb;
use tests::guest::Guest;
use tests::launch::{Launch, Machine};
use tests::limit::case;
use tests::link::{Link, PacketSocket};
use tests::qmp::Qmp;
use tests::stats::{Stats, must_be_idle};
use tests::tap::Tap;

use crate::boot::must_serve;
use crate::virtio::start_on;

pub(crate) fn tests() -> Vec<Trial> {
    let both = [("split", false), ("packed", true)].into_iter();
    both.flat_map(|(ring, packed)| {
        [
            case(
                format!("virtio::a_broken_{ring}_ring_is_reset_and_connections_go_on"),
                120,
                move || recovery(packed, ""),
            ),
            case(
                format!("virtio::a_{ring}_ring_that_keeps_breaking_is_reset_each_time"),
                120,
                move || again_and_again(packed),
            ),
        ]
    })
    .chain([
        case(
            "virtio::a_broken_legacy_ring_is_reset_and_connections_go_on",
            120,
            // Such a device cannot ask for a reset: the watchdog finds out.
            || recovery(false, LEGACY),
        ),
        case(
            "virtio::a_ring_that_broke_without_a_word_is_reset_though_nothing_is_sent",
            120,
            || unheard(""),
        ),
        case(
            "virtio::a_legacy_ring_that_broke_is_reset_though_nothing_is_sent",
            120,
            || unheard(LEGACY),
        ),
    ])
    .collect()
}

/// Properties of a card that has only the legacy interface.
const LEGACY: &str = ",disable-legacy=off,disable-modern=on";

/// Flag of a descriptor that points to a table of descriptors.
const INDIRECT: u8 = 4;

/// A guest whose memory a test can write to.
pub(crate) struct Breakable {
    pub(crate) guest: Guest,
    packed: bool,
    sockets: TempDir,
}

impl Breakable {
    fn start(packed: bool) -> Result<Breakable> {
        Breakable::start_with(packed, Tap::new()?, "", "", |launch| launch)
    }

    /// The same with further properties of the card and words of the command line.
    pub(crate) fn start_with(
        packed: bool,
        tap: Tap,
        properties: &str,
        words: &str,
        change: impl FnOnce(Launch) -> Launch,
    ) -> Result<Breakable> {
        let sockets = tempfile::tempdir()?;
        let address = |name: &str| {
            let path = sockets.path().join(name);
            format!("unix:{},server=on,wait=off", path.display())
        };
        let ring = if packed { "packed=on" } else { "packed=off" };
        let options = format!("{ring}{properties}");
        let guest = start_on(tap, Machine::Q35, &options, words, |launch| {
            change(launch)
                .arg("-qmp")
                .arg(address("qmp"))
                .arg("-gdb")
                .arg(address("gdb"))
        })?;
        Ok(Breakable {
            guest,
            packed,
            sockets,
        })
    }

    /// Makes each receive descriptor point to a table of one byte, which the device takes for a
    /// broken driver: at the next frame it stops and asks to be reset.
    pub(crate) fn break_ring(&self) -> Result<()> {
        self.break_ring_and(|| Ok(()))
    }

    /// The same; does `meanwhile` while the machine stands still.
    fn break_ring_and(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let path = self.sockets.path();
        let mut qmp = self.qmp()?;
        let queue = qmp.virtio_queue(0)?;
        let mut gdb = Gdb::connect(&path.join("gdb"))?;
        for number in 0..queue.size {
            let descriptor = queue.descriptors + 16 * number;
            let flags = descriptor + if self.packed { 14 } else { 12 };
            let [low, high] = gdb.read(flags)?;
            gdb.write(flags, &[low | INDIRECT, high])?;
            gdb.write(descriptor + 8, &[1, 0, 0, 0])?;
        }
        meanwhile()?;
        gdb.detach()?;
        let status = qmp.ask("query-status", json!({}))?;
        ensure!(status["running"] == true, "it stands still: {status}");
        Ok(())
    }

    /// The same once no frames are on their way: with some, QEMU may forget to ask for the reset (see
    /// [`recovery`]).
    pub(crate) fn break_quiet_ring(&self) -> Result<()> {
        std::thread::sleep(Duration::from_millis(300));
        self.break_ring()
    }

    /// The machine's monitor.
    pub(crate) fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.sockets.path().join("qmp"))
    }

    pub(crate) fn resets(&self) -> Result<u64> {
        Stats::read(&self.guest)?.get("nic_resets")
    }

    /// Lines of the log that tell of a reset.
    fn lines(&self) -> usize {
        let log = self.guest.log().render();
        log.lines()
            .filter(|line| line.contains("reset, carrying on"))
            .count()
    }
}

/// Sends `bytes` and reads them back; does `meanwhile` once a quarter of them has come.
fn exchange_and(
    stream: &mut TcpStream,
    bytes: &[u8],
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let sent = bytes.to_vec();
    let sender = std::thread::spawn(move || writer.write_all(&sent));
    let mut echoed = vec![0; bytes.len()];
    let (first, rest) = echoed.split_at_mut(bytes.len() / 4);
    stream.read_exact(first).context("the echo stopped")?;
    meanwhile()?;
    stream.read_exact(rest).context("the echo stopped")?;
    sender
        .join()
        .map_err(|_| anyhow::anyhow!("the sending thread panicked"))??;
    ensure!(echoed == bytes, "the echo differs");
    Ok(())
}

fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    exchange_and(stream, bytes, || Ok(()))
}

/// Breaks the card in the middle of a transfer on one of `connections`, and waits as `healed` does. All
/// of them go on where they were, bit by bit, and new ones are served.
pub(crate) fn must_go_on(
    guest: &Guest,
    connections: usize,
    break_it: impl FnOnce() -> Result<()>,
    healed: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut pattern = Pattern::new(77);
    let mut bytes = vec![0; 8 << 20];
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = tcp(guest.port(7))?;
        stream.set_read_timeout(Some(Duration::from_secs(45)))?;
        streams.push(stream);
    }
    for stream in &mut streams {
        exchange(stream, b"before")?;
    }
    pattern.fill(&mut bytes);
    exchange_and(&mut streams[0], &bytes, break_it)?;
    healed()?;
    for stream in &mut streams {
        pattern.fill(&mut bytes[..1 << 20]);
        exchange(stream, &bytes[..1 << 20])?;
    }
    drop(streams);
    must_serve(guest)
}

/// A device that stops in the middle of a transfer: it is reset once, this connection and those
/// that are idle go on where they were, bit by bit, and nothing leaks.
///
/// With frames waiting, QEMU finds the fault in the moment in which it lets the machine go on, and
/// then forgets to ask for the reset (seen with 7.2). Either the driver is asked, or its watchdog
/// finds out.
fn recovery(packed: bool, properties: &str) -> Result<()> {
    let card = Breakable::start_with(packed, Tap::new()?, properties, "", |launch| launch)?;
    must_go_on(&card.guest, 8, || card.break_ring(), || Ok(()))?;
    let resets = card.resets()?;
    ensure!(resets == 1, "{resets} resets");
    ensure!(card.lines() == 1, "{} lines tell of it", card.lines());
    must_be_idle(&card.guest)?;
    Ok(())
}

/// A receiver that broke and did not say so, to a guest that sends nothing by itself: frames wait when
/// the machine goes on, so that QEMU forgets to ask for the reset (see [`recovery`]), and no others
/// come. The guest breaks the silence, and the watchdog sees that nothing leaves.
fn unheard(properties: &str) -> Result<()> {
    let card = Breakable::start_with(false, Tap::new()?, properties, "", |launch| launch)?;
    let wire = PacketSocket::open(card.guest.tap().name())?;
    std::thread::sleep(Duration::from_millis(300));
    card.break_ring_and(|| {
        let frame = ethernet(BROADCAST, [2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]);
        (0..8).try_for_each(|_| wire.send(&frame))
    })?;
    let log = card.guest.log();
    let line = log.wait_for("reset, carrying on", Duration::from_secs(45));
    line.context("it is not noticed")?;
    must_serve(&card.guest)?;
    let resets = card.resets()?;
    ensure!(resets == 1, "{resets} resets");
    must_be_idle(&card.guest)?;
    Ok(())
}

/// Each break is survived, and counted once.
fn again_and_again(packed: bool) -> Result<()> {
    let card = Breakable::start(packed)?;
    let mut stream = tcp(card.guest.port(7))?;
    let bytes = vec![0x42; 64 * 1024];
    for round in 1..=4 {
        exchange(&mut stream, &bytes)?;
        card.break_quiet_ring()?;
        eventually(Duration::from_secs(30), || {
            let resets = card.resets()?;
            ensure!(resets == round, "{resets} resets after {round} breaks");
            Ok(())
        })?;
    }
    exchange(&mut stream, &bytes)?;
    ensure!(card.lines() == 4, "{} lines tell of it", card.lines());
    drop(stream);
    must_be_idle(&card.guest)?;
    Ok(())
}
