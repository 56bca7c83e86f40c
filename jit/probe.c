/* SPDX-License-Identifier: MIT
 *
 * Refilling the TLB from its second level, and the slots that sites look into. Compiled for general
 * registers alone.
 */
#include "mem/tlb_probe.h"

#include "jit/internal.h"

static u64 probe(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind)
{
    enum tlb_context context = (enum tlb_context)(v->tlb_now - v->tlb.tables);

    if (unlikely(!(v->cr0 & CR0_PG)))
        return 0;
    return tlb_probe(&v->tlb, context, vcpu_pcid(v), gla, size, kind);
}

/* A site may move once in SITE_PERIOD ticks, and STRIKES times more often in a row. Then it stays
 * where it is; that it misses PATIENCE times more shows that its code is executed often enough to
 * be translated again. */
enum { SITE_TICK = 256, SITE_PERIOD = (1 << 20) / SITE_TICK, STRIKES = 8, PATIENCE = 64 };

/* The instruction has all of the TLB from the next translation of its block on. */
static void widen(struct jit *j, const struct jit_site *site)
{
    jit_note(&j->wide, site->rip);
    j->outgrown = site->block;
    j->stats.widened++;
    __atomic_store_n(&j->v->jit.attention, ATTENTION_OWN, __ATOMIC_RELAXED);
}

/* The disp32 at at grows. */
static void shift(u8 *at, u32 by)
{
    u32 *disp = (u32 *)at;

    __atomic_store_n(disp, __atomic_load_n(disp, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

/* Whether it has not moved too often. */
static bool may_move(struct jit *j, struct jit_site *site)
{
    u32 now = (u32)(__builtin_ia32_rdtsc() / SITE_TICK), periods = (now - site->when) / SITE_PERIOD;

    if (site->strikes < STRIKES) {
        site->strikes = periods >= site->strikes ? 1 : (site->strikes - periods + 1) & 15;
        site->when = now;
        return true;
    }
    if (site->when++ % PATIENCE == 0)
        widen(j, site);
    return false;
}

void jit_site_move(struct jit *j, struct jit_site *site, u64 gla)
{
    unsigned slot = tlb_index(gla);

    if (slot == site->slot || !may_move(j, site))
        return;
    shift(site->code + SITE_TAG, 8 * (slot - site->slot));
    shift(site->code + SITE_PAGE, 8 * (slot - site->slot));
    site->slot = slot & (TLB_ENTRIES - 1);
    j->stats.moves++;
}

u64 jit_probe(struct vcpu *v, u64 gla, u64 size_or_site, u64 write)
{
    struct jit *j = jit_of(v);
    struct jit_site *site;
    unsigned size = (unsigned)(jit_fill_size(j, size_or_site, &site) & (FILL_IF_DIRTY - 1));
    u64 host = 0;

    if (site)
        host = (u64)(write ? tlb_write_ptr(v->tlb_now, gla, size)
                           : tlb_read_ptr(v->tlb_now, gla, size));
    if (!host) {
        host = probe(v, gla, size, write ? ACCESS_WRITE : ACCESS_READ);
        if (!host)
            return 0;
        j->stats.misses++;
        j->stats.probes++;
    }
    if (site)
        jit_site_move(j, site, gla);
    return host;
}

const u8 *jit_probe_fetch(struct vcpu *v, u64 gla)
{
    if (!(jit_of(v)->options.optimisations & JIT_PROBE))
        return NULL;
    return (const u8 *)probe(v, gla, 1, ACCESS_EXEC);
}
