; SPDX-License-Identifier: MIT
; Small guests for the tests of machine/ and of the command line, as one 64 KiB BIOS image.
;
; The byte at GUEST_SELECT (offset FFE0h of the file) chooses which one runs; tests patch it. The order
; of the table is that of enum guest in guests.h and of guest_image in tests/frontend/common.sh.
; Every guest starts at the reset vector in real mode, CS = DS = ES = F000h, SS:SP = 0:7C00h.
bits 16
org 0

%define DEBUG_EXIT 0xf4
%define PM_BASE 0x600

; LISTEN IRQ, HANDLER: both 8259s with this line (and the cascade) alone unmasked. Changes EAX.
%macro LISTEN 2
%if %1 < 8
%define SLOT (8 + %1)
%define MASK (0xffff & ~(1 << %1))
%else
%define SLOT (0x70 + %1 - 8)
%define MASK (0xffff & ~(1 << %1 | 1 << 2))
%endif
    mov word [ss:SLOT * 4], %2
    mov word [ss:SLOT * 4 + 2], 0xf000
    call pic_init
    mov al, MASK & 0xff
    out 0x21, al
    mov al, MASK >> 8
    out 0xa1, al
%endmacro

start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    mov es, ax
    xor ax, ax
    mov ss, ax
    mov sp, 0x7c00
    mov bl, [GUEST_SELECT]
    xor bh, bh
    add bx, bx
    jmp [bx + table]

table:
    dw guest_exit, guest_power_off, guest_triple_fault, guest_reset_cf9, guest_reset_92
    dw guest_reset_8042, guest_reset_triple, guest_halt, guest_screen, guest_echo, guest_work
    dw guest_spin, guest_sleep, guest_smp, guest_hello, guest_power_button, guest_a20
    dw guest_smp_reset, guest_fpu, guest_fault_loop, guest_mwait

; Ends with the code in AL.
quit:
    mov dx, DEBUG_EXIT
    out dx, al
.halt:
    cli
    hlt
    jmp .halt

guest_exit:
    mov al, 21
    jmp quit

; -- power management: function 3 of the south bridge at PM_BASE --

pm_enable:
    mov eax, 0x80000b40
    mov ebx, PM_BASE | 1
    call config_write
    mov eax, 0x80000b80
    mov ebx, 1
config_write:
    mov dx, 0xcf8
    out dx, eax
    mov dx, 0xcfc
    mov eax, ebx
    out dx, eax
    ret

guest_power_off:
    call pm_enable
    mov dx, PM_BASE + 4
    mov ax, 0x2000
    out dx, ax
    mov al, 1
    jmp quit

; Waits for the power button with the SCI as IRQ 9, then switches off. Sends '?' when ready.
guest_power_button:
    call pm_enable
    LISTEN 9, power_isr
    mov dx, PM_BASE + 2
    mov ax, 0x100
    out dx, ax
    mov dx, PM_BASE + 4
    mov ax, 1
    out dx, ax
    call serial_init
    mov al, '?'
    call send
    sti
.wait:
    hlt
    jmp .wait
power_isr:
    mov dx, PM_BASE
    in ax, dx
    test ax, 0x100
    mov al, 2
    jz quit
    mov dx, PM_BASE + 4
    mov ax, 0x2001
    out dx, ax
    jmp $

; -- resets: counts starts at 0:500h and ends with status 2 * 9 + 1 at the third one --

count_starts:
    cmp dword [ss:0x504], 0x4c6f636b
    je .counting
    mov dword [ss:0x504], 0x4c6f636b
    mov byte [ss:0x500], 0
.counting:
    inc byte [ss:0x500]
    cmp byte [ss:0x500], 3
    mov al, 9
    je quit
    ret

guest_reset_cf9:
    call count_starts
    mov dx, 0xcf9
    mov al, 2
    out dx, al
    mov al, 6
    out dx, al
    jmp $

guest_reset_92:
    call count_starts
    mov al, 0
    out 0x92, al
    mov al, 1
    out 0x92, al
    jmp $

guest_reset_8042:
    call count_starts
    mov al, 0xfe
    out 0x64, al
    jmp $

