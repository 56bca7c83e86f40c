/* SPDX-License-Identifier: MIT
 *
 * The engine: finds or makes the block at RIP, enters it, and does between blocks what the
 * interpreter does between instructions.
 */
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/access.h"
#include "cpu/cpuid.h"
#include "jit/check.h"
#include "jit/deferred.h"
#include "jit/gs_base.h"
#include "jit/internal.h"
#include "mem/window.h"

enum {
    INTERPRETED_SLICE = 1000,
    LEAVES_MAX = 8,       /* blocks left by a shared check, each within ... */
    LEAVES_APART = 10000, /* ... TSC cycles of the one before */
};

const struct jit_optimisation_info jit_optimisation_info[JIT_OPTIMISATIONS] = {
#define OPTIMISATION(id, name, what) {name, what},
#include "jit/optimisation.def"
#undef OPTIMISATION
};

/* -- life -- */

/* CPUID.01H:ECX.OSXSAVE; clang 14 knows no name for it. */
static bool host_has_xsave(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_OSXSAVE);
}

/* What BSF or BSR of a value makes of OF (in AL) and the other arithmetic flags (in AH), from the
 * same of before. */
static u16 host_scan(u64 value, bool reverse, u16 flags)
{
    u64 found = 0;

    if (reverse)
        __asm__("add $127, %%al\n\tsahf\n\tbsr %2, %1\n\tlahf\n\tseto %%al"
                : "+a"(flags), "+r"(found)
                : "r"(value)
                : "cc");
    else
        __asm__("add $127, %%al\n\tsahf\n\tbsf %2, %1\n\tlahf\n\tseto %%al"
                : "+a"(flags), "+r"(found)
                : "r"(value)
                : "cc");
    return flags;
}

/* The manuals define ZF only. Zen 4 makes the flags of a TEST of the result, Zen 3 and others leave
 * them as they were. */
static bool host_scans_as_we_do(void)
{
    static const u16 before[] = {0x0200, 0xd701};
    static const struct {
        u64 value;
        u16 flags;
    } after[] = {{0, 0x4600}, {1, 0x0600}, {2, 0x0200}, {8, 0x0600}, {BIT(40), 0x0600}};

    for (unsigned n = 0; n < ARRAY_SIZE(after); n++)
        for (unsigned b = 0; b < 2 * ARRAY_SIZE(before); b++)
            if (host_scan(after[n].value, b & 1, before[b / 2]) != after[n].flags)
                return false;
    return true;
}

/* Flags that manuals leave undefined are AMD's in the interpreter (cpu/ops/flags.h). */
static bool host_is_amd(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx;
}

/* A host without them would fault, or take LZCNT for BSR and TZCNT for BSF. */
static void find_absent(struct jit *j)
{
    static const u8 copied[] = {FEAT_ADX,   FEAT_BMI1,  FEAT_BMI2,
                                FEAT_LZCNT, FEAT_MOVBE, FEAT_POPCNT};

    for (unsigned n = 0; n < ARRAY_SIZE(copied); n++)
        if (!(j->options.optimisations & JIT_BMI) || !feature_host_has(copied[n]))
            feature_add(&j->absent, copied[n]);
}

enum status jit_create(struct vcpu *v, const struct jit_options *options, struct error *err)
{
    struct jit *j = calloc(1, sizeof(*j));
    enum status st;

    if (!j)
        return error_set(err, ST_NO_MEMORY, "No memory for the translator; free some memory.");
    j->v = v;
    j->options = *options;
    find_absent(j);
    st = jit_cache_create(j, err);
    if (!st)
        st = jit_returns_create(j, err);
    if (!st)
        st = jit_window_create(j, err);
    if (st) {
        jit_window_destroy(j);
        jit_returns_destroy(j);
        jit_cache_destroy(j);
        free(j);
        return st;
    }
    __builtin_cpu_init();
    j->avx = (options->optimisations & JIT_AVX) && __builtin_cpu_supports("avx");
    j->avx512 =
        j->avx && (options->optimisations & JIT_AVX512) && __builtin_cpu_supports("avx512bw");
    j->xsave = (options->optimisations & JIT_XSAVE) && host_has_xsave();
    j->scan = (options->optimisations & JIT_SCAN) && host_scans_as_we_do();
    j->undefined = (options->optimisations & JIT_UNDEFINED) &&
                   (host_is_amd() || !(options->counted || options->check));
    j->hot = HOT_NONE;
    v->jit.host_mxcsr = 0x1f80;
    jit_forget_code_segments(j);
    jit_emit_stubs(j);
    v->jit.self = v;
    v->jit.owner = j;
    j->unbounded = options->check && !options->counted;
    if (!options->check)
        return ST_OK;
    j->options.counted = true;
    st = jit_check_create(j, err);
    if (st)
        jit_destroy(v);
    return st;
}

void jit_destroy(struct vcpu *v)
{
    struct jit *j = jit_of(v);

    if (!j)
        return;
    jit_check_destroy(j);
    jit_window_destroy(j);
    jit_returns_destroy(j);
    jit_cache_destroy(j);
    free(j);
    v->jit.owner = NULL;
}

void jit_stats(const struct vcpu *v, struct jit_stats *stats)
{
    const struct jit *j = jit_of(v);

    *stats = j->stats;
    if (j->window) {
        stats->window_fills = j->window->filled;
        stats->window_drops = j->window->dropped;
    }
}

void jit_print_calls(const struct vcpu *v, FILE *out)
{
    const struct jit *j = jit_of(v);
    u64 below = ~0ull;

    for (;;) {
        u64 most = 0;

        for (unsigned row = 0; row < INSN_COUNT; row++)
            if (j->calls[row] < below && j->calls[row] > most)
                most = j->calls[row];
        if (!most)
            return;
        for (unsigned row = 0; row < INSN_COUNT; row++)
            if (j->calls[row] == most)
                fprintf(out, "  %14lu %s\n", most, insn_rows[row].name);
        below = most;
    }
}

/* -- flags between v->rflags and JF (lower/flags.c) -- */

static const u32 ah_flags = F_SF | F_ZF | F_AF | F_PF | F_CF;

static void flags_to_jf(struct vcpu *v)
{
    u32 f = (u32)v->rflags;

    v->jit.flags = (f & ah_flags) << 8 | (f & F_OF ? 1u : 0);
}

static void flags_from_jf(struct vcpu *v)
{
    u32 jf = v->jit.flags;

    if (jf & JF_DEFERRED) {
        jit_make_flags(v);
        return;
    }
    v->rflags = (v->rflags & ~(u64)F_OSZAPC) | (jf >> 8 & ah_flags) | (jf & 1 ? F_OF : 0);
}

/* -- modes -- */

/* Which SIMD instructions run as they are: their registers are enabled (SDM 3A 13, 2.5) and no
 * floating-point exception can be raised. */
static u32 simd_mode(const struct vcpu *v)
{
    const u32 masks = 0x1f80, status = 0x3f, avx = XCR0_SSE | XCR0_AVX;
    u32 rest = v->fpu.mxcsr & ~status, mode = 0;

    if ((v->cr0 & CR0_TS) || (rest & masks) != masks || rest >> 16)
        return 0;
    if ((v->cr4 & CR4_OSFXSR) && !(v->cr0 & CR0_EM))
        mode |= MODE_SSE;
    /* VEX code clears the upper parts of registers: all that the guest has must be loaded. */
    if ((v->cr4 & CR4_OSXSAVE) && (v->xcr0 & avx) == avx && jit_of(v)->avx &&
        (jit_of(v)->avx512 || !(v->xcr0 & XCR0_AVX512)))
        mode |= MODE_AVX;
    if ((mode & MODE_AVX) && (v->xcr0 & XCR0_AVX512) == XCR0_AVX512)
        mode |= MODE_AVX512;
    return mode;
}

u32 jit_mode(const struct vcpu *v)
{
    u32 context =
        (u32)(v->tlb_now - v->tlb.tables) << MODE_CONTEXT_SHIFT | simd_mode(v) | jit_x87_mode(v);

    if (v->align_check || (v->cr4 & CR4_LA57))
        return MODE_NONE;
    if (v->code_size == 8)
        return context | MODE_CODE64 | MODE_PROTECTED | jit_window_mode(v);
    return context | jit_segment_mode(jit_of(v), v); /* MODE_NONE has all bits */
}

/* -- blocks -- */

static u64 fetch_address(const struct vcpu *v)
{
    return v->code_size == 8 ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip);
}

