/* SPDX-License-Identifier: MIT
 *
 * The inside of jit/: blocks, links, the code cache, and the conventions of translated code.
 *
 * Registers. %gs is based at the struct vcpu. Guest registers live in host registers of the same
 * number, but RSP lives in R11, and R9, R10, R11 live in the vCPU. R9 and R10 are scratch (T0, T1).
 * The host's RSP is a host stack, 16-byte aligned in block code.
 *
 * Vectors, opmasks and MXCSR are the guest's in the host's registers, or in vcpu.fpu:
 * vcpu.jit.vectors tells. Whoever calls C saves them first. The same holds for x87 and MMX
 * (vcpu.jit.x87), but filling the TLB, which uses neither, leaves them where they are.
 *
 * Flags. Arithmetic flags are in the host's flags or, in the format of LAHF and SETO, in
 * vcpu.jit.flags (JF). A block has an entry for either. The other flags are always in vcpu.rflags.
 *
 * A block belongs to a place in RAM, the RIP it was reached by and a mode, so that addresses are
 * constants in it. It lives as long as the page's generation (mem/ram.h) stays. Blocks of one page
 * jump to each other directly, as they die together and one that is left may finish; jumps to
 * another page go through a cell that is emptied whenever a mapping changes or code dies.
 */
#pragma once

#include "cpu/decode_cache.h"
#include "cpu/insn.h"
#include "cpu/vcpu.h"
#include "jit/emit/emit.h"
#include "jit/jit.h"

enum { T0 = HOST_R9, T1 = HOST_R10, HOST_GUEST_RSP = HOST_R11 };

enum {
    BLOCK_BUCKETS = 1 << 15,
    JUMP_CACHE = 1 << 11, /* entries */
    JUMP_CACHES = 8,      /* modes with a jump cache of their own */
    CELLS = 1 << 16,
    BLOCK_INSNS = 64,
    SAMPLES = 64,
    FILL_IF_DIRTY = 1 << 16,   /* with the size given to fill_write: do not make the page dirty */
    BLOCK_CODE_MAX = 64 << 10, /* most bytes one block may need */
};

/* What blocks depend on besides their place: bits of jit_mode(). */
enum jit_mode_bits {
    MODE_CODE64 = 1u << 0,
    MODE_CONTEXT = 3u << 1, /* enum tlb_context */
    MODE_PROTECTED = 1u << 3,
    MODE_STACK64 = 1u << 4,
    /* SIMD registers may be used, and MXCSR masks all exceptions. */
    MODE_SSE = 1u << 5,
    MODE_AVX = 1u << 6,
    MODE_AVX512 = 1u << 7,
    /* x87 and MMX may be used, all x87 exceptions are masked. */
    MODE_X87 = 1u << 8,
    MODES = 1u << 9
};
#define MODE_CONTEXT_SHIFT 1
#define MODE_NONE          (~0u) /* the interpreter's */

/* vcpu.jit.x87: where the guest's x87 state is. */
enum jit_x87 {
    X87_MEMORY, /* vcpu.fpu */
    X87_LOADED, /* the host's registers */
    X87_SAVED,  /* vcpu.jit.x87_image: jit_x87_settle() is due before anyone looks at vcpu.fpu */
};

/* One instruction that translated code may hand to the interpreter. */
struct jit_insn {
    struct insn insn ALIGNED(64);
    u64 rip;
    u32 behind; /* instructions of the block after this one */
    u32 host;   /* where its code begins, from the block's */
    bool taken; /* a conditional jump of a path: the block goes on where it jumps to */
};

/* The way that a loop was seen to go (path.c). */
struct jit_path {
    unsigned count;
    u64 rip[BLOCK_INSNS + 1]; /* of its instructions; then the first again */
};

/* Where translated code was interrupted, and how often. */
struct jit_sample {
    u64 rip;
    u32 mode;
    u32 count;
};

struct jit_block {
    u64 key; /* byte offset in RAM */
    u64 rip;
    u32 mode;
    u32 generation;
    const struct ram_page *page;
    u64 entry_host;    /* code address, flags in the host's flags */
    u64 entry_saved;   /* flags in JF */
    u64 entry_guarded; /* the same, for who does not know that the page is mapped */
    u16 count;
    u8 leaves;       /* how often a shared check made it leave */
    bool one_by_one; /* translated without shared checks, because of that */
    bool path;       /* along a path, not as instructions follow each other */
    const struct jit_insn *insns;
    u64 code;                   /* code address of all that belongs to the block */
    u32 code_size, inline_size; /* bytes; the latter without what is out of line */
    struct jit_block *next;
};

/* A jump to a known RIP that goes to its block once that exists. */
struct jit_link {
    u64 target;
    bool saved; /* arrives with flags in JF */
    u8 *rel32;  /* the jump to patch (same page), or NULL: cell */
    u32 cell;
    u64 stub; /* where the jump goes as long as it is not linked */
};

/* Where an indirect jump to a RIP goes. An empty entry has a non-canonical tag that belongs into
 * another place. */
struct jump_cache_entry {
    u64 tag;
    u64 code;
};

