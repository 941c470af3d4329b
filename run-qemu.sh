#!/usr/bin/env bash
# Builds Millrace and boots it under QEMU. With no arguments and no root: user-mode
# networking, every service on, ports forwarded to this host.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR/scripts source=lib.sh
source "$(dirname "$0")/scripts/lib.sh"

usage() {
    cat <<'END'
usage: ./run-qemu.sh [OPTIONS] [-- QEMU-OPTIONS]

Sets up what is missing, builds the kernel, boots it under QEMU and shows its log on the
terminal. Ctrl-C ends it. No root is needed.

network
  --tap IFNAME      use this existing tap interface; without it QEMU's user-mode network
                    forwards ports of this host (localhost only) to the guest
  --port-base N     host port = N + guest port (default 8000: HTTP is 8080, echo 8007)
  --mac ADDRESS     MAC address of the NIC (default 52:54:00:12:34:56)
  --nic NIC         virtio (PCI; default on q35 and pc), virtio-legacy (with the registers from
                    before virtio 1.0), virtio-transitional (with both kinds); e1000 or e1000e
                    (Intel 82540EM and 82574L, on q35 and pc); igb (Intel 82576, on the same,
                    with QEMU 8 or later); virtio-mmio (on microvm, and there the only one)
  --pcap FILE       record what the NIC sends and receives

machine
  --machine NAME    q35 (default), pc, microvm
  --boot WAY        pvh (default): QEMU starts the kernel directly
                    bios, uefi: from a disk image (not on microvm)
  --mem MIB         memory (default: 128, with uefi 256); at least 4, with bios 32, with uefi 64
  --accel NAME      kvm, tcg or another of QEMU's; default: kvm where it can run, else tcg

kernel
  --append TEXT     the kernel's command line, e.g. --append "ip=10.0.0.2/24 gw=10.0.0.1".
                    'services=all' and 'ip=dhcp' are put in front unless TEXT says otherwise
  --debug           build without optimisation, with run-time checks
  --gdb             wait for gdb at 127.0.0.1:1234 before the first instruction

this script
  --print           print the QEMU command and exit; nothing is built
  --help            this text
  -- ...            everything after this goes to QEMU unchanged

The exit status is QEMU's: 0 if QEMU was told to end, 35 after a
panic, 37 after a processor exception, 39 if the command line was refused, 41 without a usable
NIC, 43 if the machine lacks something else, 45 and 47 after a self-test (selftest=yes) that passed or
failed.

environment
  MILLRACE_QEMU        another QEMU binary (default qemu-system-x86_64)
  MILLRACE_KERNEL      boot this kernel ELF: no set-up, no build
  MILLRACE_OVMF        another UEFI firmware
  MILLRACE_TOOLCHAIN   auto, rustup or debian (see scripts/setup.sh --help)
  CARGO_TARGET_DIR     where everything is built (default: target)
END
}

# ---- options --------------------------------------------------------------------------

tap='' port_base=8000 mac=52:54:00:12:34:56 nic='' pcap=''
machine=q35 boot=pvh mem='' accel='' append='' debug=no gdb=no print=no
extra=()

one_of() { # one_of OPTION VALUE ALLOWED...
    local option=$1 value=$2 allowed
    shift 2
    for allowed; do [[ $value != "$allowed" ]] || return 0; done
    die "$option '$value': allowed are $*"
}
number() { # number OPTION VALUE LEAST MOST
    if [[ ! $2 =~ ^[1-9][0-9]{0,6}$ ]] || (($2 < $3 || $2 > $4)); then
        die "$1 '$2': a number from $3 to $4 is needed"
    fi
}

while [[ $# != 0 ]]; do
    option=$1
    shift
    case $option in
    --help | -h) usage; exit 0 ;;
    --debug) debug=yes; continue ;;
    --gdb) gdb=yes; continue ;;
    --print) print=yes; continue ;;
    --) extra=("$@"); break ;;
    --tap | --port-base | --mac | --nic | --pcap | --machine | --boot | --mem | --accel | --append) ;;
    *) die "unknown option '$option' (see --help)" ;;
    esac
    [[ $# != 0 ]] || die "$option needs a value (see --help)"
    name=${option#--}
    printf -v "${name/-/_}" %s "$1"
    shift
done

one_of --machine "$machine" q35 pc microvm
one_of --boot "$boot" pvh bios uefi
if [[ -z $nic ]]; then
    if [[ $machine == microvm ]]; then nic=virtio-mmio; else nic=virtio; fi
fi
one_of --nic "$nic" virtio virtio-transitional virtio-legacy virtio-mmio e1000 e1000e igb
[[ $mac =~ ^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$ ]] || die "--mac '$mac': six bytes like 52:54:00:12:34:56 are needed"
((!(0x${mac:0:2} & 1))) || die "--mac '$mac': a group's address; the first byte of a station's is even"
case $boot in pvh) least_mem=4 ;; bios) least_mem=32 ;; uefi) least_mem=64 ;; esac
[[ -z $mem ]] || number --mem "$mem" "$least_mem" 1048576
number --port-base "$port_base" 1 65455

