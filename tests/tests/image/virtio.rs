//! The virtio card in all its forms: rings, buffers, offloads, buses.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::tcp;
use tests::guest::Guest;
use tests::launch::{Launch, Machine, Nic};
use tests::limit::case;
use tests::stats::{Stats, must_be_idle, must_copy_only_scattered};
use tests::tap::Tap;

use crate::boot::must_serve;

pub(crate) fn tests() -> Vec<Trial> {
    let mut trials: Vec<Trial> = forms().into_iter().map(Form::trial).collect();
    trials.extend([
        case("virtio::features_can_be_done_without", 40, without),
        case(
            "virtio::bulk_is_cut_and_merged_by_the_card",
            60,
            segmentation,
        ),
    ]);
    trials
}

/// How the card hangs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bus {
    /// PCI, modern registers only.
    Pci,
    /// PCI, both kinds of registers on offer.
    Transitional,
    /// PCI, ports only.
    Legacy,
    /// MMIO, version 2.
    Mmio,
    /// MMIO, version 1.
    LegacyMmio,
}

impl Bus {
    fn is_legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::LegacyMmio)
    }

    fn is_mmio(self) -> bool {
        matches!(self, Self::Mmio | Self::LegacyMmio)
    }
}

/// One point of the matrix.
#[derive(Clone, Copy, Debug)]
struct Form {
    packed: bool,
    merge: bool,
    offloads: bool,
    bus: Bus,
    ring: u16,
}

const BUSES: [Bus; 5] = [
    Bus::Pci,
    Bus::Transitional,
    Bus::Legacy,
    Bus::Mmio,
    Bus::LegacyMmio,
];
const RINGS: [u16; 4] = [16, 64, 256, 1024];

/// All points if `MILLRACE_FULL_MATRIX` is set; else some in which each pair of values occurs.
fn forms() -> Vec<Form> {
    let mut all = Vec::new();
    for (number, bits) in (0..8_u8).flat_map(|b| (0..20).map(move |n| (n, b))) {
        all.push(Form {
            packed: bits & 1 != 0,
            merge: bits & 2 != 0,
            offloads: bits & 4 != 0,
            bus: BUSES[number % 5],
            ring: RINGS[number / 5],
        });
    }
    // Packed rings came with virtio 1.1.
    all.retain(|form| !(form.packed && form.bus.is_legacy()));
    if std::env::var_os("MILLRACE_FULL_MATRIX").is_some() {
        return all;
    }
    let mut chosen: Vec<Form> = Vec::new();
    let mut missing: Vec<[u32; 2]> = all.iter().flat_map(Form::pairs).collect();
    missing.sort_unstable();
    missing.dedup();
    while !missing.is_empty() {
        let covers = |form: &Form| form.pairs().filter(|pair| missing.contains(pair)).count();
        let Some(best) = all.iter().copied().max_by_key(covers) else {
            break;
        };
        missing.retain(|pair| !best.pairs().any(|covered| covered == *pair));
        chosen.push(best);
    }
    chosen
}

impl Form {
    /// Its values, each under a number of its own.
    fn values(&self) -> [u32; 5] {
        [
            u32::from(self.packed),
            10 + u32::from(self.merge),
            20 + u32::from(self.offloads),
            30 + self.bus as u32,
            1000 + u32::from(self.ring),
        ]
    }

    fn pairs(&self) -> impl Iterator<Item = [u32; 2]> + use<> {
        let values = self.values();
        (0..5).flat_map(move |a| (a + 1..5).map(move |b| [values[a], values[b]]))
    }

    fn name(&self) -> String {
        let word = |on, yes, no| if on { yes } else { no };
        format!(
            "virtio::{}_{}_{}_{}_ring_{}_serves",
            word(self.packed, "packed", "split"),
            word(self.merge, "merging", "single"),
            word(self.offloads, "offloads", "plain"),
            format!("{:?}", self.bus).to_lowercase(),
            self.ring
        )
    }

    fn trial(self) -> Trial {
        case(self.name(), 60, move || self.serves())
    }

    fn start(&self) -> Result<Guest> {
        let on = |on| if on { "on" } else { "off" };
        let Self { ring, .. } = *self;
        let mut options = format!("packed={},mrg_rxbuf={}", on(self.packed), on(self.merge));
        if !self.offloads {
            let names = ["csum", "guest_csum", "host_tso4", "host_tso6", "guest_tso4"];
            for name in names
                .into_iter()
                .chain(["guest_tso6", "guest_ecn", "host_ecn"])
            {
                options.push_str(&format!(",{name}=off"));
            }
        }
        if ring > 256 {
            options.push_str(&format!(",rx_queue_size={ring}"));
        }
        options.push_str(match self.bus {
            Bus::Pci => ",disable-legacy=on",
            Bus::Transitional => ",disable-legacy=off,disable-modern=off",
            Bus::Legacy => ",disable-legacy=off,disable-modern=on",
            Bus::Mmio | Bus::LegacyMmio => "",
        });
        let machine = if self.bus.is_mmio() {
            Machine::Microvm
        } else {
            Machine::Q35
        };
        let words = format!("ring.rx={ring} ring.tx={}", ring.min(256));
        start(machine, &options, &words, |launch| match self.bus {
            Bus::LegacyMmio => launch.arg("-global").arg("virtio-mmio.force-legacy=on"),
            _ => launch,
        })
    }

