/* SPDX-License-Identifier: MIT
 *
 * Segment register loads with every check, and the instructions that look at descriptors.
 */
#include "tests/cpu/system.h"
#include "tests/suite.h"

struct load_case {
    enum seg seg;
    u16 rpl;
    unsigned cpl;
    u32 attr;
    int vector; /* NO_VECTOR: loads */
};

enum { NOT_PRESENT = DATA_RW & ~ATTR_P };

static const struct load_case load_cases[] = {
    {SEG_DS, 0, 0, DATA_RW, NO_VECTOR},
    {SEG_DS, 3, 0, DATA_RW, VEC_GP},
    {SEG_DS, 0, 3, DATA_RW, VEC_GP},
    {SEG_DS, 3, 3, DATA_RW | DPL3, NO_VECTOR},
    {SEG_DS, 0, 3, DATA_RW | DPL3, NO_VECTOR},
    {SEG_ES, 0, 0, CODE_RX, NO_VECTOR},
    {SEG_ES, 0, 0, CODE_RX & ~ATTR_WRITE, VEC_GP},
    {SEG_ES, 3, 3, CODE_RX | ATTR_EXPAND_DOWN, NO_VECTOR}, /* conforming: no privilege check */
    {SEG_ES, 3, 3, CODE_RX, VEC_GP},
    {SEG_FS, 0, 0, DATA_RW & ~ATTR_WRITE, NO_VECTOR},
    {SEG_FS, 0, 0, ATTR_P | SYS_LDT, VEC_GP},
    {SEG_GS, 0, 0, NOT_PRESENT, VEC_NP},
    {SEG_GS, 3, 0, NOT_PRESENT, VEC_GP}, /* the privilege check comes first */
    {SEG_SS, 0, 0, DATA_RW, NO_VECTOR},
    {SEG_SS, 1, 0, DATA_RW, VEC_GP},
    {SEG_SS, 0, 0, DATA_RW | DPL1, VEC_GP},
    {SEG_SS, 0, 0, DATA_RW & ~ATTR_WRITE, VEC_GP},
    {SEG_SS, 0, 0, CODE_RX, VEC_GP},
    {SEG_SS, 0, 0, NOT_PRESENT, VEC_SS},
    {SEG_SS, 3, 3, DATA_RW | DPL3, NO_VECTOR},
};

START_TEST(protected_load_checks)
{
    const struct load_case *c = &load_cases[_i];
    u16 selector = SEL_A | c->rpl;
    struct segment before;

    machine_start(&machine, c->cpl == 3 ? MACHINE_USER32 : MACHINE_PROT32);
    machine_descriptor(&machine, SEL_A, 0x12345000, 0x2345, c->attr & ~ATTR_ACCESSED & ~ATTR_G);
    before = v->seg[c->seg];
    if (c->vector != NO_VECTOR) {
        expect_fault(segment_load(v, c->seg, selector), c->vector, SEL_A);
        ck_assert_mem_eq(&before, &v->seg[c->seg], sizeof(before));
        ck_assert_uint_eq(machine_get(&machine, MACHINE_GDT + SEL_A + 5, 1) & 1, 0);
        return;
    }
    expect_ok(segment_load(v, c->seg, selector));
    ck_assert_uint_eq(v->seg[c->seg].selector, selector);
    ck_assert_uint_eq(v->seg[c->seg].base, 0x12345000);
    ck_assert_uint_eq(v->seg[c->seg].limit, 0x2345);
    ck_assert_uint_eq(v->seg[c->seg].attr, (c->attr & ~ATTR_G) | ATTR_ACCESSED);
    ck_assert_uint_eq(machine_get(&machine, MACHINE_GDT + SEL_A + 5, 1) & 1, 1);
}
END_TEST

