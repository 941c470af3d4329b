//! The 8254 timer. Its channel 2 is the reference clock that every PC has: `time` measures the
//! time-stamp counter by it, once. Channel 0 interrupts, which the self-test has it do.
//!
//! Channel 2 is gated by port 0x61 and drives nothing but the speaker, which stays off.

use super::port;
use super::time::Sample;

/// Counts per second.
pub(super) const HERTZ: u64 = 1_193_182;

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const CONTROL: u16 = 0x61;
const GATE: u8 = 1;
const SPEAKER: u8 = 2;
/// Channel 2, low byte then high byte, mode 0 (count down, go on at zero), binary.
const START: u8 = 0b1011_0000;
/// Channel 0, low byte then high byte, mode 2 (a pulse each time round), binary.
const TICK: u8 = 0b0011_0100;
/// Counts from tick to tick: some 5 ms.
const TICK_COUNTS: u16 = 5_966;
/// Latch channel 2.
const LATCH: u8 = 0b1000_0000;

/// Starts counting down from 0xFFFF; it takes 55 ms to come round.
pub(super) fn start() {
    // SAFETY: the timer's ports; channel 2 serves nobody else.
    unsafe {
        let control: u8 = port::read(CONTROL);
        port::write(CONTROL, control & !SPEAKER | GATE);
        port::write(COMMAND, START);
        port::write(CHANNEL_2, 0xFF_u8);
        port::write(CHANNEL_2, 0xFF_u8);
    }
}

/// Reads the counter with the time-stamp counter around it. Counts go up here.
pub(super) fn sample() -> Sample {
    // SAFETY: the timer's ports; latching and reading only copies the count.
    let latch = || unsafe { port::write(COMMAND, LATCH) };
    // SAFETY: as above.
    let read = |()| unsafe {
        let low: u8 = port::read(CHANNEL_2);
        let high: u8 = port::read(CHANNEL_2);
        u64::from(!u16::from_le_bytes([low, high]))
    };
    Sample::bracket(latch, read)
}

/// Has channel 0 raise its interrupt (ISA interrupt 0) every 5 ms, for good.
pub fn tick() {
    // SAFETY: the timer's ports; channel 0 serves nobody else.
    unsafe {
        port::write(COMMAND, TICK);
        let [low, high] = TICK_COUNTS.to_le_bytes();
        port::write(CHANNEL_0, low);
        port::write(CHANNEL_0, high);
    }
}

/// Whether the timer counts. Some machines keep it switched off.
pub fn counts() -> bool {
    let first = sample().count;
    (0..100).any(|_| sample().count != first)
}
