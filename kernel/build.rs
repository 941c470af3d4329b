//! Hands the linker script to the bare-metal binary; a host build needs nothing.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    println!("cargo:rerun-if-changed=src/boot/pvh_stub.s");
    println!("cargo:rerun-if-changed=src/arch/stubs.s");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for arg in [
        &*format!("-T{root}/linker.ld"),
        // The target's default is a static PIE; the last word wins.
        "--no-pie",
        "--build-id=none",
        "-zmax-page-size=4096",
    ] {
        println!("cargo:rustc-link-arg-bin=millrace={arg}");
    }
}
