/* SPDX-License-Identifier: MIT
 *
 * Event delivery in every mode: frames word by word, flags, error codes of each failing check,
 * double and triple faults, VME, and the instructions that raise events.
 */
#include "tests/cpu/system.h"
#include "tests/suite.h"

enum { HANDLER = 0x31234, FLAGS = F_1 | F_IF | F_TF | F_NT | F_AC | F_CF };

static bool deliver(u8 vector, enum event_kind kind)
{
    return interrupt_deliver(v, vector, kind, false, 0, 0x11223344);
}

static void expect_at(u16 cs, u64 rip)
{
    ck_assert_uint_eq(v->seg[SEG_CS].selector, cs);
    ck_assert_uint_eq(v->rip, rip);
    ck_assert_uint_eq(v->next_rip, rip);
}

/* -- real mode -- */

START_TEST(real_mode_frame)
{
    machine_start(&machine, MACHINE_REAL);
    v->rflags = FLAGS;
    PUT_WORDS(0x21 * 4, 2, 0x5678, 0x4321);
    expect_ok(interrupt_deliver(v, 0x21, EVENT_HARDWARE, true, 7, 0x1234));
    expect_at(0x4321, 0x5678);
    ck_assert_uint_eq(v->seg[SEG_CS].base, 0x43210);
    ck_assert_uint_eq(v->gpr[RSP], 0xffea);
    EXPECT_WORDS(0x10000 + 0xffea, 2, 0x1234, 0x1000, FLAGS & 0xffff);
    ck_assert_uint_eq(v->rflags, FLAGS & ~(F_IF | F_TF | F_AC));
}
END_TEST

START_TEST(real_mode_limits)
{
    machine_start(&machine, MACHINE_REAL);
    v->idtr.limit = 0x21 * 4 + 2;
    expect_fault(deliver(0x21, EVENT_SOFTWARE), VEC_GP, 0x21 * 8 + 2);
    v->idtr.limit++;
    expect_ok(deliver(0x21, EVENT_SOFTWARE));
    /* A word at offset FFFF does not fit. */
    v->gpr[RSP] = 1;
    expect_fault(deliver(0x21, EVENT_SOFTWARE), VEC_SS, 0);
    ck_assert_uint_eq(v->gpr[RSP], 1);
    v->gpr[RSP] = 0x12340002;
    expect_ok(deliver(0x21, EVENT_SOFTWARE));
    ck_assert_uint_eq(v->gpr[RSP], 0x1234fffc);
}
END_TEST

/* -- protected mode -- */

START_TEST(same_ring_frame)
{
    machine_start(&machine, MACHINE_PROT32);
    v->rflags = FLAGS;
    machine_gate(&machine, false, 0x21, SEL_CODE32, HANDLER, SYS_INT_GATE, 0, 0);
    expect_ok(deliver(0x21, EVENT_HARDWARE));
    expect_at(SEL_CODE32, HANDLER);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK - 12);
    EXPECT_WORDS(MACHINE_STACK - 12, 4, 0x11223344, SEL_CODE32, FLAGS);
    ck_assert_uint_eq(v->rflags, FLAGS & ~(F_IF | F_TF | F_NT));

    /* A trap gate keeps IF; a fault pushes RF and its error code. */
    machine_start(&machine, MACHINE_PROT32);
    v->rflags = FLAGS;
    machine_gate(&machine, false, 13, SEL_CODE32, HANDLER, SYS_TRAP_GATE, 0, 0);
    expect_ok(interrupt_deliver(v, 13, EVENT_EXCEPTION, true, 0x5678, 0x99));
    EXPECT_WORDS(MACHINE_STACK - 16, 4, 0x5678, 0x99, SEL_CODE32, FLAGS | F_RF);
    ck_assert_uint_eq(v->rflags, FLAGS & ~(F_TF | F_NT));
}
END_TEST

START_TEST(gate_of_16_bits)
{
    machine_start(&machine, MACHINE_PROT32);
    machine_gate(&machine, false, 0x21, SEL_CODE32, 0xabcd1234, SYS_INT_GATE16, 0, 0);
    expect_ok(interrupt_deliver(v, 0x21, EVENT_EXCEPTION, true, 0x5678, 0x11223344));
    expect_at(SEL_CODE32, 0x1234);
    EXPECT_WORDS(MACHINE_STACK - 8, 2, 0x5678, 0x3344, SEL_CODE32, F_1);
}
END_TEST

