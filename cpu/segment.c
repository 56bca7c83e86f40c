/* SPDX-License-Identifier: MIT
 *
 * Segment registers and descriptors: reading descriptor tables, loading data segment registers with
 * every check of SDM 2 "MOV" and SDM 3A chapter 5, in all modes.
 *
 * Descriptor tables are read as implicit supervisor accesses (SDM 3A 4.6.1), whatever the CPL.
 */
#include "cpu/segment.h"

#include "cpu/cpuid.h"

enum { TSS_IO_MAP = 0x66 }; /* where the TSS keeps the I/O map base (SDM 3A figure 7-2) */

bool vcpu_canonical_base(const struct vcpu *v, u64 gla)
{
    unsigned shift = 64 - v->model->linear_bits;

    return (u64)((i64)(gla << shift) >> shift) == gla;
}

bool descriptor_read(struct vcpu *v, u16 selector, bool wide, struct descriptor *d,
                     bool *out_of_limit)
{
    bool local = selector & 4;
    u64 base = local ? v->ldtr.base : v->gdtr.base;
    u32 limit = local ? v->ldtr.limit : v->gdtr.limit;
    u32 offset = selector & 0xfff8u;

    *out_of_limit = offset + (wide ? 15 : 7) > limit || (local && (v->ldtr.attr & ATTR_NULL));
    if (*out_of_limit)
        return false;
    d->gla = base + offset;
    d->high = 0;
    if (!v->long_mode)
        d->gla = (u32)d->gla;
    return sys_read(v, d->gla, 8, &d->low) && (!wide || sys_read(v, d->gla + 8, 8, &d->high));
}

bool descriptor_fetch(struct vcpu *v, u16 selector, bool wide, enum vector vector, u32 ext,
                      struct descriptor *d)
{
    bool out_of_limit;

    if (descriptor_read(v, selector, wide, d, &out_of_limit))
        return true;
    if (out_of_limit)
        raise_fault_error(v, vector, selector_error(selector, ext));
    return false;
}

bool descriptor_touch(struct vcpu *v, struct descriptor *d)
{
    if (descriptor_attr(d) & ATTR_ACCESSED)
        return true;
    if (!sys_set_bits(v, d->gla + 5, ATTR_ACCESSED))
        return false;
    d->low |= (u64)ATTR_ACCESSED << 40;
    return true;
}

u64 descriptor_system_base(const struct vcpu *v, const struct descriptor *d)
{
    return descriptor_base(d) | (v->long_mode ? d->high << 32 : 0);
}

struct segment segment_from_descriptor(u16 selector, const struct descriptor *d)
{
    return (struct segment){.selector = selector,
                            .base = descriptor_base(d),
                            .limit = descriptor_limit(d),
                            .attr = descriptor_attr(d)};
}

bool segment_commit(struct vcpu *v, enum seg seg, u16 selector, struct descriptor *d)
{
    if (!descriptor_touch(v, d))
        return false;
    v->seg[seg] = segment_from_descriptor(selector, d);
    if (seg == SEG_CS || seg == SEG_SS)
        vcpu_update_mode(v);
    return true;
}

struct segment segment_null(u16 selector, unsigned dpl)
{
    return (struct segment){.selector = selector, .attr = ATTR_NULL | dpl << ATTR_DPL_SHIFT};
}

bool segment_covers(const struct segment *s, u64 offset, unsigned size)
{
    u64 last = offset + size - 1;

    if (s->attr & ATTR_NULL)
        return false;
    if ((s->attr & (ATTR_CODE | ATTR_EXPAND_DOWN)) == ATTR_EXPAND_DOWN)
        return offset > s->limit && last <= (s->attr & ATTR_DB ? 0xffffffffull : 0xffffull);
    return last <= s->limit || s->limit == 0xffffffff;
}

bool tss_read(struct vcpu *v, u32 offset, unsigned size, u64 *value)
{
    u64 gla = v->tr.base + offset;

    return sys_read(v, v->long_mode ? gla : (u32)gla, size, value);
}

