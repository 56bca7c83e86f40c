/* SPDX-License-Identifier: MIT
 *
 * Far calls, jumps and returns, call gates, IRET in every mode, SYSCALL and SYSENTER families.
 */
#include "tests/cpu/host_probe.h"
#include "tests/cpu/system.h"
#include "tests/suite.h"

enum { TARGET = 0x31234 };

static void expect_at(u16 cs, u64 rip)
{
    ck_assert_uint_eq(v->seg[SEG_CS].selector, cs);
    ck_assert_uint_eq(v->next_rip, rip);
}

/* -- real mode -- */

START_TEST(real_mode)
{
    machine_start(&machine, MACHINE_REAL);
    v->next_rip = 0x1234;
    expect_ok(far_call(v, 0x4321, 0x5678, 2));
    expect_at(0x4321, 0x5678);
    EXPECT_WORDS(0x10000 + 0xffec, 2, 0x1234, 0x1000);
    expect_ok(far_return(v, 2, 6));
    expect_at(0x1000, 0x1234);
    ck_assert_uint_eq(v->gpr[RSP], 0xfff6);
    expect_fault(far_jump(v, 0x4321, 0x10000, 4), VEC_GP, 0);
    expect_ok(far_jump(v, 0x4321, 0x10005, 2));
    expect_at(0x4321, 5);
    PUT_WORDS(0x10000 + 0xfff6, 2, 0x1111, 0x2222, 0xffff);
    v->rflags = F_1;
    v->nmi_blocked = true;
    expect_ok(interrupt_return(v, 2));
    expect_at(0x2222, 0x1111);
    ck_assert_uint_eq(v->rflags, 0x7fd7);
    ck_assert(!v->nmi_blocked);
    v->gpr[RSP] = 0xffff;
    expect_fault(far_return(v, 2, 0), VEC_SS, 0);
}
END_TEST

/* -- code segments -- */

struct code_case {
    u32 attr;
    u16 rpl;
    unsigned cpl;
    int vector, error;
};

static const struct code_case code_cases[] = {
    {CODE_RX, 0, 0, NO_VECTOR, 0},
    {CODE_RX, 1, 0, VEC_GP, SEL_A},
    {CODE_RX | DPL3, 0, 0, VEC_GP, SEL_A},
    {CODE_RX, 3, 3, VEC_GP, SEL_A},
    {CODE_RX | DPL3, 0, 3, NO_VECTOR, 0},
    {CODE_RX | ATTR_EXPAND_DOWN, 3, 3, NO_VECTOR, 0},
    {CODE_RX | ATTR_EXPAND_DOWN | DPL3, 0, 0, VEC_GP, SEL_A},
    {CODE_RX & ~ATTR_P, 0, 0, VEC_NP, SEL_A},
    {DATA_RW, 0, 0, VEC_GP, SEL_A},
    {ATTR_P | SYS_LDT, 0, 0, VEC_GP, SEL_A},
    {ATTR_P | SYS_INT_GATE, 0, 0, VEC_GP, SEL_A},
    {CODE_RX & ~ATTR_G, 0, 0, VEC_GP, 0}, /* beyond the limit */
};

START_TEST(code_segments)
{
    const struct code_case *c = &code_cases[_i];

    for (int call = 0; call < 2; call++) {
        machine_start(&machine, c->cpl ? MACHINE_USER32 : MACHINE_PROT32);
        machine_descriptor(&machine, SEL_A, 0, c->attr & ATTR_G ? 0xfffff : TARGET - 1,
                           c->attr & ~ATTR_ACCESSED);
        v->next_rip = 0x11223344;
        bool done =
            call ? far_call(v, SEL_A | c->rpl, TARGET, 4) : far_jump(v, SEL_A | c->rpl, TARGET, 4);

        if (c->vector != NO_VECTOR) {
            expect_fault(done, c->vector, c->error);
            ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
            ck_assert_uint_eq(machine_get(&machine, MACHINE_GDT + SEL_A + 5, 1),
                              c->attr & 0xff & ~ATTR_ACCESSED);
            continue;
        }
        expect_ok(done);
        expect_at((u16)(SEL_A | c->cpl), TARGET);
        ck_assert_uint_eq(v->cpl, c->cpl);
        ck_assert_uint_eq(machine_get(&machine, MACHINE_GDT + SEL_A + 5, 1), c->attr & 0xff);
        ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK - (call ? 8 : 0));
        if (call)
            EXPECT_WORDS(MACHINE_STACK - 8, 4, 0x11223344, c->cpl ? SEL_USER_CODE32 : SEL_CODE32);
    }
}
END_TEST

START_TEST(selector_errors)
{
    machine_start(&machine, MACHINE_PROT32);
    expect_fault(far_jump(v, 3, 0, 4), VEC_GP, 0);
    expect_fault(far_jump(v, 0x1008, 0, 4), VEC_GP, 0x1008);
    expect_fault(far_call(v, 0x1c, 0, 4), VEC_GP, 0x1c);
    v->seg[SEG_SS].limit = 3;
    v->gpr[RSP] = 4;
    expect_fault(far_call(v, SEL_CODE32, 0, 4), VEC_SS, 0);
}
END_TEST