START_TEST(inner_ring_frame)
{
    machine_start(&machine, MACHINE_USER32);
    v->rflags = FLAGS;
    machine_descriptor(&machine, SEL_DATA, 0, 0xfffff, DATA_RW & ~ATTR_ACCESSED);
    machine_gate(&machine, false, 14, SEL_CODE32, HANDLER, SYS_INT_GATE, 0, 0);
    expect_ok(interrupt_deliver(v, 14, EVENT_EXCEPTION, true, 6, 0x11223344));
    expect_at(SEL_CODE32, HANDLER);
    ck_assert_uint_eq(v->cpl, 0);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_DATA);
    ck_assert(v->seg[SEG_SS].attr & ATTR_ACCESSED);
    ck_assert_uint_eq(machine_get(&machine, MACHINE_GDT + SEL_DATA + 5, 1) & 1, 1);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK0 - 24);
    EXPECT_WORDS(MACHINE_STACK0 - 24, 4, 6, 0x11223344, SEL_USER_CODE32, FLAGS | F_RF,
                 MACHINE_STACK, SEL_USER_DATA);
    ck_assert_uint_eq(v->seg[SEG_DS].selector, SEL_USER_DATA);
}
END_TEST

START_TEST(conforming_handler_keeps_ring)
{
    machine_start(&machine, MACHINE_USER32);
    machine_descriptor(&machine, SEL_A, 0, 0xfffff, CODE_RX | ATTR_EXPAND_DOWN);
    machine_gate(&machine, false, 0x21, SEL_A, HANDLER, SYS_INT_GATE, 3, 0);
    expect_ok(deliver(0x21, EVENT_SOFTWARE));
    expect_at(SEL_A | 3, HANDLER);
    ck_assert_uint_eq(v->cpl, 3);
    EXPECT_WORDS(MACHINE_STACK - 12, 4, 0x11223344, SEL_USER_CODE32, F_1);
}
END_TEST

/* What is wrong with the gate of vector 21h, its code segment or the ring-0 stack. */
enum defect {
    IDT_SHORT,
    GATE_TYPE,
    GATE_DPL,
    GATE_ABSENT,
    CS_NULL,
    CS_BEYOND,
    CS_DATA,
    CS_OUTER,
    CS_ABSENT,
    CS_LIMIT,
    TSS_SHORT,
    SS_NULL,
    SS_BEYOND,
    SS_RPL,
    SS_DPL,
    SS_READONLY,
    SS_ABSENT,
    SS_LIMIT,
};

static void put_defect(enum defect d)
{
    u16 cs = d == CS_NULL ? 3 : d == CS_BEYOND ? 0x1008 : SEL_A;
    u16 ss = d == SS_NULL ? 0 : d == SS_BEYOND ? 0x1008 : d == SS_RPL ? SEL_B | 1 : SEL_B;
    u32 code = CODE_RX, data = DATA_RW;

    code = d == CS_DATA ? DATA_RW : d == CS_ABSENT ? CODE_RX & ~ATTR_P : code;
    code &= d == CS_LIMIT ? ~(u32)ATTR_G : ~0u;
    data |= d == SS_DPL ? DPL1 : 0;
    data &= d == SS_READONLY ? ~(u32)ATTR_WRITE : d == SS_ABSENT ? ~(u32)ATTR_P : ~0u;
    data &= d == SS_LIMIT ? ~(u32)ATTR_G : ~0u;
    machine_descriptor(&machine, SEL_A, 0, d == CS_LIMIT ? HANDLER - 1 : 0xfffff, code);
    machine_descriptor(&machine, SEL_B, 0, d == SS_LIMIT ? MACHINE_STACK0 - 17 : 0xfffff, data);
    machine_gate(&machine, false, 0x21, cs, HANDLER, d == GATE_TYPE ? SYS_TSS : SYS_INT_GATE,
                 d == GATE_DPL ? 2 : 3, 0);
    if (d == GATE_ABSENT)
        machine_put_uint(&machine, MACHINE_IDT + 0x21 * 8 + 5, SYS_INT_GATE | DPL3, 1);
    machine_put_uint(&machine, MACHINE_TSS + 8, ss, 2);
    v->idtr.limit = d == IDT_SHORT ? 0x21 * 8 + 6 : 0x7ff;
    v->tr.limit = d == TSS_SHORT ? 8 : 0x67;
    if (d == CS_OUTER) {
        machine_descriptor(&machine, SEL_A, 0, 0xfffff, CODE_RX | DPL3);
        set_user(2);
    }
}

