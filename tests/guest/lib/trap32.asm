; SPDX-License-Identifier: MIT
;
; Exception and interrupt entry for 32-bit images, and the way into and out of a context
; (context_run in guest.h). The layout pushed here is struct frame in guest.h.

bits 32
global trap_entries, frame_enter, frame_leave
extern trap_handle, monitor_sp

section .text
%include "entries.inc"

trap_common:
    pushad
    push ds
    push es
    push fs
    push gs
    mov eax, 0x10
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    cld
    mov eax, esp
    push eax
    call trap_handle
    add esp, 4
frame_restore:
    pop gs
    pop fs
    pop es
    pop ds
    popad
    add esp, 8
    iretd

; void frame_enter(struct frame *): leaves the monitor for the context in the frame.
frame_enter:
    mov eax, [esp + 4]
    pushad
    mov [monitor_sp], esp
    mov esp, eax
    jmp frame_restore

; void frame_leave(void): back to frame_enter's caller, from any stack.
frame_leave:
    mov eax, 0x10
    mov ss, ax
    mov esp, [monitor_sp]
    popad
    push dword 2
    popfd
    ret
