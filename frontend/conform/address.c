/* SPDX-License-Identifier: MIT
 *
 * Memory operands: where an access shall go, and the registers and displacement that lead there.
 */
#include "frontend/conform/generate_internal.h"

/* -- segments -- */

static u64 selector_base(unsigned selector)
{
    switch (selector) {
    case SEL_CODE16:
    case SEL_CODE32:
    case SEL_CODE_XO:
    case SEL_CODE_CONF: return ARENA_CODE;
    case SEL_DATA16:
    case SEL_DATA_RO:
    case SEL_DATA_DOWN: return ARENA_DATA;
    case SEL_STACK16: return ARENA_STACK;
    default: return 0;
    }
}

u64 segment_base(const struct conform_state *s, unsigned mode, unsigned seg)
{
    if (mode != MODE_64)
        return selector_base(s->selector[seg]);
    return seg == SEG_FS ? s->fs_base : seg == SEG_GS ? s->gs_base : 0;
}

/* -- where -- */

struct area {
    u64 start, size;
};

/* What lies behind a segment's base: that region; all for flat ones. In 64-bit mode bases are a
 * matter of arithmetic only, and code pages are not written to: they are writable. */
static struct area segment_region(struct rng *r, u64 base, bool wide)
{
    switch (wide ? 0 : base) {
    case ARENA_CODE: return (struct area){ARENA_CODE, ARENA_CODE_SIZE};
    case ARENA_STACK: return (struct area){ARENA_STACK, ARENA_STACK_SIZE};
    case ARENA_DATA: return (struct area){ARENA_DATA, ARENA_DATA_SIZE};
    default: break;
    }
    switch (rng_below(r, 24)) {
    case 0: return (struct area){ARENA_RO, ARENA_RO_SIZE};
    case 1: return (struct area){ARENA_STACK, ARENA_STACK_SIZE};
    default: return (struct area){ARENA_DATA, ARENA_DATA_SIZE};
    }
}

/* An address in the region, well inside for the most part. */
static u64 choose_inside(struct rng *r, struct area at, unsigned size, unsigned alignment)
{
    u64 room = at.size > size ? at.size - size : 1, linear = at.start + rng_below(r, (u32)room + 1);

    if (alignment > 1 && !rng_one_in(r, 8))
        linear = align_down(linear, alignment);
    return linear;
}

u64 address_choose(struct build *b, u64 base, unsigned size, unsigned alignment)
{
    struct rng *r = &b->rng;
    bool wide = b->form->mode == MODE_64;
    struct area at = segment_region(r, base, wide);

    size = size ? size : 1;
    if (alignment <= 1 && size <= 64 && rng_one_in(r, 2))
        alignment = 1u << rng_below(r, 4);
    switch (rng_below(r, 48)) {
    case 0: return at.start;
    case 1: return at.start + at.size - size;                          /* the last bytes */
    case 2: return at.start + 4096 - rng_below(r, size) - (size == 1); /* from page 1 into page 2 */
    case 3: return at.start + at.size - 1 - rng_below(r, size);        /* over the end */
    case 4: return at.start + at.size + rng_below(r, 4096);            /* unmapped */
    case 5: return at.start - 1 - rng_below(r, size);                  /* from below */
    case 6:
        if (wide && rng_one_in(r, 2)) /* not canonical, or just at the edge of it */
            return rng_one_in(r, 2) ? BIT(47) - rng_below(r, 16) : rng_next(r) | BIT(62);
        return choose_inside(r, at, size, alignment);
    default: return choose_inside(r, at, size, alignment);
    }
}

/* -- how -- */

void case_set_gpr(struct build *b, unsigned n, u64 value, unsigned width)
{
    u64 *gpr = &b->c->in.gpr[n];
    u64 mask = size_mask(width);

    *gpr = (*gpr & ~mask) | (value & mask);
    b->fixed |= 1u << n;
}

static bool is_fixed(const struct build *b, unsigned n)
{
    return b->fixed >> n & 1;
}

/* Writes the displacement into the bytes; false: there is none of 32 bits (16 for 16-bit
 * addressing, or moffs). */
static bool set_disp(struct build *b, u64 value)
{
    struct encoding *enc = &b->enc;

    if (enc->disp_size < 2)
        return false;
    store_le(enc->bytes + enc->disp_at, value, enc->disp_size);
    b->i.disp = (i64)sign_extend(value, enc->disp_size);
    return true;
}

/* The effective address as the state has it (without VSIB indices). */
static u64 effective(const struct build *b)
{
    const struct insn *i = &b->i;
    const struct conform_state *s = &b->c->in;
    u64 value = (u64)i->disp;

    if (i->base == REG_IP)
        value += s->rip + i->len;
    else if (i->base != REG_NONE)
        value += s->gpr[i->base];
    if (i->index != REG_NONE && !b->g->rows[b->form->row].vsib)
        value += s->gpr[i->index] << i->scale;
    return value & size_mask(i->asz);
}

