/* SPDX-License-Identifier: MIT
 *
 * System instructions and loops in translated code: at every privilege, with what they depend on
 * switched on and off.
 */
#include "tests/jit/random.h"
#include "tests/suite.h"

static struct pair pair;

static void setup(void)
{
    pair_create(&pair, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&pair);
}

static void start(enum machine_mode mode, u64 cr4)
{
    struct vcpu *both[] = {pair.interp.v, pair.jit.v};
    struct dice d = {5};

    state_random(&pair, mode, &d);
    for (unsigned n = 0; n < 2; n++) {
        both[n]->cr4 |= cr4;
        both[n]->kernel_gs_base = 0x1234567890;
        both[n]->seg[SEG_FS].base = STATE_DATA;
        both[n]->tsc_aux = 7;
    }
}

static u64 calls_of(const void *code, size_t size)
{
    u64 before = pair_stats(&pair).interpreted;

    pair_execute(&pair, code, size);
    return state_calls(&pair, &before);
}
#define CALLS_OF(...) calls_of((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

START_TEST(bases)
{
    start(MACHINE_LONG, CR4_FSGSBASE);
    pair_set(&pair, RCX, 0xffff800000001000);
    ck_assert_uint_eq(CALLS_OF(0xf3, 0x48, 0x0f, 0xae, 0xc0, /* rdfsbase rax */
                               0xf3, 0x0f, 0xae, 0xc8,       /* rdgsbase eax */
                               0xf3, 0x49, 0x0f, 0xae, 0xc2, /* rdfsbase r10 */
                               0xf3, 0x48, 0x0f, 0xae, 0xd1, /* wrfsbase rcx */
                               0xf3, 0x0f, 0xae, 0xd9,       /* wrgsbase ecx */
                               0x0f, 0x01, 0xf8),            /* swapgs */
                      1);
    ck_assert_uint_eq(pair.jit.v->seg[SEG_GS].base, 0x1234567890);
    ck_assert_uint_eq(pair.jit.v->kernel_gs_base, 0x1000);
}
END_TEST

START_TEST(bases_fault)
{
    start(MACHINE_LONG, CR4_FSGSBASE);
    pair_set(&pair, RCX, 0x800000000000);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xf3, 0x48, 0x0f, 0xae, 0xd1), 13);
    start(MACHINE_LONG, 0);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xf3, 0x48, 0x0f, 0xae, 0xc0), 6);
    start(MACHINE_USER64, 0);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0x0f, 0x01, 0xf8), 13);
}
END_TEST

START_TEST(selectors)
{
    start(MACHINE_LONG, 0);
    pair_set(&pair, RBX, STATE_DATA);
    ck_assert_uint_eq(CALLS_OF(0x48, 0x8c, 0xc8,       /* mov rax, cs */
                               0x8c, 0xd1,             /* mov ecx, ss */
                               0x66, 0x8c, 0xda,       /* mov dx, ds */
                               0x41, 0x8c, 0xc9,       /* mov r9d, cs */
                               0x66, 0x41, 0x8c, 0xca, /* mov r10w, cs */
                               0x8c, 0x0b),            /* mov [rbx], cs */
                      1);
    pair_again(&pair);
    pair_set(&pair, RBX, STATE_ABSENT - 1);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0x8c, 0x0b), 14);
}
END_TEST

START_TEST(interrupt_and_direction_flags)
{
    start(MACHINE_LONG, 0);
    pair_flags(&pair, F_IF | F_CF);
    ck_assert_uint_eq(CALLS_OF(0xfa, 0xfd, 0x9c, 0xfc, 0x9c, 0xf3, 0x90), 1);
    start(MACHINE_USER64, 0);
    pair_flags(&pair, F_IF);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xfa), 13);
    start(MACHINE_USER64, 0);
    pair_flags(&pair, F_IF | 3u << F_IOPL_SHIFT);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xfa, 0xcc), 3);
    ck_assert_uint_eq(pair.jit.v->rflags & F_IF, 0);
}
END_TEST

START_TEST(sti_and_cli_are_inside_blocks)
{
    start(MACHINE_LONG, 0);
    pair_flags(&pair, F_CF);
    ck_assert_uint_eq(CALLS_OF(0xfb, 0x9c, 0xfb, 0x9c, 0xfa, 0x9c, 0xfb, 0xff, 0xc0), 1);
    ck_assert_uint_eq(pair.jit.v->rflags & F_IF, F_IF);
    start(MACHINE_USER64, 0);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xfb, 0x90), 13);
}
END_TEST

/* The instruction behind STI comes before the interrupt (SDM 2 "STI"), in every slice. */
START_TEST(sti_with_an_interrupt_pending)
{
    struct machine *both[] = {&pair.interp, &pair.jit};

    for (u64 slice = 1; slice < 8; slice++) {
        start(MACHINE_LONG, 0);
        pair_flags(&pair, 0);
        pair_set(&pair, RAX, 0);
        PAIR_CODE(&pair, 0xff, 0xc0, 0xfb, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0);
        for (unsigned n = 0; n < 2; n++) {
            both[n]->irq = 0x40;
            vcpu_signal(both[n]->v, EVENT_INTR);
        }
        while (pair_run(&pair, slice) == EXIT_BUDGET)
            ;
        ck_assert_int_eq(machine_vector(&pair.jit), 0x40);
        ck_assert_uint_eq(pair.jit.v->gpr[RAX], 2);
    }
}
END_TEST

