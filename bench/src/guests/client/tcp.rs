//! TCP: bulk in both directions, and one byte back and forth on many connections.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ::tests::clients::tcp;
use anyhow::{Context, Result, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Meter, PATIENCE};

/// Bytes written or read at once.
const CHUNK: usize = 128 * 1024;

/// Bytes a second that a discard service takes. Steady state: what the buffers hold at the end, they
/// held when the count began.
pub(in super::super) fn into(target: SocketAddr, time: Duration) -> Result<f64> {
    let mut stream = tcp(target)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let chunk = vec![0x55; CHUNK];
    let mut meter = Meter::start(time);
    loop {
        let sent = stream.write(&chunk).context("sending")?;
        if meter.add(sent as u64) {
            return Ok(meter.rate());
        }
    }
}

/// Bytes a second that come from a character source.
pub(in super::super) fn out_of(target: SocketAddr, time: Duration) -> Result<f64> {
    let mut stream = tcp(target)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut chunk = vec![0; CHUNK];
    let mut meter = Meter::start(time);
    loop {
        let length = stream.read(&mut chunk).context("receiving")?;
        ensure!(length > 0, "the source ended");
        if meter.add(length as u64) {
            return Ok(meter.rate());
        }
    }
}

/// Echoes of one byte a second, with one byte under way on each of `connections`.
pub(in super::super) fn echo(
    target: SocketAddr,
    connections: usize,
    time: Duration,
) -> Result<f64> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut streams: Vec<TcpStream> = Vec::new();
    for number in 0..connections {
        let stream = tcp(target).with_context(|| format!("connection {number}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.write_all(b"x").context("sending")?;
    }
    let mut meter = Meter::start(time);
    let mut events = vec![EpollEvent::empty(); connections];
    let limit = EpollTimeout::try_from(PATIENCE)?;
    loop {
        let ready = epoll.wait(&mut events, limit)?;
        ensure!(ready > 0, "no echo for {PATIENCE:?}");
        let mut arrived = 0;
        for event in &events[..ready] {
            let number = event.data() as usize;
            let stream = streams.get_mut(number).context("an event of nobody")?;
            arrived += bounce(stream).with_context(|| format!("connection {number}"))?;
        }
        if meter.add(arrived) {
            return Ok(meter.rate());
        }
    }
}

/// Takes the byte that came back and sends it again.
fn bounce(stream: &mut TcpStream) -> Result<u64> {
    let mut bytes = [0; 16];
    match stream.read(&mut bytes) {
        Ok(1) => {}
        Ok(length) => anyhow::bail!("{length} bytes came where one was sent"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
        Err(error) => return Err(error).context("receiving"),
    }
    stream.write_all(&bytes[..1]).context("sending")?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, each) = (stream.unwrap(), each.clone());
                thread::spawn(move || each(stream));
            }
        });
        target
    }

    #[test]
    fn bytes_go_back_and_forth_on_every_connection() {
        let target = serve(|mut stream| {
            let mut copy = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut stream, &mut copy);
        });
        assert!(echo(target, 8, Duration::from_millis(100)).unwrap() > 0.0);
    }

    #[test]
    fn bulk_runs_both_ways_and_an_early_end_is_an_error() {
        let time = Duration::from_millis(50);
        let source = serve(|mut stream| while stream.write_all(&[1; 4096]).is_ok() {});
        assert!(out_of(source, time).unwrap() > 0.0);
        let sink = serve(|mut stream| while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {});
        assert!(into(sink, time).unwrap() > 0.0);
        assert!(out_of(serve(drop), time).is_err());
    }
}
