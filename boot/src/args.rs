//! The tool's own command line, read into a [`Request`]; `main` acts on it.
//!
//! A request that comes out of here asks for at least one image and carries a command line
//! that fits on one line.

#![forbid(unsafe_code)]

use std::{fmt, path::PathBuf};

use lexopt::{Arg, ValueExt};

pub(crate) const USAGE: &str = "\
usage: boot image --kernel ELF [--bios OUT] [--uefi OUT] [--cmdline TEXT]

Packs the Millrace kernel into disk images. Write one to a USB stick with
`dd if=OUT of=/dev/sdX bs=4M conv=fsync`, or give it to QEMU as a raw drive.

  --kernel ELF     the kernel (scripts/build-kernel.sh prints where it is)
  --bios OUT       write an image for BIOS machines (MBR) to OUT
  --uefi OUT       write an image for UEFI machines (GPT) to OUT
  --cmdline TEXT   the kernel's command line, e.g. \"ip=dhcp services=all\"
  --help           this text

At least one of --bios and --uefi is needed. A new command line needs a new
image, which takes a moment, and no new build.
";

/// The longest command line an image carries, in bytes.
///
/// One page: what a BIOS or PVH loader is known to pass on, and far more than all keys together.
pub(crate) const MAX_CMDLINE: usize = 4096;

/// What the user asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Image(ImageOrder),
}

/// The images to build, and from what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ImageOrder {
    pub(crate) kernel: PathBuf,
    pub(crate) bios: Option<PathBuf>,
    pub(crate) uefi: Option<PathBuf>,
    pub(crate) cmdline: String,
}

/// Why the command line of the tool was refused.
#[derive(Debug)]
pub(crate) enum ArgsError {
    NoSubcommand,
    UnknownSubcommand(String),
    Missing(&'static str),
    CmdlineTooLong(usize),
    CmdlineControl(char),
    Syntax(lexopt::Error),
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSubcommand => write!(f, "no subcommand; there is one: image"),
            Self::UnknownSubcommand(name) => {
                write!(f, "unknown subcommand '{name}'; there is one: image")
            }
            Self::Missing(what) => write!(f, "{what} is needed"),
            Self::CmdlineTooLong(len) => {
                write!(f, "--cmdline has {len} bytes; at most {MAX_CMDLINE} fit")
            }
            Self::CmdlineControl(c) => {
                write!(
                    f,
                    "--cmdline contains {c:?}; it must be a single line of text"
                )
            }
            Self::Syntax(error) => write!(f, "{error}"),
        }
    }
}

impl From<lexopt::Error> for ArgsError {
    fn from(error: lexopt::Error) -> Self {
        Self::Syntax(error)
    }
}

/// Reads the whole command line.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Request, ArgsError> {
    let mut subcommand = false;
    let (mut kernel, mut bios, mut uefi) = (None, None, None);
    let mut cmdline = String::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help),
            Arg::Value(name) if !subcommand => match name.to_str() {
                Some("image") => subcommand = true,
                _ => return Err(ArgsError::UnknownSubcommand(name.display().to_string())),
            },
            Arg::Long("kernel") => kernel = Some(PathBuf::from(parser.value()?)),
            Arg::Long("bios") => bios = Some(PathBuf::from(parser.value()?)),
            Arg::Long("uefi") => uefi = Some(PathBuf::from(parser.value()?)),
            Arg::Long("cmdline") => cmdline = parser.value()?.string()?,
            other => return Err(other.unexpected().into()),
        }
    }
    if !subcommand {
        return Err(ArgsError::NoSubcommand);
    }
    if bios.is_none() && uefi.is_none() {
        return Err(ArgsError::Missing("--bios OUT or --uefi OUT"));
    }
    check_cmdline(&cmdline)?;
    Ok(Request::Image(ImageOrder {
        kernel: kernel.ok_or(ArgsError::Missing("--kernel ELF"))?,
        bios,
        uefi,
        cmdline,
    }))
}

fn check_cmdline(cmdline: &str) -> Result<(), ArgsError> {
    if cmdline.len() > MAX_CMDLINE {
        return Err(ArgsError::CmdlineTooLong(cmdline.len()));
    }
    match cmdline.chars().find(|c| c.is_control()) {
        Some(c) => Err(ArgsError::CmdlineControl(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Request, ArgsError> {
        parse(lexopt::Parser::from_args(words))
    }

    fn refusal(words: &[&str]) -> String {
        parse_words(words).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_complete_order_is_read() {
        let words = [
            "image",
            "--kernel",
            "k",
            "--bios",
            "b",
            "--uefi=u",
            "--cmdline",
            "ip=dhcp",
        ];
        let order = ImageOrder {
            kernel: "k".into(),
            bios: Some("b".into()),
            uefi: Some("u".into()),
            cmdline: "ip=dhcp".into(),
        };
        assert_eq!(parse_words(&words).unwrap(), Request::Image(order));
    }

    #[test]
    fn the_command_line_may_be_left_out() {
        let Request::Image(order) =
            parse_words(&["image", "--kernel", "k", "--uefi", "u"]).unwrap()
        else {
            panic!("an image was asked for");
        };
        assert_eq!(order.cmdline, "");
        assert_eq!(order.bios, None);
    }

    #[test]
    fn help_is_given_at_any_place() {
        assert_eq!(parse_words(&["--help"]).unwrap(), Request::Help);
        assert_eq!(parse_words(&["image", "-h"]).unwrap(), Request::Help);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refusal(&[]).contains("no subcommand"));
        assert!(refusal(&["image", "--kernel", "k"]).contains("--bios OUT or --uefi OUT"));
        assert!(refusal(&["image", "--bios", "b"]).contains("--kernel ELF"));
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        assert!(refusal(&["burn"]).contains("'burn'"));
        assert!(refusal(&["image", "--size", "4"]).contains("--size"));
        assert!(refusal(&["image", "twice"]).contains("twice"));
    }

    #[test]
    fn a_command_line_is_one_line_of_bounded_length() {
        let with =
            |text: &str| refusal(&["image", "--kernel", "k", "--bios", "b", "--cmdline", text]);
        assert!(with("ip=dhcp\nservices=all").contains("'\\n'"));
        assert!(with("ip=\0").contains("'\\0'"));
        assert!(with(&"x".repeat(MAX_CMDLINE + 1)).contains("4097 bytes"));
    }
}