static const struct {
    enum defect defect;
    int vector;
    unsigned error; /* without EXT */
} defects[] = {
    {IDT_SHORT, VEC_GP, 0x21 * 8 + 2},
    {GATE_TYPE, VEC_GP, 0x21 * 8 + 2},
    {GATE_DPL, VEC_GP, 0x21 * 8 + 2},
    {GATE_ABSENT, VEC_NP, 0x21 * 8 + 2},
    {CS_NULL, VEC_GP, 0},
    {CS_BEYOND, VEC_GP, 0x1008},
    {CS_DATA, VEC_GP, SEL_A},
    {CS_OUTER, VEC_GP, SEL_A},
    {CS_ABSENT, VEC_NP, SEL_A},
    {CS_LIMIT, VEC_GP, 0},
    {TSS_SHORT, VEC_TS, SEL_TSS},
    {SS_NULL, VEC_TS, 0},
    {SS_BEYOND, VEC_TS, 0x1008},
    {SS_RPL, VEC_TS, SEL_B},
    {SS_DPL, VEC_TS, SEL_B},
    {SS_READONLY, VEC_TS, SEL_B},
    {SS_ABSENT, VEC_SS, SEL_B},
    {SS_LIMIT, VEC_SS, SEL_B},
};

START_TEST(failing_checks)
{
    machine_start(&machine, MACHINE_USER32);
    put_defect(defects[_i].defect);
    expect_fault(deliver(0x21, EVENT_SOFTWARE), defects[_i].vector, (int)defects[_i].error);
    /* Hardware events do not look at the gate's DPL, and set EXT. */
    if (defects[_i].defect == GATE_DPL)
        expect_ok(deliver(0x21, EVENT_HARDWARE));
    else
        expect_fault(deliver(0x21, EVENT_HARDWARE), defects[_i].vector, (int)defects[_i].error | 1);
    if (defects[_i].defect != GATE_DPL)
        ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
}
END_TEST

START_TEST(same_ring_stack_limit)
{
    machine_start(&machine, MACHINE_PROT32);
    v->seg[SEG_SS].limit = 0x1ffff;
    v->gpr[RSP] = 0x20008; /* the second word fits, the first does not */
    expect_fault(deliver(0x21, EVENT_SOFTWARE), VEC_SS, 0);
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_SS, 1);
    /* Expand-down: valid above the limit. */
    v->seg[SEG_SS].attr |= ATTR_EXPAND_DOWN;
    v->gpr[RSP] = 0x2000c;
    expect_ok(deliver(0x21, EVENT_SOFTWARE));
    expect_fault(deliver(0x21, EVENT_SOFTWARE), VEC_SS, 0);
}
END_TEST

/* -- V86 mode -- */

static void start_v86(unsigned iopl)
{
    machine_start(&machine, MACHINE_USER32);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        segment_load_v86(v, (enum seg)s, (u16)(0x1000 + s));
    segment_load_v86(v, SEG_SS, 0x2000);
    v->gpr[RSP] = 0x100;
    v->rflags = F_1 | F_VM | F_IF | iopl << F_IOPL_SHIFT;
    vcpu_set_cpl(v, 3);
}

START_TEST(v86_frame)
{
    start_v86(0);
    machine_gate(&machine, false, 0x21, SEL_CODE32, HANDLER, SYS_INT_GATE, 0, 0);
    expect_ok(deliver(0x21, EVENT_HARDWARE));
    expect_at(SEL_CODE32, HANDLER);
    EXPECT_WORDS(MACHINE_STACK0 - 36, 4, 0x11223344, 0x1001, F_1 | F_VM | F_IF, 0x100, 0x2000,
                 0x1000, 0x1003, 0x1004, 0x1005);
    ck_assert_uint_eq(v->rflags, F_1);
    ck_assert_uint_eq(v->cpl, 0);
    ck_assert_uint_eq(v->seg[SEG_DS].selector, 0);
    ck_assert(v->seg[SEG_GS].attr & ATTR_NULL);
    /* V86 mode can be left for ring 0 only. */
    start_v86(0);
    machine_descriptor(&machine, SEL_A, 0, 0xfffff, CODE_RX | DPL1);
    machine_gate(&machine, false, 0x21, SEL_A, HANDLER, SYS_INT_GATE, 0, 0);
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_GP, SEL_A | 1);
}
END_TEST

