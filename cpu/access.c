/* SPDX-License-Identifier: MIT
 *
 * Guest memory, the unusual half: segment checks, TLB misses, accesses that cross a page, device
 * registers, watched pages, alignment checks, and the processor's own accesses to its tables.
 *
 * Every access is translated completely (both pages) before a byte is read or stored, so a fault
 * leaves memory as it was; a fault in the second page reports that page's first byte.
 * SDM 3A 5.3-5.6 (segment checks), 4.6 (access rights), 6.15 (#AC); SDM 1 3.3.7.1 (canonicality).
 */
#include "cpu/access.h"

#include <string.h>

#include "cpu/control.h"
#include "cpu/hooks.h"
#include "cpu/span.h"
#include "mem/base/pieces.h"
#include "mem/table_update.h"

/* -- translation -- */

static bool translate(struct vcpu *v, u64 gla, enum access_kind kind, bool implicit,
                      struct tlb_page *page)
{
    struct paging_ctx ctx = vcpu_paging_ctx(v, !implicit && v->cpl == 3, implicit);
    enum tlb_context context =
        implicit ? TLB_SUPERVISOR : (enum tlb_context)(v->tlb_now - v->tlb.tables);
    u32 error;

    if (!tlb_translate(&v->tlb, context, &ctx, gla, kind, page, &error))
        return raise_pf(v, gla, error);
    if (unlikely(kind == ACCESS_WRITE && !page->hva) && page->phys.region &&
        page->phys.region->write_faults)
        return raise_gp(v, 0); /* TLFS, hypercall interface: the page is read-only */
    return true;
}

u64 span_next_page(const struct vcpu *v, u64 gla)
{
    u64 next = (gla & PAGE_MASK) + PAGE_SIZE;

    return next == BIT(32) && !vcpu_64bit(v) ? 0 : next;
}

bool span_translate(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind, bool implicit,
                    struct span *s)
{
    unsigned room = PAGE_SIZE - (unsigned)(gla & ~PAGE_MASK);

    s->gla = gla;
    s->size = size;
    s->first = size < room ? size : room;
    if (!translate(v, gla, kind, implicit, &s->page[0]))
        return false;
    if (likely(s->first == size))
        return true;
    return translate(v, span_next_page(v, gla), kind, implicit, &s->page[1]);
}

static void page_read(struct vcpu *v, const struct tlb_page *page, u8 *out, unsigned size)
{
    if (page->hva)
        copy_from_guest(out, page->hva, size);
    else if (is_power_of_two(size) && size <= 8)
        store_le(out, physmap_read_uint(v->map, page->gpa, size), size);
    else
        physmap_read(v->map, page->gpa, out, size);
}

static void page_write(struct vcpu *v, const struct tlb_page *page, const u8 *in, unsigned size)
{
    if (page->hva) {
        copy_to_guest(page->hva, in, size);
        if (page->notify)
            ram_written(v->ram, page->hva, size);
    } else if (is_power_of_two(size) && size <= 8) {
        physmap_write_uint(v->map, page->gpa, load_le(in, size), size);
    } else {
        physmap_write(v->map, page->gpa, in, size);
    }
}

void span_read(struct vcpu *v, const struct span *s, void *out)
{
    page_read(v, &s->page[0], out, s->first);
    if (s->first < s->size)
        page_read(v, &s->page[1], (u8 *)out + s->first, s->size - s->first);
    if (unlikely(v->tlb.watch_all))
        hook_memory(v, ACCESS_READ, s->gla, s->page[0].gpa, out, s->size);
}

void span_write(struct vcpu *v, const struct span *s, const void *in)
{
    page_write(v, &s->page[0], in, s->first);
    if (s->first < s->size)
        page_write(v, &s->page[1], (const u8 *)in + s->first, s->size - s->first);
    if (unlikely(v->tlb.watch_all))
        hook_memory(v, ACCESS_WRITE, s->gla, s->page[0].gpa, in, s->size);
}

/* -- linear accesses at the current privilege -- */

/* Family 19h checks alignment before it translates: #AC comes before #PF. */
bool align_ok(struct vcpu *v, u64 gla, unsigned size)
{
    if (likely(!v->align_check) || size > 8 || !(gla & (size - 1)))
        return true;
    return raise_fault_error(v, VEC_AC, 0);
}

