/* SPDX-License-Identifier: MIT
 *
 * Guest memory: addresses, and the inline check of the soft TLB (mem/tlb.h).
 */
#include "jit/lower/lower.h"

unsigned lower_use(struct translator *t, unsigned guest, unsigned scratch)
{
    struct emit_mem slot = gpr_slot(guest);

    if (host_of(guest) != HOST_NONE)
        return host_of(guest);
    emit_load(t->e, scratch, &slot, 8);
    return scratch;
}

void lower_put(struct translator *t, unsigned guest, unsigned host)
{
    struct emit_mem slot = gpr_slot(guest);

    if (host_of(guest) == HOST_NONE)
        emit_store(t->e, &slot, host, 8);
}

bool lower_can_address(const struct translator *t, const struct insn *i)
{
    if (!(t->j->options.optimisations & JIT_MEMORY))
        return false;
    (void)i;
    return true;
}

u8 lower_segment_of(const struct translator *t, unsigned seg)
{
    u32 mode = t->block->mode;
    bool flat = mode & (MODE_CODE64 | MODE_SEGMENTED) ? mode & MODE_CODE64 : seg != SEG_CS;

    return seg < SEG_FS && flat ? REF_FLAT : (u8)seg;
}

void lower_ref(const struct translator *t, const struct jit_insn *ji, unsigned size, bool write,
               struct mem_ref *ref)
{
    const struct insn *i = &ji->insn;
    u64 next = ji->rip + i->len;

    *ref = (struct mem_ref){.base = i->base,
                            .index = i->index,
                            .scale = i->scale,
                            .asz = i->asz,
                            .seg = lower_segment_of(t, i->seg),
                            .size = (u8)size,
                            .write = write,
                            .disp = i->disp};
    if (i->base == REG_IP) {
        ref->base = REG_NONE;
        ref->disp += (i64)next;
    }
}

void lower_cut16(struct translator *t, unsigned to, unsigned from)
{
    emit_op_reg(t->e, 0, EMIT_0F | 0xb7, from, to); /* movzx */
}

void lower_advance(struct translator *t, unsigned guest, i32 by, unsigned size)
{
    unsigned host = host_of(guest);
    struct emit_mem next = emit_at(host, by);

    if (size != 2) {
        emit_lea(t->e, host, &next, size);
        return;
    }
    emit_lea(t->e, T0, &next, 4);
    emit_op_reg(t->e, EMIT_66, 0x8b, T0, host); /* mov, the upper bits stay */
}

/* An address without registers. */
static u64 absolute(const struct mem_ref *ref, i64 disp)
{
    return ref->asz == 8 ? (u64)disp : ref->asz == 4 ? (u32)disp : (u16)disp;
}

/* to = the sum of m, of which one register at least is there, cut to the address size. */
static void sum_registers(struct translator *t, const struct mem_ref *ref, const struct emit_mem *m,
                          unsigned to)
{
    if (m->index == HOST_NONE && !m->disp && m->base != HOST_NONE) {
        if (ref->asz == 8)
            emit_mov(t->e, to, m->base);
        else if (ref->asz == 4)
            emit_mov32(t->e, to, m->base);
        else
            lower_cut16(t, to, m->base);
        return;
    }
    emit_lea(t->e, to, m, ref->asz);
    if (ref->asz == 2)
        lower_cut16(t, to, to);
}

void lower_address(struct translator *t, const struct mem_ref *ref, i64 by)
{
    lower_address_in(t, ref, by, T0);
}

void lower_address_in(struct translator *t, const struct mem_ref *ref, i64 by, unsigned to)
{
    struct emit_mem m = {.base = HOST_NONE, .index = HOST_NONE, .scale = ref->scale};
    i64 disp = ref->disp + by;

    if (ref->base == REG_NONE && ref->index == REG_NONE) {
        emit_mov_imm(t->e, to, absolute(ref, disp));
    } else {
        if (ref->base != REG_NONE)
            m.base = (u8)lower_use(t, ref->base, T0);
        if (ref->index != REG_NONE)
            m.index = (u8)lower_use(t, ref->index, T1);
        m.disp = (i32)disp;
        sum_registers(t, ref, &m, to);
    }
    if (ref->seg != REF_FLAT) {
        struct emit_mem base =
            emit_gs((i32)(offsetof(struct vcpu, seg) + ref->seg * sizeof(struct segment) +
                          offsetof(struct segment, base)));

        emit_op_mem(t->e, EMIT_W, 0x03, &base, to);
    }
}

/* -- checks -- */

