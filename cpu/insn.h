/* SPDX-License-Identifier: MIT
 *
 * Instructions: the row of the table that describes one opcode form, and one decoded instruction.
 *
 * cpu/insn.def is the only description of the instruction set. It is expanded here into the ids and
 * the prototypes of the bodies, and in insn_table.c into rows. The decoder, the interpreter, CPUID
 * policy, tests and (later) the JIT all read those rows. How rows are written: top of insn.def.
 */
#pragma once

#include "mem/base/types.h"

struct vcpu;
struct insn;

/* Executes one instruction. v->rip is its address and v->next_rip the following one (which a branch
 * changes). false: a fault is recorded and no state was changed. */
typedef bool insn_body(struct vcpu *v, const struct insn *i);

enum insn_id {
    INSN_INVALID, /* the encoding is not an instruction: #UD */
#define INSN(id, ...) INSN_##id,
#define SIMD(id, ...) INSN_##id,
#include "cpu/insn.def"
#undef INSN
#undef SIMD
    INSN_COUNT
};

/* Prototypes of the bodies. A SIMD row has one only with T_BODY. */
#define INSN(id, ...) insn_body op_##id;
#define SIMD(id, ...) insn_body op_##id;
#include "cpu/insn.def"
#undef INSN
#undef SIMD

enum insn_space { SPACE_LEGACY, SPACE_VEX, SPACE_EVEX };
enum insn_map { MAP_1B, MAP_0F, MAP_0F38, MAP_0F3A, MAP_COUNT };
enum insn_prefix {
    PFX_ANY, /* 66/F3/F2 keep their ordinary meaning */
    PFX_NP,  /* exactly this mandatory prefix; F3 and F2 (the later one) win over 66 */
    PFX_66,
    PFX_F3,
    PFX_F2,
    PFX_NO_F2, /* anything but F2 */
    PFX_NO_REP /* anything but F3 and F2 */
};
enum insn_mod { MOD_ANY, MOD_MEM, MOD_REG, MOD_IGNORED /* always a register: MOV CRn */ };
enum insn_mode { MODE_ANY, MODE_NOT64, MODE_ONLY64 };
/* W of a key. W_GPR0/W_GPR1: W only chooses the width of a general register, so that outside 64-bit
 * mode it is ignored and counts as 0 (VMOVD/VMOVQ, VCVTSI2SS, ...). W_1_AMD: 1, but AMD processors
 * ignore it. */
enum insn_w { W_ANY, W_0, W_1, W_GPR0, W_GPR1, W_1_AMD };
/* L of a key. L_LIG: ignored, scalar. For EVEX, rows with L_ANY, L_1 or L_12 need AVX512VL at 128
 * and 256 bits on top of their feature; L_0, L_2 and L_LIG never do. */
enum insn_l { L_ANY, L_0, L_1, L_2, L_LIG, L_12 /* 256 or 512 */ };
/* EVEX tuple: what a disp8 is multiplied by (SDM 2 tables 2-36 and 2-37). */
enum insn_tuple {
    TUPLE_NONE,  /* 1 */
    TUPLE_FV,    /* vector length, or the broadcast element */
    TUPLE_HV,    /* half of it, or the broadcast element (32 bits) */
    TUPLE_FVM,   /* vector length */
    TUPLE_HVM,   /* half */
    TUPLE_QVM,   /* quarter */
    TUPLE_OVM,   /* eighth */
    TUPLE_T1S8,  /* one byte */
    TUPLE_T1S16, /* one word */
    TUPLE_T1S,   /* 32 or, with W, 64 bits */
    TUPLE_T1F32, /* 32 bits */
    TUPLE_T1F64, /* 64 bits */
    TUPLE_T2,    /* two of 32 or 64 bits by W */
    TUPLE_T4,
    TUPLE_T8, /* eight of 32 bits */
    TUPLE_M128,
    TUPLE_DUP /* MOVDDUP: 8, 32, 64 */
};

/* Where in the opcode space a row lives. Zero means "any" for every field after opcode. */
struct insn_key {
    u8 space, map, opcode;
    u8 prefix;  /* enum insn_prefix */
    u8 reg, rm; /* 1 + required ModRM field */
    u8 mod, mode;
    u8 w;      /* enum insn_w: VEX/EVEX.W, REX.W for legacy rows */
    u8 l;      /* enum insn_l */
    u8 plus_r; /* the low three opcode bits are a register */
    u8 rexb0;  /* only without REX.B (NOP among the XCHG forms) */
    u8 tuple;  /* enum insn_tuple */
};

