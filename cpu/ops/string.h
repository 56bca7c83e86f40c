/* SPDX-License-Identifier: MIT
 *
 * What string instructions share: index registers of the address size, and the REP loop.
 */
#pragma once

#include "cpu/ops/operand.h"

/* One element: access, then index registers; false: a fault is recorded, nothing has changed. */
typedef bool string_step(struct vcpu *v, const struct insn *i);
/* Up to count elements at once through host memory: how many were done, 0 if that is impossible
 * for the next one. */
typedef u64 string_bulk(struct vcpu *v, const struct insn *i, u64 count);

/* Runs one element, or with a REP prefix a stretch of them (v->repeat: more are left). bulk may be
 * NULL: then pending events end a stretch, too. compares: REPE and REPNE look at ZF. */
bool string_run(struct vcpu *v, const struct insn *i, string_step *step, string_bulk *bulk,
                bool compares);

static inline u64 string_offset(const struct vcpu *v, const struct insn *i, unsigned r)
{
    return size_cut(v->gpr[r], i->asz);
}

/* Moves index register r by count elements of size bytes, against DF's direction if DF is set. */
static inline void string_advance(struct vcpu *v, const struct insn *i, unsigned r, u64 count,
                                  unsigned size)
{
    u64 bytes = count * size;

    reg_write(v, r, i->asz, v->rflags & F_DF ? v->gpr[r] - bytes : v->gpr[r] + bytes);
}
