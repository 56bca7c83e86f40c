/* SPDX-License-Identifier: MIT
 *
 * Every encoding class of x86 as byte strings: each opcode of each map with every ModRM byte under
 * every class of prefixes, in 16-, 32- and 64-bit code; and random strings.
 */
#pragma once

#include "mem/base/types.h"

enum { SPACE_BYTES = 32 /* handed out; the first 15 count */ };

/* false ends the enumeration. */
typedef bool space_visit(void *opaque, unsigned code_size, const u8 bytes[SPACE_BYTES]);

/* A unit of work: one opcode byte of one map in one mode. The VEX maps come with C4, then the first
 * of them with C5, then legacy prefixes before a VEX or EVEX prefix, and maps that do not exist. */
enum {
    SPACE_MODES = 3,
    SPACE_LEGACY_MAPS = 4,
    SPACE_VEX_MAPS = 3,
    SPACE_EVEX_MAPS = 3,
    SPACE_UNITS = (SPACE_LEGACY_MAPS + SPACE_VEX_MAPS + 2 + SPACE_EVEX_MAPS) * SPACE_MODES * 256,
};

/* Visits one unit. Only every stride-th encoding is visited, for a quick look; 1 is all of them. */
bool space_unit(unsigned unit, unsigned stride, space_visit *visit, void *opaque);
/* One random string: sometimes anything, mostly prefixes, a map and an opcode, then anything. */
void space_random(u64 *seed, unsigned *code_size, u8 bytes[SPACE_BYTES]);
