//! Processor exceptions. None is expected, so each one ends the kernel with its frame on the
//! consoles. Called from `stubs.s`.

use core::fmt;

use x86_64::registers::control::Cr2;

use super::power::Exit;
use crate::panic;

/// What `exception_common` has pushed, from the stack pointer up.
#[repr(C)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Names by vector (SDM volume 3, table 6-1).
const NAMES: [&str; 32] = [
    "divide error",
    "debug",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack segment fault",
    "general protection fault",
    "page fault",
    "reserved",
    "x87 floating point",
    "alignment check",
    "machine check",
    "SIMD floating point",
    "virtualization",
    "control protection",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "hypervisor injection",
    "VMM communication",
    "security",
    "reserved",
];

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.get(self.vector as usize).unwrap_or(&"unknown");
        write!(
            f,
            "exception {}: {name}, error {:#x}",
            self.vector, self.error
        )?;
        if self.vector == 14 {
            write!(f, ", address {:#018x}", Cr2::read_raw())?;
        }
        let registers = [
            [
                ("rip", self.rip),
                ("rsp", self.rsp),
                ("rbp", self.rbp),
                ("flg", self.rflags),
            ],
            [
                ("rax", self.rax),
                ("rbx", self.rbx),
                ("rcx", self.rcx),
                ("rdx", self.rdx),
            ],
            [
                ("rsi", self.rsi),
                ("rdi", self.rdi),
                (" r8", self.r8),
                (" r9", self.r9),
            ],
            [
                ("r10", self.r10),
                ("r11", self.r11),
                ("r12", self.r12),
                ("r13", self.r13),
            ],
            [
                ("r14", self.r14),
                ("r15", self.r15),
                (" cs", self.cs),
                (" ss", self.ss),
            ],
        ];
        for row in registers {
            f.write_str("\n ")?;
            for (name, value) in row {
                write!(f, " {name} {value:016x}")?;
            }
        }
        Ok(())
    }
}

/// Called from `stubs.s` with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn exception_entry(frame: &Frame) -> ! {
    panic::die(Exit::Exception, format_args!("{frame}"), frame.rbp)
}