START_TEST(long_mode_code)
{
    machine_start(&machine, MACHINE_COMPAT);
    machine_descriptor(&machine, SEL_A, 0, 0xfffff, CODE_L | ATTR_DB);
    expect_fault(far_jump(v, SEL_A, 0, 4), VEC_GP, SEL_A);
    v->next_rip = 0x1234;
    expect_ok(far_call(v, SEL_CODE64, TARGET, 4));
    expect_at(SEL_CODE64, TARGET);
    ck_assert_uint_eq(v->code_size, 8);
    EXPECT_WORDS(MACHINE_STACK - 8, 4, 0x1234, SEL_CODE32);
    expect_fault(far_jump(v, SEL_CODE64, 0x800000000000, 8), VEC_GP, 0);
    expect_ok(far_return(v, 4, 0));
    expect_at(SEL_CODE32, 0x1234);
    ck_assert_uint_eq(v->code_size, 4);
    expect_fault(far_jump(v, SEL_TSS, 0, 4), VEC_GP, SEL_TSS);
    put_call_gate(SEL_A, SEL_CODE64, TARGET, ATTR_P | SYS_CALL_GATE16, 0);
    expect_fault(far_jump(v, SEL_A, 0, 4), VEC_GP, SEL_A);
}
END_TEST

/* -- call gates -- */

START_TEST(gate_same_ring)
{
    machine_start(&machine, MACHINE_PROT32);
    put_call_gate(SEL_A, SEL_CODE32, 0x12345678, ATTR_P | SYS_CALL_GATE, 5);
    v->next_rip = 0x11223344;
    expect_ok(far_call(v, SEL_A, 0xdead, 4));
    expect_at(SEL_CODE32, 0x12345678);
    EXPECT_WORDS(MACHINE_STACK - 8, 4, 0x11223344, SEL_CODE32);
    /* A 16-bit gate pushes words, whatever the operand size. */
    machine_start(&machine, MACHINE_PROT32);
    put_call_gate(SEL_A, SEL_CODE32, 0x12345678, ATTR_P | SYS_CALL_GATE16, 0);
    v->next_rip = 0x11223344;
    expect_ok(far_call(v, SEL_A, 0, 4));
    expect_at(SEL_CODE32, 0x5678);
    EXPECT_WORDS(MACHINE_STACK - 4, 2, 0x3344, SEL_CODE32);
    expect_ok(far_jump(v, SEL_A, 0, 4));
}
END_TEST

START_TEST(gate_inner_ring)
{
    machine_start(&machine, MACHINE_USER32);
    put_call_gate(SEL_A, SEL_CODE32, TARGET, ATTR_P | DPL3 | SYS_CALL_GATE, 3);
    PUT_WORDS(MACHINE_STACK, 4, 0xa1, 0xa2, 0xa3);
    v->next_rip = 0x11223344;
    expect_ok(far_call(v, SEL_A | 3, 0, 4));
    expect_at(SEL_CODE32, TARGET);
    ck_assert_uint_eq(v->cpl, 0);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK0 - 28);
    EXPECT_WORDS(MACHINE_STACK0 - 28, 4, 0x11223344, SEL_USER_CODE32, 0xa1, 0xa2, 0xa3,
                 MACHINE_STACK, SEL_USER_DATA);
    /* And back, releasing the parameters on both stacks. */
    expect_ok(far_return(v, 4, 12));
    expect_at(SEL_USER_CODE32, 0x11223344);
    ck_assert_uint_eq(v->cpl, 3);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK + 12);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_USER_DATA);
    /* A jump cannot change the ring. */
    expect_fault(far_jump(v, SEL_A | 3, 0, 4), VEC_GP, SEL_CODE32);
}
END_TEST

START_TEST(gate_inner_ring_16)
{
    machine_start(&machine, MACHINE_USER32);
    machine_put_uint(&machine, MACHINE_TSS + 2, 0x8000, 2);
    machine_put_uint(&machine, MACHINE_TSS + 4, SEL_DATA16, 2);
    v->tr.attr = ATTR_P | SYS_TSS16_BUSY;
    put_call_gate(SEL_A, SEL_CODE32, TARGET, ATTR_P | DPL3 | SYS_CALL_GATE16, 2);
    PUT_WORDS(MACHINE_STACK, 2, 0xa1, 0xa2);
    v->next_rip = 0x3344;
    expect_ok(far_call(v, SEL_A | 3, 0, 4));
    EXPECT_WORDS(0x8000 - 12, 2, 0x3344, SEL_USER_CODE32, 0xa1, 0xa2, 0, SEL_USER_DATA);
    ck_assert_uint_eq(v->gpr[RSP], 0x8000 - 12);
}
END_TEST

