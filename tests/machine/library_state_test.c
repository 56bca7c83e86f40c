/* SPDX-License-Identifier: MIT
 *
 * Registers through the public library: all at once, one by one, MSRs, segments and modes.
 */
#include "tests/machine/library.h"

static void fill(struct lockstep_state *s)
{
    for (unsigned n = 0; n < 16; n++)
        s->gpr[n] = 0x1111111111111111ull * n + 1;
    s->rip = 0x123456;
    s->rflags = 0x8d7;
    for (unsigned n = 0; n < 6; n++) {
        s->segment[n].base = 0x1000 * n;
        s->segment[n].limit = 0xfff + n;
        s->segment[n].selector = (u16)(8 * n);
    }
    s->gdtr = (struct lockstep_table){.base = 0x5000, .limit = 0x7f};
    s->idtr = (struct lockstep_table){.base = 0x6000, .limit = 0x8f};
    s->cr2 = 0xdead000;
    s->cr8 = 3;
    s->pdpte[2] = 0x7001;
    s->dr[1] = 0x4444;
    s->dr6 = 0xffff4ff1;
    s->dr7 = 0x00d00404;
    s->star = 0x0023001000000000;
    s->lstar = 0xffffffff80001000;
    s->cstar = 0xffffffff80002000;
    s->fmask = 0x700;
    s->kernel_gs_base = 0xffff888000000000;
    s->sysenter_cs = 0x10;
    s->sysenter_esp = 0x20000;
    s->sysenter_eip = 0x30000;
    s->tsc_aux = 7;
    s->pat = 0x0007010600070106;
    s->activity = LOCKSTEP_HALTED;
    s->interrupt_shadow = 1;
    s->nmi_blocked = true;
    s->tsc = 123456789;
    s->mxcsr = 0x1fa5;
    s->fcs = 0x1b;
    s->fds = 0x23;
    s->x87[0] = 0x7f;
    s->x87[1] = 0x03;
    s->x87[3] = 0x28; /* TOP = 5 */
    s->x87[4] = 0xe0;
    s->x87[8] = 0x99;
    for (unsigned st = 0; st < 8; st++)
        memset(s->x87 + 32 + 16 * st, (int)(0x41 + st), 10);
    s->pkru = 0x55555554;
    for (unsigned n = 0; n < 8; n++)
        s->k[n] = 0x0101010101010101ull << n;
    for (unsigned n = 0; n < 32; n++)
        memset(s->zmm[n], (int)(n + 1), 64);
}

START_TEST(state_round_trip)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_state in = lib_state(m), out, untouched;

    fill(&in);
    ck_assert_msg(!lockstep_set_state(m, 0, LOCKSTEP_STATE_ALL, &in), "%s", lockstep_error(m));
    out = lib_state(m);
    ck_assert_mem_eq(&in, &out, sizeof(in));
    /* Parts that are not asked for stay. */
    memset(&untouched, 0x5a, sizeof(untouched));
    untouched.size = sizeof(untouched);
    untouched.version = LOCKSTEP_STATE_VERSION;
    OK(lockstep_get_state(m, 0, LOCKSTEP_STATE_FPU, &untouched));
    ck_assert_uint_eq(untouched.mxcsr, 0x1fa5);
    ck_assert_uint_eq(untouched.gpr[0], 0x5a5a5a5a5a5a5a5a);
    in.gpr[3] = 77;
    in.cr2 = 99;
    OK(lockstep_set_state(m, 0, LOCKSTEP_STATE_GENERAL, &in));
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RBX), 77);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_CR2), 0xdead000);
    lockstep_destroy(m);
}
END_TEST

static void refuse(struct lockstep_machine *m, u32 part, const struct lockstep_state *s)
{
    struct lockstep_state before = lib_state(m), after;

    FAILS(LOCKSTEP_INVALID, lockstep_set_state(m, 0, part | LOCKSTEP_STATE_GENERAL, s));
    after = lib_state(m);
    ck_assert_mem_eq(&before, &after, sizeof(before));
}

START_TEST(state_is_checked)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_state good, s;

    lib_start(m, 64, "\xf4", 1);
    good = lib_state(m);
    good.gpr[0] = 5; /* must not get there */
