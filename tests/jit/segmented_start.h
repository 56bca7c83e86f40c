/* SPDX-License-Identifier: MIT
 *
 * Random code with random segments: real mode (with limits of 64 KiB and others), virtual-8086
 * mode, 16-bit and 32-bit protected mode and compatibility mode, code segments at odd bases,
 * stacks of both widths, segments that expand down, that are read-only, null, or too small.
 */
#pragma once

#include "tests/jit/random_code16.h"

enum segmented_mode {
    SEGMENTED_REAL,
    SEGMENTED_V86,
    SEGMENTED_PROT16,
    SEGMENTED_PROT32,
    SEGMENTED_COMPAT16,
    SEGMENTED_COMPAT32,
    SEGMENTED_MODES
};

enum { SEGMENTED_CS = SEL_FREE + 0x28, SEGMENTED_SS = SEL_FREE + 0x30 };

struct segmented {
    enum segmented_mode mode;
    unsigned code; /* bytes: 2 or 4 */
    u32 at;        /* linear address of the code */
    u32 base;      /* of CS */
};

static inline struct segmented segmented_choose(u64 seed)
{
    u64 dice = seed * 3 + 1;
    struct segmented s = {.mode = (enum segmented_mode)(seed / 10 % SEGMENTED_MODES)};
    static const u32 bases[] = {0, MACHINE_CODE, MACHINE_CODE - 0x120, MACHINE_CODE - 0x1230};

    s.code = s.mode == SEGMENTED_PROT32 || s.mode == SEGMENTED_COMPAT32 ? 4 : 2;
    if (s.mode == SEGMENTED_REAL && random_next(&dice) % 8 == 0)
        s.code = 4; /* CS.D outlives CR0.PE */
    s.at = MACHINE_CODE + (random_next(&dice) % 2 ? 0xe00 : 0);
    s.base = bases[s.code == 4 ? random_next(&dice) % 4 : 1 + random_next(&dice) % 3];
    return s;
}

static inline void segmented_generate(struct random16 *g, u64 seed)
{
    struct segmented s = segmented_choose(seed);

    *g = (struct random16){.origin = s.at - s.base,
                           .loads = s.mode <= SEGMENTED_V86,
                           .selector = s.mode <= SEGMENTED_V86 ? (u16)(s.base >> 4) : SEGMENTED_CS};
    random16_generate(g, seed, s.code, 10 + seed % 60);
}

/* The code, and HLT behind it. */
static inline void segmented_put(struct machine *m, const struct random16 *g, u64 seed)
{
    struct segmented s = segmented_choose(seed);

    machine_put(m, s.at, g->c.bytes, g->c.at);
    machine_put(m, s.at + g->c.at, "\xf4", 1);
}

/* A data segment; usual: writable and large. */
static inline void segmented_data(struct machine *m, u16 selector, u64 *dice, bool stack)
{
    static const u32 odd[] = {ATTR_WRITE, ATTR_WRITE | ATTR_EXPAND_DOWN, 0, ATTR_CODE,
                              ATTR_CODE | ATTR_WRITE};
    static const u32 limits[] = {0xffff, 0xfffff, 0x7fff, 0x8000, 0x2001};
    bool usual = random_next(dice) % 4;
    u32 attr = usual ? ATTR_WRITE : odd[random_next(dice) % (stack ? 2 : ARRAY_SIZE(odd))];
    u32 limit = usual ? 0xffff : limits[random_next(dice) % ARRAY_SIZE(limits)];
    u32 base = (u32)(random_next(dice) % 0x60000);

    if (random_next(dice) % 8 == 0)
        base = RANDOM_ABSENT - 0x8000;
    if (random_next(dice) % 8 == 0)
        base = 0;
    if (random_next(dice) % 8 == 0)
        attr |= ATTR_G;
    if (random_next(dice) % 2)
        attr |= ATTR_DB;
    machine_descriptor(m, selector, base, limit, attr | ATTR_P | ATTR_S | ATTR_ACCESSED);
}

