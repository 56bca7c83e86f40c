; SPDX-License-Identifier: MIT
;
; Start of an application processor in a 64-bit image: real mode at AP_CODE (smp.c copies it there),
; then the same tables as the boot processor. Each takes the next number and calls what ap_entry says
; with it, on a stack of its own.

%include "long_mode.inc"

global ap_code, ap_code_end, ap_index, ap_entry
extern gdt, tables_pml4

AP_STACK equ 16384
AP_STACKS equ 64

section .text
bits 16
ap_code:
    cli
    cld
    mov ax, cs
    mov ds, ax
    o32 lgdt [ap_gdt - ap_code]
    mov eax, cr0
    and eax, ~0x6000000c            ; CD, NW, EM and TS off
    or eax, 0x23                    ; PE, MP, NE
    mov cr0, eax
    jmp dword 0x08:ap_flat
ap_gdt:
    dw 128 * 8 - 1
    dd gdt
ap_code_end:

bits 32
ap_flat:
    FLAT_DATA
    LONG_MODE ap_long
bits 64
ap_long:
    mov edi, 1
    lock xadd [abs ap_index], edi
    lea esp, [edi + 1]
    imul esp, esp, AP_STACK
    add esp, ap_stacks
    call [abs ap_entry]

section .data align=8
ap_entry: dq 0
ap_index: dd 0

section .bss align=16
ap_stacks:
    resb AP_STACKS * AP_STACK
