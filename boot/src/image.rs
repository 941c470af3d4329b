//! Builds the disk images with the `bootloader` crate. Called by `main` once the order and
//! the kernel file are known to be good.
//!
//! The kernel finds its command line as the ramdisk of its `BootInfo`: the boot loader loads a
//! ramdisk at any place and passes it on as it is.

#![forbid(unsafe_code)]

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use bootloader::{BootConfig, DiskImageBuilder};
use bootloader_boot_config::LevelFilter;
use tempfile::NamedTempFile;

use crate::args::ImageOrder;

/// Why an image could not be built.
#[derive(Debug)]
pub(crate) enum ImageError {
    Cmdline(io::Error),
    Build {
        kind: &'static str,
        path: PathBuf,
        reason: String,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cmdline(source) => {
                write!(
                    f,
                    "cannot store the command line in a temporary file: {source}"
                )
            }
            Self::Build { kind, path, reason } => {
                write!(
                    f,
                    "cannot build the {kind} image '{}': {reason}",
                    path.display()
                )
            }
        }
    }
}

/// Builds every image that `order` asks for.
pub(crate) fn build(order: &ImageOrder) -> Result<(), ImageError> {
    let cmdline = store(&order.cmdline).map_err(ImageError::Cmdline)?;
    let mut builder = DiskImageBuilder::new(order.kernel.clone());
    builder
        .set_ramdisk(cmdline.path().into())
        .set_boot_config(&boot_config());

    if let Some(path) = &order.bios {
        report("BIOS", path, builder.create_bios_image(path))?;
    }
    if let Some(path) = &order.uefi {
        report("UEFI", path, builder.create_uefi_image(path))?;
    }
    Ok(())
}

/// A file with the command line in it, deleted when dropped.
fn store(cmdline: &str) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(cmdline.as_bytes())?;
    Ok(file)
}

/// The boot loader keeps off the serial port, which is the kernel's log, and shows on the
/// screen only what goes wrong.
fn boot_config() -> BootConfig {
    let mut config = BootConfig::default();
    config.serial_logging = false;
    config.log_level = LevelFilter::Error;
    config
}

fn report<E: fmt::Display>(
    kind: &'static str,
    path: &Path,
    result: Result<(), E>,
) -> Result<(), ImageError> {
    match result {
        Ok(()) => {
            println!("{kind} image: {}", path.display());
            Ok(())
        }
        // `{:#}` prints the whole chain of causes.
        Err(error) => Err(ImageError::Build {
            kind,
            path: path.into(),
            reason: format!("{error:#}"),
        }),
    }
}
