/* SPDX-License-Identifier: MIT
 *
 * Control, debug and extended control registers: every refused value, mode changes, what is
 * flushed, and the instructions that reach them.
 */
#include "tests/cpu/system.h"
#include "tests/suite.h"

/* -- CR0 -- */

START_TEST(cr0_refuses)
{
    machine_start(&machine, MACHINE_PROT32);
    expect_fault(control_write_cr0(v, CR0_PG), VEC_GP, 0);
    expect_fault(control_write_cr0(v, CR0_PE | CR0_NW), VEC_GP, 0);
    expect_fault(control_write_cr0(v, CR0_PE | BIT(32)), VEC_GP, 0);
    v->efer = EFER_LME;
    expect_fault(control_write_cr0(v, CR0_PE | CR0_PG), VEC_GP, 0); /* no PAE */
    v->cr4 |= CR4_PAE;
    v->seg[SEG_CS].attr |= ATTR_L;
    expect_fault(control_write_cr0(v, CR0_PE | CR0_PG), VEC_GP, 0);
    v->seg[SEG_CS].attr &= ~(u32)ATTR_L;
    v->tr.attr = ATTR_P | SYS_TSS16_BUSY;
    expect_fault(control_write_cr0(v, CR0_PE | CR0_PG), VEC_GP, 0);
    ck_assert_uint_eq(v->cr0 & CR0_PG, 0);
    machine_start(&machine, MACHINE_LONG);
    expect_fault(control_write_cr0(v, CR0_PE), VEC_GP, 0); /* in 64-bit mode */
    machine_start(&machine, MACHINE_COMPAT);
    v->cr4 |= CR4_PCIDE;
    expect_fault(control_write_cr0(v, CR0_PE), VEC_GP, 0);
}
END_TEST

START_TEST(cr0_enters_and_leaves_long_mode)
{
    machine_start(&machine, MACHINE_PROT32);
    machine_page_tables(&machine);
    v->cr3 = MACHINE_PML4;
    v->cr4 |= CR4_PAE;
    ck_assert(control_write_efer(v, EFER_LME));
    ck_assert(!v->long_mode);
    expect_ok(control_write_cr0(v, CR0_PE | CR0_PG));
    ck_assert(v->efer & EFER_LMA);
    ck_assert(v->long_mode);
    ck_assert_uint_eq(v->code_size, 4);
    ck_assert_uint_eq(v->cr0, CR0_PE | CR0_PG | CR0_ET);
    ck_assert(!control_write_efer(v, 0)); /* LME while paging */
    ck_assert(control_write_efer(v, EFER_LME));
    ck_assert(v->efer & EFER_LMA);
    expect_ok(control_write_cr0(v, CR0_PE));
    ck_assert_uint_eq(v->efer, EFER_LME);
    ck_assert(!v->long_mode);
}
END_TEST

START_TEST(pdptes_are_checked)
{
    machine_start(&machine, MACHINE_PROT32);
    v->cr4 |= CR4_PAE;
    v->cr3 = 0x50000;
    PUT_WORDS(0x50000, 8, 0x51001, 0, 0, 0x52001 | BIT(1)); /* bit 1 is reserved */
    expect_fault(control_write_cr0(v, CR0_PE | CR0_PG), VEC_GP, 0);
    ck_assert_uint_eq(v->cr0 & CR0_PG, 0);
    PUT_WORDS(0x50000, 8, 0x51001, 0, 0, 0x52001);
    for (unsigned n = 0; n < 512; n++)
        machine_put_uint(&machine, 0x51000 + n * 8, (u64)n << 21 | 0x87, 8);
    expect_ok(control_write_cr0(v, CR0_PE | CR0_PG));
    ck_assert_uint_eq(v->pdpte[3], 0x52001);
    PUT_WORDS(0x50020, 8, 0x51001 | BIT(5), 0, 0, 0);
    expect_fault(control_write_cr3(v, 0x50020), VEC_GP, 0);
    ck_assert_uint_eq(v->cr3, 0x50000);
    ck_assert_uint_eq(v->pdpte[3], 0x52001);
    PUT_WORDS(0x50000, 8, 0x51001 | BIT(7));
    expect_fault(control_write_cr4(v, v->cr4 | CR4_PGE), VEC_GP, 0);
}
END_TEST

/* -- CR3 -- */