static inline void segmented_protected(struct machine *m, const struct segmented *s, u64 *dice)
{
    bool flat = random_next(dice) % 4 == 0, small = random_next(dice) % 8 == 0;
    u32 limit = small ? s->at - s->base + 300 : 0xfffff;
    u32 code = ATTR_P | ATTR_S | ATTR_CODE | ATTR_ACCESSED | (s->code == 4 ? ATTR_DB : 0);

    code |= random_next(dice) % 4 ? ATTR_WRITE : 0; /* readable */
    code |= !small && random_next(dice) % 2 ? ATTR_G : 0;
    machine_descriptor(m, SEGMENTED_CS, s->base, limit, code);
    machine_segment(m, SEG_CS, SEGMENTED_CS);
    for (unsigned n = 0; n < 4; n++)
        segmented_data(m, (u16)(SEL_FREE + 8 * n), dice, false);
    segmented_data(m, SEGMENTED_SS, dice, true);
    if (!flat)
        machine_segment(m, SEG_SS, SEGMENTED_SS);
    for (unsigned seg = 0; seg < SEG_COUNT; seg++)
        if (seg != SEG_CS && seg != SEG_SS && (!flat || seg >= SEG_FS))
            machine_segment(m, (enum seg)seg, (u16)(SEL_FREE + 8 * (random_next(dice) % 4)));
    if (random_next(dice) % 8 == 0)
        m->v->seg[SEG_ES] = (struct segment){.attr = ATTR_NULL};
}

static inline void segmented_real(struct machine *m, const struct segmented *s, u64 *dice)
{
    bool v86 = s->mode == SEGMENTED_V86;
    u32 attr = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | (v86 ? ATTR_DPL : 0);
    struct vcpu *v = m->v;

    for (unsigned seg = 0; seg < SEG_COUNT; seg++) {
        u16 selector = (u16)(random_next(dice) % 0x6000);

        if (seg == SEG_CS)
            selector = (u16)(s->base >> 4);
        v->seg[seg] = (struct segment){
            .selector = selector, .base = (u32)selector << 4, .limit = 0xffff, .attr = attr};
        if (!v86 && seg != SEG_CS && random_next(dice) % 6 == 0)
            v->seg[seg].limit = random_next(dice) % 2 ? ~0u : 0x7fff;
        if (!v86 && seg != SEG_CS && random_next(dice) % 12 == 0)
            v->seg[seg].attr |= ATTR_EXPAND_DOWN;
        if (!v86 && seg == SEG_DS && random_next(dice) % 8 == 0)
            v->seg[seg].base = RANDOM_ABSENT;
    }
    if (s->code == 4)
        v->seg[SEG_CS].attr |= ATTR_DB;
    if (!v86)
        return;
    v->cpl = 3;
    v->rflags |= F_VM | (random_next(dice) % 2 ? F_IOPL : 0);
    if (random_next(dice) % 4 == 0)
        v->cr4 |= CR4_VME;
}

static inline void segmented_registers(struct machine *m, u64 *dice)
{
    struct vcpu *v = m->v;
    u8 data[256];

    for (unsigned r = 0; r < 8; r++)
        v->gpr[r] = (u32)(random_next(dice) % 3 ? random_next(dice) & 0xffff : random_value(dice));
    v->gpr[RSP] = random_next(dice) % 8 ? 0x7ff0 : random_next(dice) % 16;
    v->rflags |= random_next(dice) & F_OSZAPC;
    v->fpu.mxcsr = 0x1f80;
    for (unsigned n = 0; n < sizeof(data); n += 8)
        store_le(data + n, random_value(dice), 8);
    for (u64 at = 0x38000; at < 0x80000; at += 0x1f00)
        machine_put(m, at, data, sizeof(data));
}

/* The processor at the start of the code, in a random state that the seed decides. */
static inline void segmented_start(struct machine *m, u64 seed)
{
    static const enum machine_mode modes[] = {
        [SEGMENTED_REAL] = MACHINE_REAL,       [SEGMENTED_V86] = MACHINE_PROT32,
        [SEGMENTED_PROT16] = MACHINE_PROT32,   [SEGMENTED_PROT32] = MACHINE_PROT32,
        [SEGMENTED_COMPAT16] = MACHINE_COMPAT, [SEGMENTED_COMPAT32] = MACHINE_COMPAT,
    };
    struct segmented s = segmented_choose(seed);
    u64 dice = seed, icount = m->v->icount;

    machine_start(m, modes[s.mode]);
    m->v->icount = icount;
    if (m->v->cr0 & CR0_PG)
        machine_put_uint(m, MACHINE_PML4 + 0x2000 + (RANDOM_ABSENT >> 21) * 8, 0, 8);
    segmented_registers(m, &dice);
    if (s.mode <= SEGMENTED_V86)
        segmented_real(m, &s, &dice);
    else
        segmented_protected(m, &s, &dice);
    m->v->rip = m->v->next_rip = s.at - s.base;
    vcpu_update_mode(m->v);
}
