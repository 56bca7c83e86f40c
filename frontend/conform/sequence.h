/* SPDX-License-Identifier: MIT
 *
 * A sequence in the making: what sequence.c (structures, state), sequence_insn.c (single
 * instructions) and sequence_rows.c (which) share.
 */
#pragma once

#include "frontend/conform/generate_internal.h"

enum {
    COUNTER = RBP,
    POINTER = RBX,
    RESERVED = 1u << RSP | 1u << COUNTER | 1u << POINTER,
    ROOM = 160,    /* bytes kept free for what closes open structures */
    REACH = 1900,  /* displacements from the pointer, which is in the middle of the data pages */
    LOOPS_MAX = 2, /* nested */
    DEPTH_MAX = 4, /* of structures */
};

struct sequence {
    struct build *b;
    struct rng *r;
    u8 *code;
    unsigned at, left; /* bytes written, instructions to go */
    unsigned loops;    /* open */
    unsigned depth;    /* structures open */
};

static inline unsigned sequence_mode(const struct sequence *s)
{
    return s->b->form->mode;
}

static inline void sequence_put(struct sequence *s, unsigned byte)
{
    s->code[s->at++] = (u8)byte;
}

static inline void sequence_value(struct sequence *s, u64 value, unsigned size)
{
    memcpy(s->code + s->at, &value, size);
    s->at += size;
}

static inline bool sequence_room(const struct sequence *s)
{
    return s->at + ROOM < CASE_CODE_MAX && s->left;
}

/* The width of operands without prefix: 4, or 2 in 16-bit code. */
static inline unsigned sequence_word(const struct sequence *s)
{
    return sequence_mode(s) == MODE_16 ? 2 : 4;
}

/* REX.W for 64-bit pointers. */
static inline void sequence_wide(struct sequence *s)
{
    if (sequence_mode(s) == MODE_64)
        sequence_put(s, 0x48);
}

/* A register below 8 that may be written. */
static inline unsigned sequence_register(struct sequence *s)
{
    unsigned n;

    do
        n = rng_below(s->r, 8);
    while (RESERVED >> n & 1);
    return n;
}

static inline void sequence_move(struct sequence *s, unsigned reg, u64 value)
{
    sequence_put(s, 0xb8 | reg);
    sequence_value(s, value, sequence_word(s));
}

/* Address of an offset in the code, as an offset in CS. */
static inline u64 sequence_address(const struct sequence *s, unsigned at)
{
    return s->b->c->in.rip + at;
}

/* Encodes a random instruction that keeps the rules. false: try again. */
bool sequence_insn(struct sequence *s);
