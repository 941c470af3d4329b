//! Many TCP connections at once, from one thread: non-blocking sockets and `poll`.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};

/// A set of open connections to one service.
#[derive(Debug)]
pub struct Many {
    streams: Vec<TcpStream>,
}

impl Many {
    /// Opens `count` connections, starting all of them before waiting for any. Each must be
    /// accepted within `limit`.
    pub fn open(target: SocketAddr, count: usize, limit: Duration) -> Result<Many> {
        let streams: Vec<TcpStream> = (0..count).map(|_| start(target)).collect::<Result<_>>()?;
        let mut many = Many { streams };
        many.each(PollFlags::POLLOUT, limit, |number, stream| {
            let error = getsockopt(&stream.as_fd(), sockopt::SocketError)?;
            ensure!(
                error == 0,
                "connection {number}: {}",
                Errno::from_raw(error)
            );
            Ok(true)
        })
        .context("connecting")?;
        Ok(many)
    }

    /// Adds the connections of `other`.
    pub fn join(&mut self, mut other: Many) {
        self.streams.append(&mut other.streams);
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Sends a message of its own on each connection, then reads each one's echo.
    pub fn echo(&mut self, round: usize, limit: Duration) -> Result<()> {
        let message = |number: usize| format!("round {round}, connection {number}\n").into_bytes();
        for (number, stream) in self.streams.iter_mut().enumerate() {
            stream
                .write_all(&message(number))
                .with_context(|| format!("sending on {number}"))?;
        }
        let mut received = vec![Vec::new(); self.streams.len()];
        self.each(PollFlags::POLLIN, limit, |number, stream| {
            let (expected, received) = (message(number), &mut received[number]);
            let mut bytes = [0; 256];
            match stream.read(&mut bytes) {
                Ok(0) => bail!("connection {number} was closed"),
                Ok(length) => received.extend(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).with_context(|| format!("connection {number}")),
            }
            ensure!(
                expected.starts_with(received),
                "connection {number} echoed wrongly"
            );
            Ok(expected.len() == received.len())
        })
        .context("waiting for echoes")
    }

    /// Calls `step` on each connection that is ready, until it returned true for all.
    fn each(
        &mut self,
        flags: PollFlags,
        limit: Duration,
        mut step: impl FnMut(usize, &mut TcpStream) -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        let mut waiting: Vec<usize> = (0..self.streams.len()).collect();
        while !waiting.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "{} of {} not after {limit:?}",
                waiting.len(),
                self.len()
            );
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let ready = self.ready(&waiting, flags, timeout)?;
            let mut still = Vec::with_capacity(waiting.len());
            for (number, ready) in waiting.into_iter().zip(ready) {
                if !ready || !step(number, &mut self.streams[number])? {
                    still.push(number);
                }
            }
            waiting = still;
        }
        Ok(())
    }

    fn ready(&self, which: &[usize], flags: PollFlags, limit: PollTimeout) -> Result<Vec<bool>> {
        let mut fds: Vec<PollFd<'_>> = which
            .iter()
            .map(|&number| PollFd::new(self.streams[number].as_fd(), flags))
            .collect();
        poll(&mut fds, limit)?;
        Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect())
    }
}

/// Starts one connection without waiting for it.
fn start(target: SocketAddr) -> Result<TcpStream> {
    let family = if target.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None).context("socket (limit of files?)")?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error).context("starting a connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    #[test]
    fn many_connections_echo_each_their_own_message() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut copy = stream.try_clone().unwrap();
                    std::io::copy(&mut stream, &mut copy)
                });
            }
        });
        let limit = Duration::from_secs(20);
        let mut many = Many::open(target, 20, limit).unwrap();
        many.join(Many::open(target, 12, limit).unwrap());
        many.echo(0, limit).unwrap();
        many.echo(1, limit).unwrap();
        assert_eq!(many.len(), 32);
    }

    #[test]
    fn a_refused_connection_is_an_error() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        assert!(Many::open(target, 3, Duration::from_secs(20)).is_err());
    }
}
