#!/usr/bin/env bash
# Installs what building and running Millrace needs, and nothing that is already there.
#
# run-qemu.sh and run-tests.sh call it first. It leaves target/toolchain.env, which says
# which Rust toolchain builds the kernel: rustup's where rustup has (or can fetch) the
# bare-metal target, Debian's packages otherwise. A second run only looks at a few files.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/setup.sh [--images] [--tests] [--refresh]

Makes sure that the Rust toolchain, a C linker and QEMU are there.

  --images    also what the BIOS and UEFI disk images need: LLVM tools and OVMF firmware
  --tests     also what the image tests need: ping, ip, curl
  --refresh   forget the toolchain chosen earlier and choose again
  --help      this text

environment:
  MILLRACE_TOOLCHAIN   auto (default), rustup, debian
  MILLRACE_QEMU        a QEMU binary of your own; QEMU is then not installed
  MILLRACE_OVMF        UEFI firmware of your own; OVMF is then not installed
  CARGO_TARGET_DIR     where toolchain.env goes (default: target)

Debian packages are installed as root or by password-less sudo. Where neither is possible
the command to type is printed instead, and the exit status is 1.
END
}

want_images=no want_tests=no
for arg; do
    case $arg in
    --images) want_images=yes ;;
    --tests) want_tests=yes ;;
    --refresh) rm -f "$TOOLCHAIN_ENV" ;;
    --help | -h) usage; exit 0 ;;
    *) die "unknown option '$arg' (see --help)" ;;
    esac
done

choice=${MILLRACE_TOOLCHAIN:-auto}
[[ $choice =~ ^(auto|rustup|debian)$ ]] || die "MILLRACE_TOOLCHAIN='$choice': allowed are auto, rustup, debian"

[[ -z ${MILLRACE_OVMF:-} || -r $MILLRACE_OVMF ]] || die "MILLRACE_OVMF='$MILLRACE_OVMF': no such file"
[[ -z ${MILLRACE_QEMU:-} ]] || have "$MILLRACE_QEMU" || die "MILLRACE_QEMU='$MILLRACE_QEMU': no such program"

readonly TARGET=x86_64-unknown-none HOST=x86_64-unknown-linux-gnu
RUST_LEAST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
RUST_PINNED=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")
# The boot loader's stages are known to build with 1.95 and 1.96 and to fail with 1.99.
readonly RUST_LEAST RUST_PINNED RUST_TOO_NEW_FOR_IMAGES=1.97
readonly OVERLAY=$TARGET_DIR/toolchain LLVM_BIN=/usr/lib/llvm-19/bin

# ---- which toolchain ------------------------------------------------------------------

# Whether the toolchain at sysroot $1 builds what was asked for, without build-std.
builds_kernel() {
    [[ -d $1/lib/rustlib/$TARGET/lib ]] || return 1
    [[ $want_images == no ]] ||
        [[ -d $1/lib/rustlib/src/rust/library/core && -x $1/lib/rustlib/$HOST/bin/llvm-objcopy ]]
}

# Whether the earlier choice, kept in toolchain.env, still stands.
earlier_choice_holds() {
    [[ -r $TOOLCHAIN_ENV ]] || return 1
    local MILLRACE_TOOLCHAIN_KIND='' MILLRACE_SYSROOT='' MILLRACE_PINNED='' MILLRACE_IMAGES=''
    # shellcheck source=/dev/null
    source "$TOOLCHAIN_ENV"
    [[ $choice == auto || $choice == "$MILLRACE_TOOLCHAIN_KIND" ]] || return 1
    [[ $MILLRACE_PINNED == "$RUST_PINNED" ]] || return 1
    [[ $want_images == no || $MILLRACE_IMAGES == yes || $MILLRACE_TOOLCHAIN_KIND == debian ]] || return 1
    kind=$MILLRACE_TOOLCHAIN_KIND
    if [[ $kind == debian ]]; then
        [[ -x $OVERLAY/bin/rustc ]]
    else
        have cargo && builds_kernel "$MILLRACE_SYSROOT"
    fi
}