/* How the effective operand size comes about. */
enum insn_size {
    SZ_OSZ,  /* 16, 32 or 64: CS.D, 66h, REX.W */
    SZ_D64,  /* the same, but 64 by default (16 with 66h) in 64-bit mode: PUSH, POP, ENTER, ... */
    SZ_F64,  /* near branches: 64 in 64-bit mode; there 66h is ignored by Intel and means 16 on AMD
              */
    SZ_BYTE, /* 8-bit operands: osz is 1 */
    SZ_Y,    /* 32, or 64 with REX.W/VEX.W in 64-bit mode; 66h has no influence */
    SZ_NAT,  /* 64 in 64-bit mode, else 32: control and debug registers */
};

/* Operand kinds, in the letters of SDM 2 appendix A.2 (the few of ours are explained). */
/* clang-format off */
#define OPERAND_KINDS(X)                                                                           \
    X(None)                                                                                        \
    X(Eb)                                                                                          \
    X(Ew)                                                                                          \
    X(Ed)                                                                                          \
    X(Eq)                                                                                          \
    X(Ev)                                                                                          \
    X(Ey)                                                                                          \
    X(Gb)                                                                                          \
    X(Gw)                                                                                          \
    X(Gd) X(Gv) X(Gy) X(Ib) X(Ibs) /* sign-extended to the operand size */ X(Iw) X(Iz) X(Iv) X(Jb) \
        X(Jz) X(M) /* memory without a size */ X(Mb) X(Mw) X(Md) X(Mq) X(Mdq) X(Mv) X(My) X(Mz)    \
            X(Mp) /* far pointer */ X(Ms) /* GDTR image */ X(Ma) /* BOUND pair */ X(               \
                M2q) /* 8B or 16B */                                                               \
        X(Ob) X(Ov) X(Xb) X(Xv) X(Yb) X(Yv) X(Xz) X(Yz) X(Sw) X(Cn) X(Dn) X(Rn) X(Gn) X(Ry) X(Rd)  \
            X(Zb) X(Zv) /* register in the opcode */ X(Ap) X(By) /* VEX.vvvv general register */   \
        X(AL) X(CL) X(DX) X(AX) X(rAX) X(eAX) X(One) X(ES) X(CS) X(SS) X(DS) X(FS) X(GS)           \
            X(EwRv) /* memory: 16 bits, register: operand size (SLDT, STR, SMSW, MOV Ev,Sw) */     \
        X(ST0) X(STi) X(Mf32) X(Mf64) X(Mf80) X(Mi16) X(Mi32) X(Mi64) X(Mbcd) X(Menv) X(Mfpu)      \
            X(Pq) X(Qq) X(Qd) X(Nq) /* MMX: reg, rm, rm with 32-bit memory, register only */       \
        X(Vdq) X(Wdq) X(Wq) X(Wd) X(Ww) X(Wb) X(Udq) /* XMM; W*: memory of that size */            \
        X(Vx) X(Hx) X(Wx) X(Ux) X(Lx) /* sized by vector length; Lx: register in imm8[7:4] */      \
        X(Hdq) X(Ldq) X(Vhx) X(Whx) X(Uhx) X(Vqx) X(Wqx) X(Wex) X(Vex) /* half, quarter, eighth */ \
        X(Wdup) /* memory of MOVDDUP: 8 bytes at 128 bits, else all */                             \
        X(Vqq) X(Wqq) X(Hqq) X(Uqq) X(Lqq) X(Voq) X(Woq) X(Hoq) /* always 256 / 512 bits */        \
        X(VMd) X(VMq) /* VSIB memory */ X(Kr) X(Kv) X(Km) X(KmB) X(KmW) X(KmD) X(KmQ) X(KR)        \
            X(BCx) /* EVEX full-vector memory with embedded broadcast */ X(BChx) X(XMM0)
/* clang-format on */

enum operand_kind {
#define X(kind) OPND_##kind,
    OPERAND_KINDS(X)
#undef X
        OPND_COUNT
};

