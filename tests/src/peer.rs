//! A host that exists only as crafted frames: it has addresses of its own, answers the guest's
//! ARP requests and neighbour solicitations, and says exactly what a test wants said.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::frames::arp::{self, Arp};
use crate::frames::ipv4::{self, Ipv4};
use crate::frames::transport::{Ports, Segment, parse_udp, udp};
use crate::frames::{BROADCAST, Mac, ethernet, ethernet_payload, ethertype, ipv6, protocol};
use crate::guest::Guest;
use crate::link::{Link, PacketSocket};

/// How long a reply may take; generous, since the guest is emulated on a busy machine.
pub const REPLY_LIMIT: Duration = Duration::from_secs(5);

/// The crafted host and the guest it talks to.
pub struct Peer {
    link: Box<dyn Link>,
    /// The peer's MAC address.
    pub mac: Mac,
    /// The peer's IPv4 address.
    pub addr: Ipv4Addr,
    /// The guest's MAC address.
    pub guest_mac: Mac,
    /// The guest's IPv4 address.
    pub guest: Ipv4Addr,
}

impl Peer {
    /// A peer on the guest's tap, at host number `host` of its subnet, introduced.
    pub fn on_tap(guest: &Guest, host: u8) -> Result<Peer> {
        let peer = Peer::stranger_on_tap(guest, host)?;
        peer.introduce()?;
        Ok(peer)
    }

    /// The same, but the guest has never heard of it.
    pub fn stranger_on_tap(guest: &Guest, host: u8) -> Result<Peer> {
        let link = PacketSocket::open(guest.tap().name())?;
        let [a, b, c, _] = guest.addr().octets();
        let (mac, addr) = ([0x02, 0, 0, 7, c, host], Ipv4Addr::new(a, b, c, host));
        Ok(Peer::on_link(
            link,
            (mac, addr),
            (guest.mac(), guest.addr()),
        ))
    }

    /// A peer on a wire of its own.
    pub fn on_link(
        link: impl Link + 'static,
        (mac, addr): (Mac, Ipv4Addr),
        (guest_mac, guest): (Mac, Ipv4Addr),
    ) -> Peer {
        Peer {
            link: Box::new(link),
            mac,
            addr,
            guest_mac,
            guest,
        }
    }

    /// Asks for the guest's MAC address, as any host does before its first packet; the guest
    /// learns the peer's by that.
    pub fn introduce(&self) -> Result<()> {
        let request = Arp {
            operation: arp::REQUEST,
            sender_mac: self.mac,
            sender: self.addr,
            target_mac: [0; 6],
            target: self.guest,
        };
        let frame = ethernet(BROADCAST, self.mac, ethertype::ARP, &request.bytes());
        self.send_frame(&frame)?;
        let found = self.wait(REPLY_LIMIT, |frame| {
            let reply = Arp::parse(ethernet_payload(frame, ethertype::ARP)?)?;
            (reply.operation == arp::REPLY && reply.sender == self.guest).then_some(reply)
        })?;
        let reply = found.context("no answer to an ARP request")?;
        ensure!(reply.sender_mac == self.guest_mac, "ARP reply: {reply:?}");
        ensure!(reply.target_mac == self.mac, "ARP reply: {reply:?}");
        Ok(())
    }