# rustup's own retries can last minutes behind a firewall that drops packets: ask first.
rustup_reaches_its_server() {
    local url=${RUSTUP_DIST_SERVER:-https://static.rust-lang.org}/dist/channel-rust-stable.toml.sha256
    ! have curl || curl --silent --fail --location --max-time 8 --output /dev/null "$url"
}

# Whether version $1 is older than version $2.
older() { [[ $1 != "$2" ]] && printf '%s\n' "$1" "$2" | sort --version-sort --check=silent; }

# Runs a command where rust-toolchain.toml applies.
in_root() { (cd "$ROOT" && "$@"); }
with_limit() { in_root timeout "$@" >&2 </dev/null; } # with_limit SECONDS COMMAND...

# Whether the active toolchain can build what was asked for; leaves its sysroot in `sysroot`.
active_toolchain_works() {
    have cargo && have rustc || return 1
    local version # rustup is not to fetch a whole toolchain just because it is asked
    version=$(RUSTUP_AUTO_INSTALL=0 in_root rustc --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    if older "$version" "$RUST_LEAST"; then return 1; fi
    if [[ $want_images == yes ]] && ! older "$version" "$RUST_TOO_NEW_FOR_IMAGES"; then return 1; fi
    sysroot=$(in_root rustc --print sysroot) && builds_kernel "$sysroot"
}

rustup_works() {
    if active_toolchain_works; then return 0; fi
    # RUSTUP_TOOLCHAIN may name a folder, to which rustup cannot add anything.
    [[ ${RUSTUP_TOOLCHAIN:-} != /* ]] && have rustup && rustup_reaches_its_server || return 1
    say "installing the Rust target $TARGET and the library sources with rustup (for the kernel)"
    if [[ -z $sysroot ]]; then # the pinned release is not there, or overridden
        with_limit 1800 rustup toolchain install "$RUST_PINNED" --profile minimal --no-self-update || return 1
    fi
    with_limit 900 rustup target add "$TARGET" &&
        with_limit 900 rustup component add rust-src llvm-tools &&
        active_toolchain_works
}

choose_toolchain() {
    sysroot=
    if [[ $choice != debian ]] && rustup_works; then
        kind=rustup
    elif [[ $choice == rustup ]]; then
        die "MILLRACE_TOOLCHAIN=rustup, but rustup has no target $TARGET and cannot fetch it"
    else
        kind=debian
    fi
    say "building with ${kind}'s Rust toolchain"
}

# ---- Debian packages ------------------------------------------------------------------

packages=() reasons=()
need() { # need PACKAGE... -- REASON
    while [[ $1 != -- ]]; do
        packages+=("$1")
        shift
    done
    reasons+=("$2")
}

collect_missing_packages() {
    if [[ $kind == debian ]]; then
        local rust=()
        [[ -x /usr/bin/rustc && -d /usr/lib/rustlib/$HOST/lib ]] || rust+=(rustc-web)
        [[ -x /usr/bin/cargo ]] || rust+=(cargo-web)
        [[ -d /usr/lib/rustlib/src/rust/library/core ]] || rust+=(rust-web-src)
        [[ ${#rust[@]} == 0 ]] || need "${rust[@]}" -- "Rust compiler and library sources"
        [[ -x $LLVM_BIN/lld ]] || need lld-19 -- "linker of the kernel"
        [[ $want_images == no || -x $LLVM_BIN/llvm-objcopy ]] || need llvm-19 -- "tools for disk images"
    fi
    have cc || need gcc libc6-dev -- "linker of host programs"
    have strip || need binutils -- "stripped kernel"
    [[ -n ${MILLRACE_QEMU:-} ]] || have qemu-system-x86_64 || need qemu-system-x86 -- "QEMU"
    if [[ $want_images == yes ]] && ! find_ovmf >/dev/null; then need ovmf -- "UEFI firmware"; fi
    if [[ $want_tests == yes ]]; then
        have ping || need iputils-ping -- "ping"
        have ip || need iproute2 -- "ip"
        have curl || need curl -- "curl"
    fi
}

candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *//p'; }

# Whether the package lists know every missing package, and Rust's in a new enough version
# (Debian 12 first had an older one; the security suite brought the current one).
lists_are_good() {
    local package version
    for package in "${packages[@]}"; do
        version=$(candidate "$package")
        [[ -n $version && $version != "(none)" ]] || return 1
        [[ $package != *-web* ]] || dpkg --compare-versions "$version" ge "$RUST_LEAST" || return 1
    done
}

install_packages() {
    [[ ${#packages[@]} != 0 ]] || return 0
    local IFS=' ' log=$TARGET_DIR/setup.log as_root=() why
    why=$(printf ', %s' "${reasons[@]}")
    if ! have apt-get; then
        [[ " ${packages[*]}" != *" rust"* ]] || why+=". For Rust, https://rustup.rs is enough"
        die "missing: ${why:2}. This system has no apt-get; install the equivalents of: ${packages[*]}"
    fi
    if [[ $EUID != 0 ]]; then
        as_root=(sudo -n)
        if ! have sudo || ! sudo -n true 2>/dev/null; then
            die "missing: ${why:2}. Type:  sudo apt-get update && sudo apt-get install ${packages[*]}"
        fi
    fi
    say "installing ${packages[*]} (${why:2}); log in $log"
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 --yes)
    if ! lists_are_good; then "${as_root[@]}" update >"$log" 2>&1 </dev/null || true; fi
    lists_are_good ||
        die "Debian's packages here lack one of: ${packages[*]} (Rust $RUST_LEAST or newer)." \
            "Install Rust from https://rustup.rs, then run this again"
    "${as_root[@]}" install --no-install-recommends "${packages[@]}" >>"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        die "apt-get install failed; its last lines are above, all of them in $log"
    }
}

# ---- toolchain.env --------------------------------------------------------------------

# A view of Debian's toolchain in which rustc also finds rust-lld and the LLVM tools, where
# rustup's toolchains have them. Links only: nothing outside the target directory changes.
write_overlay() {
    local rustlib=$OVERLAY/sysroot/lib/rustlib
    rm -rf "$OVERLAY"
    mkdir -p "$OVERLAY/bin" "$rustlib/$HOST/bin"
    ln -s /usr/lib/rustlib/src "$rustlib/src"
    ln -s "/usr/lib/rustlib/$HOST/lib" "$rustlib/$HOST/lib"
    ln -s "$LLVM_BIN/lld" "$rustlib/$HOST/bin/rust-lld"
    ln -s "$LLVM_BIN/llvm-objcopy" "$LLVM_BIN/llvm-objdump" "$rustlib/$HOST/bin/"
    ln -s /usr/bin/cargo "$OVERLAY/bin/cargo"
    ln -s /usr/bin/rustdoc "$OVERLAY/bin/rustdoc"
    printf '#!/bin/sh\nexec /usr/bin/rustc --sysroot "%s" "$@"\n' "$OVERLAY/sysroot" >"$OVERLAY/bin/rustc"
    chmod +x "$OVERLAY/bin/rustc"
}

write_env() {
    local build_std=
    if [[ $kind == debian ]]; then
        write_overlay
        sysroot=$OVERLAY/sysroot
        build_std="-Zbuild-std=core,alloc,compiler_builtins -Zbuild-std-features=compiler-builtins-mem"
    fi
    {
        echo "# Written by scripts/setup.sh; 'scripts/setup.sh --refresh' chooses again."
        echo "MILLRACE_TOOLCHAIN_KIND=$kind"
        printf 'MILLRACE_SYSROOT=%q\n' "$sysroot"
        echo "MILLRACE_PINNED='$RUST_PINNED'"
        echo "MILLRACE_IMAGES=$want_images"
        echo "# Cargo flags for the kernel, where the toolchain has no compiled core for $TARGET."
        echo "MILLRACE_BUILD_STD='$build_std'"
        # shellcheck disable=SC2016 # $PATH is for the reader of the file
        [[ $kind != debian ]] || printf 'export PATH=%q:$PATH\n' "$OVERLAY/bin"
    } >"$TOOLCHAIN_ENV.new"
    mv "$TOOLCHAIN_ENV.new" "$TOOLCHAIN_ENV"
}

# ---------------------------------------------------------------------------------------

kind='' sysroot='' chosen_now=no
mkdir -p "$TARGET_DIR"
if ! earlier_choice_holds; then
    choose_toolchain
    chosen_now=yes
fi
collect_missing_packages
install_packages
[[ $chosen_now == no ]] || write_env