[[ $machine != microvm || $boot == pvh ]] ||
    die "--machine microvm starts the kernel directly: --boot $boot is not possible, only pvh"
[[ $machine != microvm || $nic == virtio-mmio ]] ||
    die "--machine microvm has no PCI bus: --nic $nic is not possible, only virtio-mmio"
[[ $machine == microvm || $nic != virtio-mmio ]] ||
    die "--machine $machine has no virtio-mmio bus: --nic virtio-mmio needs --machine microvm"

# ---- the kernel's command line --------------------------------------------------------

cmdline=$append
[[ " $append" == *" ip="* ]] || cmdline="ip=dhcp${cmdline:+ $cmdline}"
[[ " $append" == *" services="* ]] || cmdline="services=all${cmdline:+ $cmdline}"

# QEMU forwards to the address that its DHCP server gives first, unless told otherwise. What is
# no address is left for the kernel to refuse, which says why.
guest=''
readonly octet='(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])'
if [[ " $append" =~ \ ip=($octet(\.$octet){3})(/[0-9]+)?( |$) ]]; then guest=${BASH_REMATCH[1]}; fi

# ---- the network ----------------------------------------------------------------------

tcp_ports=(7 9 19 80) udp_ports=(7 9 11 19) # of the guest, forwarded to it

# Whether somebody has this port of 127.0.0.1, where the system can say so. (State 0A: listening.)
port_taken() { # port_taken tcp|udp PORT
    local hex state='[0-9A-F]{2}'
    printf -v hex %04X "$2"
    [[ $1 != tcp ]] || state=0A
    grep -qsE "^ *[0-9]+: (0100007F|00000000):$hex [0-9A-F]+:[0-9A-F]+ $state " "/proc/net/$1"
}

# What QEMU would refuse in words of its own, or, run by root, take for a wish to make an interface.
check_network() {
    local port
    if [[ -n $tap ]]; then
        [[ ! -r /proc/net/dev ]] || grep -q "^ *$tap:" /proc/net/dev ||
            die "--tap '$tap': no such interface; README.md, 'Ping, and raw frames', says how to make one"
        return
    fi
    for port in "${tcp_ports[@]}"; do
        ! port_taken tcp $((port_base + port)) || die "TCP port $((port_base + port)) is taken; --port-base N takes others (default 8000)"
    done
    for port in "${udp_ports[@]}"; do
        ! port_taken udp $((port_base + port)) || die "UDP port $((port_base + port)) is taken; --port-base N takes others (default 8000)"
    done
}

[[ $print == yes ]] || check_network

# ---- set up, build --------------------------------------------------------------------

qemu=${MILLRACE_QEMU:-qemu-system-x86_64}
kernel=${MILLRACE_KERNEL:-$TARGET_DIR/millrace}
[[ $debug == no || -n ${MILLRACE_KERNEL:-} ]] || kernel+=-debug
image=$TARGET_DIR/run-$boot.img

prepare() {
    local profile=()
    [[ $debug == no ]] || profile=(--debug)
    if [[ -z ${MILLRACE_KERNEL:-} ]]; then
        "$ROOT/scripts/setup.sh"
        kernel=$("$ROOT/scripts/build-kernel.sh" "${profile[@]}")
    fi
    [[ -r $kernel ]] || die "no kernel at '$kernel' (MILLRACE_KERNEL)"
    if [[ $boot != pvh ]]; then
        "$ROOT/scripts/build-images.sh" --kernel "$kernel" --cmdline "$cmdline" "--$boot" "$image.$$" >&2
        mv "$image.$$" "$image" # a machine that runs already keeps the file it opened
    fi
}
[[ $print == yes ]] || prepare

# ---- QEMU's command line --------------------------------------------------------------

# /dev/kvm can exist where no guest runs: the processor must offer VMX or SVM as well.
kvm_runs() { grep -qwE 'vmx|svm' /proc/cpuinfo && { : <>/dev/kvm; } 2>/dev/null; }
if [[ -z $accel ]]; then
    if kvm_runs; then accel=kvm; else accel=tcg; fi
fi

case $machine in
# With ACPI off, QEMU adds virtio_mmio.device=SIZE@ADDRESS:IRQ to the command line; with it on,
# the device would stand in the DSDT only. The clock is calibrated with the PIT.
microvm) command=("$qemu" -machine "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on"
    -global "virtio-mmio.force-legacy=false") ;;
