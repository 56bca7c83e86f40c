; SPDX-License-Identifier: MIT
;
; The assembled option ROMs as read-only data of the library (bios/option_rom.h).

        section .rodata align=16

        global  option_rom_linux_image, option_rom_linux_image_end
        global  option_rom_multiboot_image, option_rom_multiboot_image_end

option_rom_linux_image:
        incbin  "linuxboot.bin"
option_rom_linux_image_end:

option_rom_multiboot_image:
        incbin  "multiboot.bin"
option_rom_multiboot_image_end:

        section .note.GNU-stack noalloc noexec nowrite progbits