START_TEST(v86_int_n_needs_iopl)
{
    start_v86(2);
    expect_fault(interrupt_software(v, 0x21), VEC_GP, 0);
    start_v86(3);
    expect_ok(interrupt_software(v, 0x21));
    ck_assert_uint_eq(v->cpl, 0);
}
END_TEST

/* Bit 21h of the redirection bitmap at TSS + 80h - 20h. */
static void put_redirection(unsigned bit)
{
    machine_put_uint(&machine, MACHINE_TSS + 0x66, 0x88, 2);
    machine_put_uint(&machine, MACHINE_TSS + 0x68 + 0x21 / 8, bit << (0x21 % 8), 1);
    PUT_WORDS(0x21 * 4, 2, 0x5678, 0x4321);
    v->cr4 |= CR4_VME;
    v->next_rip = 0x1234;
}

START_TEST(vme_redirects)
{
    start_v86(3);
    put_redirection(0);
    expect_ok(interrupt_software(v, 0x21));
    expect_at(0x4321, 0x5678);
    ck_assert_uint_eq(v->cpl, 3);
    EXPECT_WORDS(0x20000 + 0x100 - 6, 2, 0x1234, 0x1001, F_1 | F_IF | F_IOPL);
    ck_assert_uint_eq(v->rflags, F_1 | F_VM | F_IOPL);

    /* IOPL 0: the program sees VIF as IF. */
    start_v86(0);
    put_redirection(0);
    v->rflags |= F_VIF;
    v->rflags &= ~(u64)F_IF;
    expect_ok(interrupt_software(v, 0x21));
    EXPECT_WORDS(0x20000 + 0x100 - 6, 2, 0x1234, 0x1001, F_1 | F_IF | F_IOPL);
    ck_assert_uint_eq(v->rflags, F_1 | F_VM);

    start_v86(0);
    put_redirection(1);
    expect_fault(interrupt_software(v, 0x21), VEC_GP, 0);
    start_v86(3);
    put_redirection(1);
    expect_ok(interrupt_software(v, 0x21));
    ck_assert_uint_eq(v->cpl, 0);
    start_v86(0);
    put_redirection(0);
    v->tr.limit = 0x68 + 0x21 / 8 - 1;
    expect_fault(interrupt_software(v, 0x21), VEC_GP, 0);
    /* A 16-bit TSS has no bitmap, whatever its limit. */
    start_v86(0);
    put_redirection(0);
    v->tr.attr = ATTR_P | SYS_TSS16_BUSY;
    expect_fault(interrupt_software(v, 0x21), VEC_GP, 0);
}
END_TEST

START_TEST(virtual_interrupt_flag)
{
    /* CLI and STI in V86 mode: #GP without VME, VIF with it. */
    start_v86(0);
    v->cr4 |= CR4_VME;
    v->rip = 0;
    v->seg[SEG_CS].base = MACHINE_CODE;
    v->rflags |= F_VIP;
    EXPECT_CODE(VEC_GP, 0xfb);
    start_v86(0);
    v->cr4 |= CR4_VME;
    v->rip = 0;
    v->seg[SEG_CS].base = MACHINE_CODE;
    EXPECT_CODE(VEC_GP, 0xfb); /* STI works, the HLT behind it faults */
    ck_assert_uint_eq(machine_stack(&machine, 1, 4), 1);
    ck_assert_uint_eq(machine_stack(&machine, 3, 4) & F_VIF, F_VIF);
    /* PVI at CPL 3. */
    machine_start(&machine, MACHINE_USER32);
    v->cr4 |= CR4_PVI;
    EXPECT_CODE(0x80, 0xfb, 0xcd, 0x80);
    ck_assert_uint_eq(machine_stack(&machine, 2, 4), F_1 | F_VIF);
    machine_start(&machine, MACHINE_USER32);
    EXPECT_CODE(VEC_GP, 0xfa);
}
END_TEST

/* -- long mode -- */

