; SPDX-License-Identifier: MIT
;
; Start of application processors: copied to TEAM_TRAMPOLINE, entered there in real mode by a SIPI, on
; to 64-bit mode with the tables of the boot processor, then team_enter(number) in team.c.

TEAM_TRAMPOLINE equ 0x8000
STACK_SIZE equ 16384

global team_trampoline, team_trampoline_end, team_next, team_stacks
extern gdt_pointer, gdt, tables_pml4, idt_pointer, team_enter
%define HERE(label) (TEAM_TRAMPOLINE + (label) - team_trampoline)

section .text
bits 16
team_trampoline:
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [HERE(.table)]
    mov eax, cr0
    and eax, ~0x6000000c            ; CD, NW, EM and TS off
    or eax, 0x23                    ; PE, MP, NE
    mov cr0, eax
    jmp dword 0x08:HERE(.protected)
bits 32
.protected:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov eax, cr4
    or eax, 0x620                   ; PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, [HERE(.root)]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x101                   ; LME, SCE
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp 0x30:HERE(.long)
bits 64
.long:
    mov edi, 1
    mov eax, team_next
    lock xadd [rax], edi            ; the boot processor is 0
    mov eax, edi
    imul eax, eax, STACK_SIZE
    mov esp, team_stacks
    add rsp, rax
    mov eax, idt_pointer
    lidt [rax]
    mov eax, team_enter
    call rax
align 4
.root: dd tables_pml4
.table:
    dw 128 * 8 - 1
    dd gdt
team_trampoline_end:

section .data align=4
team_next: dd 1

section .bss align=4096
    resb STACK_SIZE                 ; of processor 1: team_stacks + STACK_SIZE is its top
team_stacks:
    resb 64 * STACK_SIZE