/* -- from one mode to another -- */

enum { ROUNDS = 200 };

/* SYSCALL and SYSRET, as often as EBX says. */
static void run_system_calls(void)
{
    struct vcpu *both[] = {pair.interp.v, pair.jit.v};

    start(MACHINE_USER64, 0);
    pair_put(&pair, MACHINE_CODE + 0x100, "\x48\x0f\x07", 3); /* sysretq */
    pair_set(&pair, RBX, ROUNDS);
    for (unsigned n = 0; n < 2; n++) {
        both[n]->efer |= EFER_SCE;
        both[n]->lstar = MACHINE_CODE + 0x100;
        both[n]->star = (u64)SEL_CODE64 << 32 | (u64)(SEL_USER_CODE64 - 16) << 48;
    }
    PAIR_CODE(&pair, 0x0f, 0x05, 0xff, 0xcb, 0x75, 0xfa); /* syscall; dec ebx; jnz */
    ck_assert_int_eq(pair_run(&pair, PAIR_BUDGET), EXIT_IDLE);
}

START_TEST(privilege_changes_stay_in_code)
{
    struct jit_stats before = pair_stats(&pair), after;

    run_system_calls();
    after = pair_stats(&pair);
    ck_assert_uint_ge(after.stays - before.stays, 2 * ROUNDS - 10);
    ck_assert_uint_le(after.lookups - before.lookups, 20);
}
END_TEST

/* Faults whose handler returns behind the instruction, as often as ECX says. */
static void put_faults(void)
{
    start(MACHINE_LONG, 0);
    pair_set(&pair, RBX, STATE_ABSENT);
    pair_set(&pair, RCX, ROUNDS);
    /* 14: add qword [rsp + 8], 2; add rsp, 8; iretq */
    pair_put(&pair, machine_stub(14), "\x48\x83\x44\x24\x08\x02\x48\x83\xc4\x08\x48\xcf", 12);
    PAIR_CODE(&pair, 0x8b, 0x03, 0xff, 0xc9, 0x75, 0xfa, 0x9c); /* mov eax, [rbx]; dec ecx; jnz */
}

