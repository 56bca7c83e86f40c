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