START_TEST(gate_long_mode)
{
    machine_start(&machine, MACHINE_USER64);
    put_call_gate(SEL_A, SEL_CODE64, 0x1234567890, ATTR_P | DPL3 | SYS_CALL_GATE, 9);
    v->next_rip = 0x1122334455;
    expect_ok(far_call(v, SEL_A | 3, 0, 4));
    expect_at(SEL_CODE64, 0x1234567890);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, 0);
    EXPECT_WORDS(MACHINE_STACK0 - 32, 8, 0x1122334455, SEL_USER_CODE64, MACHINE_STACK,
                 SEL_USER_DATA);
    expect_ok(far_return(v, 8, 0));
    expect_at(SEL_USER_CODE64, 0x1122334455);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);

    put_call_gate(SEL_A, SEL_CODE32, 0, ATTR_P | DPL3 | SYS_CALL_GATE, 0);
    expect_fault(far_call(v, SEL_A | 3, 0, 4), VEC_GP, SEL_CODE32);
    put_call_gate(SEL_A, SEL_CODE64, 0x800000000000, ATTR_P | DPL3 | SYS_CALL_GATE, 0);
    expect_fault(far_call(v, SEL_A | 3, 0, 4), VEC_GP, 0);
    machine_put_uint(&machine, MACHINE_GDT + SEL_A + 8, BIT(42), 8);
    expect_fault(far_call(v, SEL_A | 3, 0, 4), VEC_GP, SEL_A);
}
END_TEST

static const struct {
    u32 attr;
    u16 rpl, target;
    u32 target_attr;
    int vector, error;
} gate_cases[] = {
    {ATTR_P | DPL2 | SYS_CALL_GATE, 0, SEL_B, CODE_RX, VEC_GP, SEL_A}, /* gate DPL < CPL */
    {DPL3 | SYS_CALL_GATE, 3, SEL_B, CODE_RX, VEC_NP, SEL_A},
    {ATTR_P | DPL3 | SYS_CALL_GATE, 3, 3, CODE_RX, VEC_GP, 0},
    {ATTR_P | DPL3 | SYS_CALL_GATE, 3, 0x1008, CODE_RX, VEC_GP, 0x1008},
    {ATTR_P | DPL3 | SYS_CALL_GATE, 3, SEL_B, DATA_RW, VEC_GP, SEL_B},
    {ATTR_P | DPL3 | SYS_CALL_GATE, 3, SEL_B, CODE_RX & ~ATTR_P, VEC_NP, SEL_B},
    {ATTR_P | DPL3 | SYS_CALL_GATE, 3, SEL_B, CODE_RX & ~ATTR_G, VEC_GP, 0},
};

START_TEST(gate_checks)
{
    machine_start(&machine, MACHINE_USER32);
    machine_descriptor(&machine, SEL_B, 0, gate_cases[_i].target_attr & ATTR_G ? 0xfffff : 0xfff,
                       gate_cases[_i].target_attr);
    put_call_gate(SEL_A, gate_cases[_i].target, TARGET, gate_cases[_i].attr, 0);
    expect_fault(far_call(v, SEL_A | gate_cases[_i].rpl, 0, 4), gate_cases[_i].vector,
                 gate_cases[_i].error);
}
END_TEST

START_TEST(gate_stack_checks)
{
    machine_start(&machine, MACHINE_USER32);
    put_call_gate(SEL_A, SEL_CODE32, TARGET, ATTR_P | DPL3 | SYS_CALL_GATE, 0);
    v->tr.limit = 8;
    expect_fault(far_call(v, SEL_A, 0, 4), VEC_TS, SEL_TSS);
    v->tr.limit = 9;
    machine_put_uint(&machine, MACHINE_TSS + 8, SEL_USER_DATA, 2);
    expect_fault(far_call(v, SEL_A, 0, 4), VEC_TS, SEL_USER_DATA & ~3);
    machine_descriptor(&machine, SEL_B, 0, MACHINE_STACK0 - 2, DATA_RW & ~ATTR_G);
    machine_put_uint(&machine, MACHINE_TSS + 8, SEL_B, 2);
    expect_fault(far_call(v, SEL_A, 0, 4), VEC_SS, SEL_B);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
}
END_TEST

/* -- returns -- */

enum return_defect {
    R_NONE,
    R_CS_NULL,
    R_CS_BEYOND,
    R_CS_RPL,
    R_CS_DPL,
    R_CS_DATA,
    R_CS_ABSENT,
    R_CS_LIMIT,
    R_SS_NULL,
    R_SS_BEYOND,
    R_SS_RPL,
    R_SS_DPL,
    R_SS_READONLY,
    R_SS_ABSENT,
};

static const struct {
    enum return_defect defect;
    int vector, error;
} return_cases[] = {
    {R_CS_NULL, VEC_GP, 0},       {R_CS_BEYOND, VEC_GP, 0x1008}, {R_CS_RPL, VEC_GP, SEL_A},
    {R_CS_DPL, VEC_GP, SEL_A},    {R_CS_DATA, VEC_GP, SEL_A},    {R_CS_ABSENT, VEC_NP, SEL_A},
    {R_CS_LIMIT, VEC_GP, 0},      {R_SS_NULL, VEC_GP, 0},        {R_SS_BEYOND, VEC_GP, 0x1008},
    {R_SS_RPL, VEC_GP, SEL_B},    {R_SS_DPL, VEC_GP, SEL_B},     {R_SS_READONLY, VEC_GP, SEL_B},
    {R_SS_ABSENT, VEC_SS, SEL_B}, {R_NONE, NO_VECTOR, 0},
};

