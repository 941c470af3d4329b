#!/usr/bin/env bash
# Makes the Linux guest that the benchmarks compare with, and prints the folder it is in.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/build-linux-guest.sh [--generic] [--refresh]

Makes a minimal Linux guest: Debian's stock cloud kernel, and an initramfs with a static
busybox, the drivers of the NIC and bench/peers/guest_server.c, linked statically. Prints the
folder with `vmlinuz` and `initramfs`: target/linux-guest/cloud.

  --generic   Debian's generic kernel instead, which has drivers for the e1000, e1000e and igb:
              target/linux-guest/generic
  --refresh   fetch the packages again
  --help      this text

Needs Debian's package lists (apt-get download; no root, nothing is installed), cc with a static
C library, and strip.
END
}

flavour=cloud meta=linux-image-cloud-amd64 refresh=no
for arg; do
    case $arg in
    --generic) flavour=generic meta=linux-image-amd64 ;;
    --refresh) refresh=yes ;;
    --help | -h) usage; exit 0 ;;
    *) die "unknown option '$arg' (see --help)" ;;
    esac
done

# In the order in which they are loaded; what a kernel has built in, or not at all, is left out.
readonly DRIVERS="virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci
    failover net_failover virtio_net pps_core ptp e1000 e1000e dca i2c-core i2c-algo-bit igb"

readonly GUEST=$TARGET_DIR/linux-guest
readonly OUT=$GUEST/$flavour SERVER=$ROOT/bench/peers/guest_server.c SELF=$ROOT/scripts/build-linux-guest.sh
[[ $refresh == no ]] || rm -rf "$GUEST/packages" "$OUT"
if [[ -s $OUT/initramfs && $OUT/initramfs -nt $SERVER && $OUT/initramfs -nt $SELF ]]; then
    echo "$OUT"
    exit 0
fi
have apt-get && have dpkg-deb || die "the Linux guest is made of Debian's packages: apt-get and dpkg-deb are needed"
have cc && have strip || die "cc and strip are needed (Debian: gcc libc6-dev binutils)"

# unpack PACKAGE FOLDER: fetches a package, unless that was done before, and unpacks it.
unpack() {
    [[ ! -e $2 ]] || return 0
    say "fetching $1"
    local work
    work=$(mktemp -d "$GUEST/packages/new.XXXXXX")
    # apt's own user cannot write here, which it says at length.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$1" >&2) ||
        die "apt-get could not fetch $1 (apt-get update?)"
    mkdir "$work/tree"
    dpkg-deb --extract "$work"/*.deb "$work/tree"
    mv "$work/tree" "$2"
    rm -r "$work"
}

mkdir -p "$GUEST/packages" "$OUT"
# The meta package depends on the current kernel's.
kernel=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
[[ -n $kernel ]] || die "Debian's package $meta is not known here (apt-get update?)"
unpack "$kernel" "$GUEST/packages/$kernel"
unpack busybox-static "$GUEST/packages/busybox"

say "making the Linux guest ($kernel)"
root=$(mktemp -d "$GUEST/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{bin,dev,modules}
cp "$GUEST/packages/busybox/bin/busybox" "$root/bin/"
cc -O2 -Wall -Wextra -static -o "$root/server" "$SERVER"
strip "$root/server"
modules=()
for driver in $DRIVERS; do
    file=$(find "$GUEST/packages/$kernel/lib/modules" -name "$driver.ko")
    [[ -z $file ]] || { cp "$file" "$root/modules/" && modules+=("$driver"); }
done
# The kernel hands words of its command line that it does not know to init as variables.
cat >"$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
for module in ${modules[*]}; do
    /bin/busybox insmod /modules/\$module.ko
done
/bin/busybox ip link set lo up
/bin/busybox ip addr add "\$guest_ip" dev eth0
/bin/busybox ip link set eth0 up
/bin/busybox ip route add default via "\$guest_gw"
exec /server
END
chmod 755 "$root/init"
cp "$GUEST/packages/$kernel"/boot/vmlinuz-* "$OUT/vmlinuz"
(cd "$root" && find . | LC_ALL=C sort |
    "$GUEST/packages/busybox/bin/busybox" cpio -o -H newc -R 0:0 2>/dev/null | gzip -9n) >"$OUT/initramfs.new"
mv "$OUT/initramfs.new" "$OUT/initramfs"
echo "$OUT"