START_TEST(long_mode_frame)
{
    machine_start(&machine, MACHINE_LONG);
    v->rflags = FLAGS;
    v->gpr[RSP] = MACHINE_STACK + 9;
    machine_gate(&machine, true, 0x21, SEL_CODE64, 0x7000000000, SYS_INT_GATE, 0, 0);
    expect_ok(interrupt_deliver(v, 0x21, EVENT_EXCEPTION, true, 0x77, 0x1122334455));
    expect_at(SEL_CODE64, 0x7000000000);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK - 48);
    EXPECT_WORDS(MACHINE_STACK - 48, 8, 0x77, 0x1122334455, SEL_CODE64, FLAGS | F_RF,
                 MACHINE_STACK + 9, SEL_DATA);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_DATA);
}
END_TEST

START_TEST(long_mode_from_user)
{
    machine_start(&machine, MACHINE_USER64);
    expect_ok(deliver(0x21, EVENT_HARDWARE));
    ck_assert_uint_eq(v->seg[SEG_SS].selector, 0);
    ck_assert(v->seg[SEG_SS].attr & ATTR_NULL);
    EXPECT_WORDS(MACHINE_STACK0 - 40, 8, 0x11223344, SEL_USER_CODE64, F_1, MACHINE_STACK,
                 SEL_USER_DATA);
    /* From 32-bit code of the same ring the old SS stays. */
    machine_start(&machine, MACHINE_COMPAT);
    expect_ok(deliver(0x21, EVENT_HARDWARE));
    ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_DATA);
    ck_assert_uint_eq(v->code_size, 8);
    EXPECT_WORDS(MACHINE_STACK - 40, 8, 0x11223344, SEL_CODE32, F_1, MACHINE_STACK, SEL_DATA);
}
END_TEST

START_TEST(interrupt_stack_table)
{
    machine_start(&machine, MACHINE_LONG);
    machine_put_uint(&machine, MACHINE_TSS + 0x24 + 2 * 8, 0x50008, 8);
    machine_gate(&machine, true, 0x21, SEL_CODE64, HANDLER, SYS_INT_GATE, 0, 3);
    expect_ok(deliver(0x21, EVENT_HARDWARE));
    ck_assert_uint_eq(v->gpr[RSP], 0x50000 - 40);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_DATA);
    EXPECT_WORDS(0x50000 - 40, 8, 0x11223344, SEL_CODE64, F_1, MACHINE_STACK, SEL_DATA);
    machine_start(&machine, MACHINE_LONG);
    machine_gate(&machine, true, 0x21, SEL_CODE64, HANDLER, SYS_INT_GATE, 0, 3);
    v->tr.limit = 0x24 + 2 * 8 + 6;
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_TS, SEL_TSS | 1);
    machine_put_uint(&machine, MACHINE_TSS + 0x24 + 2 * 8, 0x800000001000, 8);
    v->tr.limit = 0x67;
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_SS, 1);
}
END_TEST

START_TEST(long_mode_checks)
{
    machine_start(&machine, MACHINE_LONG);
    machine_gate(&machine, true, 0x21, SEL_CODE32, HANDLER, SYS_INT_GATE, 0, 0);
    expect_fault(deliver(0x21, EVENT_SOFTWARE), VEC_GP, SEL_CODE32);
    machine_gate(&machine, true, 0x21, SEL_CODE64, HANDLER, SYS_INT_GATE16, 0, 0);
    expect_fault(deliver(0x21, EVENT_SOFTWARE), VEC_GP, 0x21 * 8 + 2);
    machine_gate(&machine, true, 0x21, SEL_TSS, 0, SYS_TASK_GATE, 0, 0);
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_GP, 0x21 * 8 + 3);
    machine_gate(&machine, true, 0x21, SEL_CODE64, 0x800000000000, SYS_INT_GATE, 0, 0);
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_GP, 1);
    v->idtr.limit = 0x21 * 16 + 14;
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_GP, 0x21 * 8 + 3);
}
END_TEST

/* -- faults during delivery -- */