    /// The two IPv4 addresses of what this peer sends.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        (self.addr.into(), self.guest.into())
    }

    /// The peer's IPv6 link-local address.
    pub fn link_local(&self) -> Ipv6Addr {
        crate::frames::link_local(self.mac)
    }

    /// The guest's IPv6 link-local address.
    pub fn guest_link_local(&self) -> Ipv6Addr {
        crate::frames::link_local(self.guest_mac)
    }

    /// Sends a frame as it is.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        self.link.send(frame)
    }

    /// Sends an Ethernet payload to the guest.
    pub fn send(&self, ethertype: u16, payload: &[u8]) -> Result<()> {
        self.link
            .send(&ethernet(self.guest_mac, self.mac, ethertype, payload))
    }

    /// Sends an IPv4 packet with a plain header.
    pub fn send_ipv4(&self, protocol: u8, payload: &[u8]) -> Result<()> {
        let header = Ipv4::new(self.addr, self.guest, protocol);
        self.send(ethertype::IPV4, &header.packet(payload))
    }

    /// Sends a UDP datagram.
    pub fn send_udp(&self, ports: Ports, data: &[u8]) -> Result<()> {
        self.send_ipv4(protocol::UDP, &udp(self.ends(), ports, data))
    }

    /// Sends a TCP segment.
    pub fn send_tcp(&self, segment: &Segment) -> Result<()> {
        self.send_ipv4(protocol::TCP, &segment.bytes(self.ends()))
    }

    /// Waits for a frame of the guest for which `wanted` returns something, answering address
    /// resolution meanwhile. `None` when `limit` has passed.
    pub fn wait<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let Some(frame) = self.link.receive(left)? else {
                return Ok(None);
            };
            if frame.get(6..12) != Some(&self.guest_mac) {
                continue; // the host's own, seen by the raw socket
            }
            self.resolve(&frame)?;
            if let Some(found) = wanted(&frame) {
                return Ok(Some(found));
            }
        }
    }

    /// Waits for a UDP datagram from the guest's port `from` to port `to`; returns its data.
    pub fn wait_udp(&self, from: u16, to: u16, limit: Duration) -> Result<Option<Vec<u8>>> {
        self.wait(limit, |frame| {
            let packet = ethernet_payload(frame, ethertype::IPV4)?;
            let (_, dst, datagram) = ipv4::parse(packet, protocol::UDP)?;
            let (ports, data) = parse_udp(datagram)?;
            (dst == self.addr && ports == Ports { src: from, dst: to }).then(|| data.to_vec())
        })
    }

    /// Sends `data` from `port` to the guest's UDP port `service` and returns the answer.
    pub fn ask_udp(&self, port: u16, service: u16, data: &[u8]) -> Result<Vec<u8>> {
        self.send_udp(
            Ports {
                src: port,
                dst: service,
            },
            data,
        )?;
        let answer = self.wait_udp(service, port, REPLY_LIMIT)?;
        answer.with_context(|| format!("no answer from {service}/UDP"))
    }

    /// Sends an echo request and waits for its reply.
    pub fn ping(&self, sequence: u16, data: &[u8]) -> Result<bool> {
        self.send_ipv4(protocol::ICMP, &ipv4::echo_request(0x4d52, sequence, data))?;
        Ok(self
            .wait_echo_reply(sequence, REPLY_LIMIT)?
            .is_some_and(|echoed| echoed == data))
    }

    /// Waits for an echo reply to the peer's address; returns its data.
    pub fn wait_echo_reply(&self, sequence: u16, limit: Duration) -> Result<Option<Vec<u8>>> {
        self.wait(limit, |frame| {
            let packet = ethernet_payload(frame, ethertype::IPV4)?;
            let (_, dst, message) = ipv4::parse(packet, protocol::ICMP)?;
            let reply = message.first() == Some(&0) && message.get(6..8)? == sequence.to_be_bytes();
            (dst == self.addr && reply).then(|| message[8..].to_vec())
        })
    }

    /// Answers `frame` if it asks for one of the peer's addresses.
    fn resolve(&self, frame: &[u8]) -> Result<()> {
        if let Some(payload) = ethernet_payload(frame, ethertype::ARP) {
            let asked = Arp::parse(payload).filter(|arp| arp.operation == arp::REQUEST);
            if let Some(request) = asked.filter(|arp| arp.target == self.addr) {
                let reply = Arp {
                    operation: arp::REPLY,
                    sender_mac: self.mac,
                    sender: self.addr,
                    target_mac: request.sender_mac,
                    target: request.sender,
                };
                self.send(ethertype::ARP, &reply.bytes())?;
            }
        }
        if let Some(asker) = self.solicitor(frame) {
            let advert = ipv6::neighbour_advert(self.link_local(), self.mac, asker);
            self.send(ethertype::IPV6, &advert)?;
        }
        Ok(())
    }

    /// Who solicits the peer's link-local address in `frame`, if that is what it does.
    fn solicitor(&self, frame: &[u8]) -> Option<Ipv6Addr> {
        let packet = ethernet_payload(frame, ethertype::IPV6)?;
        let (asker, _, message) = ipv6::parse(packet, protocol::ICMPV6)?;
        let solicits = message.first() == Some(&ipv6::kind::NEIGHBOUR_SOLICIT)
            && message.get(8..24)? == self.link_local().octets();
        solicits.then_some(asker)
    }
}
