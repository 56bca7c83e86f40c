/* SPDX-License-Identifier: MIT
 *
 * -engine check. Stores are seen because the TLB holds no write tags then (tlb_watch_stores()):
 * translated code gets one by one those it asks for, with a copy of the page, until the stretch
 * ends; the interpreter's stores all take the slow path and are reported.
 */
#include "jit/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/access.h"

enum {
    STRETCH = 100,    /* instructions, unless one block has more */
    PAGES_MAX = 16,   /* that a stretch may store to */
    SHOWN_BYTES = 16, /* memory differences that are told */
    REPLAYED_MAX = 1024,
    SHOWN_INSNS = 40,
    STATE_SIZE = offsetof(struct vcpu, jit),
    ACCESSED_DIRTY = 0x60, /* bits of a page-table entry that a walk sets */
};

enum check_phase { PHASE_NONE, PHASE_TRANSLATED, PHASE_INTERPRETED };

struct check_page {
    u8 *hva;
    u64 *tag; /* the write tag that was lent */
    u8 before[PAGE_SIZE], translated[PAGE_SIZE];
};

struct jit_check {
    enum check_phase phase;
    bool left;              /* an instruction wanted its body */
    bool stray;             /* the interpreter stored where translated code did not */
    u64 stray_hva;          /* offset in RAM, or ~0: a device */
    u64 end;                /* the instruction count where the stretch had to end */
    u64 replayed;           /* instructions of the stretch that the interpreter has done */
    unsigned count;         /* pages */
    struct jit_block entry; /* that the stretch began with */
    u64 rip[REPLAYED_MAX];  /* of the instructions that were replayed */
    struct check_page page[PAGES_MAX];
    /* Only the first STATE_SIZE bytes are there. */
    struct vcpu *before, *translated;
};

/* -- states -- */

static void state_save(struct vcpu *to, const struct vcpu *v)
{
    memcpy(to, v, STATE_SIZE);
}

/* Events are others' to change. */
static void state_load(struct vcpu *v, const struct vcpu *from)
{
    const size_t events = offsetof(struct vcpu, events), behind = events + sizeof(v->events);

    memcpy(v, from, events);
    memcpy((u8 *)v + behind, (const u8 *)from + behind, STATE_SIZE - behind);
}

/* -- life -- */

static void stored(void *opaque, const u8 *page_hva)
{
    struct jit_check *c = opaque;

    if (c->phase != PHASE_INTERPRETED)
        return;
    for (unsigned n = 0; n < c->count; n++)
        if (c->page[n].hva == page_hva)
            return;
    if (!c->stray)
        c->stray_hva = (u64)page_hva;
    c->stray = true;
}

enum status jit_check_create(struct jit *j, struct error *err)
{
    struct jit_check *c = calloc(1, sizeof(*c));

    j->check = c;
    if (c) {
        c->before = aligned_alloc(64, align_up(STATE_SIZE, 64));
        c->translated = aligned_alloc(64, align_up(STATE_SIZE, 64));
    }
    if (!c || !c->before || !c->translated)
        return error_set(err, ST_NO_MEMORY, "No memory for -engine check; free some memory.");
    tlb_watch_stores(&j->v->tlb, stored, c);
    return ST_OK;
}

void jit_check_destroy(struct jit *j)
{
    if (!j->check)
        return;
    tlb_watch_stores(&j->v->tlb, NULL, NULL);
    free(j->check->before);
    free(j->check->translated);
    free(j->check);
    j->check = NULL;
}

/* -- the stretch in translated code -- */

u64 jit_check_begin(struct jit *j, const struct jit_block *block, u64 end)
{
    struct jit_check *c = j->check;
    u64 count = block->count > STRETCH ? block->count : STRETCH, left = end - j->v->icount;

    state_save(c->before, j->v);
    c->entry = *block;
    c->count = 0;
    c->left = c->stray = false;
    c->phase = PHASE_TRANSLATED;
    return c->end = j->v->icount + (count < left ? count : left);
}

void jit_check_leave(struct jit *j)
{
    j->check->left = true;
}

bool jit_check_left(struct jit *j)
{
    bool left = j->check->left;

    j->check->left = false;
    return left;
}

static struct check_page *page_copy(struct jit_check *c, u8 *hva)
{
    struct check_page *p = &c->page[c->count];

    for (unsigned n = 0; n < c->count; n++)
        if (c->page[n].hva == hva)
            return &c->page[n];
    if (c->count == PAGES_MAX)
        return NULL;
    c->count++;
    p->hva = hva;
    p->tag = NULL;
    memcpy(p->before, hva, PAGE_SIZE);
    return p;
}

bool jit_check_open(struct jit *j, u64 gla, const struct tlb_page *page)
{
    struct vcpu *v = j->v;
    struct tlb_table *table = v->tlb_now;
    unsigned i = tlb_index(gla);
    struct check_page *p;

    if (!v->tlb.write_withheld || !ram_contains(v->ram, page->phys.hva))
        return false;
    p = page_copy(j->check, page->phys.hva);
    if (!p || (p->tag && p->tag != &table->write_tag[i]))
        return false; /* one mapping at a time */
    p->tag = &table->write_tag[i];
    *p->tag = gla & PAGE_MASK;
    return true;
}

