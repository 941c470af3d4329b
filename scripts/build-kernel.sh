#!/usr/bin/env bash
# Builds the kernel and prints the path of the file to boot.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/build-kernel.sh [--debug] [--symbols] [--budgets | --reflector]

Builds the kernel ELF for x86_64-unknown-none and prints the path of a stripped copy, the
file to boot: target/millrace (release), or with -debug, -budgets or -reflector behind that.

  --debug     no optimisation, with run-time checks
  --symbols   print the path of the unstripped ELF instead (for gdb, sizes, backtraces)
  --budgets   the image that counts its own instructions (cargo run -p bench -- budgets)
  --reflector the image that turns datagrams round without a stack (cargo run -p bench -- guests)
  --help      this text

The toolchain is the one that scripts/setup.sh chose. With CI set, Cargo.lock must be up to
date (cargo --locked).
END
}

profile=release symbols=no feature= suffix=
for arg; do
    case $arg in
    --debug) profile=debug suffix=-debug ;;
    --symbols) symbols=yes ;;
    --budgets | --reflector)
        [[ -z $feature ]] || die "--budgets and --reflector exclude each other"
        feature=${arg#--} suffix=-$feature
        ;;
    --help | -h) usage; exit 0 ;;
    *) die "unknown option '$arg' (see --help)" ;;
    esac
done

[[ $profile == release || -z $feature ]] || die "--debug and --$feature exclude each other"

use_toolchain
flags=(--package kernel --bin millrace --target x86_64-unknown-none --target-dir "$TARGET_DIR")
[[ $profile == debug ]] || flags+=(--release)
[[ -z $feature ]] || flags+=(--features "$feature")
[[ -z ${CI:-} ]] || flags+=(--locked)
if [[ -n $MILLRACE_BUILD_STD ]]; then
    # -Zbuild-std is all that is unstable here; the kernel's own code stays on stable Rust.
    export RUSTC_BOOTSTRAP=1
    read -ra build_std <<<"$MILLRACE_BUILD_STD"
    flags+=("${build_std[@]}")
fi
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS # they would replace the flags in .cargo/config.toml
cd "$ROOT"                              # where that file applies
cargo build "${flags[@]}" >&2

elf=$TARGET_DIR/x86_64-unknown-none/$profile/millrace
stripped=$TARGET_DIR/millrace$suffix
# Renamed into place, so that a running QEMU keeps the file it opened; and not by its age, since what
# Cargo has in store may be older than what was built in between.
strip --strip-all -o "$stripped.new" "$elf"
if cmp --quiet "$stripped.new" "$stripped"; then rm "$stripped.new"; else mv "$stripped.new" "$stripped"; fi
if [[ $symbols == yes ]]; then echo "$elf"; else echo "$stripped"; fi
