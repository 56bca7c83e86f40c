/* SPDX-License-Identifier: MIT
 *
 * Random code that always ends: integer and SIMD instructions on registers and memory, loops,
 * forward branches, calls, indirect jumps, strings, now and then a fault.
 *
 * RBX points into the data, RBP counts loops, RSP is the stack; no instruction writes them. R15 (in
 * 32-bit code: EDI before each use) points to the edge of a page that is not there.
 */
#pragma once

#include "tests/cpu/machine.h"

enum {
    RANDOM_DATA = MACHINE_DATA + 0x2000, /* RBX */
    RANDOM_ABSENT = 0xc00000,            /* 2 MiB that are not mapped (with paging) */
    RANDOM_CODE_MAX = 3000,
};

struct random_code {
    u64 seed;
    u64 base;  /* where it will lie */
    bool wide; /* 64-bit code */
    unsigned at, depth;
    u8 bytes[RANDOM_CODE_MAX + 200];
};

static inline u64 random_next(u64 *seed)
{
    u64 z = *seed += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Values at which something changes, else any. */
static inline u64 random_value(u64 *seed)
{
    static const u64 edges[] = {0,
                                1,
                                2,
                                0x7f,
                                0x80,
                                0xff,
                                1000,
                                0x7fff,
                                0x7fffffff,
                                0x80000000,
                                ~0ull,
                                BIT(63),
                                ~1ull,
                                0xffff,
                                0xffffffff,
                                BIT(63) - 1,
                                0xffffffff80000000ull};
    u64 r = random_next(seed);

    return r % 3 ? random_next(seed) >> (r >> 8 & 63) : edges[(r >> 8) % ARRAY_SIZE(edges)];
}

static inline unsigned random_below(struct random_code *c, unsigned n)
{
    return (unsigned)(random_next(&c->seed) % n);
}

static inline void random_put(struct random_code *c, unsigned byte)
{
    c->bytes[c->at++] = (u8)byte;
}

static inline void random_imm(struct random_code *c, u64 value, unsigned size)
{
    for (unsigned n = 0; n < size; n++)
        random_put(c, value >> 8 * n & 0xff);
}

/* A register that may be written. */
static inline unsigned random_reg(struct random_code *c)
{
    unsigned r;

    do
        r = random_below(c, c->wide ? 15 : 8);
    while (r == RBX || r == RSP || r == RBP);
    return r;
}

/* Prefixes and REX of one instruction, then its opcode, then ModRM with a register or memory. */
struct random_form {
    unsigned size; /* 1, 2, 4, 8 */
    u32 opcode;    /* up to three bytes, the last one lowest */
    unsigned prefix;
    bool lock;
    int ext;  /* opcode extension instead of a register */
    int mem;  /* 0: register, 1: memory, -1: either */
    bool vec; /* registers are vector registers */
};

static inline void random_opcode(struct random_code *c, u32 opcode)
{
    if (opcode >> 16)
        random_put(c, opcode >> 16);
    if (opcode >> 8)
        random_put(c, opcode >> 8 & 0xff);
    random_put(c, opcode & 0xff);
}

/* mod, rm, SIB, displacement with RBX or RIP or the edge of the absent page. */
static inline void random_memory(struct random_code *c, unsigned reg)
{
    unsigned kind = random_below(c, c->wide ? 40 : 39), r = (reg & 7) << 3;
    i32 disp = (i32)random_below(c, 0x700) - 0x380;

    if (kind == 39) { /* [r15 + disp8] */
        random_put(c, 0x40 | r | 7);
        random_put(c, random_below(c, 0x50));
    } else if (kind < 10) {
        random_put(c, r | 3);
    } else if (kind < 25) {
        random_put(c, 0x40 | r | 3);
        random_put(c, disp & 0xff);
    } else {
        random_put(c, 0x80 | r | 3);
        random_imm(c, (u32)disp, 4);
    }
}

static inline bool random_edge(const struct random_code *c, unsigned modrm_at)
{
    return c->wide && (c->bytes[modrm_at] & 0xc7) == 0x47;
}

static inline void random_modrm(struct random_code *c, const struct random_form *f)
{
    bool memory = f->mem < 0 ? random_below(c, 3) == 0 : f->mem;
    unsigned count = c->wide ? 16 : 8;
    unsigned reg = f->ext >= 0 ? (unsigned)f->ext : f->vec ? random_below(c, count) : random_reg(c);
    unsigned rm = f->vec ? random_below(c, count) : random_reg(c), rex_at = ~0u, modrm_at;
    bool high = f->size == 1 && random_below(c, 3) == 0;

    if (high) { /* without REX: AH..BH, but not BL, BH */
        reg = f->ext >= 0 ? reg : (reg & 7) == RBX || (reg & 7) == RDI ? RAX : reg & 7;
        rm = (rm & 7) == RBX || (rm & 7) == RDI ? RCX : rm & 7;
    } else if (f->size == 1 && !c->wide) {
        reg = f->ext >= 0 ? reg : reg & 3 ? 1 : 0;
        rm &= 2;
    }
    if (f->lock)
        random_put(c, 0xf0);
    if (f->size == 2)
        random_put(c, 0x66);
    if (f->prefix)
        random_put(c, f->prefix);
    if (c->wide && !high) {
        rex_at = c->at;
        random_put(c, 0x40 | (f->size == 8 ? 8 : 0) | (reg & 8 ? 4 : 0));
    }
    random_opcode(c, f->opcode);
    modrm_at = c->at;
    if (memory) {
        random_memory(c, reg);
        if (rex_at != ~0u && random_edge(c, modrm_at))
            c->bytes[rex_at] |= 1;
        else if (rex_at == ~0u && random_edge(c, modrm_at))
            c->bytes[modrm_at] = (u8)((c->bytes[modrm_at] & ~7u) | 3);
    } else {
        random_put(c, 0xc0 | (reg & 7) << 3 | (rm & 7));
        if (rex_at != ~0u && rm & 8)
            c->bytes[rex_at] |= 1;
    }
}

static inline unsigned random_size(struct random_code *c)
{
    static const u8 sizes[] = {4, 4, 8, 1, 2};
    unsigned size = sizes[random_below(c, 5)];

    return size == 8 && !c->wide ? 4 : size;
}

static inline unsigned random_word(struct random_code *c)
{
    unsigned size = random_size(c);

    return size == 1 ? 4 : size;
}

static inline void random_alu(struct random_code *c)
{
    unsigned size = random_size(c), op = random_below(c, 8), kind = random_below(c, 4);
    struct random_form f = {.size = size, .ext = -1, .mem = -1};

    if (kind < 2) { /* op r/m, r; op r, r/m */
        f.opcode = op << 3 | kind << 1 | (size != 1);
        random_modrm(c, &f);
        return;
    }
    f.ext = (int)op;
    f.opcode = size == 1 ? 0x80 : kind == 2 ? 0x83 : 0x81;
    f.lock = op != 7 && random_below(c, 4) == 0;
    f.mem = f.lock ? 1 : -1;
    random_modrm(c, &f);
    random_imm(c, random_value(&c->seed), size == 1 || kind == 2 ? 1 : size == 2 ? 2 : 4);
}

static inline void random_unary(struct random_code *c)
{
    static const struct {
        u8 byte, word, ext;
    } ops[] = {{0xf6, 0xf7, 2}, {0xf6, 0xf7, 3}, {0xfe, 0xff, 0},
               {0xfe, 0xff, 1}, {0xf6, 0xf7, 4}, {0xf6, 0xf7, 5}};
    unsigned n = random_below(c, ARRAY_SIZE(ops)), size = random_size(c);

    random_modrm(c, &(struct random_form){.size = size,
                                          .opcode = size == 1 ? ops[n].byte : ops[n].word,
                                          .ext = ops[n].ext,
                                          .lock = false,
                                          .mem = -1});
}

static inline void random_divide(struct random_code *c)
{
    /* mov ecx, n; xor edx, edx or cdq first: mostly no #DE */
    unsigned size = random_size(c), kind = random_below(c, 4);

    random_put(c, 0xb9);
    random_imm(c, kind ? random_value(&c->seed) | 1 : random_value(&c->seed), 4);
    if (size != 1)
        random_put(c, 0x99);
    else
        random_put(c, 0x98);
    if (size == 8) {
        random_put(c, 0x48);
        random_put(c, 0x99);
    }
    if (size == 2)
        random_put(c, 0x66);
    else if (size == 8)
        random_put(c, 0x48);
    random_put(c, size == 1 ? 0xf6 : 0xf7);
    random_put(c, 0xc0 | (6 + random_below(c, 2)) << 3 | RCX);
}

static inline void random_shift(struct random_code *c)
{
    unsigned size = random_size(c), kind = random_below(c, 3), op;

    do
        op = random_below(c, 8);
    while (op == 6);
    random_modrm(c, &(struct random_form){.size = size,
                                          .opcode = (kind == 0   ? 0xc0u
                                                     : kind == 1 ? 0xd0u
                                                                 : 0xd2u) |
                                                    (size != 1),
                                          .ext = (int)op,
                                          .mem = -1});
    if (kind == 0)
        random_put(c, random_below(c, 70));
}

static inline void random_double_shift(struct random_code *c)
{
    bool imm = random_below(c, 2);

    random_modrm(c, &(struct random_form){.size = random_word(c) == 8 ? 8 : 4,
                                          .opcode = (random_below(c, 2) ? 0x0fa4u : 0x0facu) + !imm,
                                          .ext = -1,
                                          .mem = -1});
    if (imm)
        random_put(c, random_below(c, 70));
}

/* 0F opcodes with a register and a register or memory. */
static inline void random_two_byte(struct random_code *c)
{
    static const struct {
        u16 opcode;
        u8 prefix, count; /* count: of consecutive opcodes */
    } ops[] = {{0x0f40, 0, 16},   {0x0faf, 0, 1},    {0x0fbc, 0xf3, 1},
               {0x0fbd, 0xf3, 1}, {0x0fb8, 0xf3, 1}, {0x0fbc, 0, 2}};
    unsigned n = random_below(c, ARRAY_SIZE(ops));

    random_modrm(c, &(struct random_form){.size = random_word(c),
                                          .opcode = ops[n].opcode + random_below(c, ops[n].count),
                                          .prefix = ops[n].prefix,
                                          .ext = -1,
                                          .mem = -1});
}

static inline void random_extend(struct random_code *c)
{
    static const u16 ops[] = {0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf};
    unsigned op = ops[random_below(c, 4)];

    /* the source of a byte form may need a REX in 64-bit code; 32-bit code: memory */
    random_modrm(c, &(struct random_form){.size = c->wide ? random_word(c) : 4,
                                          .opcode = op,
                                          .ext = -1,
                                          .mem = c->wide ? -1 : 1});
}

static inline void random_exchange(struct random_code *c)
{
    static const struct {
        u16 byte, word;
        bool lock;
    } ops[] = {{0x86, 0x87, false},
               {0x0fc0, 0x0fc1, true},
               {0x0fb0, 0x0fb1, true},
               {0x88, 0x89, false},
               {0x8a, 0x8b, false}};
    unsigned n = random_below(c, ARRAY_SIZE(ops)), size = random_size(c);
    bool lock = ops[n].lock && random_below(c, 2);

    random_modrm(c, &(struct random_form){.size = size,
                                          .opcode = size == 1 ? ops[n].byte : ops[n].word,
                                          .ext = -1,
                                          .lock = lock,
                                          .mem = lock ? 1 : -1});
}

static inline void random_bit(struct random_code *c)
{
    unsigned op = random_below(c, 4);

    if (random_below(c, 2)) {
        random_modrm(c,
                     &(struct random_form){
                         .size = random_word(c), .opcode = 0x0fba, .ext = 4 + (int)op, .mem = -1});
        random_put(c, random_below(c, 256));
    } else {
        random_modrm(c,
                     &(struct random_form){
                         .size = random_word(c), .opcode = 0x0fa3 + 8 * op, .ext = -1, .mem = 0});
    }
}

static inline void random_setcc(struct random_code *c)
{
    random_modrm(c, &(struct random_form){.size = 1,
                                          .opcode = 0x0f90 + random_below(c, 16),
                                          .ext = 0,
                                          .mem = c->wide ? -1 : 1});
}

static inline void random_lea(struct random_code *c)
{
    unsigned reg = random_reg(c), base = random_below(c, 8), index = random_below(c, 8);
    unsigned size = random_word(c);

    if (size == 2)
        random_put(c, 0x66);
    if (c->wide)
        random_put(c, 0x40 | (size == 8 ? 8 : 0) | (reg & 8 ? 4 : 0) | random_below(c, 4));
    random_put(c, 0x8d);
    random_put(c, 0x84 | (reg & 7) << 3);
    random_put(c, random_below(c, 4) << 6 | index << 3 | base);
    random_imm(c, random_value(&c->seed), 4);
}

static inline void random_short(struct random_code *c)
{
    static const u8 ops[] = {0xf5, 0xf8, 0xf9, 0x98, 0x99, 0x9e, 0x9f, 0x90};

    if (c->wide && random_below(c, 2))
        random_put(c, 0x48);
    random_put(c, ops[random_below(c, ARRAY_SIZE(ops))]);
}

static inline void random_stack(struct random_code *c)
{
    unsigned from = random_reg(c), to = random_reg(c), kind = random_below(c, 4);

    switch (kind) {
    case 0: random_put(c, 0x9c); break; /* pushf */
    case 1: random_put(c, 0x6a), random_put(c, random_below(c, 256)); break;
    case 2: random_put(c, 0x68), random_imm(c, random_value(&c->seed), 4); break;
    default:
        if (from & 8)
            random_put(c, 0x41);
        random_put(c, 0x50 | (from & 7));
        break;
    }
    if (to & 8)
        random_put(c, 0x41);
    random_put(c, 0x58 | (to & 7));
}

static inline void random_move(struct random_code *c)
{
    unsigned reg = random_reg(c);

    if (!c->wide) {
        random_put(c, 0xb8 | reg);
        random_imm(c, random_value(&c->seed), 4);
        return;
    }
    random_put(c, 0x48 | (reg & 8 ? 1 : 0));
    random_put(c, 0xb8 | (reg & 7));
    random_imm(c, random_value(&c->seed), 8);
}

static inline void random_bmi(struct random_code *c)
{
    static const struct {
        u8 map, pp, opcode;
    } ops[] = {{2, 0, 0xf2}, {2, 0, 0xf5}, {2, 2, 0xf5}, {2, 3, 0xf5}, {2, 3, 0xf6},
               {2, 0, 0xf7}, {2, 1, 0xf7}, {2, 2, 0xf7}, {2, 3, 0xf7}};
    unsigned n = random_below(c, ARRAY_SIZE(ops)), reg = random_reg(c), rm = random_reg(c);
    unsigned vvvv = random_reg(c);
    bool memory = random_below(c, 3) == 0;

    if (!c->wide)
        reg &= 7, rm &= 7, vvvv &= 7;
    random_put(c, 0xc4);
    random_put(c, (reg & 8 ? 0 : 0x80u) | 0x40 | (!memory && rm & 8 ? 0 : 0x20u) | ops[n].map);
    random_put(c, (c->wide && random_below(c, 2) ? 0x80u : 0) | (~vvvv & 15) << 3 | ops[n].pp);
    random_put(c, ops[n].opcode);
    if (memory)
        random_put(c, 0x03 | (reg & 7) << 3);
    else
        random_put(c, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* Two-operand SSE; memory is read unaligned only where that is allowed: the rest gets its #GP. */
static inline void random_sse(struct random_code *c)
{
    static const struct {
        u16 opcode;
        u8 prefix;
    } ops[] = {{0x0f10, 0},    {0x0f11, 0},    {0x0f28, 0},    {0x0f54, 0},    {0x0f57, 0},
               {0x0f58, 0xf2}, {0x0f59, 0xf3}, {0x0f5c, 0xf2}, {0x0f5e, 0xf3}, {0x0f51, 0xf2},
               {0x0f6f, 0xf3}, {0x0f7f, 0xf3}, {0x0f6f, 0x66}, {0x0ffe, 0x66}, {0x0fd4, 0x66},
               {0x0fef, 0x66}, {0x0f60, 0x66}, {0x0f63, 0x66}, {0x0fe4, 0x66}, {0x0f2e, 0x66},
               {0x0f2f, 0},    {0x0f5a, 0xf2}, {0x0f58, 0},    {0x0f5d, 0xf3}, {0x0fd6, 0x66}};
    unsigned n = random_below(c, ARRAY_SIZE(ops));

    random_modrm(c, &(struct random_form){.size = 4,
                                          .opcode = ops[n].opcode,
                                          .prefix = ops[n].prefix,
                                          .ext = -1,
                                          .mem = -1,
                                          .vec = true});
}

/* Between general and vector registers. */
static inline void random_sse_gpr(struct random_code *c)
{
    static const struct {
        u16 opcode;
        u8 prefix;
    } ops[] = {{0x0f6e, 0x66}, {0x0f7e, 0x66}, {0x0f2a, 0xf2}, {0x0f2a, 0xf3}};
    unsigned n = random_below(c, ARRAY_SIZE(ops)), vec = random_below(c, c->wide ? 16 : 8);
    unsigned gpr = random_reg(c);

    random_put(c, ops[n].prefix);
    if (c->wide)
        random_put(c, 0x40 | random_below(c, 2) << 3 | (vec & 8 ? 4 : 0) | (gpr & 8 ? 1 : 0));
    random_opcode(c, ops[n].opcode);
    random_put(c, 0xc0 | (vec & 7) << 3 | (gpr & 7));
}

static inline void random_avx(struct random_code *c)
{
    static const struct {
        u8 map, pp, opcode;
    } ops[] = {{1, 0, 0x58}, {1, 1, 0x59}, {1, 1, 0xfe}, {1, 1, 0xef}, {2, 1, 0x00},
               {2, 1, 0xb8}, {1, 0, 0x54}, {1, 1, 0xd4}, {2, 1, 0x36}, {1, 1, 0x6c}};
    unsigned n = random_below(c, ARRAY_SIZE(ops)), count = c->wide ? 16 : 8;
    unsigned reg = random_below(c, count), rm = random_below(c, count), l = random_below(c, 2);
    bool memory = random_below(c, 3) == 0;

    if (ops[n].map == 2 && ops[n].opcode == 0x36)
        l = 1;
    random_put(c, 0xc4);
    random_put(c, (reg & 8 ? 0 : 0x80u) | 0x40 | (!memory && rm & 8 ? 0 : 0x20u) | ops[n].map);
    random_put(c, (~random_below(c, count) & 15) << 3 | l << 2 | ops[n].pp);
    random_put(c, ops[n].opcode);
    if (memory)
        random_put(c, 0x03 | (reg & 7) << 3);
    else
        random_put(c, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* ECX, ESI and EDI into the data, then a string instruction. */
static inline void random_string(struct random_code *c)
{
    static const u8 ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xae, 0xac, 0xaf};
    bool down = random_below(c, 8) == 0;

    random_put(c, 0xb9);
    random_imm(c, random_below(c, 40), 4);
    random_put(c, 0xbe);
    random_imm(c, RANDOM_DATA - 0x380 + random_below(c, 0x500), 4);
    random_put(c, 0xbf);
    random_imm(c, RANDOM_DATA - 0x380 + random_below(c, 0x500), 4);
    if (down)
        random_put(c, 0xfd);
    if (random_below(c, 4))
        random_put(c, 0xf2 + random_below(c, 2));
    if (c->wide && random_below(c, 3) == 0)
        random_put(c, 0x48);
    random_put(c, ops[random_below(c, ARRAY_SIZE(ops))]);
    if (down)
        random_put(c, 0xfc);
}

static inline void random_insns(struct random_code *c, unsigned count);

/* jcc over a few instructions. */
static inline void random_skip(struct random_code *c)
{
    unsigned at = c->at;

    random_put(c, 0x0f);
    random_put(c, 0x80 | random_below(c, 16));
    random_imm(c, 0, 4);
    random_insns(c, 1 + random_below(c, 5));
    store_le(c->bytes + at + 2, c->at - (at + 6), 4);
}

/* mov ebp, n; ...; dec ebp (flags live through: lea, jrcxz is not ours); jnz */
static inline void random_loop(struct random_code *c)
{
    unsigned top;

    random_put(c, 0xbd);
    random_imm(c, 1 + random_below(c, 12), 4);
    top = c->at;
    random_insns(c, 2 + random_below(c, 8));
    random_put(c, 0xff);
    random_put(c, 0xcd); /* dec ebp */
    random_put(c, 0x0f);
    random_put(c, 0x85);
    random_imm(c, (u32)(top - (c->at + 4)), 4);
}

/* jmp over a function; the function; call or call through a register. */
static inline void random_call(struct random_code *c)
{
    unsigned jump = c->at, function, release = random_below(c, 4) == 0;

    random_put(c, 0xe9);
    random_imm(c, 0, 4);
    function = c->at;
    random_insns(c, 1 + random_below(c, 4));
    random_put(c, release ? 0xc2 : 0xc3);
    if (release)
        random_imm(c, 0, 2);
    store_le(c->bytes + jump + 1, c->at - (jump + 5), 4);
    if (random_below(c, 2)) {
        random_put(c, 0xe8);
        random_imm(c, (u32)(function - (c->at + 4)), 4);
        return;
    }
    random_put(c, 0xb8); /* mov eax, function; call rax */
    random_imm(c, c->base + function, 4);
    random_put(c, 0xff);
    random_put(c, 0xd0);
}

/* mov eax, behind; jmp rax; a trap that is not reached. */
static inline void random_indirect(struct random_code *c)
{
    random_put(c, 0xb8);
    random_imm(c, c->base + c->at + 7, 4);
    random_put(c, 0xff);
    random_put(c, 0xe0);
    random_put(c, 0xcc);
}

static inline void random_insn(struct random_code *c)
{
    static void (*const flat[])(struct random_code *) = {
        random_alu,      random_alu,    random_alu,   random_alu,          random_unary,
        random_divide,   random_shift,  random_shift, random_double_shift, random_two_byte,
        random_two_byte, random_extend, random_move,  random_exchange,     random_exchange,
        random_bit,      random_setcc,  random_lea,   random_short,        random_stack,
        random_sse,      random_sse,    random_avx,   random_sse_gpr,      random_bmi,
        random_string,
    };
    static void (*const nested[])(struct random_code *) = {random_skip, random_loop, random_call,
                                                           random_indirect};
    unsigned kind = random_below(c, 30);

    if (kind < 4 && c->depth < 3 && c->at < RANDOM_CODE_MAX / 2) {
        if (nested[kind] == random_loop && c->depth)
            kind = 0; /* one counter */
        c->depth++;
        nested[kind](c);
        c->depth--;
    } else {
        flat[random_below(c, ARRAY_SIZE(flat))](c);
    }
}

static inline void random_insns(struct random_code *c, unsigned count)
{
    while (count-- && c->at < RANDOM_CODE_MAX - 100)
        random_insn(c);
}

static inline void random_generate(struct random_code *c, u64 seed, u64 base, bool wide,
                                   unsigned count)
{
    *c = (struct random_code){.seed = seed, .base = base, .wide = wide};
    random_insns(c, count);
}
