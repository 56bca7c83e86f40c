/* SPDX-License-Identifier: MIT
 *
 * What the parts of the decoder share: decoder.c (prefixes, opcode, checks), decode_operand.c
 * (ModRM, registers, immediates), decode_index.c (the rows of each opcode, most specific first).
 */
#pragma once

#include "cpu/feature.h"
#include "cpu/insn.h"

/* Where an operand kind is encoded. */
enum operand_field {
    FIELD_NONE, /* implied by the opcode */
    FIELD_REG,
    FIELD_RM,
    FIELD_VVVV,
    FIELD_OPCODE,
    FIELD_IMM,  /* immediate, displacement or moffs: enum operand_imm */
    FIELD_IS4,  /* register in imm8[7:4] */
    FIELD_VSIB, /* memory with a vector index */
};

enum operand_file {
    FILE_NONE,
    FILE_GPR,
    FILE_GPR8,
    FILE_VEC,
    FILE_MMX,
    FILE_K,
    FILE_SEG,
    FILE_CR,
    FILE_DR,
    FILE_ST,
};

enum operand_imm {
    IMM_NONE,
    IMM_8,
    IMM_8S,
    IMM_16,
    IMM_Z,
    IMM_V,
    IMM_J8,
    IMM_JZ,
    IMM_FAR,
    IMM_MOFFS
};

/* Size in bytes of a memory operand, or one of these. */
enum operand_size {
    BYTES_NONE = 0,
    BYTES_OSZ = 128, /* the operand size */
    BYTES_OSZ_MAX4,  /* the operand size, at most 4: INS, OUTS */
    BYTES_OSZ_FAR,   /* operand size + 2 */
    BYTES_OSZ_PAIR,  /* twice the operand size: BOUND */
    BYTES_TABLE,     /* 6, or 10 in 64-bit mode */
    BYTES_ENV,       /* x87 environment: 14 or 28 */
    BYTES_X87,       /* x87 state: 94 or 108 */
    BYTES_VL,        /* vector length, its half, quarter, eighth */
    BYTES_VL2,
    BYTES_VL4,
    BYTES_VL8,
    BYTES_DUP,    /* vector length, but 8 for 128 bits */
    BYTES_BCAST,  /* vector length, or one element with EVEX.b */
    BYTES_BCAST2, /* half of it, or one element */
};

struct operand_info {
    u8 field, file;
    u8 mod;   /* MOD_MEM or MOD_REG: the kind exists in this form only */
    u8 bytes; /* of memory: a number or enum operand_size */
    u8 imm;
};

/* By enum operand_kind. */
extern const struct operand_info operand_infos[OPND_COUNT];

/* One instruction being decoded. R, X, B, R2 (R') and V2 (V') are positive logic. */
struct decoder {
    const struct decode_ctx *ctx;
    const u8 *bytes;
    unsigned count, pos;
    enum decode_result result;
    struct insn *i;
    const struct insn_row *row;
    u8 rex, rep; /* rep: 0, F3 or F2, the later one */
    u8 seg;      /* override or REG_NONE */
    bool p66, p67, lock;
    u8 space, map, prefix; /* prefix: PFX_NP, PFX_66, PFX_F3, PFX_F2 */
    u8 r, x, b, r2, v2, w, l, vvvv;
    bool z, evex_b;
    u8 mod;
};

/* AMD processors ignore some bits that Intel's hold to be reserved. */
bool decode_amd(const struct decoder *d);
/* Takes the next byte. false: d->result says why there is none. */
bool decode_byte(struct decoder *d, u8 *byte);
/* Takes a little-endian value of size 1, 2, 4 or 8 bytes. */
bool decode_value(struct decoder *d, unsigned size, u64 *value);
/* Address size, registers, memory operand and immediates of d->row. false: d->result. */
bool decode_operands(struct decoder *d);

/* The rows of one opcode. */
struct decode_slot {
    const u16 *rows; /* enum insn_id, most specific first */
    unsigned count;
    bool modrm; /* a ModRM byte follows the opcode */
};

void decode_slot_find(unsigned space, unsigned map, unsigned opcode, struct decode_slot *slot);

/* The mod requirement of a row, which its operand kinds may imply; enum insn_mod. */
unsigned decode_row_mod(const struct insn_row *row);
/* Whether the row has a ModRM byte; whether an operand is in vvvv. */
bool decode_row_modrm(const struct insn_row *row);
bool decode_row_vvvv(const struct insn_row *row);
/* The number of bits a row's key requires: the order of precedence within an opcode. */
unsigned decode_row_weight(const struct insn_row *row);
