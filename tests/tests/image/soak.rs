//! Mixed traffic for a while (`MILLRACE_SOAK_SECONDS`, 10 s by default): everything is answered
//! rightly, and afterwards nothing is missing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;
use tests::bulk;
use tests::clients::{Pinger, eventually, must_echo_tcp, must_echo_udp, tcp};
use tests::env;
use tests::guest::Guest;
use tests::http::send_raw;
use tests::launch::Machine;
use tests::limit::case;
use tests::stats::{Stats, must_be_idle, must_copy_only_scattered};

pub(crate) fn tests() -> Vec<Trial> {
    let seconds = env::soak().as_secs();
    vec![case(
        "soak::mixed_traffic_leaves_nothing_behind",
        60 + 2 * seconds,
        soak,
    )]
}

/// One kind of traffic, repeated by its own thread until the time is up.
struct Traffic {
    name: &'static str,
    thread: JoinHandle<Result<u64>>,
}

impl Traffic {
    fn start(
        name: &'static str,
        stop: &Arc<AtomicBool>,
        mut once: impl FnMut(u64) -> Result<()> + Send + 'static,
    ) -> Traffic {
        let stop = Arc::clone(stop);
        let thread = thread::spawn(move || {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                once(rounds).with_context(|| format!("{name}, round {rounds}"))?;
                rounds += 1;
            }
            Ok(rounds)
        });
        Traffic { name, thread }
    }

    fn finish(self) -> Result<()> {
        let rounds = self
            .thread
            .join()
            .map_err(|_| anyhow!("{} panicked", self.name))??;
        ensure!(rounds > 0, "{}: not one round", self.name);
        Ok(())
    }
}

/// For first uses: spare connections, grown tables.
const WARM_UP: Duration = Duration::from_secs(3);
/// Heap blocks more or less after the soak: tables may still grow a step.
const BLOCKS: u64 = 16;

fn soak() -> Result<()> {
    let guest = Guest::boot(Machine::Q35, "")?;
    let before = mixed_traffic(&guest, WARM_UP).context("warming up")?;
    let after = mixed_traffic(&guest, env::soak())?;
    must_copy_only_scattered(&after).with_context(|| after.changes(&before))?;
    let failed = after.get("pool_alloc_fail")?;
    ensure!(failed == 0, "pool_alloc_fail: {}", after.changes(&before));
    let blocks =
        |stats: &Stats| -> Result<u64> { Ok(stats.get("heap_allocs")? - stats.get("heap_frees")?) };
    let (then, now) = (blocks(&before)?, blocks(&after)?);
    ensure!(
        now <= then + BLOCKS,
        "{then} heap blocks before the soak, {now} after it"
    );
    guest.must_be_running()
}

/// Everything at once for `time`; then waits until all connections are gone and the pool is
/// idle, and returns the counters of that moment.
fn mixed_traffic(guest: &Guest, time: Duration) -> Result<Stats> {
    let before = must_be_idle(guest)?;
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = start_all(guest, &stop)?;
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    traffic
        .into_iter()
        .try_for_each(Traffic::finish)
        .with_context(|| match Stats::read(guest) {
            Ok(now) => format!("counters: {}", now.changes(&before)),
            Err(error) => format!("and the guest is silent: {error:#}"),
        })?;
    eventually(Duration::from_secs(30), || {
        let open = Stats::read(guest)?.get("tcp_open")?;
        ensure!(open == 0, "{open} connections are still open");
        Ok(())
    })?;
    must_be_idle(guest)
}

fn start_all(guest: &Guest, stop: &Arc<AtomicBool>) -> Result<Vec<Traffic>> {
    let addr: IpAddr = guest.addr().into();
    let port = move |port: u16| SocketAddr::new(addr, port);
    let pinger = Pinger::new(guest.addr(), 0x4d52)?;
    let mut stream = None;
    Ok(vec![
        Traffic::start("UDP echo", stop, move |round| {
            let size = round as usize * 37 % 1473;
            must_echo_udp(port(7), &vec![round as u8; size])
        }),
        Traffic::start("TCP echo, one connection", stop, move |round| {
            let stream = match &mut stream {
                Some(stream) => stream,
                empty => empty.insert(tcp(port(7))?),
            };
            must_echo_tcp(stream, format!("round {round}\n").as_bytes())
        }),
        Traffic::start("TCP echo, bulk", stop, move |round| {
            bulk::echo(port(7), 1 << 20, round)
        }),
        Traffic::start("connections", stop, move |_| {
            must_echo_tcp(&mut tcp(port(7))?, b"come and go")
        }),
        Traffic::start("HTTP", stop, move |_| {
            let answer = send_raw(port(80), b"GET /metrics HTTP/1.0\r\n\r\n")?;
            ensure!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"));
            Ok(())
        }),
        Traffic::start("character source", stop, move |_| {
            bulk::drain(port(19), 256 << 10)?;
            Ok(())
        }),
        Traffic::start("ping", stop, move |round| {
            let size = round as usize * 53 % 1473;
            pinger.ping(round as u16, &vec![round as u8; size])
        }),
    ])
}
