/* SPDX-License-Identifier: MIT
 *
 * The RAM that an engine of the conformance test starts with: page tables that show user code the
 * arena and nothing else, and the descriptor tables of a Linux kernel behind which every vector
 * halts.
 *
 * The first 64 KiB are the supervisor's, mapped at IMAGE_KERNEL; the image of the arena follows.
 */
#pragma once

#include "cpu/feature.h"
#include "frontend/conform/arena.h"

#define IMAGE_KERNEL 0xffffa50000000000ull

enum {
    IMAGE_PML4 = 0x1000, /* and the other page tables behind it */
    IMAGE_GDT = 0xa000,
    IMAGE_LDT = 0xb000,
    IMAGE_IDT = 0xc000,
    IMAGE_TSS = 0xd000,
    IMAGE_STUBS = 0xe000,   /* 16 bytes for each vector: HLT */
    IMAGE_STACK = 0xfff0,   /* RSP0 */
    IMAGE_SYSCALL = 0xf000, /* HLT, where SYSCALL leads */
    IMAGE_ARENA = 0x10000,
    IMAGE_SIZE = 1 << 20,

    IMAGE_GDT_LIMIT = 16 * 8 - 1,
    IMAGE_LDT_LIMIT = 9 * 8 - 1,
    IMAGE_IDT_LIMIT = 256 * 16 - 1,
    IMAGE_TSS_LIMIT = 0x67,

    SEL_KERNEL_CS = 0x10, /* numbers of Linux */
    SEL_KERNEL_SS = 0x18,
    SEL_TSS = 0x40,
    SEL_LDT = 0x50,
};

/* Fills IMAGE_SIZE bytes of zeroes. The arena holds its pattern. */
void image_build(u8 *ram);
/* The 8-byte descriptor of a selector in GDT or LDT, 0 if there is none. */
u64 image_descriptor(u16 selector);

/* CR4 as Linux on this host has it, as far as a processor with these features can and user code
 * notices. */
u64 image_cr4(const struct feature_set *features);
/* XCR0 of this host. */
u64 image_host_xcr0(void);
