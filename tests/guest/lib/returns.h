/* SPDX-License-Identifier: MIT
 *
 * Facts about far returns and IRET that hold in protected and in long mode alike (SDM 2 "RET",
 * "IRET"), and how one more of them is checked. The frames have the image's own width.
 */
#ifndef GUEST_RETURNS_H
#define GUEST_RETURNS_H

#include "guest.h"

/* Descriptors of these facts; those before them are a test's own. */
enum { ABSENT_CODE = FREE_SEL + 32, ABSENT_STACK = FREE_SEL + 40 };

SNIPPET_NATIVE(transfer_target, "nop");

static void transfer_descriptors(void)
{
    descriptor_set(ABSENT_CODE, descriptor(0, 0xfffff, 0x1b, LONG_MODE ? 0xa : 0xc));
    descriptor_set(ABSENT_STACK, descriptor(0, 0xfffff, 0x73, 0xc));
}

struct return_case {
    ulong ip; /* 0: transfer_target */
    u16 cs, ss;
    u32 vector, error; /* END: it arrives */
    const char *name;
};

/* insn is a far return or, with iret, an IRET, run at CPL 0. A fault leaves CS and the stack. */
static void return_check(const struct return_case *r, const u8 *insn, bool iret)
{
    struct context c = context_flat(0);
    ulong *frame = (ulong *)(c.sp -= 64);

    *frame++ = r->ip ? r->ip : (ulong)transfer_target;
    *frame++ = r->cs;
    if (iret)
        *frame++ = FL_ONE;
    *frame++ = 0x7000;
    *frame = r->ss;
    context_at(&c, insn);
    check_end(&c, r->vector, r->error, r->vector == END ? -1 : 0, "%s", r->name);
    check_eq(c.cs, r->vector == END ? r->cs : K_CS, "%s: CS", r->name);
    if (r->vector != END)
        check_eq(c.sp, context_flat(0).sp - 64, "%s: stack", r->name);
}

static void return_facts(const u8 *insn, bool iret)
{
    static const struct return_case cases[] = {
        {0, 0, K_DS, GP, 0, "null CS"},
        {0, K_DS, K_DS, GP, K_DS, "CS is data"},
        {0, ABSENT_CODE, K_DS, NP, ABSENT_CODE, "absent CS"},
        {0, 0x3fc | 4, K_DS, GP, 0x3fc, "CS in an absent LDT"},
        {0, 0x400, K_DS, GP, 0x400, "CS beyond the table"},
        {0, K_CS | 3, U_DS, GP, K_CS, "CS.DPL 0 with RPL 3"},
        {0, U_CS & ~3, K_DS, GP, U_CS & ~3, "CS.DPL 3 with RPL 0"},
        {0, U_CS, 0, GP, 0, "null SS"},
        {0, U_CS, K_DS | 3, GP, K_DS, "SS.DPL 0"},
        {0, U_CS, U_DS & ~3, GP, U_DS & ~3, "SS.RPL 0"},
        {0, U_CS, U_CS32, GP, U_CS32 & ~3, "SS is code"},
        {0, U_CS, ABSENT_STACK | 3, SS, ABSENT_STACK, "absent SS"},
        {0, U_CS, U_DS, END, 0, "to CPL 3"},
        {0, K_CS, K_DS, END, 0, "same privilege"},
    };

    transfer_descriptors();
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
        return_check(&cases[i], insn, iret);
}

#endif
