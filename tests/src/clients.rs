//! Small real clients: `ping`, and UDP and TCP sockets with an end to every wait.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::frames::ipv4::{self, echo_request};
use crate::frames::protocol;

/// How long one reply may take; generous, since the guest is emulated on a busy machine.
pub const REPLY_LIMIT: Duration = Duration::from_secs(5);

/// What `ping` reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Requests sent.
    pub sent: u32,
    /// Replies received, with the right payload.
    pub received: u32,
}

/// Runs `ping` with `options` (words) against `target`; fails on damaged payloads.
pub fn ping(target: &str, options: &str) -> Result<Pings> {
    run_ping(target, options).map(|(pings, _)| pings)
}

/// The same, with all that `ping` said.
fn run_ping(target: &str, options: &str) -> Result<(Pings, String)> {
    let mut command = Command::new("ping");
    command
        .arg("-n")
        .args(options.split_whitespace())
        .arg(target);
    let output = command.output().context("running `ping` (iputils)")?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(!text.contains("wrong data byte"), "payload damaged: {text}");
    let pings = parse_ping(&text).with_context(|| format!("ping said: {text}"))?;
    Ok((pings, text))
}

fn parse_ping(text: &str) -> Option<Pings> {
    let line = text
        .lines()
        .find(|line| line.contains("packets transmitted"))?;
    let number = |part: Option<&str>| part?.split_whitespace().next()?.parse().ok();
    let mut parts = line.split(", ");
    Some(Pings {
        sent: number(parts.next())?,
        received: number(parts.next())?,
    })
}

/// Fails unless `count` pings, a tenth of a second apart, all come back.
///
/// For the last reply `ping` waits no longer than that, or two round trips, whatever its `-W`
/// says: so they must not be closer together.
pub fn must_ping(target: &str, count: u32, options: &str) -> Result<()> {
    must_all_return(target, count, &format!("-i 0.1 -W 5 {options}"))
}

/// Fails unless `count` pings come back that follow each other as fast as the replies do.
pub fn must_flood_ping(target: &str, count: u32, options: &str) -> Result<()> {
    must_all_return(target, count, &format!("-f {options}"))
}

fn must_all_return(target: &str, count: u32, options: &str) -> Result<()> {
    let (pings, text) = run_ping(target, &format!("-c {count} {options}"))?;
    ensure!(
        (pings.sent, pings.received) == (count, count),
        "lost pings; ping said: {text}"
    );
    Ok(())
}

/// Pings one by one through a raw socket, with all the patience that a reply may need (`ping`
/// gives up on its last one early).
#[derive(Debug)]
pub struct Pinger {
    socket: UdpSocket,
    target: Ipv4Addr,
    id: u16,
}

impl Pinger {
    /// A pinger whose echo requests carry `id`.
    pub fn new(target: Ipv4Addr, id: u16) -> Result<Pinger> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(
            AddressFamily::Inet,
            SockType::Raw,
            flags,
            SockProtocol::Icmp,
        )?;
        // The calls needed are those of any datagram socket.
        let socket = UdpSocket::from(fd);
        socket.connect((target, 0))?;
        socket.set_read_timeout(Some(REPLY_LIMIT))?;
        Ok(Pinger { socket, target, id })
    }

    /// Fails unless the echo request comes back as it was.
    pub fn ping(&self, sequence: u16, data: &[u8]) -> Result<()> {
        let request = echo_request(self.id, sequence, data);
        self.socket.send(&request)?;
        let mut packet = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut packet);
            let length = length.with_context(|| format!("no reply to ping {sequence}"))?;
            let Some((src, _, reply)) = ipv4::parse(&packet[..length], protocol::ICMP) else {
                continue;
            };
            if src == self.target && reply.first() == Some(&0) && reply[4..8] == request[4..8] {
                ensure!(reply[8..] == *data, "ping {sequence} came back damaged");
                return Ok(());
            }
        }
    }
}

/// A UDP socket whose replies come from `target` only.
pub fn udp(target: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = match target.ip() {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(REPLY_LIMIT))?;
    Ok(socket)
}

/// Sends `data` and returns the answer, asking again when a datagram was lost on the way (the
/// first one may be, while the guest resolves our address).
pub fn ask_udp(target: SocketAddr, data: &[u8]) -> Result<Vec<u8>> {
    let socket = udp(target)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = vec![0; 65_536];
    for _ in 0..5 {
        socket.send(data)?;
        if let Ok(length) = socket.recv(&mut answer) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
    bail!("no answer from {target}/UDP")
}

/// Fails unless `data` comes back from the UDP echo service at `target`.
pub fn must_echo_udp(target: SocketAddr, data: &[u8]) -> Result<()> {
    let answer = ask_udp(target, data)?;
    ensure!(
        answer == data,
        "{target}/UDP echoed {} bytes wrongly",
        data.len()
    );
    Ok(())
}

/// A TCP connection with an end to every wait.
pub fn tcp(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, REPLY_LIMIT)
        .with_context(|| format!("connecting to {target}"))?;
    stream.set_read_timeout(Some(REPLY_LIMIT))?;
    stream.set_write_timeout(Some(REPLY_LIMIT))?;
    Ok(stream)
}

/// Fails unless `data` comes back over the TCP echo connection.
pub fn must_echo_tcp(stream: &mut TcpStream, data: &[u8]) -> Result<()> {
    stream.write_all(data).context("sending")?;
    let mut answer = vec![0; data.len()];
    stream
        .read_exact(&mut answer)
        .context("waiting for the echo")?;
    ensure!(answer == data, "TCP echoed {} bytes wrongly", data.len());
    Ok(())
}

/// Tries `check` until it succeeds or `limit` has passed; returns its last error then.
pub fn eventually<T>(limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("still so after {limit:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn the_summary_of_ping_is_read() {
        let text = "--- 10.7.0.2 ping statistics ---\n\
                    10 packets transmitted, 9 received, 10% packet loss, time 9ms\n";
        assert_eq!(
            parse_ping(text),
            Some(Pings {
                sent: 10,
                received: 9
            })
        );
        let text = "3 packets transmitted, 3 received, +1 duplicates, 0% packet loss, time 2ms";
        assert_eq!(
            parse_ping(text),
            Some(Pings {
                sent: 3,
                received: 3
            })
        );
        assert_eq!(parse_ping("ping: connect: Network is unreachable"), None);
    }

    #[test]
    fn a_wrong_echo_is_noticed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut data = [0; 4];
            stream.read_exact(&mut data).unwrap();
            data[3] ^= 1;
            stream.write_all(&data).unwrap();
        });
        assert!(must_echo_tcp(&mut tcp(target).unwrap(), b"ping").is_err());
        server.join().unwrap();
    }
}
