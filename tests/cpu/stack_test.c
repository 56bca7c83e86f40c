/* SPDX-License-Identifier: MIT
 *
 * PUSH, POP, PUSHA, POPA, ENTER, LEAVE: widths, rSP as an operand, faults before any change.
 */
#include <check.h>

#include "tests/cpu/body.h"
#include "tests/suite.h"

START_TEST(push_and_pop_of_rsp)
{
    struct vcpu *v = machine.v;
    const u64 rsp = v->gpr[RSP];

    ck_assert(BODY(&machine, 0x54)); /* PUSH RSP: the old value */
    ck_assert_uint_eq(machine_get(&machine, rsp - 8, 8), rsp);
    ck_assert(BODY(&machine, 0x5c)); /* POP RSP: the value read */
    ck_assert_uint_eq(v->gpr[RSP], rsp);
    machine_put_uint(&machine, rsp, 0x1234, 8);
    ck_assert(BODY(&machine, 0x8f, 0x04, 0x24)); /* POP [RSP]: the incremented address */
    ck_assert_uint_eq(machine_get(&machine, rsp + 8, 8), 0x1234);
    ck_assert_uint_eq(v->gpr[RSP], rsp + 8);
    ck_assert(BODY(&machine, 0xff, 0x34, 0x24)); /* PUSH [RSP]: the old address */
    ck_assert_uint_eq(machine_get(&machine, rsp, 8), 0x1234);
}
END_TEST

START_TEST(operand_sizes)
{
    struct vcpu *v = machine.v;
    const u64 rsp = v->gpr[RSP];

    v->gpr[RAX] = 0x1122334455667788;
    ck_assert(BODY(&machine, 0x66, 0x50));
    ck_assert_uint_eq(v->gpr[RSP], rsp - 2);
    ck_assert_uint_eq(machine_get(&machine, rsp - 2, 2), 0x7788);
    ck_assert(BODY(&machine, 0x66, 0x5b));
    ck_assert_uint_eq(v->gpr[RBX], 0x7788);
    ck_assert(BODY(&machine, 0x6a, 0xfe)); /* sign-extended to 64 bits */
    ck_assert_uint_eq(machine_get(&machine, rsp - 8, 8), ~1ull);
}
END_TEST

START_TEST(sixteen_bit_stack_wraps_and_keeps_the_upper_half)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_REAL);
    v->seg[SEG_SS].base = 0x50000;
    v->gpr[RSP] = 0xabcd0000;
    v->gpr[RAX] = 0x1234;
    ck_assert(BODY(&machine, 0x50));
    ck_assert_uint_eq(v->gpr[RSP], 0xabcdfffe);
    ck_assert_uint_eq(machine_get(&machine, 0x5fffe, 2), 0x1234);
    ck_assert(BODY(&machine, 0x5b));
    ck_assert_uint_eq(v->gpr[RSP], 0xabcd0000);
    v->gpr[RSP] = 1; /* the word would straddle the end of the segment */
    ck_assert(!BODY(&machine, 0x50));
    ck_assert_int_eq(body_fault(&machine), VEC_SS);
    ck_assert_uint_eq(v->gpr[RSP], 1);
}
END_TEST

START_TEST(pop_to_a_faulting_destination_keeps_rsp)
{
    struct vcpu *v = machine.v;
    const u64 rsp = v->gpr[RSP];

    body_page(&machine, BODY_PAGES, 0);
    v->gpr[RBX] = BODY_PAGES;
    ck_assert(!BODY(&machine, 0x8f, 0x03));
    ck_assert_uint_eq(v->gpr[RSP], rsp);
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_W << 8);
}
END_TEST

START_TEST(pusha_and_popa)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_PROT32);
    for (unsigned r = 0; r < 8; r++) {
        if (r != RSP)
            v->gpr[r] = 0x1111 * r;
    }
    ck_assert(BODY(&machine, 0x60));
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK - 32);
    ck_assert_uint_eq(machine_get(&machine, MACHINE_STACK - 20, 4), MACHINE_STACK);
    ck_assert_uint_eq(machine_get(&machine, MACHINE_STACK - 32, 4), 0x1111 * RDI);
    machine_put_uint(&machine, MACHINE_STACK - 20, 0xdead, 4); /* not popped */
    for (unsigned r = 0; r < 8; r++) {
        if (r != RSP)
            v->gpr[r] = 0;
    }
    ck_assert(BODY(&machine, 0x61));
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
    ck_assert_uint_eq(v->gpr[RBX], 0x1111 * RBX);
    ck_assert_uint_eq(v->gpr[RDI], 0x1111 * RDI);
    v->seg[SEG_SS].limit = MACHINE_STACK - 1;
    v->gpr[RSP] = MACHINE_STACK - 28;
    v->gpr[RAX] = 7;
    ck_assert(!BODY(&machine, 0x61));
    ck_assert_int_eq(body_fault(&machine), VEC_SS);
    ck_assert_uint_eq(v->gpr[RAX], 7);
    /* What was read before the fault is loaded, as on hardware. */
    v->gpr[RSP] = MACHINE_STACK - 28;
    machine_put_uint(&machine, MACHINE_STACK - 28, 0x2468, 4);
    ck_assert(!BODY(&machine, 0x61));
    ck_assert_uint_eq(v->gpr[RDI], 0x2468);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK - 28);
}
END_TEST

