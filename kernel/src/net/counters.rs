//! What the stack counts: frames refused by reason, copies, connections.
//!
//! Incremented by the classifier, the device seam and the connection table; printed by the
//! statistics service and `/metrics`. Plain integers: one core owns one stack.
#![forbid(unsafe_code)]

/// Declares [`Refusal`] with its names, so that a reason cannot lack one.
macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a received frame was dropped before smoltcp saw it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Refusal { $($(#[$doc])* $variant,)* }

        impl Refusal {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The reason's name in statistics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

refusals! {
    /// Shorter than an Ethernet header.
    Runt = "rx_runt",
    /// Longer than the MTU allows.
    Oversize = "rx_oversize",
    /// Addressed to another station.
    NotForUs = "rx_not_for_us",
    /// Sent from a group address, which no station has.
    BadSource = "rx_bad_source",
    /// Neither ARP, IPv4 nor IPv6 (or a family that is switched off).
    EtherType = "rx_ethertype",
    /// ARP: wrong lengths or types.
    BadArp = "rx_bad_arp",
    /// IPv4: version, header length or total length.
    BadIpv4 = "rx_bad_ipv4",
    /// IPv4: header checksum.
    Ipv4Checksum = "rx_ipv4_checksum",
    /// IPv6: version, payload length or extension header.
    BadIpv6 = "rx_bad_ipv6",
    /// IPv6: a fragment, which is not reassembled.
    Ipv6Fragment = "rx_ipv6_fragment",
    /// IPv4: a fragment that overlaps, overflows or finds no room.
    BadFragment = "rx_bad_fragment",
    /// ICMP or ICMPv6: length.
    BadIcmp = "rx_bad_icmp",
    /// ICMP or ICMPv6: checksum.
    IcmpChecksum = "rx_icmp_checksum",
    /// Echo request while the service is off.
    IcmpOff = "rx_icmp_off",
    /// UDP: length or port 0.
    BadUdp = "rx_bad_udp",
    /// UDP: checksum.
    UdpChecksum = "rx_udp_checksum",
    /// UDP to a service, but to a broadcast or multicast address.
    UdpGroup = "rx_udp_group",
    /// UDP to a service from the port of another small service.
    UdpLoop = "rx_udp_loop",
    /// TCP: header length, port 0, or an impossible set of flags.
    BadTcp = "rx_bad_tcp",
    /// TCP: an option that does not parse.
    BadTcpOptions = "rx_bad_tcp_options",
    /// TCP: checksum.
    TcpChecksum = "rx_tcp_checksum",
    /// A reassembled datagram for which the NIC had no room to answer.
    NoRoom = "rx_no_room",
    /// TCP: a SYN beyond the limits, or without memory to serve it.
    SynRefused = "rx_syn_refused",
}

/// Everything the stack counts, from boot.
#[derive(Clone, Debug)]
pub struct Counters {
    refused: [u64; Refusal::ALL.len()],
    /// Frames given to smoltcp.
    pub rx_delivered: u64,
    /// Frames smoltcp sent.
    pub tx_frames: u64,
    /// Frames copied between the NIC's buffers and smoltcp on the way in: a chain that was not
    /// contiguous. Zero while every packet has a single buflet.
    pub copies_rx: u64,
    /// Frames copied on the way out. Zero: smoltcp writes each where the NIC reads it, and no
    /// other way out exists yet.
    pub copies_tx: u64,
    /// IPv4 fragments given to reassembly, which copies each into its datagram.
    pub fragments: u64,
    /// Datagrams that reassembly completed.
    pub reassembled: u64,
    /// Frames that smoltcp asked to send but that no buffer can hold.
    pub tx_oversize: u64,
    /// Times a turn stopped because no transmit buffer or slot was free.
    pub tx_stalls: u64,
    /// TCP connections that reached a service.
    pub tcp_accepted: u64,
    /// Handshakes that gave way to newer ones.
    pub tcp_evicted: u64,
    /// Connections in TIME-WAIT that were forgotten before their time, for want of room.
    pub tcp_recycled: u64,
    /// Segments acknowledged for connections in TIME-WAIT.
    pub tcp_answered_late: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            refused: [0; Refusal::ALL.len()],
            rx_delivered: 0,
            tx_frames: 0,
            copies_rx: 0,
            copies_tx: 0,
            fragments: 0,
            reassembled: 0,
            tx_oversize: 0,
            tx_stalls: 0,
            tcp_accepted: 0,
            tcp_evicted: 0,
            tcp_recycled: 0,
            tcp_answered_late: 0,
        }
    }
}

impl Counters {
    /// Counts a refused frame.
    pub fn refuse(&mut self, why: Refusal) {
        self.refused[why as usize] += 1;
    }

    /// How many frames were refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize]
    }

    /// How many frames were refused, whatever the reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// The counters besides the refusals, by name.
    pub fn named(&self) -> [(&'static str, u64); 12] {
        [
            ("rx_delivered", self.rx_delivered),
            ("tx_frames", self.tx_frames),
            ("copies_rx", self.copies_rx),
            ("copies_tx", self.copies_tx),
            ("fragments", self.fragments),
            ("reassembled", self.reassembled),
            ("tx_oversize", self.tx_oversize),
            ("tx_stalls", self.tx_stalls),
            ("tcp_accepted", self.tcp_accepted),
            ("tcp_evicted", self.tcp_evicted),
            ("tcp_recycled", self.tcp_recycled),
            ("tcp_answered_late", self.tcp_answered_late),
        ]
    }
}
