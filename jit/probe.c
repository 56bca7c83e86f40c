/* SPDX-License-Identifier: MIT
 *
 * Refilling the TLB from its second level. Compiled for general registers alone.
 */
#include "mem/tlb_probe.h"

#include "jit/internal.h"

u64 jit_known(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind)
{
    enum tlb_context context = (enum tlb_context)(v->tlb_now - v->tlb.tables);

    if (unlikely(!(v->cr0 & CR0_PG)))
        return 0;
    return tlb_probe(&v->tlb, context, vcpu_pcid(v), gla, size, kind);
}

u64 jit_probe(struct vcpu *v, u64 gla, u64 miss, u64 write)
{
    struct jit *j = jit_of(v);
    const struct jit_miss *m = jit_miss_at(j, miss);
    u64 host;

    if (unlikely(v->jit.site_over))
        jit_judge_site(v, m);
    host = jit_known(v, gla, m->size, write ? ACCESS_WRITE : ACCESS_READ);
    if (host) {
        j->stats.misses++;
        j->stats.probes++;
    }
    return host;
}

const u8 *jit_probe_fetch(struct vcpu *v, u64 gla)
{
    if (!(jit_of(v)->options.optimisations & JIT_PROBE))
        return NULL;
    return (const u8 *)jit_known(v, gla, 1, ACCESS_EXEC);
}