bool tss_io_map(struct vcpu *v, u32 *map)
{
    u64 base;

    if ((v->tr.attr & ATTR_NULL) || attr_sys_type(v->tr.attr & ~2u) != SYS_TSS ||
        v->tr.limit < TSS_IO_MAP + 1)
        return raise_gp(v, 0);
    if (!tss_read(v, TSS_IO_MAP, 2, &base))
        return false;
    *map = (u32)base;
    return true;
}

void segment_load_real(struct vcpu *v, enum seg seg, u16 selector)
{
    v->seg[seg].selector = selector;
    v->seg[seg].base = (u64)selector << 4;
    v->seg[seg].attr &= ~ATTR_NULL;
}

void segment_load_v86(struct vcpu *v, enum seg seg, u16 selector)
{
    v->seg[seg] = (struct segment){.selector = selector,
                                   .base = (u64)selector << 4,
                                   .limit = 0xffff,
                                   .attr = ATTR_P | ATTR_DPL | ATTR_S | ATTR_WRITE | ATTR_ACCESSED};
}

/* -- checks -- */

bool code_check(struct vcpu *v, u16 selector, unsigned cpl, enum vector bad, u32 ext,
                const struct descriptor *d)
{
    u32 attr = descriptor_attr(d), error = selector_error(selector, ext);
    unsigned dpl = attr_dpl(attr);

    if (!attr_is_code(attr) || (attr_is_conforming(attr) ? dpl > cpl : dpl != cpl))
        return raise_fault_error(v, bad, error);
    /* L and D together are reserved (SDM 3A 5.2.1). */
    if (v->long_mode && (attr & ATTR_L) && (attr & ATTR_DB))
        return raise_fault_error(v, bad, error);
    return attr & ATTR_P || raise_np(v, error);
}

bool code_fetch(struct vcpu *v, u16 selector, unsigned cpl, enum vector bad, u32 ext,
                struct descriptor *d)
{
    if (selector_is_null(selector))
        return raise_fault_error(v, bad, ext);
    return descriptor_fetch(v, selector, false, bad, ext, d) &&
           code_check(v, selector, cpl, bad, ext, d);
}

bool stack_fetch(struct vcpu *v, u16 selector, unsigned cpl, enum vector bad, u32 ext,
                 struct descriptor *d)
{
    u32 attr, error = selector_error(selector, ext);

    if (selector_is_null(selector))
        return raise_fault_error(v, bad, ext);
    if (!descriptor_fetch(v, selector, false, bad, ext, d))
        return false;
    attr = descriptor_attr(d);
    if ((selector & 3u) != cpl || !attr_is_writable_data(attr) || attr_dpl(attr) != cpl)
        return raise_fault_error(v, bad, error);
    return attr & ATTR_P || raise_ss(v, error);
}

bool data_fetch(struct vcpu *v, u16 selector, enum vector bad, u32 ext, struct descriptor *d)
{
    u32 attr, error = selector_error(selector, ext);
    unsigned dpl;

    if (!descriptor_fetch(v, selector, false, bad, ext, d))
        return false;
    attr = descriptor_attr(d);
    dpl = attr_dpl(attr);
    if (!attr_is_readable(attr))
        return raise_fault_error(v, bad, error);
    if (!attr_is_conforming(attr) && (dpl < v->cpl || dpl < (selector & 3u)))
        return raise_fault_error(v, bad, error);
    return attr & ATTR_P || raise_np(v, error);
}

bool gate_code_fetch(struct vcpu *v, u16 selector, u32 ext, struct descriptor *d)
{
    u32 attr, error = selector_error(selector, ext);

    if (selector_is_null(selector))
        return raise_gp(v, ext);
    if (!descriptor_fetch(v, selector, false, VEC_GP, ext, d))
        return false;
    attr = descriptor_attr(d);
    if (!attr_is_code(attr) || attr_dpl(attr) > v->cpl)
        return raise_gp(v, error);
    return !v->long_mode || (attr & (ATTR_L | ATTR_DB)) == ATTR_L || raise_gp(v, error);
}

