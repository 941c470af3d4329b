//! Huge pages for both sides: reserved while a benchmark runs, given back at its end.
//!
//! DPDK's memory and ours lie in pages of 2 MiB, so that neither pays for address translation.
#![forbid(unsafe_code)]

use std::fs;

use anyhow::{Context, Result, bail};

const SIZE_FILE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE_FILE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
/// Pages of all processes: 128 MiB of testpmd, 64 of DPDK's driver, and twice 64 of ours.
const NEEDED: u64 = 64 + 32 + 2 * 32;

/// Pages that were reserved.
pub(super) struct HugePages {
    /// How many there were before, if that was changed.
    before: Option<u64>,
}

impl HugePages {
    /// Sees to it that enough are free.
    ///
    /// # Errors
    /// There are not, and this process may not or cannot reserve them.
    pub(super) fn reserve() -> Result<Self> {
        let (free, all) = (read(FREE_FILE)?, read(SIZE_FILE)?);
        if free >= NEEDED {
            return Ok(Self { before: None });
        }
        let wanted = all + NEEDED - free;
        if fs::write(SIZE_FILE, wanted.to_string()).is_err() {
            bail!("{NEEDED} free huge pages are needed: as root, echo {wanted} > {SIZE_FILE}");
        }
        let pages = Self { before: Some(all) };
        let free = read(FREE_FILE)?;
        if free < NEEDED {
            bail!(
                "{NEEDED} huge pages are needed, {free} could be had: memory is fragmented or full"
            );
        }
        Ok(pages)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = fs::write(SIZE_FILE, before.to_string());
        }
    }
}

fn read(file: &str) -> Result<u64> {
    let text =
        fs::read_to_string(file).with_context(|| format!("no huge pages of 2 MiB: {file}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{file}: {text:?}"))
}
