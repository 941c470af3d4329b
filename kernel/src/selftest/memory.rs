//! Patterns in memory: every bit holds both values, and no two words are the same place.
//!
//! All of the memory is filled before any of it is looked at. Words of different places then differ,
//! so an address line that does nothing shows, also between runs that lie far apart.
#![forbid(unsafe_code)]

use core::fmt;

/// Words of memory that nobody else uses. Each access has to reach memory.
pub trait Words {
    /// How many there are.
    fn count(&self) -> usize;
    /// Where the first one is, as the machine counts.
    fn address(&self) -> u64;
    /// Writes one.
    fn write(&mut self, at: usize, word: u64);
    /// Reads one.
    fn read(&self, at: usize) -> u64;
}

/// A word that does not hold what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadWord {
    /// Its address.
    pub address: u64,
    /// What was written.
    pub wrote: u64,
    /// What was read.
    pub read: u64,
}

impl fmt::Display for BadWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            wrote,
            read,
        } = self;
        write!(f, "at {address:#x}: wrote {wrote:#018x}, read {read:#018x}")
    }
}

/// The patterns: one, and its complement.
const FLIPS: [u64; 2] = [0, !0];

/// Fills all `runs` and looks whether they hold it, once for each pattern.
///
/// # Errors
/// The first word that does not.
pub fn exercise<W: Words>(runs: &mut [W]) -> Result<(), BadWord> {
    for flip in FLIPS {
        for run in &mut *runs {
            for at in 0..run.count() {
                run.write(at, pattern(address(run, at)) ^ flip);
            }
        }
        for run in &*runs {
            for at in 0..run.count() {
                let (wrote, read) = (pattern(address(run, at)) ^ flip, run.read(at));
                if read != wrote {
                    let address = address(run, at);
                    return Err(BadWord {
                        address,
                        wrote,
                        read,
                    });
                }
            }
        }
    }
    Ok(())
}

fn address(run: &impl Words, at: usize) -> u64 {
    run.address() + at as u64 * 8
}

/// Different for each address, with about as many ones as zeros: multiplication by an odd number
/// loses nothing.
fn pattern(address: u64) -> u64 {
    (address / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