/* Ring 1 to ring 3; CS and SS as words for the stack. */
static void put_return(enum return_defect d, u64 *cs, u64 *ss)
{
    u32 code = CODE_RX | DPL3, data = DATA_RW | DPL3;

    machine_start(&machine, MACHINE_PROT32);
    v->seg[SEG_SS].attr |= DPL1;
    set_user(1);
    if (d == R_CS_DATA)
        code = DATA_RW | DPL3;
    if (d == R_CS_ABSENT)
        code &= ~(u32)ATTR_P;
    if (d == R_CS_DPL)
        code = CODE_RX | DPL2;
    if (d == R_SS_DPL)
        data = DATA_RW | DPL2;
    if (d == R_SS_READONLY)
        data &= ~(u32)ATTR_WRITE;
    if (d == R_SS_ABSENT)
        data &= ~(u32)ATTR_P;
    if (d == R_CS_LIMIT)
        code &= ~(u32)ATTR_G;
    machine_descriptor(&machine, SEL_A, 0, d == R_CS_LIMIT ? TARGET - 1 : 0xfffff, code);
    machine_descriptor(&machine, SEL_B, 0, 0xfffff, data);
    *cs = d == R_CS_NULL ? 3 : d == R_CS_BEYOND ? 0x100b : d == R_CS_RPL ? SEL_A : SEL_A | 3;
    *ss = d == R_SS_NULL ? 3 : d == R_SS_BEYOND ? 0x100b : d == R_SS_RPL ? SEL_B | 2 : SEL_B | 3;
}

START_TEST(return_checks)
{
    u64 cs, ss;

    for (int iret = 0; iret < 2; iret++) {
        bool done;

        put_return(return_cases[_i].defect, &cs, &ss);
        if (iret)
            PUT_WORDS(MACHINE_STACK, 4, TARGET, cs, F_1 | F_IF, 0x50000, ss);
        else
            PUT_WORDS(MACHINE_STACK, 4, TARGET, cs, 0x50000, ss);
        done = iret ? interrupt_return(v, 4) : far_return(v, 4, 0);
        if (return_cases[_i].vector != NO_VECTOR) {
            expect_fault(done, return_cases[_i].vector, return_cases[_i].error);
            ck_assert_uint_eq(v->cpl, 1);
            ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
            continue;
        }
        expect_ok(done);
        expect_at(SEL_A | 3, TARGET);
        ck_assert_uint_eq(v->cpl, 3);
        ck_assert_uint_eq(v->gpr[RSP], 0x50000);
        ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_B | 3);
        /* DS belonged to ring 0. */
        ck_assert(v->seg[SEG_DS].attr & ATTR_NULL);
        ck_assert_uint_eq(v->seg[SEG_DS].selector, 0);
        ck_assert_uint_eq(v->rflags & F_IF, 0); /* IOPL 0, CPL 1: IF is not IRET's */
    }
}
END_TEST

START_TEST(return_to_16bit_stack_keeps_upper_esp)
{
    machine_start(&machine, MACHINE_PROT32);
    machine_descriptor(&machine, SEL_B, 0, 0xffff, (DATA_RW | DPL3) & ~(ATTR_DB | ATTR_G));
    v->gpr[RSP] = 0x70000;
    PUT_WORDS(0x70000, 4, TARGET, SEL_USER_CODE32, F_1, 0x12345678, SEL_B | 3);
    expect_ok(interrupt_return(v, 4));
    ck_assert_uint_eq(v->gpr[RSP], 0x75678);
    ck_assert_uint_eq(v->stack_size, 2);
}
END_TEST

START_TEST(iret_flags)
{
    static const struct {
        unsigned cpl, iopl, osz;
        u64 old, want;
    } cases[] = {
        {0, 0, 4, F_1, F_ALL & ~F_VM},
        {3, 0, 4, F_1, F_ALL & ~(F_VM | F_IF | F_IOPL | F_VIF | F_VIP)},
        {3, 3, 4, F_1 | F_IOPL, F_ALL & ~(F_VM | F_VIF | F_VIP)},
        {0, 0, 2, F_1, 0x7fd7},
        {3, 0, 2, F_1 | F_ID | F_AC, (0x7fd7 & ~(F_IF | F_IOPL)) | F_ID | F_AC},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        u16 cs = cases[n].cpl ? SEL_USER_CODE32 : SEL_CODE32;

        machine_start(&machine, cases[n].cpl ? MACHINE_USER32 : MACHINE_PROT32);
        v->rflags = cases[n].old;
        if (cases[n].osz == 4)
            PUT_WORDS(MACHINE_STACK, 4, TARGET, cs, 0xffffffff & ~F_VM);
        else
            PUT_WORDS(MACHINE_STACK, 2, 0x1234, cs, 0xffff);
        expect_ok(interrupt_return(v, cases[n].osz));
        ck_assert_msg(v->rflags == (cases[n].want | F_1), "case %u: %lx", n, v->rflags);
    }
}
END_TEST

