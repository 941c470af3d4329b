//! The image: brings the machine up, then serves. On a host it only says how to boot it.
//!
//! Read `kernel_main` as the story; each step is a module of this binary, and everything from
//! the NIC's contract upwards is the library half of this package.
#![cfg_attr(target_os = "none", no_std, no_main)]
// Nothing is outside a binary: `pub` says "for the rest of the image" as opposed to `pub(super)`.
#![allow(unreachable_pub)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod boot;
#[cfg(all(target_os = "none", feature = "budgets"))]
mod budgets;
#[cfg(target_os = "none")]
mod check;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod logger;
#[cfg(target_os = "none")]
mod mem;
#[cfg(target_os = "none")]
mod nic;
#[cfg(target_os = "none")]
mod panic;
#[cfg(all(target_os = "none", feature = "reflector"))]
mod reflect;
#[cfg(all(target_os = "none", not(feature = "reflector")))]
mod serve;
#[cfg(target_os = "none")]
mod turns;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is a bare-metal image; boot it with ./run-qemu.sh");
}

/// The story, in boot order. Every way in ends here.
#[cfg(target_os = "none")]
fn kernel_main(info: &'static mut bootloader_api::BootInfo) -> ! {
    let screen = info.framebuffer.take();
    let info = &*info;
    start_log_and_memory(info, screen);
    #[cfg(feature = "budgets")]
    budgets::run_if_asked(boot::command_line(info));
    let config = configure(boot::command_line(info));
    let machine = start_interrupts(info.rsdp_addr.into_option());
    mend_clock(&machine);
    if config.self_test {
        check::run(&config, &machine);
    }
    match nic::bring_up(&config, &machine) {
        #[cfg(not(feature = "reflector"))]
        Ok(nic) => serve::forever(&config, nic),
        #[cfg(feature = "reflector")]
        Ok(nic) => reflect::forever(&config, nic),
        Err(why) => {
            log::error!("millrace: {why}");
            arch::power::stop(why.exit())
        }
    }
}

/// Log, memory, clock; and the screen, whose text is kept in memory.
#[cfg(target_os = "none")]
fn start_log_and_memory(
    info: &'static bootloader_api::BootInfo,
    screen: Option<bootloader_api::info::FrameBuffer>,
) {
    arch::time::start();
    arch::init();
    console::serial();
    // SAFETY: once, with the memory map as it was handed over.
    let memory = unsafe { mem::init(info) };
    if let (Ok(()), Some(screen)) = (&memory, screen) {
        console::screen(screen);
    }
    let clock = arch::time::calibrate();
    logger::init(log::LevelFilter::Info);
    log::info!(
        "Millrace {}: packets from ring to service, in place",
        env!("CARGO_PKG_VERSION")
    );
    if memory.is_err() {
        log::error!("memory: the boot loader's map names none that is usable");
        arch::power::stop(arch::power::Exit::BadMachine);
    }
    let (total, khz) = (mem::stats().total_kb, clock.hertz / 1000);
    log::info!("{total} KiB of memory, clock {khz} kHz ({})", clock.source);
}

/// The command line. Nothing runs on a wrong one.
#[cfg(target_os = "none")]
fn configure(line: &[u8]) -> kernel::config::Config {
    log::info!("command line: {}", line.escape_ascii());
    match kernel::config::Config::parse(line) {
        Ok(config) => {
            logger::init(config.log);
            arch::power::on_failure(config.on_failure);
            config
        }
        Err(why) => {
            log::error!("millrace: {why}");
            arch::power::stop(arch::power::Exit::BadConfig)
        }
    }
}

/// Interrupt controllers and power switches. Returns what firmware says about the machine.
#[cfg(target_os = "none")]
fn start_interrupts(root_pointer: Option<u64>) -> arch::acpi::Machine {
    let machine = match root_pointer.map(arch::acpi::discover) {
        Some(Ok(machine)) => machine,
        Some(Err(why)) => {
            log::warn!("{why}; carrying on without");
            arch::acpi::Machine::default()
        }
        None => arch::acpi::Machine::default(),
    };
    arch::power::init(&machine);
    if let Err(why) = arch::apic::init() {
        log::error!("interrupts: {why}");
        arch::power::stop(arch::power::Exit::BadMachine);
    }
    arch::ioapic::init(&machine);
    machine
}

/// A machine without an 8254 has its clock measured by ACPI's timer, known only now.
#[cfg(target_os = "none")]
fn mend_clock(machine: &arch::acpi::Machine) {
    if arch::time::is_guess() {
        match machine
            .fadt
            .pm_timer
            .and_then(arch::time::calibrate_by_pm_timer)
        {
            Some(clock) => log::info!("clock {} kHz ({})", clock.hertz / 1000, clock.source),
            None => log::warn!("nothing to measure the clock by; times are guesses"),
        }
    }
}
