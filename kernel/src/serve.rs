//! Serving: the stack on the NIC, turned for ever.
//!
//! `main` ends here.
#![forbid(unsafe_code)]

use kernel::config::Config;
use kernel::net::{Interrupts, Memory, Naps, Rest, Stack, System, Turn};
use smoltcp::time::Instant;

use crate::arch::{apic, cpu};
use crate::nic::Nic;
use crate::turns::{self, Station};
use crate::{host, mem};

/// This machine, as the stack asks for its figures.
struct Machine;

static MACHINE: Machine = Machine;

impl System for Machine {
    fn interrupts(&self) -> Interrupts {
        Interrupts {
            device: host::device_interrupts(),
            timer: apic::timer_interrupts(),
        }
    }

    fn naps(&self) -> Naps {
        Naps {
            halts: cpu::halts(),
            timer_sets: apic::timer_sets(),
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

    fn heap_free(&self) -> usize {
        mem::available() as usize
    }
}

impl Station for Stack {
    fn on_interrupt(&mut self) {
        self.link_mut().nic_mut().on_interrupt();
    }

    fn turn(&mut self, now: Instant) -> Turn {
        Stack::turn(self, now)
    }

    fn rest(&mut self) -> Rest {
        Stack::rest(self)
    }
}

/// Serves until the power goes.
pub fn forever(config: &Config, mut nic: Nic) -> ! {
    nic.introduce();
    let Nic {
        device,
        pools,
        polled,
    } = nic;
    let seed = [cpu::random_u64(), cpu::random_u64(), cpu::random_u64()];
    let mut stack = Stack::new(config, device, pools, &MACHINE, seed, turns::now());
    turns::forever(&mut *stack, config.idle_poll, polled)
}
