/* SPDX-License-Identifier: MIT */
#include "bios/e820.h"

#include "mem/base/bits.h"
#include "mem/base/log.h"

struct ram_layout ram_layout_split(u64 size, u64 hole_base)
{
    u64 low = size < hole_base ? size : hole_base;

    return (struct ram_layout){.low_size = low, .high_size = size - low};
}

void e820_add(struct e820_map *map, u64 base, u64 size, enum e820_type type)
{
    if (!size)
        return;
    check(map->count < E820_ENTRIES_MAX, "more than %d memory map entries", E820_ENTRIES_MAX);
    if (map->count) {
        const struct e820_entry *last = &map->entries[map->count - 1];

        check(last->base + last->size <= base, "memory map entry out of order");
    }
    map->entries[map->count++] = (struct e820_entry){base, size, type};
}

void e820_for_firmware(struct e820_map *map, const struct ram_layout *layout)
{
    map->count = 0;
    e820_add(map, 0, layout->low_size, E820_RAM);
    e820_add(map, GIB(4), layout->high_size, E820_RAM);
}

void e820_for_kernel(struct e820_map *map, const struct ram_layout *layout)
{
    map->count = 0;
    if (layout->low_size <= MIB(1)) {
        u64 usable = layout->low_size < KIB(639) ? layout->low_size : KIB(639);

        e820_add(map, 0, usable, E820_RAM);
    } else {
        e820_add(map, 0, KIB(639), E820_RAM);
        e820_add(map, KIB(639), KIB(1), E820_RESERVED);
        e820_add(map, 0xe0000, KIB(128), E820_RESERVED);
        e820_add(map, MIB(1), layout->low_size - MIB(1), E820_RAM);
    }
    e820_add(map, GIB(4), layout->high_size, E820_RAM);
}

void e820_encode(const struct e820_map *map, u8 *out)
{
    for (unsigned i = 0; i < map->count; i++, out += E820_ENTRY_SIZE) {
        store_le(out, map->entries[i].base, 8);
        store_le(out + 8, map->entries[i].size, 8);
        store_le(out + 16, map->entries[i].type, 4);
    }
}
