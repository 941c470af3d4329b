//! UDP: echo with a window, a flood into the guest, a blast out of it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{ErrorKind, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use ::tests::clients::udp;
use ::tests::stats::Stats;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use super::{Meter, PATIENCE, Run};

/// Datagrams of a flood sent at once.
const BATCH: usize = 64;
/// Payload of flood and blast.
const SMALL: usize = 64;
/// After this without an answer, what is under way counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(100);

/// What came of an echo run.
pub(in super::super) struct Echo {
    /// Answers a second.
    pub(in super::super) rate: f64,
    /// Median round trip, in microseconds.
    pub(in super::super) p50: f64,
    /// 99th percentile of the round trips, in microseconds.
    pub(in super::super) p99: f64,
}

/// Keeps `window` datagrams of `size` bytes under way to an echo service.
pub(in super::super) fn echo(
    target: SocketAddr,
    size: usize,
    window: usize,
    time: Duration,
) -> Result<Echo> {
    ensure!(size >= 4 && window > 0, "no room for a number");
    let socket = udp(target)?;
    let mut pipe = Pipe::new(window, size);
    let mut meter = Meter::start(time);
    let mut trips = Vec::new();
    let mut heard = Instant::now();
    loop {
        pipe.fill(&socket)?;
        let arrived = pipe.drain(&socket, |trip| trips.push(trip.as_secs_f64() * 1e6))?;
        if arrived == 0 {
            ensure!(heard.elapsed() < PATIENCE, "no echo for {PATIENCE:?}");
            pipe.forget();
        } else {
            heard = Instant::now();
        }
        let warm = meter.first.is_none();
        let over = meter.add(arrived);
        if warm {
            trips.clear();
        }
        if over {
            break;
        }
    }
    let rate = meter.rate();
    trips.sort_unstable_by(f64::total_cmp);
    let part = |part: f64| trips.get((trips.len() as f64 * part) as usize).copied();
    Ok(Echo {
        rate,
        p50: part(0.50).context("no echo was counted")?,
        p99: part(0.99).context("no echo was counted")?,
    })
}

/// Datagrams under way, told apart by the number that each begins with.
struct Pipe {
    next: u32,
    /// When the datagram of each slot was sent; its number modulo the slots is the slot.
    sent: Vec<Option<(u32, Instant)>>,
    under_way: usize,
    window: usize,
    datagrams: Vec<Vec<u8>>,
    batch: Batch,
}

impl Pipe {
    fn new(window: usize, size: usize) -> Self {
        Self {
            next: 0,
            // Twice the window: a late one must not take the slot of a new one.
            sent: vec![None; 2 * window],
            under_way: 0,
            window,
            datagrams: vec![vec![0x55; size]; window],
            batch: Batch::new(window),
        }
    }

    /// Sends what is missing in the window.
    fn fill(&mut self, socket: &UdpSocket) -> Result<()> {
        let missing = self.window - self.under_way;
        let slots = self.sent.len();
        for (number, datagram) in self.datagrams[..missing].iter_mut().enumerate() {
            let number = self.next.wrapping_add(number as u32);
            datagram[..4].copy_from_slice(&number.to_le_bytes());
        }
        let now = Instant::now();
        let sent = if missing == 1 {
            usize::from(socket.send(&self.datagrams[0]).is_ok())
        } else {
            self.batch.send(socket, &self.datagrams[..missing])?
        };
        for _ in 0..sent {
            self.sent[self.next as usize % slots] = Some((self.next, now));
            self.next = self.next.wrapping_add(1);
        }
        self.under_way += sent;
        Ok(())
    }

    /// Waits for an answer, then takes all that are there.
    fn drain(&mut self, socket: &UdpSocket, mut trip: impl FnMut(Duration)) -> Result<u64> {
        let mut buffer = [0; 2048];
        let mut arrived = 0;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LOST_AFTER))?;
        loop {
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if is_nothing(&error) => return Ok(arrived),
                Err(error) => return Err(error).context("waiting for an echo"),
            };
            if self.took(&buffer[..length]).map(&mut trip).is_some() {
                arrived += 1;
            }
            if self.under_way == 0 {
                return Ok(arrived);
            }
            if arrived == 1 {
                socket.set_nonblocking(true)?;
            }
        }
    }

    /// The round trip of an answer to something that is under way.
    fn took(&mut self, answer: &[u8]) -> Option<Duration> {
        let number = u32::from_le_bytes(answer.get(..4)?.try_into().ok()?);
        let slots = self.sent.len();
        let slot = &mut self.sent[number as usize % slots];
        let (_, at) = slot.take_if(|(sent, _)| *sent == number)?;
        self.under_way -= 1;
        (answer.len() == self.datagrams[0].len()).then(|| at.elapsed())
    }

    /// Gives up what is under way.
    fn forget(&mut self) {
        self.sent.fill(None);
        self.under_way = 0;
    }
}

fn is_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Sends many datagrams with one system call.
pub(in super::super) struct Batch {
    headers: MultiHeaders<SockaddrIn>,
    nowhere: Vec<Option<SockaddrIn>>,
}

impl Batch {
    pub(in super::super) fn new(most: usize) -> Self {
        Self {
            headers: MultiHeaders::preallocate(most, None),
            nowhere: vec![None; most],
        }
    }

