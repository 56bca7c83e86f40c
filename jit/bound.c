/* SPDX-License-Identifier: MIT
 *
 * What FS and GS permit outside 64-bit mode, in a form that translated code can compare with.
 */
#include "jit/internal.h"

/* The end of what may be accessed: 0 for a segment that only the interpreter should judge. */
static u64 bound_of(const struct segment *s, bool write)
{
    bool code = s->attr & ATTR_CODE;

    if ((s->attr & ATTR_NULL) || (!code && (s->attr & ATTR_EXPAND_DOWN)))
        return 0;
    if (write ? code || !(s->attr & ATTR_WRITE) : code && !(s->attr & ATTR_WRITE))
        return 0;
    return s->limit + 1ull;
}

void jit_update_bounds(struct vcpu *v)
{
    for (unsigned n = 0; n < 2; n++)
        for (unsigned write = 0; write < 2; write++)
            v->jit.bound[n][write] = bound_of(&v->seg[SEG_FS + n], write);
}
