/* SPDX-License-Identifier: MIT
 *
 * Instruction fetch: CS limit, canonical RIP, execute permission, code outside of RAM.
 *
 * The second page is looked at only if the instruction may reach into it; a fault there is not
 * recorded until the decoder needs the byte (fetch_fault()). SDM 3A 5.3, 4.6.2; SDM 2A 2.3.11.
 */
#include <string.h>

#include "cpu/span.h"

enum { INSN_BYTES_MAX = 15 };

/* How many of the bytes from rip on lie within the limit (in 64-bit mode: have canonical
 * addresses), at most INSN_BYTES_MAX. */
static unsigned fetch_room(const struct vcpu *v, u64 rip)
{
    u64 room;

    if (vcpu_64bit(v)) {
        unsigned bits = v->cr4 & CR4_LA57 ? 57 : 48;
        u64 low_end = BIT(bits - 1);

        if (rip >= low_end && rip < -low_end)
            return 0;
        room = rip < low_end ? low_end - rip : -rip;
        if (!rip || !room)
            room = INSN_BYTES_MAX;
    } else {
        if (rip > v->seg[SEG_CS].limit)
            return 0;
        room = (u64)v->seg[SEG_CS].limit - rip + 1;
    }
    return room < INSN_BYTES_MAX ? (unsigned)room : INSN_BYTES_MAX;
}

static u64 fetch_linear(const struct vcpu *v, u64 rip)
{
    return vcpu_64bit(v) ? rip : (u32)(v->seg[SEG_CS].base + rip);
}

static bool fetch_translate(struct vcpu *v, u64 gla, struct tlb_page *page, u32 *error)
{
    struct paging_ctx ctx = vcpu_paging_ctx(v, v->cpl == 3, false);

    return tlb_translate(&v->tlb, (enum tlb_context)(v->tlb_now - v->tlb.tables), &ctx, gla,
                         ACCESS_EXEC, page, error);
}

static void fetch_copy(struct vcpu *v, const struct tlb_page *page, u8 *buf, unsigned size)
{
    if (page->hva)
        memcpy(buf, page->hva, size);
    else
        physmap_read(v->map, page->gpa, buf, size);
}

bool fetch_bytes(struct vcpu *v, u64 rip, u8 buf[15], unsigned *count, u64 *gpa, u8 **hva)
{
    unsigned room = fetch_room(v, rip), first;
    u64 gla = fetch_linear(v, rip);
    struct tlb_page page;
    u32 error;

    if (!room)
        return raise_gp(v, 0);
    if (!fetch_translate(v, gla, &page, &error))
        return raise_pf(v, gla, error);
    *gpa = page.gpa;
    *hva = page.hva;
    first = PAGE_SIZE - (unsigned)(gla & ~PAGE_MASK);
    *count = room < first ? room : first;
    fetch_copy(v, &page, buf, *count);
    if (room <= first || !fetch_translate(v, span_next_page(v, gla), &page, &error))
        return true;
    fetch_copy(v, &page, buf + first, room - first);
    *count = room;
    return true;
}

bool fetch_fault(struct vcpu *v, u64 rip, unsigned count)
{
    u64 gla = fetch_linear(v, rip + count);
    struct tlb_page page;
    u32 error;

    if (count >= fetch_room(v, rip))
        return raise_gp(v, 0);
    /* If another processor has mapped the page since, a fault as for a page that was not present is
     * what the stale translation would have given. */
    if (fetch_translate(v, gla, &page, &error))
        error = PF_I | (v->cpl == 3 ? PF_U : 0);
    return raise_pf(v, gla, error);
}
