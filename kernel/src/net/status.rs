//! A view of everything that is counted, for those who report it.
//!
//! The statistics service prints it as one line, HTTP as a page and as Prometheus text. The list
//! of metrics is one ([`Status::metrics`]), so the three cannot disagree.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;
use core::ops::Deref;

use drivers::net::{LentCounts, LinkState};

use super::core::Core;
use super::counters::Refusal;
use super::pools::PoolsStats;
use crate::services::http::KeptPage;

/// What the stack asks of the machine.
pub trait System: Sync {
    /// Memory, as it stands.
    fn memory(&self) -> Memory;

    /// Heap bytes free, which is asked for each new connection.
    fn heap_free(&self) -> usize {
        self.memory().heap_free_bytes
    }

    /// Interrupts since boot.
    fn interrupts(&self) -> Interrupts;

    /// What going to sleep took since boot.
    fn naps(&self) -> Naps;
}

/// What going to sleep takes besides arming the NIC, since boot. Under a hypervisor each is an exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Naps {
    /// Times the processor halted.
    pub halts: u64,
    /// Times the timer was set.
    pub timer_sets: u64,
}

/// Interrupts: since boot, or a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// From devices.
    pub device: u64,
    /// From the timer.
    pub timer: u64,
}

/// Memory figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All RAM, in KiB.
    pub total_kb: u64,
    /// RAM that is neither used nor set aside, and free heap, in KiB.
    pub available_kb: u64,
    /// Heap bytes in use.
    pub heap_bytes: usize,
    /// The most heap bytes ever in use.
    pub heap_peak_bytes: usize,
    /// Heap bytes free.
    pub heap_free_bytes: usize,
    /// Heap allocations since boot.
    pub heap_allocs: u64,
    /// Heap frees since boot.
    pub heap_frees: u64,
}

/// What services count and keep by themselves. Cells: a service holds the status by shared reference.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Datagrams that the discard service received.
    pub udp_discarded: Cell<u64>,
    /// Bytes that the TCP discard service received.
    pub tcp_discarded_bytes: Cell<u64>,
    /// HTTP requests answered with 200.
    pub http_ok: Cell<u64>,
    /// HTTP requests answered otherwise.
    pub http_refused: Cell<u64>,
    /// The status page, made a moment ago.
    pub page: KeptPage,
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number with its name.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Group, used as a prefix where names must be unique: empty, `nic_drop_`, …
    pub group: &'static str,
    /// Name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Value.
    pub value: u64,
}

/// The state of everything, at one moment: the stack's shared half, for reading.
#[derive(Clone, Copy)]
pub struct Status<'a>(&'a Core);

impl<'a> Status<'a> {
    /// That of `core`.
    pub(super) fn new(core: &'a Core) -> Self {
        Self(core)
    }

    /// Interrupts a second, as of late.
    pub fn interrupts_per_second(&self) -> Interrupts {
        self.rates.per_second()
    }
}

impl Deref for Status<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        self.0
    }
}