guest_reset_triple:
    call count_starts
guest_triple_fault:
    mov edx, 0x12345678
    o32 lidt [empty_idt]
    ud2
empty_idt:
    dw 0
    dd 0

guest_halt:
    cli
    hlt
    jmp guest_halt

; -- the text screen: a line of text at the top, a green one below, cursor behind it --

guest_screen:
    mov ax, 0xb800
    mov es, ax
    xor di, di
    mov si, message
    mov ah, 7
.next:
    lodsb
    or al, al
    jz .done
    stosw
    jmp .next
.done:
    mov di, 160
    mov ax, 0x02db
    mov cx, 3
    rep stosw
    jmp $
message:
    db 'Lockstep says hello', 0

; -- the serial port --

guest_hello:
    call serial_init
    mov si, message
.next:
    lodsb
    or al, al
    jz .end
    call send
    jmp .next
.end:
    call drain
    jmp guest_exit

; 8 bits; a reset leaves 5.
serial_init:
    mov dx, 0x3fb
    mov al, 3
    out dx, al
    ret

; Sends AL; keeps the registers.
send:
    push dx
    push ax
    mov dx, 0x3fd
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    pop ax
    mov dx, 0x3f8
    out dx, al
    pop dx
    ret

; Waits until everything has left the wire.
drain:
    mov dx, 0x3fd
.wait:
    in al, dx
    test al, 0x40
    jz .wait
    ret

; Sends 'R' and then every byte it receives, increased by one; ends with the code 5 at a '!'.
guest_echo:
    call serial_init
    mov al, 'R'
    call send
.poll:
    mov dx, 0x3fd
    in al, dx
    test al, 1
    jz .poll
    mov dx, 0x3f8
    in al, dx
    cmp al, '!'
    je .end
    inc al
    call send
    jmp .poll
.end:
    call drain
    mov al, 5
    jmp quit

; -- timers and interrupts --

; Both 8259s, and the local APIC out of the way: its LINT0 is INTR then (SDM 3A 10.4.3).
pic_init:
    pushad
    mov ecx, 0x1b
    rdmsr
    and ax, 0xf7ff
    wrmsr
    popad
    mov al, 0x11
    out 0x20, al
    out 0xa0, al
    mov al, 8
    out 0x21, al
    mov al, 0x70
    out 0xa1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xa1, al
    mov al, 1
    out 0x21, al
    out 0xa1, al
    ret

; IRQ 0 at CX counts of the 8254, counted at 0:600h.
timer_init:
    mov dword [ss:0x600], 0
    LISTEN 0, timer_isr
    mov al, 0x34
    out 0x43, al
    mov al, cl
    out 0x40, al
    mov al, ch
    out 0x40, al
    sti
    ret
timer_isr:
    push ax
    inc dword [ss:0x600]
    mov al, 0x20
    out 0x20, al
    pop ax
    iret

; Fills 10000h-1FFFFh with a generator's numbers, into which ticks, RDTSC and RDRAND are mixed, for 40
; ticks of the timer. The parameter at GUEST_PARAMETER is its seed. Ends with the code 7.
guest_work:
    mov cx, 1193
    call timer_init
    mov ax, 0x1000
    mov es, ax
    mov esi, [GUEST_PARAMETER]
    xor edi, edi
.next:
    imul esi, esi, 1664525
    add esi, 1013904223
    rdtsc
    xor esi, eax
    rdrand eax
    xor esi, eax
    mov eax, [ss:0x600]
    add esi, eax
    mov [es:di], esi
    add di, 4
    cmp eax, 40
    jb .next
    mov al, 7
    jmp quit

guest_spin:
    jmp $

; Sleeps through 20 ticks of 10 ms. Ends with the code 11.
guest_sleep:
    mov cx, 11932
    call timer_init
.next:
    hlt
    cmp dword [ss:0x600], 20
    jb .next
    mov al, 11
    jmp quit

