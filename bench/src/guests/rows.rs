//! The rows: what is measured, in which unit, which way is better, and the aim.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::Result;

use super::client::{http, tcp, udp};
use super::contender::{Contender, Nic};
use super::machine::Machine;

/// One kind of work. It yields one or more figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// UDP echo: bytes of a datagram, datagrams under way.
    UdpEcho(usize, usize),
    /// UDP to the discard service as fast as the client sends.
    UdpFlood,
    /// UDP from the character source as fast as the guest sends.
    UdpBlast,
    /// TCP to the discard service.
    TcpIn,
    /// TCP from the character source.
    TcpOut,
    /// TCP echo of one byte, with so many connections.
    TcpEcho(usize),
    /// Connect, GET, close; 16 at once.
    Http,
    /// QEMU's start to the first answer.
    Boot,
    /// QEMU's resident size.
    Resident,
    /// The least memory that serves.
    LeastMemory,
    /// Bytes that are booted.
    Size,
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// Rates.
    More,
    /// Times and sizes.
    Less,
}

/// What Millrace is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    /// So many times better than this guest.
    Times(f64, Contender),
    /// No more than this, whatever others need.
    AtMost(f64),
}

/// A number that a row yields.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// The row, then what of it.
    pub(super) name: String,
    /// The unit.
    pub(super) unit: &'static str,
    /// Which way is better.
    pub(super) better: Better,
    /// The aim with all offloads, and the one without any.
    aims: [Option<Aim>; 2],
}

impl Figure {
    /// The aim on this NIC.
    pub(super) fn aim(&self, nic: Nic) -> Option<Aim> {
        match nic {
            Nic::Virtio => self.aims[0],
            Nic::VirtioPlain => self.aims[1],
            _ => None,
        }
    }

    /// To be so many times better than "Linux, best".
    fn times(mut self, times: f64) -> Self {
        self.aims[0] = Some(Aim::Times(times, Contender::LinuxBest));
        self
    }

    /// To be no more.
    fn at_most(mut self, limit: f64) -> Self {
        self.aims[0] = Some(Aim::AtMost(limit));
        self
    }

    /// To be so many times better than Linux without offloads.
    fn without_offloads(mut self, times: f64) -> Self {
        self.aims[1] = Some(Aim::Times(times, Contender::Linux));
        self
    }
}

impl Row {
    /// In the order of the report.
    pub(super) const ALL: [Self; 16] = [
        Self::UdpEcho(64, 1),
        Self::UdpEcho(1400, 1),
        Self::UdpEcho(64, 32),
        Self::UdpEcho(1400, 32),
        Self::UdpFlood,
        Self::UdpBlast,
        Self::TcpIn,
        Self::TcpOut,
        Self::TcpEcho(1),
        Self::TcpEcho(16),
        Self::TcpEcho(256),
        Self::Http,
        Self::Boot,
        Self::Resident,
        Self::LeastMemory,
        Self::Size,
    ];

    /// The word on the command line.
    pub(super) fn word(self) -> String {
        match self {
            Self::UdpEcho(size, window) => format!("udp-echo-{size}x{window}"),
            Self::UdpFlood => "udp-flood".into(),
            Self::UdpBlast => "udp-blast".into(),
            Self::TcpIn => "tcp-in".into(),
            Self::TcpOut => "tcp-out".into(),
            Self::TcpEcho(connections) => format!("tcp-echo-{connections}"),
            Self::Http => "http".into(),
            Self::Boot => "boot".into(),
            Self::Resident => "resident".into(),
            Self::LeastMemory => "memory".into(),
            Self::Size => "size".into(),
        }
    }

    /// The row of that name, or all that begin so.
    pub(super) fn named(word: &str) -> Vec<Self> {
        let rows = |fits: &dyn Fn(&str) -> bool| -> Vec<Self> {
            Self::ALL
                .into_iter()
                .filter(|row| fits(&row.word()))
                .collect()
        };
        let exact = rows(&|name| name == word);
        if exact.is_empty() {
            rows(&|name| name.starts_with(word))
        } else {
            exact
        }
    }