START_TEST(cr3_reserved_bits_and_pcid)
{
    machine_start(&machine, MACHINE_LONG);
    expect_fault(control_write_cr3(v, MACHINE_PML4 | BIT(48)), VEC_GP, 0);
    expect_fault(control_write_cr3(v, MACHINE_PML4 | BIT(63)), VEC_GP, 0);
    expect_ok(control_write_cr4(v, v->cr4 | CR4_PCIDE));
    expect_ok(control_write_cr3(v, MACHINE_PML4 | BIT(63) | 5));
    ck_assert_uint_eq(v->cr3, MACHINE_PML4 | 5);
}
END_TEST

/* What a load sees after its page was mapped elsewhere and CR3 written, without INVLPG. */
static u64 read_after_remap(u64 cr3, u64 flags)
{
    const u64 pde = MACHINE_PML4 + 0x2000 + 2 * 8; /* 0x400000 */
    u64 value;

    machine_put_uint(&machine, pde, 0x400000 | 0xe7 | flags, 8);
    tlb_flush_all(&v->tlb);
    ck_assert(lin_read(v, 0x400000, 8, &value));
    ck_assert_uint_eq(value, 1);
    machine_put_uint(&machine, pde, 0x600000 | 0xe7 | flags, 8);
    expect_ok(control_write_cr3(v, cr3));
    ck_assert(lin_read(v, 0x400000, 8, &value));
    return value;
}

START_TEST(cr3_flushes)
{
    machine_start(&machine, MACHINE_LONG);
    machine_put_uint(&machine, 0x400000, 1, 8);
    machine_put_uint(&machine, 0x600000, 2, 8);
    expect_ok(control_write_cr4(v, v->cr4 | CR4_PGE));
    ck_assert_uint_eq(read_after_remap(v->cr3, 0), 2);
    ck_assert_uint_eq(read_after_remap(v->cr3, BIT(8)), 1); /* global pages stay */
    expect_ok(control_write_cr4(v, v->cr4 & ~(u64)CR4_PGE));
    expect_ok(control_write_cr4(v, v->cr4 | CR4_PCIDE));
    ck_assert_uint_eq(read_after_remap(v->cr3 | BIT(63), 0), 1);
    ck_assert_uint_eq(read_after_remap(v->cr3, 0), 2);
}
END_TEST

/* -- CR4, EFER, XCR0 -- */

START_TEST(cr4_refuses)
{
    machine_start(&machine, MACHINE_LONG);
    expect_fault(control_write_cr4(v, v->cr4 & ~(u64)CR4_PAE), VEC_GP, 0);
    expect_fault(control_write_cr4(v, v->cr4 | BIT(31)), VEC_GP, 0);
    expect_fault(control_write_cr4(v, v->cr4 | BIT(13)), VEC_GP, 0); /* VMXE */
    expect_fault(control_write_cr4(v, v->cr4 | CR4_LA57), VEC_GP, 0);
    feature_add(&machine.model.features, FEAT_LA57);
    expect_fault(control_write_cr4(v, v->cr4 | CR4_LA57), VEC_GP, 0); /* in long mode */
    v->cr3 |= 1;
    expect_fault(control_write_cr4(v, v->cr4 | CR4_PCIDE), VEC_GP, 0);
    feature_remove(&machine.model.features, FEAT_SMAP);
    expect_fault(control_write_cr4(v, v->cr4 | CR4_SMAP), VEC_GP, 0);
    expect_ok(control_write_cr4(v, v->cr4 | CR4_SMEP | CR4_PCE | CR4_UMIP));
    machine_start(&machine, MACHINE_PROT32);
    expect_fault(control_write_cr4(v, v->cr4 | CR4_PCIDE), VEC_GP, 0);
    expect_ok(control_write_cr4(v, v->cr4 | CR4_LA57));
}
END_TEST

START_TEST(efer_and_xcr0)
{
    static const struct {
        u64 value;
        bool ok;
    } cases[] = {
        {0, false},
        {XCR0_X87, true},
        {XCR0_SSE, false},
        {XCR0_X87 | XCR0_AVX, false},
        {XCR0_X87 | XCR0_SSE | XCR0_AVX, true},
        {XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK, false},
        {XCR0_X87 | XCR0_SSE | XCR0_AVX512, false},
        {XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512, true},
        {XCR0_X87 | XCR0_PKRU, true},
        {XCR0_X87 | BIT(17), false},
        {XCR0_X87 | BIT(63), false},
    };

    machine_start(&machine, MACHINE_PROT32);
    ck_assert(!control_write_efer(v, EFER_SVME));
    ck_assert(!control_write_efer(v, BIT(63)));
    ck_assert(control_write_efer(v, EFER_SCE | EFER_NXE | EFER_LMA | EFER_FFXSR));
    ck_assert_uint_eq(v->efer, EFER_SCE | EFER_NXE | EFER_FFXSR);
    feature_remove(&machine.model.features, FEAT_NX);
    ck_assert(!control_write_efer(v, EFER_NXE));
    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        v->xcr0 = 0x999;
        ck_assert_msg(control_write_xcr0(v, 0, cases[n].value) == cases[n].ok, "case %u", n);
        ck_assert_uint_eq(v->xcr0, cases[n].ok ? cases[n].value : 0x999);
    }
    ck_assert(!control_write_xcr0(v, 1, XCR0_X87));
}
END_TEST