/* After the TLB was flushed the page comes from its second level. */
const u8 *jit_code_at(struct vcpu *v, u64 gla)
{
    const u8 *hva = tlb_exec_ptr(v->tlb_now, gla);
    struct paging_ctx ctx;
    struct tlb_page page;
    u32 error;

    if (unlikely(!hva))
        hva = jit_probe_fetch(v, gla);
    if (unlikely(!hva)) {
        ctx = vcpu_paging_ctx(v, v->cpl == 3, false);
        if ((u64)((i64)(gla << 16) >> 16) != gla ||
            !tlb_translate(&v->tlb, (enum tlb_context)(v->tlb_now - v->tlb.tables), &ctx, gla,
                           ACCESS_EXEC, &page, &error))
            return NULL;
        hva = page.hva;
    }
    return hva && ram_contains(v->ram, hva) ? hva : NULL;
}

/* Whether the check that a block of two pages begins with will pass. */
static bool will_go(struct vcpu *v, const struct jit_block *block)
{
    return likely(!block->beyond) || jit_cross_same(v, block);
}

/* The block at RIP if there is one already. */
static struct jit_block *block_known(struct jit *j, struct vcpu *v, u32 mode)
{
    const u8 *hva = jit_code_at(v, fetch_address(v));
    struct jit_block *block;

    if (!hva)
        return NULL;
    block = jit_block_find(j, (u64)(hva - v->ram->hva), v->rip, mode);
    return block && will_go(v, block) ? block : NULL;
}

/* The block at RIP; NULL: one instruction for the interpreter (it leaves RAM, or the fetch faults).
 */
static struct jit_block *block_here(struct jit *j, struct vcpu *v, u32 mode)
{
    const u8 *hva = jit_code_at(v, fetch_address(v));
    const struct decode_run *run;
    struct jit_block *block;
    u64 key;

    if (likely(hva)) {
        key = (u64)(hva - v->ram->hva);
        block = jit_block_find(j, key, v->rip, mode);
        if (block && unlikely(!will_go(v, block))) {
            jit_block_kill(j, block, j->options.optimisations & JIT_REVIVE);
            block = NULL;
        }
        if (unlikely(!block))
            block = jit_block_revive(j, key, v->rip, mode);
        if (likely(block))
            return block;
    }
    run = decode_cache_lookup(v, v->rip);
    if (!run) {
        v->fault.pending = false; /* the interpreter meets it again */
        return NULL;
    }
    hva = tlb_exec_ptr(v->tlb_now, fetch_address(v));
    if (!hva || !ram_contains(v->ram, hva))
        return NULL;
    key = (u64)(hva - v->ram->hva);
    block = jit_block_find(j, key, v->rip, mode);
    return block ? block : jit_translate(j, key, mode);
}

/* How many instructions the interpreter does where there is no block: one that is not decoded for
 * more than one use or whose fetch faults, or more of what is not in RAM. */
static u64 without_block(const struct vcpu *v)
{
    const u8 *hva = tlb_exec_ptr(v->tlb_now, fetch_address(v));

    return hva && !ram_contains(v->ram, hva) ? INTERPRETED_SLICE : 1;
}

/* After IRET from a fault's handler RF holds instruction breakpoints off for one instruction (SDM
 * 3B 17.3.1.1). Where there are none and nothing comes in between, that is all the same as RF = 0:
 * what this instruction pushes if it faults has RF set anyway. Counted runs may end at any
 * instruction and keep it. */
static void forget_rf(const struct jit *j, struct vcpu *v)
{
    if (likely(!v->careful) || j->options.counted || !(j->options.optimisations & JIT_STAY) ||
        (v->rflags & F_TF) || (v->dr7 & DR7_ENABLED))
        return;
    v->rflags &= ~(u64)F_RF;
    vcpu_update_mode(v);
}

static bool wants_steps(const struct vcpu *v)
{
    return v->careful || v->shadow || v->hooks || log_on(v->log, LOG_CPU | LOG_EXEC);
}

/* -- called by translated code -- */

/* The mode of translated code at RIP, or MODE_NONE: the run loop is to look at something first. */
static u32 mode_to_go_on(const struct jit *j, struct vcpu *v)
{
    if (!(j->options.optimisations & JIT_STAY) || v->activity ||
        __atomic_load_n(&v->jit.attention, __ATOMIC_RELAXED) ||
        __atomic_load_n(&v->events, __ATOMIC_RELAXED) ||
        __atomic_load_n(&v->ram->code_epoch, __ATOMIC_RELAXED) != j->code_epoch)
        return MODE_NONE;
    forget_rf(j, v);
    return wants_steps(v) ? MODE_NONE : jit_mode(v);
}

/* What jit_enter() does for a mode. Nothing is pending. */
static void enter_mode(struct jit *j, struct vcpu *v, u32 mode)
{
    if (!(mode & MODE_CODE64))
        jit_update_bounds(v, mode);
    jit_use_mode(j, mode);
    v->jit.seen = 0;
    j->stats.stays++;
}

/* RIP is set and its block is not known where it was needed, or not the one its jump cache has: the
 * host address to go on at, or JIT_LEAVE. */
u64 jit_lookup(struct vcpu *v)
{
    struct jit *j = jit_of(v);
    struct jit_block *block;
    u32 mode;

    if (j->check || v->jit.left)
        return JIT_LEAVE;
    if (v->jit.flags & JF_DEFERRED) { /* the next block may want them made */
        jit_make_flags(v);
        flags_to_jf(v);
    }
    jit_x87_settle(v); /* the mode depends on it */
    mode = mode_to_go_on(j, v);
    block = mode == MODE_NONE ? NULL : block_known(j, v, mode);
    /* A walk through page tables in a device may have waited for others. */
    if (!block || unlikely(__atomic_load_n(&v->events, __ATOMIC_RELAXED)))
        return JIT_LEAVE;
    jit_jump_cache_enter(j, block);
    enter_mode(j, v, mode);
    return block->entry_saved; /* that the page is mapped is known: no way leads back here */
}

/* RIP has changed, and maybe the mode. Returns as jit_lookup(), but relies on the jump cache. */
static u64 entry_here(struct jit *j, struct vcpu *v)
{
    u32 mode = mode_to_go_on(j, v);
    const struct jump_cache_entry *cached;

    if (mode == MODE_NONE)
        return JIT_LEAVE;
    cached = jit_jump_cache_slot(j, mode, v->rip);
    if (unlikely(cached->tag != (v->rip | jit_jump_tag(mode))))
        return jit_lookup(v);
    enter_mode(j, v, mode);
    return cached->code;
}

/* The rest of the block is not executed: behind instructions of it, and this one if that did not
 * retire. */
static u64 go_elsewhere(struct jit *j, struct vcpu *v, u64 not_executed)
{
    v->jit.budget += not_executed;
    return entry_here(j, v);
}

/* A body failed, or is a REP's that is to go on. */
static u64 not_retired(struct jit *j, struct vcpu *v, const struct jit_insn *ji)
{
    bool delivered;

    if (v->repeat)
        vcpu_stall(v, STALL_REP);
    delivered =
        !v->repeat && !v->hooks && (j->options.optimisations & JIT_STAY) && vcpu_deliver_fault(v);
    flags_to_jf(v);
    if (delivered)
        return go_elsewhere(j, v, ji->behind + 1);
    v->jit.budget += ji->behind + 1;
    return JIT_LEAVE;
}

/* 0: go on behind the instruction; JIT_LEAVE: all state is in the vCPU; else go on at this address.
 */
u64 jit_exec_one(struct vcpu *v, const struct jit_insn *ji)
{
    struct jit *j = jit_of(v);
    const struct insn *i = &ji->insn;
    u64 flushes = v->tlb.flushes;

    jit_x87_settle(v);
    j->stats.interpreted++;
    j->calls[i->id]++;
    flags_from_jf(v);
    if (j->options.counted) /* the guest can read time from it */
        v->icount = v->jit.end - v->jit.budget - ji->behind - 1;
    v->rip = ji->rip;
    if (j->check) { /* between stretches, once */
        jit_check_leave(j);
        v->jit.budget += ji->behind + 1;
        return JIT_LEAVE;
    }
    v->next_rip = (ji->rip + i->len) & jit_rip_mask(v->jit.mode);
    if (!i->body(v, i) || v->repeat)
        return not_retired(j, v, ji);
    flags_to_jf(v);
    v->rip = v->next_rip;
    /* Accesses that were checked before rely on the TLB. */
    if ((insn_row(i)->traits & T_ENDS) || v->tlb.flushes != flushes ||
        __atomic_load_n(&v->events, __ATOMIC_RELAXED) != v->jit.seen ||
        __atomic_load_n(&v->ram->code_epoch, __ATOMIC_RELAXED) != j->code_epoch || v->shadow ||
        jit_mode(v) != v->jit.mode)
        return go_elsewhere(j, v, ji->behind);
    return 0;
}

