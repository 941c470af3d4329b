//! The clock: the time-stamp counter, scaled to nanoseconds since the kernel was entered.
//!
//! `main` calls [`start`] first of all and [`calibrate`] as late as it can before the first time
//! is wanted, since the work in between is part of the measurement. Where the processor does
//! not tell its frequency, it is measured against the 8254 (or the ACPI timer), robustly against
//! a virtual processor that is held up at any point: a held-up reading shows as a wide bracket
//! and loses against its neighbours, a held-up window disagrees with the next one.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use spin::Mutex;

use super::{pit, port};

/// Nanoseconds per second.
pub const SECOND: u64 = 1_000_000_000;

/// Counter value at the start of time.
static START: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick, 32 bits behind the point. Zero: time stands still before calibration.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Ticks per nanosecond, 32 bits behind the point.
static TICKS_PER_NANO: AtomicU64 = AtomicU64::new(0);
static FIRST: Mutex<Option<Sample>> = Mutex::new(None);

/// A reading of a reference counter, and when it was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Time-stamp counter in the middle of the bracket.
    tsc: u64,
    /// Ticks from one end of the bracket to the other.
    width: u64,
    pub(super) count: u64,
}

impl Sample {
    /// Takes a few readings and keeps the one that took least time. `latch` fixes the count, and
    /// is what is timed; `read` turns what it returned into the count.
    pub(super) fn bracket<T>(latch: impl Fn() -> T, read: impl Fn(T) -> u64) -> Self {
        let mut best = Self {
            tsc: 0,
            width: u64::MAX,
            count: 0,
        };
        for _ in 0..4 {
            let before = ticks();
            let latched = latch();
            let width = ticks().wrapping_sub(before);
            let count = read(latched);
            if width < best.width {
                best = Self {
                    tsc: before + width / 2,
                    width,
                    count,
                };
            }
        }
        best
    }
}

/// A counter of known frequency.
struct Reference<'a> {
    name: &'static str,
    hertz: u64,
    /// The counter wraps at this power of two.
    bits: u32,
    sample: &'a dyn Fn() -> Sample,
}

/// How the frequency was found.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Time-stamp counter ticks per second.
    pub hertz: u64,
    /// Where that comes from.
    pub source: &'static str,
}

const GUESS: &str = "guess";
static GUESSED: AtomicBool = AtomicBool::new(false);

/// Nothing told the frequency, and nothing was there to measure it by.
pub fn is_guess() -> bool {
    GUESSED.load(Relaxed)
}

/// Time begins here.
pub fn start() {
    START.store(ticks(), Relaxed);
    pit::start();
    *FIRST.lock() = Some(pit::sample());
}

/// Finds the counter's frequency and sets the clock going. Takes 3 ms since [`start`], less if
/// the processor tells.
pub fn calibrate() -> Calibration {
    let pit = Reference {
        name: "8254",
        hertz: pit::HERTZ,
        bits: 16,
        sample: &pit::sample,
    };
    let first = FIRST.lock().take();
    let found = told().or_else(|| measure(&pit, first?));
    // Better a clock that is off than none; `calibrate_by_pm_timer` may still mend it.
    set(found.unwrap_or(Calibration {
        hertz: SECOND,
        source: GUESS,
    }))
}

/// Measures again, against the ACPI power management timer: for machines without an 8254.
/// Returns `None`, and changes nothing, if the timer stands still.
pub fn calibrate_by_pm_timer(timer: u16) -> Option<Calibration> {
    static PORT: AtomicU16 = AtomicU16::new(0);
    PORT.store(timer, Relaxed);
    // SAFETY: reading the timer's port has no effect.
    let latch = || unsafe { port::read::<u32>(PORT.load(Relaxed)) };
    let pm_timer = Reference {
        name: "acpi timer",
        hertz: 3_579_545,
        bits: 24,
        sample: &|| Sample::bracket(latch, u64::from),
    };
    let first = (pm_timer.sample)();
    measure(&pm_timer, first).map(set)
}

