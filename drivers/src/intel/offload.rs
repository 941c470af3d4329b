//! What a frame to send asks of the card, in the card's terms: contexts and options (SDM 3.3.5,
//! 3.3.6, 3.5).
//!
//! [`request`] checks a packet and prepares its headers. The contract says that the checksum field
//! holds the sum over the pseudo-header. For a frame that is to be cut the card wants that sum
//! without the length, which it adds itself for each segment, and lengths and sum of the IP header
//! cleared. What is here is how the older families are told; [`advanced`] is the igb family's way.
#![forbid(unsafe_code)]

pub mod advanced;

use pbufpool::{Gso, GsoKind, Offload, Packet, PartialChecksum};

use super::ETHERNET;
use super::descriptor::Tx;
use super::model::Family;
use crate::net::{DropReason, VlanId};

/// Longest frame to be cut: an IP packet of 64 KiB.
pub const MOST_FRAME: usize = ETHERNET + 65_535;
/// Least header of a frame to be cut: Ethernet, IPv4, TCP.
const LEAST_HEADERS: usize = ETHERNET + 20 + 20;
/// Offset of the checksum field in a TCP header.
const TCP_CHECKSUM: u16 = 16;
/// IPv4: bytes of the frame with total length and header checksum.
const V4_LENGTH: core::ops::Range<usize> = 16..18;
const V4_CHECKSUM: usize = ETHERNET + 10;
/// IPv6: bytes of the frame with the payload length.
const V6_LENGTH: core::ops::Range<usize> = 18..20;

/// Where the tag is in a data descriptor.
const TAG: u32 = 48;

/// Contexts that a card keeps for a ring, of those that are used.
pub const CONTEXTS: usize = 2;

/// A context descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// Which of the [`CONTEXTS`] it becomes.
    pub place: u8,
    /// Its lower word: where sums begin and go.
    pub low: u64,
    /// Its upper word: lengths and commands.
    pub high: u64,
}

/// What goes with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The context that it needs, if any.
    pub context: Option<Context>,
    /// The upper word of its data descriptors, but for their lengths and what the last one says.
    pub command: u64,
    /// Whether it is to be cut.
    pub segments: bool,
}

/// A frame that asks for nothing.
const PLAIN: Request = Request {
    context: None,
    command: command(Tx::empty()),
    segments: false,
};

/// The commands of a data descriptor.
const fn command(flags: Tx) -> u64 {
    let always = Tx::DATA.union(Tx::DEXT).union(Tx::IFCS);
    always.union(flags).bits()
}

/// What `packet` asks of a card of `family`, and that it is tagged as one of `vlan`. Changes the
/// headers of a frame that is to be cut.
///
/// # Errors
/// It asks for what the card cannot do, or at an impossible place.
#[inline]
pub fn request(
    packet: &mut Packet,
    family: Family,
    vlan: Option<VlanId>,
) -> Result<Request, DropReason> {
    let Offload {
        tx_checksum, gso, ..
    } = *packet.offload();
    let request = match (tx_checksum, gso) {
        (None, None) if family.is_igb() => advanced::plain(packet.len()),
        (None, None) => PLAIN,
        (Some(sum), None) => checksum(packet, family, sum)?,
        (Some(_), Some(gso)) if gso.kind == GsoKind::TcpV6 && family == Family::E8254x => {
            return Err(DropReason::TxBadOffload);
        }
        (Some(sum), Some(gso)) => segments(packet, family, sum, gso)?,
        // Each segment has its checksum from the card.
        (None, Some(_)) => return Err(DropReason::TxBadOffload),
    };
    Ok(match vlan {
        None => request,
        Some(vlan) if family.is_igb() => advanced::tagged(request, vlan),
        Some(vlan) => Request {
            command: request.command | Tx::VLE.bits() | u64::from(vlan.get()) << TAG,
            ..request
        },
    })
}

/// Where a sum begins and where it goes, if the card can name these places.
fn places(packet: &Packet, sum: PartialChecksum) -> Result<(u64, u64), DropReason> {
    let field = sum.start.saturating_add(sum.offset);
    let fits = field <= 255 && usize::from(field) + 2 <= packet.len();
    if fits && usize::from(sum.start) >= ETHERNET {
        Ok((sum.start.into(), field.into()))
    } else {
        Err(DropReason::TxBadOffload)
    }
}

