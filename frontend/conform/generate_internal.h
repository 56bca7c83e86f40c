/* SPDX-License-Identifier: MIT
 *
 * What the parts of the generator share: forms.c (which forms a row has), encode.c (bytes),
 * values.c (interesting values), address.c (memory operands), setup.c, setup_control.c and
 * setup_state.c (what a row wants of the state), generate.c (the whole case), sequence.c.
 */
#pragma once

#include "cpu/decode_internal.h"
#include "cpu/regs.h"
#include "frontend/conform/generate.h"
#include "mem/base/bits.h"

/* -- random numbers: xorshift64*, a few cycles each -- */

struct rng {
    u64 state;
};

static inline u64 rng_next(struct rng *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1dull;
}

/* 0 .. n - 1. */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
    return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

/* True once in n times. */
static inline bool rng_one_in(struct rng *r, unsigned n)
{
    return rng_below(r, n) == 0;
}

/* -- forms -- */

enum form_mask { MASK_NONE, MASK_MERGE, MASK_ZERO };

/* Any shape; [RBX + disp]; [disp], in 64-bit mode [RIP + disp]; [disp] in 64-bit mode as well. */
enum form_shape { SHAPE_ANY, SHAPE_POINTER, SHAPE_DIRECT, SHAPE_ABSOLUTE };

/* What a variant fixes; everything else about the encoding is random. */
struct gen_form {
    u16 row;
    u8 mode;
    bool memory, p66, p67, lock;
    bool undefined; /* LOCK where it makes the encoding #UD */
    u8 rep;         /* 0, F3, F2: of string instructions */
    u8 w, l;        /* REX.W or VEX.W, VEX.L */
    u8 mask;        /* enum form_mask */
    bool evex_b;    /* broadcast, rounding or SAE */
    u8 shape;       /* enum form_shape: of a memory operand in a sequence */
};

/* Value sorts of elements. */
enum value_kind { KIND_INT, KIND_F32, KIND_F64, KIND_F16, KIND_BF16, KIND_RANDOM, KIND_COUNT };

enum { POOL_BYTES = 1 << 14 };

/* What is known of a row once and for all. */
struct gen_row {
    bool modrm;     /* a ModRM byte follows the opcode */
    bool vsib;      /* has a VSIB operand */
    bool to_memory; /* the ModRM operand is the destination */
    bool w_ignored; /* W has no meaning */
    u8 kinds;       /* bits of enum value_kind that its elements may have */
};

/* Sorts of rows in sequences. */
enum safe_group { SAFE_INTEGER, SAFE_VECTOR, SAFE_X87, SAFE_GROUPS };

struct generator {
    struct cpu_model model;
    u64 host_xcr0; /* of the judge */
    u64 xcr0;      /* of it and the engine */
    struct conform_form *forms;
    struct gen_form *specs; /* parallel to forms */
    unsigned count;
    u32 first[INSN_COUNT][CONFORM_MODES]; /* index of the first form */
    struct gen_row rows[INSN_COUNT];
    u16 *safe[CONFORM_MODES][SAFE_GROUPS]; /* rows that sequences are made of */
    unsigned safe_count[CONFORM_MODES][SAFE_GROUPS];
    u8 pool[POOL_BYTES] ALIGNED(64); /* random bytes */
};

/* Fills g->forms, specs, count, first. */
MUST_USE enum status forms_create(struct generator *g, struct error *err);
/* The end of the forms of a row in a mode; they start at g->first. */
unsigned forms_end(const struct generator *g, unsigned row, unsigned mode);
/* Fills g->safe. */
MUST_USE enum status sequence_create(struct generator *g, struct error *err);

/* -- one case in the making -- */

struct encoding {
    u8 bytes[24];
    u8 length;
    u8 disp_at, disp_size; /* displacement, or moffs */
    u8 imm_at, imm_size;   /* first immediate */
};

struct build {
    const struct generator *g;
    const struct gen_form *form;
    const struct insn_row *row;
    struct conform_case *c;
    struct rng rng;
    struct encoding enc;
    struct insn i; /* the decoded encoding; INSN_INVALID for undefined forms */
    u32 fixed;     /* general registers whose values are settled */
    u64 linear;    /* of the memory operand, as the state makes it */
    unsigned size; /* bytes of it that are accessed, a guess where it varies */
    bool has_memory;
};

/* Clears the registers that one of the two has not. */
void state_limit(struct build *b);
/* Random segments, general, opmask and vector registers, x87 and MXCSR for b->row. */
void state_fill(struct build *b);

/* One random encoding of the form. plain: without redundant prefixes. */
void encode_form(const struct generator *g, const struct gen_form *form, struct rng *r, bool plain,
                 struct encoding *enc);
/* How the instruction is decoded in a mode. */
struct decode_ctx generate_decode_ctx(const struct generator *g, unsigned mode);

/* -- values.c -- */

u64 value_int(struct rng *r);
/* size bytes of elements of one kind. */
void value_fill(struct rng *r, enum value_kind kind, u8 *bytes, unsigned size);
/* A kind that suits the row. */
enum value_kind value_kind_of(const struct build *b, struct rng *r);
/* An 80-bit register image: 10 bytes. */
void value_f80(struct rng *r, u8 *bytes);

/* -- address.c -- */

/* Base address of a segment in the case's state. */
u64 segment_base(const struct conform_state *s, unsigned mode, unsigned seg);
/* Chooses where the memory operand shall be and makes registers and displacement lead there;
 * sets b->linear as it came out. */
void address_memory(struct build *b);
/* A linear address for an access of size bytes through a segment with this base. */
u64 address_choose(struct build *b, u64 base, unsigned size, unsigned alignment);
/* Adds a patch if all of it lies in data, read-only or stack pages; clips it to them. */
void case_patch(struct conform_case *c, u64 linear, const u8 *bytes, unsigned size);
/* Stores a general register. width: bytes that count; the rest stays random. */
void case_set_gpr(struct build *b, unsigned n, u64 value, unsigned width);

/* -- setup.c and friends -- */

/* Before the memory operand is placed: registers the row uses implicitly. */
void setup_registers(struct build *b);
/* After it: contents of memory, flags that are undefined. */
void setup_memory(struct build *b);
/* Branches, calls, returns, far transfers, stack: setup_control.c. */
bool setup_control_registers(struct build *b);
bool setup_control_memory(struct build *b);
/* x87, MXCSR and saved images: setup_state.c. */
void setup_fpu(struct build *b);
bool setup_state_registers(struct build *b);
bool setup_state_memory(struct build *b);

/* One of case.h's selectors, a null one or one that does not exist. */
u16 value_selector(struct rng *r);
/* A code address to branch to as an offset in CS (or a bad one), never inside the instruction. */
u64 value_target(struct build *b);
/* Whether the offset leads into the instruction's own bytes. */
bool target_in_instruction(const struct build *b, u64 offset);