static void take_tags_back(struct vcpu *v, struct jit_check *c)
{
    for (unsigned n = 0; n < c->count; n++) {
        u64 *tag = c->page[n].tag, i = (u64)(tag - v->tlb_now->write_tag);

        *tag = tlb_invalid((unsigned)i);
    }
    tlb_forget_stack(v->tlb_now);
}

/* -- the same by the interpreter -- */

/* One instruction: bodies, without anything between them. */
static bool replay_one(struct vcpu *v)
{
    const struct decode_run *run = decode_cache_lookup(v, v->rip);
    const struct insn *i;

    if (!run)
        return false;
    i = run->insns;
    do {
        v->repeat = false;
        v->next_rip = (v->rip + i->len) & jit_rip_mask(v->jit.mode);
        if (!i->body(v, i))
            return false;
    } while (v->repeat);
    v->rip = v->next_rip;
    v->icount++;
    return true;
}

/* false: it faulted, or stored elsewhere. */
static bool replay(struct jit *j, u64 count)
{
    struct jit_check *c = j->check;

    c->phase = PHASE_INTERPRETED;
    for (c->replayed = 0; c->replayed < count; c->replayed++) {
        c->rip[c->replayed % REPLAYED_MAX] = j->v->rip;
        if (!replay_one(j->v) || c->stray)
            break;
    }
    c->phase = PHASE_NONE;
    return c->replayed == count && !c->stray;
}

static void memory_back(struct jit_check *c)
{
    for (unsigned n = 0; n < c->count; n++) {
        memcpy(c->page[n].translated, c->page[n].hva, PAGE_SIZE);
        memcpy(c->page[n].hva, c->page[n].before, PAGE_SIZE);
    }
}

/* -- comparing -- */

/* A walk by either engine may have marked an entry of a table that the stretch also stores to. */
static bool page_same(struct check_page *p)
{
    u32 *now = (u32 *)p->hva;
    const u32 *then = (const u32 *)p->translated;

    if (!memcmp(p->hva, p->translated, PAGE_SIZE))
        return true;
    for (unsigned n = 0; n < PAGE_SIZE / 4; n++) {
        if ((now[n] ^ then[n]) & ~(u32)ACCESSED_DIRTY)
            return false;
        now[n] |= then[n] & ACCESSED_DIRTY;
    }
    return true;
}

/* Fields that an instruction without side effects can change; the others are compared as a whole.
 */
static bool state_same(const struct vcpu *a, const struct vcpu *b)
{
    const size_t from = offsetof(struct vcpu, ldtr), to = offsetof(struct vcpu, fpu);

    return !memcmp(a->gpr, b->gpr, sizeof(a->gpr)) && a->rip == b->rip && a->rflags == b->rflags &&
           a->icount == b->icount && a->cpl == b->cpl && a->shadow == b->shadow &&
           a->code_size == b->code_size && !b->fault.pending &&
           !memcmp(a->seg, b->seg, sizeof(a->seg)) &&
           !memcmp((const u8 *)a + from, (const u8 *)b + from, to - from) &&
           !memcmp(a->fpu.zmm, b->fpu.zmm, sizeof(a->fpu.zmm)) &&
           !memcmp(a->fpu.fx, b->fpu.fx, 160) && !memcmp(a->fpu.k, b->fpu.k, sizeof(a->fpu.k)) &&
           a->fpu.mxcsr == b->fpu.mxcsr && a->fpu.fcs == b->fpu.fcs && a->fpu.fds == b->fpu.fds;
}

/* Whether the interpreter, from the state before, arrives where translated code did. The vCPU has
 * the interpreter's state afterwards. */
static bool same(struct jit *j)
{
    struct jit_check *c = j->check;
    bool pages = true;

    take_tags_back(j->v, c);
    state_save(c->translated, j->v);
    memory_back(c);
    state_load(j->v, c->before);
    if (!replay(j, c->translated->icount - c->before->icount))
        return false;
    for (unsigned n = 0; n < c->count; n++)
        pages &= page_same(&c->page[n]);
    return pages && state_same(j->v, c->translated);
}

/* -- telling -- */

static void tell_row(FILE *out, const char *name, unsigned n, u64 translated, u64 interpreted)
{
    if (translated != interpreted)
        fprintf(out, "  %s%-3u translated %016" PRIx64 "  interpreter %016" PRIx64 "\n", name, n,
                translated, interpreted);
}

