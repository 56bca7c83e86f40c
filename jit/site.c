/* SPDX-License-Identifier: MIT
 *
 * Sites (mem/tlb.h): the memory that blocks have them in, divided as the code is, and which places
 * get none. A miss of a site costs some ten times what a hit saves. So what meets another page
 * again and again is translated anew to look at the TLB by index. How often that is can only be
 * told by how soon one site after another has missed SITE_MISSES times.
 */
#include "jit/internal.h"

/* The number of an instruction of a block, among all of RAM and twice; not 0. What meets too many
 * pages for a site may well be reached by the window. */
static u64 place_of(const struct jit_block *block, const struct jit_insn *ji)
{
    u64 place = (block->key & PAGE_MASK) + (jit_linear(block, ji->rip) & ~PAGE_MASK) + 1;

    return place | (block->mode & MODE_WINDOW ? BIT(63) : 0);
}

static u64 *restless_at(struct jit *j, u64 place)
{
    return &j->restless[(place * 0x9e3779b97f4a7c15) >> (64 - RESTLESS_BITS)];
}

bool jit_is_restless(struct jit *j, const struct jit_block *block, const struct jit_insn *ji)
{
    u64 place = place_of(block, ji);

    return *restless_at(j, place) == place;
}

void jit_make_restless(struct jit *j, struct jit_block *block, const struct jit_insn *ji)
{
    u64 place = place_of(block, ji);

    *restless_at(j, place) = place;
    j->stats.sites++;
    j->restless_block = block;
    vcpu_nudge(j->v);
}

struct tlb_site *jit_site(struct jit *j, const struct jit_block *block, const struct jit_insn *ji,
                          unsigned size)
{
    struct tlb_site *site = &j->sites[j->site_used];

    if (j->check || jit_context(block->mode) != TLB_USER ||
        !(j->options.optimisations & JIT_SITES) || j->site_used == j->site_end ||
        jit_is_restless(j, block, ji))
        return NULL;
    j->site_used++;
    *site = (struct tlb_site){.tag = j->v->tlb.tables[TLB_USER].no_stack,
                              .misses = -SITE_MISSES,
                              .last = (u16)(size - 1)};
    return site;
}

void jit_judge_site(struct vcpu *v, const struct jit_miss *miss)
{
    struct jit *j = jit_of(v);
    struct tlb_site *site = v->jit.site_over;
    struct jit_block *block = (struct jit_block *)(j->arena + miss->block);
    u64 now = __builtin_ia32_rdtsc();

    v->jit.site_over = NULL;
    if (v->tlb.site_count == TLB_SITES)
        tlb_forget_sites(&v->tlb);
    if (site->misses < 0)
        return;
    site->misses = -SITE_MISSES;
    if (now - j->site_time < SITE_APART)
        jit_make_restless(j, block, (const struct jit_insn *)(j->arena + miss->insn));
    j->site_time = now;
}

void jit_sites_settle(struct jit *j)
{
    if (likely(!j->restless_block))
        return;
    if (!j->restless_block->dead)
        jit_block_kill(j, j->restless_block, false);
    j->restless_block = NULL;
}

/* -- the miss -- */

#define VCPU(member) emit_gs((i32)offsetof(struct vcpu, member))

static struct emit_mem in_site(size_t member)
{
    return emit_at(HOST_RAX, (i32)member);
}

/* RAX: a site that is in no list of the TLB. Returns the jump if there is no room. */
static u8 *emit_note(struct emit *e)
{
    struct emit_mem count = VCPU(tlb.site_count), noted = in_site(offsetof(struct tlb_site, noted));
    struct emit_mem entry = VCPU(tlb.site);
    u8 *full;

    entry.index = HOST_RCX;
    entry.scale = 3;
    emit_op_plus(e, 0, 0x50, HOST_RCX); /* push */
    emit_load(e, HOST_RCX, &count, 4);
    emit_op_reg(e, 0, 0x81, HOST_RCX, 7); /* cmp */
    emit_value(e, TLB_SITES, 4);
    full = emit_jcc(e, CC_E, 0);
    emit_store(e, &entry, HOST_RAX, 8);
    emit_op_mem(e, 0, 0xff, &count, 0); /* inc: behind the entry, for other vCPUs */
    emit_store_imm(e, &noted, 1, 1);
    emit_op_plus(e, 0, 0x58, HOST_RCX); /* pop */
    return full;
}

/* T0: address. It is in T1 too much for its page, or T0: the page, T1: the index; then away[1]
 * jumps unless the TLB has its tag. */