START_TEST(iret_to_v86_and_in_it)
{
    machine_start(&machine, MACHINE_PROT32);
    PUT_WORDS(MACHINE_STACK, 4, 0x1234, 0x5678, F_1 | F_VM | F_IF | F_IOPL, 0x100, 0x2000, 0xe5,
              0xd5, 0xf5, 0x95);
    expect_ok(interrupt_return(v, 4));
    expect_at(0x5678, 0x1234);
    ck_assert(vcpu_v86(v));
    ck_assert_uint_eq(v->cpl, 3);
    ck_assert_uint_eq(v->seg[SEG_CS].base, 0x56780);
    ck_assert_uint_eq(v->seg[SEG_ES].selector, 0xe5);
    ck_assert_uint_eq(v->seg[SEG_DS].selector, 0xd5);
    ck_assert_uint_eq(v->seg[SEG_GS].limit, 0xffff);
    ck_assert_uint_eq(v->gpr[RSP], 0x100);
    ck_assert_uint_eq(v->code_size, 2);

    PUT_WORDS(0x20100, 2, 0x1111, 0x2222, 0);
    expect_ok(interrupt_return(v, 2)); /* IOPL 3: IF changes, IOPL does not */
    expect_at(0x2222, 0x1111);
    ck_assert_uint_eq(v->rflags, F_1 | F_VM | F_IOPL);

    v->rflags &= ~(u64)F_IOPL;
    v->gpr[RSP] = 0x100;
    expect_fault(interrupt_return(v, 2), VEC_GP, 0);
    v->cr4 |= CR4_VME;
    expect_fault(interrupt_return(v, 4), VEC_GP, 0);
    PUT_WORDS(0x20100, 2, 0x1111, 0x2222, F_IF);
    v->rflags |= F_VIP;
    expect_fault(interrupt_return(v, 2), VEC_GP, 0);
    v->rflags &= ~(u64)F_VIP;
    expect_ok(interrupt_return(v, 2));
    ck_assert_uint_eq(v->rflags, F_1 | F_VM | F_VIF);
    v->gpr[RSP] = 0x100;
    PUT_WORDS(0x20100, 2, 0x1111, 0x2222, F_TF);
    expect_fault(interrupt_return(v, 2), VEC_GP, 0);
}
END_TEST

START_TEST(iret_long_mode)
{
    machine_start(&machine, MACHINE_LONG);
    v->nmi_blocked = true;
    v->rflags |= F_NT;
    expect_fault(interrupt_return(v, 8), VEC_GP, 0);
    ck_assert(!v->nmi_blocked); /* even a faulting IRET unblocks NMIs */
    v->rflags &= ~(u64)F_NT;
    /* RSP and SS are popped even to the same ring; SS may be null there. */
    PUT_WORDS(MACHINE_STACK, 8, 0x1234567890, SEL_CODE64, F_1 | F_IF, 0x50008, 0);
    expect_ok(interrupt_return(v, 8));
    expect_at(SEL_CODE64, 0x1234567890);
    ck_assert_uint_eq(v->gpr[RSP], 0x50008);
    ck_assert(v->seg[SEG_SS].attr & ATTR_NULL);

    v->gpr[RSP] = MACHINE_STACK;
    PUT_WORDS(MACHINE_STACK, 8, 0x800000000000, SEL_CODE64, F_1, 0x50008, 0);
    expect_fault(interrupt_return(v, 8), VEC_GP, 0);
    PUT_WORDS(MACHINE_STACK, 8, TARGET, SEL_CODE64, F_1, 0x50008, 1); /* RPL of a null SS */
    expect_fault(interrupt_return(v, 8), VEC_GP, 0);
    PUT_WORDS(MACHINE_STACK, 8, TARGET, SEL_USER_CODE64, F_1, 0x50008, 3);
    expect_fault(interrupt_return(v, 8), VEC_GP, 0);
    PUT_WORDS(MACHINE_STACK, 8, TARGET, SEL_CODE32, F_1, 0x50008, 0); /* null SS, 32-bit code */
    expect_fault(interrupt_return(v, 8), VEC_GP, 0);
    PUT_WORDS(MACHINE_STACK, 8, TARGET, SEL_USER_CODE32, F_1 | F_RF, 0x123450008, SEL_USER_DATA);
    expect_ok(interrupt_return(v, 8));
    ck_assert_uint_eq(v->gpr[RSP], 0x23450008);
    ck_assert_uint_eq(v->code_size, 4);
    ck_assert(v->rflags & F_RF);
    ck_assert(v->careful);
    /* 32-bit code, same ring: three values only. */
    machine_start(&machine, MACHINE_COMPAT);
    PUT_WORDS(MACHINE_STACK, 4, TARGET, SEL_CODE64, F_1);
    expect_ok(interrupt_return(v, 4));
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK + 12);
    ck_assert_uint_eq(v->code_size, 8);
    /* 64-bit mode with 16-bit operands. */
    PUT_WORDS(MACHINE_STACK + 12, 2, 0x1234, SEL_CODE64, F_1, 0x4000, SEL_DATA);
    expect_ok(interrupt_return(v, 2));
    expect_at(SEL_CODE64, 0x1234);
    ck_assert_uint_eq(v->gpr[RSP], 0x4000);
}
END_TEST

