/* SPDX-License-Identifier: MIT
 *
 * What a processor changes in the guest's tables on its own: A and D of page-table entries, the
 * accessed bit of descriptors, the busy bit of a TSS. LOCKed as hardware does (SDM 3A 8.1.2.1). Two
 * sources: table_update.c, and for one test of the tests (LOCKSTEP_BREAK_LOCKS)
 * table_update_broken.c, which is not atomic.
 */
#pragma once

#include "mem/base/types.h"

/* Stores value in the entry of size 4 or 8 bytes, aligned to its size, if it has the value old
 * still; whether it had. */
bool table_update_exchange(void *entry, unsigned size, u64 old, u64 value);
/* (byte | set) & ~clear, of which one is 0. Returns the byte before. */
u8 table_update_bits(u8 *byte, u8 set, u8 clear);
