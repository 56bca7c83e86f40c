/* SPDX-License-Identifier: MIT */
#include "mem/tlb_request.h"

void tlb_forget(struct tlb *tlb, const struct tlb_forget *what)
{
    if (what->all && what->global) {
        tlb_flush_all(tlb);
        return;
    }
    if (what->all)
        tlb_flush_non_global(tlb);
    for (unsigned n = 0; n < what->count; n++)
        for (u64 at = 0; at < what->ranges[n].size; at += PAGE_SIZE)
            tlb_flush_page_everywhere(tlb, what->ranges[n].gla + at);
}

void tlb_requests_init(struct tlb_requests *r)
{
    *r = (struct tlb_requests){.lock = PTHREAD_MUTEX_INITIALIZER};
}

void tlb_requests_destroy(struct tlb_requests *r)
{
    pthread_mutex_destroy(&r->lock);
}

/* What does not fit becomes a request for everything. */
static void add(struct tlb_requests *r, const struct tlb_range *range)
{
    r->pages += range->size / PAGE_SIZE;
    if (r->count == TLB_REQUEST_RANGES || r->pages > TLB_REQUEST_PAGES) {
        r->all = r->global = true;
        return;
    }
    r->ranges[r->count++] = *range;
}

void tlb_request(struct tlb_requests *r, const struct tlb_forget *what)
{
    pthread_mutex_lock(&r->lock);
    r->all |= what->all;
    r->global |= what->all && what->global;
    for (unsigned n = 0; n < what->count && !what->all && !r->global; n++)
        add(r, &what->ranges[n]);
    pthread_mutex_unlock(&r->lock);
}

void tlb_requests_obey(struct tlb_requests *r, struct tlb *tlb)
{
    struct tlb_range ranges[TLB_REQUEST_RANGES];
    struct tlb_forget what = {.ranges = ranges};

    pthread_mutex_lock(&r->lock);
    what.all = r->all;
    what.global = r->global;
    what.count = r->count;
    for (unsigned n = 0; n < r->count; n++)
        ranges[n] = r->ranges[n];
    r->all = r->global = false;
    r->count = 0;
    r->pages = 0;
    pthread_mutex_unlock(&r->lock);
    tlb_forget(tlb, &what);
}