#define REFUSE(part, member, value)                                                                \
    (s = good, s.member = (value), refuse(m, LOCKSTEP_STATE_##part, &s))
    REFUSE(CONTROL, cr0, good.cr0 | 1ull << 40);
    REFUSE(CONTROL, cr0, good.cr0 & ~1ull);
    REFUSE(CONTROL, cr0, good.cr0 | 1 << 29);
    REFUSE(CONTROL, cr4, good.cr4 | 1ull << 40);
    REFUSE(CONTROL, cr4, good.cr4 & ~0x20ull);
    REFUSE(CONTROL, cr3, 1ull << 60);
    REFUSE(CONTROL, efer, good.efer & ~0x400ull);
    REFUSE(CONTROL, efer, good.efer | 1ull << 40);
    REFUSE(CONTROL, xcr0, 0);
    REFUSE(CONTROL, xss, 1);
    REFUSE(CONTROL, cr8, 16);
    REFUSE(SEGMENTS, cpl, 4);
    REFUSE(SEGMENTS, segment[1].attributes, 1u << 31);
    REFUSE(SEGMENTS, tr.attributes, 0x93);
    REFUSE(SEGMENTS, ldtr.attributes, 1u << 8);
    REFUSE(FPU, mxcsr, 1u << 31);
    REFUSE(ACTIVITY, activity, 5);
    REFUSE(ACTIVITY, interrupt_shadow, 3);
    REFUSE(GENERAL, size, 8);
    REFUSE(GENERAL, version, 2);
#undef REFUSE
    FAILS(LOCKSTEP_INVALID, lockstep_set_state(m, 0, 1u << 20, &good));
    FAILS(LOCKSTEP_INVALID, lockstep_set_state(m, 1, LOCKSTEP_STATE_GENERAL, &good));
    FAILS(LOCKSTEP_INVALID, lockstep_set_state(m, 0, LOCKSTEP_STATE_GENERAL, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_set_state(NULL, 0, LOCKSTEP_STATE_GENERAL, &good));
    FAILS(LOCKSTEP_INVALID, lockstep_get_state(NULL, 0, LOCKSTEP_STATE_GENERAL, &s));
    FAILS(LOCKSTEP_INVALID, lockstep_get_state(m, 0, LOCKSTEP_STATE_GENERAL, NULL));
    lockstep_destroy(m);
}
END_TEST

/* What the processor fixes: reserved RFLAGS, DR6 and DR7 bits, ES and B of FSW, CPL of real mode.
 */
START_TEST(fixed_bits)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_state s = lib_state(m);

    s.rflags = ~0ull;
    s.rflags &= ~(1ull << 17);
    s.dr6 = s.dr7 = 0;
    s.cpl = 3;
    s.x87[0] = 0; /* all unmasked */
    s.x87[2] = 1; /* IE */
    OK(lockstep_set_state(m, 0, LOCKSTEP_STATE_ALL, &s));
    s = lib_state(m);
    ck_assert_uint_eq(s.rflags, 0x3d7fd7);
    ck_assert_uint_eq(s.dr6, 0xffff0ff0);
    ck_assert_uint_eq(s.dr7, 0x400);
    ck_assert_uint_eq(s.cpl, 0);
    ck_assert_uint_eq(s.x87[2], 0x81);
    ck_assert_uint_eq(s.x87[3], 0x80);
    lockstep_destroy(m);
}
END_TEST

START_TEST(registers_one_by_one)
{
    struct lockstep_machine *m = lib_create();
    u64 value;

    lib_start(m, 64, "\xf4", 1);
    for (int reg = 0; reg < LOCKSTEP_REGISTERS; reg++) {
        OK(lockstep_get_register(m, 0, (enum lockstep_register)reg, &value));
        if (reg == LOCKSTEP_TSC)
            value += 1000;
        lib_set(m, (enum lockstep_register)reg, value);
        ck_assert_uint_eq(lib_get(m, (enum lockstep_register)reg), value);
    }
    for (int reg = LOCKSTEP_RAX; reg <= LOCKSTEP_RIP; reg++)
        lib_set(m, (enum lockstep_register)reg, (u64)reg + 0x100);
    for (int reg = LOCKSTEP_K0; reg <= LOCKSTEP_K7; reg++)
        lib_set(m, (enum lockstep_register)reg, (u64)reg);
    for (int reg = LOCKSTEP_DR0; reg <= LOCKSTEP_DR3; reg++)
        lib_set(m, (enum lockstep_register)reg, (u64)reg);
    struct lockstep_state s = lib_state(m);

    for (unsigned n = 0; n < 16; n++)
        ck_assert_uint_eq(s.gpr[n], n + 0x100);
    ck_assert_uint_eq(s.rip, LOCKSTEP_RIP + 0x100);
    for (unsigned n = 0; n < 8; n++)
        ck_assert_uint_eq(s.k[n], LOCKSTEP_K0 + n);
    ck_assert_uint_eq(s.dr[2], LOCKSTEP_DR2);
    lib_set(m, LOCKSTEP_FS_BASE, 0x5000);
    lib_set(m, LOCKSTEP_MXCSR, 0x1f81);
    lib_set(m, LOCKSTEP_PKRU, 4);
    lib_set(m, LOCKSTEP_CR8, 9);
    s = lib_state(m);
    ck_assert_uint_eq(s.segment[LOCKSTEP_FS].base, 0x5000);
    ck_assert_uint_eq(s.mxcsr, 0x1f81);
    ck_assert_uint_eq(s.pkru, 4);
    ck_assert_uint_eq(s.cr8, 9);
    lockstep_destroy(m);
}
END_TEST

START_TEST(registers_are_checked)
{
    struct lockstep_machine *m = lib_create();
    u64 value;

    FAILS(LOCKSTEP_INVALID, lockstep_get_register(m, 0, LOCKSTEP_REGISTERS, &value));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_REGISTERS, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_get_register(m, 0, LOCKSTEP_RAX, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_get_register(NULL, 0, LOCKSTEP_RAX, &value));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(NULL, 0, LOCKSTEP_RAX, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_CR0, 0x80000000));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_CR4, 1ull << 40));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_EFER, 1ull << 40));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_XCR0, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_CR8, 16));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_CPL, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 0, LOCKSTEP_MXCSR, 1ull << 33));
    /* The fault of a refused control register is not left behind. */
    lib_start(m, 32, "\xf4", 1);
    ck_assert_int_eq(lib_run(m, 5).exception.kind, LOCKSTEP_EVENT_NONE);
    lockstep_destroy(m);
}
END_TEST

