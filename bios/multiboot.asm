; SPDX-License-Identifier: MIT
;
; Boot entry for a multiboot 1 kernel: copies its low and high parts and the boot information from
; fw_cfg, completes the information with the BIOS's memory map, and enters the kernel in 32-bit
; protected mode (Multiboot Specification 0.6.96 section 3.2).

%include "option_rom.inc"

%define MMAP_ENTRIES    64              ; room that bios/multiboot.c leaves in the information
%define MMAP_ENTRY      24              ; a size word, then what INT 15h E820 gives
%define MMAP_SIZE       (MMAP_ENTRIES * MMAP_ENTRY)
%define SMAP            0x534d4150

%define INFO_MEM_LOWER  4
%define INFO_MEM_UPPER  8
%define INFO_MMAP_SIZE  44
%define INFO_MMAP_ADDR  48

%define CODE32          0x08
%define DATA32          0x10

boot:
        cld
        sti
        call    enable_a20
        call    memory_map              ; leaves the map on the stack, BP its end
        mov     si, items
        mov     di, items_end
        call    load_items
        jc      boot_failed
        mov     ax, FW_CFG_INITRD_ADDR
        call    fw_cfg_read_u32
        mov     edi, eax                ; EDI: boot information
        mov     ax, FW_CFG_KERNEL_ENTRY
        call    fw_cfg_read_u32
        mov     esi, eax                ; ESI: entry
        int     0x12
        movzx   ecx, ax                 ; ECX: KiB of conventional memory
        mov     bx, sp
        call    stack_linear
        mov     edx, eax                ; EDX: the map
        movzx   ebp, bp                 ; EBP: its size, once the start is taken off
        movzx   eax, sp
        sub     ebp, eax
        jmp     enter_protected

; INT 15h E820 (ACPI 6.3 section 15.1) into entries at SS:SP, growing upwards; SP is lowered by the
; room for all of them. BP: the end of the last entry.
memory_map:
        pop     si
        sub     sp, MMAP_SIZE
        mov     bp, sp
        push    ss
        pop     es
        xor     ebx, ebx
.next:  mov     dword [bp], 20
        lea     di, [bp + 4]
        mov     eax, 0xe820
        mov     edx, SMAP
        mov     ecx, 20
        push    si
        int     0x15
        pop     si
        jc      .done
        cmp     eax, SMAP
        jne     .done
        add     bp, MMAP_ENTRY
        mov     ax, bp
        sub     ax, sp
        cmp     ax, MMAP_SIZE
        jae     .done
        test    ebx, ebx
        jnz     .next
.done:  jmp     si

enter_protected:
        cli
        xor     eax, eax
        mov     ax, cs
        shl     eax, 4
        lea     ebx, [eax + gdt]
        push    ebx
        push    word gdt_end - gdt - 1
        mov     bx, sp
        o32 lgdt [ss:bx]
        lea     ebx, [eax + protected]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        push    dword CODE32
        push    ebx
        o32 retf

items:
        dw      FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA
        dw      FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA
        dw      FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA
items_end:

        align   8, db 0
gdt:                                    ; flat; accessed already, as ROM takes no write
        dq      0
        dq      0x00cf9b000000ffff
        dq      0x00cf93000000ffff
gdt_end:

product_name:
        db      "Multiboot kernel (-kernel)", 0

; ECX: KiB below 1 MiB, EDX: the map, EBP: its size, EDI: boot information, ESI: entry.
        bits    32
protected:
        mov     ax, DATA32
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     esp, edx
        push    esi
        push    edi
        mov     [edi + INFO_MEM_LOWER], ecx
        mov     [edi + INFO_MMAP_SIZE], ebp
        mov     esi, edx
        mov     ecx, ebp
        mov     ebx, edi
        mov     edi, [edi + INFO_MMAP_ADDR]
        rep movsb
        mov     esi, edx
        lea     edi, [edx + ebp]
        call    upper_memory
        mov     [ebx + INFO_MEM_UPPER], eax
        pop     ebx
        pop     edx
        mov     eax, 0x2badb002
        jmp     edx

; EAX: KiB of RAM from 1 MiB on, from the map at ESI that ends at EDI.
upper_memory:
        xor     eax, eax
.next:  cmp     esi, edi
        jae     .done
        cmp     dword [esi + 20], 1     ; RAM
        jne     .skip
        cmp     dword [esi + 8], 0      ; begins below 4 GiB
        jne     .skip
        mov     ecx, 0x100000
        sub     ecx, [esi + 4]
        jb      .skip                   ; begins above 1 MiB
        mov     eax, [esi + 12]
        mov     edx, [esi + 16]
        sub     eax, ecx
        sbb     edx, 0
        jb      .none                   ; ends below 1 MiB
        shrd    eax, edx, 10
        jmp     .done
.none:  xor     eax, eax
.skip:  add     esi, MMAP_ENTRY
        jmp     .next
.done:  ret

        align   512, db 0
rom_end:
