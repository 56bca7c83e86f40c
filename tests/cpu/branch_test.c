/* SPDX-License-Identifier: MIT
 *
 * Near branches: targets by operand size and mode, checks before the stack changes, loop counters,
 * conditions; PUSHF and POPF by privilege.
 */
#include <check.h>

#include "tests/cpu/body.h"
#include "tests/suite.h"

START_TEST(relative_targets)
{
    struct vcpu *v = machine.v;

    ck_assert(BODY(&machine, 0xeb, 0xfe));
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE);
    ck_assert(BODY(&machine, 0xe9, 0x00, 0x01, 0x00, 0x00));
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 5 + 0x100);
    v->rip = 0x7ffffffffff0;
    ck_assert(!BODY(&machine, 0xeb, 0x70)); /* beyond the canonical half */
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert(!BODY(&machine, 0xe8, 0x70, 0x00, 0x00, 0x00));
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
    machine_start(&machine, MACHINE_PROT32);
    v->rip = 0x10;
    ck_assert(BODY(&machine, 0xeb, 0x80)); /* wraps at 4 GiB */
    ck_assert_uint_eq(v->next_rip, 0xffffff92);
    ck_assert(BODY(&machine, 0x66, 0xe9, 0x00, 0x80)); /* cut to 16 bits */
    ck_assert_uint_eq(v->next_rip, 0x8014);
    v->seg[SEG_CS].limit = 0x1ffff;
    ck_assert(!BODY(&machine, 0xeb, 0x80));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert(!BODY(&machine, 0xe8, 0x00, 0x00, 0x10, 0x00));
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK);
}
END_TEST

START_TEST(call_and_return)
{
    struct vcpu *v = machine.v;

    machine_put_uint(&machine, MACHINE_DATA, 0x12345, 8);
    v->gpr[RBX] = MACHINE_DATA;
    ck_assert(BODY(&machine, 0xff, 0x13)); /* CALL [RBX] */
    ck_assert_uint_eq(v->next_rip, 0x12345);
    ck_assert_uint_eq(machine_get(&machine, v->gpr[RSP], 8), MACHINE_CODE + 2);
    ck_assert(BODY(&machine, 0xc2, 0x10, 0x00));
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 2);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK + 0x10);
    machine_put_uint(&machine, v->gpr[RSP], 0x8000000000000000, 8);
    ck_assert(!BODY(&machine, 0xc3));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert_uint_eq(v->gpr[RSP], MACHINE_STACK + 0x10);
    v->gpr[RAX] = 0x0000800000000000;
    ck_assert(!BODY(&machine, 0xff, 0xe0)); /* JMP RAX */
    machine_start(&machine, MACHINE_REAL);
    v->gpr[RSP] = 0xfffe;
    machine_put_uint(&machine, 0x1fffe, 0x4321, 2);
    ck_assert(BODY(&machine, 0xc3));
    ck_assert_uint_eq(v->next_rip, 0x4321);
    ck_assert_uint_eq(v->gpr[RSP], 0);
}
END_TEST

START_TEST(loops_count_in_the_address_size)
{
    struct vcpu *v = machine.v;

    v->gpr[RCX] = 0x100000001;
    ck_assert(BODY(&machine, 0x67, 0xe2, 0x10)); /* ECX reaches 0 */
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 3);
    ck_assert_uint_eq(v->gpr[RCX], 0);
    ck_assert(BODY(&machine, 0xe2, 0x10));
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 0x12);
    ck_assert_uint_eq(v->gpr[RCX], ~0ull);
    v->gpr[RCX] = 0x100000000;
    ck_assert(BODY(&machine, 0x67, 0xe3, 0x10)); /* JECXZ */
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 0x13);
    ck_assert_uint_eq(v->gpr[RCX], 0x100000000);
    ck_assert(BODY(&machine, 0xe3, 0x10)); /* JRCXZ */
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 2);
    v->rflags |= F_ZF;
    ck_assert(BODY(&machine, 0xe0, 0x10)); /* LOOPNE */
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 2);
    ck_assert(BODY(&machine, 0xe1, 0x10)); /* LOOPE */
    ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 0x12);
    v->rip = 0x7fffffffffe0;
    v->gpr[RCX] = 5;
    ck_assert(!BODY(&machine, 0xe2, 0x70)); /* a bad target: the counter stays */
    ck_assert_uint_eq(v->gpr[RCX], 5);
}
END_TEST

