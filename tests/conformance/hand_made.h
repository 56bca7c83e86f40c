/* SPDX-License-Identifier: MIT
 *
 * Conformance cases written by hand: a clean state in any mode, and code.
 */
#pragma once

#include <string.h>

#include "cpu/regs.h"
#include "frontend/conform/case.h"

/* Code at the start of the arena's code pages, zero registers, RSP at the top of the stack. */
static inline void hand_made(struct conform_case *c, enum conform_mode mode, const u8 *code,
                             u32 size)
{
    static const u16 cs[] = {SEL_CS64, SEL_CS32, SEL_CODE16};
    const bool based = mode == MODE_16;

    memset(c, 0, sizeof(*c));
    c->mode = (u8)mode;
    c->code_address = ARENA_CODE;
    c->code_size = size;
    c->insn_length = (u8)size;
    memcpy(c->code, code, size);
    c->in.rip = based ? 0 : ARENA_CODE;
    c->in.gpr[RSP] = based ? 0x1f00 : ARENA_STACK + 0x1f00;
    c->in.rflags = F_1 | F_IF;
    for (unsigned n = 0; n < CONFORM_SEGMENTS; n++)
        c->in.selector[n] = based ? SEL_DATA16 : SEL_FLAT;
    c->in.selector[SEG_CS] = cs[mode];
    if (based)
        c->in.selector[SEG_SS] = SEL_STACK16;
    if (mode == MODE_64)
        c->in.selector[SEG_FS] = c->in.selector[SEG_GS] = 0;
    c->in.mxcsr = 0x1f80;
    c->in.x87[0] = 0x7f;
    c->in.x87[1] = 0x03;
}

#define HAND_MADE(c, mode, ...)                                                                    \
    hand_made(c, mode, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))