    /// How many the host took.
    pub(in super::super) fn send(
        &mut self,
        socket: &UdpSocket,
        datagrams: &[Vec<u8>],
    ) -> Result<usize> {
        let slices: Vec<[IoSlice<'_>; 1]> = datagrams.iter().map(|d| [IoSlice::new(d)]).collect();
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        match sendmmsg(fd, &mut self.headers, &slices, &self.nowhere, [], flags) {
            Ok(sent) => Ok(sent.count()),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(0),
            Err(error) => Err(error).context("sending datagrams"),
        }
    }
}

/// Sends as fast as the host can, and returns what the guest's discard service received a second.
pub(in super::super) fn flood(
    discard: SocketAddr,
    stats: SocketAddr,
    time: Duration,
) -> Result<f64> {
    let socket = udp(discard)?;
    let datagrams = vec![vec![0x55; SMALL]; BATCH];
    let mut batch = Batch::new(BATCH);
    let run = Run::start(time);
    let mut start = None;
    let mut now = Instant::now();
    while !run.is_over(now) {
        batch.send(&socket, &datagrams)?;
        // QEMU's own thread may wait for this processor.
        thread::yield_now();
        now = Instant::now();
        if start.is_none() && run.counts(now) {
            // The answer comes after all that stood in front of the question.
            start = Some((received(stats)?, Instant::now()));
        }
    }
    let (before, from) = start.context("no time")?;
    let after = received(stats)?;
    let grown = after.checked_sub(before).context("a counter went back")?;
    Ok(grown as f64 / from.elapsed().as_secs_f64())
}

/// What the guest's discard service has counted.
pub(in super::super) fn received(stats: SocketAddr) -> Result<u64> {
    statistics(stats)?.get("udp_rx")
}

/// All that the guest counts, asked until it answers: the tap's queue may be full.
pub(in super::super) fn statistics(stats: SocketAddr) -> Result<Stats> {
    let socket = udp(stats)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let start = Instant::now();
    let mut line = [0; 2048];
    while start.elapsed() < PATIENCE {
        let _ = socket.send(b"?");
        if let Ok(length) = socket.recv(&mut line) {
            return Stats::parse(&String::from_utf8_lossy(&line[..length]));
        }
    }
    bail!("no counters for {PATIENCE:?}")
}

/// Datagrams that one request asks for: the service's most.
const ASKED: u64 = 10_000;
/// Requested and not yet seen, at most.
const OWED: u64 = 4 * ASKED;

/// Has the guest's character source send without a pause, and returns how many frames a second came
/// out of it. The host's interface counts them, so no client can be too slow.
pub(in super::super) fn blast(target: SocketAddr, interface: &str, time: Duration) -> Result<f64> {
    let socket = udp(target)?;
    let request = format!("{ASKED} {SMALL}");
    let run = Run::start(time);
    let begin = frames_from(interface)?;
    let (mut asked, mut start, mut last) = (0, None, (begin, Instant::now()));
    loop {
        let (seen, now) = (frames_from(interface)?, Instant::now());
        if seen > last.0 {
            last = (seen, now);
        }
        ensure!(now - last.1 < PATIENCE, "nothing came for {PATIENCE:?}");
        if start.is_none() && run.counts(now) {
            start = Some((seen, now));
        }
        if let Some((before, from)) = start.filter(|_| run.is_over(now)) {
            let rate = (seen - before) as f64 / (now - from).as_secs_f64();
            return wait_for_silence(interface).map(|()| rate);
        }
        // A request may have been lost: what never came is asked for again.
        if now - last.1 > LOST_AFTER {
            asked = seen - begin;
        }
        if asked - (seen - begin).min(asked) + ASKED <= OWED {
            socket.send(request.as_bytes())?;
            asked += ASKED;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The guest still sends what it owes.
fn wait_for_silence(interface: &str) -> Result<()> {
    let start = Instant::now();
    let mut before = frames_from(interface)?;
    while start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(30));
        let now = frames_from(interface)?;
        if now - before < 30 {
            return Ok(());
        }
        before = now;
    }
    bail!("the guest did not end its blast")
}

/// Frames that came out of the guest: what the host received on its tap.
fn frames_from(interface: &str) -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    frames_in(&table, interface).with_context(|| format!("{interface}: no counters"))
}

fn frames_in(table: &str, interface: &str) -> Option<u64> {
    let named = table.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == interface).then_some(counters)
    });
    named?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// An echo that swallows every eleventh datagram.
    fn lossy_echo() -> SocketAddr {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = server.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            for number in 0.. {
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                if number % 11 != 10 {
                    server.send_to(&buffer[..length], from).unwrap();
                }
            }
        });
        target
    }

    #[test]
    fn an_echo_run_survives_losses() {
        let echo = echo(lossy_echo(), 64, 4, Duration::from_millis(300)).unwrap();
        assert!(echo.rate > 0.0 && echo.p50 <= echo.p99);
    }

    #[test]
    fn a_late_answer_is_not_taken_for_a_new_one() {
        let mut pipe = Pipe::new(1, 8);
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = udp(server.local_addr().unwrap()).unwrap();
        pipe.fill(&socket).unwrap();
        pipe.forget();
        pipe.fill(&socket).unwrap();
        assert!(pipe.took(&[0; 8]).is_none());
        assert!(pipe.took(&[1, 0, 0, 0, 9, 9, 9, 9]).is_some());
        assert!(pipe.took(&[1, 0, 0, 0, 9, 9, 9, 9]).is_none());
        assert_eq!(pipe.under_way, 0);
    }

    #[test]
    fn the_frames_of_an_interface_stand_in_the_second_column() {
        let table = "Inter-|   Receive\n face |bytes packets\n    lo: 1 2 3\n mill1: 640   10 0\n";
        assert_eq!(frames_in(table, "mill1"), Some(10));
        assert_eq!(frames_in(table, "mill"), None);
    }
}
