//! Segments and the task state segment with its interrupt stacks. Set up once, before the IDT.
//!
//! Faults that may come of a broken stack pointer get a stack of their own; ordinary interrupts
//! run on the stack they interrupt.

use core::cell::UnsafeCell;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment, SegmentSelector};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Interrupt stack table entries (from 0), for the IDT.
pub(super) const DOUBLE_FAULT: u16 = 0;
pub(super) const NMI: u16 = 1;
pub(super) const PAGE_FAULT: u16 = 2;
pub(super) const MACHINE_CHECK: u16 = 3;

const STACKS: usize = 4;
const STACK_SIZE: usize = 16 * 1024;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the processor writes it, by way of the TSS; Rust takes its address alone.
unsafe impl Sync for Stack {}

#[unsafe(link_section = ".stack")]
static STACK: [Stack; STACKS] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; STACKS];

static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<(GlobalDescriptorTable, [SegmentSelector; 3])> = Once::new();

pub(super) fn init() {
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        let mut tops = [VirtAddr::zero(); 7];
        for (top, stack) in tops.iter_mut().zip(&STACK) {
            *top = VirtAddr::from_ptr(stack) + STACK_SIZE as u64;
        }
        tss.interrupt_stack_table = tops;
        tss
    });
    let (gdt, [code, data, task]) = GDT.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        let task = gdt.append(Descriptor::tss_segment(tss));
        (gdt, [code, data, task])
    });
    gdt.load();
    // SAFETY: the selectors are of the table just loaded, flat ring 0 segments and a TSS whose
    // stacks exist for ever.
    unsafe {
        CS::set_reg(*code);
        SS::set_reg(*data);
        DS::set_reg(*data);
        ES::set_reg(*data);
        load_tss(*task);
    }
}
