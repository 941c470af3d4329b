//! Bulk data over TCP: a stream of pseudo-random bytes that both ends can make, so that every
//! byte is compared and none is kept.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::clients::tcp;

/// A reproducible stream of bytes (xorshift64*).
#[derive(Clone, Debug)]
pub struct Pattern(u64);

impl Pattern {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Pattern {
        Pattern(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fills `bytes` with what comes next. Streams match if filled in multiples of 8 bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

const CHUNK: usize = 64 * 1024;

/// Sends `total` bytes (a multiple of 64 KiB) to a TCP echo service and compares every byte of
/// the echo.
pub fn echo(target: SocketAddr, total: usize, seed: u64) -> Result<()> {
    ensure!(total.is_multiple_of(CHUNK), "whole chunks only");
    let stream = tcp(target)?;
    let mut sender = stream.try_clone()?;
    let writer = thread::spawn(move || -> Result<()> {
        let mut pattern = Pattern::new(seed);
        let mut chunk = vec![0; CHUNK];
        for _ in 0..total / CHUNK {
            pattern.fill(&mut chunk);
            sender.write_all(&chunk)?;
        }
        sender
            .shutdown(Shutdown::Write)
            .context("closing our direction")
    });
    let received = compare(stream, total, seed);
    let sent = writer
        .join()
        .map_err(|_| anyhow!("the sending thread panicked"))?;
    received?;
    sent.context("sending")
}

/// Reads `total` bytes and then the end of the stream, comparing all of it.
fn compare(mut stream: TcpStream, total: usize, seed: u64) -> Result<()> {
    let mut pattern = Pattern::new(seed);
    let (mut expected, mut chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
    for number in 0..total / CHUNK {
        pattern.fill(&mut expected);
        stream
            .read_exact(&mut chunk)
            .with_context(|| format!("the echo stopped within chunk {number} of 64 KiB"))?;
        ensure!(
            chunk == expected,
            "the echo differs within chunk {number} of 64 KiB"
        );
    }
    let more = stream
        .read(&mut chunk)
        .context("waiting for the end of the echo")?;
    ensure!(more == 0, "{more} bytes more than were sent");
    Ok(())
}

/// Reads at least `total` bytes from a stream that never ends, then closes it.
pub fn drain(target: SocketAddr, total: usize) -> Result<Vec<u8>> {
    let mut stream = tcp(target)?;
    let mut data = vec![0; total];
    stream
        .read_exact(&mut data)
        .context("the stream ended early")?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn serve(spoil: bool) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut chunk = vec![0; CHUNK];
            let mut total = 0;
            while let Ok(length @ 1..) = stream.read(&mut chunk) {
                total += length;
                if spoil && total > 5 * CHUNK {
                    chunk[0] ^= 1;
                }
                if stream.write_all(&chunk[..length]).is_err() {
                    return;
                }
            }
        });
        target
    }

    #[test]
    fn a_faithful_echo_passes_and_one_changed_byte_does_not() {
        echo(serve(false), 10 * CHUNK, 1).unwrap();
        let error = echo(serve(true), 10 * CHUNK, 1).unwrap_err();
        assert!(error.to_string().contains("differs"), "{error:#}");
    }
}
