; SPDX-License-Identifier: MIT
;
; Entry of every guest test. A multiboot 1 loader enters boot_start in 32-bit protected mode without
; paging (Multiboot 0.6.96, section 3.2). Images built with -DLONG go on to 64-bit mode with the first
; 4 GiB mapped one to one by 2 MiB pages; the others call guest_start in 32-bit mode, paging off.
; The descriptor table is the same in both; its selectors are in guest.h.

%include "long_mode.inc"

%ifdef LONG
%define WORD_DIRECTIVE dq
%else
%define WORD_DIRECTIVE dd
%endif

MAGIC equ 0x1badb002
FLAGS equ 0

section .multiboot progbits alloc exec nowrite align=4
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)

global boot_start, boot_info, gdt, gdt_pointer, tables_pml4
extern guest_start

section .text
bits 32
boot_start:
    cli
    cld
    mov esp, stack_top
    mov [boot_info], ebx
    lgdt [gdt_pointer]
    FLAT_DATA
    jmp 0x08:.flat
.flat:
    mov eax, cr0
    and eax, ~0x6000000c            ; CD, NW, EM and TS off
    or eax, 0x22                    ; MP, NE
    mov cr0, eax
%ifdef LONG
    call build_tables
    LONG_MODE .long
bits 64
.long:
    mov esp, stack_top
%endif
    call guest_start
.halt:
    hlt
    jmp .halt

%ifdef LONG
bits 32
; One PML4 entry, four directories of 512 2 MiB pages, all writable and open to user code.
build_tables:
    mov dword [tables_pml4], tables_pdpt + 7
    mov ecx, 4
    mov edi, tables_pdpt
    mov eax, tables_pd + 7
.directory:
    mov [edi], eax
    add eax, 4096
    add edi, 8
    loop .directory
    mov ecx, 2048
    mov edi, tables_pd
    mov eax, 0x87
.page:
    mov [edi], eax
    add eax, 0x200000
    add edi, 8
    loop .page
    ret
%endif

section .data align=16
boot_info: dd 0                     ; the multiboot information
align 16
gdt:
    dq 0
    dq 0x00cf9b000000ffff           ; 08 code, 32 bits, DPL 0
    dq 0x00cf93000000ffff           ; 10 data, DPL 0
    dq 0x00cffb000000ffff           ; 18 code, 32 bits, DPL 3
    dq 0x00cff3000000ffff           ; 20 data, DPL 3
    dq 0x00affb000000ffff           ; 28 code, 64 bits, DPL 3
    dq 0x00af9b000000ffff           ; 30 code, 64 bits, DPL 0
    dq 0x00cf93000000ffff           ; 38 data, DPL 0 (SYSCALL's SS)
    dq 0x00009b000000ffff           ; 40 code, 16 bits, DPL 0
    dq 0x000093000000ffff           ; 48 data, 16 bits, DPL 0
    dq 0x008ffb000000ffff           ; 50 code, 16 bits, 4 GiB, DPL 3
    dq 0x0000f3000000ffff           ; 58 data, 16 bits, DPL 3
    times 116 dq 0                  ; 60 TSS, 70 second TSS, 78 LDT, 88 on: free for tests
gdt_end:

gdt_pointer:
    dw gdt_end - gdt - 1
    WORD_DIRECTIVE gdt

section .bss align=4096
%ifdef LONG
alignb 4096
tables_pml4: resb 4096
tables_pdpt: resb 4096
tables_pd:   resb 4 * 4096
%else
tables_pml4: resb 4
%endif
alignb 16
    resb 32768
stack_top:
