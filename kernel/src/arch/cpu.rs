//! The processor itself: idling, randomness, what it is.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use x86_64::instructions::{hlt, interrupts};

use super::{apic, time};

/// How often the processor halted to sleep.
static HALTS: AtomicU64 = AtomicU64::new(0);

/// Whether we run under a hypervisor (CPUID leaf 1, ECX bit 31).
pub fn hypervisor() -> bool {
    __cpuid(1).ecx >> 31 & 1 == 1
}

/// Halts until an interrupt comes or the clock reads `deadline` (nanoseconds, see
/// [`time::now`]), unless `idle` says that there is work after all.
///
/// `idle` runs with interrupts off and is the place to arm devices and look at flags: an
/// interrupt that comes after it has looked ends the halt at once, so no wake-up is lost.
/// Interrupts are on afterwards.
pub fn sleep_until(deadline: Option<u64>, idle: impl FnOnce() -> bool) {
    interrupts::disable();
    let passed = deadline.is_some_and(|deadline| deadline <= time::now());
    if passed || !idle() {
        interrupts::enable();
        return;
    }
    if let Some(deadline) = deadline {
        apic::arm_timer(deadline);
    }
    HALTS.store(halts() + 1, Relaxed);
    // Interrupts are held off until the instruction behind `sti` has started, so one that is
    // pending wakes the `hlt`.
    interrupts::enable_and_hlt();
}

/// How often the processor halted in [`sleep_until`].
pub fn halts() -> u64 {
    HALTS.load(Relaxed)
}

/// Lets interrupts come from now on.
pub fn allow_interrupts() {
    interrupts::enable();
}

/// Waits with interrupts on until `done`, without halting, for `nanos` nanoseconds at most. Returns
/// whether it was. For what may never come: a halt would have no end.
pub fn wait_for(nanos: u64, mut done: impl FnMut() -> bool) -> bool {
    let until = time::now() + nanos;
    interrupts::enable();
    loop {
        if done() {
            return true;
        }
        if time::now() >= until {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Halts for good.
pub fn halt() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}

/// A number that is hard to guess: from the processor's generator where it has one, otherwise
/// mixed from the time-stamp counter (then good for ports and identifiers, not for keys).
pub fn random_u64() -> u64 {
    hardware_random().unwrap_or_else(mixed_time)
}

fn hardware_random() -> Option<u64> {
    const RDRAND: u32 = 1 << 30;
    const RDSEED: u32 = 1 << 18;
    let generator = __cpuid(1).ecx & RDRAND != 0;
    let seeds = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & RDSEED != 0;
    // Either may have nothing for a moment (SDM volume 1, 7.3.17): ten tries each.
    for _ in 0..10 {
        let (value, valid): (u64, u8);
        if generator {
            // SAFETY: the processor has the instruction; it writes a register and flags.
            unsafe {
                asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack))
            };
        } else if seeds {
            // SAFETY: as above.
            unsafe {
                asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack))
            };
        } else {
            return None;
        }
        if valid != 0 {
            return Some(value);
        }
    }
    None
}

/// SplitMix64 over a state that every call stirs with the time.
fn mixed_time() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let step = time::ticks() | 1;
    let mut z = STATE
        .fetch_add(step, Relaxed)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