START_TEST(null_selectors)
{
    machine_start(&machine, MACHINE_PROT32);
    expect_ok(segment_load(v, SEG_DS, 3));
    ck_assert_uint_eq(v->seg[SEG_DS].selector, 3);
    ck_assert(v->seg[SEG_DS].attr & ATTR_NULL);
    expect_fault(segment_load(v, SEG_SS, 0), VEC_GP, 0);

    machine_start(&machine, MACHINE_LONG);
    expect_ok(segment_load(v, SEG_SS, 0));
    expect_fault(segment_load(v, SEG_SS, 1), VEC_GP, 0);
    v->seg[SEG_FS].base = 0x123456789;
    expect_ok(segment_load(v, SEG_FS, 0));
    ck_assert_uint_eq(v->seg[SEG_FS].base, 0);
    machine_start(&machine, MACHINE_USER64);
    expect_fault(segment_load(v, SEG_SS, 3), VEC_GP, 0);
    machine_start(&machine, MACHINE_COMPAT);
    expect_fault(segment_load(v, SEG_SS, 0), VEC_GP, 0);
}
END_TEST

START_TEST(table_limits)
{
    machine_start(&machine, MACHINE_PROT32);
    v->gdtr.limit = SEL_DATA + 6;
    expect_fault(segment_load(v, SEG_DS, SEL_DATA), VEC_GP, SEL_DATA);
    v->gdtr.limit = SEL_DATA + 7;
    expect_ok(segment_load(v, SEG_DS, SEL_DATA));
    v->ldtr = segment_null(0, 0);
    expect_fault(segment_load(v, SEG_DS, 0x14 | 3), VEC_GP, 0x14);
    v->ldtr = (struct segment){.base = MACHINE_GDT, .limit = 0xff, .attr = ATTR_P | SYS_LDT};
    expect_ok(segment_load(v, SEG_DS, SEL_DATA | 4));
    ck_assert_uint_eq(v->seg[SEG_DS].selector, SEL_DATA | 4);
}
END_TEST

START_TEST(real_mode_keeps_hidden_part)
{
    machine_start(&machine, MACHINE_REAL);
    v->seg[SEG_DS].limit = 0xffffffff;
    expect_ok(segment_load(v, SEG_DS, 0xabcd));
    ck_assert_uint_eq(v->seg[SEG_DS].base, 0xabcd0);
    ck_assert_uint_eq(v->seg[SEG_DS].limit, 0xffffffff);
}
END_TEST

START_TEST(moves_and_pops)
{
    machine_start(&machine, MACHINE_PROT32);
    EXPECT_CODE(VEC_UD, 0x8e, 0xc8); /* mov cs, ax */
    machine_start(&machine, MACHINE_PROT32);
    EXPECT_CODE(VEC_UD, 0x8e, 0xf0); /* mov sreg 6, ax */
    machine_start(&machine, MACHINE_PROT32);
    v->gpr[RAX] = ~0ull;
    EXPECT_CODE(NO_VECTOR, 0x8c, 0xd8); /* mov eax, ds: zero-extended */
    ck_assert_uint_eq(v->gpr[RAX], SEL_DATA);
    machine_start(&machine, MACHINE_PROT32);
    v->gpr[RAX] = 0x11223344;
    EXPECT_CODE(NO_VECTOR, 0x66, 0x8c, 0xd8);
    ck_assert_uint_eq(v->gpr[RAX], 0x11220000 | SEL_DATA);

    /* A pop that fails leaves ESP alone. */
    machine_start(&machine, MACHINE_PROT32);
    PUT_WORDS(MACHINE_STACK - 4, 4, SEL_TSS);
    v->gpr[RSP] = MACHINE_STACK - 4;
    EXPECT_CODE(VEC_GP, 0x1f);
    ck_assert_uint_eq(machine_stack(&machine, 0, 4), SEL_TSS);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK - 4 - 16);
    machine_start(&machine, MACHINE_PROT32);
    PUT_WORDS(MACHINE_STACK - 4, 4, 0xffff0000 | SEL_DATA);
    v->gpr[RSP] = MACHINE_STACK - 4;
    EXPECT_CODE(NO_VECTOR, 0x1f, 0x06); /* pop ds; push es */
    ck_assert_uint_eq(machine_get(&machine, MACHINE_STACK - 4, 4), SEL_DATA);
}
END_TEST