/* -- instructions -- */

START_TEST(mov_control)
{
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(VEC_UD, 0x0f, 0x20, 0xc8); /* cr1 */
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(VEC_UD, 0x44, 0x0f, 0x22, 0xc8); /* cr9 */
    machine_start(&machine, MACHINE_USER64);
    EXPECT_CODE(VEC_GP, 0x0f, 0x20, 0xc0);
    machine_start(&machine, MACHINE_LONG);
    machine.cr8 = 7;
    EXPECT_CODE(NO_VECTOR, 0x44, 0x0f, 0x20, 0xc3); /* mov rbx, cr8 */
    ck_assert_uint_eq(v->gpr[RBX], 7);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RBX] = 9;
    EXPECT_CODE(NO_VECTOR, 0x44, 0x0f, 0x22, 0xc3);
    ck_assert_uint_eq(machine.cr8, 9);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RBX] = 16;
    EXPECT_CODE(VEC_GP, 0x44, 0x0f, 0x22, 0xc3);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RBX] = 0x123456789abc;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x22, 0xd3, 0x0f, 0x20, 0xd0); /* cr2 there and back */
    ck_assert_uint_eq(v->gpr[RAX], 0x123456789abc);
}
END_TEST

START_TEST(machine_status_word)
{
    machine_start(&machine, MACHINE_REAL);
    v->gpr[RAX] = 0xffff0000 | 0xffff;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0xf0); /* lmsw ax */
    ck_assert_uint_eq(v->cr0 & 0xffff, CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE);
    machine_start(&machine, MACHINE_PROT32);
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0xf0); /* PE stays */
    ck_assert(v->cr0 & CR0_PE);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = ~0ull;
    EXPECT_CODE(NO_VECTOR, 0x48, 0x0f, 0x01, 0xe0); /* smsw rax */
    ck_assert_uint_eq(v->gpr[RAX], v->cr0);
    machine_start(&machine, MACHINE_LONG);
    machine_put_uint(&machine, MACHINE_DATA, ~0ull, 8);
    v->gpr[RAX] = MACHINE_DATA;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0x20);
    ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA, 8), ~0xffffull | (v->cr0 & 0xffff));
    machine_start(&machine, MACHINE_USER64);
    v->cr4 |= CR4_UMIP;
    EXPECT_CODE(VEC_GP, 0x0f, 0x01, 0xe0);
    machine_start(&machine, MACHINE_LONG);
    v->cr0 |= CR0_TS;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x06);
    ck_assert(!(v->cr0 & CR0_TS));
    machine_start(&machine, MACHINE_USER64);
    EXPECT_CODE(VEC_GP, 0x0f, 0x06);
}
END_TEST

START_TEST(descriptor_table_registers)
{
    machine_start(&machine, MACHINE_PROT32);
    v->gpr[RAX] = MACHINE_DATA;
    machine_put_uint(&machine, MACHINE_DATA, ~0ull, 8);
    v->idtr = (struct table_reg){0x2000, 0x7ff};
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0x08); /* sidt */
    ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA, 8), 0xffff0000200007ff);
    machine_start(&machine, MACHINE_REAL);
    machine_put_uint(&machine, 0x500, 0xab12345603ff, 8);
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0x1e, 0x00, 0x05); /* lidt: 24 bits of base */
    ck_assert_uint_eq(v->idtr.base, 0x123456);
    ck_assert_uint_eq(v->idtr.limit, 0x3ff);
    machine_start(&machine, MACHINE_REAL);
    machine_put_uint(&machine, 0x500, 0xab12345603ff, 8);
    EXPECT_CODE(NO_VECTOR, 0x66, 0x0f, 0x01, 0x16, 0x00, 0x05); /* lgdt with 32 bits */
    ck_assert_uint_eq(v->gdtr.base, 0xab123456);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = MACHINE_DATA;
    machine_put_uint(&machine, MACHINE_DATA + 2, 0x800000000000, 8);
    EXPECT_CODE(VEC_GP, 0x0f, 0x01, 0x10);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = MACHINE_DATA;
    machine_put_uint(&machine, MACHINE_DATA, 0x0fff, 2);
    machine_put_uint(&machine, MACHINE_DATA + 2, 0xffff800000001000, 8);
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x01, 0x10);
    ck_assert_uint_eq(v->gdtr.base, 0xffff800000001000);
    machine_start(&machine, MACHINE_USER64);
    v->gpr[RAX] = MACHINE_DATA;
    EXPECT_CODE(VEC_GP, 0x0f, 0x01, 0x10);
    machine_start(&machine, MACHINE_USER64);
    v->gpr[RAX] = MACHINE_DATA;
    v->cr4 |= CR4_UMIP;
    EXPECT_CODE(VEC_GP, 0x0f, 0x01, 0x00); /* sgdt */
}
END_TEST

