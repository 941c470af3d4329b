//! QEMU's gdb stub, as a way to change the guest's memory, and its devices' registers, behind its back.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A connection to the stub; the machine stands still from [`Gdb::connect`] to [`Gdb::detach`].
#[derive(Debug)]
pub struct Gdb {
    stream: UnixStream,
}

impl Gdb {
    /// Connects to the socket at `path`, which stops the machine.
    pub fn connect(path: &Path) -> Result<Gdb> {
        let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut gdb = Gdb { stream };
        let answer = gdb.ask("Qqemu.PhyMemMode:1")?;
        ensure!(answer == "OK", "physical addresses: {answer:?}");
        Ok(gdb)
    }

    /// Writes `bytes` at a physical address.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = self.ask(&format!("M{address:x},{:x}:{hex}", bytes.len()))?;
        ensure!(answer == "OK", "writing at {address:#x}: {answer:?}");
        Ok(())
    }

    /// The two bytes at a physical address.
    pub fn read(&mut self, address: u64) -> Result<[u8; 2]> {
        let answer = self.ask(&format!("m{address:x},2"))?;
        let value = u16::from_str_radix(&answer, 16).with_context(|| answer.clone());
        Ok(value?.to_be_bytes())
    }

    /// The word at a physical address, read in one access as registers have to be.
    pub fn read_word(&mut self, address: u64) -> Result<u32> {
        let answer = self.ask(&format!("m{address:x},4"))?;
        let value = u32::from_str_radix(&answer, 16).with_context(|| answer.clone());
        Ok(value?.swap_bytes())
    }

    /// Lets the machine go on.
    pub fn detach(mut self) -> Result<()> {
        let answer = self.ask("D")?;
        ensure!(answer == "OK", "detaching: {answer:?}");
        Ok(())
    }

    /// Sends a packet and returns the answer to it.
    fn ask(&mut self, text: &str) -> Result<String> {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.stream, "${text}#{sum:02x}")?;
        loop {
            let answer = self.read_packet().with_context(|| text.to_owned())?;
            self.stream.write_all(b"+")?;
            // That the machine has stopped is said when it does, asked or not.
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn read_packet(&mut self) -> Result<String> {
        while self.byte()? != b'$' {} // acknowledgements
        let mut text = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => text.push(byte.into()),
            }
        }
        self.byte()?;
        self.byte()?; // the sum; a local socket damages nothing
        Ok(text)
    }
}
