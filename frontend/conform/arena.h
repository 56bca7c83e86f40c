/* SPDX-License-Identifier: MIT
 *
 * The arena of case.h as one image in memory: the areas one behind the other, ascending. Both sides
 * fill such an image for a case, and list what a case changed.
 */
#pragma once

#include "frontend/conform/case.h"

enum {
    ARENA_OFFSET_CODE = 0,
    ARENA_OFFSET_DATA = ARENA_OFFSET_CODE + ARENA_CODE_SIZE,
    ARENA_OFFSET_RO = ARENA_OFFSET_DATA + ARENA_DATA_SIZE,
    ARENA_OFFSET_STACK = ARENA_OFFSET_RO + ARENA_RO_SIZE,
    ARENA_IMAGE_SIZE = ARENA_OFFSET_STACK + ARENA_STACK_SIZE,
    ARENA_LINE = 64,
    ARENA_INT3 = 0xcc,
};

struct arena_area {
    u32 address;
    u32 offset; /* in an image */
    u32 size;
};

enum { ARENA_AREAS = 4 };
extern const struct arena_area arena_areas[ARENA_AREAS];

/* The area of an address, or NULL. */
const struct arena_area *arena_find(u32 address);
/* Where an offset of an image lies. */
u32 arena_address(u32 offset);

/* The image before any case: INT3 in the code pages, conform_arena_byte() elsewhere. */
void arena_fill(u8 *image);
/* Puts the case's code and patches into an image; bytes beyond the end of their area are left out.
 */
void arena_apply(u8 *image, const struct conform_case *c);
/* Puts back what arena_apply() changed. filled: an image by arena_fill(). */
void arena_undo(u8 *image, const u8 *filled, const struct conform_case *c);
/* Lists the lines that differ, ascending, with their bytes of `after`, as struct conform_outcome
 * wants them. Returns the line count: at most OUTCOME_LINES_MAX are stored. */
u32 arena_changes(const u8 *before, const u8 *after, struct conform_line *lines);
/* The line of the arena at address (a multiple of ARENA_LINE) as the case starts with it. */
void arena_line(const struct conform_case *c, u32 address, u8 *bytes);
/* The same as an outcome of the case left it. */
void arena_line_after(const struct conform_case *c, const struct conform_outcome *o, u32 address,
                      u8 *bytes);
