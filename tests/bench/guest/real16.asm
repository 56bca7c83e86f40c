; SPDX-License-Identifier: MIT
;
; 64 KiB of firmware for tests/bench/real16: real-mode code that copies itself to RAM, works, and
; ends through the debug exit at port 0F4h.
;
; Without SEGMENTS: 3 million rounds of loads, stores, stack, a near call and strings.
; With SEGMENTS: 2 million rounds that load segment registers in every way but SS.
bits 16
org 0

start:
    xor ax, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000
    mov si, work
    mov di, 0x7c00
    mov cx, work_end - work
    cs rep movsb
    jmp 0:0x7c00

work:
    mov ax, 0x1000
    mov ds, ax
    mov ax, 0x2000
    mov es, ax
%ifdef SEGMENTS
    mov edx, 2000000
    mov word [ss:0x600], 0x1234
    mov word [ss:0x602], 0x1000
.round:
    mov ax, 0x1000
    mov ds, ax
    mov ax, 0x2000
    mov es, ax
    mov ax, [0]
    add [es:2], ax
    push ds
    push es
    pop ds
    pop es
    les bx, [ss:0x600]
    mov ax, [es:bx]
    dec edx
    jnz .round
%else
    mov edx, 3000
.outer:
    mov cx, 1000
    xor si, si
    mov di, 0x100
.round:
    lodsw
    add ax, [bx + si + 4]
    push ax
    call near mix
    pop bx
    and bx, 0xfff
    stosw
    and di, 0x3fff
    and si, 0x3fff
    loop .round
    dec edx
    jnz .outer
%endif
    mov al, 16
    mov dx, 0xf4
    out dx, al
    cli
    hlt

mix:
    push bp
    mov bp, sp
    mov ax, [bp + 4]
    rol ax, 3
    xor [es:di], ax
    pop bp
    ret
work_end:

    times 0xfff0 - ($ - $$) db 0
    jmp 0xf000:start
    times 0x10000 - ($ - $$) db 0