static void tell_registers(FILE *out, const struct vcpu *t, const struct vcpu *i)
{
    for (unsigned n = 0; n < 16; n++)
        tell_row(out, "gpr ", n, t->gpr[n], i->gpr[n]);
    tell_row(out, "rip ", 0, t->rip, i->rip);
    tell_row(out, "rflags ", 0, t->rflags, i->rflags);
    tell_row(out, "icount ", 0, t->icount, i->icount);
    for (unsigned n = 0; n < 32 * 8; n++)
        tell_row(out,
                 n % 8 < 2   ? "xmm "
                 : n % 8 < 4 ? "ymm high "
                             : "zmm high ",
                 n / 8, load_le(&t->fpu.zmm[n / 8][8 * (n % 8)], 8),
                 load_le(&i->fpu.zmm[n / 8][8 * (n % 8)], 8));
    for (unsigned n = 0; n < 8; n++)
        tell_row(out, "k", n, t->fpu.k[n], i->fpu.k[n]);
    for (unsigned n = 0; n < 160; n += 8)
        tell_row(out, "x87 image +", n, load_le(t->fpu.fx + n, 8), load_le(i->fpu.fx + n, 8));
    tell_row(out, "mxcsr ", 0, t->fpu.mxcsr, i->fpu.mxcsr);
}

static void tell_memory(FILE *out, const struct jit *j)
{
    const struct jit_check *c = j->check;
    unsigned told = 0;

    for (unsigned n = 0; n < c->count; n++)
        for (unsigned b = 0; b < PAGE_SIZE && told < SHOWN_BYTES; b++) {
            const struct check_page *p = &c->page[n];

            if (p->hva[b] == p->translated[b])
                continue;
            fprintf(out, "  RAM+%lx: translated %02x, interpreter %02x, before %02x\n",
                    (u64)(p->hva - j->v->ram->hva) + b, p->translated[b], p->hva[b], p->before[b]);
            told++;
        }
    if (c->stray && c->stray_hva)
        fprintf(out, "  the interpreter stores to the page at RAM+%lx, translated code does not\n",
                c->stray_hva - (u64)j->v->ram->hva);
    else if (c->stray)
        fprintf(out, "  the interpreter reaches a device, translated code does not\n");
}

static void tell_state(FILE *out, struct vcpu *v, const char *title)
{
    char text[4096];

    vcpu_dump(v, text, sizeof(text));
    fprintf(out, "%s:\n%s", title, text);
}

/* Runs the stretch again with fewer instructions: the shortest that differs shows the block. */
static bool narrow(struct jit *j)
{
    struct jit_check *c = j->check;
    u64 count = c->translated->icount - c->before->icount, whole = c->end;

    for (u64 n = 1; n <= count; n++) { /* the last time as it was: a block may promise more */
        u64 end = n < count ? c->before->icount + n : whole;

        for (unsigned p = 0; p < c->count; p++)
            memcpy(c->page[p].hva, c->page[p].before, PAGE_SIZE);
        state_load(j->v, c->before);
        jit_enter(j, &c->entry, jit_check_begin(j, &c->entry, end));
        if (!same(j))
            return true;
    }
    return false;
}

static const struct jit_block *block_at(struct jit *j, u64 rip)
{
    struct vcpu *v = j->v;
    const u8 *hva =
        tlb_exec_ptr(v->tlb_now, v->code_size == 8 ? rip : (u32)(v->seg[SEG_CS].base + rip));

    if (!hva || !ram_contains(v->ram, hva))
        return NULL;
    return jit_block_find(j, (u64)(hva - v->ram->hva), rip, v->jit.mode);
}

/* The last instructions of the stretch, and the last block that begins among them. */
static void tell_code(FILE *out, struct jit *j)
{
    struct jit_check *c = j->check;
    u64 done = c->replayed < REPLAYED_MAX ? c->replayed + 1 : REPLAYED_MAX;
    u64 first = done > SHOWN_INSNS ? done - SHOWN_INSNS : 0;
    u64 count = c->translated->icount - c->before->icount;
    const struct jit_block *block = NULL;

    done = done > count ? count : done;
    for (u64 n = first; n < done; n++) {
        const struct decode_run *run = decode_cache_lookup(j->v, c->rip[n]);

        if (run)
            jit_trace_insn(j, out, c->rip[n], &run->insns[0]);
        j->v->fault.pending = false;
    }
    for (u64 n = done; n-- > 0 && !block;)
        block = block_at(j, c->rip[n]);
    if (block)
        jit_trace_block(j, out, block);
}

static void tell(struct jit *j)
{
    struct jit_check *c = j->check;
    struct vcpu *v = j->v;
    FILE *out = v->log->sink;
    u64 n = c->translated->icount - c->before->icount;

    fprintf(out,
            "lockstep: translated code and the interpreter differ after %" PRIu64
            " instructions from RIP %016" PRIx64 ".\n",
            n, c->before->rip);
    if (v->fault.pending)
        fprintf(out, "  the interpreter raises exception %u, error code %x\n", v->fault.vector,
                v->fault.error);
    tell_registers(out, c->translated, v);
    tell_memory(out, j);
    tell_state(out, v, "interpreter");
    state_load(v, c->translated);
    tell_state(out, v, "translated code");
    state_load(v, c->before);
    tell_state(out, v, "before");
    tell_code(out, j);
    fflush(out);
}

bool jit_check_end(struct jit *j)
{
    j->stats.checked++;
    if (likely(same(j)))
        return true;
    if (!narrow(j))
        log_warn(j->v->log, "The engines differed once, but not when the same was run again.");
    tell(j);
    return false;
}