START_TEST(stack_load_casts_a_shadow)
{
    machine_start(&machine, MACHINE_PROT32);
    v->gpr[RAX] = SEL_DATA;
    v->rflags |= F_IF;
    machine_interrupt(&machine, 0x40);
    v->rflags &= ~(u64)F_IF;
    /* mov ss, ax; sti is followed by its own shadow; nop; then the interrupt */
    EXPECT_CODE(0x40, 0x8e, 0xd0, 0xfb, 0x90, 0x90);
    ck_assert_uint_eq(machine_stack(&machine, 0, 4), MACHINE_CODE + 4);
    machine_start(&machine, MACHINE_PROT32);
    v->gpr[RAX] = SEL_DATA;
    v->rflags |= F_TF;
    EXPECT_CODE(VEC_DB, 0x8e, 0xd0, 0x90, 0x90);
    ck_assert_uint_eq(machine_stack(&machine, 0, 4), MACHINE_CODE + 3);
}
END_TEST

START_TEST(far_pointers)
{
    machine_start(&machine, MACHINE_PROT32);
    PUT_WORDS(MACHINE_DATA, 4, 0x87654321, SEL_DATA);
    v->gpr[RBX] = MACHINE_DATA;
    EXPECT_CODE(NO_VECTOR, 0xc4, 0x03); /* les eax, [ebx] */
    ck_assert_uint_eq(v->gpr[RAX], 0x87654321);
    ck_assert_uint_eq(v->seg[SEG_ES].selector, SEL_DATA);

    /* The register is not written when the selector faults. */
    machine_start(&machine, MACHINE_PROT32);
    PUT_WORDS(MACHINE_DATA, 4, 0x87654321, SEL_TSS);
    v->gpr[RBX] = MACHINE_DATA;
    v->gpr[RAX] = 5;
    EXPECT_CODE(VEC_GP, 0x0f, 0xb4, 0x03);
    ck_assert_uint_eq(v->gpr[RAX], 5);

    /* AMD ignores REX.W: 16:32. */
    machine_start(&machine, MACHINE_LONG);
    PUT_WORDS(MACHINE_DATA, 4, 0x87654321, SEL_DATA, 0);
    v->gpr[RBX] = MACHINE_DATA;
    EXPECT_CODE(NO_VECTOR, 0x48, 0x0f, 0xb5, 0x03);
    ck_assert_uint_eq(v->gpr[RAX], 0x87654321);
}
END_TEST

struct look_case {
    u32 attr;
    bool lar, lsl, verr, verw;
};

static const struct look_case look_cases[] = {
    {DATA_RW | DPL3, true, true, true, true},
    {(DATA_RW | DPL3) & ~ATTR_WRITE, true, true, true, false},
    {(DATA_RW | DPL3) & ~ATTR_P, true, true, true, true},
    {CODE_RX | DPL3, true, true, true, false},
    {(CODE_RX | DPL3) & ~ATTR_WRITE, true, true, false, false},
    {DATA_RW, false, false, false, false}, /* DPL 0 seen from CPL 3 */
    {CODE_RX | ATTR_EXPAND_DOWN, true, true, true, false},
    {ATTR_P | DPL3 | SYS_LDT, true, true, false, false},
    {ATTR_P | DPL3 | SYS_TSS, true, true, false, false},
    {ATTR_P | DPL3 | SYS_TSS16, true, true, false, false},
    {ATTR_P | DPL3 | SYS_CALL_GATE, true, false, false, false},
    {ATTR_P | DPL3 | SYS_TASK_GATE, true, false, false, false},
    {ATTR_P | DPL3 | SYS_INT_GATE, false, false, false, false},
    {ATTR_P | DPL3 | 0, false, false, false, false},
};

