/* SPDX-License-Identifier: MIT
 *
 * The inside of jit/: blocks, links, the code cache, and the conventions of translated code.
 *
 * Registers. %gs is based at the struct vcpu. Guest registers live in host registers of the same
 * number, but RSP lives in R11, and R9, R10, R11 live in the vCPU. R9 and R10 are scratch (T0, T1).
 * The host's RSP is the return stack of the mode (returns.c); stubs that call C change to the
 * thread's own.
 *
 * Vectors, opmasks and MXCSR are the guest's in the host's registers, or in vcpu.fpu:
 * vcpu.jit.vectors tells. Whoever calls C saves them first. The same holds for x87 and MMX
 * (vcpu.jit.x87), but filling the TLB, which uses neither, leaves them where they are.
 *
 * Flags. Arithmetic flags are in the host's flags or, in the format of LAHF and SETO, in
 * vcpu.jit.flags (JF), where a word may tell how to make them instead (deferred.c). A block has an
 * entry for either. The other flags are always in vcpu.rflags.
 *
 * A block belongs to a place in RAM, the RIP it was reached by and a mode, so that addresses are
 * constants in it. It lives until a store hits one of the 64-byte granules its instructions lie in
 * (mem/ram.h). Every vCPU has blocks of its own. It reads the log of hits in jit_follow_hits(), on
 * its own thread and never while translated code is on its stack: between two blocks, after it
 * looked for the one at RIP and before it enters it. Whoever stores to code of its own leaves the
 * block behind that instruction (jit_exec_one() compares the epoch), so the next one is new.
 *
 * An instruction that lies in two pages is a block of its own. The granules of such a block are
 * those in its first page. For the second one the code at all of its entries checks that it is
 * still mapped there and has the same bytes, so it needs no marks.
 *
 * Jumps go straight to their block: to its start inside a page, to its guarded entry from another
 * one, as mappings change. A block knows the jumps that lead to it; when it dies they get back
 * their stubs, so no code jumps into dead code. Dead blocks stay where they are, until their region
 * is evicted, and live again if the bytes are found to be what they were.
 *
 * The code cache and the arena are divided into regions that are filled in turn; when all are full,
 * the oldest is evicted with all its blocks. That happens in jit_translate() only, when no
 * translated code is on the stack. What points into the arena across that (vcpu.jit.link) is
 * dropped if jit.stats.evictions changed.
 */
#pragma once

#include "cpu/decode_cache.h"
#include "cpu/feature.h"
#include "cpu/insn.h"
#include "cpu/vcpu.h"
#include "jit/emit/emit.h"
#include "jit/jit.h"

enum { T0 = HOST_R9, T1 = HOST_R10, HOST_GUEST_RSP = HOST_R11 };

enum {
    BLOCK_BUCKET_BITS = 17,
    BLOCK_BUCKETS = 1 << BLOCK_BUCKET_BITS,
    PAGE_BUCKETS = 1 << 12,
    REGIONS = 8,
    DEAD_VERSIONS = 4,    /* of a block that are kept to be found again */
    JUMP_CACHE = 1 << 15, /* entries */
    JUMP_CACHES = 8,      /* modes with a jump cache of their own */
    RESTLESS_BITS = 14,   /* places whose accesses meet too many pages */
    SITE_MISSES = 2048,   /* of one site cost what a translation does; if any had as many ... */
    SITE_APART = 3200000, /* ... less than that many TSC cycles ago, it is one of those */
    BLOCK_INSNS = 64,
    SAMPLES = 64,
    JIT_LEAVE = 1, /* jit_exec_one(), jit_lookup(): translated code is to be left */
};

/* What blocks depend on besides their place: bits of jit_mode(). */
enum jit_mode_bits {
    MODE_CODE64 = 1u << 0,
    MODE_CONTEXT = 3u << 1, /* enum tlb_context */
    MODE_PROTECTED = 1u << 3,
    MODE_SEGMENTED = 1u << 4, /* DS, ES or SS is not flat: every access is judged (bound.c) */
    /* SIMD registers may be used, and MXCSR masks all exceptions. */
    MODE_SSE = 1u << 5,
    MODE_AVX = 1u << 6,
    MODE_AVX512 = 1u << 7,
    /* x87 and MMX may be used, all x87 exceptions are masked. */
    MODE_X87 = 1u << 8,
    MODE_CODE16 = 1u << 9,
    MODE_STACK16 = 1u << 10,
    MODE_EXPAND_DOWN = 1u << 11, /* a segment has a lower bound */
    /* The address space has the window (mem/window.h), and RSP is in it. */
    MODE_WINDOW = 1u << 12,
    MODES = 1u << 13,
    /* Above them: the number of the code segment, 0 for a flat one. */
    CODE_SEGMENTS = 1 << 12
};
#define HOT_NONE           (~0ull) /* 0 is where many 16-bit programs begin */
#define MODE_CONTEXT_SHIFT 1
#define MODE_CODE_SHIFT    13
#define MODE_NONE          (~0u) /* the interpreter's */

