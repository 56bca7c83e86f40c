/* SPDX-License-Identifier: MIT
 *
 * Facts about call gates that hold in protected and in long mode alike (SDM 2 "CALL"), and how one
 * more of them is checked.
 */
#ifndef GUEST_CALL_GATES_H
#define GUEST_CALL_GATES_H

#include "returns.h"

/* A call gate in FREE_SEL, which has 16 bytes in long mode. */
static void call_gate_set(u16 target, u64 offset, u32 parameters, u8 access)
{
    descriptor_set(FREE_SEL, (offset & 0xffff) | (u64)target << 16 | (u64)parameters << 32 |
                                 (u64)access << 40 | (offset >> 16 & 0xffff) << 48);
    if (LONG_MODE)
        descriptor_set(FREE_SEL + 8, offset >> 32);
}

struct gate_case {
    u16 target;
    u8 access;
    u32 vector, error;
    const char *name;
};

/* call is a far call of FREE_SEL with RPL 0, run at CPL 3. It faults and leaves the stack. */
static void call_gate_check(const struct gate_case *g, const u8 *call)
{
    struct context c = context_flat(3);

    call_gate_set(g->target, (ulong)transfer_target, 0, g->access);
    context_at(&c, call);
    check_end(&c, g->vector, g->error, 0, "%s", g->name);
    check_eq(c.sp, context_flat(3).sp, "%s: stack", g->name);
}

static void call_gate_facts(const u8 *call)
{
    static const struct gate_case cases[] = {
        {K_CS, 0x8c, GP, FREE_SEL, "gate DPL 0 from CPL 3"},
        {K_CS, 0x6c, NP, FREE_SEL, "absent gate"},
        {0, 0xec, GP, 0, "null target"},
        {K_DS, 0xec, GP, K_DS, "target is data"},
        {ABSENT_CODE, 0xec, NP, ABSENT_CODE, "absent target"},
        {0x400, 0xec, GP, 0x400, "target beyond the table"},
        {K_CS, 0xe0, GP, FREE_SEL, "type 0"},
        {K_CS, 0xe8, GP, FREE_SEL, "type 8"},
        {K_CS, 0xea, GP, FREE_SEL, "type a"},
        {K_CS, 0xed, GP, FREE_SEL, "type d"},
        {K_CS, 0xee, GP, FREE_SEL, "interrupt gate"},
        {K_CS, 0xef, GP, FREE_SEL, "trap gate"},
    };

    transfer_descriptors();
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
        call_gate_check(&cases[i], call);
}

#endif
