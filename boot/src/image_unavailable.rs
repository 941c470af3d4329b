//! Stands in for `image` where the tool was built without the `images` feature: says how to
//! get it. Called by `main`.

#![forbid(unsafe_code)]

use std::fmt;

use crate::args::ImageOrder;

/// The tool has no boot loader inside.
#[derive(Debug)]
pub(crate) struct ImageError;

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "built without the boot loader; scripts/build-images.sh builds it with \
             `cargo run -p boot --features images` and all that this needs",
        )
    }
}

/// Builds nothing.
pub(crate) fn build(order: &ImageOrder) -> Result<(), ImageError> {
    // The order is complete; only the loader is missing.
    let _ = (&order.bios, &order.uefi, &order.cmdline);
    Err(ImageError)
}