START_TEST(bases_survive_a_return_with_null_selectors)
{
    machine_start(&machine, MACHINE_LONG);
    v->seg[SEG_FS] = segment_null(0, 0);
    v->seg[SEG_FS].base = 0x123456789;
    PUT_WORDS(MACHINE_STACK, 8, TARGET, SEL_USER_CODE64, F_1, 0x50008, SEL_USER_DATA);
    expect_ok(interrupt_return(v, 8));
    ck_assert_uint_eq(v->seg[SEG_FS].base, 0x123456789);
    ck_assert(v->seg[SEG_DS].attr & ATTR_NULL);
}
END_TEST

/* -- instructions -- */

START_TEST(far_instructions)
{
    machine_start(&machine, MACHINE_PROT32);
    machine_put(&machine, 0x12000, "\xcb", 1); /* call; retf */
    EXPECT_CODE(NO_VECTOR, 0x9a, 0x00, 0x20, 0x01, 0x00, SEL_CODE32, 0);
    ck_assert_uint_eq(v->rip, MACHINE_CODE + 8);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
    machine_start(&machine, MACHINE_LONG);
    machine_put(&machine, 0x12000, "\xf4", 1);
    PUT_WORDS(MACHINE_DATA, 4, 0x12000, SEL_CODE64, 0);
    v->gpr[RAX] = MACHINE_DATA;
    EXPECT_CODE(NO_VECTOR, 0x48, 0xff, 0x28); /* AMD: REX.W is ignored, 16:32 */
    ck_assert_uint_eq(v->rip, 0x12001);
}
END_TEST

START_TEST(syscall_pair)
{
    machine_start(&machine, MACHINE_USER64);
    v->star = (u64)0x33 << 48 | (u64)SEL_CODE64 << 32;
    v->lstar = MACHINE_STUBS;
    v->fmask = F_IF | F_TF;
    v->rflags |= F_IF | F_CF;
    EXPECT_CODE(0, 0x0f, 0x05);
    ck_assert_uint_eq(v->gpr[RCX], MACHINE_CODE + 2);
    ck_assert_uint_eq(v->gpr[R11], F_1 | F_IF | F_CF);
    ck_assert_uint_eq(v->rflags, F_1 | F_CF);
    ck_assert_uint_eq(v->cpl, 0);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, SEL_DATA);
    v->activity = ACTIVITY_RUN;
    v->gpr[RSP] = MACHINE_STACK;
    v->rip = MACHINE_CODE;
    v->gpr[RCX] = MACHINE_CODE + 0x10;
    machine_put(&machine, MACHINE_CODE + 0x10, "\xcd\x80", 2);
    EXPECT_CODE(0x80, 0x48, 0x0f, 0x07); /* sysret to int 80h */
    EXPECT_WORDS(MACHINE_STACK0 - 40, 8, MACHINE_CODE + 0x12, SEL_USER_CODE64, F_1 | F_IF | F_CF,
                 MACHINE_STACK, SEL_USER_DATA);
}
END_TEST

/* SDM 2, APM 3 "SYSCALL": the RPL of STAR is cleared in CS only. */
START_TEST(syscall_selectors)
{
    machine_start(&machine, MACHINE_USER64);
    v->star = (u64)(SEL_CODE64 | 3) << 32;
    v->lstar = MACHINE_STUBS;
    EXPECT_CODE(0, 0x0f, 0x05);
    ck_assert_uint_eq(v->seg[SEG_CS].selector, SEL_CODE64);
    ck_assert_uint_eq(v->seg[SEG_SS].selector, (SEL_CODE64 + 8) | 3);
}
END_TEST

/* APM 3 "SYSRET": SS gets a selector only; a null one from an interrupt stays unusable in
 * compatibility mode. SDM 2 "SYSRET": SS is flat, its RPL 3. */
START_TEST(sysret_stack_segment)
{
    for (unsigned intel = 0; intel < 2; intel++) {
        if (intel)
            memcpy(machine.model.vendor, "GenuineIntel", 13);
        machine_start(&machine, MACHINE_LONG);
        v->star = (u64)0x30 << 48;
        v->seg[SEG_SS] = segment_null(0, 0);
        v->gpr[RCX] = MACHINE_CODE + 0x10;
        v->gpr[RSP] = MACHINE_STACK;
        machine_put(&machine, MACHINE_CODE + 0x10, "\x50\xcd\x80", 3);
        EXPECT_CODE(intel ? 0x80 : VEC_SS, 0x0f, 0x07);
        /* Above the return address (#SS has an error code below it): CS, flags, ESP, SS. */
        ck_assert_uint_eq(machine_stack(&machine, intel ? 1 : 2, 8), SEL_USER_CODE32);
        ck_assert_uint_eq(machine_stack(&machine, intel ? 4 : 5, 8), intel ? 0x3b : 0x38);
    }
}
END_TEST

