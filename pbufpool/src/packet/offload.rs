//! What a device did, or shall do, for a packet: checksums and segmentation. Plain values, in
//! no device's format.
#![forbid(unsafe_code)]

/// What is known about the checksum of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RxChecksum {
    /// Nothing: check it.
    #[default]
    Unverified,
    /// The device checked it.
    Verified,
    /// The transport checksum is not filled in (it came from a neighbour on the same host):
    /// valid data, to be completed if it leaves the machine.
    Partial(PartialChecksum),
}

/// A one's complement sum that someone has to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PartialChecksum {
    /// First byte summed, from the first byte of the frame.
    pub start: u16,
    /// Where the result goes, counted from `start`.
    pub offset: u16,
}

/// What a segment is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP.
    Udp,
}

/// A frame larger than the MTU, cut (or merged) by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Transport.
    pub kind: GsoKind,
    /// Payload bytes of each segment.
    pub mss: u16,
    /// Bytes of all headers, repeated in each segment.
    pub header_len: u16,
}

/// Offload requests and results of one packet; all off in a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offload {
    /// Receive: what the device found.
    pub rx_checksum: RxChecksum,
    /// Transmit: checksum to complete.
    pub tx_checksum: Option<PartialChecksum>,
    /// Segmentation, to be done (transmit) or that was undone (receive).
    pub gso: Option<Gso>,
}

impl Offload {
    /// Nothing asked, nothing known.
    pub const NONE: Self = Self {
        rx_checksum: RxChecksum::Unverified,
        tx_checksum: None,
        gso: None,
    };
}