    /// What it yields, in order.
    pub(super) fn figures(self) -> Vec<Figure> {
        use Better::{Less, More};
        let figure = |what: &str, unit, better| Figure {
            name: format!("{}{what}", self.title()),
            unit,
            better,
            aims: [None; 2],
        };
        let rate = figure("", "/s", More);
        let delays = || [", p50", ", p99"].map(|what| figure(what, "µs", Less));
        match self {
            Self::UdpEcho(64, 1) => [vec![rate.times(2.5)], delays().into()].concat(),
            Self::UdpEcho(_, 1) => [vec![rate], delays().into()].concat(),
            Self::UdpEcho(64, _) | Self::UdpFlood | Self::UdpBlast => vec![rate.times(4.0)],
            Self::TcpIn => vec![figure("", "MB/s", More).times(1.2).without_offloads(2.0)],
            Self::TcpOut => vec![figure("", "MB/s", More).times(1.5).without_offloads(2.0)],
            Self::TcpEcho(1) => vec![rate.times(2.5)],
            Self::TcpEcho(16) => vec![rate.times(6.0)],
            Self::Http => vec![rate.times(5.0)],
            Self::UdpEcho(..) | Self::TcpEcho(_) => vec![rate],
            Self::Boot => vec![figure("", "s", Less).at_most(0.15)],
            Self::Resident => vec![figure("", "MB", Less).at_most(70.0)],
            Self::Size => vec![figure("", "MB", Less).at_most(0.7)],
            Self::LeastMemory => vec![figure("", "MiB", Less).at_most(9.0)],
        }
    }

    fn title(self) -> String {
        match self {
            Self::UdpEcho(size, window) => format!("UDP echo {size} B, window {window}"),
            Self::UdpFlood => "UDP flood 64 B, received".into(),
            Self::UdpBlast => "UDP blast 64 B, sent".into(),
            Self::TcpIn => "TCP bulk into the guest".into(),
            Self::TcpOut => "TCP bulk out of the guest".into(),
            Self::TcpEcho(connections) => format!("TCP echo 1 B, {connections} open"),
            Self::Http => "HTTP connect+GET+close, 16".into(),
            Self::Boot => "boot to the first answer".into(),
            Self::Resident => "QEMU resident".into(),
            Self::LeastMemory => "least memory".into(),
            Self::Size => "image".into(),
        }
    }

    /// Whether a client measures it on a running machine.
    pub(super) fn is_traffic(self) -> bool {
        !matches!(
            self,
            Self::Boot | Self::Resident | Self::LeastMemory | Self::Size
        )
    }

    /// Whether `contender` does it. The ceiling has neither TCP nor HTTP: what turns segments round at
    /// the driver is no peer that a TCP client could talk to.
    pub(super) fn is_for(self, contender: Contender) -> bool {
        contender != Contender::Ceiling
            || matches!(
                self,
                Self::UdpEcho(..) | Self::UdpFlood | Self::UdpBlast | Self::Boot | Self::Resident
            )
    }

    /// Measures for about `time`; the figures in their order. Only for traffic.
    pub(super) fn measure(self, machine: &Machine, time: Duration) -> Result<Vec<f64>> {
        match self {
            Self::UdpEcho(size, window) => {
                let echo = udp::echo(machine.port(7), size, window, time)?;
                if window > 1 {
                    return Ok(vec![echo.rate]);
                }
                Ok(vec![echo.rate, echo.p50, echo.p99])
            }
            Self::UdpFlood => Ok(vec![udp::flood(machine.port(9), machine.port(11), time)?]),
            Self::UdpBlast => {
                let sent = udp::blast(machine.port(19), machine.interface(), time)?;
                Ok(vec![sent])
            }
            Self::TcpIn => Ok(vec![tcp::into(machine.port(9), time)? / 1e6]),
            Self::TcpOut => Ok(vec![tcp::out_of(machine.port(19), time)? / 1e6]),
            Self::TcpEcho(connections) => Ok(vec![tcp::echo(machine.port(7), connections, time)?]),
            Self::Http => Ok(vec![http::get(machine.port(80), 16, time)?]),
            Self::Boot | Self::Resident | Self::LeastMemory | Self::Size => Ok(Vec::new()),
        }
    }
}