START_TEST(jumps_and_setcc_agree)
{
    struct vcpu *v = machine.v;

    for (unsigned flags = 0; flags < 32; flags++) {
        v->rflags = F_1 | (flags & 1 ? F_CF : 0) | (flags & 2 ? F_PF : 0) | (flags & 4 ? F_ZF : 0) |
                    (flags & 8 ? F_SF : 0) | (flags & 16 ? F_OF : 0);
        for (u8 cc = 0; cc < 16; cc++) {
            ck_assert(BODY(&machine, 0x0f, 0x90 | cc, 0xc0));
            ck_assert(BODY(&machine, 0x70 | cc, 0x10));
            ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 2 + (v->gpr[RAX] & 1) * 0x10);
            ck_assert(BODY(&machine, 0x0f, 0x80 | cc, 0x10, 0, 0, 0));
            ck_assert_uint_eq(v->next_rip, MACHINE_CODE + 6 + (v->gpr[RAX] & 1) * 0x10);
        }
    }
}
END_TEST

/* -- flags -- */

static u64 popf(u64 old, u64 value, unsigned size)
{
    struct vcpu *v = machine.v;

    v->rflags = old | F_1;
    v->gpr[RSP] = MACHINE_STACK - 8;
    machine_put_uint(&machine, MACHINE_STACK - 8, value, 8);
    ck_assert(size == 2 ? BODY(&machine, 0x66, 0x9d) : BODY(&machine, 0x9d));
    return v->rflags & ~(u64)F_1;
}

START_TEST(popf_by_privilege)
{
    struct vcpu *v = machine.v;
    const u64 all = 0xffffffff, user = F_OSZAPC | F_TF | F_DF | F_NT | F_AC | F_ID;

    ck_assert_uint_eq(popf(0, all, 8), user | F_IF | F_IOPL);
    ck_assert(v->careful);
    ck_assert_uint_eq(popf(F_RF | F_VIP | F_VIF | user, 0, 8), F_VIP | F_VIF);
    ck_assert_uint_eq(popf(F_AC | F_ID, all, 2), (user & 0xffff) | F_IF | F_IOPL | F_AC | F_ID);
    machine_start(&machine, MACHINE_USER64);
    ck_assert_uint_eq(popf(F_IF, all & ~(u64)F_IF, 8), user | F_IF);
    ck_assert_uint_eq(popf(0, all, 8), user);
    ck_assert_uint_eq(popf(F_IOPL | F_IF, 0, 8), F_IOPL);
}
END_TEST

START_TEST(flags_in_v86_mode)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_REAL);
    v->cr0 |= CR0_PE;
    v->cpl = 3;
    v->rflags = F_1 | F_VM | F_IF | F_RF;
    vcpu_update_mode(v);
    ck_assert(!BODY(&machine, 0x9c));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert(!BODY(&machine, 0x9d));
    v->cr4 |= CR4_VME;
    v->rflags |= F_VIF;
    v->seg[SEG_SS].base = 0;
    v->gpr[RSP] = 0x8000;
    ck_assert(BODY(&machine, 0x9c));
    ck_assert_uint_eq(machine_get(&machine, 0x7ffe, 2), F_1 | F_IF | F_IOPL);
    v->rflags &= ~(u64)F_VIF;
    ck_assert(!BODY(&machine, 0x66, 0x9c)); /* 32 bits: never */
    v->gpr[RSP] = 0x7ffe;
    ck_assert(BODY(&machine, 0x9d));
    ck_assert_uint_eq(v->rflags & (F_VIF | F_IF | F_IOPL | F_VM), F_VIF | F_IF | F_VM);
    v->gpr[RSP] = 0x7ffe;
    v->rflags |= F_VIP;
    ck_assert(!BODY(&machine, 0x9d)); /* IF would become 1 with an interrupt pending */
    ck_assert_uint_eq(v->gpr[RSP], 0x7ffe);
    machine_put_uint(&machine, 0x7ffe, F_TF, 2);
    v->rflags &= ~(u64)F_VIP;
    ck_assert(!BODY(&machine, 0x9d));
    v->rflags |= F_IOPL;
    machine_put_uint(&machine, 0x7ffe, 0, 2);
    ck_assert(BODY(&machine, 0x9d));
    ck_assert_uint_eq(v->rflags & (F_IF | F_IOPL | F_VM), F_IOPL | F_VM);
}
END_TEST