*) command=("$qemu" -machine "$machine") ;;
esac
case $accel in
kvm) command+=(-accel kvm -cpu host) ;;
tcg) command+=(-accel "tcg,thread=multi" -cpu max) ;;
*) command+=(-accel "$accel" -cpu max) ;;
esac
command+=(-nodefaults -no-user-config -no-reboot -display none -serial stdio
    -device "isa-debug-exit,iobase=0xf4,iosize=0x04")

case $boot in
pvh) command+=(-m "${mem:-128}M" -kernel "$kernel" -append "$cmdline") ;;
bios) command+=(-m "${mem:-128}M" -vga std) ;;
uefi)
    ovmf=$(find_ovmf) || ovmf=OVMF.fd # only --print comes here without firmware
    command+=(-m "${mem:-256}M" -vga std -bios "$ovmf")
    ;;
esac
# snapshot=on: the image stays as it is, and several machines can use it.
[[ $boot == pvh ]] || command+=(-drive "file=${image//,/,,},format=raw,snapshot=on")

if [[ -n $tap ]]; then
    netdev="tap,id=net0,ifname=$tap,script=no,downscript=no"
    # With offloads QEMU would record its own header in front of each frame.
    [[ -z $pcap ]] || netdev+=",vnet_hdr=off"
else
    netdev="user,id=net0"
    for port in "${tcp_ports[@]}"; do netdev+=",hostfwd=tcp:127.0.0.1:$((port_base + port))-$guest:$port"; done
    for port in "${udp_ports[@]}"; do netdev+=",hostfwd=udp:127.0.0.1:$((port_base + port))-$guest:$port"; done
fi
case $nic in
# An empty romfile leaves out the firmware's network boot code, which only costs time.
virtio) device="virtio-net-pci,netdev=net0,mac=$mac,romfile=,disable-legacy=on" ;;
virtio-transitional) device="virtio-net-pci,netdev=net0,mac=$mac,romfile=,disable-legacy=off,disable-modern=off" ;;
virtio-legacy) device="virtio-net-pci,netdev=net0,mac=$mac,romfile=,disable-legacy=off,disable-modern=on" ;;
e1000 | e1000e | igb) device="$nic,netdev=net0,mac=$mac,romfile=" ;;
virtio-mmio) device="virtio-net-device,netdev=net0,mac=$mac" ;;
esac
command+=(-netdev "$netdev" -device "$device")
[[ -z $pcap ]] || command+=(-object "filter-dump,id=pcap0,netdev=net0,file=${pcap//,/,,}")
[[ $gdb == no ]] || command+=(-gdb tcp:127.0.0.1:1234 -S)
command+=("${extra[@]}")

# ---- boot -----------------------------------------------------------------------------

print_what_to_type() {
    if [[ -n $tap ]]; then
        say "on tap interface $tap; the log shows the guest's address: ping it, or open http://ADDRESS/"
        return
    fi
    printf '\n  Try from another terminal:\n' >&2
    printf '    %-44s %s\n' "curl http://localhost:$((port_base + 80))/" "status page" \
        "curl http://localhost:$((port_base + 80))/metrics" "counters" \
        "echo hello | nc -w 1 127.0.0.1 $((port_base + 7))" "TCP echo" \
        "echo hello | nc -u -w 1 127.0.0.1 $((port_base + 7))" "UDP echo" \
        "echo | nc -u -w 1 127.0.0.1 $((port_base + 11))" "one line of counters" \
        "nc 127.0.0.1 $((port_base + 19)) | head -c 200" "character source" >&2
    printf '  Ctrl-C here stops the machine.\n\n' >&2
}

if [[ $print == yes ]]; then
    line=''
    for word in "${command[@]}"; do
        if [[ $word =~ ^[A-Za-z0-9_./:,=@+-]+$ ]]; then line+="$word "; else line+="${word@Q} "; fi
    done
    echo "${line% }"
    exit 0
fi
have "$qemu" || die "no QEMU at '$qemu' (MILLRACE_QEMU)"
[[ $nic != igb || -n $("$qemu" -device igb,help 2>/dev/null) ]] ||
    die "--nic igb: this QEMU has no igb, which came with QEMU 8 ($("$qemu" --version | head -n 1)); MILLRACE_QEMU names another"
say "$machine, $boot boot, $nic, acceleration: $accel; command line: $cmdline"
if [[ $gdb == yes ]]; then
    folder=release
    [[ $debug == no ]] || folder=debug
    elf=$TARGET_DIR/x86_64-unknown-none/$folder/millrace
    say "waiting for:  gdb ${elf@Q} -ex 'target remote 127.0.0.1:1234'"
fi
print_what_to_type
exec "${command[@]}"

