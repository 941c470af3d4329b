//! The operations that are counted: a fixed number of each, driven by ordinary sockets of the host.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use ::tests::clients::{tcp, udp};
use anyhow::{Context, Result, ensure};

use super::super::client::{PATIENCE, http, udp as flood};
use super::super::contender::Contender;
use super::super::machine::Machine;

/// Datagrams under way.
const WINDOW: usize = 32;
/// Connections at once.
const CONNECTIONS: usize = 16;
/// Datagrams sent to be discarded before the guest is waited for: they fit the tap's queue.
const FLOOD: usize = 3000;
/// How long a guest may need to be idle again after that.
const CALM: Duration = Duration::from_millis(300);
/// Bytes of bulk.
const BULK: usize = 32 << 20;
/// Payload of small datagrams.
const SMALL: [u8; 64] = [0x55; 64];

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// A datagram of 64 bytes comes back, 32 under way.
    UdpEcho,
    /// A datagram of 64 bytes is received and counted.
    UdpDiscard,
    /// One byte comes back, one under way on each of 16 connections.
    TcpEcho,
    /// Connect, GET of the status page, close; 16 at once.
    Http,
    /// A KiB into the guest.
    TcpIn,
    /// A KiB out of the guest.
    TcpOut,
}

impl Operation {
    /// In the order of the report.
    pub(super) const ALL: [Self; 6] = [
        Self::UdpEcho,
        Self::UdpDiscard,
        Self::TcpIn,
        Self::TcpOut,
        Self::TcpEcho,
        Self::Http,
    ];

    /// The word on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::UdpEcho => "udp-echo",
            Self::UdpDiscard => "udp-discard",
            Self::TcpEcho => "tcp-echo",
            Self::Http => "http",
            Self::TcpIn => "tcp-in",
            Self::TcpOut => "tcp-out",
        }
    }

    /// For people, with the unit.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::UdpEcho => "UDP echo 64 B, in a stream",
            Self::UdpDiscard => "UDP 64 B, received and discarded",
            Self::TcpEcho => "TCP echo 1 B, 16 connections",
            Self::Http => "HTTP connect+GET+close, 16 at once",
            Self::TcpIn => "TCP bulk into the guest, a KiB",
            Self::TcpOut => "TCP bulk out of the guest, a KiB",
        }
    }

    /// The most that it is to take.
    pub(super) fn aim(self) -> f64 {
        match self {
            Self::UdpEcho => 1_500.0,
            Self::UdpDiscard => 900.0,
            Self::TcpEcho => 3_000.0,
            Self::Http => 15_000.0,
            Self::TcpIn => 300.0,
            Self::TcpOut => 350.0,
        }
    }

    /// Whether `contender` does it: there is no TCP without a stack.
    pub(super) fn is_for(self, contender: Contender) -> bool {
        contender != Contender::Ceiling || matches!(self, Self::UdpEcho | Self::UdpDiscard)
    }

    /// Does it often. `begin` is called when everything is prepared, and `end` when everything that
    /// was asked for has been done; returns how often between the two.
    pub(super) fn run(
        self,
        machine: &Machine,
        mut begin: impl FnMut() -> Result<()>,
        mut end: impl FnMut() -> Result<()>,
    ) -> Result<f64> {
        match self {
            Self::UdpEcho => {
                let socket = udp(machine.port(7))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                let mut batch = flood::Batch::new(WINDOW);
                let datagrams = vec![SMALL.to_vec(); WINDOW];
                let mut rounds = |count: usize| -> Result<()> {
                    for _ in 0..count {
                        let sent = batch.send(&socket, &datagrams)?;
                        for _ in 0..sent {
                            socket.recv(&mut [0; 128]).context("an echo was lost")?;
                        }
                        ensure!(sent == WINDOW, "the host took {sent} of {WINDOW}");
                    }
                    Ok(())
                };
                rounds(20)?;
                begin()?;
                rounds(400)?;
                end()?;
                Ok((400 * WINDOW) as f64)
            }
            Self::UdpDiscard => {
                let (discard, stats) = (machine.port(9), machine.port(11));
                let socket = udp(discard)?;
                let mut batch = flood::Batch::new(WINDOW);
                let datagrams = vec![SMALL.to_vec(); WINDOW];
                let before = flood::received(stats)?;
                thread::sleep(CALM);
                begin()?;
                for _ in 0..4 {
                    for _ in 0..FLOOD / WINDOW {
                        batch.send(&socket, &datagrams)?;
                    }
                    thread::sleep(CALM);
                }
                end()?;
                Ok((flood::received(stats)? - before) as f64)
            }
            Self::TcpEcho => {
                let mut streams = Vec::new();
                for _ in 0..CONNECTIONS {
                    let stream = tcp(machine.port(7))?;
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    streams.push(stream);
                }
                let mut rounds = |count: usize| -> Result<()> {
                    for _ in 0..count {
                        for stream in &mut streams {
                            stream.write_all(b"x").context("sending")?;
                        }
                        for stream in &mut streams {
                            stream.read_exact(&mut [0]).context("receiving")?;
                        }
                    }
                    Ok(())
                };
                rounds(20)?;
                begin()?;
                rounds(400)?;
                end()?;
                Ok((400 * CONNECTIONS) as f64)
            }
            Self::Http => {
                let round = || -> Result<()> {
                    let mut streams = Vec::new();
                    for _ in 0..CONNECTIONS {
                        let stream = tcp(machine.port(80))?;
                        stream.set_read_timeout(Some(PATIENCE))?;
                        streams.push(stream);
                    }
                    for stream in &mut streams {
                        stream.write_all(http::REQUEST).context("sending")?;
                    }
                    for stream in &mut streams {
                        let mut answer = Vec::new();
                        stream.read_to_end(&mut answer).context("receiving")?;
                        ensure!(http::is_whole(&answer), "not a whole answer");
                    }
                    Ok(())
                };
                // More than are kept in mind in TIME-WAIT: each then makes the image forget another.
                (0..70).try_for_each(|_| round())?;
                begin()?;
                (0..20).try_for_each(|_| round())?;
                thread::sleep(CALM);
                end()?;
                Ok((20 * CONNECTIONS) as f64)
            }
            Self::TcpIn => {
                let mut stream = tcp(machine.port(9))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                begin()?;
                let chunk = vec![0x55; 128 << 10];
                for _ in 0..BULK / chunk.len() {
                    stream.write_all(&chunk).context("sending")?;
                }
                stream.shutdown(Shutdown::Write)?;
                // The service closes when it has read everything.
                ensure!(stream.read(&mut [0]).context("waiting for the end")? == 0);
                end()?;
                Ok((BULK / 1024) as f64)
            }
            Self::TcpOut => {
                let mut stream = tcp(machine.port(19))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                take(&mut stream, BULK / 8)?;
                begin()?;
                take(&mut stream, BULK)?;
                end()?;
                Ok((BULK / 1024) as f64)
            }
        }
    }
}

/// Reads `bytes` bytes.
fn take(stream: &mut TcpStream, bytes: usize) -> Result<()> {
    let mut chunk = vec![0; 128 << 10];
    let mut left = bytes;
    while left > 0 {
        let most = left.min(chunk.len());
        let length = stream.read(&mut chunk[..most]).context("receiving")?;
        ensure!(length > 0, "the source ended");
        left -= length;
    }
    Ok(())
}