/* A member of the TLB table of the block's context; index: HOST_NONE or T1. */
static struct emit_mem tlb_at(const struct translator *t, size_t member, unsigned index)
{
    return jit_tlb_at(jit_context(t->block->mode), member, index);
}

/* What the out-of-line half of the next check needs. */
static struct miss_site *new_site(struct translator *t, const struct jit_insn *ji, unsigned size,
                                  bool write)
{
    struct miss_site *site = &t->site[t->site_count++];

    check(t->flags == FLAGS_SAVED || t->flags == FLAGS_RECIPE, "flags would be lost");
    check(t->site_count <= SITES_MAX, "too many checks");
    t->held = -1;
    site->insn = ji;
    site->size = (u16)size;
    site->write = write;
    site->flags = t->flags;
    site->recipe = t->recipe;
    site->leaves = site->if_dirty = site->early = site->stack = site->shared = false;
    site->site = NULL;
    site->result = CHECK_HOST;
    site->window_from = 0;
    site->leave = false;
    site->after = 0;
    site->vectors_after = site->x87_after = false;
    return site;
}

/* T0 -= tag; jumps away unless what is left is an offset that size bytes in the page have. */
static void check_offset(struct translator *t, struct miss_site *site, const struct emit_mem *tag)
{
    struct emit *e = t->e;

    emit_op_mem(e, EMIT_W, 0x2b, tag, T0); /* sub t0, tag */
    emit_op_reg(e, EMIT_W, 0x81, T0, 7);   /* cmp t0, 4096 - size */
    emit_value(e, PAGE_SIZE - site->size, 4);
    site->rel32 = emit_jcc(e, CC_A, 0);
}

static struct emit_mem site_at(const struct tlb_site *site, size_t member)
{
    return emit_rip((u64)site + member);
}

struct emit_mem lower_site_distance(const struct tlb_site *site)
{
    return site_at(site, offsetof(struct tlb_site, distance));
}

/* T0: address; then T0 -= tag. true: by the page that this place met last; false: by index, and T1
 * is that. In code that is not in use often most sites would miss: each costs what is out of line,
 * which nobody had in a cache. */
static bool check_by_site(struct translator *t, struct miss_site *site)
{
    struct emit_mem tag;

    if (!t->loop.on && !t->block->path && !t->block->hot)
        return false;
    site->site = jit_site(t->j, t->block, site->insn, site->size);
    if (!site->site)
        return false;
    tag = site_at(site->site, offsetof(struct tlb_site, tag));
    check_offset(t, site, &tag);
    return true;
}

/* T0: address; then T0 -= tag, T1 is its index. */
static void check_by_index(struct translator *t, struct miss_site *site)
{
    struct emit_mem tags = tlb_at(t, jit_tags_at(site->write), T1);

    jit_index_of(t->e);
    check_offset(t, site, &tags);
}

struct miss_site *lower_check(struct translator *t, const struct jit_insn *ji, unsigned size,
                              bool write)
{
    struct emit_mem pages = tlb_at(t, offsetof(struct tlb_table, page), T1);
    struct miss_site *site = new_site(t, ji, size, write);

    if (check_by_site(t, site))
        pages = site_at(site->site, offsetof(struct tlb_site, page));
    else
        check_by_index(t, site);
    emit_op_mem(t->e, EMIT_W, 0x03, &pages, T0); /* add t0, page */
    site->resume = emit_here(t->e);
    return site;
}

bool lower_has_distance(const struct mem_ref *ref)
{
    return ref->asz == 8 && ref->seg == REF_FLAT && ref->index == REG_NONE &&
           ref->base != REG_NONE && host_of(ref->base) != HOST_NONE;
}

struct emit_mem lower_stack_distance(const struct translator *t)
{
    return tlb_at(t, offsetof(struct tlb_table, stack_distance), HOST_NONE);
}

/* T0: host address; then less the linear one. Not by the tag, which may have gone meanwhile. Uses
 * T1.
 */
static void subtract_address(struct translator *t, const struct mem_ref *ref, i64 by)
{
    lower_address_in(t, ref, by, T1);
    emit_op_reg(t->e, EMIT_W, 0x2b, T1, T0); /* sub t0, t1 */
}

