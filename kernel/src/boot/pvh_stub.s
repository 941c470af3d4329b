// Direct boot (PVH): 32-bit protected mode, flat segments, paging off, EBX = start info.
// Turns on long mode with the smallest tables that reach the high half, then calls pvh_main.
// Runs at physical addresses; every symbol is linked high, hence the `- BASE`.
//
// Tables (boot/pvh_paging.rs replaces them): the first GiB three times, identity for the jump,
// at the direct map, and at BASE.

.set BASE, 0xFFFFFFFF80000000

.section .note.Xen, "a", @note
.balign 4
    .long 4             // name size
    .long 8             // descriptor size
    .long 18            // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start - BASE

.section .boot.text, "ax", @progbits
.code32
.global pvh_start
pvh_start:
    cli
    cld
    movl %ebx, %esi

    // A loader need not have cleared .bss.
    movl $(__bss_start - BASE), %edi
    movl $(__bss_end - BASE), %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    // 512 pages of 2 MiB: present, writable, large.
    movl $(boot_pd - BASE), %edi
    movl $0x83, %eax
2:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl $0x40000083, %eax
    jne 2b

    movl $(boot_pd - BASE + 3), boot_p3_low - BASE
    movl $(boot_pd - BASE + 3), boot_p3_high - BASE + 8 * 510
    movl $(boot_p3_low - BASE + 3), boot_p4 - BASE
    movl $(boot_p3_low - BASE + 3), boot_p4 - BASE + 8 * 256
    movl $(boot_p3_high - BASE + 3), boot_p4 - BASE + 8 * 511
    movl $(boot_p4 - BASE), %eax
    movl %eax, %cr3

    // CR4.PAE, CR4.PGE
    movl %cr4, %eax
    orl $0xA0, %eax
    movl %eax, %cr4

    // EFER.LME, and EFER.NXE where the processor has it.
    movl $0x80000001, %eax
    cpuid
    movl %edx, %edi
    movl $0xC0000080, %ecx
    rdmsr
    orl $0x100, %eax
    btl $20, %edi
    jnc 3f
    orl $0x800, %eax
3:  wrmsr

    // CR0.PG, CR0.WP; caches on (clear CD, NW).
    movl %cr0, %eax
    andl $0x9FFFFFFF, %eax
    orl $0x80010000, %eax
    movl %eax, %cr0

    lgdt boot_gdt_pointer - BASE
    ljmp $8, $(4f - BASE)

.code64
4:  movabsq $5f, %rax
    jmp *%rax
5:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movabsq $boot_stack_top, %rsp
    xorl %ebp, %ebp
    movl %esi, %edi
    call pvh_main
6:  hlt
    jmp 6b

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF    // 64-bit code
boot_gdt_pointer:
    .word 15
    .long boot_gdt - BASE

.section .bss.boot_tables, "aw", @nobits
.balign 4096
.global boot_p4, boot_p3_low, boot_p3_high, boot_pd, kernel_pd, kernel_pt
boot_p4:        .skip 4096
boot_p3_low:    .skip 4096
boot_p3_high:   .skip 4096
boot_pd:        .skip 4096
kernel_pd:      .skip 4096
kernel_pt:      .skip 4 * 4096

// The page below the stack stays unmapped.
.section .stack, "aw", @nobits
.balign 4096
.global boot_stack_guard, boot_stack_top
boot_stack_guard:
    .skip 4096
    .skip {stack_size}
boot_stack_top:

.text