fn set(found: Calibration) -> Calibration {
    let nanos_per_tick = ((u128::from(SECOND) << 32) / u128::from(found.hertz)) as u64;
    let ticks_per_nano = ((u128::from(found.hertz) << 32) / u128::from(SECOND)) as u64;
    NANOS_PER_TICK.store(nanos_per_tick, Relaxed);
    TICKS_PER_NANO.store(ticks_per_nano, Relaxed);
    GUESSED.store(found.source == GUESS, Relaxed);
    found
}

/// Nanoseconds since [`start`]; 0 before [`calibrate`].
pub fn now() -> u64 {
    let ticks = ticks().wrapping_sub(START.load(Relaxed));
    scale(ticks, NANOS_PER_TICK.load(Relaxed))
}

/// The counter's value at `nanos` on this clock, for a timer that compares against it.
pub(super) fn ticks_at(nanos: u64) -> u64 {
    START
        .load(Relaxed)
        .wrapping_add(scale(nanos, TICKS_PER_NANO.load(Relaxed)))
}

/// Waits for at least `micros` microseconds, without giving up the processor.
pub fn delay_us(micros: u32) {
    let until = now() + u64::from(micros) * 1000;
    while now() < until {
        core::hint::spin_loop();
    }
}

fn scale(value: u64, factor: u64) -> u64 {
    ((u128::from(value) * u128::from(factor)) >> 32) as u64
}

/// The time-stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has it, and nothing forbids it in ring 0.
    unsafe { _rdtsc() }
}

/// What the processor (leaf 0x15) or a hypervisor (leaf 0x4000_0010, in kHz) says.
fn told() -> Option<Calibration> {
    if __cpuid(0).eax >= 0x15 {
        let leaf = __cpuid_count(0x15, 0);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            let hertz = u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax);
            return Some(Calibration {
                hertz,
                source: "cpuid",
            });
        }
    }
    if super::cpu::hypervisor() && __cpuid(0x4000_0000).eax >= 0x4000_0010 {
        let hertz = u64::from(__cpuid(0x4000_0010).eax) * 1000;
        return (hertz != 0).then_some(Calibration {
            hertz,
            source: "hypervisor",
        });
    }
    None
}

/// Compares windows of 1.5 ms until two neighbours agree to a part in 500. `None`: the counter
/// stands still, or they never agree.
fn measure(reference: &Reference<'_>, first: Sample) -> Option<Calibration> {
    // A sample takes several counts at least.
    if (0..100).all(|_| (reference.sample)().count == first.count) {
        return None;
    }
    let window = reference.hertz * 3 / 2000;
    let (mut from, mut before): (Sample, Option<(Sample, u64)>) = (first, None);
    for _ in 0..8 {
        let to = wait(reference, from.count, window)?;
        let rate = rate(reference, from, to)?;
        if let Some((earlier, other)) = before
            && rate.abs_diff(other) < rate / 500
        {
            let hertz = self::rate(reference, earlier, to)?;
            return Some(Calibration {
                hertz,
                source: reference.name,
            });
        }
        before = Some((from, rate));
        from = to;
    }
    None
}

fn elapsed(reference: &Reference<'_>, from: u64, to: u64) -> u64 {
    to.wrapping_sub(from) & ((1 << reference.bits) - 1)
}

/// Samples until `window` counts have gone by; `None` if the counter stands still.
fn wait(reference: &Reference<'_>, from: u64, window: u64) -> Option<Sample> {
    (0..20_000)
        .map(|_| (reference.sample)())
        .find(|sample| elapsed(reference, from, sample.count) >= window)
}

fn rate(reference: &Reference<'_>, from: Sample, to: Sample) -> Option<u64> {
    let ticks = u128::from(to.tsc.checked_sub(from.tsc)?);
    let counts = u128::from(elapsed(reference, from.count, to.count));
    let hertz = u64::try_from(ticks * u128::from(reference.hertz) / counts.max(1)).ok()?;
    (hertz != 0).then_some(hertz)
}
