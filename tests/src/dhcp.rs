//! A DHCP server for one client (RFC 2131, RFC 2132): it gives the guest one address, with
//! gateway and DNS server, for a lease as short as a test likes.
//!
//! It counts what it was asked, so that a test can see a lease being renewed.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use crate::tap::Tap;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Fixed part of a message, up to and including the magic cookie.
const FIXED_LEN: usize = 240;

mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
}

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One right reply to each request.
    Plain,
    /// A volley of damaged replies before the right one.
    Noisy,
}

/// What the server gives away.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The client's address.
    pub addr: Ipv4Addr,
    /// This server's address, which is also the gateway.
    pub server: Ipv4Addr,
    /// The DNS server.
    pub dns: Ipv4Addr,
    /// Lease time in seconds.
    pub seconds: u32,
}

/// Requests seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// DHCPDISCOVER messages.
    pub discovers: AtomicU32,
    /// DHCPREQUEST messages, renewals among them.
    pub requests: AtomicU32,
    /// While set, requests are refused (DHCPNAK).
    pub refuse: AtomicBool,
}

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct Server {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `lease` on `tap`.
    pub fn start(tap: &Tap, lease: Lease, manner: Manner) -> Result<Server> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT)).context("DHCP port")?;
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(tap.name()))?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (their_seen, their_stop) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !their_stop.load(Ordering::Relaxed) {
                serve_one(&socket, &lease, &their_seen, manner);
            }
        });
        Ok(Server {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// What was asked so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve_one(socket: &UdpSocket, lease: &Lease, seen: &Seen, manner: Manner) {
    let mut message = [0; 1500];
    match socket.recv_from(&mut message) {
        Ok((length, _)) => {
            if let Some(reply) = answer(&message[..length], lease, seen) {
                let noise = if manner == Manner::Noisy {
                    damaged(&reply)
                } else {
                    vec![]
                };
                for reply in noise.iter().chain([&reply]) {
                    // The client has no address yet, or may have lost it: it goes to everyone.
                    let _ = socket.send_to(reply, (Ipv4Addr::BROADCAST, CLIENT_PORT));
                }
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        Err(_) => thread::sleep(Duration::from_millis(100)),
    }
}

fn answer(request: &[u8], lease: &Lease, seen: &Seen) -> Option<Vec<u8>> {
    let reply_kind = match message_kind(request)? {
        kind::DISCOVER => {
            seen.discovers.fetch_add(1, Ordering::Relaxed);
            kind::OFFER
        }
        kind::REQUEST => {
            seen.requests.fetch_add(1, Ordering::Relaxed);
            if seen.refuse.load(Ordering::Relaxed) {
                kind::NAK
            } else {
                kind::ACK
            }
        }
        _ => return None,
    };
    Some(reply(request, reply_kind, lease))
}

/// The message type option of a client's message.
fn message_kind(message: &[u8]) -> Option<u8> {
    let is_request = *message.first()? == 1 && message.get(236..FIXED_LEN)? == COOKIE;
    let mut options = is_request.then(|| &message[FIXED_LEN..])?;
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [53, 1, kind, ..] => return Some(*kind),
            [255, ..] | [] | [_] => return None,
            [_, length, rest @ ..] => options = rest.get(usize::from(*length)..)?,
        }
    }
}

fn reply(request: &[u8], reply_kind: u8, lease: &Lease) -> Vec<u8> {
    let mut message = request[..FIXED_LEN].to_vec();
    message[0] = 2; // reply
    message[12..16].fill(0); // client's address: as asked, none
    let yours = if reply_kind == kind::NAK {
        Ipv4Addr::UNSPECIFIED
    } else {
        lease.addr
    };
    message[16..20].copy_from_slice(&yours.octets());
    message[20..24].copy_from_slice(&lease.server.octets());
    message[44..236].fill(0); // no server name, no boot file
    let mut option = |code: u8, value: &[u8]| {
        message.extend([code, value.len() as u8]);
        message.extend(value);
    };
    option(53, &[reply_kind]);
    option(54, &lease.server.octets());
    if reply_kind != kind::NAK {
        option(51, &lease.seconds.to_be_bytes());
        option(1, &[255, 255, 255, 0]);
        option(3, &lease.server.octets());
        option(6, &lease.dns.octets());
    }
    message.push(255);
    message.resize(message.len().max(300), 0); // as short as BOOTP allows
    message
}

/// Copies of a reply that are cut short, for somebody else, or not DHCP: none may be believed.
fn damaged(reply: &[u8]) -> Vec<Vec<u8>> {
    let cut = (0..FIXED_LEN + 24).map(|length| reply[..length].to_vec());
    // Operation, hardware type and address length, transaction, hardware address, cookie.
    let changed = [0, 1, 2, 4, 7, 28, 33, 236, 239].map(|at: usize| {
        let mut copy = reply.to_vec();
        copy[at] ^= 0xff;
        copy
    });
    cut.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease = Lease {
        addr: Ipv4Addr::new(10, 7, 3, 77),
        server: Ipv4Addr::new(10, 7, 3, 1),
        dns: Ipv4Addr::new(10, 7, 3, 53),
        seconds: 10,
    };

    fn client_message(kind: u8) -> Vec<u8> {
        let mut message = vec![0; FIXED_LEN];
        message[0] = 1;
        message[236..].copy_from_slice(&COOKIE);
        message.extend([0, 61, 1, 9, 53, 1, kind, 255]);
        message
    }

    #[test]
    fn a_discover_is_offered_the_lease_and_a_request_gets_it() {
        let seen = Seen::default();
        let offer = answer(&client_message(kind::DISCOVER), &LEASE, &seen).unwrap();
        assert_eq!(offer[16..20], LEASE.addr.octets());
        assert_eq!(offer[FIXED_LEN..FIXED_LEN + 3], [53, 1, kind::OFFER]);
        let ack = answer(&client_message(kind::REQUEST), &LEASE, &seen).unwrap();
        assert_eq!(ack[FIXED_LEN..FIXED_LEN + 3], [53, 1, kind::ACK]);
        assert_eq!(seen.requests.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_refused_request_is_told_so_and_garbage_is_ignored() {
        let seen = Seen::default();
        seen.refuse.store(true, Ordering::Relaxed);
        let nak = answer(&client_message(kind::REQUEST), &LEASE, &seen).unwrap();
        assert_eq!(nak[FIXED_LEN..FIXED_LEN + 3], [53, 1, kind::NAK]);
        assert_eq!(answer(&client_message(kind::ACK), &LEASE, &seen), None);
        assert_eq!(
            answer(&client_message(kind::REQUEST)[..242], &LEASE, &seen),
            None
        );
        assert_eq!(answer(&[0; 100], &LEASE, &seen), None);
    }
}