START_TEST(bound)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_PROT32);
    machine_put_uint(&machine, MACHINE_DATA, (u64)50 << 32 | (u32)-5, 8);
    v->gpr[RBX] = MACHINE_DATA;
    v->gpr[RAX] = (u32)-5;
    ck_assert(BODY(&machine, 0x62, 0x03));
    v->gpr[RAX] = 50;
    ck_assert(BODY(&machine, 0x62, 0x03));
    v->gpr[RAX] = 51;
    ck_assert(!BODY(&machine, 0x62, 0x03));
    ck_assert_int_eq(body_fault(&machine), VEC_BR);
    v->gpr[RAX] = (u32)-6;
    ck_assert(!BODY(&machine, 0x62, 0x03));
    ck_assert(!BODY(&machine, 0x0f, 0x0b)); /* UD2 */
    ck_assert_int_eq(body_fault(&machine), VEC_UD);
}
END_TEST

START_TEST(moves_without_a_host)
{
    struct vcpu *v = machine.v;

    v->gpr[RBX] = MACHINE_DATA;
    v->gpr[RAX] = 0x10;
    machine_put_uint(&machine, MACHINE_DATA + 0x10, 0x8877665544332211, 8);
    ck_assert(BODY(&machine, 0xd7)); /* XLAT */
    ck_assert_uint_eq(v->gpr[RAX], 0x11);
    ck_assert(BODY(&machine, 0x48, 0x8d, 0x44, 0x1b, 0xff)); /* LEA RAX, [RBX+RBX-1] */
    ck_assert_uint_eq(v->gpr[RAX], 2 * MACHINE_DATA - 1);
    v->gpr[RBX] = 0xffffffffffff;
    ck_assert(BODY(&machine, 0x8d, 0x03));
    ck_assert_uint_eq(v->gpr[RAX], 0xffffffff);
    ck_assert(BODY(&machine, 0x48, 0xa1, 0x10, 0x00, 0x04, 0, 0, 0, 0, 0)); /* MOV RAX, moffs */
    ck_assert_uint_eq(v->gpr[RAX], 0x8877665544332211);
    ck_assert(BODY(&machine, 0xa2, 0x20, 0x00, 0x04, 0, 0, 0, 0, 0)); /* MOV moffs, AL */
    ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA + 0x20, 8), 0x11);
    ck_assert(BODY(&machine, 0x8b, 0x05, 0x0a, 0x00, 0x03, 0x00)); /* MOV EAX, [RIP+3000ah] */
    ck_assert_uint_eq(v->gpr[RAX], 0x44332211);
    v->rflags |= F_CF;
    machine_start(&machine, MACHINE_PROT32);
    v->rflags |= F_CF;
    ck_assert(BODY(&machine, 0xd6)); /* SALC */
    ck_assert_uint_eq(v->gpr[RAX] & 0xff, 0xff);
}
END_TEST

/* CMPXCHG16B: misaligned is #GP(0), before any page fault. */
START_TEST(cmpxchg16b_alignment)
{
    struct vcpu *v = machine.v;

    body_page(&machine, BODY_PAGES, 0);
    v->gpr[RBX] = BODY_PAGES + 8;
    ck_assert(!BODY(&machine, 0x48, 0x0f, 0xc7, 0x0b));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    v->gpr[RBX] = BODY_PAGES + 16;
    ck_assert(!BODY(&machine, 0x48, 0x0f, 0xc7, 0x0b));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_W << 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/branch");
    TCase *tests = tcase_create("branch");

    tcase_add_checked_fixture(tests, body_setup, body_teardown);
    tcase_add_test(tests, relative_targets);
    tcase_add_test(tests, call_and_return);
    tcase_add_test(tests, loops_count_in_the_address_size);
    tcase_add_test(tests, jumps_and_setcc_agree);
    tcase_add_test(tests, popf_by_privilege);
    tcase_add_test(tests, flags_in_v86_mode);
    tcase_add_test(tests, bound);
    tcase_add_test(tests, moves_without_a_host);
    tcase_add_test(tests, cmpxchg16b_alignment);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
