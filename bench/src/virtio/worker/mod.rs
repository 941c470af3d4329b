//! The process in which this project's driver runs: it takes requests line by line, as
//! `peers/virtio_user.c` does. For each it connects to the back end, warms up, measures and
//! disconnects.
#![forbid(unsafe_code)]

mod loops;
mod serving;

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use drivers::net::{Health, NetDevice};
use drivers::virtio::Features;
use drivers::virtio::net::{HEADER_LEN, Options, VirtioNet};
use kernel::net::Pools;
use pbufpool::test_utils::Threads;
use pbufpool::{DmaMemory, Pool, PoolConfig};

use self::loops::{Driver, Limit, Tally};
use self::serving::Serving;
use super::host::Process;
use super::measure::LIKE_FOR_LIKE;
use super::memory::HugeMemory;
use super::request::{Amount, Case, Request, RingKind, Sample};
use super::transport::VhostUser;
use super::tsc;
use crate::callgrind::{measured_dump, measured_run};
use crate::child::pin;

/// Bytes of shared memory.
const MEMORY: usize = 64 << 20;
/// Packets in a pool; DPDK's has one less.
const PACKETS: usize = 4096;
/// Two of these a core: DPDK's cache holds 256.
const MAGAZINE: usize = 128;
/// Bytes of a buffer: a line more than 2 KiB, so that the first lines of all buffers do not fall into two
/// sets of a first-level cache. DPDK's elements are of an odd size for the same reason.
const BUFFER: usize = 2112;
/// Buffers of the longest merged frame.
const PARTS: u16 = 33;

/// What DPDK's driver does not negotiate as it comes: it knows no event index, and `peers/virtio_user.c`
/// asks for no checksums.
const NOT_DPDKS: Features = Features::CSUM
    .union(Features::GUEST_CSUM)
    .union(Features::EVENT_IDX);

/// For a counted run, which would not end if the back end lost its frames.
const LONGEST_COUNT_MS: u64 = 10_000;

/// Serves requests until standard input ends.
pub(crate) fn serve(core: usize, socket: &str) -> Result<()> {
    pin(core);
    let worker = Worker::new(socket)?;
    println!("ready");
    for line in stdin().lock().lines() {
        let line = line?;
        let request: Request = line.parse().with_context(|| format!("request {line:?}"))?;
        match worker.run(&request)? {
            Some(sample) => println!("{sample}"),
            None => println!("none"),
        }
        stdout().flush()?;
    }
    Ok(())
}

/// What lives from run to run.
struct Worker {
    socket: PathBuf,
    memory: &'static HugeMemory,
    host: &'static Process,
    cycles_per_ms: u64,
    /// Buffers to receive into, one a frame; to receive into, as many as a frame takes; to send from.
    single: Pool,
    merged: Pool,
    sending: Pool,
}

impl Worker {
    fn new(socket: &str) -> Result<Self> {
        let memory = HugeMemory::leaked(MEMORY)?;
        let source: &'static dyn DmaMemory = memory;
        let threads = Threads::leaked(1);
        let config = |name| {
            PoolConfig::new(name)
                .packets(PACKETS)
                .buffer_size(BUFFER)
                .header(HEADER_LEN)
                .magazine_capacity(MAGAZINE)
        };
        let pool = |config| Pool::new(config, source, threads);
        let chains = config("merged").on_demand(true).max_frags(PARTS);
        Ok(Self {
            socket: Path::new(socket).to_owned(),
            memory,
            host: Process::leaked(memory),
            cycles_per_ms: tsc::per_ms(),
            single: pool(config("single"))?,
            merged: pool(chains.monolithic(true))?,
            sending: pool(config("sending"))?,
        })
    }

    /// Runs a request; `None` if there is no such contender.
    fn run(&self, request: &Request) -> Result<Option<Sample>> {
        let (receiving, without) = match request.contender.as_str() {
            "ours" => (&self.single, Features::empty()),
            "ours-merged" => (&self.merged, Features::empty()),
            LIKE_FOR_LIKE => (&self.single, NOT_DPDKS),
            _ => return Ok(None),
        };
        let other_ring = match request.ring {
            RingKind::Split => Features::RING_PACKED,
            RingKind::Packed => Features::empty(),
        };
        let options = Options {
            without: without | other_ring,
            ..Options::default()
        };
        let transport = VhostUser::connect(&self.socket, self.memory)?;
        let nic = VirtioNet::new(transport, receiving.clone(), self.host, options)
            .map_err(|why| anyhow::anyhow!("{why}"))?;
        let limits = self.limits(request.amount);
        let (measured, lost) = if request.case == Case::Stack {
            let pools = Pools {
                rx: receiving.clone(),
                tx: self.sending.clone(),
                large: None,
            };
            let mut serving = Serving::new(nic, pools, self.cycles_per_ms)?;
            let measured = measured(limits, |limit| serving.run(limit));
            (measured, serving.end()?)
        } else {
            let mut driver = Driver::new(nic, self.sending.clone());
            let measured = drive(&mut driver, request.case, limits)?;
            (measured, driver.lost)
        };
        let (tally, ns) = measured;
        Ok(Some(Sample {
            packets: tally.packets,
            ns,
            busy_ns: tally.busy as f64 * ns / tally.cycles.max(1) as f64,
            bursts: tally.bursts,
            idle: tally.idle,
            lost,
        }))
    }

    /// Where the run ends, and the one before it that warms up.
    fn limits(&self, amount: Amount) -> [Limit; 2] {
        match amount {
            Amount::Milliseconds(ms) => {
                let cycles = ms * self.cycles_per_ms;
                [Limit::cycles(cycles / 4), Limit::cycles(cycles)]
            }
            Amount::Packets(packets) => {
                let longest = LONGEST_COUNT_MS * self.cycles_per_ms;
                [packets / 4, packets].map(|packets| Limit::packets(packets, longest))
            }
        }
    }
}

/// Runs a case that is the driver's alone.
fn drive(driver: &mut Driver, case: Case, limits: [Limit; 2]) -> Result<(Tally, f64)> {
    if case == Case::Echo {
        driver.seed()?;
    }
    let measured = measured(limits, |limit| match case {
        Case::Tx => driver.transmit(limit),
        Case::Rx => driver.receive(limit),
        Case::Echo | Case::Stack => driver.echo(limit),
    });
    if case == Case::Echo {
        driver.drain();
    }
    let (health, drops) = (driver.nic.health(), driver.nic.stats().drops);
    ensure!(health == Health::Ok, "{health:?}");
    ensure!(drops.total() == 0, "dropped: {drops:?}");
    Ok(measured)
}

/// Warms up and measures; returns what the second run came to, and its nanoseconds.
fn measured([warm, limit]: [Limit; 2], mut run: impl FnMut(Limit) -> Tally) -> (Tally, f64) {
    let mut tally = Tally::default();
    measured_run(&mut || tally = run(warm));
    measured_dump(); // the warm-up's profile is of no use
    let start = Instant::now();
    measured_run(&mut || tally = run(limit));
    let ns = start.elapsed().as_nanos() as f64;
    measured_dump();
    (tally, ns)
}
