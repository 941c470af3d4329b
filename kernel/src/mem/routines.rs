//! `memcpy`, `memmove` and `memset`, which the compiler calls by these names.
//!
//! Those that come with the compiler use string instructions for every length, up to three for one
//! call. An emulator runs those one element at a time, and processors take tens of cycles to start
//! one, which is more than a short copy takes; nearly all copies on a packet's way are short.
//! So here short blocks go through registers, and only long ones by `rep`, in aligned words.
//!
//! Nothing but general registers is used, so the routines work from the first instruction on, and
//! interrupts have nothing more to save. The bare-metal image exports them; on a host they are
//! ordinary functions, to be tested (`tests/routines.rs`).

use core::arch::naked_asm;

/// From so many bytes on, string instructions are worth their start.
const LONG: usize = 256;

/// Copies `len` bytes from `from` to `to`, and returns `to`.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of `len` bytes, and the two must not overlap.
#[unsafe(naked)]
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // Each size class loads what it stores from both ends, so that no byte is treated alone.
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "ja 5f",
        "cmp rdx, 8",
        "jae 4f",
        "cmp rdx, 4",
        "jae 3f",
        "test rdx, rdx",
        "je 2f",
        // 1 to 3: first, middle, last.
        "mov rcx, rdx",
        "shr rcx",
        "movzx r8d, byte ptr [rsi]",
        "movzx r9d, byte ptr [rsi + rcx]",
        "movzx r10d, byte ptr [rsi + rdx - 1]",
        "mov [rdi], r8b",
        "mov [rdi + rcx], r9b",
        "mov [rdi + rdx - 1], r10b",
        "2:",
        "ret",
        // 4 to 7.
        "3:",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
        // 8 to 16.
        "4:",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        "5:",
        "cmp rdx, 32",
        "ja 6f",
        // 17 to 32.
        "mov rcx, [rsi]",
        "mov r8, [rsi + 8]",
        "mov r9, [rsi + rdx - 16]",
        "mov r10, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + 8], r8",
        "mov [rdi + rdx - 16], r9",
        "mov [rdi + rdx - 8], r10",
        "ret",
        "6:",
        "cmp rdx, {long}",
        "jae 8f",
        // 33 and more: by 32, and the last 32 once more as a whole.
        "7:",
        "mov rcx, [rsi]",
        "mov r8, [rsi + 8]",
        "mov r9, [rsi + 16]",
        "mov r10, [rsi + 24]",
        "mov [rdi], rcx",
        "mov [rdi + 8], r8",
        "mov [rdi + 16], r9",
        "mov [rdi + 24], r10",
        "add rsi, 32",
        "add rdi, 32",
        "sub rdx, 32",
        "cmp rdx, 32",
        "ja 7b",
        "mov rcx, [rsi + rdx - 32]",
        "mov r8, [rsi + rdx - 24]",
        "mov r9, [rsi + rdx - 16]",
        "mov r10, [rsi + rdx - 8]",
        "mov [rdi + rdx - 32], rcx",
        "mov [rdi + rdx - 24], r8",
        "mov [rdi + rdx - 16], r9",
        "mov [rdi + rdx - 8], r10",
        "ret",
        // Long: first and last word, and between them whole words to aligned places.
        "8:",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "mov rcx, rdi",
        "neg rcx",
        "and ecx, 7",
        "add rdi, rcx",
        "add rsi, rcx",
        "sub rdx, rcx",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "ret",
        long = const LONG,
    )
}

/// Copies `len` bytes from `from` to `to`, which may overlap, and returns `to`.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of `len` bytes.
#[unsafe(naked)]
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdi",
        "sub rcx, rsi",
        "cmp rcx, rdx",
        "jb 4f", // the end of `from` is the beginning of `to`: from the end
        "neg rcx",
        "cmp rcx, rdx",
        "jae {memcpy}", // apart
        // From the beginning, by words and then by bytes.
        "2:",
        "sub rdx, 8",
        "jb 3f",
        "mov rcx, [rsi]",
        "mov [rdi], rcx",
        "add rsi, 8",
        "add rdi, 8",
        "jmp 2b",
        "3:",
        "add rdx, 8",
        "je 7f",
        "movzx ecx, byte ptr [rsi]",
        "mov [rdi], cl",
        "inc rsi",
        "inc rdi",
        "sub rdx, 9",
        "jmp 3b",
        // From the end, likewise.
        "4:",
        "sub rdx, 8",
        "jb 5f",
        "mov rcx, [rsi + rdx]",
        "mov [rdi + rdx], rcx",
        "jmp 4b",
        "5:",
        "add rdx, 8",
        "6:",
        "sub rdx, 1",
        "jb 7f",
        "movzx ecx, byte ptr [rsi + rdx]",
        "mov [rdi + rdx], cl",
        "jmp 6b",
        "7:",
        "ret",
        memcpy = sym memcpy,
    )
}

/// Sets `len` bytes at `to` to the low byte of `value`, and returns `to`.
///
/// # Safety
/// `to` must be valid for writes of `len` bytes.
#[unsafe(naked)]
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mov r8, rdi",
        "movzx eax, sil",
        "movabs rcx, 0x0101010101010101",
        "imul rax, rcx",
        "cmp rdx, 16",
        "ja 5f",
        "cmp rdx, 8",
        "jae 4f",
        "cmp rdx, 4",
        "jae 3f",
        "test rdx, rdx",
        "je 2f",
        // 1 to 3: first, middle, last.
        "mov [rdi], al",
        "mov [rdi + rdx - 1], al",
        "shr rdx",
        "mov [rdi + rdx], al",
        "2:",
        "mov rax, r8",
        "ret",
        // 4 to 7.
        "3:",
        "mov [rdi], eax",
        "mov [rdi + rdx - 4], eax",
        "mov rax, r8",
        "ret",
        // 8 to 16.
        "4:",
        "mov [rdi], rax",
        "mov [rdi + rdx - 8], rax",
        "mov rax, r8",
        "ret",
        "5:",
        "cmp rdx, {long}",
        "jae 8f",
        // 17 and more: by 16, and the last 16 once more as a whole.
        "6:",
        "mov [rdi], rax",
        "mov [rdi + 8], rax",
        "add rdi, 16",
        "sub rdx, 16",
        "cmp rdx, 16",
        "ja 6b",
        "mov [rdi + rdx - 16], rax",
        "mov [rdi + rdx - 8], rax",
        "mov rax, r8",
        "ret",
        // Long: first and last word, and between them whole words at aligned places.
        "8:",
        "mov [rdi], rax",
        "mov [rdi + rdx - 8], rax",
        "mov rcx, rdi",
        "neg rcx",
        "and ecx, 7",
        "add rdi, rcx",
        "sub rdx, rcx",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep stosq",
        "mov rax, r8",
        "ret",
        long = const LONG,
    )
}
