/* SPDX-License-Identifier: MIT
 *
 * How a row becomes a thunk, for native*.c and for bodies of SIMD rows (T_BODY).
 *
 * A thunk is a host function that executes one guest instruction with other registers. What the
 * operand letters of the row say decides everything, so a new SIMD row needs no code:
 *   1. native_operands.c maps each letter to the slot that holds it (ModRM.reg, ModRM.rm, vvvv,
 *      imm8[7:4], implicit XMM0) and to a register file (vector, MMX, general, opmask).
 *   2. native_emit.c writes: loads of every operand the instruction reads into the fixed register
 * of its field, the same opcode, mandatory prefix, W, vector length, EVEX.b/z and immediate with
 *      those registers and [rdi] as memory operand, then stores of what it writes. Operand 0 is
 * read and written; T_W: only written; T_R: only read; T_RW1: operand 1 is written too. A masked
 *      EVEX destination is read as well. Opmask k<aaa> becomes k1.
 *   3. native_run.c loads call.mem from guest memory (masked by element with T_FAULT_SUPP), calls
 *      the thunk and writes memory, general registers, opmasks and flags (row's flags_written)
 * back. Vector rows are loaded and stored in place, by pointers: 16 bytes for legacy rows (the rest
 * of the destination stays), the whole row for VEX and EVEX (which clear up to the full length).
 * T_FPEXC runs it under the guest's MXCSR. Embedded rounding and broadcast are bits of the encoding
 * and need nothing. VSIB forms cannot be thunks: they are bodies with T_BODY.
 *
 * A body of its own may prepare call.mem itself and use native_execute() (see MASKMOVDQU).
 */
#pragma once

#include "cpu/decode_internal.h"
#include "cpu/insn.h"
#include "cpu/native.h"
#include "cpu/vcpu.h"

/* Where a register operand is encoded; also the index of call fields. */
enum native_slot { SLOT_REG, SLOT_RM, SLOT_VVVV, SLOT_IS4, SLOT_XMM0, SLOT_COUNT };

/* The operand block; rdi points to it while a thunk runs. mem is first, so that [rdi] is the memory
 * operand. Thunk code knows the offsets. */
struct native_call {
    u8 mem[64] ALIGNED(64);
    u64 gpr[3];        /* by slot */
    u64 mmx[2];        /* by slot */
    u64 k[4];          /* by slot; [3] is the opmask k<aaa> */
    u64 rax, rdx, rcx; /* implicit operands of PCMPESTRI: lengths in, index out */
    u64 rflags;        /* arithmetic flags in (FCMOVcc) and out */
    u32 mxcsr;         /* the guest's, in and out */
    u32 host_mxcsr;
    u16 host_fcw;
    u8 fx[512] ALIGNED(64); /* FXSAVE64 image around an x87 instruction */
};

/* 0: done; NATIVE_SIGFPE: an unmasked SIMD exception stopped it, only call->mxcsr is changed;
 * NATIVE_SIGILL: the host does not know the encoding. The pointers are the vector rows of
 * ModRM.reg, ModRM.rm, vvvv and imm8[7:4] (or XMM0). */
typedef u64 native_fn(struct native_call *call, void *reg, void *rm, void *vvvv, void *fourth);

struct native_operand {
    u8 slot; /* enum native_slot */
    u8 file; /* enum operand_file: FILE_VEC, FILE_GPR, FILE_MMX, FILE_K */
    bool read, write;
};

struct thunk {
    u64 key;
    native_fn *run;
    struct native_operand operand[4];
    u8 count;
    u8 mem_size; /* bytes of the memory operand, 0: none */
    bool mem_read, mem_write;
    bool vectors_only; /* nothing but vector registers, memory, immediates and MXCSR */
    bool mxcsr;
    bool is4; /* the fourth pointer is imm8[7:4], else XMM0 */
};

/* -- native_operands.c -- */
/* Fills everything of t but key and run. */
void native_plan(const struct insn *i, struct thunk *t);

/* -- native_emit.c -- */
/* What the host can do, as far as thunks differ by it. */
struct native_host {
    bool avx, avx512f, avx512bw;
};
enum { THUNK_BYTES_MAX = 320 };
/* Writes the code of a thunk; returns its length, at most THUNK_BYTES_MAX. */
size_t native_emit(u8 *code, const struct native_host *host, const struct insn *i,
                   const struct thunk *t);
size_t native_emit_x87(u8 *code, const struct insn *i);
/* Where a thunk continues after an unmasked exception; the same code for all of them. */
size_t native_emit_fault_exit(u8 *code, const struct native_host *host);

/* -- native.c -- */
/* The thunk of i, made if need be. Valid until the next call. */
const struct thunk *native_thunk(struct native *n, const struct insn *i);
struct native_call *native_block(struct native *n);
/* Calls it with the SIGFPE handler armed. */
u64 native_call_thunk(struct native *n, const struct thunk *t, void *reg, void *rm, void *vvvv,
                      void *fourth);

/* -- native_run.c -- */
/* Steps 2 and 3 without guest memory: loads call fields from registers, runs, writes registers and
 * flags back. call.mem is the caller's business on both sides. false: #XM (or #UD) is recorded. */
bool native_execute(struct vcpu *v, const struct insn *i, const struct thunk *t);
/* Records #XM for the exceptions that stopped a thunk: #UD without CR4.OSXMMEXCPT. */
bool native_raise_xm(struct vcpu *v);

/* -- ops/x87.c -- */
bool x87_native(struct vcpu *v, const struct insn *i);