/* IRET sets RF, with which an instruction is a step of its own if every one counts. */
START_TEST(faults_stay_in_code)
{
    struct jit_stats before = pair_stats(&pair), after;

    put_faults();
    ck_assert_int_eq(pair_run(&pair, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_uint_eq((u32)pair.jit.v->gpr[RCX], 0);
    after = pair_stats(&pair);
    ck_assert_uint_ge(after.stays - before.stays, ROUNDS - 10);
    ck_assert_uint_le(after.lookups - before.lookups, ROUNDS + 20);
}
END_TEST

START_TEST(uncounted_faults_stay_in_code)
{
    static const struct jit_options uncounted = {.optimisations = JIT_ALL};
    struct jit_stats before, after;

    pair_destroy(&pair);
    pair_create(&pair, &uncounted);
    before = pair_stats(&pair);
    put_faults();
    ck_assert_int_eq(interp_run(pair.interp.v, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_int_eq(jit_run(pair.jit.v, 0), EXIT_IDLE);
    pair.jit.v->icount = pair.interp.v->icount;
    PAIR_SAME(&pair);
    after = pair_stats(&pair);
    ck_assert_uint_ge(after.stays - before.stays, 2 * ROUNDS - 10);
    ck_assert_uint_le(after.lookups - before.lookups, 20);
}
END_TEST

/* A page that is mapped elsewhere has a block in the jump cache that is not the right one. */
START_TEST(a_page_mapped_elsewhere_is_found)
{
    static const u8 one[] = {0xff, 0xc0, 0x0f, 0x22, 0xda, 0xff, 0xe6}; /* inc eax; mov cr3, rdx */
    const u64 other = 0x80000, table = MACHINE_PML4, page = MACHINE_CODE + 0x200000;

    start(MACHINE_LONG, 0);
    pair_put(&pair, MACHINE_CODE + 0x100, one, sizeof(one)); /* ... jmp rsi */
    pair_set(&pair, RAX, 0);
    pair_set(&pair, RSI, page);
    pair_set(&pair, RDX, table);
    for (unsigned round = 0; round < 6; round++) {
        /* 4 KiB pages for the second 2 MiB: the page is other, or the one behind it. */
        u64 target = other + (round & 1) * PAGE_SIZE;
        u8 code[] = {0x83, 0xc0, (u8)(1 + (round & 1) * 15), 0xf4}; /* add eax, 1 or 16; hlt */
        struct vcpu *both[] = {pair.interp.v, pair.jit.v};
        u64 entry = target | 3;

        pair_put(&pair, target, code, sizeof(code));
        pair_put(&pair, 0x90000 + (MACHINE_CODE >> PAGE_SHIFT) * 8, &entry, 8);
        entry = 0x90000 | 3;
        pair_put(&pair, table + 0x2000 + 8, &entry, 8);
        for (unsigned n = 0; n < 2; n++) {
            both[n]->activity = ACTIVITY_RUN;
            both[n]->rip = MACHINE_CODE + 0x100;
        }
        ck_assert_int_eq(pair_run(&pair, PAIR_BUDGET), EXIT_IDLE);
    }
    ck_assert_uint_eq(pair.jit.v->gpr[RAX], 6 + 3 * 17);
}
END_TEST

/* -- time: inline only where the host's counter is the guest's -- */

#define TSC_OFFSET 0x100000000000ull

static u64 read_tsc(u64 cr4, enum machine_mode mode)
{
    struct vcpu *v = pair.jit.v;

    machine_start(&pair.jit, mode);
    v->cr4 |= cr4;
    v->tsc_aux = 7;
    v->tsc_offset = TSC_OFFSET;
    MACHINE_CODE_BYTES(&pair.jit, 0x0f, 0x31, 0x0f, 0x01, 0xf9); /* rdtsc; rdtscp */
    jit_run(v, PAIR_BUDGET);
    return v->gpr[RDX] << 32 | v->gpr[RAX];
}

START_TEST(host_counter_is_read_inline)
{
    const u64 from = __builtin_ia32_rdtsc() - 1000;
    u64 before = pair_stats(&pair).interpreted, tsc;

    pair.jit.platform.tsc_is_host = true;
    pair.jit.platform.tsc_host_start = from;
    tsc = read_tsc(0, MACHINE_LONG);
    ck_assert_uint_ge(tsc, TSC_OFFSET + 1000);
    ck_assert_uint_le(tsc, TSC_OFFSET + __builtin_ia32_rdtsc() - from);
    ck_assert_uint_eq(pair.jit.v->gpr[RCX], 7);
    ck_assert_uint_eq(state_calls(&pair, &before), 1);
    read_tsc(CR4_TSD, MACHINE_USER64);
    ck_assert_int_eq(machine_vector(&pair.jit), 13);
}
END_TEST

START_TEST(other_counters_are_asked_for)
{
    u64 before = pair_stats(&pair).interpreted;

    ck_assert_uint_eq(read_tsc(0, MACHINE_LONG), TSC_OFFSET + 200);
    ck_assert_uint_eq(state_calls(&pair, &before), 3);
}
END_TEST

/* -- LOOP, LOOPE, LOOPNE, JCXZ -- */

static void run_loop(enum machine_mode mode, unsigned opcode, u64 count, bool cut)
{
    /* again: inc eax; test al, 7 or cmp; loopcc again */
    u8 code[] = {0xff, 0xc0, 0xa8, 0x07, cut ? 0x67 : 0x90, (u8)opcode, 0xf8, 0x9c};

    start(mode, 0);
    pair_set(&pair, RAX, 3);
    pair_set(&pair, RCX, count);
    if (opcode == 0xe3)
        code[6] = 0; /* JCXZ forwards */
    pair_execute(&pair, code, sizeof(code));
}

START_TEST(loops)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_COMPAT, MACHINE_PROT32};

    for (unsigned opcode = 0xe0; opcode <= 0xe3; opcode++)
        for (unsigned m = 0; m < ARRAY_SIZE(modes); m++)
            for (u64 count = 0; count < 20; count++) {
                run_loop(modes[m], opcode, count ? count : 1, true);
                run_loop(modes[m], opcode, count ? count : 1, false);
            }
    run_loop(MACHINE_LONG, 0xe3, 0x100000000, true);
    run_loop(MACHINE_LONG, 0xe3, 0x100000000, false);
    run_loop(MACHINE_LONG, 0xe2, 0x100000001, true);
}
END_TEST

START_TEST(loops_are_inline)
{
    start(MACHINE_LONG, 0);
    pair_set(&pair, RCX, 1000);
    ck_assert_uint_eq(CALLS_OF(0xff, 0xc0, 0xe2, 0xfc, 0xe3, 0x00), 1);
    ck_assert_uint_eq(pair.jit.v->gpr[RCX], 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("system");
    TCase *c = tcase_create("system");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, bases);
    tcase_add_test(c, bases_fault);
    tcase_add_test(c, selectors);
    tcase_add_test(c, interrupt_and_direction_flags);
    tcase_add_test(c, sti_and_cli_are_inside_blocks);
    tcase_add_test(c, sti_with_an_interrupt_pending);
    tcase_add_test(c, privilege_changes_stay_in_code);
    tcase_add_test(c, faults_stay_in_code);
    tcase_add_test(c, uncounted_faults_stay_in_code);
    tcase_add_test(c, a_page_mapped_elsewhere_is_found);
    tcase_add_test(c, host_counter_is_read_inline);
    tcase_add_test(c, other_counters_are_asked_for);
    tcase_add_test(c, loops);
    tcase_add_test(c, loops_are_inline);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
