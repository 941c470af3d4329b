//! The image tests: Millrace in QEMU, real clients around it.
//!
//! Run by `./run-tests.sh`, which builds the images and names them in the environment. The
//! process enters a private network namespace first; tests run one at a time, each with a hard
//! time limit, and groups of small checks share a guest ([`tests::fixture`]).
#![forbid(unsafe_code)]

mod address;
mod boot;
mod config;
mod counters;
mod exhaustion;
mod http;
mod icmp;
mod intel;
mod intel_broken;
mod intel_pairs;
mod intel_vlan;
mod limits;
mod malformed;
mod nic;
mod quickstart;
mod runts;
mod self_test;
mod soak;
mod tcp;
mod tcp_by_hand;
mod udp;
mod virtio;
mod virtio_broken;
mod virtio_control;
mod wire;

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tests::env::{has_igb, nic as env_nic, qemu};
use tests::launch::Nic;

/// Tests that count each frame as it was sent: it must reach the guest, and with its length. Other
/// cards pad short frames, and keep long ones and those for other stations or in virtual LANs to
/// themselves.
const UNFILTERED: [&str; 7] = [
    "malformed::frames_for_another_station_are_counted_and_dropped",
    "malformed::unknown_ethertypes_are_counted_and_dropped",
    "malformed::malformed_arp_messages_are_counted_and_dropped",
    "malformed::ipv4_packets_with_wrong_lengths_or_version_are_counted_and_dropped",
    "malformed::frames_longer_than_the_mtu_are_counted_and_dropped",
    "malformed::frames_cut_short_in_a_header_are_counted_and_dropped",
    "runts::frames_of_any_length_are_survived_over_pci",
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // the machine has few processors, and TCG wants them
    let built = env::var_os("MILLRACE_KERNEL").is_some();
    if !built {
        eprintln!("image tests: MILLRACE_KERNEL is not set, all are ignored; use ./run-tests.sh");
    } else if !arguments.list
        && let Err(error) = tests::namespace::enter()
    {
        eprintln!("image tests: {error:#}");
        return ExitCode::FAILURE;
    }
    let filters = match env_nic() {
        Ok(nic) => nic != Nic::Virtio,
        Err(error) => {
            eprintln!("image tests: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    if filters {
        eprintln!(
            "image tests: this card pads and filters frames, so these are ignored: {UNFILTERED:?}"
        );
    }
    let igb = !built || has_igb();
    if !igb {
        eprintln!(
            "image tests: {} has no igb, which came with QEMU 8: tests of that card are ignored",
            qemu().display()
        );
    }
    let ignored = |name: &str| {
        !built || (filters && UNFILTERED.contains(&name)) || (!igb && is_about_igb(name))
    };
    let trials = all()
        .into_iter()
        .map(|trial| {
            let flag = trial.has_ignored_flag() || ignored(trial.name());
            trial.with_ignored_flag(flag)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether a test is about an igb, by its name.
fn is_about_igb(name: &str) -> bool {
    name.split([':', '_']).any(|word| word == "igb")
}

/// Every test, in the order of the story: boot, addresses, traffic, trouble.
fn all() -> Vec<Trial> {
    [
        boot::tests(),
        nic::tests(),
        virtio::tests(),
        intel::tests(),
        intel_broken::tests(),
        intel_pairs::tests(),
        intel_vlan::tests(),
        virtio_broken::tests(),
        virtio_control::tests(),
        self_test::tests(),
        wire::tests(),
        quickstart::tests(),
        config::tests(),
        address::tests(),
        icmp::tests(),
        udp::tests(),
        tcp::tests(),
        tcp_by_hand::tests(),
        http::tests(),
        counters::tests(),
        malformed::tests(),
        runts::tests(),
        exhaustion::tests(),
        limits::tests(),
        soak::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
