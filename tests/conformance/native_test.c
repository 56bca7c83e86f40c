/* SPDX-License-Identifier: MIT
 *
 * The native judge as its callers see it: batches, cases that misbehave, children that are lost,
 * and hosts that refuse what it needs.
 */
#include "frontend/conform/native.h"

#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/native_fixture.h"

START_TEST(a_batch_keeps_its_order)
{
    for (unsigned i = 0; i < BATCH; i++) {
        prepare(&cases[i], (enum conform_mode)(i % CONFORM_MODES), "\x01\xc8", 2);
        cases[i].in.gpr[RAX] = i;
        cases[i].in.gpr[RCX] = 0x1000;
        cases[i].in.zmm[i % 8][3] = (u8)i;
    }
    for (unsigned repeat = 0; repeat < 3; repeat++) {
        ck_assert_int_eq(native_host_run(host, cases, outcomes, BATCH, &err), ST_OK);
        for (unsigned i = 0; i < BATCH; i++) {
            ck_assert_uint_eq(outcomes[i].vector, VEC_BP);
            ck_assert_uint_eq((u16)outcomes[i].out.gpr[RAX], 0x1000 + i);
            for (unsigned z = 0; z < 8; z++)
                ck_assert_uint_eq(outcomes[i].out.zmm[z][3], z == i % 8 ? i : 0);
        }
    }
}
END_TEST

START_TEST(more_cases_than_a_batch_are_run_in_parts)
{
    struct native_host *small;

    ck_assert_int_eq(native_host_create(&small, 3, &err), ST_OK); /* two hosts at once */
    for (unsigned i = 0; i < 8; i++)
        prepare(&cases[i], MODE_64, "\xff\xc0", 2)->in.gpr[RAX] = i; /* inc eax */
    ck_assert_int_eq(native_host_run(small, cases, outcomes, 8, &err), ST_OK);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(outcomes[i].out.gpr[RAX], i + 1);
    ck_assert_int_eq(native_host_run(small, cases, outcomes, 0, &err), ST_OK);
    native_host_destroy(small);
}
END_TEST

/* -- cases that misbehave -- */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

START_TEST(a_case_that_hangs_ends)
{
    double start = seconds();

    prepare(&cases[0], MODE_64, "\xff\xc0", 2);         /* inc eax */
    prepare(&cases[1], MODE_64, "\xff\xc1\xeb\xfc", 4); /* inc ecx; jmp back */
    prepare(&cases[2], MODE_32, "\xeb\xfe", 2);
    prepare(&cases[3], MODE_64, "\xff\xc2", 2); /* inc edx */
    ck_assert_int_eq(native_host_run(host, cases, outcomes, 4, &err), ST_OK);
    printf("two hanging cases took %.2f s\n", seconds() - start);
    ck_assert_uint_eq(outcomes[0].vector, VEC_BP);
    ck_assert_uint_eq(outcomes[1].vector, OUTCOME_NONE);
    ck_assert_uint_gt(outcomes[1].out.gpr[RCX], 1000000);
    ck_assert_uint_eq(outcomes[2].vector, OUTCOME_NONE);
    ck_assert_uint_eq(outcomes[2].out.rip, CODE);
    ck_assert_uint_eq(outcomes[3].vector, VEC_BP);
    ck_assert_uint_eq(outcomes[3].out.gpr[RDX], 1);
}
END_TEST

/* A long case sees a tick of the watchdog and must not notice. */
START_TEST(a_tick_is_not_seen)
{
    unsigned ended = 0;

    for (unsigned i = 0; i < BATCH; i++) {
        /* 1: xorps xmm1, xmm2; dec ecx; jnz 1b */
        struct conform_case *c = prepare(&cases[i], MODE_64, "\x0f\x57\xca\xff\xc9\x75\xf9", 7);

        c->in.gpr[RCX] = 20 * 1000 * 1000; /* some 10 ms: a tick in one of five */
        c->in.rflags = F_NT | F_ID;
        c->in.zmm[2][0] = 0xff;
        c->in.fs_base = 0x1234000;
        c->in.selector[SEG_ES] = SEL_DATA_RO;
    }
    ck_assert_int_eq(native_host_run(host, cases, outcomes, BATCH, &err), ST_OK);
    for (unsigned i = 0; i < BATCH; i++) {
        if (outcomes[i].vector == OUTCOME_NONE)
            continue;
        ended++;
        ck_assert_uint_eq(outcomes[i].vector, VEC_BP);
        ck_assert_uint_eq(outcomes[i].out.gpr[RCX], 0);
        ck_assert_uint_eq(outcomes[i].out.rflags, F_1 | F_IF | F_NT | F_ID | F_ZF | F_PF);
        ck_assert_uint_eq(outcomes[i].out.zmm[1][0], 0);
        ck_assert_uint_eq(outcomes[i].out.fs_base, 0x1234000);
        ck_assert_uint_eq(outcomes[i].out.selector[SEG_ES], SEL_DATA_RO);
    }
    ck_assert_uint_gt(ended, BATCH / 2);
}
END_TEST

