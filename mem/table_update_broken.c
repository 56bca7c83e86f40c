/* SPDX-License-Identifier: MIT
 *
 * The mistake that tests/guest/tables.c must find: a read and a write, and what others store in
 * between is lost. Built with -DLOCKSTEP_BREAK_LOCKS=ON only. The two are some 0.1 us apart, like
 * in an emulator that calls its functions for memory twice: where the processors of the guest
 * seldom run at once, two neighbouring host instructions are met by chance only.
 */
#include "mem/table_update.h"

static void meanwhile(void)
{
    for (unsigned n = 0; n < 6; n++)
        __builtin_ia32_pause();
}

bool table_update_exchange(void *entry, unsigned size, u64 old, u64 value)
{
    (void)old;
    meanwhile();
    if (size == 8)
        *(volatile u64 *)entry = value;
    else
        *(volatile u32 *)entry = (u32)value;
    return true;
}

u8 table_update_bits(u8 *byte, u8 set, u8 clear)
{
    volatile u8 *at = byte;
    u8 old = *at;

    meanwhile();
    *at = (u8)((old | set) & ~clear);
    return old;
}
