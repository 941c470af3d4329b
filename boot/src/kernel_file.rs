//! A look at the kernel file before it goes into an image, so that a wrong path or a host
//! binary is refused here and not by a blank screen. Called by `main`.

#![forbid(unsafe_code)]

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes of the ELF header that are looked at: up to and including `e_machine`.
const HEADER: usize = 20;
/// `e_machine` of x86-64 (System V ABI, AMD64 supplement, section 4.1).
const EM_X86_64: u16 = 62;

/// Why a file cannot be the kernel.
#[derive(Debug)]
pub(crate) enum KernelFileError {
    Unreadable { path: PathBuf, source: io::Error },
    NotElf64 { path: PathBuf },
    OtherMachine { path: PathBuf, machine: u16 },
}

impl fmt::Display for KernelFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "cannot read the kernel '{}': {source}", path.display())
            }
            Self::NotElf64 { path } => {
                write!(
                    f,
                    "'{}' is no 64-bit little-endian ELF file",
                    path.display()
                )
            }
            Self::OtherMachine { path, machine } => write!(
                f,
                "'{}' is an ELF file for machine {machine}; x86-64 is {EM_X86_64}",
                path.display()
            ),
        }
    }
}

/// Checks that `path` is an ELF file for x86-64.
pub(crate) fn check(path: &Path) -> Result<(), KernelFileError> {
    let unreadable = |source| KernelFileError::Unreadable {
        path: path.into(),
        source,
    };
    let mut header = Vec::with_capacity(HEADER);
    let mut file = File::open(path).map_err(unreadable)?.take(HEADER as u64);
    file.read_to_end(&mut header).map_err(unreadable)?;
    match machine(&header) {
        Some(EM_X86_64) => Ok(()),
        Some(machine) => Err(KernelFileError::OtherMachine {
            path: path.into(),
            machine,
        }),
        None => Err(KernelFileError::NotElf64 { path: path.into() }),
    }
}

/// `e_machine` of a 64-bit little-endian ELF header; `None` if it is none.
fn machine(header: &[u8]) -> Option<u16> {
    // Magic, ELFCLASS64, ELFDATA2LSB.
    let rest = header.strip_prefix(b"\x7fELF\x02\x01")?;
    let machine = rest.get(12..14)?;
    Some(u16::from_le_bytes([machine[0], machine[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    #[test]
    fn an_x86_64_elf_header_is_known() {
        assert_eq!(machine(&header(2, EM_X86_64)), Some(EM_X86_64));
    }

    #[test]
    fn other_machines_are_told_apart() {
        assert_eq!(machine(&header(2, 183)), Some(183));
    }

    #[test]
    fn what_is_no_64_bit_elf_is_refused() {
        assert_eq!(machine(&header(1, EM_X86_64)), None);
        assert_eq!(machine(b"#!/bin/sh"), None);
        assert_eq!(machine(b"\x7fELF\x02\x01"), None);
        assert_eq!(machine(b""), None);
    }

    #[test]
    fn a_missing_file_is_named_in_the_error() {
        let error = check(Path::new("no/such/kernel")).expect_err("there is no such file");
        assert!(error.to_string().contains("no/such/kernel"));
    }

    #[test]
    fn a_text_file_is_no_kernel() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(matches!(
            check(Path::new(source)),
            Err(KernelFileError::NotElf64 { .. })
        ));
    }
}