/* Base and limit of CS, which are constants of blocks. */
struct code_segment {
    u32 base, limit;
};

/* vcpu.jit.x87: where the guest's x87 state is. */
enum jit_x87 {
    X87_MEMORY, /* vcpu.fpu */
    X87_LOADED, /* the host's registers */
    X87_SAVED,  /* vcpu.jit.x87_image: jit_x87_settle() is due before anyone looks at vcpu.fpu */
};

/* One instruction of a block. Those that translated code may hand to the interpreter are kept in
 * the arena. */
struct jit_insn {
    struct insn insn;
    u64 rip;
    u32 host;   /* where its code begins, from the block's */
    u8 behind;  /* instructions of the block after this one */
    bool taken; /* a conditional jump of a path: the block goes on where it jumps to */
};

/* What becomes of an instruction whose check failed (lower/memory.c). Its out-of-line half in the
 * block pushes the place of this, as an offset in the arena, and calls a stub. */
struct jit_miss {
    u32 after; /* behind the instruction, as an offset in the code cache; 0: RIP is behind it */
    u32 insn;  /* struct jit_insn, as an offset in the arena */
    u32 block; /* struct jit_block, likewise */
    u16 size;  /* bytes that are accessed */
    u8 how;    /* enum miss_how */
};
static_assert(sizeof(struct jit_miss) == 16, "one for each check");
enum miss_how {
    MISS_IF_DIRTY = 1u << 0, /* a refill for a store must not make the page dirty */
    MISS_FLAGS = 1u << 1,    /* flags are not in JF: code behind the jump back saves them */
    MISS_LEAVES = 1u << 2,   /* the block cannot go on */
    /* What the code at after expects in the host's registers. */
    MISS_HOST_FLAGS = 1u << 3,
    MISS_VECTORS = 1u << 4,
    MISS_X87 = 1u << 5,
    MISS_EARLY = 1u << 6,  /* the access may never come: a refill must not mark the page accessed */
    MISS_WINDOW = 1u << 7, /* it met no page in the window */
};

/* Code of an instruction that faults if it meets no page in the window, and where it goes on then;
 * as offsets in the code cache. */
