/* SPDX-License-Identifier: MIT
 *
 * Segments outside 64-bit mode. The base and limit of CS are constants of a block, which knows them
 * by a number in its mode. Those of the others are looked at when an access is made, in a form that
 * translated code can compare with.
 */
#include <string.h>

#include "jit/internal.h"

/* -- code segments -- */

void jit_forget_code_segments(struct jit *j)
{
    memset(j->code_segment_hash, 0, sizeof(j->code_segment_hash));
    j->code_segment[0] = (struct code_segment){.base = 0, .limit = ~0u};
    j->code_segment_count = 1;
    j->code_segment_last = 0;
}

static bool is_segment(const struct code_segment *known, const struct segment *s)
{
    return known->base == (u32)s->base && known->limit == s->limit;
}

/* Its number, or CODE_SEGMENTS: none is left. */
static u32 code_segment_number(struct jit *j, const struct segment *s)
{
    u32 slot = (((u32)s->base >> 4 ^ s->limit) * 0x9e3779b1u) >> 8;

    if (likely(is_segment(&j->code_segment[j->code_segment_last], s)))
        return j->code_segment_last;
    if (is_segment(&j->code_segment[0], s))
        return j->code_segment_last = 0;
    for (;; slot++) {
        u16 *number = &j->code_segment_hash[slot % ARRAY_SIZE(j->code_segment_hash)];

        if (!*number) {
            if (j->code_segment_count == CODE_SEGMENTS)
                return CODE_SEGMENTS;
            *number = (u16)j->code_segment_count++;
            j->code_segment[*number] = (struct code_segment){(u32)s->base, s->limit};
        }
        if (is_segment(&j->code_segment[*number], s))
            return j->code_segment_last = *number;
    }
}

/* -- modes -- */

static bool flat_data(const struct segment *s)
{
    const u32 care = ATTR_CODE | ATTR_WRITE | ATTR_EXPAND_DOWN | ATTR_S | ATTR_P | ATTR_NULL;

    return !s->base && s->limit == ~0u && (s->attr & care) == (ATTR_WRITE | ATTR_S | ATTR_P);
}

static bool expands_down(const struct segment *s)
{
    return (s->attr & (ATTR_CODE | ATTR_EXPAND_DOWN)) == ATTR_EXPAND_DOWN;
}

u32 jit_segment_mode(struct jit *j, const struct vcpu *v)
{
    /* In real mode code that goes on may load segments (lower/segment.c). */
    bool flat = vcpu_protected(v) && flat_data(&v->seg[SEG_SS]) && flat_data(&v->seg[SEG_DS]) &&
                flat_data(&v->seg[SEG_ES]);
    u32 number = code_segment_number(j, &v->seg[SEG_CS]), mode = 0;

    if (number == CODE_SEGMENTS)
        return MODE_NONE;
    if (vcpu_protected(v))
        mode |= MODE_PROTECTED;
    if (v->code_size == 2)
        mode |= MODE_CODE16;
    if (v->stack_size == 2)
        mode |= MODE_STACK16;
    if (!flat)
        mode |= MODE_SEGMENTED;
    for (unsigned seg = 0; seg < SEG_COUNT && !flat; seg++)
        if (expands_down(&v->seg[seg]))
            mode |= MODE_EXPAND_DOWN;
    mode |= number << MODE_CODE_SHIFT;
    if (mode != MODE_PROTECTED && !(j->options.optimisations & JIT_SEGMENTS))
        return MODE_NONE;
    return mode;
}

/* -- bounds -- */

/* Type and rights as cpu/access.c looks at them: real and V86 mode use what is loaded for anything.
 */
static bool permits(const struct vcpu *v, const struct segment *s, bool write)
{
    bool code = s->attr & ATTR_CODE;

    if (!vcpu_protected(v))
        return true;
    if (s->attr & ATTR_NULL)
        return false;
    return write ? !code && (s->attr & ATTR_WRITE) : !code || (s->attr & ATTR_WRITE);
}

/* The end of what may be accessed: 0 for a segment that only the interpreter should judge. */
static u64 bound_of(const struct vcpu *v, const struct segment *s, bool write, bool down)
{
    if (!permits(v, s, write))
        return 0;
    if (!expands_down(s))
        return s->limit + 1ull;
    return !down ? 0 : s->attr & ATTR_DB ? BIT(32) : BIT(16);
}

void jit_update_bounds(struct vcpu *v, u32 mode)
{
    const u32 flat = BIT(SEG_DS) | BIT(SEG_ES) | BIT(SEG_SS);
    bool down = mode & MODE_EXPAND_DOWN;

    for (unsigned n = 0; n < SEG_COUNT; n++) {
        const struct segment *s = &v->seg[n];

        if ((BIT(n) & flat) && !(mode & MODE_SEGMENTED))
            continue;
        for (unsigned write = 0; write < 2; write++)
            v->jit.bound[n][write] = bound_of(v, s, write, down);
        v->jit.low[n] = expands_down(s) ? s->limit + 1ull : 0;
    }
}
