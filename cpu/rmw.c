/* SPDX-License-Identifier: MIT
 *
 * Read-modify-write operands, and the locked accesses among them.
 *
 * The operand is translated for writing first. Inside one cache line of memory the host instruction
 * does the work on the host address, also unaligned: the host's locked instructions are as atomic
 * as the guest's. What the host cannot do, or what some hosts punish (split_lock_detect), an
 * operand split over two lines or pages, or memory where loads and stores go different ways (SDM 3A
 * 8.1.2.2; PAM shadowing), goes through exclusive_cas() alone. A device register is read once and
 * written once, with the lock of all devices held in between.
 */
#include <string.h>

#include "cpu/control.h"
#include "cpu/exclusive.h"
#include "cpu/hooks.h"
#include "cpu/span.h"

/* Whether loads at gpa reach the memory at hva, which is where stores go. */
static bool loads_reach(const struct vcpu *v, u64 gpa, const u8 *hva)
{
    struct phys_page loads;

    physmap_lookup(v->map, gpa, false, &loads);
    return loads.hva && loads.hva + gpa % PAGE_SIZE == hva;
}

bool rmw_begin_slow(struct vcpu *v, u64 gla, unsigned size, struct rmw *m)
{
    struct span s;
    bool split;

    if (!align_ok(v, gla, size) || !span_translate(v, gla, size, ACCESS_WRITE, false, &s))
        return false;
    split = s.first < size;
    m->gla = gla;
    m->size = size;
    m->first = s.first;
    m->page[0] = s.page[0];
    if (split)
        m->page[1] = s.page[1];
    m->device = !s.page[0].hva || (split && !s.page[1].hva);
    m->hva =
        !split && !m->device && loads_reach(v, s.page[0].gpa, s.page[0].hva) ? s.page[0].hva : NULL;
    m->notify = m->hva && s.page[0].notify ? RMW_RAM : 0;
    m->notify |= v->tlb.watch_all ? RMW_HOOK : 0;
    if (v->tlb.watch_count)
        debug_match_data(v, gla, size, true);
    return true;
}

/* -- operands without a host address -- */

static void parts_read(struct vcpu *v, const struct rmw *m, void *out)
{
    memset(out, 0, m->size);
    if (m->first == m->size && m->size <= 8) {
        u64 value = physmap_read_uint(v->map, m->page[0].gpa, m->size);

        memcpy(out, &value, m->size);
        return;
    }
    physmap_read(v->map, m->page[0].gpa, out, m->first);
    if (m->first < m->size)
        physmap_read(v->map, m->page[1].gpa, (u8 *)out + m->first, m->size - m->first);
}

static void parts_write(struct vcpu *v, const struct rmw *m, const void *in)
{
    if (m->first == m->size && m->size <= 8) {
        physmap_write_uint(v->map, m->page[0].gpa, load_le(in, m->size), m->size);
        return;
    }
    physmap_write(v->map, m->page[0].gpa, in, m->first);
    if (m->first < m->size)
        physmap_write(v->map, m->page[1].gpa, (const u8 *)in + m->first, m->size - m->first);
}

/* Compare and exchange where the host has no instruction for it: the one place where a vCPU must
 * have the machine to itself. */
static NOINLINE bool exclusive_cas(struct vcpu *v, const struct rmw *m, void *expected,
                                   const void *desired)
{
    u8 found[16];
    bool same;

    exclusive_begin(v, m->device);
    if (m->hva)
        memcpy(found, m->hva, m->size);
    else
        parts_read(v, m, found);
    same = !memcmp(found, expected, m->size);
    if (!m->hva)
        parts_write(v, m, same ? desired : found);
    else if (same)
        memcpy(m->hva, desired, m->size);
    exclusive_end(v, m->device);
    memcpy(expected, found, m->size);
    return same;
}

/* Whether the host's LOCK works on the operand, and costs what it should. */
static ALWAYS_INLINE bool host_locks(const struct rmw *m)
{
    return likely(m->hva && ((u64)m->hva & (CACHE_LINE - 1)) + m->size <= CACHE_LINE);
}

