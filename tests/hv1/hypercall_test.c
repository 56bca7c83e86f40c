/* SPDX-License-Identifier: MIT */
#include "tests/hv1/caller.h"
#include "tests/suite.h"

static void setup(void)
{
    b = board_create("full");
    enter(b->v[0]);
}

static void teardown(void)
{
    board_destroy(b);
}

#define FAST    BIT(16)
#define REPS(n) ((u64)(n) << 32)

static bool undefined(void)
{
    bool ud = !hv1_hypercall(b->hv1, b->v[0]) && b->v[0]->fault.vector == 6;

    b->v[0]->fault.pending = false;
    return ud;
}

/* H-11, H-12 */
START_TEST(only_from_the_page_and_cpl_0)
{
    struct vcpu *v = b->v[0];

    v->gpr[RCX] = 8 | FAST;
    ck_assert(!undefined());
    v->cpl = 3;
    ck_assert(undefined());
    v->cpl = 0;
    v->cr0 &= ~(u64)CR0_PE;
    ck_assert(undefined());
    v->cr0 |= CR0_PE;
    v->rip = 0x9000;
    ck_assert(undefined());
    v->rip = 1ull << 60;
    ck_assert(undefined());
    ck_assert(!v->fault.pending);
    v->rip = PAGE_AT;
    board_write(b, 0, HV_X64_MSR_HYPERCALL, 0);
    tlb_flush_all(&v->tlb);
    ck_assert(undefined());
}
END_TEST

