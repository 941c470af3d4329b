#!/usr/bin/env bash
# Builds and runs one fuzz target with AddressSanitizer, without cargo-fuzz:
#   scripts/fuzz.sh pbufpool operations|client_view [SECONDS]
#   scripts/fuzz.sh drivers card|configuration|intel [SECONDS]
# Inputs that are worth keeping go to CRATE/fuzz/corpus, one that fails to CRATE/fuzz/artifacts.
set -euo pipefail
if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    sed -n '2,5s/^# //p' "$0"
    exit 0
fi
crate=${1:?which crate: pbufpool or drivers} target=${2:?which target: see CRATE/fuzz/fuzz_targets}
cd "$(dirname "$0")/../$crate/fuzz"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target" artifacts
exec "${CARGO_TARGET_DIR:-target}/$host/release/$target" "corpus/$target" \
    -artifact_prefix=artifacts/ -max_total_time="${3:-60}" -rss_limit_mb=2048