/* SDM 2 "SYSRET": RFLAGS := (R11 & 3C7FD7H) | 2. */
START_TEST(sysret_flags)
{
    machine_start(&machine, MACHINE_LONG);
    v->star = (u64)0x33 << 48;
    v->gpr[RCX] = MACHINE_CODE + 0x10;
    v->gpr[R11] = ~(u64)(F_TF | F_AC);
    v->gpr[RSP] = MACHINE_STACK;
    machine_put(&machine, MACHINE_CODE + 0x10, "\xcd\x80", 2);
    EXPECT_CODE(0x80, 0x48, 0x0f, 0x07);
    ck_assert_uint_eq(machine_stack(&machine, 2, 8), 0x3c7fd7u & ~(unsigned)(F_TF | F_AC));
}
END_TEST

START_TEST(sysret_checks)
{
    machine_start(&machine, MACHINE_USER64);
    EXPECT_CODE(VEC_GP, 0x48, 0x0f, 0x07);
    machine_start(&machine, MACHINE_LONG);
    v->efer &= ~(u64)EFER_SCE;
    EXPECT_CODE(VEC_UD, 0x48, 0x0f, 0x07);
    /* A return address that is not canonical: Intel faults before the return, AMD after it. */
    machine_start(&machine, MACHINE_LONG);
    v->star = (u64)0x33 << 48;
    v->gpr[RCX] = 0x800000000000;
    EXPECT_CODE(VEC_GP, 0x48, 0x0f, 0x07);
    ck_assert_uint_eq(machine_stack(&machine, 2, 8), SEL_USER_CODE64);
    memcpy(machine.model.vendor, "GenuineIntel", 13);
    machine_start(&machine, MACHINE_LONG);
    v->star = (u64)0x33 << 48;
    v->gpr[RCX] = 0x800000000000;
    EXPECT_CODE(VEC_GP, 0x48, 0x0f, 0x07);
    ck_assert_uint_eq(machine_stack(&machine, 2, 8), SEL_CODE64);
    machine_start(&machine, MACHINE_COMPAT);
    EXPECT_CODE(VEC_UD, 0x0f, 0x05);
}
END_TEST

START_TEST(syscall_of_amd_outside_64bit_mode)
{
    machine_start(&machine, MACHINE_COMPAT);
    v->star = (u64)SEL_CODE64 << 32;
    v->cstar = MACHINE_STUBS + 16;
    EXPECT_CODE(1, 0x0f, 0x05);
    ck_assert_uint_eq(v->gpr[RCX], MACHINE_CODE + 2);
    machine_start(&machine, MACHINE_USER32);
    v->efer |= EFER_SCE;
    v->star = (u64)SEL_CODE32 << 32 | (MACHINE_STUBS + 32);
    v->rflags |= F_IF;
    EXPECT_CODE(2, 0x0f, 0x05);
    ck_assert_uint_eq(v->rflags, F_1);
    ck_assert_uint_eq(v->seg[SEG_CS].selector, SEL_CODE32);
}
END_TEST

START_TEST(sysenter_pair)
{
    machine_start(&machine, MACHINE_USER64);
    v->sysenter_cs = SEL_CODE64;
    EXPECT_CODE(VEC_UD, 0x0f, 0x34); /* AMD, long mode */
    machine_start(&machine, MACHINE_USER32);
    EXPECT_CODE(VEC_GP, 0x0f, 0x34); /* SYSENTER_CS is null */
    machine_start(&machine, MACHINE_USER32);
    v->sysenter_cs = 0x18 | 3;
    v->sysenter_eip = MACHINE_STUBS + 32;
    v->sysenter_esp = 0x50000;
    v->rflags |= F_IF;
    EXPECT_CODE(2, 0x0f, 0x34);
    ck_assert_uint_eq(v->seg[SEG_CS].selector, 0x18);
    ck_assert_uint_eq(v->gpr[RSP], 0x50000);
    ck_assert_uint_eq(v->rflags, F_1);

    memcpy(machine.model.vendor, "GenuineIntel", 13);
    machine_start(&machine, MACHINE_USER64);
    v->sysenter_cs = SEL_CODE64;
    v->sysenter_eip = MACHINE_STUBS + 16;
    v->sysenter_esp = 0x7000000000;
    EXPECT_CODE(1, 0x0f, 0x34);
    ck_assert_uint_eq(v->gpr[RSP], 0x7000000000);
    ck_assert_uint_eq(v->code_size, 8);
    machine_start(&machine, MACHINE_LONG);
    v->sysenter_cs = SEL_CODE64;
    v->gpr[RDX] = 0x800000000000;
    EXPECT_CODE(VEC_GP, 0x48, 0x0f, 0x35);
    machine_start(&machine, MACHINE_LONG);
    v->sysenter_cs = SEL_CODE64;
    v->gpr[RDX] = 0x12000;
    v->gpr[RCX] = 0x50000;
    machine_put(&machine, 0x12000, "\xcd\x80", 2);
    EXPECT_CODE(0x80, 0x0f, 0x35);
    EXPECT_WORDS(MACHINE_STACK0 - 40, 8, 0x12002, (SEL_CODE64 + 16) | 3, F_1, 0x50000,
                 (SEL_CODE64 + 24) | 3);
}
END_TEST