/* As jit_exec_one(), but 0 is the way to after. */
u64 jit_exec_miss(struct vcpu *v, u64 miss)
{
    struct jit *j = jit_of(v);
    const struct jit_miss *m = jit_miss_at(j, miss);
    const struct jit_insn *ji = (const struct jit_insn *)(j->arena + m->insn);
    u64 elsewhere = jit_exec_one(v, ji);

    if (m->how & MISS_WINDOW)
        jit_window_missed(v, m);
    if (elsewhere || (m->after && !(m->how & MISS_LEAVES)))
        return elsewhere;
    if (m->how & MISS_LEAVES) {
        if (j->options.counted)
            v->jit.budget += ji->behind;
        v->jit.left = j->arena + m->block;
    }
    return jit_lookup(v);
}

/* The host address of the bytes at gla, or 0: only the instruction's body can do it, or fault. */
u64 jit_fill(struct vcpu *v, u64 gla, u64 miss, u64 write)
{
    const struct jit_miss *m = jit_miss_at(jit_of(v), miss);
    enum access_kind kind = write && !(m->how & MISS_IF_DIRTY) ? ACCESS_WRITE : ACCESS_READ;
    u64 size = m->size;
    enum tlb_context context = (enum tlb_context)(v->tlb_now - v->tlb.tables);
    struct paging_ctx ctx = vcpu_paging_ctx(v, v->cpl == 3, false);
    struct tlb_page page;
    u32 error;
    bool code;
    u64 host;

    jit_of(v)->stats.misses++;
    if (unlikely(v->jit.site_over))
        jit_judge_site(v, m);
    if ((m->how & MISS_EARLY) && (v->cr0 & CR0_PG))
        return jit_known(v, gla, m->size, write ? ACCESS_WRITE : ACCESS_READ);
    if (write && (jit_of(v)->options.optimisations & JIT_MIXED)) {
        host = (u64)tlb_mixed_ptr(&v->tlb, context, gla, (unsigned)size, &code);
        if (host || code)
            return host;
    }
    if ((u64)((i64)(gla << 16) >> 16) != gla || (gla & ~PAGE_MASK) + size > PAGE_SIZE)
        return 0;
    if (!tlb_translate(&v->tlb, context, &ctx, gla, kind, &page, &error))
        return 0;
    /* A walk through page tables in a device waits for others, and may let safe points pass: what
     * the block checked before is worth nothing then. The body leaves it. */
    if (unlikely(__atomic_load_n(&v->events, __ATOMIC_RELAXED) != v->jit.seen))
        return 0;
    if (write && jit_of(v)->check && !jit_check_open(jit_of(v), gla, &page))
        return 0;
    if (!write)
        return (u64)tlb_read_ptr(v->tlb_now, gla, (unsigned)size);
    host = (u64)tlb_write_ptr(v->tlb_now, gla, (unsigned)size);
    if (host || !(jit_of(v)->options.optimisations & JIT_MIXED))
        return host;
    return (u64)tlb_mixed_ptr(&v->tlb, context, gla, (unsigned)size, &code);
}

void jit_enter(struct jit *j, const struct jit_block *block, u64 end)
{
    struct vcpu *v = j->v;

    v->jit.seen = __atomic_load_n(&v->events, __ATOMIC_RELAXED) & ~(u32)EVENTS_AT_ONCE;
    v->jit.end = end;
    v->jit.budget = end - v->icount;
    flags_to_jf(v);
    if (!(block->mode & MODE_CODE64))
        jit_update_bounds(v, block->mode);
    jit_use_mode(j, block->mode);
    j->enter(block->entry_saved);
    jit_x87_settle(v);
    flags_from_jf(v);
    if (j->options.counted)
        v->icount = end - v->jit.budget;
    if (v->jit.link)
        v->rip = ((const struct jit_link *)v->jit.link)->target;
}

