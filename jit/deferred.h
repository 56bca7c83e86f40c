/* SPDX-License-Identifier: MIT
 *
 * Flags that nobody is likely to look at: a jump to code that sets all of them soon tells in JF how
 * they can be made from registers, and only who looks makes them.
 */
#pragma once

#include "jit/internal.h"

/* In the byte where SETO leaves 0 or 1. */
enum { JF_DEFERRED = 2 };

enum jf_op {
    JF_COMPARISON, /* of a with b */
    JF_AND,        /* of a and b */
    JF_SUM,        /* a is one of something and b */
    JF_DIFFERENCE, /* a is something less b */
};

/* What such a word says. */
struct jf_word {
    enum jf_op op;
    u8 size; /* bytes: 1, 2, 4, 8 */
    u8 a, b; /* guest registers, AH and the like with REG_HIGH; b: REG_NONE, then it is imm */
    i32 imm;
};

/* 0: it cannot be said. */
u32 jf_word(const struct jf_word *w);
