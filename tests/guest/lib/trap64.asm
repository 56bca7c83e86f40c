; SPDX-License-Identifier: MIT
;
; Exception and interrupt entry for 64-bit images, and the way into and out of a context
; (context_run in guest.h). The layout pushed here is struct frame in guest.h.

bits 64
default abs
global trap_entries, frame_enter, frame_leave
extern trap_handle, monitor_sp

section .text
%include "entries.inc"

trap_common:
    push rax
    push rcx
    push rdx
    push rbx
    push 0                          ; keeps the order of the 32-bit PUSHAD
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov eax, ds
    push rax
    mov eax, es
    push rax
    mov eax, fs
    push rax
    mov eax, gs
    push rax
    cld
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    call trap_handle
    mov rsp, rbp
frame_restore:
    add rsp, 16                     ; FS and GS keep their bases
    pop rax
    mov es, eax
    pop rax
    mov ds, eax
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    add rsp, 8
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

; void frame_enter(struct frame *): leaves the monitor for the context in the frame.
frame_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [monitor_sp], rsp
    mov rsp, rdi
    jmp frame_restore

; void frame_leave(void): back to frame_enter's caller, from any stack.
frame_leave:
    mov eax, 0x10
    mov ss, ax
    mov ds, ax
    mov es, ax
    mov rsp, [monitor_sp]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    push 2
    popfq
    ret