struct jit_window_site {
    u32 from; /* its first byte: it ends where another site begins */
    u32 away;
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

/* Bytes in a page that a block was made of. */
struct jit_span {
    u16 at, size;
};

struct jit_block {
    /* What is compared to find it comes first, in one cache line. */
    struct jit_block *next; /* in its bucket */
    u64 key;                /* byte offset in RAM */
    u64 rip;
    u32 mode;
    u32 generation;     /* of the page, when it was translated or found again */
    bool dead;          /* its bytes have changed */
    bool one_by_one;    /* translated without shared checks, as they failed */
    bool path;          /* along a path, not as instructions follow each other */
    bool arrives_saved; /* who came here first had flags in JF */
    bool hot;           /* translated anew as it is in use often, though it is no loop */
    bool quiet;         /* sets all flags before anything looks at them but bodies and faults ... */
    u16 written;        /* ... and what it writes before that: a bit per guest register */
    u8 leaves;          /* how often a shared check made it leave */
    u8 span_count, beyond_size;
    u16 count;              /* of instructions */
    u64 granules;           /* of the page that its instructions lie in */
    struct code_segment cs; /* outside 64-bit mode */
    const struct ram_page *page;
    const u8 *beyond;  /* the host's page that its only instruction goes on in, or NULL (cross.c) */
    u64 entry_host;    /* code address, flags in the host's flags */
    u64 entry_saved;   /* flags in JF */
    u64 entry_guarded; /* the same, for who does not know that the page is mapped */
    const struct jit_insn *insns; /* all of them, for traces, or NULL: they were not kept */
    /* Where its instructions lie in the page of its start; then the bytes of that, and those that
     * lie beyond that page. */
    const struct jit_span *spans;
    u64 code;                   /* code address of all that belongs to the block */
    u32 code_size, inline_size; /* bytes; the latter without what is out of line */
    struct jit_link *exits;     /* its jumps to other blocks */
    struct jit_link *incoming;  /* jumps that lead to it now */
    /* Others in its page's bucket (living ones), its region. */
    struct jit_block *next_of_page, *next_of_region;
};

/* What a jump does with flags that have a recipe. Its block takes them deferred if it is quiet and
 * leaves their registers alone. */
enum link_defers {
    DEFERS_NOT,
    DEFERS_JUMP,  /* JF tells how to make them; the other way makes them first */
    DEFERS_TAKEN, /* a conditional jump, with them in the host's flags; the other way defers them */
};

/* A jump to a known RIP that goes to its block once that exists. */
struct jit_link {
    u64 target;
    bool saved;               /* arrives with flags in JF */
    bool guarded;             /* comes from another page */
    u8 defers;                /* enum link_defers */
    u16 registers;            /* that deferred flags are made from */
    u8 *other_rel32;          /* of the jump behind other_way */
    u64 other_way;            /* code of the other kind of arrival: see link_defers */
    u8 *rel32;                /* of the jump */
    u64 stub;                 /* where it goes as long as it is not linked */
    struct jit_link *sibling; /* another exit of the block */
    /* Linked: in the list of the block it leads to. */
    struct jit_link *next, **back;
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
    u8 *code_start;   /* behind the stubs */
    struct emit emit; /* in the region in use */
    u8 *arena;        /* blocks, links, instructions */
    size_t arena_size, arena_used, arena_end;
    struct tlb_site *sites; /* within 2 GiB of the code's executable view */
    size_t site_count, site_used, site_end;
    u64 restless[1 << RESTLESS_BITS]; /* instructions: place_of() (site.c) */
    u64 site_time;                    /* TSC when one had its number of misses */
    struct jit_block *restless_block; /* to be made anew, or NULL */
    struct window *window;            /* or NULL */
    struct jit_window *windows;       /* window.c: what belongs to it */
    u32 window_used[REGIONS];         /* sites */
    unsigned region;                  /* in use */
    struct jit_block *region_blocks[REGIONS];

    struct jit_block *buckets[BLOCK_BUCKETS];
    struct jit_block *pages[PAGE_BUCKETS];
    struct jump_cache_entry jump_cache[JUMP_CACHES][JUMP_CACHE];
    u32 jump_cache_mode[JUMP_CACHES]; /* whose each is, without the code segment */
    unsigned jump_cache_count;
    struct jit_returns *returns;
    struct code_segment code_segment[CODE_SEGMENTS];
    u16 code_segment_hash[2 * CODE_SEGMENTS]; /* numbers, open addressing; 0: empty */
    u32 code_segment_count, code_segment_last;
    struct jit_sample samples[SAMPLES];
    u64 hot;        /* RIP that a path is wanted from, or HOT_NONE */
    u64 last_left;  /* TSC when a shared check last made a block leave */
    u64 code_epoch; /* hits before this one have been followed */

