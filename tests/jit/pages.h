/* SPDX-License-Identifier: MIT
 *
 * A pair of processors with 64 pages of 4 KiB, whose entries a test may change.
 */
#pragma once

#include "tests/jit/pair.h"

enum {
    LINEAR = 4 << 21, /* 64 pages of 4 KiB */
    TABLE = 0x60000,
    PHYSICAL = 0x80000,
    PAGES = 64,
    P = 1,
    W = 2,
    U = 4,
    A = 0x20,
    D = 0x40
};

/* The page of that number from LINEAR goes to one of that number from PHYSICAL. */
static inline void pages_map(struct pair *p, unsigned page, unsigned to, u64 bits)
{
    u8 entry[8];

    store_le(entry, (u64)(PHYSICAL + to * PAGE_SIZE) | bits, 8);
    pair_put(p, TABLE + page * 8, entry, 8);
}

/* All as in memory, writable and dirty, each word in them another; RDI: LINEAR. */
static inline void pages_start(struct pair *p, enum machine_mode mode)
{
    u8 entry[8], word[8];

    pair_start(p, mode);
    store_le(entry, TABLE | P | W | U, 8);
    pair_put(p, MACHINE_PML4 + 0x2000 + 4 * 8, entry, 8);
    for (unsigned n = 0; n < PAGES; n++)
        pages_map(p, n, n, P | W | U | A | D);
    for (unsigned n = 0; n < PAGES * PAGE_SIZE; n += 8) {
        store_le(word, 0x100000001ull * n, 8);
        pair_put(p, PHYSICAL + n, word, 8);
    }
    pair_set(p, RBX, 0x1122334455667788);
    pair_set(p, RDI, LINEAR);
}

/* -- what takes translations away -- */

static inline void pages_flush_page(struct pair *p, u64 gla)
{
    tlb_flush_page(&p->interp.v->tlb, 0, gla);
    tlb_flush_page(&p->jit.v->tlb, 0, gla);
}

static inline void pages_flush_all(struct pair *p, u64 gla)
{
    (void)gla;
    tlb_flush_all(&p->interp.v->tlb);
    tlb_flush_all(&p->jit.v->tlb);
}

static inline void pages_flush_space(struct pair *p, u64 gla)
{
    (void)gla;
    tlb_flush_non_global(&p->interp.v->tlb);
    tlb_flush_non_global(&p->jit.v->tlb);
}

static void (*const pages_flushes[])(struct pair *p, u64 gla) = {pages_flush_page, pages_flush_all,
                                                                 pages_flush_space};

/* From page to page by 1028 bytes, so that some accesses lie across the end of a page:
 * mov ecx, 220; again: mov eax, [rdi + 2]; add [rdi + 2], ecx; mov edx, [rdi + rcx]; lea r9, [rdi +
 * 16]; mov [r9], eax; xor edx, [r9 + 8]; add rdi, 404h; dec ecx; jnz again. */
#define PAGES_WALK                                                                                 \
    0xb9, 220, 0, 0, 0, 0x8b, 0x47, 2, 0x01, 0x4f, 2, 0x8b, 0x14, 0x0f, 0x4c, 0x8d, 0x4f, 16,      \
        0x41, 0x89, 0x01, 0x41, 0x33, 0x51, 8, 0x48, 0x81, 0xc7, 4, 4, 0, 0, 0xff, 0xc9, 0x75,     \
        0xe1
