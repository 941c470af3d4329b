//! The seam to smoltcp: frames that the NIC wrote are read in place, frames to send are written
//! where the NIC will read them.
//!
//! The stack makes a [`Port`] of its [`Link`] for each call into smoltcp. The invariant: a token
//! exists only when using it cannot fail.
#![forbid(unsafe_code)]

use core::num::NonZeroU16;

use pbufpool::Packet;
use smoltcp::phy::{self, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;

use super::counters::Counters;
use super::link::{Link, slice};

/// A frame on its way into smoltcp.
pub enum Frame<'a> {
    /// As the NIC delivered it.
    Packet(Packet),
    /// As reassembly put it together.
    Bytes(&'a [u8]),
}

/// [`Link`] as smoltcp sees it for the length of one call.
pub(super) struct Port<'a, 'f> {
    link: &'a mut Link,
    counters: &'a mut Counters,
    frame: Option<Frame<'f>>,
    /// The frame again, once smoltcp has read it.
    done: Option<Frame<'f>>,
}

impl<'a, 'f> Port<'a, 'f> {
    /// A port that only sends.
    pub(super) fn new(link: &'a mut Link, counters: &'a mut Counters) -> Self {
        Self {
            link,
            counters,
            frame: None,
            done: None,
        }
    }

    /// A port that receives `frame` once.
    pub(super) fn receiving(
        link: &'a mut Link,
        counters: &'a mut Counters,
        frame: Frame<'f>,
    ) -> Self {
        Self {
            link,
            counters,
            frame: Some(frame),
            done: None,
        }
    }

    /// The frame after it was read.
    ///
    /// # Errors
    /// The frame, if it was not read: there was no transmit token to go with it.
    pub(super) fn take_back(self) -> Result<Option<Frame<'f>>, Frame<'f>> {
        self.frame.map_or(Ok(self.done), Err)
    }
}

impl<'f> phy::Device for Port<'_, 'f> {
    type RxToken<'t>
        = RxToken<'t, 'f>
    where
        Self: 't;
    type TxToken<'t>
        = TxToken<'t>
    where
        Self: 't;

    fn receive(&mut self, _now: Instant) -> Option<(RxToken<'_, 'f>, TxToken<'_>)> {
        if self.frame.is_none() || !self.link.reserve_reply() {
            return None;
        }
        let frame = self.frame.take()?;
        self.counters.rx_delivered += 1;
        let Self {
            link,
            counters,
            done,
            ..
        } = self;
        let reply = TxToken {
            link,
            counters,
            segment: None,
        };
        Some((RxToken { frame, done }, reply))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        if !self.link.reserve() {
            return None;
        }
        self.link.note_taken();
        let Self { link, counters, .. } = self;
        Some(TxToken {
            link,
            counters,
            segment: None,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.link.max_frame();
        capabilities.max_burst_size = None;
        capabilities.checksum = self.link.checksums();
        capabilities.segmentation = self.link.segmentation();
        capabilities
    }
}

/// A received frame; it goes back to the port when smoltcp has read it.
pub(super) struct RxToken<'t, 'f> {
    frame: Frame<'f>,
    done: &'t mut Option<Frame<'f>>,
}

impl phy::RxToken for RxToken<'_, '_> {
    fn consume<R, F>(self, read: F) -> R
    where
        F: FnOnce(&[u8]) -> R,
    {
        let result = match &self.frame {
            Frame::Packet(packet) => read(slice(packet)),
            Frame::Bytes(bytes) => read(bytes),
        };
        *self.done = Some(self.frame);
        result
    }
}

/// The right to send one frame; the packet and the slot for it are there.
pub(super) struct TxToken<'a> {
    link: &'a mut Link,
    counters: &'a mut Counters,
    /// Payload of each segment, if the NIC is to cut the frame.
    segment: Option<NonZeroU16>,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F>(self, len: usize, write: F) -> R
    where
        F: FnOnce(&mut [u8]) -> R,
    {
        self.link.send(self.counters, len, self.segment, write)
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}