    /* Common code (stubs.c). */
    void (*enter)(u64 target);
    u64 exit_lookup; /* v->rip is set, flags in JF */
    /* Flags in JF; [1]: in the host's flags. */
    u64 exit_at[2];   /* T0: RIP */
    u64 leave_at[2];  /* the same, for what the run loop must look at */
    u64 exit_link[2]; /* T0: struct jit_link, as an offset in the arena */
    u64 exec;         /* T0: struct jit_insn, likewise; called */
    /* A check failed; called with the offset of a struct jit_miss pushed. By TLB context, for reads
     * and writes. T0: address - tag, T1: index. The host address is in T0 when it returns; or the
     * instruction has been executed and code goes on behind it; with MISS_FLAGS, if there is no
     * host address, code goes on MISS_JUMP bytes behind the call. */
    u64 miss[TLB_CONTEXTS][2];
    u64 miss_stack[TLB_CONTEXTS][2]; /* the same; T0: address - stack_tag */
    u64 miss_site[2];                /* the same in user mode; T0: address - tag, T1: site */
    u64 fill[2];                     /* the same; T0: address */
    u64 unfilled;                    /* as if there were no host address */
    /* The same if no refill can help; flags in JF, or in the host's flags. */
    u64 miss_exec, miss_exec_flags;
    /* Where a RET goes whose caller is another one, or not known. T0: RIP, T1: struct jit_insn of
     * the RET, as an offset in the arena, whose RSP is moved already; flags in JF. */
    u64 return_lost, return_none;
    u64 return_full;         /* called; ZF: no attention is wanted, the return stack is empty now */
    u64 load_vectors;        /* called; destroys flags */
    u64 load_x87;            /* called; keeps everything else */
    bool avx, avx512, xsave; /* of the host */
    /* Of what the interpreter does in software and so any guest may have: what the host lacks. */
    struct feature_set absent;
    bool scan;      /* its BSF and BSR leave all flags as cpu/ops/bits.c does */
    bool undefined; /* so do others that leave flags undefined, or nobody compares */
};

enum { MISS_JUMP = 5 };
enum { ARENA_MIN = 4 << 20, ARENA_MAX = 96 << 20, ARENA_ALIGN = 16 };
static_assert(BLOCK_INSNS <= 256, "jit_insn.behind");

/* The linear address of RIP in the code of a block. */
static inline u64 jit_linear(const struct jit_block *block, u64 rip)
{
    return block->mode & MODE_CODE64 ? rip : (u32)(block->cs.base + rip);
}

/* What is left of an instruction pointer that goes on behind an instruction. */
static inline u64 jit_rip_mask(u32 mode)
{
    return mode & MODE_CODE64 ? ~0ull : mode & MODE_CODE16 ? 0xffff : 0xffffffff;
}

static inline unsigned jit_context(u32 mode)
{
    return (mode & MODE_CONTEXT) >> MODE_CONTEXT_SHIFT;
}

/* Where translated code finds a member of a TLB table, or of an array in it the element that the
 * register index counts (else HOST_NONE). */
static inline struct emit_mem jit_tlb_at(unsigned context, size_t member, unsigned index)
{
    struct emit_mem m = emit_gs(
        (i32)(offsetof(struct vcpu, tlb.tables) + context * sizeof(struct tlb_table) + member));

    m.index = (u8)index;
    m.scale = index == HOST_NONE ? 0 : 3;
    return m;
}

/* The tags for one kind of access. */
static inline size_t jit_tags_at(bool write)
{
    return write ? offsetof(struct tlb_table, write_tag) : offsetof(struct tlb_table, read_tag);
}

/* T1: the index in the TLB of the address in T0. */
static inline void jit_index_of(struct emit *e)
{
    emit_mov32(e, T1, T0);
    emit_op_reg(e, 0, 0xc1, T1, 5); /* shr t1d, 12 */
    emit_value(e, PAGE_SHIFT, 1);
}

/* T0: the page of the address in it. */
static inline void jit_page_of(struct emit *e)
{
    emit_op_reg(e, EMIT_W, 0x81, T0, 4); /* and */
    emit_value(e, (u64)-PAGE_SIZE, 4);
}

/* RET, and what was pushed before the CALL goes. */
static inline void jit_return_and_pop(struct emit *e)
{
    emit_value(e, 0xc2, 1);
    emit_value(e, 8, 2);
}

static inline struct jit *jit_of(const struct vcpu *v)
{
    return v->jit.owner;
}

/* Where p is in the arena: what translated code knows it by. */
static inline u32 jit_offset(const struct jit *j, const void *p)
{
    return (u32)((const u8 *)p - j->arena);
}

static inline const struct jit_miss *jit_miss_at(const struct jit *j, u64 offset)
{
    return (const struct jit_miss *)(j->arena + offset);
}

/* Where an address in the code cache is in that. */
static inline u32 jit_code_offset(const struct jit *j, u64 code)
{
    return (u32)(code - j->delta - (u64)j->code);
}

/* -- cache.c -- */
MUST_USE enum status jit_cache_create(struct jit *j, struct error *err);
void jit_cache_destroy(struct jit *j);
/* What is translated next goes into region n, which is empty. */
void jit_cache_use(struct jit *j, unsigned n);
/* Evicts what is in the next region, and uses that. */
void jit_cache_advance(struct jit *j);
/* Forgets every block. */
void jit_cache_flush(struct jit *j);
/* Memory that lives as long as the region in use; NULL: that is full. */
void *jit_arena(struct jit *j, size_t size);

/* -- site.c -- */
/* A site of the block of that instruction for accesses of size bytes, of the region in use. NULL:
 * there is none, or its place is restless. */
struct tlb_site *jit_site(struct jit *j, const struct jit_block *block, const struct jit_insn *ji,
                          unsigned size);
/* Kills the block of a site that was found to be restless. Not while translated code is on the
 * stack. */
void jit_sites_settle(struct jit *j);
/* Called by what translated code calls, without its vectors being saved: v->jit.site_over has had
 * its number of misses, or there was no room to note it. */
void jit_judge_site(struct vcpu *v, const struct jit_miss *miss);
/* The stub jit.miss_site[write]. */
void jit_emit_miss_site(struct jit *j, struct emit *e, bool write);

/* Whether the access of that instruction is to ask the TLB. */
bool jit_is_restless(struct jit *j, const struct jit_block *block, const struct jit_insn *ji);
/* It is, from now on; its block is killed in jit_sites_settle(). */
void jit_make_restless(struct jit *j, struct jit_block *block, const struct jit_insn *ji);

/* -- window.c -- */
/* Makes the window if options and host allow it. */
MUST_USE enum status jit_window_create(struct jit *j, struct error *err);
void jit_window_destroy(struct jit *j);
/* The vCPU's thread, which runs translated code next, is this one. */
void jit_window_use(struct jit *j);
/* A number of sites, in increasing order of `from`, for the code that was written last.
 * NULL: the region is full. */
struct jit_window_site *jit_window_sites(struct jit *j, unsigned count);
/* Translated code of the mode was interrupted: user mode's address space may get the window. */
void jit_window_sample(struct jit *j, u32 mode);
/* MODE_WINDOW or 0. */
u32 jit_window_mode(const struct vcpu *v);
/* An access met no page in the window, and its instruction has been executed otherwise, or
 * faulted. */
void jit_window_missed(struct vcpu *v, const struct jit_miss *miss);

/* -- blocks.c -- */
struct jit_block *jit_block_find(struct jit *j, u64 key, u64 rip, u32 mode);
/* A dead block of that place whose bytes are in memory again: it lives. NULL: none. */
struct jit_block *jit_block_revive(struct jit *j, u64 key, u64 rip, u32 mode);
/* Notes what a block is made of. false: the region is full. */
bool jit_block_note_bytes(struct jit *j, struct jit_block *block, const struct jit_insn *insns);
/* The bytes of its spans. */
static inline const u8 *jit_block_bytes(const struct jit_block *block)
{
    return (const u8 *)(block->spans + block->span_count);
}
/* Enters a block of the region in use into all tables. */
void jit_block_insert(struct jit *j, struct jit_block *block);
/* Nothing leads to it any more. keep: jit_block_revive() may find it. */
void jit_block_kill(struct jit *j, struct jit_block *block, bool keep);
/* Kills what was hit by stores since the last time. */
void jit_follow_hits(struct jit *j);
/* Lets a jump go to block. */
void jit_link_to(struct jit *j, struct jit_link *link, struct jit_block *block);
/* A jump goes to its stub again. */
void jit_link_cut(struct jit *j, struct jit_link *link);

/* Code segments of one mode share a jump cache; tags of all but the flat one differ in this. */
static inline u64 jit_jump_tag(u32 mode)
{
    return (u64)(mode >> MODE_CODE_SHIFT) << 32;
}
/* The jump cache of a mode. */
struct jump_cache_entry *jit_jump_cache(struct jit *j, u32 mode);
/* That becomes the mode translated code runs in: its jump cache, its return stack. */
void jit_use_mode(struct jit *j, u32 mode);
/* The entry of that cache where rip belongs. */
struct jump_cache_entry *jit_jump_cache_slot(struct jit *j, u32 mode, u64 rip);
/* Lets indirect jumps to rip go to block. */
void jit_jump_cache_enter(struct jit *j, const struct jit_block *block);

/* -- returns.c -- */
MUST_USE enum status jit_returns_create(struct jit *j, struct error *err);
void jit_returns_destroy(struct jit *j);
/* After attention was cleared: calls need not leave any more. */
void jit_returns_limit(struct vcpu *v);
/* Code goes away: no return address is good any more. */
void jit_returns_forget(struct jit *j);
/* Translated code of a mode, which has jump cache n, is entered or goes on next. */
void jit_returns_use(struct jit *j, u32 mode, unsigned n);
/* Called by translated code: the RET at arena offset v->jit.entry has popped v->rip, which the jump
 * cache does not know, or attention is wanted. Returns as jit_lookup(). */
u64 jit_return(struct vcpu *v);

/* -- deferred.c -- */
/* Makes the flags that JF tells how to make, in v->rflags. Registers are in the vCPU. */
void jit_make_flags(struct vcpu *v);

/* -- lower/flags.c -- */
/* Between the host's flags and JF. Both use T1. */
void jit_put_in_jf(struct emit *e);
void jit_take_from_jf(struct emit *e);

/* -- lower/call.c -- */
/* T0: tag of the target (jit_jump_tag()). Its jump cache entry into T1; ZF: it is the target's. */
void jit_find_in_jump_cache(struct emit *e);

/* -- stubs.c -- */
void jit_emit_stubs(struct jit *j);

/* -- translate.c -- */
/* Translates what is at v->rip, at byte offset key of RAM. NULL: not translatable here (the
 * interpreter's). */
struct jit_block *jit_translate(struct jit *j, u64 key, u32 mode);
/* Replaces a block whose shared checks fail by one without. */
void jit_retranslate(struct jit *j, struct jit_block *block);

/* Replaces a block that is in use often by one that may cost more to come into use. */
void jit_translate_hot(struct jit *j, struct jit_block *old);

/* Translates a path that begins where old does, and puts it into its place. false: it holds what
 * paths cannot. */
bool jit_translate_path(struct jit *j, struct jit_block *old, const struct jit_path *path);

/* -- cross.c -- */
/* Makes like, whose place is set, one of this instruction at v->rip, which lies in two pages.
 * false: it does not, one of them is no RAM, or the bytes have changed. */
bool jit_cross_begin(struct jit *j, const struct insn *i, struct jit_block *like);
/* Whether the instruction of a block that lies in two pages goes on as it was translated, in this
 * vCPU's context. true: the check at the block's entries will pass. */
bool jit_cross_same(struct vcpu *v, const struct jit_block *block);
/* Where the page behind that of the block's start is. Linear addresses outside 64-bit mode wrap. */
static inline u64 jit_page_beyond(const struct jit_block *block)
{
    u64 page = (jit_linear(block, block->rip) & PAGE_MASK) + PAGE_SIZE;

    return block->mode & MODE_CODE64 ? page : (u32)page;
}
/* Bytes of an instruction at linear address gla that are in the page it begins in. */
static inline unsigned jit_bytes_in_page(u64 gla, const struct insn *i)
{
    unsigned room = PAGE_SIZE - (unsigned)(gla & ~PAGE_MASK);

    return i->len < room ? i->len : room;
}

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
/* The mode bits that segments decide outside 64-bit mode, with the number of the code segment.
 * MODE_NONE: the interpreter's, or no number is left until the next flush. */
u32 jit_segment_mode(struct jit *j, const struct vcpu *v);
/* After segments changed, before translated code of a mode (not 64-bit) is entered. */
void jit_update_bounds(struct vcpu *v, u32 mode);
/* Forgets the numbers of code segments. */
void jit_forget_code_segments(struct jit *j);
/* -- trace.c -- */
/* Guest and host code side by side. */
void jit_trace_block(const struct jit *j, FILE *out, const struct jit_block *block);
void jit_trace_insn(const struct jit *j, FILE *out, u64 rip, const struct insn *i);

/* -- run.c -- */
/* What blocks at RIP depend on now: enum jit_mode_bits, or MODE_NONE. */
u32 jit_mode(const struct vcpu *v);
/* The host address of code at gla that may be executed and is RAM, or NULL. The TLB maps it for
 * fetches afterwards. */
const u8 *jit_code_at(struct vcpu *v, u64 gla);
/* Runs translated code from block until it leaves; counted: not beyond end. */
void jit_enter(struct jit *j, const struct jit_block *block, u64 end);

/* -- probe.c -- */
/* Called by translated code, without its vectors being saved: the host address of size bytes at gla
 * by a refill from the second level of the TLB, or 0: jit_fill() must see. */
u64 jit_probe(struct vcpu *v, u64 gla, u64 miss, u64 write);
/* The same without counting it as a refill of translated code. */
u64 jit_known(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind);
/* The same for an instruction's first byte, not from translated code. NULL: fetch it. */
const u8 *jit_probe_fetch(struct vcpu *v, u64 gla);

/* -- run.c: called by translated code -- */
u64 jit_exec_one(struct vcpu *v, const struct jit_insn *i);
u64 jit_lookup(struct vcpu *v);
/* By the struct jit_miss at that offset in the arena. */
u64 jit_exec_miss(struct vcpu *v, u64 miss);
u64 jit_fill(struct vcpu *v, u64 gla, u64 miss, u64 write);
