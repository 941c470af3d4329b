#!/usr/bin/env bash
# Runs every test of Millrace, after setting up what is missing.
# shellcheck disable=SC2317 # stage calls the functions
set -euo pipefail
# shellcheck source-path=SCRIPTDIR/scripts source=lib.sh
source "$(dirname "$0")/scripts/lib.sh"

usage() {
    cat <<'END'
usage: ./run-tests.sh [--host-only | --image-only] [FILTER]

Runs the host tests (pool, drivers, portable kernel, tools), then builds the kernel and its
disk images and lets real clients talk to them under QEMU. No root is needed where the system
allows user namespaces.

  --host-only    no image tests
  --image-only   no host tests
  FILTER         only tests with this text in their names
  --help         this text

The exit status is 0 if every test passed. With CI set, Cargo.lock must be up to date.

environment: MILLRACE_SOAK_SECONDS (length of the mixed-traffic test), MILLRACE_FULL_MATRIX (if
set: every form of the virtio card, not only every pair of properties), MILLRACE_NIC (virtio,
e1000, e1000e or igb: the NIC of all tests that are about no kind of it), MILLRACE_QEMU,
MILLRACE_OVMF, MILLRACE_TOOLCHAIN, CARGO_TARGET_DIR; see docs/setup.md
END
}

# What the image tests expect inside the disk images: the guest's side of their tap network.
readonly IMAGE_CMDLINE="services=all ip=10.7.0.2/24 gw=10.7.0.1"

run_host=yes run_image=yes filter=()
for arg; do
    case $arg in
    --host-only) run_image=no ;;
    --image-only) run_host=no ;;
    --help | -h) usage; exit 0 ;;
    -*) die "unknown option '$arg' (see --help)" ;;
    *) [[ ${#filter[@]} == 0 ]] || die "more than one FILTER (see --help)"; filter=("$arg") ;;
    esac
done
[[ $run_host == yes || $run_image == yes ]] || die "--host-only and --image-only exclude each other"

locked=()
[[ -z ${CI:-} ]] || locked=(--locked)
summary=() failed=no

# stage NAME COMMAND... : runs COMMAND, notes how long it took and remembers a failure.
# COMMAND runs without `set -e`, which bash suspends on the left of ||.
stage() {
    local name=$1 start=$SECONDS result=ok
    shift
    say "--- $name"
    "$@" || result=FAILED
    [[ $result == ok ]] || failed=yes
    summary+=("$(printf '%-14s %-6s %4d s' "$name" "$result" $((SECONDS - start)))")
    [[ $result == ok ]]
}

finish() {
    say "--- summary"
    printf '  %s\n' "${summary[@]}" "$(printf '%-14s %-6s %4d s' total '' $SECONDS)" >&2
    [[ $failed == no ]] || exit 1
    exit 0
}

set_up() {
    local needs=()
    [[ $run_image == no ]] || needs=(--images --tests)
    "$ROOT/scripts/setup.sh" "${needs[@]}"
}

host_tests() {
    local result=0
    cargo test "${locked[@]}" --workspace --exclude tests --no-fail-fast "${filter[@]}" || result=1
    cargo test "${locked[@]}" --package tests --lib "${filter[@]}" || result=1
    return "$result"
}

build_kernel() {
    MILLRACE_KERNEL=$("$ROOT/scripts/build-kernel.sh") || return
    export MILLRACE_KERNEL
}

build_images() {
    export MILLRACE_BIOS_IMAGE=$TARGET_DIR/test-bios.img MILLRACE_UEFI_IMAGE=$TARGET_DIR/test-uefi.img
    export MILLRACE_SELFTEST_BIOS_IMAGE=$TARGET_DIR/selftest-bios.img
    export MILLRACE_SELFTEST_UEFI_IMAGE=$TARGET_DIR/selftest-uefi.img
    "$ROOT/scripts/build-images.sh" --kernel "$MILLRACE_KERNEL" --cmdline "$IMAGE_CMDLINE" \
        --bios "$MILLRACE_BIOS_IMAGE" --uefi "$MILLRACE_UEFI_IMAGE" &&
        "$ROOT/scripts/build-images.sh" --kernel "$MILLRACE_KERNEL" --cmdline "selftest=yes" \
            --bios "$MILLRACE_SELFTEST_BIOS_IMAGE" --uefi "$MILLRACE_SELFTEST_UEFI_IMAGE"
}

image_tests() {
    MILLRACE_OVMF=$(find_ovmf)
    export MILLRACE_OVMF
    cargo test "${locked[@]}" --package tests --test '*' -- "${filter[@]}"
}

# Does a packet take more instructions than it may (bench/budgets.txt)?
budgets() {
    cargo run "${locked[@]}" --quiet --package bench -- budgets
}

cd "$ROOT"
unset MILLRACE_KERNEL # the tests are about this tree
stage "set-up" set_up || finish
use_toolchain
if [[ $run_host == yes ]]; then stage "host tests" host_tests || true; fi
if [[ $run_image == yes ]]; then
    stage "kernel" build_kernel || finish
    stage "disk images" build_images || finish
    stage "image tests" image_tests || true
    if [[ ${#filter[@]} == 0 ]]; then stage "budgets" budgets || true; fi
fi
finish
