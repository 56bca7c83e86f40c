/* SPDX-License-Identifier: MIT
 *
 * The encoder: host instructions into a buffer. It knows no guest.
 *
 * Operand order is (destination or r/m, register) as in the manuals. Register numbers are the
 * hardware's. Code is written through one mapping and runs in another: emit.at is where a byte is
 * written, emit_here() where it will execute.
 */
#pragma once

#include "mem/base/bits.h"

enum host_reg {
    HOST_RAX,
    HOST_RCX,
    HOST_RDX,
    HOST_RBX,
    HOST_RSP,
    HOST_RBP,
    HOST_RSI,
    HOST_RDI,
    HOST_R8,
    HOST_R9,
    HOST_R10,
    HOST_R11,
    HOST_R12,
    HOST_R13,
    HOST_R14,
    HOST_R15,
    HOST_RIP = 0x80, /* as a base alone: emit_rip() */
    HOST_NONE = 0xff
};

/* What precedes the opcode. */
enum emit_prefix {
    EMIT_66 = 1u << 0,
    EMIT_F2 = 1u << 1,
    EMIT_F3 = 1u << 2,
    EMIT_LOCK = 1u << 3,
    EMIT_W = 1u << 4,   /* REX.W */
    EMIT_REX = 1u << 5, /* a REX even if it is empty: SPL, BPL, SIL, DIL */
};

/* Opcodes carry their map in the second byte: 0F, 0F38, 0F3A. */
enum emit_map { EMIT_1B = 0, EMIT_0F = 1 << 8, EMIT_0F38 = 2 << 8, EMIT_0F3A = 3 << 8 };

enum emit_cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP };

/* A memory operand: [gs: base + index << scale + disp]; with HOST_RIP as base disp is the lower
 * half of its address. */
struct emit_mem {
    u8 base, index, scale; /* HOST_NONE: absent */
    bool gs;
    bool cut; /* the sum is cut to 32 bits before the base of GS is added */
    i32 disp;
};

struct emit {
    u8 *at, *end;
    u64 delta; /* code address - written address */
    /* The buffer was too small. Nothing was written behind its end, nor will be by patching jumps,
     * if it has 4 bytes at least. */
    bool overflow;
    u32 named; /* bit per general register that was an operand, so may have changed, since the user
                  cleared it */
};

static inline u64 emit_here(const struct emit *e)
{
    return (u64)e->at + e->delta;
}

/* Raw bytes, little-endian; size 1, 2, 4 or 8. */
void emit_value(struct emit *e, u64 value, unsigned size);
void emit_bytes(struct emit *e, const void *bytes, unsigned size);

/* opcode reg, rm. prefixes: enum emit_prefix; opcode: byte | enum emit_map. */
void emit_op_reg(struct emit *e, u32 prefixes, u32 opcode, unsigned rm, unsigned reg);
void emit_op_mem(struct emit *e, u32 prefixes, u32 opcode, const struct emit_mem *m, unsigned reg);
/* opcode + register in its low three bits. */
void emit_op_plus(struct emit *e, u32 prefixes, u32 opcode, unsigned reg);
/* The fields of a VEX or EVEX prefix that are no register. */
struct emit_vex {
    u8 map, pp; /* pp: 0 none, 1 66, 2 F3, 3 F2 */
    bool w;
    u8 l; /* VEX.L; EVEX: third payload byte with z, L'L, b and aaa */
    u8 opcode;
};
void emit_vex_reg(struct emit *e, const struct emit_vex *x, unsigned rm, unsigned reg,
                  unsigned vvvv);
void emit_vex_mem(struct emit *e, const struct emit_vex *x, const struct emit_mem *m, unsigned reg,
                  unsigned vvvv);
/* EVEX; a displacement goes without base or index only, as it would be scaled. */
void emit_evex_reg(struct emit *e, const struct emit_vex *x, unsigned rm, unsigned reg,
                   unsigned vvvv);
void emit_evex_mem(struct emit *e, const struct emit_vex *x, const struct emit_mem *m, unsigned reg,
                   unsigned vvvv);

/* -- moves; none touches flags -- */
void emit_mov(struct emit *e, unsigned to, unsigned from);   /* 64 bits */
void emit_mov32(struct emit *e, unsigned to, unsigned from); /* clears the upper half */
void emit_mov_imm(struct emit *e, unsigned to, u64 value);   /* the shortest form */
void emit_load(struct emit *e, unsigned to, const struct emit_mem *m, unsigned size);
void emit_store(struct emit *e, const struct emit_mem *m, unsigned from, unsigned size);
void emit_store_imm(struct emit *e, const struct emit_mem *m, i32 value, unsigned size);
void emit_lea(struct emit *e, unsigned to, const struct emit_mem *m, unsigned size);

/* -- control flow; targets are code addresses -- */
void emit_jmp(struct emit *e, u64 target);
void emit_call(struct emit *e, u64 target);
/* Returns where the rel32 is written, for emit_patch(). */
u8 *emit_jcc(struct emit *e, unsigned cc, u64 target);
u8 *emit_jmp_patchable(struct emit *e, u64 target);
/* A jump of at most 127 bytes, for emit_land_short() at its target. */
u8 *emit_jmp_short(struct emit *e);
void emit_land_short(struct emit *e, u8 *rel8);
void emit_jmp_mem(struct emit *e, const struct emit_mem *m);
/* Redirects a rel32. delta: as in struct emit. */
void emit_patch(u8 *rel32, u64 delta, u64 target);

static inline struct emit_mem emit_at(unsigned base, i32 disp)
{
    return (struct emit_mem){.base = (u8)base, .index = HOST_NONE, .disp = disp};
}
/* What lies within 2 GiB of the code, for instructions without an immediate operand. */
static inline struct emit_mem emit_rip(u64 address)
{
    return (struct emit_mem){.base = HOST_RIP, .index = HOST_NONE, .disp = (i32)(u32)address};
}
static inline struct emit_mem emit_gs(i32 disp)
{
    return (struct emit_mem){.base = HOST_NONE, .index = HOST_NONE, .gs = true, .disp = disp};
}
