//! The interrupt descriptor table: every vector leads to its stub in `stubs.s`. Set up once.

use core::arch::global_asm;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};

use super::gdt;

global_asm!(include_str!("stubs.s"), options(att_syntax));

unsafe extern "C" {
    static exception_stubs: u8;
    static interrupt_stubs: u8;
}

const STUB_SIZE: u64 = 16;
const FIRST_INTERRUPT: u8 = 32;

static IDT: Once<InterruptDescriptorTable> = Once::new();

pub(super) fn init() {
    IDT.call_once(table).load();
}

fn table() -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    // SAFETY: each address is the stub of just this vector, which expects an error code if and
    // only if the vector has one; the stacks are those that `gdt` has set up.
    unsafe {
        exception(&mut idt.divide_error, 0);
        exception(&mut idt.debug, 1);
        exception(&mut idt.non_maskable_interrupt, 2);
        exception(&mut idt.breakpoint, 3);
        exception(&mut idt.overflow, 4);
        exception(&mut idt.bound_range_exceeded, 5);
        exception(&mut idt.invalid_opcode, 6);
        exception(&mut idt.device_not_available, 7);
        exception(&mut idt.double_fault, 8);
        exception(&mut idt.invalid_tss, 10);
        exception(&mut idt.segment_not_present, 11);
        exception(&mut idt.stack_segment_fault, 12);
        exception(&mut idt.general_protection_fault, 13);
        exception(&mut idt.page_fault, 14);
        exception(&mut idt.x87_floating_point, 16);
        exception(&mut idt.alignment_check, 17);
        exception(&mut idt.machine_check, 18);
        exception(&mut idt.simd_floating_point, 19);
        exception(&mut idt.virtualization, 20);
        exception(&mut idt.cp_protection_exception, 21);
        for vector in FIRST_INTERRUPT..=255 {
            let stub = u64::from(vector - FIRST_INTERRUPT) * STUB_SIZE;
            let address = VirtAddr::from_ptr(&raw const interrupt_stubs) + stub;
            idt[vector].set_handler_addr(address);
        }
    }
    idt
}

/// # Safety
/// `vector` must be the one that `entry` is for.
unsafe fn exception<F>(entry: &mut Entry<F>, vector: u8) {
    let address = VirtAddr::from_ptr(&raw const exception_stubs) + u64::from(vector) * STUB_SIZE;
    // SAFETY: our caller promises that the stub fits.
    let options = unsafe { entry.set_handler_addr(address) };
    let stack = match vector {
        2 => gdt::NMI,
        8 => gdt::DOUBLE_FAULT,
        14 => gdt::PAGE_FAULT,
        18 => gdt::MACHINE_CHECK,
        _ => return,
    };
    // SAFETY: a stack of the TSS, used by this vector alone.
    unsafe { options.set_stack_index(stack) };
}
