//! From a client's words to a packet again: the chain first, then every field. All arithmetic
//! is checked; every word was read once before.
#![forbid(unsafe_code)]

use super::tables::{Shared, Tables};
use super::view::{BufletWords, NONE, PacketWords, client_flag};
use super::{OwnerId, ViewFault};
use crate::config::Layer;
use crate::packet::{Packet, PartialChecksum};
use crate::pool::LoneBuflet;

/// Links the buflets that the client names. Whatever was linked before an error stays with the
/// packet and is freed with it.
pub(super) fn chain(
    shared: &Shared,
    tables: &mut Tables,
    packet: &mut Packet,
    words: &PacketWords,
    owner: OwnerId,
) -> Result<(), ViewFault> {
    let max = packet.max_frags();
    if words.count > max {
        return Err(ViewFault::CountAboveMax);
    }
    let mut linked = u32::from(packet.embedded().is_some());
    let mut next = words.next;
    let mut fault = None;
    while next != NONE && linked < words.count {
        let absent = ViewFault::NotOnLoan { buflet: next };
        let mut buflet = tables.take_buflet(next, owner).ok_or(absent)?;
        let written = shared.buflet_views[next as usize].read();
        let sealed = written.seal == shared.buflet_seal(next);
        let checked = if sealed {
            span(&mut buflet, &written)
        } else {
            Err(ViewFault::Seal)
        };
        fault = fault.or(checked.err());
        if packet.append_buflet(buflet).is_err() {
            return Err(ViewFault::CountAboveMax);
        }
        linked += 1;
        next = written.next;
    }
    match fault {
        Some(fault) => Err(fault),
        None if next != NONE || linked != words.count => Err(ViewFault::ChainLength),
        None => Ok(()),
    }
}

/// Takes a span over from the client.
pub(super) fn span(buflet: &mut LoneBuflet, words: &BufletWords) -> Result<(), ViewFault> {
    // Whatever the outcome, nothing of the old span stays.
    let emptied = buflet.set_span(0, 0);
    debug_assert!(emptied.is_ok(), "an empty span fits every buffer");
    if buflet.span().buffer_index() != Some(words.buffer) {
        return Err(ViewFault::BufferIndex);
    }
    buflet
        .set_span(words.doff as usize, words.dlen as usize)
        .map_err(|_| ViewFault::Span)
}

/// Checks and takes over the packet's own fields.
pub(super) fn fields(
    packet: &mut Packet,
    words: &PacketWords,
    buffer_size: usize,
) -> Result<(), ViewFault> {
    if words.flags & !client_flag::ALL != 0 {
        return Err(ViewFault::Flags);
    }
    if words.flags & client_flag::DROPPED != 0 {
        return Err(ViewFault::MarkedDropped);
    }
    if words.count == 0 {
        return Err(ViewFault::NoBuflets);
    }
    if words.max_frags != packet.max_frags() {
        return Err(ViewFault::MaxFrags);
    }
    if packet.embedded().is_some() {
        if packet.first().and_then(|b| b.buffer_index()) != Some(words.buffer) {
            return Err(ViewFault::BufferIndex);
        }
        let set = packet.set_span(words.doff as usize, words.dlen as usize);
        set.map_err(|_| ViewFault::Span)?;
    }
    if packet.len() != words.length as usize {
        return Err(ViewFault::Length);
    }
    headers(packet, words, buffer_size)?;
    checksum(packet, words)?;
    packet.set_truncated(words.flags & client_flag::TRUNCATED != 0);
    Ok(())
}

fn headers(packet: &mut Packet, words: &PacketWords, buffer_size: usize) -> Result<(), ViewFault> {
    let end = u64::from(words.headroom) + u64::from(words.l2_len);
    let fits = match packet.layer() {
        Layer::Raw => words.headroom as usize == packet.headroom() && end < buffer_size as u64,
        Layer::Payload => end == 0,
    };
    let l2_len = u8::try_from(words.l2_len)
        .ok()
        .filter(|_| fits)
        .ok_or(ViewFault::Headroom)?;
    if l2_len != packet.notes().l2_len {
        packet.notes_mut().l2_len = l2_len;
    }
    Ok(())
}

fn checksum(packet: &mut Packet, words: &PacketWords) -> Result<(), ViewFault> {
    if words.flags & client_flag::PARTIAL_CHECKSUM == 0 {
        return Ok(());
    }
    let (start, stuff) = (words.csum_start, words.csum_stuff);
    let end = u64::from(stuff) + 2;
    if start > stuff || start > words.length || end > u64::from(words.length) {
        return Err(ViewFault::Checksum);
    }
    let narrow = |n: u32| u16::try_from(n).map_err(|_| ViewFault::Checksum);
    let partial = PartialChecksum {
        start: narrow(start)?,
        offset: narrow(stuff - start)?,
    };
    packet.offload_mut().tx_checksum = Some(partial);
    Ok(())
}
