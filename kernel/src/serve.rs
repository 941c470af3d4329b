//! The loop: turn the stack while there is work, sleep until there is some; while traffic is brisk,
//! look on for a moment first.
//!
//! `main` ends here. The invariant: the core sleeps only after the NIC was armed and found
//! quiet with interrupts off, so no packet waits for the next timer.
#![forbid(unsafe_code)]

use drivers::net::LinkState;
use kernel::config::Config;
use kernel::idle::Vigil;
use kernel::net::{Interrupts, Memory, Rest, Stack, System, Turn};
use smoltcp::time::Instant;

use crate::arch::{apic, cpu, time};
use crate::nic::Nic;
use crate::{host, mem};

/// This machine's memory, as the stack asks for it.
struct Machine;

static MACHINE: Machine = Machine;

impl System for Machine {
    fn interrupts(&self) -> Interrupts {
        Interrupts {
            device: host::device_interrupts(),
            timer: apic::timer_interrupts(),
        }
    }

    fn memory(&self) -> Memory {
        let stats = mem::stats();
        Memory {
            total_kb: stats.total_kb,
            available_kb: stats.available_kb,
            heap_bytes: stats.heap_used,
            heap_peak_bytes: stats.heap_peak,
            // The heap grows by itself while there are free frames.
            heap_free_bytes: stats.available_kb as usize * 1024,
            heap_allocs: stats.heap_allocations,
            heap_frees: stats.heap_frees,
        }
    }
}

fn now() -> Instant {
    Instant::from_micros((time::now() / 1000) as i64)
}

/// Nanoseconds since boot of a time that the stack named.
fn nanoseconds(at: Instant) -> u64 {
    u64::try_from(at.total_micros()).unwrap_or(0) * 1000
}

/// How often a NIC without an interrupt is looked at, in nanoseconds.
const POLL: u64 = time::SECOND / 1000;

/// Serves until the power goes.
pub fn forever(config: &Config, nic: Nic) -> ! {
    let Nic {
        mut device,
        pools,
        polled,
    } = nic;
    let link = device.link();
    let info = device.info();
    log::info!(
        "{} at {}: {} link {}, rings {}/{}, {}",
        info.model,
        info.location,
        info.mac,
        if matches!(link, LinkState::Up { .. }) {
            "up"
        } else {
            "down"
        },
        info.rx_ring,
        info.tx_ring,
        info.features,
    );
    let seed = [cpu::random_u64(), cpu::random_u64(), cpu::random_u64()];
    let mut stack = Stack::new(config, device, pools, &MACHINE, seed, now());
    let mut vigil = Vigil::new(u64::from(config.idle_poll) * 1000);
    loop {
        if host::take_attention() {
            stack.link_mut().nic_mut().on_interrupt();
            host::acknowledged();
        }
        if stack.turn(now()) == Turn::Worked {
            vigil.worked();
            continue;
        }
        if vigil.goes_on(time::now()) {
            continue;
        }
        if let Rest::Until(deadline) = stack.rest() {
            let poll = polled.then(|| time::now() + POLL);
            let deadline = deadline.map(nanoseconds).into_iter().chain(poll).min();
            let from = time::now();
            cpu::sleep_until(deadline, || !host::has_attention());
            vigil.slept(from, time::now());
        }
    }
}
