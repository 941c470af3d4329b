#!/bin/sh
# Builds and runs one fuzz target with AddressSanitizer, without cargo-fuzz:
#   ./run.sh card|configuration [SECONDS]
set -eu
cd "$(dirname "$0")"
target=${1:?which target: card or configuration}
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --bin "$target"
dir=${CARGO_TARGET_DIR:-target}
mkdir -p "corpus/$target"
exec "$dir/$host/release/$target" "corpus/$target" -max_total_time="${2:-60}" -rss_limit_mb=2048
