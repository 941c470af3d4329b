//! The self-test (`selftest=yes`) on every machine and card, and what a person sees of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::frames::Mac;
use tests::guest::{Guest, Vm};
use tests::launch::{Boot, Launch, Machine, Nic, Wire};
use tests::limit::case;
use tests::link::{Link, PacketSocket};
use tests::qmp::Qmp;
use tests::screen::Screen;
use tests::tap::Tap;

/// What QEMU exits with when the guest writes 0x16 to `isa-debug-exit`, and 0x17.
const PASSED: i32 = (0x16 << 1) | 1;
const FAILED: i32 = (0x17 << 1) | 1;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// From QEMU's start to the end of the test; a UEFI boot under TCG takes seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// Parts of the machine.
const PARTS: [&str; 10] = [
    "memory",
    "timer",
    "local APIC",
    "I/O APIC",
    "PCI",
    "pool",
    "NIC",
    "NIC interrupt",
    "NIC loopback",
    "NIC chains",
];

const CARDS: [(&str, Nic); 4] = [
    ("virtio", Nic::Virtio),
    ("e1000", Nic::E1000),
    ("e1000e", Nic::E1000e),
    ("igb", Nic::Igb),
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut trials = vec![
        case("selftest::on_microvm_passes", 60, || {
            let launch = Launch::pvh(Machine::Microvm, "selftest=yes").nic(Nic::Virtio);
            let skipped = ["PCI", "NIC interrupt", "NIC loopback"];
            must_pass(&launch, &skipped)
        }),
        case("selftest::without_a_card_fails", 60, no_card),
        case("selftest::on_a_pc_stands_on_the_screen", 90, screen),
    ];
    trials.extend([
        case("virtio::chains_of_a_split_ring_leave_by_tables", 60, || {
            chains("packed=off")
        }),
        case(
            "virtio::chains_of_a_packed_ring_leave_by_tables",
            60,
            || chains("packed=on"),
        ),
    ]);
    for (name, nic) in CARDS {
        for (on, machine) in [("q35", Machine::Q35), ("pc", Machine::Pc)] {
            let launch = Launch::pvh(machine, "selftest=yes").nic(nic);
            let name = format!("selftest::of_{name}_on_{on}_passes");
            trials.push(case(name, 60, move || must_pass(&launch, skipped_on(nic))));
        }
        for (way, boot) in [("bios", Boot::Bios), ("uefi", Boot::Uefi)] {
            let launch = Launch::disk(boot, Machine::Q35).self_test().nic(nic);
            let name = format!("selftest::of_{name}_from_a_{way}_disk_with_six_gibibytes_passes");
            trials.push(case(name, 90, move || {
                above_four_gib(launch.mem(6144), nic)
            }));
        }
    }
    trials
}

/// A virtio card has no loopback, and interrupts for nothing but frames.
fn skipped_on(nic: Nic) -> &'static [&'static str] {
    match nic {
        Nic::Virtio => &["NIC interrupt", "NIC loopback"],
        _ => &[],
    }
}

/// The line about a part of the machine.
fn line(log: &str, part: &str) -> Result<String> {
    let start = format!("selftest: {part}: ");
    let mut lines = log.lines().filter_map(|line| line.split_once(&start));
    let (_, found) = lines.next().with_context(|| format!("no line {start:?}"))?;
    ensure!(lines.next().is_none(), "{start:?} comes twice");
    Ok(found.to_owned())
}

/// Runs to the end; returns the log.
fn run(launch: &Launch, wire: &Wire, status: i32) -> Result<String> {
    let vm = Guest::start_on(launch, wire, MAC)?;
    let ended = vm.process.wait(LIMIT)?;
    let log = vm.log.wait_end(Duration::from_secs(5));
    ensure!(ended.code() == Some(status), "exit status {ended}");
    Ok(log)
}

fn must_pass(launch: &Launch, skipped: &[&str]) -> Result<()> {
    passes(launch, skipped).map(drop)
}

fn passes(launch: &Launch, skipped: &[&str]) -> Result<String> {
    let log = run(launch, &Wire::User, PASSED)?;
    for part in PARTS {
        let expected = if skipped.contains(&part) {
            "SKIP "
        } else {
            "PASS "
        };
        let found = line(&log, part)?;
        ensure!(found.starts_with(expected), "{part}: {found}");
    }
    let (all, skipped) = (PARTS.len(), skipped.len());
    let summary = format!("{} passed, 0 failed, {skipped} skipped", all - skipped);
    ensure!(log.contains(&summary), "the log lacks {summary:?}");
    Ok(log)
}

/// EtherType of the self-test's frames.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The frame with number `n` from a card with the address `mac`.
fn sent(n: usize, mac: Mac) -> Vec<u8> {
    let mut frame = [&mac[..], &mac, &ETHERTYPE].concat();
    frame.extend([n as u8, !n as u8]);
    frame.extend((16..60 + n * 1454 / 63).map(|at| (at * 31 + n * 101 + at / 251) as u8));
    frame
}

/// Frames in several buffers are on the wire as they should be, and each has the place of one in the ring where
/// the card takes tables, of as many as it has buffers where it does not.
fn chains(properties: &str) -> Result<()> {
    for (words, room) in [("", 1), ("virtio.features=-indirect_desc", 8)] {
        let tap = Tap::new()?;
        let (wire, mac) = (PacketSocket::open(tap.name())?, tap.guest_mac());
        let launch = Launch::pvh(Machine::Q35, format!("selftest=yes {words}"));
        let guest = Guest::start(&launch.nic(Nic::Virtio).nic_options(properties), tap)?;
        let status = guest.wait_exit(LIMIT)?;
        ensure!(status.code() == Some(PASSED), "exit status {status}");
        let log = guest.log().render();
        let expected = format!(
            "PASS frames in 2 to 8 buffers were sent, the last in the place of {room} in one"
        );
        let found = line(&log, "NIC chains")?;
        ensure!(found == expected, "{found}");
        let mut numbers = [15, 23, 31, 39, 47, 55, 63].into_iter();
        while let Some(frame) = wire.receive(Duration::from_millis(500))? {
            if frame.get(12..14) != Some(&ETHERTYPE) {
                continue;
            }
            let n = numbers.next().context("a frame too many")?;
            ensure!(frame == sent(n, mac), "frame {n} is {frame:02x?}");
        }
        ensure!(numbers.next().is_none(), "frames are missing");
    }
    Ok(())
}

/// The card works on memory that an address of 32 bits does not reach.
fn above_four_gib(launch: Launch, nic: Nic) -> Result<()> {
    let log = passes(&launch, skipped_on(nic))?;
    let found = line(&log, "NIC")?;
    let address = found.rsplit_once("buffers from 0x").map(|(_, hex)| hex);
    let address = u64::from_str_radix(address.context("no address")?, 16)?;
    ensure!(address >= 1 << 32, "buffers at {address:#x}");
    Ok(())
}

fn no_card() -> Result<()> {
    let launch = Launch::pvh(Machine::Q35, "selftest=yes").device("rtl8139,romfile=");
    let log = run(&launch, &Wire::Nothing, FAILED)?;
    let card = line(&log, "NIC")?;
    ensure!(
        card.starts_with("FAIL no network card") && card.contains("10ec:8139"),
        "{card}"
    );
    ensure!(line(&log, "PCI")?.contains("10ec:8139 at 0000:00:01.0"));
    ensure!(log.contains("6 passed, 1 failed, 0 skipped"));
    Ok(())
}

/// What stands on the serial line stands on the screen too, and stays there.
fn screen() -> Result<()> {
    for boot in [Boot::Bios, Boot::Uefi] {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("qmp");
        let socket = format!("unix:{},server=on,wait=off", path.display());
        let launch = Launch::disk(boot, Machine::Q35).self_test().halting();
        let launch = launch.nic(Nic::E1000e).arg("-qmp").arg(socket);
        let vm = Guest::start_on(&launch, &Wire::User, MAC)?;
        let outcome = must_stand_on_the_screen(&vm, &path, folder.path());
        vm.process.kill();
        outcome.with_context(|| format!("{boot:?}"))?;
    }
    Ok(())
}

fn must_stand_on_the_screen(
    vm: &Vm,
    socket: &std::path::Path,
    folder: &std::path::Path,
) -> Result<()> {
    let end = "halted (self-test passed)";
    let halted = vm.log.wait_for(end, LIMIT);
    halted.context("no word of its end")?;
    // A line is on the serial port before it is on the screen.
    let (mut qmp, since) = (Qmp::connect(socket)?, Instant::now());
    let screen = loop {
        let screen = Screen::read(&mut qmp, folder)?;
        if screen.shows(end) || since.elapsed() > Duration::from_secs(10) {
            break screen;
        }
        sleep(Duration::from_millis(50));
    };
    let mut count = 0;
    for part in PARTS {
        let start = format!("selftest: {part}: ");
        let line = vm.log.find(&start).with_context(|| start.clone())?;
        let (_, text) = line.split_once(&start).context("it starts so")?;
        let line = format!("{start}{text}");
        ensure!(screen.shows(&line), "{line:?} is not among {screen:#?}");
        count += 1;
    }
    ensure!(count == PARTS.len() && screen.shows(end));
    Ok(())
}