START_TEST(which_calls_exist)
{
    ck_assert_uint_eq(call(0xffff, 0, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
    ck_assert_uint_eq(call(1, 0, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
    ck_assert_uint_eq(call(0x46, 0, 0), HV_STATUS_ACCESS_DENIED);
    ck_assert_uint_eq(call(0x46 | BIT(63), 0, 0), HV_STATUS_ACCESS_DENIED);
    ck_assert_uint_eq(call(0x5c, 0, 0), HV_STATUS_ACCESS_DENIED);
    ck_assert_uint_eq(call(8 | FAST, 0, 0), HV_STATUS_SUCCESS);
    ck_assert_uint_eq(b->yields, 1);
    ck_assert_ptr_nonnull(strstr(board_log(b), "calls HvGetPartitionId (0046)"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "calls unknown (ffff)"));
}
END_TEST

/* H-13: EDX:EAX, EBX:ECX, EDI:ESI; upper halves are not looked at and are cleared in the result. */
START_TEST(convention_of_32_bits)
{
    struct vcpu *v = b->v[0];

    v->code_size = 4;
    v->seg[SEG_CS].base = 0;
    v->seg[SEG_CS].limit = ~0u;
    v->gpr[RAX] = ~0ull << 32 | HvSendSyntheticClusterIpi | FAST;
    v->gpr[RDX] = ~0ull << 32;
    v->gpr[RBX] = 0, v->gpr[RCX] = 0x40;
    v->gpr[RDI] = 0, v->gpr[RSI] = 2;
    ck_assert(hv1_hypercall(b->hv1, v));
    ck_assert_uint_eq(v->gpr[RAX], 0);
    ck_assert_uint_eq(v->gpr[RDX], 0);
    ck_assert_uint_eq(b->ipis, 1);
    ck_assert_uint_eq(b->ipi[0].cpu, 1);
    v->gpr[RAX] = HvFlushVirtualAddressList;
    v->gpr[RDX] = 2;
    v->gpr[RBX] = 0, v->gpr[RCX] = INPUT;
    put(1, 1);
    ck_assert(hv1_hypercall(b->hv1, v));
    ck_assert_uint_eq(v->gpr[RAX], 0);
    ck_assert_uint_eq(v->gpr[RDX], 2);
}
END_TEST

START_TEST(control_word)
{
    static const u64 reserved[] = {BIT(27), BIT(30), BIT(44), BIT(47), BIT(60), BIT(63)};

    put(1, 1);
    for (size_t n = 0; n < ARRAY_SIZE(reserved); n++)
        ck_assert_uint_eq(call(2 | reserved[n], INPUT, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    ck_assert_uint_eq(call(2 | BIT(31), INPUT, 0), 0);
    ck_assert_uint_eq(call(2 | REPS(1), INPUT, 0), 3 | REPS(0));
    ck_assert_uint_eq(call(3, INPUT, 0), 3);
    ck_assert_uint_eq(call(3 | REPS(2) | BIT(49), INPUT, 0), 3);
    ck_assert_uint_eq(call(2 | BIT(17), INPUT, 0), 3);
    ck_assert_uint_eq(call(8 | FAST | BIT(17), 0, 0), 3);
    ck_assert_uint_eq(b->flushes, 1);
}
END_TEST

START_TEST(input_addresses)
{
    ck_assert_uint_eq(call(2, INPUT + 4, 0), HV_STATUS_INVALID_ALIGNMENT);
    ck_assert_uint_eq(call(2, INPUT + 0xff0, 0), HV_STATUS_INVALID_ALIGNMENT);
    ck_assert_uint_eq(call(2, BIT(40), 0), HV_STATUS_INVALID_ALIGNMENT);
    ck_assert_uint_eq(call(2, ~7ull, 0), HV_STATUS_INVALID_ALIGNMENT);
    ck_assert_uint_eq(call(2, GIB(3), 0), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(call(3 | REPS(0xfff), INPUT, 0), HV_STATUS_INVALID_ALIGNMENT);
    ck_assert_uint_eq(call(3 | REPS(509), INPUT, 0) & 0xffff, 0);
    ck_assert_uint_eq(call(3 | REPS(510), INPUT, 0), HV_STATUS_INVALID_ALIGNMENT);
}
END_TEST

START_TEST(flush_of_address_spaces)
{
    put(0, 0x1234000), put(1, 0), put(2, 6);
    ck_assert_uint_eq(call(2, INPUT, 0), 0);
    ck_assert(b->flush.what.all && b->flush.what.global);
    ck_assert_uint_eq(b->flush.vps[0], 6);
    put(1, 4), put(2, 0);
    ck_assert_uint_eq(call(2, INPUT, 0), 0);
    ck_assert(b->flush.what.all && !b->flush.what.global);
    ck_assert_uint_eq(b->flush.vps[0], 0xf); /* an empty mask is everybody */
    put(1, 1), put(2, 1);
    call(2, INPUT, 0);
    ck_assert_uint_eq(b->flush.vps[0], 0xf);
    put(1, 0), put(2, ~0ull);
    call(2, INPUT, 0);
    ck_assert_uint_eq(b->flush.vps[0], 0xf);
    ck_assert_uint_eq(b->flushes, 4);
    put(1, 1ull << 63);
    ck_assert_uint_eq(call(2, INPUT, 0), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(b->flushes, 4);
}
END_TEST

START_TEST(flush_of_lists)
{
    put(0, 0), put(1, 0), put(2, 1);
    put(3, 0xffff800000001003), put(4, 1ull << 60), put(5, 0x7000);
    ck_assert_uint_eq(call(3 | REPS(3), INPUT, 0), REPS(3));
    ck_assert(!b->flush.what.all);
    ck_assert_uint_eq(b->flush.what.count, 2); /* what is no address is ignored */
    ck_assert_uint_eq(b->range[0].gla, 0xffff800000001000);
    ck_assert_uint_eq(b->range[0].size, 4 * PAGE_SIZE);
    ck_assert_uint_eq(b->range[1].gla, 0x7000);
    ck_assert_uint_eq(call(3 | REPS(3) | 2ull << 48, INPUT, 0), REPS(3));
    ck_assert_uint_eq(b->flush.what.count, 1);
    put(3, 0xfff);
    ck_assert_uint_eq(call(3 | REPS(1), INPUT, 0), REPS(1));
    ck_assert(b->flush.what.all);
    put(1, 8), put(3, 0x40000000 | 3 << 11), put(4, 0x400000 | 1 << 11 | 1);
    ck_assert_uint_eq(call(3 | REPS(2), INPUT, 0), REPS(2));
    ck_assert(b->flush.what.all && b->flush.what.global);
    put(1, 4);
    ck_assert_uint_eq(call(3 | REPS(1), INPUT, 0), HV_STATUS_INVALID_PARAMETER);
}
END_TEST

START_TEST(sets_of_processors)
{
    put(0, 0), put(1, 0), put(2, 0), put(3, 5), put(4, 9), put(5, ~0ull);
    ck_assert_uint_eq(call(0x13 | 2ull << 17, INPUT, 0), 0);
    ck_assert_uint_eq(b->flush.vps[0], 9);
    ck_assert_uint_eq(b->flush.vps[2], 0); /* there are no such processors */
    ck_assert_uint_eq(call(0x13 | 1ull << 17, INPUT, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    put(2, 1);
    ck_assert_uint_eq(call(0x13, INPUT, 0), 0);
    ck_assert_uint_eq(b->flush.vps[0], 0xf);
    put(2, 2);
    ck_assert_uint_eq(call(0x13, INPUT, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    put(2, 0), put(3, 1), put(4, 4), put(5, 0x8000);
    ck_assert_uint_eq(call(0x14 | 1ull << 17 | REPS(1), INPUT, 0), REPS(1));
    ck_assert_uint_eq(b->flush.vps[0], 4);
    ck_assert_uint_eq(b->range[0].gla, 0x8000);
    put(3, ~0ull);
    ck_assert_uint_eq(call(0x13 | 64ull << 17, INPUT, 0), 0);
}
END_TEST

START_TEST(interrupts)
{
    ck_assert_uint_eq(call(0xb | FAST, 0x40, ~0ull), 0);
    ck_assert_uint_eq(b->ipis, BOARD_CPUS);
    for (unsigned n = 0; n < BOARD_CPUS; n++)
        ck_assert(b->ipi[n].cpu == n && b->ipi[n].vector == 0x40);
    ck_assert_uint_eq(call(0xb | FAST, 0xf, 1), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(call(0xb | FAST, 0x100, 1), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(call(0xb | FAST, 1ull << 32 | 0x40, 1), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(call(0xb | FAST, 1ull << 56 | 0x40, 1), HV_STATUS_INVALID_HYPERCALL_INPUT);
    put(0, 0x41), put(1, 0), put(2, 1), put(3, 4);
    ck_assert_uint_eq(call(0x15 | 1ull << 17, INPUT, 0), 0);
    ck_assert_uint_eq(b->ipis, BOARD_CPUS + 1);
    ck_assert_uint_eq(b->ipi[BOARD_CPUS].cpu, 2);
    ck_assert_uint_eq(call(0x15, INPUT, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
}
END_TEST

/* K-13 */
START_TEST(input_in_xmm_registers)
{
    struct vcpu *v = b->v[0];

    store_le(v->fpu.zmm[0], 2, 8);          /* mask */
    store_le(v->fpu.zmm[0] + 8, 0x9000, 8); /* first range */
    store_le(v->fpu.zmm[1], 0xa000, 8);
    ck_assert_uint_eq(call(3 | FAST | REPS(2), 0x1000, 0), REPS(2));
    ck_assert_uint_eq(b->flush.vps[0], 2);
    ck_assert_uint_eq(b->range[0].gla, 0x9000);
    ck_assert_uint_eq(b->range[1].gla, 0xa000);
    ck_assert_uint_eq(call(3 | FAST | REPS(11), 0, 0), REPS(11));
    ck_assert_uint_eq(call(3 | FAST | REPS(12), 0, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    board_destroy(b);
    b = board_create("full,-xmm-input");
    enter(b->v[0]);
    b->v[0]->gpr[RCX] = 2 | FAST;
    ck_assert(undefined());
    ck_assert_uint_eq(call(8 | FAST, 0, 0), 0);
}
END_TEST

/* Any words in the registers and in memory: no crash, no access outside. */
START_TEST(random_calls)
{
    static const u16 codes[] = {2, 3, 8, 0xb, 0x13, 0x14, 0x15, 0x5c, 0x5d};
    struct vcpu *v = b->v[0];
    u64 seed = 88172645463325252ull;

    board_destroy(b);
    b = board_create("full,ports");
    enter(b->v[0]);
    v = b->v[0];
    b->log.categories = 0;
    for (unsigned n = 0; n < 200000; n++) {
        u64 r[6];

        for (unsigned i = 0; i < 6; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            r[i] = seed;
        }
        v->gpr[RCX] = codes[r[0] % ARRAY_SIZE(codes)] | (r[1] & FAST) |
                      (r[2] & 1 ? (r[2] >> 8 & 7) << 17 : 0) |
                      (r[2] & 2 ? (r[3] & 0xfff) << 32 : 0);
        v->gpr[RDX] = r[4] & 1 ? INPUT + (r[4] >> 8 & 0x1ff8) : r[4];
        v->gpr[8] = r[5];
        put(r[0] >> 32 & 511, r[1] & 2 ? r[5] : r[5] & 15);
        if (!hv1_hypercall(b->hv1, v))
            v->fault.pending = false;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 hypercall");
    TCase *t = tcase_create("hypercall");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, only_from_the_page_and_cpl_0);
    tcase_add_test(t, which_calls_exist);
    tcase_add_test(t, convention_of_32_bits);
    tcase_add_test(t, control_word);
    tcase_add_test(t, input_addresses);
    tcase_add_test(t, flush_of_address_spaces);
    tcase_add_test(t, flush_of_lists);
    tcase_add_test(t, sets_of_processors);
    tcase_add_test(t, interrupts);
    tcase_add_test(t, input_in_xmm_registers);
    tcase_add_test(t, random_calls);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