/* AMD: #UD in 64-bit and in compatibility mode, at every CPL, whatever SYSENTER_CS holds. */
START_TEST(sysenter_and_sysexit_of_amd_in_long_mode)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_COMPAT, MACHINE_USER64};

    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        for (unsigned cs = 0; cs <= SEL_CODE64; cs += SEL_CODE64) {
            machine_start(&machine, modes[n]);
            v->sysenter_cs = cs;
            EXPECT_CODE(VEC_UD, 0x0f, 0x34);
            machine_start(&machine, modes[n]);
            v->sysenter_cs = cs;
            /* Not in user mode: there the privilege is looked at first (family 19h). */
            EXPECT_CODE(modes[n] == MACHINE_USER64 ? VEC_GP : VEC_UD, 0x0f, 0x35);
        }
    }
    machine_start(&machine, MACHINE_USER64);
    v->seg[SEG_CS] =
        (struct segment){.selector = SEL_USER_CODE32, .limit = 0xffffffff, .attr = CODE_RX | DPL3};
    vcpu_set_cpl(v, 3);
    v->sysenter_cs = SEL_CODE64;
    EXPECT_CODE(VEC_UD, 0x0f, 0x34);
}
END_TEST

/* The same of the host's own processor, in 64-bit and 32-bit code of this kernel's long mode. */
START_TEST(sysenter_of_the_host)
{
    const u8 sysenter[] = {0x0f, 0x34};
    struct probe *p = probe_create();

    if (!p) {
        puts("sysenter_of_the_host: not asked, this environment allows no tracing");
        return;
    }
    __builtin_cpu_init();
    for (unsigned code_size = 8; code_size >= 4; code_size /= 2) {
        enum probe_result r = probe_run(p, code_size, sysenter, sizeof(sysenter));

        ck_assert_int_eq(r == PROBE_UD, __builtin_cpu_is("amd") != 0);
    }
    probe_destroy(p);
}
END_TEST

START_TEST(swapgs)
{
    machine_start(&machine, MACHINE_LONG);
    v->kernel_gs_base = 0x1111;
    v->seg[SEG_GS].base = 0x2222;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0xf8);
    ck_assert_uint_eq(v->seg[SEG_GS].base, 0x1111);
    ck_assert_uint_eq(v->kernel_gs_base, 0x2222);
    machine_start(&machine, MACHINE_USER64);
    EXPECT_CODE(VEC_GP, 0x0f, 0x01, 0xf8);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu/far");
    TCase *t = tcase_create("far");

    tcase_add_checked_fixture(t, system_setup, system_teardown);
    tcase_add_test(t, real_mode);
    tcase_add_loop_test(t, code_segments, 0, ARRAY_SIZE(code_cases));
    tcase_add_test(t, selector_errors);
    tcase_add_test(t, long_mode_code);
    tcase_add_test(t, gate_same_ring);
    tcase_add_test(t, gate_inner_ring);
    tcase_add_test(t, gate_inner_ring_16);
    tcase_add_test(t, gate_long_mode);
    tcase_add_loop_test(t, gate_checks, 0, ARRAY_SIZE(gate_cases));
    tcase_add_test(t, gate_stack_checks);
    tcase_add_loop_test(t, return_checks, 0, ARRAY_SIZE(return_cases));
    tcase_add_test(t, return_to_16bit_stack_keeps_upper_esp);
    tcase_add_test(t, iret_flags);
    tcase_add_test(t, iret_to_v86_and_in_it);
    tcase_add_test(t, iret_long_mode);
    tcase_add_test(t, bases_survive_a_return_with_null_selectors);
    tcase_add_test(t, far_instructions);
    tcase_add_test(t, syscall_pair);
    tcase_add_test(t, syscall_selectors);
    tcase_add_test(t, sysret_stack_segment);
    tcase_add_test(t, sysret_flags);
    tcase_add_test(t, sysret_checks);
    tcase_add_test(t, syscall_of_amd_outside_64bit_mode);
    tcase_add_test(t, sysenter_pair);
    tcase_add_test(t, sysenter_and_sysexit_of_amd_in_long_mode);
    tcase_add_test(t, sysenter_of_the_host);
    tcase_add_test(t, swapgs);
    suite_add_tcase(s, t);
    return suite_run(s);
}
