// Entries of the IDT, 16 bytes apart so that `idt` finds them by arithmetic.
//
// Exceptions end the kernel, so their path saves everything to be shown and never returns.
// Interrupts save what a call may clobber; the target has no SSE state to save.

.section .text.stubs, "ax", @progbits

.macro exception vector, has_code
    .balign 16
    .if \has_code == 0
    pushq $0
    .endif
    pushq $\vector
    jmp exception_common
.endm

.balign 16
.global exception_stubs
exception_stubs:
.set vector, 0
.rept 32
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    exception vector, 1
    .else
    exception vector, 0
    .endif
    .set vector, vector + 1
.endr

.balign 16
.global interrupt_stubs
interrupt_stubs:
.set vector, 32
.rept 224
    .balign 16
    pushq $vector
    jmp interrupt_common
    .set vector, vector + 1
.endr

exception_common:
    cld
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    andq $-16, %rsp
    call exception_entry

interrupt_common:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    // The processor aligned the stack and has pushed five words, the stub one, this nine.
    movq 72(%rsp), %rdi
    subq $8, %rsp
    call interrupt_entry
    addq $8, %rsp
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    addq $8, %rsp
    iretq

.text
