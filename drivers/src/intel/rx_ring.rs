//! The receive ring: empty buffers go in, parts of frames come out, in order.
//!
//! Nothing beyond the tail that the card was told is ever looked at, and nothing is believed of a
//! descriptor but that it is done. A length above that of the buffer breaks the ring: the card may
//! have written beyond the buffer, and only a reset programs it anew.
#![forbid(unsafe_code)]

use pbufpool::{DmaMemory, Packet};

use super::descriptor::{RxFormat, RxStatus, WrittenBack};
use super::ring::DescriptorRing;
use crate::error::DeviceFault;
use crate::net::DropReason;
use crate::ring::barrier;

/// Most descriptors that may wait for the tail to be written, which a card pays for with the
/// depth of its ring and a hypervisor saves an exit by.
const MOST_UNTOLD: u16 = 32;

/// One buffer with what the card put into it.
#[derive(Debug)]
pub struct Part {
    /// The buffer; its data are the `len` bytes from its start.
    pub packet: Packet,
    /// What the card says of it, and of the frame if it ends here.
    pub status: RxStatus,
    /// The frame's VLAN tag, if it ends here and had one.
    pub tag: u16,
    /// Whether there is no room left in the buffer.
    pub full: bool,
}

/// A receive ring with the packets that are in it.
#[derive(Debug)]
pub struct RxRing {
    /// Its number in faults.
    queue: u16,
    ring: DescriptorRing,
    format: RxFormat,
    /// Bytes of a buffer that the card may write.
    buffer: u16,
    /// Buffers that the ring takes.
    capacity: u16,
    /// Where the next part comes from.
    next: u16,
    /// Where the next buffer goes.
    fill: u16,
    /// What the tail register says.
    told: u16,
    fault: Option<DeviceFault>,
}

impl RxRing {
    /// A ring for `capacity` buffers of `buffer` bytes, called `queue` in faults. `None` if there is
    /// no memory for it.
    pub fn new(
        source: &'static dyn DmaMemory,
        capacity: u16,
        buffer: u16,
        format: RxFormat,
        queue: u16,
    ) -> Option<Self> {
        Some(Self {
            queue,
            ring: DescriptorRing::new(source, capacity)?,
            format,
            buffer,
            capacity,
            next: 0,
            fill: 0,
            told: 0,
            fault: None,
        })
    }

    /// Its descriptors.
    pub fn descriptors(&self) -> &DescriptorRing {
        &self.ring
    }

    /// Gives up the ring for its descriptors, to take its packets back.
    pub fn into_descriptors(self) -> DescriptorRing {
        self.ring
    }

    /// What the card was found to do wrong.
    pub fn fault(&self) -> Option<DeviceFault> {
        self.fault
    }

    /// Buffers in it.
    pub fn lent(&self) -> usize {
        self.ring.slots.lent()
    }

    /// Buffers that it takes now.
    pub fn room(&self) -> usize {
        usize::from(self.capacity).saturating_sub(self.lent())
    }

    /// Puts an empty buffer in.
    ///
    /// # Errors
    /// The packet, if there is no room, or if its buffer is too small or shared.
    #[inline]
    pub fn post(&mut self, mut packet: Packet) -> Result<(), Packet> {
        let fits = packet.set_span(0, self.buffer.into()).is_ok();
        let Some(address) = packet.first().map(|buflet| buflet.dma_addr()) else {
            return Err(packet);
        };
        if !fits || self.room() == 0 {
            return Err(packet);
        }
        self.ring.slots.lend(self.fill, packet.lend(), ());
        self.ring.at(self.fill).write(address.as_u64(), 0);
        self.fill = self.ring.after(self.fill);
        Ok(())
    }

    /// The new tail, if it is time to tell the card of new buffers.
    pub fn publish(&mut self) -> Option<u16> {
        let untold = self.ring.steps(self.told, self.fill);
        let left = self.ring.steps(self.next, self.told);
        let soon = (self.capacity / 8).clamp(1, MOST_UNTOLD);
        if untold == 0 || (untold < soon && left >= self.capacity / 2) {
            return None;
        }
        barrier::publish();
        self.told = self.fill;
        Some(self.told)
    }

    /// Whether there is a part to take.
    pub fn has_completions(&self) -> bool {
        self.written_back().is_some()
    }

    #[inline]
    fn written_back(&self) -> Option<WrittenBack> {
        if self.fault.is_some() || self.next == self.told {
            return None;
        }
        self.format.written_back(self.ring.at(self.next))
    }

    /// Takes the next part, or the reason why it is nothing; `None` if there is none.
    #[inline]
    pub fn take(&mut self) -> Option<Result<Part, DropReason>> {
        let WrittenBack { status, len, tag } = self.written_back()?;
        let id = self.next;
        let Some(mut packet) = self.ring.slots.take(id) else {
            // Cannot be: what lies before the tail is lent.
            let (queue, id) = (self.queue, id.into());
            self.fault = Some(DeviceFault::NotLent { queue, id });
            return None;
        };
        self.next = self.ring.after(id);
        if len > self.buffer || packet.set_span(0, len.into()).is_err() {
            self.fault = Some(DeviceFault::LengthTooLarge {
                queue: self.queue,
                id,
                len: len.into(),
                posted: self.buffer.into(),
            });
            return Some(Err(DropReason::RxTooLong));
        }
        let full = len == self.buffer;
        Some(Ok(Part {
            packet,
            status,
            tag,
            full,
        }))
    }
}
