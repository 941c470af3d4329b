#!/usr/bin/env bash
# Builds BIOS and UEFI disk images of the kernel with a command line inside.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/build-images.sh [--cmdline TEXT] [--bios OUT] [--uefi OUT] [--kernel ELF]
                               [--debug]

Builds disk images; `dd if=OUT of=/dev/sdX bs=4M conv=fsync` puts one on a USB stick.

  --cmdline TEXT   the kernel's command line; without it the kernel's defaults hold
                   (ip=dhcp; ICMP and HTTP only)
  --bios OUT       BIOS image to write   (with neither: target/millrace-bios.img
  --uefi OUT       UEFI image to write    and target/millrace-uefi.img)
  --kernel ELF     a kernel built before; otherwise it is built now
  --debug          build the kernel without optimisation
  --help           this text

The first run builds the boot loader, which takes some minutes; later runs take a moment.
END
}

cmdline='' bios='' uefi='' kernel='' debug=()
while [[ $# != 0 ]]; do
    case $1 in
    --cmdline | --bios | --uefi | --kernel)
        [[ $# -ge 2 ]] || die "$1 needs a value (see --help)"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    --debug) debug=(--debug) ;;
    --help | -h) usage; exit 0 ;;
    *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
done
if [[ -z $bios$uefi ]]; then
    bios=$TARGET_DIR/millrace-bios.img
    uefi=$TARGET_DIR/millrace-uefi.img
fi

"$ROOT/scripts/setup.sh" --images
[[ -n $kernel ]] || kernel=$("$ROOT/scripts/build-kernel.sh" ${debug[@]+"${debug[@]}"})
use_toolchain

# The loader's stages are built by `cargo install -Zbuild-std` from its build script. They
# get a folder of their own: RUSTC_BOOTSTRAP=1 would rebuild half of the host crates each
# time, and an inherited CARGO_TARGET_DIR would make the builds wait for each other.
flags=(--package boot --features images --target-dir "$TARGET_DIR/boot")
[[ -z ${CI:-} ]] || flags+=(--locked)
[[ -d $TARGET_DIR/boot ]] || say "building the boot loader, once (some minutes)"
env -u CARGO_TARGET_DIR RUSTC_BOOTSTRAP=1 \
    cargo build --quiet --manifest-path "$ROOT/Cargo.toml" "${flags[@]}" >&2 ||
    die "the boot loader did not build; its messages are above"
"$TARGET_DIR/boot/debug/boot" image --kernel "$kernel" --cmdline "$cmdline" \
    ${bios:+--bios "$bios"} ${uefi:+--uefi "$uefi"}