bool lin_read_slow(struct vcpu *v, u64 gla, void *out, unsigned size)
{
    struct span s;

    if (!align_ok(v, gla, size) || !span_translate(v, gla, size, ACCESS_READ, false, &s))
        return false;
    span_read(v, &s, out);
    if (v->tlb.watch_count)
        debug_match_data(v, gla, size, false);
    return true;
}

bool lin_write_slow(struct vcpu *v, u64 gla, const void *in, unsigned size)
{
    struct span s;

    if (!align_ok(v, gla, size) || !span_translate(v, gla, size, ACCESS_WRITE, false, &s))
        return false;
    span_write(v, &s, in);
    if (v->tlb.watch_count)
        debug_match_data(v, gla, size, true);
    return true;
}

/* Constant sizes for the operands of vector instructions: one host access each, so that an aligned
 * operand of up to 16 bytes is as atomic as the host makes it (SDM 3A 8.1.1). */
static ALWAYS_INLINE bool copy_vector(void *to, const void *from, unsigned size)
{
    switch (size) {
    case 16: memcpy(to, from, 16); return true;
    case 32: memcpy(to, from, 32); return true;
    case 64: memcpy(to, from, 64); return true;
    default: return false;
    }
}

bool lin_read_block(struct vcpu *v, u64 gla, void *out, unsigned size)
{
    const u8 *p = tlb_read_ptr(v->tlb_now, gla, size);
    struct span s;

    if (likely(p)) {
        if (!copy_vector(out, p, size))
            copy_from_guest(out, p, size);
        return true;
    }
    if (!span_translate(v, gla, size, ACCESS_READ, false, &s))
        return false;
    span_read(v, &s, out);
    if (v->tlb.watch_count)
        debug_match_data(v, gla, size, false);
    return true;
}

bool lin_write_block(struct vcpu *v, u64 gla, const void *in, unsigned size)
{
    u8 *p = tlb_write_ptr(v->tlb_now, gla, size);
    struct span s;

    if (likely(p)) {
        if (!copy_vector(p, in, size))
            copy_to_guest(p, in, size);
        return true;
    }
    if (!span_translate(v, gla, size, ACCESS_WRITE, false, &s))
        return false;
    span_write(v, &s, in);
    if (v->tlb.watch_count)
        debug_match_data(v, gla, size, true);
    return true;
}

bool lin_probe_read(struct vcpu *v, u64 gla, unsigned size)
{
    struct span s;

    return tlb_read_ptr(v->tlb_now, gla, size) ||
           span_translate(v, gla, size, ACCESS_READ, false, &s);
}

bool lin_probe_write(struct vcpu *v, u64 gla, unsigned size)
{
    struct span s;

    return tlb_write_ptr(v->tlb_now, gla, size) ||
           span_translate(v, gla, size, ACCESS_WRITE, false, &s);
}

/* -- the processor's own accesses -- */

static bool canonical(const struct vcpu *v, u64 gla)
{
    unsigned shift = v->cr4 & CR4_LA57 ? 7 : 16;

    return (u64)((i64)(gla << shift) >> shift) == gla;
}

/* Table addresses are 32 bits wide outside long mode and must be canonical in it. */
static bool sys_span(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind, struct span *s)
{
    if (!v->long_mode)
        gla = (u32)gla;
    else if (!canonical(v, gla) || !canonical(v, gla + size - 1))
        return raise_gp(v, 0);
    return span_translate(v, gla, size, kind, true, s);
}

bool sys_read(struct vcpu *v, u64 gla, unsigned size, u64 *value)
{
    const u8 *p = tlb_read_ptr(&v->tlb.tables[TLB_SUPERVISOR], gla, size);
    struct span s;

    *value = 0;
    if (likely(p)) {
        *value = load_le(p, size);
        return true;
    }
    if (!sys_span(v, gla, size, ACCESS_READ, &s))
        return false;
    span_read(v, &s, value);
    return true;
}

bool sys_write(struct vcpu *v, u64 gla, unsigned size, u64 value)
{
    u8 *p = tlb_write_ptr(&v->tlb.tables[TLB_SUPERVISOR], gla, size);
    struct span s;

    if (likely(p)) {
        store_le(p, value, size);
        return true;
    }
    if (!sys_span(v, gla, size, ACCESS_WRITE, &s))
        return false;
    span_write(v, &s, &value);
    return true;
}

bool sys_probe_write(struct vcpu *v, u64 gla, unsigned size)
{
    struct span s;

    return tlb_write_ptr(&v->tlb.tables[TLB_SUPERVISOR], gla, size) ||
           sys_span(v, gla, size, ACCESS_WRITE, &s);
}

