/* SPDX-License-Identifier: MIT
 *
 * TLB flushes of many processors at once (TLFS "Virtual MMU"): a whole address space or all, or a
 * list of ranges; processors as a mask or as a set.
 *
 * The address space is a CR3 value without PCID, so whole flushes and lists take all PCIDs along.
 */
#include <string.h>

#include "hv1/internal.h"

#define FLUSH_ALL_PROCESSORS     BIT(0)
#define FLUSH_ALL_ADDRESS_SPACES BIT(1)
#define FLUSH_NON_GLOBAL_ONLY    BIT(2)
#define FLUSH_EXTENDED_RANGES    BIT(3)

enum { FLAGS_AT = 8, MASK_AT = 16, SET_AT = 16, SET_HEADER = 16 };
/* More than so many pages are not worth naming. */
enum { PAGES_MAX = 64, ELEMENTS_MAX = 512 };

/* The list as byte ranges. */
struct ranges {
    struct tlb_range items[ELEMENTS_MAX];
    unsigned count;
    u64 pages;
};

static u64 field(const struct hypercall *c, unsigned at)
{
    u64 value;

    memcpy(&value, c->input + at, sizeof(value));
    return value;
}

/* Which VPs, from a mask. Windows Server 2012 sends an empty mask and means everybody. */
static void targets_of_mask(const struct hypercall *c, u64 vps[HV1_VP_WORDS])
{
    u64 mask = field(c, MASK_AT);

    if ((field(c, FLAGS_AT) & FLUSH_ALL_PROCESSORS) || !mask) {
        vp_set_all(c->hv1, vps);
        return;
    }
    memset(vps, 0, HV1_VP_WORDS * sizeof(vps[0]));
    vps[0] = mask;
    vp_set_trim(c->hv1, vps);
}

static bool targets_of_set(const struct hypercall *c, u64 vps[HV1_VP_WORDS])
{
    bool all;

    if (!vp_set_read(c->hv1, c->input + SET_AT, SET_HEADER + c->variable, vps, &all))
        return false;
    if (field(c, FLAGS_AT) & FLUSH_ALL_PROCESSORS)
        vp_set_all(c->hv1, vps);
    return true;
}

static bool flags_valid(const struct hypercall *c, u64 also)
{
    u64 known = FLUSH_ALL_PROCESSORS | FLUSH_ALL_ADDRESS_SPACES | also;

    if (!hv1_has(c->hv1, HV1_TLBFLUSH_RANGES))
        known &= ~FLUSH_EXTENDED_RANGES;
    return !(field(c, FLAGS_AT) & ~known);
}

static void flush(const struct hypercall *c, const struct hv1_flush *request)
{
    const struct hv1_platform *p = &c->hv1->config.platform;

    p->flush(p->opaque, c->vp->vcpu, request);
}

static enum hv_status flush_space(struct hypercall *c, bool ex)
{
    struct hv1_flush request = {
        .what = {.all = true, .global = !(field(c, FLAGS_AT) & FLUSH_NON_GLOBAL_ONLY)}};

    if (ex && !targets_of_set(c, request.vps))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (!flags_valid(c, FLUSH_NON_GLOBAL_ONLY | FLUSH_EXTENDED_RANGES))
        return HV_STATUS_INVALID_PARAMETER;
    if (!ex)
        targets_of_mask(c, request.vps);
    flush(c, &request);
    return HV_STATUS_SUCCESS;
}

/* 63:12 the first page, 11:0 how many more; with extended ranges 10:0 how many more, bit 11: they
 * are large, then bit 12 says 1 GiB, else 2 MiB. */
static void add_range(struct ranges *list, u64 element, bool extended)
{
    struct tlb_range *r = &list->items[list->count];
    u64 page = PAGE_SIZE, more = element & 0xfff;

    if (extended) {
        more &= 0x7ff;
        if (element & BIT(11))
            page = element & BIT(12) ? GIB(1) : MIB(2);
    }
    *r = (struct tlb_range){.gla = element & ~(page - 1), .size = (more + 1) * page};
    if ((u64)((i64)(r->gla << 7) >> 7) != r->gla)
        return; /* not an address: ignored */
    list->pages += r->size / PAGE_SIZE;
    list->count++;
}

static enum hv_status flush_list(struct hypercall *c, bool ex)
{
    struct hv1_flush request = {.what = {.global = true}};
    struct ranges list = {.count = 0};
    bool extended = field(c, FLAGS_AT) & FLUSH_EXTENDED_RANGES;

    if (ex && !targets_of_set(c, request.vps))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (!flags_valid(c, FLUSH_EXTENDED_RANGES))
        return HV_STATUS_INVALID_PARAMETER;
    if (!ex)
        targets_of_mask(c, request.vps);
    for (unsigned n = c->rep_start; n < c->reps; n++) {
        u64 element;

        memcpy(&element, call_list(c) + n * 8, sizeof(element));
        add_range(&list, element, extended);
    }
    request.what.all = list.pages > PAGES_MAX;
    request.what.count = list.count;
    request.what.ranges = list.items;
    flush(c, &request);
    c->done = c->reps;
    return HV_STATUS_SUCCESS;
}

enum hv_status call_flush_space(struct hypercall *c)
{
    return flush_space(c, false);
}

enum hv_status call_flush_space_ex(struct hypercall *c)
{
    return flush_space(c, true);
}

enum hv_status call_flush_list(struct hypercall *c)
{
    return flush_list(c, false);
}

enum hv_status call_flush_list_ex(struct hypercall *c)
{
    return flush_list(c, true);
}