START_TEST(looking_at_descriptors)
{
    const struct look_case *c = &look_cases[_i];
    static const u8 codes[4][2] = {{0x02, 0xc3}, {0x03, 0xc3}, {0x00, 0xe3}, {0x00, 0xeb}};
    const bool want[4] = {c->lar, c->lsl, c->verr, c->verw};

    for (unsigned n = 0; n < 4; n++) {
        machine_start(&machine, MACHINE_USER32);
        machine_descriptor(&machine, SEL_A, 0x1000, 0x12345, c->attr);
        v->gpr[RBX] = SEL_A | 3;
        v->gpr[RAX] = 0xdeadbeef;
        EXPECT_CODE(0x80, 0x0f, codes[n][0], codes[n][1], 0xcd, 0x80);
        ck_assert_msg(!!(v->rflags & F_ZF) == want[n], "instruction %u", n);
        if (n == 0)
            ck_assert_uint_eq(v->gpr[RAX], want[0] ? (c->attr << 8 | 0x10000) : 0xdeadbeef);
        if (n == 1)
            ck_assert_uint_eq(v->gpr[RAX], !want[1]           ? 0xdeadbeef
                                           : c->attr & ATTR_G ? 0x12345fff
                                                              : 0x12345);
    }
}
END_TEST

START_TEST(long_mode_hides_16bit_system_types)
{
    machine_start(&machine, MACHINE_LONG);
    machine_descriptor(&machine, SEL_A, 0, 0xff, ATTR_P | SYS_TSS16);
    v->gpr[RBX] = SEL_A;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x02, 0xc3);
    ck_assert_uint_eq(v->rflags & F_ZF, 0);
}
END_TEST

START_TEST(arpl_adjusts)
{
    machine_start(&machine, MACHINE_PROT32);
    v->gpr[RAX] = 0xffff0010;
    v->gpr[RBX] = 3;
    EXPECT_CODE(NO_VECTOR, 0x63, 0xd8);
    ck_assert_uint_eq(v->gpr[RAX], 0xffff0013);
    ck_assert(v->rflags & F_ZF);
    machine_start(&machine, MACHINE_PROT32);
    PUT_WORDS(MACHINE_DATA, 2, 0x13);
    v->gpr[RAX] = MACHINE_DATA;
    v->gpr[RBX] = 2;
    EXPECT_CODE(NO_VECTOR, 0x63, 0x18);
    ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA, 2), 0x13);
    ck_assert(!(v->rflags & F_ZF));
    machine_start(&machine, MACHINE_REAL);
    EXPECT_CODE(VEC_UD, 0x63, 0xd8);
}
END_TEST

START_TEST(ltr_and_lldt)
{
    static const u8 ltr[] = {0x0f, 0x00, 0xdb}, lldt[] = {0x0f, 0x00, 0xd3};
    static const struct {
        const u8 *code;
        u16 selector;
        u32 attr;
        int vector, error;
    } cases[] = {
        {ltr, SEL_A, ATTR_P | SYS_TSS, NO_VECTOR, 0},
        {ltr, SEL_A, ATTR_P | SYS_TSS_BUSY, VEC_GP, SEL_A},
        {ltr, SEL_A, SYS_TSS, VEC_NP, SEL_A},
        {ltr, 0, ATTR_P | SYS_TSS, VEC_GP, 0},
        {ltr, SEL_A | 4, ATTR_P | SYS_TSS, VEC_GP, SEL_A | 4},
        {ltr, SEL_A, ATTR_P | SYS_LDT, VEC_GP, SEL_A},
        {ltr, 0x1008, 0, VEC_GP, 0x1008},
        {lldt, SEL_A, ATTR_P | SYS_LDT, NO_VECTOR, 0},
        {lldt, SEL_A, ATTR_P | SYS_TSS, VEC_GP, SEL_A},
        {lldt, SEL_A, SYS_LDT, VEC_NP, SEL_A},
        {lldt, SEL_A | 4, ATTR_P | SYS_LDT, VEC_GP, SEL_A | 4},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        machine_start(&machine, MACHINE_LONG);
        machine_descriptor(&machine, SEL_A, 0x5000, 0x67, cases[n].attr);
        machine_put_uint(&machine, MACHINE_GDT + SEL_A + 8, 0x7f, 8);
        v->gpr[RBX] = cases[n].selector;
        expect_code(cases[n].code, 3, cases[n].vector);
        if (cases[n].vector != NO_VECTOR) {
            ck_assert_uint_eq(machine_stack(&machine, 0, 8), (u64)cases[n].error);
            continue;
        }
        ck_assert_uint_eq(cases[n].code == ltr ? v->tr.base : v->ldtr.base, 0x7f00005000);
        ck_assert_uint_eq(machine_get(&machine, MACHINE_GDT + SEL_A + 5, 1) & 0xf,
                          cases[n].code == ltr ? SYS_TSS_BUSY : SYS_LDT);
    }
}
END_TEST

