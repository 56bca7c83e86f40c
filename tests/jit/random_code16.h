/* SPDX-License-Identifier: MIT
 *
 * Random code for segments that are not flat: 16-bit and 32-bit code with operands and addresses of
 * either size (66h, 67h), all address forms, segment overrides, stacks, loads of segment registers,
 * near and far branches. It may run anywhere, overwrite itself, fault or not end; whoever runs it
 * sets a limit.
 */
#pragma once

#include "tests/jit/random_code.h"

struct random16 {
    struct random_code c; /* wide is not used */
    unsigned code;        /* 2 or 4 bytes */
    unsigned osz, asz;    /* of the instruction being made */
    u16 selector;         /* of CS, for far branches */
    u32 origin;           /* RIP of the first byte */
    bool loads;           /* segment registers may get any value: real and V86 mode */
};

/* Prefixes of one instruction. */
static inline void random16_prefixes(struct random16 *g, bool memory)
{
    static const u8 overrides[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    struct random_code *c = &g->c;
    bool o = random_below(c, 4) == 0, a = memory && random_below(c, 4) == 0;

    g->osz = o ? 6 - g->code : g->code;
    g->asz = a ? 6 - g->code : g->code;
    if (memory && random_below(c, 5) == 0)
        random_put(c, overrides[random_below(c, ARRAY_SIZE(overrides))]);
    if (o)
        random_put(c, 0x66);
    if (a)
        random_put(c, 0x67);
}

/* Offsets that reach RAM, and the wrap at 64 KiB. */
static inline void random16_memory(struct random16 *g, unsigned reg)
{
    struct random_code *c = &g->c;
    unsigned mod = random_below(c, 3), rm = random_below(c, 8);

    if (g->asz == 4 && rm == 4)
        rm = 3;
    if (mod == 0 && rm == (g->asz == 2 ? 6u : 5u)) { /* no register */
        random_put(c, reg << 3 | rm);
        random_imm(c, random_below(c, 8) ? random_below(c, 0x10000) : 0xfffc + random_below(c, 4),
                   g->asz);
        return;
    }
    random_put(c, mod << 6 | reg << 3 | rm);
    if (mod == 1)
        random_put(c, random_below(c, 256));
    if (mod == 2)
        random_imm(c, g->asz == 2 ? random_next(&c->seed) : random_below(c, 0x2000), g->asz);
}

/* ModRM with a register or memory; memory: 1 always, 0 never, else as it comes. */
static inline void random16_modrm(struct random16 *g, u32 opcode, int ext, int memory)
{
    struct random_code *c = &g->c;
    bool m = memory < 0 ? random_below(c, 2) != 0 : memory != 0;
    unsigned reg = ext >= 0 ? (unsigned)ext : random_below(c, 8);

    random16_prefixes(g, m);
    random_opcode(c, opcode);
    if (m)
        random16_memory(g, reg);
    else
        random_put(c, 0xc0 | reg << 3 | random_below(c, 8));
}

/* SP and BP are kept near their values, so that stacks go on for a while. */
static inline void random16_move(struct random16 *g)
{
    static const u8 regs[] = {0, 1, 2, 3, 6, 7};
    struct random_code *c = &g->c;
    unsigned reg = regs[random_below(c, 6)];

    random16_prefixes(g, false);
    random_put(c, 0xb8 | reg);
    random_imm(c, random_below(c, 3) ? random_below(c, 0x10000) : random_value(&c->seed), g->osz);
}

static inline void random16_alu(struct random16 *g)
{
    struct random_code *c = &g->c;
    unsigned op = random_below(c, 8) << 3;

    switch (random_below(c, 5)) {
    case 0: random16_modrm(g, op | random_below(c, 4), -1, -1); break;
    case 1: random16_modrm(g, op | random_below(c, 4), -1, 1); break;
    case 2:
        random16_modrm(g, 0x83, (int)(op >> 3), -1);
        random_put(c, random_below(c, 256));
        break;
    case 3:
        random16_modrm(g, 0x81, (int)(op >> 3), -1);
        random_imm(c, random_value(&c->seed), g->osz);
        break;
    default:
        random16_prefixes(g, false);
        random_put(c, op | 5);
        random_imm(c, random_value(&c->seed), g->osz);
        break;
    }
}

/* MOV, TEST, XCHG, LEA, MOVZX, SETcc, CMOVcc, IMUL, BSWAP, bits, shifts, unary. */
static inline void random16_various(struct random16 *g)
{
    static const u16 ops[] = {0x88,   0x89,   0x8a,   0x8b,   0x84,   0x85,   0x86,   0x87,
                              0x0fb6, 0x0fbe, 0x0faf, 0x0fa3, 0x0fab, 0x0fb3, 0x0fbb, 0x0fc1,
                              0x0fb1, 0x0f44, 0x0f4c, 0x0f92, 0x0f9f, 0xd1,   0xd3,   0xd0};
    struct random_code *c = &g->c;

    switch (random_below(c, 8)) {
    case 0: random16_modrm(g, 0x8d, -1, 1); break;
    case 1: random16_modrm(g, 0xf6 | random_below(c, 2), 2 + (int)random_below(c, 6), -1); break;
    case 2: random16_modrm(g, 0xfe | random_below(c, 2), (int)random_below(c, 2), -1); break;
    case 3:
        random16_modrm(g, 0xc1, (int)random_below(c, 8), -1);
        random_put(c, random_below(c, 33));
        break;
    case 4:
        random16_prefixes(g, true); /* XLAT, direct offsets */
        if (random_below(c, 2)) {
            random_put(c, 0xd7);
        } else {
            random_put(c, 0xa0 | random_below(c, 4));
            random_imm(c, random_below(c, 0x10000), g->asz);
        }
        break;
    case 5:
        random16_prefixes(g, false);
        random_put(c, 0x40 | random_below(c, 16)); /* INC, DEC */
        break;
    default: random16_modrm(g, ops[random_below(c, ARRAY_SIZE(ops))], -1, -1); break;
    }
}

static inline void random16_stack(struct random16 *g)
{
    static const u16 segs[] = {0x06, 0x0e, 0x16, 0x1e, 0x0fa0, 0x0fa8};
    struct random_code *c = &g->c;

    switch (random_below(c, 12)) {
    case 0: random16_prefixes(g, false), random_put(c, 0x9c); break;
    case 1: random16_prefixes(g, false), random_put(c, 0x6a), random_put(c, 0x80); break;
    case 2:
        random16_prefixes(g, false);
        random_put(c, 0x68);
        random_imm(c, random_value(&c->seed), g->osz);
        break;
    case 3: random16_modrm(g, 0xff, 6, 1); break;
    case 4: random16_modrm(g, 0x8f, 0, 1); break;
    case 5: random16_prefixes(g, false), random_opcode(c, segs[random_below(c, 6)]); break;
    case 6:
        random16_prefixes(g, false);
        random_put(c, 0xc8);
        random_imm(c, random_below(c, 40), 2);
        random_put(c, random_below(c, 8) ? 0 : 2);
        break;
    case 7: random16_prefixes(g, false), random_put(c, 0xc9); break;
    case 8: random16_prefixes(g, false), random_put(c, 0x60 | random_below(c, 2)); break;
    case 9: random16_prefixes(g, false), random_put(c, 0x58 | random_below(c, 8)); break;
    default: random16_prefixes(g, false), random_put(c, 0x50 | random_below(c, 16)); break;
    }
}

/* A selector that exists, if any segment does not do; then a load of some register. */
static inline void random16_segment(struct random16 *g)
{
    static const u8 moves[] = {0, 3, 4, 5}, pointers[] = {0xc4, 0xc5, 0xb4, 0xb5, 0xb2};
    struct random_code *c = &g->c;
    unsigned kind = random_below(c, 8), n;

    if (kind == 0) { /* stores */
        random16_modrm(g, 0x8c, (int)random_below(c, 6), -1);
        return;
    }
    if (kind < 4 && g->loads) {
        n = random_below(c, 5);
        random16_modrm(g, n < 2 ? pointers[n] : 0x0f00u | pointers[n], -1, 1);
        return;
    }
    if (kind == 4 && g->loads) {
        random16_prefixes(g, false);
        random_opcode(c, (const u16[]){0x07, 0x1f, 0x0fa1, 0x0fa9}[random_below(c, 4)]);
        return;
    }
    n = random_below(c, 8) ? SEL_FREE + 8 * random_below(c, 4) : SEL_DATA;
    if (g->loads)
        n = random_below(c, 0x9000);
    random_put(c, 0xb8);
    random_imm(c, n, g->code);
    random_put(c, 0x8e);
    random_put(c, 0xc0 | (random_below(c, 12) ? moves[random_below(c, 4)] : 2) << 3);
}

static inline void random16_string(struct random16 *g)
{
    static const u8 ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xae, 0xac, 0xaf};
    struct random_code *c = &g->c;
    bool down = random_below(c, 6) == 0, rep = random_below(c, 3) == 0;

    if (rep) { /* mov ecx, few */
        if (g->code == 2)
            random_put(c, 0x66);
        random_put(c, 0xb9);
        random_imm(c, random_below(c, 40), 4);
    }
    if (down)
        random_put(c, 0xfd);
    random16_prefixes(g, true);
    if (rep)
        random_put(c, 0xf2 + random_below(c, 2));
    random_put(c, ops[random_below(c, ARRAY_SIZE(ops))]);
    if (down)
        random_put(c, 0xfc);
}

