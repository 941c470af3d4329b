//! `run-qemu.sh --print`: which QEMU command the script composes, and what it refuses.
//! Nothing is built or started here.

#![forbid(unsafe_code)]

use std::process::{Command, Output};

/// The script with `--print` and these options, in an environment that changes nothing.
fn run(options: &[&str]) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../run-qemu.sh"))
        .arg("--print")
        .args(options)
        .env_remove("MILLRACE_QEMU")
        .env_remove("MILLRACE_OVMF")
        .env("MILLRACE_KERNEL", "kernel.elf")
        .output()
        .expect("run-qemu.sh runs")
}

/// The command that is printed.
fn command(options: &[&str]) -> String {
    let output = run(options);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The one line with which the options are refused.
fn refusal(options: &[&str]) -> String {
    let output = run(options);
    assert_eq!(output.status.code(), Some(1), "{options:?} must be refused");
    assert!(output.stdout.is_empty(), "nothing is printed as a command");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(message.lines().count(), 1, "one line: {message}");
    message
}

fn assert_has(command: &str, parts: &[&str]) {
    for part in parts {
        assert!(command.contains(part), "'{part}' is missing in: {command}");
    }
}

#[test]
fn without_options_all_services_are_on_and_ports_are_forwarded() {
    let command = command(&[]);
    assert_has(
        &command,
        &[
            "-machine q35 ",
            "-kernel kernel.elf -append 'services=all ip=dhcp'",
            "-netdev user,id=net0,",
            "hostfwd=tcp:127.0.0.1:8080-:80",
            "hostfwd=udp:127.0.0.1:8011-:11",
            "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56",
            "-device isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-no-reboot",
        ],
    );
}

#[test]
fn an_address_of_the_user_replaces_dhcp_and_is_forwarded_to() {
    let command = command(&["--append", "ip=10.0.2.20/24 gw=10.0.2.2"]);
    assert_has(
        &command,
        &[
            "-append 'services=all ip=10.0.2.20/24 gw=10.0.2.2'",
            "-10.0.2.20:80",
        ],
    );
    assert!(!command.contains("dhcp"));
}

#[test]
fn services_of_the_user_replace_all_services() {
    assert_has(
        &command(&["--append", "services=http"]),
        &["-append 'ip=dhcp services=http'"],
    );
}

#[test]
fn a_tap_takes_the_place_of_the_user_mode_network() {
    let command = command(&["--tap", "mill0", "--mac", "52:54:00:00:00:01"]);
    assert_has(
        &command,
        &[
            "-netdev tap,id=net0,ifname=mill0,script=no,downscript=no",
            "mac=52:54:00:00:00:01",
        ],
    );
    assert!(!command.contains("hostfwd"));
}

#[test]
fn microvm_takes_the_mmio_nic_and_describes_it_on_the_command_line() {
    assert_has(
        &command(&["--machine", "microvm"]),
        &[
            "-machine microvm,acpi=off",
            "virtio-mmio.force-legacy=false",
            "virtio-net-device",
        ],
    );
}

#[test]
fn a_card_on_pci_has_the_registers_that_are_asked_for() {
    for (nic, properties) in [
        ("virtio", "disable-legacy=on"),
        (
            "virtio-transitional",
            "disable-legacy=off,disable-modern=off",
        ),
        ("virtio-legacy", "disable-legacy=off,disable-modern=on"),
    ] {
        let expected = format!("mac=52:54:00:12:34:56,romfile=,{properties}\n");
        assert!(command(&["--nic", nic]).ends_with(&expected), "{nic}");
    }
}

#[test]
fn disk_boots_take_an_image_and_leave_it_unchanged() {
    for way in ["bios", "uefi"] {
        let command = command(&["--boot", way]);
        assert_has(
            &command,
            &[&format!("run-{way}.img,format=raw,snapshot=on")],
        );
        assert!(!command.contains("-kernel"));
    }
    assert_has(&command(&["--boot", "uefi"]), &["-bios "]);
}

#[test]
fn the_options_reach_qemu() {
    let options = [
        "--mem", "9", "--accel", "tcg", "--pcap", "a,b.pcap", "--gdb", "--", "-smp", "2",
    ];
    assert_has(
        &command(&options),
        &[
            "-m 9M",
            "-accel tcg,thread=multi -cpu max",
            "filter-dump,id=pcap0,netdev=net0,file=a,,b.pcap",
            "-gdb tcp:127.0.0.1:1234 -S",
            "-smp 2",
        ],
    );
    assert_has(
        &command(&["--port-base", "20000"]),
        &["127.0.0.1:20080-:80"],
    );
}

#[test]
fn impossible_combinations_are_refused() {
    assert!(refusal(&["--machine", "microvm", "--boot", "uefi"]).contains("--boot uefi"));
    for nic in [
        "virtio",
        "virtio-transitional",
        "virtio-legacy",
        "e1000",
        "e1000e",
    ] {
        assert!(refusal(&["--machine", "microvm", "--nic", nic]).contains("virtio-mmio"));
    }
    assert!(refusal(&["--nic", "virtio-mmio"]).contains("--machine microvm"));
}

#[test]
fn bad_values_are_refused_with_what_is_allowed() {
    assert!(refusal(&["--machine", "virt"]).contains("q35 pc microvm"));
    assert!(refusal(&["--nic", "rtl8139"]).contains("virtio-legacy"));
    assert!(refusal(&["--boot", "floppy"]).contains("pvh bios uefi"));
    assert!(refusal(&["--mem", "lots"]).contains("'lots'"));
    assert!(refusal(&["--mac", "52:54"]).contains("'52:54'"));
    assert!(refusal(&["--append"]).contains("needs a value"));
    assert!(refusal(&["--frobnicate"]).contains("--frobnicate"));
}