impl Status<'_> {
    /// Calls `each` with every metric, the most wanted first.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn metrics(
        &self,
        each: &mut dyn FnMut(Metric) -> Result<(), fmt::Error>,
    ) -> Result<(), fmt::Error> {
        self.metrics_with(&self.link.pools().stats(), each)
    }

    /// The same, for who has asked the pools already.
    pub(crate) fn metrics_with(
        &self,
        pools: &PoolsStats,
        each: &mut dyn FnMut(Metric) -> Result<(), fmt::Error>,
    ) -> Result<(), fmt::Error> {
        let nic = self.link.nic().stats();
        let memory = self.system.memory();
        let interrupts = self.system.interrupts();
        let naps = self.system.naps();
        let rates = self.interrupts_per_second();
        let dropped = nic.drops.total() + self.counters.refused_total();
        let mut put = |group, kind, pairs: &[(&'static str, u64)]| {
            pairs.iter().try_for_each(|&(name, value)| {
                each(Metric {
                    group,
                    name,
                    kind,
                    value,
                })
            })
        };
        put(
            "",
            Kind::Counter,
            &[
                ("udp_rx", self.services.udp_discarded.get()),
                ("nic_rx", nic.rx_packets),
                ("nic_drop", dropped),
                ("nic_tx", nic.tx_packets),
            ],
        )?;
        put(
            "",
            Kind::Gauge,
            &[
                ("mem_total_kb", memory.total_kb),
                ("mem_avail_kb", memory.available_kb),
            ],
        )?;
        let lent = self.link.lent();
        put("", Kind::Gauge, &self.pool(pools, lent))?;
        let failures = ("pool_alloc_fail", pools.failures);
        put("", Kind::Counter, &[failures])?;
        put("", Kind::Gauge, &self.rings(lent))?;
        put(
            "",
            Kind::Gauge,
            &[
                ("heap_bytes", memory.heap_bytes as u64),
                ("heap_peak_bytes", memory.heap_peak_bytes as u64),
                ("tcp_open", self.tcp_open as u64),
                ("tcp_ended", self.tcp_ended as u64),
            ],
        )?;
        put(
            "",
            Kind::Gauge,
            &[
                ("device_interrupts_per_s", rates.device),
                ("timer_interrupts_per_s", rates.timer),
            ],
        )?;
        put(
            "",
            Kind::Counter,
            &[
                ("heap_allocs", memory.heap_allocs),
                ("heap_frees", memory.heap_frees),
            ],
        )?;
        put("", Kind::Counter, &self.counters.named())?;
        put(
            "",
            Kind::Counter,
            &[
                ("nic_rx_bytes", nic.rx_bytes),
                ("nic_tx_bytes", nic.tx_bytes),
                ("nic_doorbells", nic.doorbells),
                ("device_interrupts", interrupts.device),
                ("timer_interrupts", interrupts.timer),
                ("timer_sets", naps.timer_sets),
                ("halts", naps.halts),
                ("nic_rx_no_buffer", nic.rx_no_buffer),
                ("nic_resets", nic.resets),
                ("nic_commands", nic.commands),
                ("nic_rx_merged", nic.rx_merged),
                ("nic_rx_in_place", nic.rx_merged_in_place),
                ("nic_rx_gso", nic.rx_gso),
                ("nic_tx_gso", nic.tx_gso),
                ("linearised", pools.linearised),
                ("linearised_bytes", pools.linearised_bytes),
                ("http_ok", self.services.http_ok.get()),
                ("http_refused", self.services.http_refused.get()),
                (
                    "tcp_discarded_bytes",
                    self.services.tcp_discarded_bytes.get(),
                ),
            ],
        )?;
        for &why in Refusal::ALL {
            put(
                "",
                Kind::Counter,
                &[(why.name(), self.counters.refused(why))],
            )?;
        }
        nic.drops
            .iter()
            .try_for_each(|pair| put("nic_drop_", Kind::Counter, &[pair]))
    }

    /// The pools.
    ///
    /// `pool_idle` is what rings and stack account for: `pool_outstanding` differs from it only
    /// if a packet leaked.
    fn pool(&self, stats: &PoolsStats, lent: LentCounts) -> [(&'static str, u64); 3] {
        let accounted = lent.rx + lent.tx + lent.control + self.link.in_hand();
        [
            ("pool_packets", stats.packets as u64),
            ("pool_outstanding", stats.in_use as u64),
            ("pool_idle", accounted as u64),
        ]
    }

    /// The rings, and the link that they lead to.
    fn rings(&self, lent: LentCounts) -> [(&'static str, u64); 6] {
        let info = self.link.nic().info();
        [
            (
                "nic_link_up",
                u64::from(self.link.state() != LinkState::Down),
            ),
            ("nic_queue_pairs", u64::from(info.queue_pairs)),
            ("ring_rx_size", u64::from(info.rx_ring)),
            ("ring_tx_size", u64::from(info.tx_ring)),
            ("ring_rx_posted", lent.rx as u64),
            ("ring_tx_inflight", lent.tx as u64),
        ]
    }

    /// Writes `key=value` pairs separated by spaces, and a line feed. Reasons for drops that
    /// never occurred are left out, so that the line fits a datagram.
    ///
    /// # Errors
    /// What `out` returns when it is full; what was written until then is whole pairs.
    pub fn line(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut first = true;
        self.metrics(&mut |metric| {
            let reason = metric.name.starts_with("rx_") || !metric.group.is_empty();
            if reason && metric.value == 0 {
                return Ok(());
            }
            let gap = if core::mem::take(&mut first) { "" } else { " " };
            out.write_fmt(format_args!(
                "{gap}{}{}={}",
                metric.group, metric.name, metric.value
            ))
        })?;
        out.write_char('\n')
    }
}
