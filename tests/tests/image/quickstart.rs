//! What the README promises: `./run-qemu.sh` without arguments and without root, then `curl`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::{eventually, must_echo_tcp, must_echo_udp, tcp};
use tests::env::workspace;
use tests::guest::Vm;
use tests::http::must_get;
use tests::limit::case;
use tests::stats::Stats;
use tests::tap::Tap;

const READY_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        case(
            "quickstart::run_qemu_without_arguments_serves_on_forwarded_ports",
            120,
            || on_forwarded_ports(&[]),
        ),
        case(
            "quickstart::run_qemu_with_an_e1000_serves_on_forwarded_ports",
            120,
            || on_forwarded_ports(&["--nic", "e1000"]),
        ),
        case(
            "quickstart::run_qemu_with_an_e1000e_serves_on_forwarded_ports",
            120,
            || on_forwarded_ports(&["--nic", "e1000e", "--machine", "pc"]),
        ),
        case(
            "quickstart::run_qemu_with_an_igb_serves_on_forwarded_ports",
            120,
            || on_forwarded_ports(&["--nic", "igb"]),
        ),
        case(
            "quickstart::run_qemu_joins_an_existing_tap_and_records_a_capture",
            60,
            on_a_tap,
        ),
        case(
            "quickstart::a_signal_to_run_qemu_ends_the_machine",
            60,
            signal,
        ),
        case(
            "quickstart::run_qemu_prints_the_command_it_would_run",
            20,
            print,
        ),
    ]
}

fn script() -> Command {
    let mut command = Command::new(workspace().join("run-qemu.sh"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(arguments: &[&str]) -> Result<Arc<Vm>> {
    let mut command = script();
    command.args(arguments);
    let vm = Vm::start(command)?;
    vm.wait_ready(READY_LIMIT)?;
    Ok(vm)
}

fn host_port(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn on_forwarded_ports(arguments: &[&str]) -> Result<()> {
    let vm = start(arguments)?;
    vm.log
        .find("curl http://localhost:8080/")
        .context("it does not say what to type")?;
    let ready = vm.wait_ready(READY_LIMIT)?;
    ensure!(
        ready.contains("ip=10.0.2.15/24"),
        "not the address of QEMU's DHCP: {ready}"
    );

    let page = must_get("http://127.0.0.1:8080/")?;
    ensure!(
        page.contains("10.0.2.15"),
        "the status page lacks the address: {page}"
    );
    must_echo_udp(host_port(8007), b"through user networking")?;
    must_echo_tcp(&mut tcp(host_port(8007))?, b"through user networking")?;
    let line = tests::clients::ask_udp(host_port(8011), b"?")?;
    ensure!(
        Stats::parse(&String::from_utf8(line)?)?.get("nic_rx")? > 0,
        "nothing received?"
    );

    let mut source = tcp(host_port(8019))?;
    let mut characters = vec![0; 10_000];
    source
        .read_exact(&mut characters)
        .context("character source")?;
    ensure!(
        characters.is_ascii(),
        "the character source sent more than characters"
    );
    tcp(host_port(8009))?
        .write_all(&[0; 10_000])
        .context("discard")
}

fn on_a_tap() -> Result<()> {
    let tap = Tap::new()?;
    let capture = std::env::temp_dir().join(format!("millrace-{}.pcap", std::process::id()));
    let vm = start(&[
        "--tap",
        tap.name(),
        "--machine",
        "microvm",
        "--mac",
        "52:54:00:07:ff:01",
        "--mem",
        "64",
        "--append",
        &tap.static_config(),
        "--pcap",
        capture.to_str().context("temporary folder")?,
    ])?;
    let outcome = must_get(&format!("http://{}/", tap.guest())).and_then(|page| {
        ensure!(
            page.contains("52:54:00:07:ff:01"),
            "the page lacks the MAC address: {page}"
        );
        let recorded = fs::read(&capture).context("the capture")?;
        ensure!(
            recorded.len() > 1000,
            "only {} bytes of capture",
            recorded.len()
        );
        Ok(())
    });
    drop(vm);
    let _ = fs::remove_file(&capture);
    outcome
}

fn signal() -> Result<()> {
    let vm = start(&[])?;
    vm.process.terminate()?;
    vm.process
        .wait(Duration::from_secs(10))
        .context("after SIGTERM to the script")?;
    // QEMU is gone as well, not only the script: its ports are free.
    eventually(Duration::from_secs(5), || {
        ensure!(
            tcp(host_port(8080)).is_err(),
            "somebody still listens on port 8080"
        );
        Ok(())
    })
}

fn print() -> Result<()> {
    let output = script()
        .args(["--print", "--", "-name", "extra argument"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    for part in [
        "qemu",
        "-kernel",
        "hostfwd=tcp:127.0.0.1:8080-:80",
        "-name 'extra argument'",
    ] {
        ensure!(text.contains(part), "no {part} in {text}");
    }
    Ok(())
}
