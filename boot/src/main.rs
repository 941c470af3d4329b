//! Host tool of Millrace: packs the kernel ELF and its command line into disk images that a
//! BIOS or UEFI machine starts from.
//!
//! Called by `scripts/build-images.sh` and by people. It knows the boot loader and nothing of
//! the kernel's insides: the command line goes into the image as text, and the kernel judges it.

#![forbid(unsafe_code)]

mod args;
#[cfg(feature = "images")]
mod image;
#[cfg(not(feature = "images"))]
#[path = "image_unavailable.rs"]
mod image;
mod kernel_file;

use std::process::ExitCode;

use args::Request;

fn main() -> ExitCode {
    match args::parse(lexopt::Parser::from_env()) {
        Ok(Request::Help) => {
            print!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Request::Image(order)) => {
            match kernel_file::check(&order.kernel)
                .map_err(|error| error.to_string())
                .and_then(|()| image::build(&order).map_err(|error| error.to_string()))
            {
                Ok(()) => ExitCode::SUCCESS,
                Err(message) => fail(&message),
            }
        }
        Err(error) => fail(&format!("{error} (see --help)")),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("boot: error: {message}");
    ExitCode::FAILURE
}