enum insn_trait {
    T_LOCK = 1u << 0, /* LOCK is allowed when the destination is memory */
    T_PRIV = 1u << 1, /* #GP(0) unless CPL 0 (the decoder does not check; bodies do) */
    T_ENDS =
        1u << 2, /* control may go elsewhere, or the machine state that blocks depend on changes */
    T_W = 1u << 3,        /* operand 0 is written, not read (default: read and written) */
    T_R = 1u << 4,        /* operand 0 is only read */
    T_RW1 = 1u << 5,      /* operand 1 is written as well (XCHG, XADD, MULX) */
    T_REP = 1u << 6,      /* REP/REPE/REPNE repeat it */
    T_IO = 1u << 7,       /* may reach a device register or change what interrupts are pending */
    T_FPU = 1u << 8,      /* x87: #NM by CR0.EM/TS, #MF by a pending error */
    T_MMX = 1u << 9,      /* as T_FPU, and leaves x87 in MMX state */
    T_SSE = 1u << 10,     /* CR4.OSFXSR, CR0.EM/TS */
    T_AVX = 1u << 11,     /* VEX: CR4.OSXSAVE, XCR0 */
    T_EVEX = 1u << 12,    /* EVEX or opmask: XCR0 AVX-512 bits */
    T_ALIGN = 1u << 13,   /* memory operand must be aligned to its size (#GP) */
    T_FPEXC = 1u << 14,   /* may raise SIMD floating-point exceptions (#XM) */
    T_NOWAIT = 1u << 15,  /* x87 without the pending-error check (FNSTCW, ...) */
    T_PE = 1u << 16,      /* #UD in real and V86 mode */
    T_BYTEREG = 1u << 17, /* GPR operands of byte size: high-byte registers apply */
    T_LOCK_IMPLIED = 1u << 18, /* XCHG with memory */
    T_STRICT = 1u << 19,       /* T_ALIGN holds even with MXCSR.MM (MOVAPS, MOVNTDQ) */
    T_MASK = 1u << 20,         /* EVEX: takes an opmask (merging) */
    T_ZERO = 1u << 21,         /* EVEX: zeroing allowed */
    T_BCST = 1u << 22,         /* EVEX.b with memory: broadcast */
    T_ER = 1u << 23,           /* EVEX.b with registers: embedded rounding */
    T_SAE = 1u << 24,          /* EVEX.b with registers: suppress all exceptions */
    T_NODS = 1u << 25,         /* computes an address but makes no access (LEA, NOP Ev, INVLPG) */
    T_FAULT_SUPP = 1u << 26,   /* masked-out elements of the memory operand do not fault */
    T_VSIB_UNIQUE = 1u << 27,  /* gather: #UD when registers coincide */
    T_BODY = 1u << 28,         /* a row of class NATIVE with a body of its own */
    /* Bytes per element of a masked memory operand (T_FAULT_SUPP): two bits, log2; default 1. */
    T_ELEM2 = 1u << 29,
    T_ELEM4 = 2u << 29,
    T_ELEM8 = 3u << 29,
    T_DENSE = 1u << 31, /* only active elements are in memory, packed (VPCOMPRESS, VPEXPAND) */
    T_DUPLICATE = 1ull << 32, /* the memory operand is repeated to fill the vector (VBROADCAST) */
    /* Usual sets of EVEX rows: a masked vector (T_EV) or opmask (T_EVK) destination and a memory
     * operand of elements of 1, 2, 4 or 8 bytes, of which only active ones are accessed. */
    T_EV = T_EVEX | T_MASK | T_ZERO,
    T_EV1 = T_EV | T_FAULT_SUPP,
    T_EV2 = T_EV1 | T_ELEM2,
    T_EV4 = T_EV1 | T_ELEM4,
    T_EV8 = T_EV1 | T_ELEM8,
    T_EVK1 = T_EVEX | T_MASK | T_FAULT_SUPP,
    T_EVK2 = T_EVK1 | T_ELEM2,
    T_EVK4 = T_EVK1 | T_ELEM4,
    T_EVK8 = T_EVK1 | T_ELEM8,
};

/* How the JIT will treat it (DESIGN.md section 5). */
enum insn_class {
    CLASS_COPY, /* same bytes with operands rewritten */
    CLASS_MEM,  /* plain loads, stores, LEA, string operations: lowered by hand */
    CLASS_BRANCH,
    CLASS_CALL,   /* the interpreter's body */
    CLASS_NATIVE, /* SIMD, x87: the host instruction itself; the interpreter runs it as a thunk */
};

struct insn_row {
    const char *name; /* "ADD_EvGv" */
    struct insn_key key;
    u8 operands[4]; /* enum operand_kind */
    u8 size;        /* enum insn_size */
    u8 jit;         /* enum insn_class */
    u16 feature;    /* enum cpu_feature that gates it (cpu/feature.h); FEAT_BASE: none */
    u32 flags_read, flags_written, flags_undefined; /* enum rflags */
    u64 traits;                                     /* enum insn_trait */
};