struct miss_site *lower_check_distance(struct translator *t, const struct jit_insn *ji,
                                       const struct mem_ref *ref, i64 by, unsigned size, bool write)
{
    struct emit_mem pages = tlb_at(t, offsetof(struct tlb_table, page), T1);
    struct emit_mem stack = tlb_at(t, offsetof(struct tlb_table, stack_tag), HOST_NONE);
    struct emit_mem distance = lower_stack_distance(t);
    struct miss_site *site = new_site(t, ji, size, write);

    lower_address(t, ref, by);
    site->result = CHECK_DISTANCE;
    site->ref = *ref;
    site->by = by;
    if (ref->base == RSP && (t->j->options.optimisations & JIT_STACK)) {
        site->stack = true;
        check_offset(t, site, &stack);
        emit_load(t->e, T0, &distance, 8);
    } else if (check_by_site(t, site)) {
        distance = lower_site_distance(site->site);
        emit_load(t->e, T0, &distance, 8);
    } else {
        check_by_index(t, site);
        emit_op_mem(t->e, EMIT_W, 0x03, &pages, T0); /* add t0, page */
        subtract_address(t, ref, by);
    }
    site->resume = emit_here(t->e);
    return site;
}

struct miss_site *lower_check_page(struct translator *t, const struct jit_insn *ji,
                                   const struct mem_ref *ref, i64 by, unsigned size, bool write)
{
    u64 address = absolute(ref, ref->disp + by), index = tlb_index(address);
    struct emit_mem tag = tlb_at(t, jit_tags_at(write) + 8 * index, HOST_NONE);
    struct emit_mem page = tlb_at(t, offsetof(struct tlb_table, page) + 8 * index, HOST_NONE);
    struct miss_site *site = new_site(t, ji, size, write);
    struct emit *e = t->e;

    site->result = CHECK_PAGE;
    site->ref = *ref;
    site->by = by;
    emit_mov_imm(e, T0, address & PAGE_MASK);
    emit_op_mem(e, EMIT_W, 0x3b, &tag, T0); /* cmp */
    site->rel32 = emit_jcc(e, CC_NE, 0);
    emit_load(e, T0, &page, 8);
    site->resume = emit_here(e);
    return site;
}

struct miss_site *lower_give_up(struct translator *t, const struct jit_insn *ji, u8 *rel32)
{
    struct miss_site *site = &t->site[t->site_count++];

    check(t->site_count <= SITES_MAX, "too many checks");
    t->held = -1;
    *site = (struct miss_site){.rel32 = rel32, .insn = ji, .flags = t->flags, .recipe = t->recipe};
    return site;
}