/* byte | set or, with set 0, byte & ~clear, LOCKed as the processor's accessed and busy bits are
 * (SDM 3A 8.1.2.1). */
static bool sys_change_bits(struct vcpu *v, u64 gla, u8 set, u8 clear, u8 *old)
{
    struct span s;
    u8 now;

    if (!sys_span(v, gla, 1, ACCESS_WRITE, &s))
        return false;
    if (!s.page[0].hva) {
        physmap_acquire(v->map);
        *old = (u8)physmap_read_uint(v->map, s.page[0].gpa, 1);
        physmap_write_uint(v->map, s.page[0].gpa, (u8)((*old | set) & ~clear), 1);
        physmap_release(v->map);
    } else {
        *old = table_update_bits(s.page[0].hva, set, clear);
        if (s.page[0].notify)
            ram_written(v->ram, s.page[0].hva, 1);
    }
    now = (u8)((*old | set) & ~clear);
    if (unlikely(v->tlb.watch_all))
        hook_memory(v, ACCESS_WRITE, s.gla, s.page[0].gpa, &now, 1);
    return true;
}

bool sys_set_bits(struct vcpu *v, u64 gla, u8 bits)
{
    u8 old;

    return sys_change_bits(v, gla, bits, 0, &old);
}

bool sys_claim_bits(struct vcpu *v, u64 gla, u8 bits, u8 *old)
{
    return sys_change_bits(v, gla, bits, 0, old);
}

bool sys_clear_bits(struct vcpu *v, u64 gla, u8 bits)
{
    u8 old;

    return sys_change_bits(v, gla, 0, bits, &old);
}

/* -- segmentation -- */

/* Type and rights of a data access in protected mode (SDM 3A 5.5). Real and V86 mode use what is
 * loaded for anything. */
static bool type_permits(const struct vcpu *v, const struct segment *s, enum access_kind kind)
{
    if (!vcpu_protected(v))
        return true;
    if (s->attr & ATTR_NULL)
        return false;
    if (kind == ACCESS_WRITE)
        return (s->attr & (ATTR_CODE | ATTR_WRITE)) == ATTR_WRITE;
    return !(s->attr & ATTR_CODE) || (s->attr & ATTR_WRITE);
}

/* SDM 3A 5.3. An operand that passes 4 GiB is beyond every limit: the SDM leaves that case to the
 * implementation, family 19h faults. */
static bool limit_permits(const struct segment *s, u64 offset, unsigned size)
{
    u64 last = offset + size - 1;

    if ((s->attr & (ATTR_CODE | ATTR_EXPAND_DOWN)) == ATTR_EXPAND_DOWN)
        return offset > s->limit && last <= (s->attr & ATTR_DB ? 0xffffffffull : 0xffffull);
    return last <= s->limit;
}

bool seg_try(const struct vcpu *v, enum seg seg, u64 offset, unsigned size, enum access_kind kind,
             u64 *gla)
{
    const struct segment *s = &v->seg[seg];

    if (vcpu_64bit(v)) {
        *gla = offset + (seg >= SEG_FS ? s->base : 0);
        /* The offset must be canonical, too, whatever FS or GS add to it (family 19h). */
        return canonical(v, offset) && canonical(v, *gla) && canonical(v, *gla + size - 1);
    }
    *gla = (u32)(s->base + offset);
    return type_permits(v, s, kind) && limit_permits(s, offset, size);
}

bool seg_check(struct vcpu *v, enum seg seg, u64 offset, unsigned size, enum access_kind kind,
               u64 *gla)
{
    if (likely(seg_try(v, seg, offset, size, kind, gla)))
        return true;
    return seg == SEG_SS ? raise_ss(v, 0) : raise_gp(v, 0);
}

/* -- stack -- */

bool stack_push(struct vcpu *v, u64 value, unsigned size)
{
    u64 rsp = (v->gpr[RSP] - size) & stack_mask(v);

    if (!seg_write(v, SEG_SS, rsp, size, value))
        return false;
    stack_set(v, rsp);
    return true;
}

bool stack_peek(struct vcpu *v, unsigned offset, unsigned size, u64 *value)
{
    return seg_read(v, SEG_SS, (v->gpr[RSP] + offset) & stack_mask(v), size, value);
}

bool stack_pop(struct vcpu *v, unsigned size, u64 *value)
{
    if (!stack_peek(v, 0, size, value))
        return false;
    stack_set(v, v->gpr[RSP] + size);
    return true;
}