extern const struct insn_row insn_rows[INSN_COUNT];
/* The bodies, apart from the rows so that table and decoder link without them (insn_bodies.c). */
extern insn_body *const insn_bodies[INSN_COUNT];

enum { REG_NONE = 0xff, REG_IP = 0xfe, REG_HIGH = 0x10 };

enum insn_flags {
    I_LOCK = 1u << 0,
    I_REP = 1u << 1,   /* F3 (REP, REPE) */
    I_REPNE = 1u << 2, /* F2 */
    I_REX = 1u << 3,
    I_REXW = 1u << 4, /* REX.W or (E)VEX.W */
    I_OSZ = 1u << 5,  /* 66h present */
    I_ASZ = 1u << 6,
    I_MEM = 1u << 7, /* the ModRM operand is memory */
    I_MODRM = 1u << 8,
    I_SEG = 1u << 9, /* explicit segment override */
    I_VEX = 1u << 10,
    I_EVEX = 1u << 11,
    I_EVEX_B = 1u << 12,
    I_EVEX_Z = 1u << 13,
};

/* One decoded instruction. Register numbers are complete (REX, VEX and EVEX bits included). For
 * byte operands without REX, numbers 4-7 of reg and rm are AH..BH and appear as REG_HIGH | (n - 4).
 */
struct insn {
    insn_body *body; /* NULL after insn_decode(); the decode cache fills it in */
    i64 imm;    /* immediate, sign-extended (Ib and Iw zero-extended); branch displacement; moffs */
    i64 disp;   /* displacement, sign-extended and scaled (EVEX) */
    u16 id;     /* enum insn_id */
    u16 imm2;   /* second immediate: selector of Ap, level of ENTER, second byte of EXTRQ */
    u16 flags;  /* enum insn_flags */
    u8 len;     /* 1..15 bytes */
    u8 osz;     /* effective operand size in bytes: 1, 2, 4, 8 */
    u8 asz;     /* effective address size in bytes: 2, 4, 8 */
    u8 seg;     /* enum seg of the memory operand (override or default); without a ModRM memory
                   operand: the override or DS */
    u8 reg, rm; /* ModRM fields, extended; rm only if not I_MEM; +r register in rm */
    u8 modrm;   /* the byte itself */
    u8 base, index, scale; /* memory operand: registers or REG_NONE/REG_IP, shift count 0..3; index
                              is a vector register for VSIB forms */
    u8 vvvv;               /* VEX/EVEX second source, extended */
    u8 vl;                 /* 0: 128, 1: 256, 2: 512 */
    u8 aaa;                /* EVEX opmask register */
    u8 opcode;             /* last opcode byte */
    u8 modrm_at;           /* offset of the ModRM byte in bytes[] */
    u8 opcode_at;          /* offset of the opcode byte in bytes[] */
    u8 bytes[15];
};

/* What decoding depends on besides the bytes. */
struct decode_ctx {
    const struct cpu_model *model; /* features; NULL: all rows exist */
    u8 code_size;                  /* 2, 4, 8 */
    bool protected_mode;           /* CR0.PE and not V86: VEX and EVEX exist */
};

enum decode_result {
    DECODE_OK,
    DECODE_SHORT,    /* more bytes than count are needed */
    DECODE_TOO_LONG, /* more than 15 bytes: #GP */
    DECODE_UD,       /* not an instruction; i->len is what was consumed, i->id INSN_INVALID (#UD) */
};

/* Decodes one instruction from count bytes (<= 15 are looked at). */
enum decode_result insn_decode(const struct decode_ctx *ctx, const u8 *bytes, unsigned count,
                               struct insn *i);
/* The row a decoded instruction came from. */
static inline const struct insn_row *insn_row(const struct insn *i)
{
    return &insn_rows[i->id];
}
/* Size in bytes of the memory operand of a decoded instruction, 0 if it makes no access or the size
 * is decided at run time (FXSAVE, XSAVE, strings with REP count once). */
unsigned insn_mem_size(const struct insn *i);
/* The row and the bytes ("ADD_EvGv 48 01 d8"). */
void insn_describe(const struct insn *i, char *text, size_t size);
/* Assembly language before that ("add rax, rbx ; ADD_EvGv 48 01 d8"), for an instruction at ip in
 * code of code_size. Only the latter where Capstone does not know the instruction. Slow: for
 * traces. */
void insn_disassemble(const struct insn *i, u64 ip, unsigned code_size, char *text, size_t size);
