/* SPDX-License-Identifier: MIT
 *
 * A thread for each processor: stopping and going on, sleep, and who gets threads at all.
 */
#include "machine/internal.h"
#include "tests/machine/guests.h"
#include "tests/suite.h"

static void prepare(struct guest_machine *g, enum guest guest, unsigned processors)
{
    guest_prepare(g, guest, 0);
    g->config.topology = (struct cpu_topology){1, processors, 1};
}

/* Each processor counts in its own order; only what needs no such order has threads. */
START_TEST(counted_and_checked_machines_run_in_turn)
{
    static const struct {
        enum engine_kind engine;
        enum time_kind time;
        bool exact, threaded;
    } cases[] = {
        {ENGINE_JIT, TIME_REAL, false, true},    {ENGINE_INTERP, TIME_REAL, false, true},
        {ENGINE_CHECK, TIME_REAL, false, false}, {ENGINE_JIT, TIME_COUNTED, false, false},
        {ENGINE_JIT, TIME_REAL, true, false},
    };

    for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
        struct guest_machine g;

        prepare(&g, GUEST_EXIT, 2);
        g.config.engine = cases[n].engine;
        g.config.time = cases[n].time;
        g.config.exact = cases[n].exact;
        guest_create(&g);
        ck_assert(g.machine->threaded == cases[n].threaded);
        ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 43);
        guest_destroy(&g);
    }
}
END_TEST

START_TEST(stops_and_goes_on_many_times)
{
    struct guest_machine g;
    pthread_t thread;

    prepare(&g, GUEST_SPIN, 4);
    guest_create(&g);
    for (unsigned n = 0; n < 5; n++) {
        pthread_create(&thread, NULL, stop_later, g.machine);
        guest_run(&g, END_STOPPED);
        pthread_join(thread, NULL);
    }
    machine_reset(g.machine);
    machine_stop(g.machine);
    guest_run(&g, END_STOPPED);
    guest_destroy(&g);
}
END_TEST

static void costs_nothing(enum guest guest, unsigned processors, enum engine_kind engine)
{
    struct guest_machine g;
    pthread_t thread;
    u64 before;

    prepare(&g, guest, processors);
    g.config.engine = engine;
    guest_create(&g);
    pthread_create(&thread, NULL, stop_later, g.machine);
    before = time_of_host(CLOCK_PROCESS_CPUTIME_ID);
    guest_run(&g, END_STOPPED);
    ck_assert_uint_lt(time_of_host(CLOCK_PROCESS_CPUTIME_ID) - before, 60000000);
    pthread_join(thread, NULL);
    guest_destroy(&g);
}

START_TEST(halted_processors_cost_nothing)
{
    costs_nothing(GUEST_HALT, 8, ENGINE_JIT);
}
END_TEST

/* MWAIT sleeps until its line changes, looking at it now and then. */
START_TEST(mwait_gives_the_host_processor_back)
{
    costs_nothing(GUEST_MWAIT, 2, ENGINE_INTERP);
    costs_nothing(GUEST_MWAIT, 2, ENGINE_JIT);
}
END_TEST

START_TEST(the_most_processors_there_can_be)
{
    struct guest_machine g;

    prepare(&g, GUEST_EXIT, MACHINE_VCPUS_MAX);
    g.config.engine = ENGINE_INTERP;
    guest_create(&g);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 43);
    guest_destroy(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tc = tcase_create("threads");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, counted_and_checked_machines_run_in_turn);
    tcase_add_test(tc, stops_and_goes_on_many_times);
    tcase_add_test(tc, halted_processors_cost_nothing);
    tcase_add_test(tc, mwait_gives_the_host_processor_back);
    tcase_add_test(tc, the_most_processors_there_can_be);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
