/* SPDX-License-Identifier: MIT
 *
 * Facts about events that hold in protected and in long mode alike: gates, faults while delivering,
 * SYSENTER and SYSEXIT (SDM 3A chapter 6, SDM 2). For interrupts32.c and interrupts64.c, which add
 * those of their mode.
 */
#ifndef GUEST_EVENTS_H
#define GUEST_EVENTS_H

#include "guest.h"

/* Flags of a code descriptor in the image's own width. */
enum { NATIVE_CODE = LONG_MODE ? 0xa : 0xc };

SNIPPET_NATIVE(nothing, "nop");
SNIPPET_NATIVE(int80, "int $0x80");
SNIPPET_NATIVE(ud2_insn, "ud2");
SNIPPET_NATIVE(raise_gp, "mov $0x3333, %eax; mov %eax, %es");
SNIPPET_NATIVE(divide, "div %ecx");
SNIPPET_NATIVE(sysenter_insn, "sysenter");

/* A flat context at this privilege that ran a snippet. */
static struct context ran(u32 cpl, const u8 *snippet)
{
    struct context c = context_flat(cpl);

    context_at(&c, snippet);
    return c;
}

static bool gate_type_exists(u32 type)
{
    if (type == INTERRUPT_GATE || type == TRAP_GATE)
        return true;
    return !LONG_MODE && (type == TASK_GATE || type == 6 || type == 7);
}

static void gate_limit_set(u32 limit)
{
    idt_pointer.limit = (u16)limit;
    asm volatile("lidt %0" ::"m"(idt_pointer));
}

/* DPL against CPL, presence, type, selector, table limit; error codes with the IDT bit. Leaves gate
 * 80 as one for CPL 3, as interrupts64.c goes on with it. */
static void gate_facts(void)
{
    static const struct {
        u16 selector, vector, error;
        const char *name;
    } targets[] = {
        {0, GP, 0, "null"},
        {K_DS, GP, K_DS, "data"},
#ifdef __x86_64__
        {K_CS32, GP, K_CS32, "32-bit code"},
#endif
        {TSS_SEL, GP, TSS_SEL, "system"},
        {FREE_SEL, NP, FREE_SEL, "absent code"},
        {0x400, GP, 0x400, "beyond the table"},
        {4, GP, 4, "in an absent LDT, its first"},
        {0x0c, GP, 0x0c, "in an absent LDT"},
        {U_CS & ~3, GP, U_CS & ~3, "DPL 3 from CPL 0"},
    };
    struct context c;
    struct gate good;

    idt_set(0x80, trap_entries[0x80], K_CS, PRESENT | INTERRUPT_GATE);
    c = ran(3, int80);
    check_end(&c, GP, 0x80 * 8 + 2, 0, "DPL 0 from CPL 3");
    c = ran(0, int80);
    check_end(&c, 0x80, 0, 2, "DPL 0 from CPL 0");
    idt[0x80].type |= DPL3;
    good = idt[0x80];
    c = ran(3, int80);
    check_end(&c, 0x80, 0, 2, "DPL 3 from CPL 3");
    idt[0x80].type &= (u8)~PRESENT;
    c = ran(3, int80);
    check_end(&c, NP, 0x80 * 8 + 2, 0, "absent");
    for (u32 type = 0; type < 32; type++) {
        if (gate_type_exists(type))
            continue;
        idt[0x80] = good;
        idt[0x80].type = (u8)(PRESENT | DPL3 | type);
        c = ran(3, int80);
        check_end(&c, GP, 0x80 * 8 + 2, 0, "type %x", type);
    }
    descriptor_set(FREE_SEL, descriptor(0, 0xfffff, 0x1b, NATIVE_CODE));
    for (u32 i = 0; i < ARRAY_SIZE(targets); i++) {
        idt[0x80] = good;
        idt[0x80].selector = targets[i].selector;
        c = ran(0, int80);
        check_end(&c, targets[i].vector, targets[i].error, 0, "selector: %s", targets[i].name);
    }
    idt[0x80] = good;
    gate_limit_set(0x80 * sizeof(struct gate) + sizeof(struct gate) - 2);
    c = ran(3, int80);
    check_end(&c, GP, 0x80 * 8 + 2, 0, "gate beyond the limit");
    gate_limit_set(sizeof(idt) - 1);
}

/* SDM 3A table 6-5, with gates as the reason of the second fault. EXT tells that it is the second.
 */
static void double_fault_facts(void)
{
    struct gate gp = idt[GP], ud = idt[UD], de = idt[DE];
    struct context c;

    idt[UD].type &= (u8)~PRESENT;
    c = ran(3, ud2_insn);
    check_end(&c, NP, UD * 8 + 3, 0, "#UD then #NP is #NP, EXT set");
    idt[UD] = ud;
    idt[UD].selector = K_DS;
    c = ran(3, ud2_insn);
    check_end(&c, GP, K_DS + 1, 0, "#UD then #GP is #GP, EXT set");
    idt[UD] = ud;
    idt[GP].type &= (u8)~PRESENT;
    c = ran(3, raise_gp);
    check_end(&c, DF, 0, -1, "#GP then #NP is #DF");
    idt[GP] = gp;
    idt[DE].type &= (u8)~PRESENT;
    c = ran(3, divide);
    check_end(&c, DF, 0, -1, "#DE then #NP is #DF");
    idt[DE] = de;
    idt[DE].selector = 0;
    c = ran(3, divide);
    check_end(&c, DF, 0, -1, "#DE then #GP is #DF");
    idt[DE] = de;
}

/* Where they exist: not in long mode on AMD. exit returns to user code with CS = exit_cs. */
static void sysenter_facts(const u8 *exit, u16 exit_cs)
{
    static u8 stack[4096] __attribute__((aligned(16)));
    struct context c;

    wrmsr(MSR_SYSENTER_CS, 0);
    c = ran(3, sysenter_insn);
    check_end(&c, GP, 0, 0, "SYSENTER with a null CS");
    c = ran(0, exit);
    check_end(&c, GP, 0, 0, "SYSEXIT with a null CS");
    wrmsr(MSR_SYSENTER_CS, K_CS32);
    wrmsr(MSR_SYSENTER_EIP, (ulong)nothing);
    wrmsr(MSR_SYSENTER_ESP, (ulong)stack + sizeof(stack));
    c = context_flat(3);
    c.flags |= FL_IF | FL_CF;
    context_at(&c, sysenter_insn);
    check_end(&c, END, 0, -1, "SYSENTER");
    check_eq(c.ip, (ulong)nothing_end, "SYSENTER target");
    check_eq(c.cs, K_CS32, "SYSENTER CS");
    check_eq(c.flags & (FL_IF | FL_CF), FL_CF, "SYSENTER clears IF");
    check_eq(c.sp, (ulong)stack + sizeof(stack), "SYSENTER stack");
    c = ran(3, exit);
    check_end(&c, GP, 0, 0, "SYSEXIT at CPL 3");
    c = context_flat(0);
    c.dx = (ulong)nothing, c.cx = 0x7000;
    context_at(&c, exit);
    check_end(&c, END, 0, -1, "SYSEXIT");
    check_eq(c.cs, exit_cs, "SYSEXIT CS");
    check_eq(c.ss, exit_cs + 8, "SYSEXIT SS");
    check_eq(c.sp, 0x7000, "SYSEXIT stack");
}

#endif