; The A20 gates: the 8042's is closed for good, port 92's is opened and closed. Closed, the byte at 1 MiB is the one at 0. The code is 1, or 2 for an error.
guest_a20:
    mov al, 0xd1
    out 0x64, al
    mov al, 0xdd
    out 0x60, al
    mov ax, 0xffff
    mov es, ax
    mov byte [ss:0x520], 1
    mov al, 2
    out 0x92, al
    mov byte [es:0x530], 2
    cmp byte [ss:0x520], 1
    jne .bad
    mov al, 0
    out 0x92, al
    mov byte [es:0x530], 3
    cmp byte [ss:0x520], 3
    jne .bad
    mov al, 1
    jmp quit
.bad:
    mov al, 2
    jmp quit

; -- several processors, woken with INIT and SIPI in x2APIC mode --

; Each adds its APIC id + 1 to 0:700h and counts itself at 0:704h. The first one waits for the number
; of processors at GUEST_PARAMETER and ends with that sum.
guest_smp:
    mov ecx, 0x1b
    rdmsr
    or ax, 0xc00
    wrmsr
    mov ecx, 0x802
    rdmsr
    inc eax
    lock add [ss:0x700], eax
    lock inc dword [ss:0x704]
    mov ecx, 0x1b
    rdmsr
    test ax, 0x100
    jz .halt
    mov ecx, 0x830
    xor edx, edx
    mov eax, 0x000c4500
    wrmsr
    mov eax, 0x000c46f0
    wrmsr
    mov eax, [GUEST_PARAMETER]
.wait:
    cmp [ss:0x704], eax
    jb .wait
    mov al, [ss:0x700]
    jmp quit
.halt:
    cli
    hlt
    jmp .halt

; The second processor counts at 0:710h until a reset through port 92 stops it, too: the code is 1 if
; it stands still after that, 2 if not.
guest_smp_reset:
    mov ecx, 0x1b
    rdmsr
    or ax, 0xc00
    wrmsr
    test ax, 0x100
    jz .count
    cmp dword [ss:0x710], 0
    jne .again
    mov ecx, 0x830
    xor edx, edx
    mov eax, 0x000c4500
    wrmsr
    mov eax, 0x000c46f0
    wrmsr
.wait:
    cmp dword [ss:0x710], 1000
    jb .wait
    mov al, 1
    out 0x92, al
    jmp $
.again:
    mov ebx, [ss:0x710]
    mov ecx, 200000
.delay:
    dec ecx
    jnz .delay
    mov al, 1
    cmp ebx, [ss:0x710]
    je quit
    mov al, 2
    jmp quit
.count:
    lock inc dword [ss:0x710]
    jmp .count

; An x87 error with CR0.NE = 0 arrives as IRQ 13; a write to port F0h takes it away. The code is 3.
guest_fpu:
    LISTEN 13, fpu_isr
    fninit
    mov word [ss:0x730], 0x37b
    fldcw [ss:0x730]
    fld1
    fldz
    fdivp
    sti
    fwait
    mov al, 2
    jmp quit
fpu_isr:
    mov al, 0x0b
    out 0xa0, al
    in al, 0xa0
    cmp al, 0x20
    mov al, 4
    jne quit
    out 0xf0, al
    fnclex
    mov al, 0x0a
    out 0xa0, al
    in al, 0xa0
    test al, 0x20
    mov al, 3
    jz quit
    mov al, 5
    jmp quit

; #UD whose handler is #UD, with a stack that wraps in its 64 KiB: retires nothing any more.
guest_fault_loop:
    mov word [ss:6 * 4], .ud
    mov word [ss:6 * 4 + 2], 0xf000
    mov ax, 0x1000
    mov ss, ax
.ud:
    ud2

; Waits for ever for a store to a line that nobody writes, as often as MWAIT ends.
guest_mwait:
    xor ax, ax
    mov ds, ax
    xor ecx, ecx
    xor edx, edx
.wait:
    mov eax, 0x700
    monitor
    xor eax, eax
    mwait
    jmp .wait

    times 0xffe0 - ($ - $$) db 0
GUEST_SELECT: dd 0
GUEST_PARAMETER: dd 1
    times 0xfff0 - ($ - $$) db 0
    jmp 0xf000:start
    times 0x10000 - ($ - $$) db 0