/* A block whose shared checks fail again and again is made anew without them. One that fails now
 * and then, where a stack crosses a page, is better left as it is. */
static void note_left(struct jit *j, struct vcpu *v, struct jit_block *block)
{
    u64 now = __builtin_ia32_rdtsc();

    block->leaves = now - j->last_left < LEAVES_APART ? block->leaves + 1 : 0;
    j->last_left = now;
    if (block->one_by_one || block->leaves < LEAVES_MAX || jit_mode(v) != block->mode)
        return;
    block->leaves = 0;
    jit_retranslate(j, block);
}

/* -- the loop -- */

/* true: *why tells why the engine is left. */
static bool interpret(struct vcpu *v, u64 count, enum vcpu_exit *why)
{
    *why = interp_run(v, count);
    return *why != EXIT_BUDGET;
}

static u64 at_most(u64 count, const struct jit *j, const struct vcpu *v, u64 end)
{
    return j->options.counted && end - v->icount < count ? end - v->icount : count;
}

enum vcpu_exit jit_run(struct vcpu *v, u64 budget)
{
    struct jit *j = jit_of(v);
    const u64 end = v->icount + (j->unbounded ? BIT(62) : budget);
    struct jit_link *link = NULL;
    u64 evictions = 0; /* when link was good */
    enum vcpu_exit why;

    jit_set_gs_base(v, !(j->options.optimisations & JIT_FSGSBASE));
    jit_window_use(j);
    for (;;) {
        struct jit_block *block;
        u32 mode, attention;

        tlb_settle(&v->tlb);
        jit_returns_limit(v);
        attention = __atomic_exchange_n(&v->jit.attention, 0, __ATOMIC_SEQ_CST);
        if ((attention || j->options.eager) && (j->options.optimisations & JIT_PATH) &&
            !j->restless_block) /* whoever wants that killed comes for it at once */
            jit_sample(j, v->jit.mode);
        if (attention || j->options.eager)
            jit_window_sample(j, v->jit.mode);
        if ((__atomic_load_n(&v->events, __ATOMIC_RELAXED) | v->activity) &&
            !vcpu_take_events(v, &why))
            return why == EXIT_STOP && vcpu_stalled(v) ? EXIT_STALLED : why;
        v->repeat = false;
        if (j->options.counted && v->icount == end)
            return EXIT_BUDGET;
        forget_rf(j, v);
        mode = wants_steps(v) ? MODE_NONE : jit_mode(v);
        if (mode == MODE_NONE) {
            link = NULL;
            if (unlikely(j->code_segment_count == CODE_SEGMENTS))
                jit_cache_flush(j);
            if (interpret(v, at_most(wants_steps(v) ? 1 : INTERPRETED_SLICE, j, v, end), &why))
                return why;
            continue;
        }
        j->stats.lookups++;
        jit_follow_hits(j);
        jit_sites_settle(j);
        block = block_here(j, v, mode);
        jit_follow_hits(j);
        if (unlikely(block && block->dead))
            continue;
        if (!block || (j->options.counted && block->count > end - v->icount)) {
            link = NULL;
            if (interpret(v, block ? end - v->icount : at_most(without_block(v), j, v, end), &why))
                return why;
            continue;
        }
        if (unlikely(v->rip == j->hot) && !block->path) {
            link = NULL;
            if (jit_follow_path(j, block, j->options.counted ? end : ~0ull, &why))
                return why;
            continue;
        }
        if (link && evictions == j->stats.evictions && link->target == v->rip &&
            mode == v->jit.mode)
            jit_link_to(j, link, block);
        jit_jump_cache_enter(j, block);
        jit_enter(j, block, j->check ? jit_check_begin(j, block, end) : end);
        link = v->jit.link;
        evictions = j->stats.evictions;
        if (j->check && !jit_check_end(j))
            return EXIT_MISMATCH;
        if (unlikely(v->jit.left) && !v->fault.pending)
            note_left(j, v, v->jit.left);
        v->jit.left = NULL;
        if (j->check && jit_check_left(j) && interpret(v, 1, &why))
            return why;
        if (v->fault.pending && !vcpu_deliver_fault(v))
            return vcpu_leave(v);
    }
}
