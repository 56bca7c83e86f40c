; SPDX-License-Identifier: MIT
;
; Start of an application processor in a 64-bit image: real mode at AP_CODE (smp.c copies it there),
; then the same tables as the boot processor, then ap_main(index) on a stack of its own.

global ap_code, ap_code_end
extern gdt, tables_pml4, ap_main, ap_index, ap_stacks

AP_STACK equ 16384

section .text
bits 16
ap_code:
    cli
    mov ax, cs
    mov ds, ax
    o32 lgdt [ap_gdt - ap_code]
    mov eax, cr0
    and eax, ~0x60000000            ; CD, NW off
    or eax, 0x23                    ; PE, MP, NE
    mov cr0, eax
    jmp dword 0x08:ap_flat
ap_gdt:
    dw 128 * 8 - 1
    dd gdt
ap_code_end:

bits 32
ap_flat:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov eax, cr4
    or eax, 0x620                   ; PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, tables_pml4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x101                   ; LME, SCE
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp 0x30:ap_long
bits 64
ap_long:
    mov edi, [abs ap_index]
    lea esp, [edi + 1]
    imul esp, esp, AP_STACK
    add esp, ap_stacks
    call ap_main