struct jit {
    struct vcpu *v;
    struct jit_options options;
    struct jit_stats stats;
    struct jit_check *check; /* -engine check, else NULL */
    bool unbounded;          /* no budget: -engine check in real time */
    u64 calls[INSN_COUNT];   /* of bodies, by row */

    u8 *code; /* writable view */
    u64 code_size;
    u64 delta;
    u8 *code_start; /* behind the stubs */
    struct emit emit;
    u8 *arena; /* blocks, links, instructions */
    size_t arena_size, arena_used;

    struct jit_block *buckets[BLOCK_BUCKETS];
    struct jump_cache_entry jump_cache[JUMP_CACHES][JUMP_CACHE];
    u8 jump_cache_of[MODES]; /* 1 + index, or 0 */
    unsigned jump_cache_count;
    u64 cells[CELLS];
    u32 cell_count;
    struct jit_link *cell_link[CELLS];
    u32 armed[CELLS];
    u32 armed_count;
    struct jit_sample samples[SAMPLES];
    u64 hot;        /* RIP that a path is wanted from, 0: none */
    u64 last_left;  /* TSC when a shared check last made a block leave */
    u64 code_epoch; /* that cells and jump caches are valid for */

    /* Common code (stubs.c). */
    void (*enter)(u64 target);
    u64 exit_lookup; /* v->rip is set, flags in JF */
    u64 exit_link;   /* T0: struct jit_link; flags in JF */
    u64 exec;        /* T0: struct jit_insn; called */
    u64 fill_read;   /* T0: address, T1: size; returns the host address in T0, or 0; called */
    u64 fill_write;
    u64 load_vectors;        /* called; destroys flags */
    u64 load_x87;            /* called; keeps everything else */
    bool avx, avx512, xsave; /* of the host */
    bool scan;               /* its BSF and BSR leave all flags as cpu/ops/bits.c does */
};

enum { ARENA_MIN = 4 << 20, ARENA_MAX = 64 << 20 };

static inline struct jit *jit_of(const struct vcpu *v)
{
    return v->jit.owner;
}

/* -- cache.c -- */
MUST_USE enum status jit_cache_create(struct jit *j, struct error *err);
void jit_cache_destroy(struct jit *j);
/* Forgets every block. */
void jit_cache_flush(struct jit *j);
/* Memory that lives until the next flush; NULL: flush first. */
void *jit_arena(struct jit *j, size_t size);
/* Gives back what is behind the first size bytes of the last allocation. */
void jit_arena_trim(struct jit *j, const void *last, size_t size);
/* Empties cells and jump caches: code died. */
void jit_unlink_all(struct jit *j);
struct jit_block *jit_block_find(struct jit *j, u64 key, u64 rip, u32 mode);
void jit_block_insert(struct jit *j, struct jit_block *block);
void jit_block_remove(struct jit *j, struct jit_block *block);

/* The jump cache of a mode. */
struct jump_cache_entry *jit_jump_cache(struct jit *j, u32 mode);
/* Lets indirect jumps to rip go to block. */
void jit_jump_cache_enter(struct jit *j, const struct jit_block *block);

/* -- stubs.c -- */
void jit_emit_stubs(struct jit *j);

/* -- translate.c -- */
/* Translates the run at v->rip. NULL: not translatable here (the interpreter's). */
struct jit_block *jit_translate(struct jit *j, const struct decode_run *run, u64 key, u32 mode);
/* Replaces a block at v->rip whose shared checks fail by one without; who jumps to it gets there.
 */
void jit_retranslate(struct jit *j, const struct decode_run *run, struct jit_block *block);

/* Translates a path that begins where old does, and puts it into its place. false: it holds what
 * paths cannot. */
bool jit_translate_path(struct jit *j, struct jit_block *old, const struct jit_path *path);

/* -- path.c -- */
/* Translated code was interrupted at v->rip. */
void jit_sample(struct jit *j, u32 mode);
/* Executes one turn of the loop at block, watches its way and translates that. end: instruction
 * count not to be passed; ~0: none. true: the engine is left, *why tells why. */
bool jit_follow_path(struct jit *j, struct jit_block *block, u64 end, enum vcpu_exit *why);

/* -- x87.c -- */
/* Brings a saved x87 state home, with the guest's instruction and data pointers. */
void jit_x87_settle(struct vcpu *v);
/* MODE_X87 or 0. */
u32 jit_x87_mode(const struct vcpu *v);

/* -- bound.c -- */
/* After FS or GS changed, before translated code outside 64-bit mode is entered. */
void jit_update_bounds(struct vcpu *v);
/* -- trace.c -- */
/* Guest and host code side by side. */
void jit_trace_block(const struct jit *j, FILE *out, const struct jit_block *block);
void jit_trace_insn(const struct jit *j, FILE *out, u64 rip, const struct insn *i);

/* -- run.c -- */
/* Runs translated code from block until it leaves; counted: not beyond end. */
void jit_enter(struct jit *j, const struct jit_block *block, u64 end);

/* -- run.c: called by translated code -- */
u64 jit_exec_one(struct vcpu *v, const struct jit_insn *i);
u64 jit_fill(struct vcpu *v, u64 gla, u64 size_and_flags, u64 write);
