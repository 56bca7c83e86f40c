/* SPDX-License-Identifier: MIT
 *
 * A board whose first vCPU makes hypercalls.
 */
#pragma once

#include "tests/hv1/board.h"

static struct board *b;

enum { PAGE_AT = 0x5000, INPUT = 0x6000 };

/* In 64-bit mode at CPL 0, at the start of the hypercall page, paging off. */
static inline void enter(struct vcpu *v)
{
    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, 1);
    board_write(b, 0, HV_X64_MSR_HYPERCALL, PAGE_AT | 1);
    v->cr0 |= CR0_PE;
    v->cpl = 0;
    v->code_size = 8;
    v->rip = PAGE_AT;
}

static inline u64 call(u64 control, u64 input, u64 output)
{
    struct vcpu *v = b->v[0];

    v->gpr[RCX] = control;
    v->gpr[RDX] = input;
    v->gpr[8] = output;
    ck_assert(hv1_hypercall(b->hv1, v));
    ck_assert_uint_eq(v->gpr[RCX], control);
    ck_assert_uint_eq(v->gpr[RDX], input);
    ck_assert_uint_eq(v->gpr[8], output);
    return v->gpr[RAX];
}

static inline void put(unsigned index, u64 value)
{
    physmap_write_uint(b->map, INPUT + index * 8, value, 8);
}
