//! HTTP: connect, one GET, read to the end, close.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::tests::clients::tcp;
use anyhow::{Context, Result, anyhow, ensure};

use super::{PATIENCE, Run};

pub(in super::super) const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";

/// Requests a second with `clients` at once, each of them one after the other.
pub(in super::super) fn get(target: SocketAddr, clients: usize, time: Duration) -> Result<f64> {
    let run = Run::start(time);
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| ask_until(target, &run, &answered)))
            .collect();
        thread::sleep(run.counted_from.saturating_duration_since(Instant::now()));
        let (before, from) = (answered.load(Ordering::Relaxed), Instant::now());
        thread::sleep(run.end.saturating_duration_since(from));
        let rate =
            (answered.load(Ordering::Relaxed) - before) as f64 / from.elapsed().as_secs_f64();
        for worker in workers {
            let result = worker.join();
            result.map_err(|_| anyhow!("a client panicked"))??;
        }
        ensure!(rate > 0.0, "no request was answered");
        Ok(rate)
    })
}

fn ask_until(target: SocketAddr, run: &Run, answered: &AtomicU64) -> Result<()> {
    let mut answer = Vec::with_capacity(8192);
    while !run.is_over(Instant::now()) {
        answer.clear();
        let mut stream = tcp(target)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST).context("sending a request")?;
        let length = stream.read_to_end(&mut answer);
        length.context("receiving an answer")?;
        ensure!(
            is_whole(&answer),
            "not a whole answer: {} bytes",
            answer.len()
        );
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether an answer is a success with the body that it announces.
pub(in super::super) fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let Ok(head) = str::from_utf8(&answer[..end]) else {
        return false;
    };
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse().ok()).flatten()
    });
    head.starts_with("HTTP/1.1 200 ") && announced == Some(answer.len() - end - 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_the_body_that_it_announces() {
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"));
        assert!(!is_whole(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nhi"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Le"));
    }
}