fn checksum(packet: &Packet, family: Family, sum: PartialChecksum) -> Result<Request, DropReason> {
    let (start, field) = places(packet, sum)?;
    if family.is_igb() {
        let request = advanced::checksum(start, sum.offset, packet.len());
        return request.ok_or(DropReason::TxBadOffload);
    }
    let tcp = if sum.offset == TCP_CHECKSUM {
        Tx::TCP
    } else {
        Tx::empty()
    };
    Ok(Request {
        context: Some(Context {
            place: 0,
            low: start << 32 | field << 40,
            high: (Tx::DEXT | tcp).bits(),
        }),
        command: command(Tx::TXSM),
        segments: false,
    })
}

fn segments(
    packet: &mut Packet,
    family: Family,
    sum: PartialChecksum,
    gso: Gso,
) -> Result<Request, DropReason> {
    const BAD: DropReason = DropReason::TxBadOffload;
    let (start, field) = places(packet, sum)?;
    let (len, headers) = (packet.len(), usize::from(gso.header_len));
    let v4 = match gso.kind {
        GsoKind::TcpV4 => true,
        GsoKind::TcpV6 => false,
        GsoKind::Udp => return Err(BAD),
    };
    let first = packet.data().len();
    let possible = sum.offset == TCP_CHECKSUM
        && gso.mss > 0
        && (LEAST_HEADERS..=255.min(first)).contains(&headers)
        && (ETHERNET + 20..=headers - 20).contains(&usize::from(sum.start))
        && headers < len
        && len <= MOST_FRAME;
    if !possible {
        return Err(BAD);
    }
    let tcp_len = u16::try_from(len - usize::from(sum.start)).map_err(|_| BAD)?;
    let data = packet.data_mut().ok_or(BAD)?;
    prepare_headers(data, v4, field as usize, tcp_len).ok_or(BAD)?;
    if family.is_igb() {
        return Ok(advanced::segments(v4, start, headers as u64, gso.mss, len));
    }
    // The card finds the length of each segment's IP header by where that begins; an IPv4 header is
    // summed from there to the TCP header.
    let ip = ETHERNET as u64;
    let (ip, kind, insert) = if v4 {
        let sum = (V4_CHECKSUM as u64) << 8 | (start - 1) << 16;
        (ip | sum, Tx::IPV4, Tx::IXSM)
    } else {
        (ip, Tx::empty(), Tx::empty())
    };
    Ok(Request {
        context: Some(Context {
            place: 0,
            low: ip | start << 32 | field << 40,
            high: (Tx::DEXT | Tx::TCP | Tx::TSE | kind).bits()
                | (len - headers) as u64
                | (headers as u64) << 40
                | u64::from(gso.mss) << 48,
        }),
        command: command(Tx::TSE | Tx::TXSM | insert),
        segments: true,
    })
}

/// Makes the headers what the card wants to begin with; `None` if they are cut off.
fn prepare_headers(data: &mut [u8], v4: bool, field: usize, tcp_len: u16) -> Option<()> {
    if v4 {
        data.get_mut(V4_LENGTH)?.fill(0);
        data.get_mut(V4_CHECKSUM..V4_CHECKSUM + 2)?.fill(0);
    } else {
        data.get_mut(V6_LENGTH)?.fill(0);
    }
    let field: &mut [u8; 2] = data.get_mut(field..field + 2)?.try_into().ok()?;
    *field = without(u16::from_be_bytes(*field), tcp_len).to_be_bytes();
    Some(())
}

/// Takes `less` off a one's complement sum.
fn without(sum: u16, less: u16) -> u16 {
    let (sum, carry) = sum.overflowing_add(!less);
    sum + u16::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_to_a_sum_comes_off_again() {
        let with = |sum: u16, more: u16| {
            let (sum, carry) = sum.overflowing_add(more);
            sum + u16::from(carry)
        };
        for sum in [1, 2, 0x1234, 0x8000, 0xfffe, 0xffff] {
            for more in [0, 1, 20, 0x7fff, 0x8000, 0xfffe, 0xffff] {
                let back = without(with(sum, more), more);
                // There are two zeros.
                assert_eq!(back % 0xffff, sum % 0xffff, "{sum:#x} {more:#x}");
            }
        }
    }
}