START_TEST(page_fault_leaves_memory_alone)
{
    /* The frame crosses into a page that is not there: CR2 is its highest word in that page. */
    machine_start(&machine, MACHINE_LONG);
    machine_put_uint(&machine, MACHINE_PML4 + 0x2000 + 5 * 8, 0, 8); /* 0xa00000 on */
    tlb_flush_all(&v->tlb);
    v->gpr[RSP] = 0xc00010;
    PUT_WORDS(0xc00000, 8, 0x1111, 0x2222);
    expect_fault(deliver(0x21, EVENT_HARDWARE), VEC_PF, PF_W);
    ck_assert_uint_eq(v->fault.cr2, 0xbffff8);
    EXPECT_WORDS(0xc00000, 8, 0x1111, 0x2222);
}
END_TEST

static bool deliver_exception(u8 vector)
{
    if (vector == VEC_PF)
        raise_pf(v, 0xabcdef, PF_W);
    else if (vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_GP))
        raise_fault_error(v, (enum vector)vector, 0);
    else
        raise_fault(v, (enum vector)vector);
    return exception_deliver(v);
}

START_TEST(double_faults)
{
    static const struct {
        u8 first, broken_by;
        int delivered;
    } cases[] = {
        {VEC_UD, VEC_NP, VEC_NP}, {VEC_GP, VEC_NP, VEC_DF}, {VEC_DE, VEC_GP, VEC_DF},
        {VEC_PF, VEC_NP, VEC_DF}, {VEC_BP, VEC_GP, VEC_GP}, {VEC_TS, VEC_NP, VEC_DF},
        {VEC_AC, VEC_NP, VEC_NP},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        machine_start(&machine, MACHINE_LONG);
        machine_gate(&machine, true, cases[n].first, SEL_CODE64, HANDLER,
                     cases[n].broken_by == VEC_GP ? SYS_LDT : SYS_INT_GATE, 0, 0);
        if (cases[n].broken_by == VEC_NP)
            machine_put_uint(&machine, MACHINE_IDT + cases[n].first * 16 + 5, SYS_INT_GATE, 1);
        expect_ok(deliver_exception(cases[n].first));
        ck_assert_msg(v->rip == machine_stub((unsigned)cases[n].delivered), "case %u at %lx", n,
                      v->rip);
        ck_assert_uint_eq(machine_stack(&machine, 0, 8),
                          cases[n].delivered == VEC_DF ? 0 : cases[n].first * 8 + 3u);
        ck_assert_uint_eq(v->cr2, cases[n].first == VEC_PF ? 0xabcdef : 0);
    }
}
END_TEST

START_TEST(fault_then_page_fault)
{
    /* #GP whose handler stack is missing: the page fault is delivered alone, by another stack. */
    machine_start(&machine, MACHINE_LONG);
    machine_put_uint(&machine, MACHINE_PML4 + 0x2000 + 5 * 8, 0, 8);
    tlb_flush_all(&v->tlb);
    machine_put_uint(&machine, MACHINE_TSS + 0x24, 0x50000, 8);
    machine_gate(&machine, true, VEC_PF, SEL_CODE64, HANDLER, SYS_INT_GATE, 0, 1);
    v->gpr[RSP] = 0xb00000;
    expect_ok(deliver_exception(VEC_GP));
    expect_at(SEL_CODE64, HANDLER);
    ck_assert_uint_eq(v->cr2, 0xaffff8);
}
END_TEST

START_TEST(triple_fault_shuts_down)
{
    machine_start(&machine, MACHINE_LONG);
    v->idtr.limit = 0;
    ck_assert(!deliver_exception(VEC_UD));
    ck_assert_int_eq(v->activity, ACTIVITY_SHUTDOWN);
    machine_start(&machine, MACHINE_REAL);
    v->idtr.limit = 0;
    ck_assert(!deliver_exception(VEC_GP));
    ck_assert_int_eq(v->activity, ACTIVITY_SHUTDOWN);
}
END_TEST

START_TEST(exception_serial_is_bounded)
{
    /* #AC at CPL 3 whose handler runs at CPL 3 on a misaligned stack. */
    machine_start(&machine, MACHINE_USER32);
    machine_gate(&machine, false, VEC_AC, SEL_USER_CODE32, HANDLER, SYS_INT_GATE, 0, 0);
    v->cr0 |= CR0_AM;
    v->rflags |= F_AC;
    v->gpr[RSP]--;
    vcpu_update_mode(v);
    expect_fault(deliver(VEC_AC, EVENT_EXCEPTION), VEC_AC, 0);
    ck_assert(!deliver_exception(VEC_AC));
    ck_assert_int_eq(v->activity, ACTIVITY_SHUTDOWN);
}
END_TEST

