/* SPDX-License-Identifier: MIT
 *
 * -kernel, -initrd and -append: tells kinds of images apart and hands them over, either to firmware
 * (fw_cfg items, our option ROM and a boot order) or straight into guest memory with the processor
 * state in which the image expects to be entered.
 */
#pragma once

#include "bios/linux_boot.h"
#include "bios/multiboot.h"
#include "bios/platform.h"

struct boot_request {
    const char *kernel; /* file names; initrd and append may be NULL */
    const char *initrd;
    const char *append;
};

enum boot_kind { BOOT_LINUX, BOOT_MULTIBOOT };

struct boot_image {
    enum boot_kind kind;
    struct linux_image linux_image;   /* BOOT_LINUX */
    struct multiboot_image multiboot; /* BOOT_MULTIBOOT */
};

enum boot_mode {
    BOOT_RESET,  /* the processor's reset state: firmware runs first */
    BOOT_PROT32, /* protected mode, paging off, flat 4 GiB segments */
    BOOT_LONG64, /* 64-bit mode, PAE paging on, EFER.LME and LMA set */
};

/* The state of the boot processor before its first instruction. Interrupts are off, other general
 * registers are 0, A20 is on. The descriptors are in guest memory, too; code_access and data_access
 * are their high words as segment registers cache them. */
struct boot_state {
    enum boot_mode mode;
    u64 rip;
    u64 rsp;
    u64 rax;
    u64 rbx;
    u64 rsi;
    u64 cr3; /* BOOT_LONG64: identity map of the first 4 GiB */
    u64 gdt_base;
    u16 gdt_limit;
    u16 cs;        /* selectors; bases are 0, limits 4 GiB - 1 */
    u16 ds;        /* also es, ss, fs and gs */
    u16 cs_access; /* bits 8-23 of the descriptor's high half, as VMX keeps access rights */
    u16 ds_access;
};

/* Reads and places the files. Also ST_INVALID "is not a Linux kernel (bzImage) or multiboot image".
 */
MUST_USE enum status boot_image_load(struct boot_image *image, const struct boot_request *request,
                                     const struct ram_layout *layout, struct error *err);
void boot_image_fini(struct boot_image *image);

/* Adds the image's items, the option ROM that starts it, and the boot order. The bytes move into
 * the store. */
MUST_USE enum status boot_to_fw_cfg(struct boot_image *image, struct fw_cfg_store *store,
                                    struct error *err);

/* Writes the image and the platform's tables into guest memory, which must have no firmware, and
 * gives the state to enter it in. want_long selects Linux's 64-bit entry; a kernel without one, and
 * every multiboot kernel, is entered in 32-bit mode. */
MUST_USE enum status boot_direct(struct boot_image *image, struct platform *platform,
                                 struct physmap *map, bool want_long, struct boot_state *state,
                                 struct error *err);