void rmw_lock_device(struct vcpu *v, const struct rmw *m)
{
    exclusive_begin(v, m->device);
}

void rmw_unlock_device(struct vcpu *v, const struct rmw *m)
{
    exclusive_end(v, m->device);
}

/* -- the interface -- */

static NOINLINE void loaded(struct vcpu *v, const struct rmw *m, const void *bytes)
{
    if (v->tlb.watch_all)
        hook_memory(v, ACCESS_READ, m->gla, m->page[0].gpa, bytes, m->size);
}

static NOINLINE void stored(struct vcpu *v, const struct rmw *m, const void *bytes)
{
    if (m->notify & RMW_RAM)
        ram_written(v->ram, m->hva, m->size);
    if ((m->notify & RMW_HOOK) && v->tlb.watch_all)
        hook_memory(v, ACCESS_WRITE, m->gla, m->page[0].gpa, bytes, m->size);
}

u64 rmw_read(struct vcpu *v, const struct rmw *m)
{
    u64 value = 0;

    if (likely(m->hva))
        value = load_le(m->hva, m->size);
    else
        parts_read(v, m, &value);
    if (unlikely(m->notify & RMW_HOOK))
        loaded(v, m, &value);
    return value;
}

void rmw_write(struct vcpu *v, const struct rmw *m, u64 value)
{
    if (likely(m->hva))
        store_le(m->hva, value, m->size);
    else
        parts_write(v, m, &value);
    if (m->notify)
        stored(v, m, &value);
}

/* The host's LOCK CMPXCHG, for any alignment inside the page. */
static bool host_cas(u8 *hva, unsigned size, u64 *expected, u64 desired)
{
    u64 old = *expected;

    switch (size) {
    case 1:
        asm volatile("lock cmpxchgb %b2, %1"
                     : "+a"(old), "+m"(*hva)
                     : "q"(desired)
                     : "memory", "cc");
        break;
    case 2:
        asm volatile("lock cmpxchgw %w2, %1"
                     : "+a"(old), "+m"(*hva)
                     : "r"(desired)
                     : "memory", "cc");
        break;
    case 4:
        asm volatile("lock cmpxchgl %k2, %1"
                     : "+a"(old), "+m"(*hva)
                     : "r"(desired)
                     : "memory", "cc");
        break;
    default:
        asm volatile("lock cmpxchgq %2, %1"
                     : "+a"(old), "+m"(*hva)
                     : "r"(desired)
                     : "memory", "cc");
    }
    old &= size_mask(size);
    if (old == (*expected & size_mask(size)))
        return true;
    *expected = old;
    return false;
}

static ALWAYS_INLINE bool cas(struct vcpu *v, const struct rmw *m, u64 *expected, u64 desired)
{
    u64 found = *expected;
    bool same;

    if (host_locks(m))
        return host_cas(m->hva, m->size, expected, desired);
    same = exclusive_cas(v, m, &found, &desired);
    *expected = found & size_mask(m->size);
    return same;
}

bool rmw_cas(struct vcpu *v, const struct rmw *m, u64 *expected, u64 desired)
{
    bool same = cas(v, m, expected, desired);

    if (same && m->notify)
        stored(v, m, &desired);
    return same;
}

bool rmw_cmpxchg(struct vcpu *v, const struct rmw *m, u64 *expected, u64 desired)
{
    bool same = cas(v, m, expected, desired);

    if (unlikely(m->notify & RMW_HOOK))
        loaded(v, m, expected);
    if (same && m->notify)
        stored(v, m, &desired);
    return same;
}

bool rmw_cas16(struct vcpu *v, const struct rmw *m, u64 expected[2], const u64 desired[2])
{
    bool same;

    if (host_locks(m))
        asm volatile("lock cmpxchg16b %1"
                     : "=@cce"(same), "+m"(*(u8(*)[16])m->hva), "+a"(expected[0]), "+d"(expected[1])
                     : "b"(desired[0]), "c"(desired[1])
                     : "memory");
    else
        same = exclusive_cas(v, m, expected, desired);
    if (unlikely(m->notify & RMW_HOOK))
        loaded(v, m, expected);
    if (same && m->notify)
        stored(v, m, desired);
    return same;
}