START_TEST(debug_exceptions)
{
    machine_start(&machine, MACHINE_LONG);
    v->dr7 |= DR7_GD;
    v->dr6 = DR6_FIXED | 2;
    raise_db(v, DR6_BD);
    expect_ok(exception_deliver(v));
    ck_assert_uint_eq(v->dr6, DR6_FIXED | 2 | DR6_BD);
    ck_assert_uint_eq(v->dr7 & DR7_GD, 0);
    ck_assert_uint_eq(machine_stack(&machine, 2, 8), F_1 | F_RF);
    /* An instruction breakpoint does not set RF by itself. */
    machine_start(&machine, MACHINE_LONG);
    raise_db(v, 1);
    expect_ok(exception_deliver(v));
    ck_assert_uint_eq(machine_stack(&machine, 2, 8), F_1);
}
END_TEST

/* -- instructions -- */

START_TEST(software_interrupts)
{
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(3, 0xcc);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), MACHINE_CODE + 1);
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(1, 0xf1);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), MACHINE_CODE + 1);
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(0x80, 0xcd, 0x80);
    machine_start(&machine, MACHINE_PROT32);
    EXPECT_CODE(NO_VECTOR, 0xce);
    machine_start(&machine, MACHINE_PROT32);
    v->rflags |= F_OF;
    EXPECT_CODE(4, 0xce);
    /* A gate of DPL 0 seen from CPL 3: INT3 is refused, INT1 is not. */
    machine_start(&machine, MACHINE_USER64);
    machine_gate(&machine, true, 3, SEL_CODE64, machine_stub(3), SYS_INT_GATE, 0, 0);
    EXPECT_CODE(VEC_GP, 0xcc);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), 3 * 8 + 2);
    ck_assert_uint_eq(machine_stack(&machine, 1, 8), MACHINE_CODE);
    machine_start(&machine, MACHINE_USER64);
    machine_gate(&machine, true, 1, SEL_CODE64, machine_stub(1), SYS_INT_GATE, 0, 0);
    EXPECT_CODE(1, 0xf1);
    machine_start(&machine, MACHINE_USER64);
    EXPECT_CODE(VEC_GP, 0xf4);
}
END_TEST

START_TEST(sti_shadow)
{
    machine_start(&machine, MACHINE_LONG);
    machine_interrupt(&machine, 0x40);
    EXPECT_CODE(0x40, 0xfb, 0x90, 0x90);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), MACHINE_CODE + 2);
    /* None when IF was set. */
    machine_start(&machine, MACHINE_LONG);
    v->rflags |= F_IF;
    expect_ok(op_STI(v, NULL));
    ck_assert_uint_eq(v->shadow, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu/interrupt");
    TCase *t = tcase_create("interrupt");

    tcase_add_checked_fixture(t, system_setup, system_teardown);
    tcase_add_test(t, real_mode_frame);
    tcase_add_test(t, real_mode_limits);
    tcase_add_test(t, same_ring_frame);
    tcase_add_test(t, gate_of_16_bits);
    tcase_add_test(t, inner_ring_frame);
    tcase_add_test(t, conforming_handler_keeps_ring);
    tcase_add_loop_test(t, failing_checks, 0, ARRAY_SIZE(defects));
    tcase_add_test(t, same_ring_stack_limit);
    tcase_add_test(t, v86_frame);
    tcase_add_test(t, v86_int_n_needs_iopl);
    tcase_add_test(t, vme_redirects);
    tcase_add_test(t, virtual_interrupt_flag);
    tcase_add_test(t, long_mode_frame);
    tcase_add_test(t, long_mode_from_user);
    tcase_add_test(t, interrupt_stack_table);
    tcase_add_test(t, long_mode_checks);
    tcase_add_test(t, page_fault_leaves_memory_alone);
    tcase_add_test(t, double_faults);
    tcase_add_test(t, fault_then_page_fault);
    tcase_add_test(t, triple_fault_shuts_down);
    tcase_add_test(t, exception_serial_is_bounded);
    tcase_add_test(t, debug_exceptions);
    tcase_add_test(t, software_interrupts);
    tcase_add_test(t, sti_shadow);
    suite_add_tcase(s, t);
    return suite_run(s);
}
