/* SPDX-License-Identifier: MIT
 *
 * The arena's pattern, and its images; see arena.h.
 */
#include "frontend/conform/arena.h"

#include <string.h>

const struct arena_area arena_areas[ARENA_AREAS] = {
    {ARENA_CODE, ARENA_OFFSET_CODE, ARENA_CODE_SIZE},
    {ARENA_DATA, ARENA_OFFSET_DATA, ARENA_DATA_SIZE},
    {ARENA_RO, ARENA_OFFSET_RO, ARENA_RO_SIZE},
    {ARENA_STACK, ARENA_OFFSET_STACK, ARENA_STACK_SIZE},
};

const struct arena_area *arena_find(u32 address)
{
    for (unsigned i = 0; i < ARENA_AREAS; i++)
        if (address - arena_areas[i].address < arena_areas[i].size)
            return &arena_areas[i];
    return NULL;
}

u32 arena_address(u32 offset)
{
    unsigned i = ARENA_AREAS - 1;

    while (offset < arena_areas[i].offset)
        i--;
    return arena_areas[i].address + offset - arena_areas[i].offset;
}

u8 conform_arena_byte(u32 address)
{
    u32 x = address;

    if (address - ARENA_CODE < ARENA_CODE_SIZE)
        return ARENA_INT3;
    /* An integer hash (multiply and fold, constants of Murmur's finaliser). */
    x = (x ^ x >> 16) * 0x85ebca6b;
    x = (x ^ x >> 13) * 0xc2b2ae35;
    return (u8)(x ^ x >> 16);
}

void arena_fill(u8 *image)
{
    for (u32 offset = 0; offset < ARENA_IMAGE_SIZE; offset++)
        image[offset] = conform_arena_byte(arena_address(offset));
}

/* The part of [address, address + size) that lies in the area of its first byte. */
static u32 arena_clip(u32 address, u32 size, u32 *offset)
{
    const struct arena_area *area = arena_find(address);
    u32 room;

    if (!area)
        return 0;
    *offset = area->offset + address - area->address;
    room = area->address + area->size - address;
    return size < room ? size : room;
}

static void arena_put(u8 *image, u32 address, const u8 *bytes, u32 size)
{
    u32 offset = 0;

    size = arena_clip(address, size, &offset);
    memcpy(image + offset, bytes, size);
}

void arena_apply(u8 *image, const struct conform_case *c)
{
    arena_put(image, c->code_address, c->code, c->code_size);
    for (u32 i = 0; i < c->patch_count; i++)
        arena_put(image, c->patch[i].address, c->patch[i].bytes, c->patch[i].size);
}

static void arena_unput(u8 *image, const u8 *filled, u32 address, u32 size)
{
    u32 offset = 0;

    size = arena_clip(address, size, &offset);
    memcpy(image + offset, filled + offset, size);
}

void arena_undo(u8 *image, const u8 *filled, const struct conform_case *c)
{
    arena_unput(image, filled, c->code_address, c->code_size);
    for (u32 i = 0; i < c->patch_count; i++)
        arena_unput(image, filled, c->patch[i].address, c->patch[i].size);
}

u32 arena_changes(const u8 *before, const u8 *after, struct conform_line *lines)
{
    u32 count = 0;

    for (u32 offset = 0; offset < ARENA_IMAGE_SIZE; offset += ARENA_LINE) {
        if (!memcmp(before + offset, after + offset, ARENA_LINE))
            continue;
        if (count == OUTCOME_LINES_MAX)
            return OUTCOME_LINES_MAX + 1;
        lines[count].address = arena_address(offset);
        memcpy(lines[count].bytes, after + offset, ARENA_LINE);
        count++;
    }
    return count;
}

/* Puts the part of bytes (at address from) that lies in the line. */
static void line_put(u8 *line, u32 address, u32 from, const u8 *bytes, u32 size)
{
    u32 offset = 0;

    size = arena_clip(from, size, &offset);
    for (u32 i = 0; i < ARENA_LINE; i++)
        if (address + i - from < size)
            line[i] = bytes[address + i - from];
}

void arena_line(const struct conform_case *c, u32 address, u8 *bytes)
{
    for (u32 i = 0; i < ARENA_LINE; i++)
        bytes[i] = conform_arena_byte(address + i);
    line_put(bytes, address, c->code_address, c->code, c->code_size);
    for (u32 i = 0; i < c->patch_count; i++)
        line_put(bytes, address, c->patch[i].address, c->patch[i].bytes, c->patch[i].size);
}

void arena_line_after(const struct conform_case *c, const struct conform_outcome *o, u32 address,
                      u8 *bytes)
{
    for (u32 i = 0; i < o->line_count && i < OUTCOME_LINES_MAX; i++) {
        if (o->line[i].address == address) {
            memcpy(bytes, o->line[i].bytes, ARENA_LINE);
            return;
        }
    }
    arena_line(c, address, bytes);
}