START_TEST(upper_halves_of_system_descriptors)
{
    machine_start(&machine, MACHINE_LONG);
    machine_descriptor(&machine, SEL_A, 0x5000, 0x67, ATTR_P | SYS_TSS);
    machine_put_uint(&machine, MACHINE_GDT + SEL_A + 8, BIT(40), 8); /* a type there */
    v->gpr[RBX] = SEL_A;
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xdb);
    machine_start(&machine, MACHINE_LONG);
    machine_descriptor(&machine, SEL_A, 0x5000, 0x67, ATTR_P | SYS_TSS);
    machine_put_uint(&machine, MACHINE_GDT + SEL_A + 8, 0x8000, 8); /* not canonical */
    v->gpr[RBX] = SEL_A;
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xdb);
    machine_start(&machine, MACHINE_LONG);
    v->gdtr.limit = SEL_A + 14; /* the upper half is cut off */
    v->gpr[RBX] = SEL_A;
    machine_descriptor(&machine, SEL_A, 0x5000, 0x67, ATTR_P | SYS_TSS);
    machine_put_uint(&machine, MACHINE_GDT + SEL_A + 8, 0, 8);
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xdb);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), SEL_A);
}
END_TEST

START_TEST(privilege_and_umip)
{
    machine_start(&machine, MACHINE_USER32);
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xd8); /* ltr */
    machine_start(&machine, MACHINE_USER32);
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xd0); /* lldt */
    machine_start(&machine, MACHINE_USER32);
    EXPECT_CODE(0x80, 0x0f, 0x00, 0xc8, 0xcd, 0x80); /* str eax */
    ck_assert_uint_eq(v->gpr[RAX], SEL_TSS);
    machine_start(&machine, MACHINE_USER32);
    v->cr4 |= CR4_UMIP;
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xc8);
    machine_start(&machine, MACHINE_USER32);
    v->cr4 |= CR4_UMIP;
    EXPECT_CODE(VEC_GP, 0x0f, 0x00, 0xc0); /* sldt eax */
    machine_start(&machine, MACHINE_PROT32);
    v->cr4 |= CR4_UMIP;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x00, 0xc0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu/segment");
    TCase *t = tcase_create("segment");

    tcase_add_checked_fixture(t, system_setup, system_teardown);
    tcase_add_loop_test(t, protected_load_checks, 0, ARRAY_SIZE(load_cases));
    tcase_add_test(t, null_selectors);
    tcase_add_test(t, table_limits);
    tcase_add_test(t, real_mode_keeps_hidden_part);
    tcase_add_test(t, moves_and_pops);
    tcase_add_test(t, stack_load_casts_a_shadow);
    tcase_add_test(t, far_pointers);
    tcase_add_loop_test(t, looking_at_descriptors, 0, ARRAY_SIZE(look_cases));
    tcase_add_test(t, long_mode_hides_16bit_system_types);
    tcase_add_test(t, arpl_adjusts);
    tcase_add_test(t, ltr_and_lldt);
    tcase_add_test(t, upper_halves_of_system_descriptors);
    tcase_add_test(t, privilege_and_umip);
    suite_add_tcase(s, t);
    return suite_run(s);
}
