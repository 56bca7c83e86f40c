/* SPDX-License-Identifier: MIT
 *
 * Guest RAM between inaccessible pages: whatever runs off either end of it crashes at once.
 */
#pragma once

#include <sys/mman.h>

#include "mem/base/log.h"
#include "mem/ram.h"

#define GUARD_SIZE MIB(64)

/* Moves the mapping of ram, which nobody may have taken a pointer into yet. */
static inline void guard_ram(struct ram *ram)
{
    u8 *room = mmap(NULL, ram->size + 2 * GUARD_SIZE, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    u8 *hva = room + GUARD_SIZE;

    check(room != MAP_FAILED, "no room for guard pages");
    check(mmap(hva, ram->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram->fd, 0) == hva,
          "no guarded mapping of the RAM");
    munmap(ram->hva, ram->size);
    ram->hva = hva;
}