static void lead_by_base(struct build *b, u64 offset)
{
    struct insn *i = &b->i;
    bool index = i->index != REG_NONE && !b->g->rows[b->form->row].vsib;

    if (index && !is_fixed(b, i->index) && i->index != i->base)
        case_set_gpr(b, i->index,
                     rng_one_in(&b->rng, 4) ? rng_next(&b->rng) : rng_below(&b->rng, 64), i->asz);
    case_set_gpr(b, i->base, b->c->in.gpr[i->base] + offset - effective(b), i->asz);
}

/* [r + r * scale + disp]: the quotient into the register, the rest into the displacement. */
static void lead_by_one_register(struct build *b, unsigned n, u64 factor, u64 offset)
{
    u64 value = (offset - (u64)b->i.disp) & size_mask(b->i.asz);

    case_set_gpr(b, n, value / factor, b->i.asz);
    set_disp(b, (u64)b->i.disp + value % factor);
}

/* Makes the effective address offset, if the registers are free. */
static void lead_to(struct build *b, u64 offset)
{
    struct insn *i = &b->i;
    bool index = i->index != REG_NONE && !b->g->rows[b->form->row].vsib;

    if (i->base == REG_IP) {
        set_disp(b, offset - b->c->in.rip - i->len);
        return;
    }
    if (i->base == REG_NONE && !index) {
        set_disp(b, offset);
        return;
    }
    if (index && i->base == i->index && !is_fixed(b, i->base))
        lead_by_one_register(b, i->base, 1 + BIT(i->scale), offset);
    else if (i->base != REG_NONE && !is_fixed(b, i->base))
        lead_by_base(b, offset);
    else if (index && !is_fixed(b, i->index) && i->base == REG_NONE)
        lead_by_one_register(b, i->index, BIT(i->scale), offset);
    else if (index && !is_fixed(b, i->index))
        case_set_gpr(b, i->index,
                     (offset - (effective(b) - (b->c->in.gpr[i->index] << i->scale))) >> i->scale,
                     i->asz);
    else
        set_disp(b, (u64)i->disp + offset - effective(b));
}

/* Indices of a gather or scatter: small, so that elements stay around the base. */
static void set_vector_indices(struct build *b)
{
    u8 *zmm = b->c->in.zmm[b->i.index];
    bool wide = false;
    unsigned spread = rng_one_in(&b->rng, 8) ? 8192 : 96;

    for (unsigned n = 0; n < 4; n++)
        wide |= b->row->operands[n] == OPND_VMq;
    for (unsigned at = 0; at < 64; at += wide ? 8 : 4)
        store_le(zmm + at, (u64)(i64)((int)rng_below(&b->rng, 2 * spread) - (int)spread),
                 wide ? 8 : 4);
}

static unsigned operand_alignment(const struct build *b)
{
    if (b->row->traits & T_ALIGN)
        return b->size;
    switch (b->i.id) {
    case INSN_CMPXCHG16B_Mdq:
    case INSN_FXSAVE_M:
    case INSN_FXRSTOR_M: return 16;
    case INSN_XSAVE_M:
    case INSN_XRSTOR_M:
    case INSN_XSAVEC_M:
    case INSN_XSAVEOPT_M: return 64;
    default: return 1;
    }
}

static unsigned operand_size(const struct build *b)
{
    unsigned size = insn_mem_size(&b->i);

    if (size)
        return size;
    switch (b->i.id) {
    case INSN_FXSAVE_M:
    case INSN_FXRSTOR_M: return 512;
    case INSN_XSAVE_M:
    case INSN_XRSTOR_M:
    case INSN_XSAVEC_M:
    case INSN_XSAVEOPT_M: return 2696;
    default: return 8;
    }
}

void address_memory(struct build *b)
{
    const struct insn *i = &b->i;
    u64 base = segment_base(&b->c->in, b->form->mode, i->seg), linear;

    b->size = operand_size(b);
    linear = address_choose(b, base, b->size, operand_alignment(b));
    if (b->g->rows[b->form->row].vsib) {
        set_vector_indices(b);
        linear = address_choose(b, base, 1024, 1) + 512;
    }
    lead_to(b, linear - base);
    b->linear = effective(b) + base;
    if (b->form->mode != MODE_64)
        b->linear = (u32)b->linear;
    b->has_memory = true;
}

/* -- patches -- */

void case_patch(struct conform_case *c, u64 linear, const u8 *bytes, unsigned size)
{
    static const struct area regions[] = {
        {ARENA_DATA, ARENA_DATA_SIZE}, {ARENA_RO, ARENA_RO_SIZE}, {ARENA_STACK, ARENA_STACK_SIZE}};
    struct conform_patch *p = &c->patch[c->patch_count];

    if (c->patch_count == CASE_PATCHES_MAX)
        return;
    for (unsigned n = 0; n < ARRAY_SIZE(regions); n++) {
        u64 start = linear > regions[n].start ? linear : regions[n].start;
        u64 end = linear + size, last = regions[n].start + regions[n].size;

        end = end < last ? end : last;
        if (start >= end || linear + size < linear)
            continue;
        p->address = (u32)start;
        p->size = (u32)(end - start < CASE_PATCH_BYTES ? end - start : CASE_PATCH_BYTES);
        memcpy(p->bytes, bytes + (start - linear), p->size);
        c->patch_count++;
        return;
    }
}