START_TEST(pusha_stores_up_to_a_fault)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_COMPAT);
    body_page(&machine, BODY_PAGES, 0);
    v->gpr[RSP] = BODY_PAGES + 0x1010;
    v->gpr[RAX] = 0x77;
    ck_assert(!BODY(&machine, 0x60));
    ck_assert_uint_eq(v->fault.cr2, BODY_PAGES + 0xffc);
    ck_assert_uint_eq(machine_get(&machine, BODY_PAGES + 0x100c, 4), 0x77);
    ck_assert_uint_eq(v->gpr[RSP], BODY_PAGES + 0x1010);
}
END_TEST

START_TEST(enter_copies_the_display)
{
    struct vcpu *v = machine.v;
    const u64 rsp = v->gpr[RSP], outer = MACHINE_DATA + 0x100;

    v->gpr[RBP] = outer;
    machine_put_uint(&machine, outer - 8, 0xaaaa, 8);
    machine_put_uint(&machine, outer - 16, 0xbbbb, 8);
    ck_assert(BODY(&machine, 0xc8, 0x20, 0x00, 0x23)); /* level 35 is level 3 */
    ck_assert_uint_eq(v->gpr[RBP], rsp - 8);
    ck_assert_uint_eq(v->gpr[RSP], rsp - 32 - 0x20);
    ck_assert_uint_eq(machine_get(&machine, rsp - 8, 8), outer);
    ck_assert_uint_eq(machine_get(&machine, rsp - 16, 8), 0xaaaa);
    ck_assert_uint_eq(machine_get(&machine, rsp - 24, 8), 0xbbbb);
    ck_assert_uint_eq(machine_get(&machine, rsp - 32, 8), rsp - 8);
    ck_assert(BODY(&machine, 0xc9));
    ck_assert_uint_eq(v->gpr[RSP], rsp);
    ck_assert_uint_eq(v->gpr[RBP], outer);
}
END_TEST

/* With 66h in 64-bit mode only BP changes (as on an AMD processor). */
START_TEST(enter_with_a_16_bit_operand)
{
    struct vcpu *v = machine.v;
    const u64 rsp = v->gpr[RSP];

    v->gpr[RBP] = 0x1122334455667788;
    ck_assert(BODY(&machine, 0x66, 0xc8, 0x10, 0x00, 0x00));
    ck_assert_uint_eq(v->gpr[RSP], rsp - 2 - 0x10);
    ck_assert_uint_eq(v->gpr[RBP], 0x1122334455660000 | (u16)(rsp - 2));
}
END_TEST

START_TEST(enter_stores_up_to_a_fault)
{
    struct vcpu *v = machine.v;
    const u64 rsp = BODY_PAGES + 0x1100;

    body_page(&machine, BODY_PAGES, 0);
    v->gpr[RSP] = rsp;
    v->gpr[RBP] = 0x5555;
    ck_assert(!BODY(&machine, 0xc8, 0x80, 0x01, 0x00)); /* only the final RSP is on the page */
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_W << 8);
    ck_assert_uint_eq(v->gpr[RSP], rsp);
    ck_assert_uint_eq(v->gpr[RBP], 0x5555);
    ck_assert_uint_eq(machine_get(&machine, rsp - 8, 8), 0x5555);
    v->gpr[RBP] = BODY_PAGES + 0x100; /* the display is there */
    ck_assert(!BODY(&machine, 0xc8, 0x00, 0x00, 0x04));
    ck_assert_uint_eq(v->fault.cr2, BODY_PAGES + 0xf8);
    ck_assert_uint_eq(v->gpr[RSP], rsp);
    ck_assert_uint_eq(machine_get(&machine, rsp - 8, 8), BODY_PAGES + 0x100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/stack");
    TCase *tests = tcase_create("stack");

    tcase_add_checked_fixture(tests, body_setup, body_teardown);
    tcase_add_test(tests, push_and_pop_of_rsp);
    tcase_add_test(tests, operand_sizes);
    tcase_add_test(tests, sixteen_bit_stack_wraps_and_keeps_the_upper_half);
    tcase_add_test(tests, pop_to_a_faulting_destination_keeps_rsp);
    tcase_add_test(tests, pusha_and_popa);
    tcase_add_test(tests, pusha_stores_up_to_a_fault);
    tcase_add_test(tests, enter_copies_the_display);
    tcase_add_test(tests, enter_with_a_16_bit_operand);
    tcase_add_test(tests, enter_stores_up_to_a_fault);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