static inline void random16_fpu(struct random16 *g)
{
    struct random_code *c = &g->c;

    switch (random_below(c, 6)) {
    case 5: /* LFENCE, MFENCE, SFENCE */
        random_opcode(c, 0x0fae);
        random_put(c, 0xe8 + 8 * random_below(c, 3));
        break;
    case 0: random16_modrm(g, 0xd8 | random_below(c, 8), (int)random_below(c, 4), 1); break;
    case 1: random16_modrm(g, 0x0f6f, -1, 1); break;
    case 2: random16_modrm(g, 0x0f10 | random_below(c, 2), -1, -1); break;
    case 3: random16_modrm(g, 0x0ffe, -1, 0); break;
    default:
        random_put(c, 0xd9);
        random_put(c, 0xe8 | random_below(c, 7));
        break;
    }
}

static inline void random16_insns(struct random16 *g, unsigned count);

/* Where an instruction is, in its segment. */
static inline u32 random16_rip(const struct random16 *g, unsigned at)
{
    return g->origin + at;
}

/* jcc, short or near, over a few instructions. */
static inline void random16_skip(struct random16 *g)
{
    struct random_code *c = &g->c;
    bool near = random_below(c, 2);
    unsigned from, size;

    random16_prefixes(g, false);
    size = near ? g->osz : 1;
    if (near)
        random_put(c, 0x0f);
    random_put(c, (near ? 0x80 : 0x70) | random_below(c, 16));
    random_imm(c, 0, size);
    from = c->at;
    random16_insns(g, 1 + random_below(c, 3));
    if (size > 1 || c->at - from < 128)
        store_le(c->bytes + from - size, c->at - from, size);
}