START_TEST(vector_registers)
{
    struct lockstep_machine *m = lib_create();
    u8 bytes[64], back[64];

    memset(bytes, 0xab, sizeof(bytes));
    OK(lockstep_set_vector(m, 0, 31, bytes, 64));
    memset(bytes, 0xcd, sizeof(bytes));
    OK(lockstep_set_vector(m, 0, 31, bytes, 16));
    OK(lockstep_get_vector(m, 0, 31, back, 32));
    ck_assert_uint_eq(back[15], 0xcd);
    ck_assert_uint_eq(back[16], 0xab);
    FAILS(LOCKSTEP_INVALID, lockstep_get_vector(m, 0, 32, back, 16));
    FAILS(LOCKSTEP_INVALID, lockstep_get_vector(m, 0, 0, back, 8));
    FAILS(LOCKSTEP_INVALID, lockstep_get_vector(m, 0, 0, NULL, 16));
    FAILS(LOCKSTEP_INVALID, lockstep_set_vector(m, 0, 32, back, 16));
    FAILS(LOCKSTEP_INVALID, lockstep_set_vector(NULL, 0, 0, back, 16));
    FAILS(LOCKSTEP_INVALID, lockstep_get_vector(NULL, 0, 0, back, 16));
    lockstep_destroy(m);
}
END_TEST

START_TEST(msrs)
{
    struct lockstep_machine *m = lib_create();
    u64 value;

    OK(lockstep_set_msr(m, 0, 0xc0000082, 0x1234000));
    OK(lockstep_get_msr(m, 0, 0xc0000082, &value));
    ck_assert_uint_eq(value, 0x1234000);
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_get_msr(m, 0, 0x12345678, &value));
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_set_msr(m, 0, 0x12345678, 0));
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_set_msr(m, 0, 0xc0000082, 1ull << 60)); /* not canonical */
    FAILS(LOCKSTEP_INVALID, lockstep_get_msr(m, 0, 0x10, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_get_msr(m, 2, 0x10, &value));
    FAILS(LOCKSTEP_INVALID, lockstep_set_msr(NULL, 0, 0x10, 0));
    lockstep_destroy(m);
}
END_TEST

