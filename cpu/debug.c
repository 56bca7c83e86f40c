/* SPDX-License-Identifier: MIT
 *
 * Breakpoints in DR0-DR3 (SDM 3B 17.2). Instruction breakpoints are looked at by the run loop
 * before each instruction; pages with data breakpoints are kept out of the TLB, so that every
 * access to them comes by here. Hits collect in v->pending_db and become a trap when the
 * instruction is done.
 */
#include "cpu/control.h"
#include "cpu/vcpu.h"

enum { RW_EXEC = 0, RW_WRITE = 1, RW_IO = 2, RW_ACCESS = 3 };

static bool enabled(const struct vcpu *v, unsigned n)
{
    return v->dr7 >> (2 * n) & 3; /* Ln or Gn */
}

static unsigned kind(const struct vcpu *v, unsigned n)
{
    return v->dr7 >> (16 + 4 * n) & 3;
}

static unsigned length(const struct vcpu *v, unsigned n)
{
    static const u8 lengths[4] = {1, 2, 8, 4};

    return lengths[v->dr7 >> (18 + 4 * n) & 3];
}

/* The address bits that LENn covers are ignored (SDM 3B 17.2.5). */
static bool overlaps(const struct vcpu *v, unsigned n, u64 address, unsigned size)
{
    u64 len = length(v, n), first = v->dr[n] & ~(len - 1);

    return address < first + len && first < address + size;
}

static void hit(struct vcpu *v, unsigned n)
{
    v->pending_db |= BIT(n);
    vcpu_signal(v, EVENT_TRAP);
}

u64 debug_match_exec(const struct vcpu *v, u64 gla)
{
    u64 hits = 0;

    for (unsigned n = 0; n < 4; n++)
        if (enabled(v, n) && kind(v, n) == RW_EXEC && v->dr[n] == gla)
            hits |= BIT(n);
    return hits;
}

void debug_match_data(struct vcpu *v, u64 gla, unsigned size, bool write)
{
    for (unsigned n = 0; n < 4; n++) {
        bool watched = kind(v, n) == RW_ACCESS || (kind(v, n) == RW_WRITE && write);

        if (enabled(v, n) && watched && overlaps(v, n, gla, size))
            hit(v, n);
    }
}

void debug_match_io(struct vcpu *v, u16 port, unsigned size)
{
    if (!(v->cr4 & CR4_DE))
        return;
    for (unsigned n = 0; n < 4; n++)
        if (enabled(v, n) && kind(v, n) == RW_IO && overlaps(v, n, port, size))
            hit(v, n);
}

void debug_update(struct vcpu *v)
{
    u64 pages[4];
    unsigned count = 0;

    for (unsigned n = 0; n < 4; n++)
        if (enabled(v, n) && (kind(v, n) == RW_ACCESS || kind(v, n) == RW_WRITE))
            pages[count++] = v->dr[n] & PAGE_MASK;
    tlb_watch(&v->tlb, pages, count);
    vcpu_update_mode(v);
}
