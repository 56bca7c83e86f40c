/* SPDX-License-Identifier: MIT
 *
 * Copies from and to guest memory that other threads use at the same time. The host's memcpy()
 * promises no sizes and may store some bytes twice, which would undo what another vCPU stored in
 * between. These touch each byte once, and each naturally aligned piece of it by one access.
 */
#pragma once

#include "mem/base/bits.h"

static inline bool is_access_size(u64 size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

/* The largest naturally aligned piece at address, up to 8 bytes and no more than size. */
static inline unsigned natural_piece(u64 address, u64 size)
{
    unsigned n = 8;

    while (n > size || address % n)
        n >>= 1;
    return n;
}

/* By pieces that are aligned at `guest`, which is to or from. */
static ALWAYS_INLINE void copy_pieces(u8 *to, const u8 *from, const u8 *guest, u64 size)
{
    while (size) {
        u64 n = is_access_size(size) ? size : natural_piece((u64)guest, size);

        if (size >= 16 && !((u64)guest & 15)) {
            n = 16;
            memcpy(to, from, 16);
        } else {
            store_le(to, load_le(from, (unsigned)n), (unsigned)n);
        }
        to += n;
        from += n;
        guest += n;
        size -= n;
    }
}

/* From guest memory; 1, 2, 4 and 8 bytes are one access at any alignment, aligned 16 bytes are as
 * one as the host makes them (SDM 3A 8.1.1). */
static inline void copy_from_guest(u8 *to, const u8 *from, u64 size)
{
    copy_pieces(to, from, from, size);
}

/* To guest memory, likewise. */
static inline void copy_to_guest(u8 *to, const u8 *from, u64 size)
{
    copy_pieces(to, from, to, size);
}