/* LOOP or JCXZ over or back. */
static inline void random16_loop(struct random16 *g)
{
    struct random_code *c = &g->c;
    unsigned top;

    random16_prefixes(g, false);
    random_put(c, 0xb9);
    random_imm(c, 1 + random_below(c, 20), g->osz);
    top = c->at;
    random16_insns(g, 1 + random_below(c, 4));
    random16_prefixes(g, true);
    random_put(c, 0xe0 + random_below(c, 4));
    random_put(c, c->bytes[c->at - 1] == 0xe3 ? 2 : (u8)(top - (c->at + 1)));
}

/* A function, and a near or far call of it: direct, by a register, or by memory on the stack. */
static inline void random16_call(struct random16 *g)
{
    struct random_code *c = &g->c;
    unsigned jump = c->at, function, kind = random_below(c, 4), osz;
    bool release = random_below(c, 4) == 0;

    random_put(c, 0xe9);
    random_imm(c, 0, g->code);
    function = c->at;
    random16_insns(g, 1 + random_below(c, 3));
    osz = random_below(c, 4) ? g->code : 6 - g->code;
    if (osz != g->code)
        random_put(c, 0x66);
    random_put(c, (kind == 3 ? 0xca : 0xc2) | !release);
    if (release)
        random_imm(c, random_below(c, 3) * 2, 2);
    store_le(c->bytes + jump + 1, c->at - (jump + 1 + g->code), g->code);
    if (kind == 2) {
        random_put(c, 0xb8); /* mov ax, function */
        random_imm(c, random16_rip(g, function), g->code);
    }
    if (osz != g->code)
        random_put(c, 0x66);
    if (kind == 2) {
        random_put(c, 0xff);
        random_put(c, random_below(c, 3) ? 0xd0 : 0xe0); /* call ax; jmp ax */
    } else if (kind == 3) {
        random_put(c, 0x9a);
        random_imm(c, random16_rip(g, function), osz);
        random_imm(c, g->selector, 2);
    } else {
        random_put(c, 0xe8);
        random_imm(c, random16_rip(g, function) - random16_rip(g, c->at + osz), osz);
    }
}

static inline void random16_insn(struct random16 *g)
{
    static void (*const flat[])(struct random16 *) = {
        random16_move,    random16_move,   random16_alu,   random16_alu,   random16_various,
        random16_alu,     random16_stack,  random16_stack, random16_stack, random16_various,
        random16_segment, random16_string, random16_fpu};
    static void (*const nested[])(struct random16 *) = {random16_skip, random16_loop,
                                                        random16_call};
    unsigned kind = random_below(&g->c, 20);

    if (kind < 3 && g->c.depth < 3 && g->c.at < RANDOM_CODE_MAX / 2) {
        g->c.depth++;
        nested[kind](g);
        g->c.depth--;
    } else {
        flat[random_below(&g->c, ARRAY_SIZE(flat))](g);
    }
}

static inline void random16_insns(struct random16 *g, unsigned count)
{
    while (count-- && g->c.at < RANDOM_CODE_MAX - 100)
        random16_insn(g);
}

static inline void random16_generate(struct random16 *g, u64 seed, unsigned code, unsigned count)
{
    g->c = (struct random_code){.seed = seed};
    g->code = code;
    random16_insns(g, count);
}