START_TEST(mov_debug)
{
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(VEC_UD, 0x0f, 0x21, 0xe0); /* dr4 with CR4.DE */
    machine_start(&machine, MACHINE_LONG);
    v->cr4 &= ~(u64)CR4_DE;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x21, 0xe8); /* dr5 is dr7 */
    ck_assert_uint_eq(v->gpr[RAX], DR7_FIXED);
    machine_start(&machine, MACHINE_LONG);
    EXPECT_CODE(VEC_UD, 0x44, 0x0f, 0x21, 0xc0); /* dr8 */
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = BIT(32);
    EXPECT_CODE(VEC_GP, 0x0f, 0x23, 0xf0);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = 0xffffffff;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x23, 0xf0, 0x0f, 0x21, 0xf3);
    ck_assert_uint_eq(v->gpr[RBX], 0xffffefff);
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = 0xffffd000;
    EXPECT_CODE(NO_VECTOR, 0x0f, 0x23, 0xf8, 0x0f, 0x21, 0xfb);
    ck_assert_uint_eq(v->gpr[RBX], 0xffff0400);
    machine_start(&machine, MACHINE_USER64);
    EXPECT_CODE(VEC_GP, 0x0f, 0x21, 0xc0);
}
END_TEST

START_TEST(general_detect)
{
    machine_start(&machine, MACHINE_LONG);
    v->dr7 |= DR7_GD;
    EXPECT_CODE(VEC_DB, 0x0f, 0x21, 0xc0);
    ck_assert_uint_eq(v->dr6, DR6_FIXED | DR6_BD);
    ck_assert_uint_eq(v->dr7, DR7_FIXED);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), MACHINE_CODE);
    ck_assert_uint_eq(machine_stack(&machine, 2, 8), F_1 | F_RF);
}
END_TEST

START_TEST(watched_pages_follow_dr7)
{
    machine_start(&machine, MACHINE_LONG);
    v->gpr[RAX] = MACHINE_DATA + 8;
    v->gpr[RBX] = DR7_FIXED | 2 | 1 << 16; /* G0, writes, one byte */
    /* mov dr0, rax; mov dr7, rbx; mov [rax], al */
    EXPECT_CODE(VEC_DB, 0x0f, 0x23, 0xc0, 0x0f, 0x23, 0xfb, 0x88, 0x00, 0x90);
    ck_assert_uint_eq(v->tlb.watch_count, 1);
    ck_assert_uint_eq(machine_stack(&machine, 0, 8), MACHINE_CODE + 8);
    ck_assert_uint_eq(v->dr6, DR6_FIXED | 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu/control");
    TCase *t = tcase_create("control");

    tcase_add_checked_fixture(t, system_setup, system_teardown);
    tcase_add_test(t, cr0_refuses);
    tcase_add_test(t, cr0_enters_and_leaves_long_mode);
    tcase_add_test(t, pdptes_are_checked);
    tcase_add_test(t, cr3_reserved_bits_and_pcid);
    tcase_add_test(t, cr3_flushes);
    tcase_add_test(t, cr4_refuses);
    tcase_add_test(t, efer_and_xcr0);
    tcase_add_test(t, mov_control);
    tcase_add_test(t, machine_status_word);
    tcase_add_test(t, descriptor_table_registers);
    tcase_add_test(t, mov_debug);
    tcase_add_test(t, general_detect);
    tcase_add_test(t, watched_pages_follow_dr7);
    suite_add_tcase(s, t);
    return suite_run(s);
}
