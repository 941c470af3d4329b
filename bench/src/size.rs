//! What the kernel ELF weighs: as a file, and segment by segment in memory.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests::env;

/// A loadable segment (ELF-64, program header).
struct Segment {
    flags: u32,
    file: u64,
    memory: u64,
}

const LOAD: u32 = 1;
const HEADER_LEN: usize = 64;

/// Prints the sizes.
pub(crate) fn run() -> Result<()> {
    let path = env::kernel()?;
    let elf = fs::read(&path).with_context(|| path.display().to_string())?;
    let segments = segments(&elf).context("not a whole ELF-64 file")?;
    ensure!(
        !segments.is_empty(),
        "nothing to load in {}",
        path.display()
    );
    println!("{:<10} {:>10} {:>10}", "", "file", "memory");
    println!("{:<10} {:>10}", "ELF", elf.len());
    for segment in &segments {
        let letter = |bit: u32, letter: char| {
            if segment.flags & bit != 0 {
                letter
            } else {
                '-'
            }
        };
        let rights = [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')];
        let rights: String = rights.iter().collect();
        println!("{rights:<10} {:>10} {:>10}", segment.file, segment.memory);
    }
    let total = |size: fn(&Segment) -> u64| segments.iter().map(size).sum::<u64>();
    println!(
        "{:<10} {:>10} {:>10}",
        "loaded",
        total(|s| s.file),
        total(|s| s.memory)
    );
    Ok(())
}

fn segments(elf: &[u8]) -> Option<Vec<Segment>> {
    if elf.get(..5)? != b"\x7fELF\x02" || elf.len() < HEADER_LEN {
        return None;
    }
    let table = usize::try_from(u64_at(elf, 32)?).ok()?;
    let (size, count) = (usize::from(u16_at(elf, 54)?), usize::from(u16_at(elf, 56)?));
    let headers = (0..count).map(|number| elf.get(table + number * size..));
    let mut segments = Vec::new();
    for header in headers {
        let header = header?;
        if u32_at(header, 0)? == LOAD {
            segments.push(Segment {
                flags: u32_at(header, 4)?,
                file: u64_at(header, 32)?,
                memory: u64_at(header, 40)?,
            });
        }
    }
    Some(segments)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
