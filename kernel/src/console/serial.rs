//! The first serial port (COM1), 115,200 baud, 8N1.

use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

const COM1: u16 = 0x3F8;
/// Looks at a full transmitter before its text is given up: some 10 ms at the least, enough for
/// a FIFO at 115,200 baud.
const PATIENCE: u32 = 100_000;

pub(super) struct Serial(Uart16550<PioBackend>);

impl Serial {
    /// `None` if no UART answers.
    pub(super) fn com1() -> Option<Self> {
        // SAFETY: the port range is COM1's on every PC, and no other code uses it.
        let mut uart = unsafe { Uart16550::new_port(COM1) }.ok()?;
        let config = Config {
            baud_rate: BaudRate::Baud115200,
            ..Config::DEFAULT
        };
        uart.init(config).ok()?;
        Some(Self(uart))
    }

    /// Writes what the port takes; a port that has stopped taking anything loses the rest.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        let mut looks = 0;
        while !bytes.is_empty() && looks < PATIENCE {
            let sent = self.0.send_bytes(bytes);
            bytes = &bytes[sent..];
            looks = if sent == 0 { looks + 1 } else { 0 };
        }
    }
}
