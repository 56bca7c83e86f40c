/* SPDX-License-Identifier: MIT
 *
 * What other threads want a TLB to forget. They leave it here; its owner obeys at a safe point.
 */
#pragma once

#include <pthread.h>

#include "mem/tlb.h"

struct tlb_range {
    u64 gla;  /* of a page */
    u64 size; /* bytes, whole pages */
};

/* Translations to forget, in all address spaces. */
struct tlb_forget {
    bool all;    /* everything, or only the ranges */
    bool global; /* all: global translations, too; of ranges they always go */
    unsigned count;
    const struct tlb_range *ranges;
};

void tlb_forget(struct tlb *tlb, const struct tlb_forget *what);

/* More than this, and forgetting everything is cheaper. */
enum { TLB_REQUEST_RANGES = 32, TLB_REQUEST_PAGES = 256 };

struct tlb_requests {
    pthread_mutex_t lock; /* nobody who holds it takes another, or waits */
    bool all, global;
    unsigned count;
    u64 pages; /* in the ranges */
    struct tlb_range ranges[TLB_REQUEST_RANGES];
};

void tlb_requests_init(struct tlb_requests *r);
void tlb_requests_destroy(struct tlb_requests *r);
/* Any thread; the owner is to be told (EVENT_FORGET). */
void tlb_request(struct tlb_requests *r, const struct tlb_forget *what);
/* The owner, at a safe point: obeys all requests so far. */
void tlb_requests_obey(struct tlb_requests *r, struct tlb *tlb);