void lower_locked(struct translator *t, const struct jit_insn *ji, const struct emit_mem *m,
                  unsigned size)
{
    if (size == 1)
        return;
    emit_lea(t->e, T1, m, 8);
    emit_op_reg(t->e, EMIT_REX, 0xf6, T1, 0); /* test t1b, size - 1 */
    emit_value(t->e, size - 1, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
}

void lower_want_vectors(struct translator *t)
{
    struct emit_mem loaded = VCPU_AT(jit.vectors);
    u8 *skip;

    if (t->vectors)
        return;
    lower_release_flags(t);
    emit_op_mem(t->e, 0, 0x80, &loaded, 7); /* cmp byte, 0 */
    emit_value(t->e, 0, 1);
    skip = emit_jcc(t->e, CC_NE, 0);
    emit_call(t->e, t->j->load_vectors);
    emit_patch(skip, t->e->delta, emit_here(t->e));
    t->vectors = true;
}

/* Calls a stub with the place of miss, and the site in T1 if there is one. */
static void call_miss(struct translator *t, const struct jit_miss *miss,
                      const struct tlb_site *site, u64 stub)
{
    struct emit_mem at = emit_rip((u64)site);

    if (site)
        emit_lea(t->e, T1, &at, 8);
    emit_value(t->e, 0x68, 1); /* push */
    emit_value(t->e, jit_offset(t->j, miss), 4);
    emit_call(t->e, stub);
}

/* The host address is in T0: what the code behind the check expects instead. */
static void go_on(struct translator *t, const struct miss_site *site)
{
    i64 offset = (i64)(absolute(&site->ref, site->ref.disp + site->by) & ~PAGE_MASK);
    struct emit_mem page = emit_at(T0, (i32)-offset), stack = lower_stack_distance(t);
    struct emit_mem distance = lower_site_distance(site->site), kept = emit_at(HOST_RSP, 0);

    if (site->result == CHECK_DISTANCE) {
        subtract_address(t, &site->ref, site->by);
        if (site->stack)
            emit_store(t->e, &stack, T0, 8);
        else if (site->shared)
            emit_store(t->e, &distance, T0, 8);
    } else if (site->shared) {
        emit_op_plus(t->e, 0, 0x50, T0); /* push */
        lower_address_in(t, &site->ref, site->by, T1);
        emit_op_reg(t->e, EMIT_W, 0xf7, T1, 3);     /* neg t1 */
        emit_op_mem(t->e, EMIT_W, 0x03, &kept, T1); /* add */
        emit_store(t->e, &distance, T1, 8);
        emit_op_plus(t->e, 0, 0x58, T0); /* pop */
    } else if (site->result == CHECK_PAGE && offset) {
        emit_lea(t->e, T0, &page, 8);
    }
    emit_jmp(t->e, site->resume);
}

static u64 stub_of(const struct translator *t, const struct miss_site *site)
{
    unsigned context = jit_context(t->block->mode);

    if (site->result == CHECK_PAGE)
        return t->j->fill[site->write];
    if (site->site)
        return t->j->miss_site[site->write];
    return site->stack ? t->j->miss_stack[context][site->write] : t->j->miss[context][site->write];
}

static u8 how(const struct miss_site *site)
{
    bool host = site->flags_after == FLAGS_HOST || site->flags_after == FLAGS_BOTH;
    bool saved = site->flags == FLAGS_SAVED || site->flags == FLAGS_BOTH;

    return (u8)((site->if_dirty ? MISS_IF_DIRTY : 0) | (site->early ? MISS_EARLY : 0) |
                (saved ? 0 : MISS_FLAGS) | (site->leaves ? MISS_LEAVES : 0) |
                (site->after && host ? MISS_HOST_FLAGS : 0) |
                (site->window_from ? MISS_WINDOW : 0) | (site->vectors_after ? MISS_VECTORS : 0) |
                (site->x87_after ? MISS_X87 : 0));
}

/* Refills the TLB and goes on; if that does not help, executes the instruction and goes on behind
 * it with the flags where the code there expects them. */
static void lower_miss(struct translator *t, const struct miss_site *site, struct jit_miss *miss)
{
    struct emit *e = t->e;
    u8 *filled = NULL;

    *miss = (struct jit_miss){.after = site->after ? jit_code_offset(t->j, site->after) : 0,
                              .insn = lower_keep(t, site->insn),
                              .block = jit_offset(t->j, t->block),
                              .size = site->size,
                              .how = how(site)};
    if (site->rel32)
        emit_patch(site->rel32, e->delta, emit_here(e));
    if (site->resume) {
        if (site->result == CHECK_PAGE)
            emit_mov_imm(e, T0, absolute(&site->ref, site->ref.disp + site->by));
        call_miss(t, miss, site->site, stub_of(t, site));
        if (!(miss->how & MISS_FLAGS)) {
            go_on(t, site);
            return;
        }
        filled = emit_jmp_patchable(e, site->resume);
    }
    t->flags = site->flags;
    t->recipe = site->recipe;
    if (t->flags == FLAGS_RECIPE)
        lower_need_flags(t);
    call_miss(t, miss, NULL, miss->how & MISS_FLAGS ? t->j->miss_exec_flags : t->j->miss_exec);
    if (filled && (site->result != CHECK_HOST || site->shared)) {
        emit_patch(filled, e->delta, emit_here(e));
        go_on(t, site);
    }
}

/* The block is left where RSP could not be proved. */
static void leave(struct translator *t, const struct miss_site *site)
{
    t->flags = site->flags;
    t->recipe = site->recipe;
    lower_give_back(t, site->leave_behind);
    lower_leave_at(t, site->leave_rip, t->j->exit_at);
}

/* Room for those by the window. false: there is none. */
static bool window_sites(struct translator *t, struct jit_window_site **next)
{
    unsigned count = 0;

    for (unsigned n = 0; n < t->site_count; n++)
        count += t->site[n].window_from != 0;
    *next = count ? jit_window_sites(t->j, count) : NULL;
    return !count || *next;
}

void lower_misses(struct translator *t)
{
    struct jit_miss *miss = jit_arena(t->j, t->site_count * sizeof(*miss));
    struct jit_window_site *next;

    if (!miss || !window_sites(t, &next)) {
        t->failed = true;
        return;
    }
    for (unsigned n = 0; n < t->site_count; n++) {
        if (t->site[n].window_from)
            *next++ = (struct jit_window_site){jit_code_offset(t->j, t->site[n].window_from),
                                               jit_code_offset(t->j, emit_here(t->e))};
        if (t->site[n].leave)
            leave(t, &t->site[n]);
        else
            lower_miss(t, &t->site[n], &miss[n]);
    }
}
