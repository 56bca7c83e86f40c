/* SPDX-License-Identifier: MIT
 *
 * Two machines in one process, on two threads at once: nothing that one does shows in the other.
 */
#include "tests/machine/guests.h"
#include "tests/suite.h"

enum { ROUNDS = 2 };

struct result {
    int code;
    u64 instructions;
    u64 hash[2];
    char output[64];
};

struct job {
    enum guest guest;
    u32 parameter;
    struct result results[ROUNDS];
};

static void run_one(const struct job *job, struct result *r)
{
    struct guest_machine g;

    guest_prepare(&g, job->guest, job->parameter);
    g.config.time = TIME_COUNTED;
    g.config.ips = 10000000;
    guest_create(&g);
    r->code = guest_run(&g, END_DEBUG_EXIT);
    r->instructions = machine_instructions(g.machine);
    ck_assert_int_eq(machine_ram_hash(g.machine, r->hash, &g.err), ST_OK);
    chardev_memory_take(g.serial, r->output, sizeof(r->output) - 1);
    guest_destroy(&g);
}

static void *run_job(void *opaque)
{
    struct job *job = opaque;

    for (unsigned n = 0; n < ROUNDS; n++)
        run_one(job, &job->results[n]);
    return NULL;
}

static void check_pair(struct job *a, struct job *b)
{
    struct result alone[2] = {0};
    pthread_t thread;

    run_one(a, &alone[0]);
    run_one(b, &alone[1]);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_job, a), 0);
    run_job(b);
    pthread_join(thread, NULL);
    for (unsigned n = 0; n < ROUNDS; n++) {
        ck_assert_mem_eq(&a->results[n], &alone[0], sizeof(alone[0]));
        ck_assert_mem_eq(&b->results[n], &alone[1], sizeof(alone[1]));
    }
}

START_TEST(same_work_on_other_numbers)
{
    struct job a = {GUEST_WORK, 1, {{0}}}, b = {GUEST_WORK, 2, {{0}}};

    check_pair(&a, &b);
    ck_assert_uint_ne(a.results[0].hash[0], b.results[0].hash[0]);
}
END_TEST

START_TEST(different_work)
{
    struct job a = {GUEST_HELLO, 0, {{0}}}, b = {GUEST_SLEEP, 0, {{0}}};

    check_pair(&a, &b);
    ck_assert_str_eq(a.results[0].output, "Lockstep says hello");
    ck_assert_str_eq(b.results[0].output, "");
}
END_TEST

/* A machine that only waits does not hold up, or end, the other. */
START_TEST(one_sleeps_one_works)
{
    struct guest_machine sleeper, worker;
    pthread_t thread;
    int code;

    guest_prepare(&sleeper, GUEST_HALT, 0);
    guest_create(&sleeper);
    guest_prepare(&worker, GUEST_EXIT, 0);
    guest_create(&worker);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_later, sleeper.machine), 0);
    ck_assert_int_eq(guest_run(&worker, END_DEBUG_EXIT), 43);
    ck_assert_int_eq(machine_run(sleeper.machine, &code), END_STOPPED);
    pthread_join(thread, NULL);
    guest_destroy(&worker);
    guest_destroy(&sleeper);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("two_machines");
    TCase *tc = tcase_create("two_machines");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, same_work_on_other_numbers);
    tcase_add_test(tc, different_work);
    tcase_add_test(tc, one_sleeps_one_works);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