START_TEST(segments)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_state s;

    lib_start(m, 32, "\xf4", 1);
    OK(lockstep_set_flat_segment(m, 0, LOCKSTEP_CS, 0x1b, 32, 3));
    s = lib_state(m);
    ck_assert_uint_eq(s.cpl, 3);
    ck_assert_uint_eq(s.segment[LOCKSTEP_CS].limit, 0xffffffff);
    ck_assert_uint_eq(s.segment[LOCKSTEP_CS].selector, 0x1b);
    OK(lockstep_set_flat_segment(m, 0, LOCKSTEP_DS, 0x23, 16, 0));
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_CPL), 3);
    ck_assert_uint_eq(lib_state(m).segment[LOCKSTEP_DS].attributes & LOCKSTEP_SEGMENT_DB, 0);
    OK(lockstep_set_real_segment(m, 0, LOCKSTEP_ES, 0x1234));
    ck_assert_uint_eq(lib_state(m).segment[LOCKSTEP_ES].base, 0x12340);
    FAILS(LOCKSTEP_INVALID,
          lockstep_set_flat_segment(m, 0, (enum lockstep_segment_index)6, 0, 32, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_flat_segment(m, 0, LOCKSTEP_DS, 0, 48, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_flat_segment(m, 0, LOCKSTEP_DS, 0, 32, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_set_flat_segment(m, 9, LOCKSTEP_DS, 0, 32, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_flat_segment(NULL, 0, LOCKSTEP_DS, 0, 32, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_real_segment(m, 0, (enum lockstep_segment_index)6, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_set_real_segment(NULL, 0, LOCKSTEP_DS, 0));
    lockstep_destroy(m);
}
END_TEST

/* mov ax/eax/rax-sized work, then HLT, in each mode. */
START_TEST(each_mode_runs)
{
    static const struct {
        unsigned bits;
        u8 code[8];
        u64 rax;
    } modes[] = {
        {16, {0xb8, 0x34, 0x12, 0x40, 0xf4}, 0x1235},
        {32, {0xb8, 0x34, 0x12, 0x00, 0x00, 0x40, 0xf4}, 0x1235},
        {64, {0x6a, 0xff, 0x58, 0xf4}, ~0ull},
    };
    struct lockstep_machine *m = lib_create();

    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        lib_start(m, modes[n].bits, modes[n].code, sizeof(modes[n].code));
        ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_HALTED);
        ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), modes[n].rax);
    }
    FAILS(LOCKSTEP_INVALID, lockstep_enter_mode(m, 0, 8, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_enter_mode(m, 0, 64, 0x1001));
    FAILS(LOCKSTEP_INVALID, lockstep_enter_mode(m, 0, 64, LIB_MEMORY - 0x1000));
    FAILS(LOCKSTEP_INVALID, lockstep_enter_mode(m, 1, 64, LIB_TABLES));
    FAILS(LOCKSTEP_INVALID, lockstep_enter_mode(NULL, 0, 64, LIB_TABLES));
    lockstep_destroy(m);
}
END_TEST

/* A set that moves CR3 takes effect at the next instruction, and SSE works at once. */
START_TEST(set_state_flushes_what_it_must)
{
    static const u8 code[] = {0xa1, 0, 0, 2, 0, 0, 0, 0, 0, 0xeb, 0xf5}; /* mov eax, [DATA] */
    struct lockstep_machine *m = lib_create();
    struct lockstep_state s;

    lib_start(m, 64, code, sizeof(code));
    lib_store(m, LIB_DATA, 1, 4);
    lib_store(m, 0x60000, 2, 4);
    lib_run(m, 2);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX) & 0xffffffff, 1);
    /* Other tables: a 4 KiB page table that moves DATA to 0x60000. */
    lib_store(m, 0x30000, 0x31007, 8);
    lib_store(m, 0x31000, 0x32007, 8);
    lib_store(m, 0x32000, 0x33007, 8);
    for (unsigned n = 0; n < 512; n++)
        lib_store(m, 0x33000 + 8 * n, (u64)(n == LIB_DATA >> 12 ? 0x60 : n) << 12 | 7, 8);
    s = lib_state(m);
    s.cr3 = 0x30000;
    OK(lockstep_set_state(m, 0, LOCKSTEP_STATE_CONTROL, &s));
    lib_run(m, 2);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX) & 0xffffffff, 2);
    lockstep_destroy(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("library_state");
    TCase *tc = tcase_create("state");

    tcase_add_test(tc, state_round_trip);
    tcase_add_test(tc, state_is_checked);
    tcase_add_test(tc, fixed_bits);
    tcase_add_test(tc, registers_one_by_one);
    tcase_add_test(tc, registers_are_checked);
    tcase_add_test(tc, vector_registers);
    tcase_add_test(tc, msrs);
    tcase_add_test(tc, segments);
    tcase_add_test(tc, each_mode_runs);
    tcase_add_test(tc, set_state_flushes_what_it_must);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
