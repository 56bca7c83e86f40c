; SPDX-License-Identifier: MIT
;
; The way into real mode and back for 32-bit images (real_run in guest.h). The piece between
; real_blob and real_blob_end is copied to REAL_BASE; all 256 entries of the interrupt vector table
; point into it, so that whatever ends the snippet arrives here with its registers intact.

bits 32
global real_enter, real_blob, real_blob_end, real_registers, real_stubs
extern monitor_sp, idt_pointer

REAL_BASE equ 0x9000
REAL_SEG equ REAL_BASE >> 4
%define LOW(label) ((label) - real_blob)

section .text
; void real_enter(u32 data_selector): the selector gives DS, ES, FS and GS their limits.
real_enter:
    mov eax, [esp + 4]
    pushad
    mov [monitor_sp], esp
    lidt [REAL_BASE + LOW(real_idt)]
    jmp 0x40:REAL_BASE + LOW(protected16)

real_back:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, [monitor_sp]
    lidt [idt_pointer]
    popad
    push dword 2
    popfd
    ret

section .data align=16
bits 16
align 16
real_blob:
protected16:
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ax, 0x48
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp REAL_SEG:LOW(real16)
real16:
    mov ax, REAL_SEG
    mov ds, ax
    mov ss, [LOW(registers.ss)]
    mov esp, [LOW(registers.esp)]
    push word [LOW(registers.eflags)]
    push word [LOW(registers.cs)]
    push word [LOW(registers.eip)]
    push word [LOW(registers.ds)]
    mov eax, [LOW(registers.eax)]
    mov ecx, [LOW(registers.ecx)]
    mov edx, [LOW(registers.edx)]
    mov ebx, [LOW(registers.ebx)]
    mov ebp, [LOW(registers.ebp)]
    mov esi, [LOW(registers.esi)]
    mov edi, [LOW(registers.edi)]
    mov es, [LOW(registers.es)]
    mov fs, [LOW(registers.fs)]
    mov gs, [LOW(registers.gs)]
    pop ds
    iret

real_common:
    push ds
    push cs
    pop ds
    pop word [LOW(registers.ds)]
    pop word [LOW(registers.stub)]
    pop word [LOW(registers.eip)]
    pop word [LOW(registers.cs)]
    pop word [LOW(registers.eflags)]
    mov [LOW(registers.eax)], eax
    mov [LOW(registers.ecx)], ecx
    mov [LOW(registers.edx)], edx
    mov [LOW(registers.ebx)], ebx
    mov [LOW(registers.esp)], esp
    mov [LOW(registers.ebp)], ebp
    mov [LOW(registers.esi)], esi
    mov [LOW(registers.edi)], edi
    mov [LOW(registers.ss)], ss
    mov [LOW(registers.es)], es
    mov [LOW(registers.fs)], fs
    mov [LOW(registers.gs)], gs
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 0x08:real_back

align 4
real_idt:
    dw 0x3ff
    dd 0

align 4
real_registers equ REAL_BASE + LOW($)
registers:
.eax:    dd 0
.ecx:    dd 0
.edx:    dd 0
.ebx:    dd 0
.esp:    dd 0
.ebp:    dd 0
.esi:    dd 0
.edi:    dd 0
.eip:    dd 0
.eflags: dd 0
.cs:     dd 0
.ss:     dd 0
.ds:     dd 0
.es:     dd 0
.fs:     dd 0
.gs:     dd 0
.stub:   dd 0

real_stubs equ LOW($)
%rep 256
    call near real_common
%endrep
real_blob_end:
