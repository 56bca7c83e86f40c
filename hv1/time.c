/* SPDX-License-Identifier: MIT
 *
 * Reference time (TLFS "Timers"): counter, TSC page and synthetic timers share one base, the
 * guest's TSC, which is constant and the same on all vCPUs. So the page is valid from the start.
 *
 * A guest that writes a TSC moves that base. If it moved all alike the page follows, with a new
 * sequence; while they differ the page says that it is not valid (sequence 0) and the counter goes
 * on from the machine's own TSC. The reference time itself never jumps.
 */
#include <string.h>

#include "hv1/internal.h"

#define REFERENCE_HZ 10000000ull
enum { SEQUENCE_OLD_INVALID = -1 }; /* what the page used to say for "not valid" */

void time_init_scale(struct hv1 *h)
{
    u64 hz = h->config.model->tsc_hz;

    h->scale = hz > REFERENCE_HZ ? (u64)(((u128)REFERENCE_HZ << 64) / hz) : 0;
}

static u64 scaled(const struct hv1 *h, u64 tsc)
{
    if (h->scale)
        return (u64)((u128)tsc * h->scale >> 64);
    return (u64)((u128)tsc * REFERENCE_HZ / h->config.model->tsc_hz);
}

/* What shifts and offsets time may change while it is read. */
static u32 read_begin(const struct hv1 *h)
{
    return __atomic_load_n(&h->time_sequence, __ATOMIC_ACQUIRE);
}

static bool read_again(const struct hv1 *h, u32 sequence)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (sequence & 1) || sequence != __atomic_load_n(&h->time_sequence, __ATOMIC_RELAXED);
}

u64 hv1_time(struct hv1 *h)
{
    const struct hv1_platform *p = &h->config.platform;
    u32 sequence;
    u64 time;

    do {
        sequence = read_begin(h);
        time = scaled(h, p->tsc(p->opaque) + __atomic_load_n(&h->tsc_shift, __ATOMIC_RELAXED)) +
               __atomic_load_n(&h->tsc_offset, __ATOMIC_RELAXED);
    } while (read_again(h, sequence));
    return time;
}

/* The smallest TSC whose reference time is at least `time`, rounded up at each step: timers are
 * never early. */
static u64 first_ns(const struct hv1 *h, u64 time, u64 shift, u64 offset)
{
    const struct hv1_platform *p = &h->config.platform;
    u64 left = time - offset;
    u128 tsc;

    if ((i64)left <= 0)
        return 0;
    if (h->scale)
        tsc = (((u128)left << 64) + h->scale - 1) / h->scale;
    else
        tsc = ((u128)left * h->config.model->tsc_hz + REFERENCE_HZ - 1) / REFERENCE_HZ;
    if (tsc >> 63)
        return CLOCK_NEVER;
    if ((i64)((u64)tsc - shift) <= 0)
        return 0;
    return p->tsc_to_ns(p->opaque, (u64)tsc - shift);
}

u64 time_to_ns(struct hv1 *h, u64 time)
{
    u32 sequence;
    u64 shift, offset;

    do {
        sequence = read_begin(h);
        shift = __atomic_load_n(&h->tsc_shift, __ATOMIC_RELAXED);
        offset = __atomic_load_n(&h->tsc_offset, __ATOMIC_RELAXED);
    } while (read_again(h, sequence));
    return first_ns(h, time, shift, offset);
}

/* Whether all vCPUs have moved their TSCs alike, and how far. */
static bool common_shift(const struct hv1 *h, u64 *shift)
{
    *shift = 0;
    for (unsigned n = 0; n < h->config.cpus; n++) {
        const struct vcpu *v = h->vps[n].vcpu;
        u64 offset = v ? __atomic_load_n(&v->tsc_offset, __ATOMIC_RELAXED) : *shift;

        if (n && offset != *shift)
            return false;
        *shift = offset;
    }
    return true;
}

static u32 next_sequence(u32 sequence)
{
    do
        sequence++;
    while (!sequence || sequence == (u32)SEQUENCE_OLD_INVALID);
    return sequence;
}

static void put_sequence(struct hv1 *h, u32 sequence)
{
    __atomic_store_n((u32 *)h->tsc_page.hva, sequence, __ATOMIC_SEQ_CST);
}

/* TLFS "Partition reference time enlightenment": invalid first, then the values, then valid. */
static void put_page(struct hv1 *h, bool valid)
{
    struct hv_reference_tsc *page = (struct hv_reference_tsc *)h->tsc_page.hva;

    put_sequence(h, 0);
    if (valid) {
        __atomic_store_n(&page->scale, h->scale, __ATOMIC_RELAXED);
        __atomic_store_n(&page->offset, (i64)h->tsc_offset, __ATOMIC_SEQ_CST);
        h->page_sequence = next_sequence(h->page_sequence);
        put_sequence(h, h->page_sequence);
    }
    overlay_written(h, h->tsc_page.hva, sizeof(*page));
}

void time_update(struct hv1 *h)
{
    bool alike;
    u64 shift, before, now;

    alike = common_shift(h, &shift);
    if (!alike)
        shift = h->tsc_shift;
    if (shift != h->tsc_shift) {
        __atomic_fetch_add(&h->time_sequence, 1, __ATOMIC_SEQ_CST);
        now = h->config.platform.tsc(h->config.platform.opaque);
        before = scaled(h, now + h->tsc_shift) + h->tsc_offset;
        __atomic_store_n(&h->tsc_shift, shift, __ATOMIC_RELAXED);
        __atomic_store_n(&h->tsc_offset, before - scaled(h, now + shift), __ATOMIC_RELAXED);
        __atomic_fetch_add(&h->time_sequence, 1, __ATOMIC_SEQ_CST);
    }
    put_page(h, alike && h->scale);
}

void hv1_tsc_changed(struct hv1 *h)
{
    hv1_lock(h);
    time_update(h);
    hv1_unlock(h);
}
