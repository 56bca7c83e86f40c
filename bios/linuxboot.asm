; SPDX-License-Identifier: MIT
;
; Boot entry for a Linux kernel: copies setup, command line, kernel and initrd from fw_cfg to where
; the loader (bios/linux_boot.c) wants them and enters the setup code in real mode
; (Documentation/arch/x86/boot.rst, "Running the kernel").

%include "option_rom.inc"

boot:
        cld
        sti
        call    enable_a20
        mov     si, items
        mov     di, items_end
        call    load_items
        jc      boot_failed
        mov     ax, FW_CFG_SETUP_ADDR
        call    fw_cfg_read_u32
        shr     eax, 4
        jz      boot_failed             ; there is no kernel
        cli
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     sp, [0x224]             ; heap_end_ptr is the heap's end less 512
        add     sp, 0x1f0
        add     ax, 0x20
        push    ax
        push    word 0
        xor     eax, eax
        xor     ebx, ebx
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        xor     edi, edi
        xor     ebp, ebp
        retf

items:
        dw      FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA
        dw      FW_CFG_CMDLINE_ADDR, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA
        dw      FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA
        dw      FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA
items_end:

product_name:
        db      "Linux kernel (-kernel)", 0

        align   512, db 0
rom_end:
