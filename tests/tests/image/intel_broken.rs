//! Intel cards that break in the middle of transfers: registers and descriptors are changed behind
//! the driver's back. The card is reset once, connections go on where they were, and nothing leaks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use tempfile::TempDir;
use tests::clients::eventually;
use tests::gdb::Gdb;
use tests::guest::Guest;
use tests::launch::{Machine, Nic};
use tests::limit::case;
use tests::qmp::Qmp;
use tests::stats::{Stats, must_be_idle};

use crate::intel::{CARDS, start};
use crate::virtio_broken::must_go_on;

/// Registers of the cards (SDM 13).
const RCTL: u64 = 0x0100;
const RDBAL: u64 = 0x2800;
const RDBAH: u64 = 0x2804;
const RDLEN: u64 = 0x2808;
const RDH: u64 = 0x2810;
const RDT: u64 = 0x2818;
/// Upper half of a descriptor that says "done, the frame ends", and that it has 65,535 bytes.
const LEGACY: [u8; 8] = [0xff, 0xff, 0, 0, 3, 0, 0, 0];
const EXTENDED: [u8; 8] = [3, 0, 0, 0, 0xff, 0xff, 0, 0];

pub(crate) fn tests() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, nic) in CARDS {
        trials.extend([
            case(
                format!("intel::{name}_whose_receiver_stops_is_reset_in_mid_transfer"),
                120,
                move || recovers(nic, Breakable::stop_receiver, "stopped by itself"),
            ),
            case(
                format!("intel::{name}_that_claims_too_much_is_reset_in_mid_transfer"),
                120,
                move || recovers(nic, Breakable::forge_lengths, "claims 65535"),
            ),
        ]);
    }
    trials
}

/// A guest whose memory and whose card's registers a test can write to.
pub(crate) struct Breakable {
    pub(crate) guest: Guest,
    nic: Nic,
    sockets: TempDir,
}

impl Breakable {
    fn start(nic: Nic) -> Result<Breakable> {
        Breakable::start_with(nic, "")
    }

    /// The same with further words of the command line.
    pub(crate) fn start_with(nic: Nic, words: &str) -> Result<Breakable> {
        let sockets = tempfile::tempdir()?;
        let address = |name: &str| {
            let path = sockets.path().join(name);
            format!("unix:{},server=on,wait=off", path.display())
        };
        let guest = start(nic, Machine::Q35, words, |launch| {
            let launch = launch.arg("-qmp").arg(address("qmp"));
            launch.arg("-gdb").arg(address("gdb"))
        })?;
        Ok(Breakable {
            guest,
            nic,
            sockets,
        })
    }

    /// Where the card's registers are.
    fn registers(&self) -> Result<u64> {
        let mut qmp = Qmp::connect(&self.sockets.path().join("qmp"))?;
        let buses = qmp.ask("query-pci", json!({}))?;
        let devices = buses[0]["devices"].as_array().context("no devices")?;
        let card = devices.iter().find(|device| {
            let id = &device["id"];
            let known = [0x100e, 0x10d3, 0x10c9];
            id["vendor"] == 0x8086 && known.iter().any(|known| id["device"] == *known)
        });
        let card = card.context("no card")?;
        let address = card["regions"][0]["address"].as_u64();
        address.with_context(|| format!("{card}"))
    }

    /// Does `change` while the machine stands still, with the address of the registers.
    fn change(&self, change: impl FnOnce(&mut Gdb, u64) -> Result<()>) -> Result<()> {
        let registers = self.registers()?;
        let mut gdb = Gdb::connect(&self.sockets.path().join("gdb"))?;
        change(&mut gdb, registers)?;
        gdb.detach()
    }

    /// What a register of the card holds.
    pub(crate) fn register(&self, offset: u64) -> Result<u32> {
        let mut value = 0;
        self.change(|gdb, registers| {
            value = gdb.read_word(registers + offset)?;
            Ok(())
        })?;
        Ok(value)
    }

    /// Switches the receiver off.
    pub(crate) fn stop_receiver(&self) -> Result<()> {
        self.change(|gdb, registers| {
            let control = gdb.read_word(registers + RCTL)?;
            ensure!(control & 2 != 0, "the receiver is off: {control:#x}");
            gdb.write(registers + RCTL, &[0; 4])
        })
    }

    /// Says of all receive descriptors that the card holds that they are done, with more than they
    /// hold. The card overwrites as many as frames are on their way to it, a window of TCP at most,
    /// before the driver looks: there have to be more.
    fn forge_lengths(&self) -> Result<()> {
        let upper = match self.nic {
            Nic::E1000e | Nic::Igb => EXTENDED,
            _ => LEGACY,
        };
        self.change(|gdb, registers| {
            let mut word = |register| gdb.read_word(registers + register).map(u64::from);
            let (low, high) = (word(RDBAL)?, word(RDBAH)?);
            let (size, head, tail) = (word(RDLEN)? / 16, word(RDH)?, word(RDT)?);
            let held = (tail + size - head) % size;
            ensure!(held > 100, "the card holds {held} descriptors");
            for n in head..head + held {
                let descriptor = (high << 32 | low) + n % size * 16;
                gdb.write(descriptor + 8, &upper)?;
            }
            Ok(())
        })
    }

    pub(crate) fn resets(&self) -> Result<u64> {
        Stats::read(&self.guest)?.get("nic_resets")
    }
}

fn recovers(nic: Nic, break_it: fn(&Breakable) -> Result<()>, word: &str) -> Result<()> {
    let card = Breakable::start(nic)?;
    let healed = || {
        eventually(Duration::from_secs(20), || {
            let resets = card.resets()?;
            ensure!(resets == 1, "{resets} resets");
            Ok(())
        })
    };
    must_go_on(&card.guest, 4, || break_it(&card), healed)?;
    let line = card.guest.log().find("reset, carrying on");
    let line = line.context("no line tells of it")?;
    ensure!(line.contains(word), "{line:?} lacks {word:?}");
    let stats = must_be_idle(&card.guest)?;
    ensure!(stats.get("nic_resets")? == 1, "it was reset again");
    Ok(())
}
