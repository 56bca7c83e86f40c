/* SPDX-License-Identifier: MIT
 *
 * One conformance case: a machine state, the code to run from it, and what came out. The host
 * (native.h) and every engine (engine.h) start from the same struct conform_case and answer with a
 * struct conform_outcome; compare.h says whether two answers agree.
 *
 * Code runs in user mode (CPL 3) at the same linear addresses on both sides. All of the address
 * space that a case may touch is the arena below; everything else is unmapped. Before each case
 * the arena holds conform_arena_byte() of each address, then the case's patches; the code pages
 * hold INT3 wherever the case puts no code, so that running on, or branching anywhere in them, ends
 * the case with #BP.
 */
#pragma once

#include "cpu/regs.h"
#include "mem/base/types.h"

/* -- the arena -- */

/* Two code pages (read, write, execute: sequences store into their own code), two data pages, one
 * page that can only be read, two stack pages; only code pages are executable. The pages before and
 * behind each are unmapped. All below 2 GiB, so that 32-bit code and
 * displacements reach it. */
enum conform_arena {
    ARENA_CODE = 0x10000000,
    ARENA_CODE_SIZE = 2 * 4096,
    ARENA_DATA = 0x20000000,
    ARENA_DATA_SIZE = 2 * 4096,
    ARENA_RO = 0x20010000,
    ARENA_RO_SIZE = 4096,
    ARENA_STACK = 0x30000000,
    ARENA_STACK_SIZE = 2 * 4096,
};

/* What an arena byte holds before patches: a fixed pseudo-random value by address, the same in
 * every process. Code pages hold INT3 instead. */
u8 conform_arena_byte(u32 address);

/* Selectors that exist on both sides (RPL 3): Linux's flat user segments, and an LDT. */
enum conform_selector {
    SEL_CS64 = 0x33,
    SEL_CS32 = 0x23,
    SEL_FLAT = 0x2b,      /* data, 4 GiB, based at 0 */
    SEL_CODE16 = 0x07,    /* base ARENA_CODE, limit FFFF, 16-bit, readable */
    SEL_DATA16 = 0x0f,    /* base ARENA_DATA, limit FFFF, 16-bit, writable */
    SEL_STACK16 = 0x17,   /* base ARENA_STACK, limit FFFF, 16-bit, writable */
    SEL_CODE32 = 0x1f,    /* base ARENA_CODE, limit 1FFF, 32-bit, readable */
    SEL_DATA_RO = 0x27,   /* base ARENA_DATA, limit 17FF, read-only, 32-bit */
    SEL_DATA_DOWN = 0x2f, /* base ARENA_DATA, expand-down, limit 07FF, 32-bit */
    SEL_ABSENT = 0x37,    /* as DATA16, not present */
    SEL_CODE_XO = 0x3f,   /* as CODE32, execute-only */
    SEL_CODE_CONF = 0x47, /* as CODE32, conforming, not present: Linux installs no other */
    SEL_CPU_NODE = 0x7b,  /* Linux's: read-only, expand-down, its limit the processor's number */
};

enum { CONFORM_SEGMENTS = 6 };

/* -- state -- */

/* RFLAGS that a case may start with; of the others IF and bit 1 are set, the rest clear. TF is for
 * nobody, and RF (which a fault's frame sets) is the one bit that is not compared. */
#define CONFORM_FLAGS_IN (F_CF | F_PF | F_AF | F_ZF | F_SF | F_DF | F_OF | F_NT | F_AC | F_ID)

/* Everything user code can see. Outside 64-bit mode only the low halves of gpr and rip and
 * registers 0-7 count. */
struct conform_state {
    u64 gpr[16];
    u64 rip;
    u64 rflags;
    u64 fs_base, gs_base;           /* 64-bit mode only; elsewhere the selectors decide */
    u16 selector[CONFORM_SEGMENTS]; /* enum seg: ES CS SS DS FS GS. CS also gives the mode. */
    u32 mxcsr;
    u32 pkru;
    u64 k[8];
    /* FXSAVE64 bytes 0-31 (FCW, FSW, abridged FTW, FOP, FIP, FDP; bytes 24-31 zero), then ST0-ST7
     * in 16-byte slots. */
    u8 x87[160] ALIGNED(64);
    u8 zmm[32][64] ALIGNED(64);
};

/* -- cases -- */

enum {
    CASE_CODE_MAX = 4096,  /* bytes of code */
    CASE_PATCHES_MAX = 4,  /* places of memory that differ from the arena's pattern */
    CASE_PATCH_BYTES = 96, /* longest patch */
};

enum conform_mode { MODE_64, MODE_32, MODE_16, CONFORM_MODES };

struct conform_patch {
    u32 address; /* in the data, read-only or stack pages; may run over the edge of a page */
    u32 size;
    u8 bytes[CASE_PATCH_BYTES];
};

struct conform_case {
    u16 row;        /* enum insn_id of the instruction under test; INSN_INVALID for sequences */
    u8 mode;        /* enum conform_mode */
    u8 insn_length; /* of the instruction under test; 0 for sequences */
    u32 code_address;
    u32 code_size;
    u32 patch_count;
    u32 undefined_flags; /* of this very case: the row's, or less where operands decide */
    /* XCR0 that the host's outcome is for, where the row reads it (XSAVE and its like); else 0. The
     * engine has it too where its processor model allows. */
    u64 xcr0;
    u64 seed; /* what the case was generated from; reproduces it */
    struct conform_patch patch[CASE_PATCHES_MAX];
    struct conform_state in ALIGNED(64);
    u8 code[CASE_CODE_MAX];
};

/* -- outcomes -- */

enum {
    OUTCOME_LINES_MAX = 128, /* changed 64-byte lines kept */
    OUTCOME_NONE = 0xff,     /* no exception: the case ran into its time or instruction limit */
    OUTCOME_LOST = 0xfe, /* the host could not run it: the child died, or `in` cannot be loaded */
    OUTCOME_SYSCALL = 0xfd, /* it asked the host's kernel for something, and was refused */
};

struct conform_line {
    u32 address;
    u8 bytes[64];
};

struct conform_outcome {
    struct conform_state out ALIGNED(64);
    u8 vector;      /* how it ended: 3 (#BP) for a case that ran to its end, or the exception, or
                       one of the OUTCOMEs above */
    u32 error_code; /* 0 where the vector has none */
    u64 cr2;        /* #PF only */
    u32 line_count; /* lines of the arena that no longer hold what the case started with, ascending;
                       OUTCOME_LINES_MAX + 1 if there were more */
    struct conform_line line[OUTCOME_LINES_MAX];
};

static inline unsigned conform_code_size(enum conform_mode mode)
{
    return mode == MODE_64 ? 8 : mode == MODE_32 ? 4 : 2;
}
