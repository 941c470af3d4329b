//! Readings of what a guest has executed: the plugin's table (`peers/count.c`), instruction by
//! instruction, and which function each belongs to.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Bytes of an entry: address and count.
const ENTRY: usize = 16;

/// A guest's table, which grows while it runs.
pub(super) struct Counter(PathBuf);

/// How often each instruction was executed, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(BTreeMap<u64, u64>);

impl Counter {
    /// The table that a plugin was told to keep in `file`.
    pub(super) fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Takes a reading. The guest had better have nothing to do.
    pub(super) fn read(&self) -> Result<Reading> {
        let bytes = fs::read(&self.0).with_context(|| self.0.display().to_string())?;
        Ok(Reading::parse(&bytes))
    }
}

impl Reading {
    fn parse(bytes: &[u8]) -> Self {
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let entries = entries.iter().map(|entry| {
            let (address, count) = entry.split_at(8);
            (number(address), number(count))
        });
        Self(entries.filter(|(_, count)| *count > 0).collect())
    }

    /// All instructions.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// What was executed since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let grown = self.0.iter().map(|(address, count)| {
            let before = earlier.0.get(address).copied().unwrap_or(0);
            (*address, count.saturating_sub(before))
        });
        Self(grown.filter(|(_, count)| *count > 0).collect())
    }

    /// The functions of `symbols` with what was executed in them, most first.
    pub(super) fn by_function<'a>(&self, symbols: &'a Symbols) -> Vec<(&'a str, u64)> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (address, count) in &self.0 {
            *sums.entry(symbols.name(*address)).or_default() += count;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        sums
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The functions of an ELF, by their addresses.
pub(super) struct Symbols(BTreeMap<u64, String>);

impl Symbols {
    /// Reads them with `nm`.
    pub(super) fn of(elf: &Path) -> Result<Self> {
        let mut nm = Command::new("nm");
        let output = nm.args(["-C", "--defined-only"]).arg(elf).output();
        let output = output.context("running `nm` (binutils)")?;
        ensure!(output.status.success(), "nm {}", elf.display());
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(text: &str) -> Self {
        let functions = text.lines().filter_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            let address = u64::from_str_radix(address, 16).ok()?;
            matches!(kind, "t" | "T" | "w" | "W").then(|| (address, name.to_owned()))
        });
        Self(functions.collect())
    }

    fn name(&self, address: u64) -> &str {
        let before = self.0.range(..=address).next_back();
        before.map_or("(outside the image)", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(u64, u64)]) -> Vec<u8> {
        let words = entries
            .iter()
            .flat_map(|(address, count)| [*address, *count]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    #[test]
    fn what_was_executed_between_two_readings_is_shared_out_to_functions() {
        let before = Reading::parse(&table(&[(0x100, 5), (0, 0), (0x204, 1)]));
        let after = Reading::parse(&table(&[(0x100, 7), (0x10, 1), (0x204, 11), (0x208, 10)]));
        let grown = after.since(&before);
        assert_eq!((before.total(), grown.total()), (6, 23));
        let symbols = Symbols::parse("0000000000000100 t one\n0000000000000200 T a::two<b c>\n");
        let functions = [("a::two<b c>", 20), ("one", 2), ("(outside the image)", 1)];
        assert_eq!(grown.by_function(&symbols), functions);
    }
}
