//! The control queue (virtio 1.2, 5.1.6.5): one command at a time, waited for.
//!
//! A command is one packet: the device reads what is asked for and writes one byte behind it. The
//! invariant: [`Control::execute`] returns in bounded time with the packet back in its pool, or
//! with the fault that the device has to be reset for, which brings it back.
#![forbid(unsafe_code)]

mod command;

use pbufpool::Packet;

pub use command::RSS_KEY;
pub(super) use command::{Command, Rss};

use crate::error::DeviceFault;
use crate::host::Host;
use crate::net::ControlError;
use crate::virtio::queue::Virtqueue;
use crate::virtio::transport::Transport;

/// Entries of the ring: a command takes two, or one with a table.
pub(super) const RING: u16 = 4;
/// Milliseconds that a device may take for a command.
const PATIENCE_MS: u64 = 1000;
/// Microseconds between two looks for the answer.
const LOOK_US: u32 = 10;

/// What the device answers (5.1.6.5).
mod ack {
    pub(super) const OK: u8 = 0;
    pub(super) const ERR: u8 = 1;
    /// Written before the device answers.
    pub(super) const NONE: u8 = 0xff;
}

/// The control queue of a device.
pub(super) struct Control {
    pub(super) queue: Virtqueue,
}

impl Control {
    /// Gives the device `command`, carried by `packet`, and waits for its answer.
    ///
    /// # Errors
    /// The device refuses, or does not answer as it has to.
    pub(super) fn execute(
        &mut self,
        transport: &dyn Transport,
        host: &dyn Host,
        mut packet: Packet,
        command: &Command<'_>,
    ) -> Result<(), ControlError> {
        let mut bytes = command.encode();
        let readable = bytes.len();
        bytes.push(ack::NONE);
        let fits = packet.set_span(0, bytes.len()).is_ok();
        match packet.data_mut().filter(|_| fits) {
            Some(room) => room.copy_from_slice(&bytes),
            None => return Err(ControlError::NoBuffer),
        }
        if self.queue.post(packet, readable).is_err() {
            // The ring is empty between two commands, unless the last one was never answered.
            return Err(ControlError::NoBuffer);
        }
        let answer = self.answer(transport, host, command)?;
        match answer.data().last() {
            Some(&ack::OK) => Ok(()),
            Some(&ack::ERR) => Err(ControlError::Refused(command.name())),
            other => Err(ControlError::Broken(DeviceFault::BadAnswer {
                command: command.name(),
                answer: other.copied().unwrap_or(ack::NONE),
            })),
        }
    }

    /// Tells the device of the command and waits until it gives the packet back.
    fn answer(
        &mut self,
        transport: &dyn Transport,
        host: &dyn Host,
        command: &Command<'_>,
    ) -> Result<Packet, ControlError> {
        // By the clock, which a host may keep coarsely, and by what was waited for in any case.
        let began = host.uptime_ms();
        let mut looks = PATIENCE_MS * 1000 / u64::from(LOOK_US);
        loop {
            // The second time it is about a doorbell that was asked for late.
            if let Some(doorbell) = self.queue.publish() {
                transport.notify(doorbell);
            }
            if let Some(completion) = self.queue.take() {
                return Ok(completion.packet);
            }
            if let Some(fault) = self.queue.fault() {
                return Err(ControlError::Broken(fault));
            }
            let waited = host.uptime_ms().saturating_sub(began);
            if looks == 0 || waited > PATIENCE_MS {
                return Err(ControlError::Broken(DeviceFault::NoAnswer {
                    command: command.name(),
                    ms: PATIENCE_MS,
                }));
            }
            looks -= 1;
            host.delay_us(LOOK_US);
        }
    }
}
