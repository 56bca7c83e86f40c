/* SPDX-License-Identifier: MIT */
#include "mem/table_update.h"

bool table_update_exchange(void *entry, unsigned size, u64 old, u64 value)
{
    u32 old32 = (u32)old;

    if (size == 8)
        return __atomic_compare_exchange_n((u64 *)entry, &old, value, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    return __atomic_compare_exchange_n((u32 *)entry, &old32, (u32)value, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

u8 table_update_bits(u8 *byte, u8 set, u8 clear)
{
    return set ? __atomic_fetch_or(byte, set, __ATOMIC_SEQ_CST)
               : __atomic_fetch_and(byte, (u8)~clear, __ATOMIC_SEQ_CST);
}