    /// Large frames need several of the small buffers here, and a ring that has enough of them.
    fn merges(&self) -> bool {
        self.offloads && self.merge && self.ring >= 64
    }

    fn serves(self) -> Result<()> {
        let guest = self.start()?;
        let features = features(&guest)?;
        for (name, expected) in [
            ("packed ring", self.packed),
            ("split ring", !self.packed),
            ("version_1", !self.bus.is_legacy()),
            ("any_layout", self.bus.is_legacy()),
            ("indirect_desc", true),
            ("csum", self.offloads),
            ("guest_csum", self.offloads),
            ("host_tso4", self.offloads),
            ("guest_tso4", self.merges()),
            ("mrg_rxbuf", self.merges()),
        ] {
            let there = format!(" {features} ").contains(&format!(" {name} "));
            ensure!(there == expected, "{name} is {there} in {features:?}");
        }
        let info = Stats::read(&guest)?;
        ensure!(info.get("ring_rx_size")? == u64::from(self.ring));
        must_serve(&guest)?;
        bulk::echo(guest.port(7), 4 << 20, 11)?;
        bulk::drain(guest.port(19), 4 << 20)?;
        let stats = must_be_idle(&guest)?;
        must_copy_only_scattered(&stats)?;
        let (cut, merged) = (stats.get("nic_tx_gso")?, stats.get("nic_rx_gso")?);
        ensure!((cut > 0) == self.offloads, "{cut} frames were cut");
        ensure!((merged > 0) == self.merges(), "{merged} frames were merged");
        ensure!(stats.get("nic_resets")? == 0, "the card was reset");
        Ok(())
    }
}

pub(crate) fn start(
    machine: Machine,
    options: &str,
    words: &str,
    change: impl FnOnce(Launch) -> Launch,
) -> Result<Guest> {
    start_on(Tap::new()?, machine, options, words, change)
}

pub(crate) fn start_on(
    tap: Tap,
    machine: Machine,
    options: &str,
    words: &str,
    change: impl FnOnce(Launch) -> Launch,
) -> Result<Guest> {
    let cmdline = format!("{} services=all {words}", tap.static_config());
    let launch = Launch::pvh(machine, cmdline).nic(Nic::Virtio);
    let launch = launch.nic_options(options);
    Guest::start_ready(&change(launch), tap)
}

/// The kernel's account of what was negotiated.
pub(crate) fn features(guest: &Guest) -> Result<String> {
    let line = guest.log().wait_for("virtio-net at", Duration::ZERO);
    let line = line.context("no word of the card")?;
    let (_, features) = line.split_once("rings ").context(line.clone())?;
    let (_, features) = features.split_once(", ").context(line.clone())?;
    Ok(features.to_owned())
}

/// What the command line names is not used, and the rest goes on.
fn without() -> Result<()> {
    for (words, gone, there) in [
        ("-tso,-guest_tso", "tso", "csum guest_csum"),
        ("-packed", "packed ring", "split ring"),
        ("-csum", "host_tso4", "guest_tso4"),
        ("-guest_csum,-event_idx", "event_idx", "host_tso4"),
        ("-mrg,-status,-mtu", "mrg_rxbuf", "host_tso4"),
        ("-indirect_desc", "indirect_desc", "ctrl_rx"),
    ] {
        let words = format!("virtio.features={words}");
        let guest = start(Machine::Q35, "packed=on", &words, |launch| launch)?;
        let features = features(&guest)?;
        ensure!(
            !features.contains(gone),
            "{gone} in {features:?} with {words}"
        );
        ensure!(
            features.contains(there),
            "no {there} in {features:?} with {words}"
        );
        must_serve(&guest)?;
        bulk::echo(guest.port(7), 1 << 20, 5)?;
    }
    Ok(())
}

/// In bulk, most frames either way are larger than the MTU, and most of those that come in are
/// read where they lie.
fn segmentation() -> Result<()> {
    let guest = start(Machine::Q35, "", "", |launch| launch)?;
    let mut into = tcp(guest.port(9))?;
    let chunk = vec![0x6d; 1 << 20];
    for _ in 0..64 {
        into.write_all(&chunk)?;
    }
    drop(into);
    bulk::drain(guest.port(19), 64 << 20)?;
    let stats = must_be_idle(&guest)?;
    must_copy_only_scattered(&stats)?;
    let get = |key| stats.get(key);
    let (merged, cut) = (get("nic_rx_gso")?, get("nic_tx_gso")?);
    // The ring has room for sixteen of these frames, and one lies across its end.
    let (chains, in_place) = (get("nic_rx_merged")?, get("nic_rx_in_place")?);
    ensure!(
        in_place * 10 >= chains * 9,
        "of {chains} frames in several buffers {in_place} were in place"
    );
    // 64 MiB in frames of at most 64 KiB each way are 1,024 at the least.
    ensure!(merged >= 1000, "{merged} merged frames came");
    ensure!(cut >= 1000, "{cut} frames were cut");
    ensure!(
        get("nic_rx")? < 20_000,
        "{} frames for 64 MiB in",
        get("nic_rx")?
    );
    println!(
        "64 MiB each way: {merged} merged frames in, {} in place of {} in several buffers, {} bytes copied; {cut} frames cut",
        get("nic_rx_in_place")?,
        get("nic_rx_merged")?,
        get("linearised_bytes")?,
    );
    Ok(())
}