bool system_fetch(struct vcpu *v, u16 selector, u32 types, enum vector bad, enum vector absent,
                  u32 ext, struct descriptor *d)
{
    u32 attr, error = selector_error(selector, ext);

    if (selector_is_null(selector) || (selector & 4))
        return raise_fault_error(v, bad, error);
    if (!descriptor_fetch(v, selector, v->long_mode, bad, ext, d))
        return false;
    attr = descriptor_attr(d);
    if ((attr & ATTR_S) || !(types >> (attr & ATTR_TYPE) & 1))
        return raise_fault_error(v, bad, error);
    /* The upper half of a 16-byte descriptor has a type field that must be 0 (SDM 3A 7.2.3). */
    if ((d->high >> 40 & 0x1f) || !vcpu_canonical_base(v, descriptor_system_base(v, d)))
        return raise_fault_error(v, bad, error);
    return attr & ATTR_P || raise_fault_error(v, absent, error);
}

/* -- loads -- */

static bool load_ss(struct vcpu *v, u16 selector)
{
    struct descriptor d;

    if (selector_is_null(selector)) {
        /* SDM 2 "MOV": a null SS only in 64-bit mode below CPL 3, with RPL = CPL. */
        if (!vcpu_64bit(v) || v->cpl == 3 || (selector & 3) != v->cpl)
            return raise_gp(v, 0);
        v->seg[SEG_SS] = segment_null(selector, v->cpl);
        return true;
    }
    return stack_fetch(v, selector, v->cpl, VEC_GP, 0, &d) &&
           segment_commit(v, SEG_SS, selector, &d);
}

static bool load_data(struct vcpu *v, enum seg seg, u16 selector)
{
    struct descriptor d;

    if (selector_is_null(selector)) {
        /* The bases of FS and GS become 0, as on Intel and on AMD with NullSelectorClearsBase
         * (CPUID 80000021H EAX bit 6). */
        v->seg[seg] = segment_null(selector, 0);
        return true;
    }
    return data_fetch(v, selector, VEC_GP, 0, &d) && segment_commit(v, seg, selector, &d);
}

bool segment_load(struct vcpu *v, enum seg seg, u16 selector)
{
    if (!vcpu_protected(v)) {
        segment_load_real(v, seg, selector);
        return true;
    }
    return seg == SEG_SS ? load_ss(v, selector) : load_data(v, seg, selector);
}

void segment_invalidate_outer(struct vcpu *v)
{
    static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    for (unsigned n = 0; n < ARRAY_SIZE(data); n++) {
        struct segment *s = &v->seg[data[n]];

        if (!(s->attr & ATTR_NULL) && !attr_is_conforming(s->attr) && attr_dpl(s->attr) < v->cpl)
            *s = segment_null(0, 0);
    }
}

void vcpu_set_cpl(struct vcpu *v, unsigned cpl)
{
    v->cpl = (u8)cpl;
    vcpu_update_mode(v);
}

bool umip_check(struct vcpu *v)
{
    return !(v->cr4 & CR4_UMIP) || v->cpl == 0 || raise_gp(v, 0);
}

/* Outside 64-bit code an instruction pointer has 32 bits. */
static u64 code_rip(const struct vcpu *v, u32 attr, u64 rip)
{
    return v->long_mode && (attr & ATTR_L) ? rip : (u32)rip;
}

bool code_rip_check(struct vcpu *v, u32 attr, u32 limit, u64 rip, u32 error)
{
    bool inside = v->long_mode && (attr & ATTR_L) ? vcpu_canonical(v, rip) : rip <= limit;

    return inside || raise_gp(v, error);
}

void code_enter(struct vcpu *v, u16 selector, unsigned cpl, const struct descriptor *d, u64 rip)
{
    v->seg[SEG_CS] = segment_from_descriptor((u16)((selector & 0xfffc) | cpl), d);
    v->next_rip = code_rip(v, descriptor_attr(d), rip);
    vcpu_set_cpl(v, cpl);
}
