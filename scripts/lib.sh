# Shared by the scripts of this project; sourced, never run.
# Sets ROOT (the checkout) and TARGET_DIR (where cargo builds), and defines say, die and have.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}
[[ $TARGET_DIR == /* ]] || TARGET_DIR=$PWD/$TARGET_DIR
# Written by setup.sh: which toolchain builds here.
# shellcheck disable=SC2034 # read by the scripts that source this file
TOOLCHAIN_ENV=$TARGET_DIR/toolchain.env

# Progress goes to standard error: standard output belongs to a script's result.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# The UEFI firmware for QEMU: MILLRACE_OVMF, or where the common distributions place it.
find_ovmf() {
    local file places=(/usr/share/ovmf/OVMF.fd /usr/share/OVMF/OVMF.fd /usr/share/qemu/OVMF.fd
        /usr/share/edk2/x64/OVMF.4m.fd /usr/share/edk2-ovmf/x64/OVMF.fd)
    [[ -z ${MILLRACE_OVMF:-} ]] || places=("$MILLRACE_OVMF")
    for file in "${places[@]}"; do
        if [[ -r $file ]]; then
            printf '%s\n' "$file"
            return 0
        fi
    done
    return 1
}

# Makes `cargo` the toolchain that setup.sh chose and sets MILLRACE_BUILD_STD.
use_toolchain() {
    [[ -r $TOOLCHAIN_ENV ]] || "$ROOT/scripts/setup.sh"
    # shellcheck source=/dev/null
    source "$TOOLCHAIN_ENV"
}