static void emit_find(struct emit *e, bool write, u8 *away[2])
{
    struct emit_mem last = in_site(offsetof(struct tlb_site, last));
    struct emit_mem tags = jit_tlb_at(TLB_USER, jit_tags_at(write), T1);

    emit_op_mem(e, 0, EMIT_0F | 0xb7, &last, T1); /* movzx */
    emit_op_reg(e, EMIT_W, 0x03, T0, T1);         /* add t1, t0 */
    emit_op_reg(e, EMIT_W, 0x33, T0, T1);         /* xor t1, t0 */
    emit_op_reg(e, EMIT_W, 0xc1, T1, 5);          /* shr: whether it crosses its page */
    emit_value(e, PAGE_SHIFT, 1);
    away[0] = emit_jcc(e, CC_NE, 0);
    jit_index_of(e);
    jit_page_of(e);
    emit_op_mem(e, EMIT_W, 0x3b, &tags, T0); /* cmp */
    away[1] = emit_jcc(e, CC_NE, 0);
}

/* T0, the page, becomes the site's tag. For stores another vCPU may drop the write tag at any time,
 * and those of all sites that are noted after it (tlb_drop_write()): it is looked at again. Returns
 * that jump, or NULL. */
static u8 *emit_enter(struct emit *e, bool write)
{
    struct emit_mem tag = in_site(offsetof(struct tlb_site, tag));
    struct emit_mem tags = jit_tlb_at(TLB_USER, jit_tags_at(write), T1);
    struct emit_mem address = VCPU(jit.target);

    if (!write) {
        emit_store(e, &tag, T0, 8);
        return NULL;
    }
    emit_op_mem(e, EMIT_W, 0x87, &tag, T0); /* xchg */
    emit_load(e, T0, &address, 8);
    jit_index_of(e);
    jit_page_of(e);
    emit_op_mem(e, EMIT_W, 0x3b, &tags, T0); /* cmp */
    return emit_jcc(e, CC_NE, 0);
}

/* An access meets another page than the last time. If the TLB has its tag, the site gets the page;
 * else it has none. After so many misses it is judged. */
void jit_emit_miss_site(struct jit *j, struct emit *e, bool write)
{
    struct emit_mem tag_at_t1 = emit_at(T1, offsetof(struct tlb_site, tag));
    struct emit_mem misses = in_site(offsetof(struct tlb_site, misses));
    struct emit_mem noted = in_site(offsetof(struct tlb_site, noted));
    struct emit_mem page = in_site(offsetof(struct tlb_site, page));
    struct emit_mem distance = in_site(offsetof(struct tlb_site, distance));
    struct emit_mem tag = in_site(offsetof(struct tlb_site, tag));
    struct emit_mem pages = jit_tlb_at(TLB_USER, offsetof(struct tlb_table, page), T1);
    struct emit_mem none = jit_tlb_at(TLB_USER, offsetof(struct tlb_table, no_stack), HOST_NONE);
    struct emit_mem address = VCPU(jit.target), over = VCPU(jit.site_over);
    u8 *often, *away[3], *known, *full;

    j->miss_site[write] = emit_here(e);
    emit_op_mem(e, EMIT_W, 0x03, &tag_at_t1, T0); /* add */
    emit_op_plus(e, 0, 0x50, HOST_RAX);           /* push */
    emit_mov(e, HOST_RAX, T1);
    emit_store(e, &address, T0, 8);
    emit_op_mem(e, 0, 0xff, &misses, 0); /* inc */
    often = emit_jcc(e, CC_E, 0);
    emit_find(e, write, away);
    emit_load(e, T1, &pages, 8);
    emit_store(e, &page, T1, 8);
    emit_op_reg(e, EMIT_W, 0x2b, T0, T1); /* sub t1, t0 */
    emit_store(e, &distance, T1, 8);
    emit_op_mem(e, 0, 0x80, &noted, 7); /* cmp byte, 0 */
    emit_value(e, 0, 1);
    known = emit_jcc(e, CC_NE, 0);
    full = emit_note(e);
    emit_patch(known, e->delta, emit_here(e));
    away[2] = emit_enter(e, write);
    emit_load(e, T0, &address, 8);
    emit_op_mem(e, EMIT_W, 0x03, &distance, T0); /* add */
    emit_op_plus(e, 0, 0x58, HOST_RAX);          /* pop */
    jit_return_and_pop(e);

    emit_patch(full, e->delta, emit_here(e));
    emit_op_plus(e, 0, 0x58, HOST_RCX); /* pop */
    emit_patch(often, e->delta, emit_here(e));
    emit_store(e, &over, HOST_RAX, 8);
    for (unsigned n = 0; n < ARRAY_SIZE(away); n++)
        if (away[n])
            emit_patch(away[n], e->delta, emit_here(e));
    emit_load(e, T1, &none, 8);
    emit_store(e, &tag, T1, 8);
    emit_op_plus(e, 0, 0x58, HOST_RAX); /* pop */
    emit_load(e, T0, &address, 8);
    emit_jmp(e, j->fill[write]);
}