START_TEST(system_calls_are_refused)
{
    static const u8 numbers[] = {0,   1,   15, 39, 60,
                                 158, 202, 231}; /* read, write, rt_sigreturn,
                     getpid, exit, arch_prctl, futex, exit_group */
    struct conform_outcome *o;

    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        o = RUN(MODE_64, "\x0f\x05", numbers[i], 0, 0); /* syscall */
        ck_assert_uint_eq(o->vector, OUTCOME_SYSCALL);
        ck_assert_uint_eq(o->out.rip, CODE + 2);
        ck_assert_uint_eq(RUN(MODE_64, "\xcd\x80", numbers[i], 0, 0)->vector, OUTCOME_SYSCALL);
        ck_assert_uint_eq(RUN(MODE_32, "\xcd\x80", numbers[i], 0, 0)->vector, OUTCOME_SYSCALL);
    }
    assert_ran(RUN(MODE_64, "\x90", 0, 0, 0), 1);
}
END_TEST

START_TEST(a_state_that_cannot_be_loaded_is_told)
{
    prepare(&cases[0], MODE_64, "\x90", 1)->in.selector[SEG_DS] = SEL_ABSENT;
    prepare(&cases[1], MODE_64, "\x90", 1);
    ck_assert_int_eq(native_host_run(host, cases, outcomes, 2, &err), ST_OK);
    ck_assert_uint_eq(outcomes[0].vector, OUTCOME_LOST);
    assert_ran(&outcomes[1], 1);
}
END_TEST

static pid_t only_child(void)
{
    char path[64], text[64] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
    fclose(f);
    return atoi(text);
}

START_TEST(a_lost_child_is_started_again)
{
    pid_t before = only_child();

    for (unsigned i = 0; i < 4; i++)
        prepare(&cases[i], MODE_64, "\xff\xc0", 2);
    kill(before, SIGKILL);
    ck_assert_int_eq(native_host_run(host, cases, outcomes, 4, &err), ST_OK);
    ck_assert_int_ne(only_child(), before);
    ck_assert_uint_eq(outcomes[0].vector, OUTCOME_LOST);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_uint_eq(outcomes[i].vector, VEC_BP);
        ck_assert_uint_eq(outcomes[i].out.gpr[RAX], 1);
    }
}
END_TEST

START_TEST(signals_of_the_terminal_do_not_reach_the_child)
{
    pid_t child = only_child();

    kill(child, SIGINT);
    kill(child, SIGTERM);
    kill(child, SIGUSR1);
    assert_ran(RUN(MODE_64, "\x90", 0, 0, 0), 1);
    ck_assert_int_eq(only_child(), child);
}
END_TEST

static double child_seconds(void)
{
    struct rusage r;

    getrusage(RUSAGE_CHILDREN, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* In processor time, which other work on the machine does not add to: some 4 us. */
START_TEST(a_case_costs_few_microseconds)
{
    enum { BATCHES = 1000 };
    struct native_host *other;
    double before = child_seconds(), cost;

    for (unsigned i = 0; i < BATCH; i++)
        prepare(&cases[i], MODE_64, "\x48\x01\xc8", 3);
    ck_assert_int_eq(native_host_create(&other, BATCH, &err), ST_OK);
    for (unsigned i = 0; i < BATCHES; i++)
        ck_assert_int_eq(native_host_run(other, cases, outcomes, BATCH, &err), ST_OK);
    native_host_destroy(other);
    cost = (child_seconds() - before) / BATCHES / BATCH;
    printf("a case costs %.2f us of the child\n", cost * 1e6);
    ck_assert(cost < 20e-6);
}
END_TEST

/* Makes the kernel refuse one call from here on. */
static void forbid(u32 number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(code), code};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), 0);
}

START_TEST(a_host_that_forbids_something_is_told)
{
    static const struct {
        u32 number;
        const char *text;
    } calls[] = {{SYS_modify_ldt, "modify_ldt"},
                 {SYS_seccomp, "seccomp filters"},
                 {SYS_setitimer, "setitimer"},
                 {SYS_memfd_create, "memfd_create"}};
    struct native_host *other = host;

    forbid(calls[_i].number);
    ck_assert_int_ne(native_host_create(&other, 1, &err), ST_OK);
    ck_assert_ptr_null(other);
    ck_assert_msg(strstr(err.text, calls[_i].text) && strstr(err.text, "ermitted"), "%s", err.text);
    ck_assert_int_eq(err.text[strlen(err.text) - 1], '.');
    kill(only_child(), SIGKILL); /* nor can a lost child be started again */
    prepare(cases, MODE_64, "\x90", 1);
    prepare(cases + 1, MODE_64, "\x90", 1);
    ck_assert_int_eq(native_host_run(host, cases, outcomes, 2, &err) == ST_OK,
                     calls[_i].number == SYS_memfd_create);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("native");
    TCase *t = tcase_create("native");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_batch_keeps_its_order);
    tcase_add_test(t, more_cases_than_a_batch_are_run_in_parts);
    tcase_add_test(t, a_case_that_hangs_ends);
    tcase_add_test(t, a_tick_is_not_seen);
    tcase_add_test(t, system_calls_are_refused);
    tcase_add_test(t, a_state_that_cannot_be_loaded_is_told);
    tcase_add_test(t, a_lost_child_is_started_again);
    tcase_add_test(t, signals_of_the_terminal_do_not_reach_the_child);
    tcase_add_test(t, a_case_costs_few_microseconds);
    tcase_add_loop_test(t, a_host_that_forbids_something_is_told, 0, 4);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
