/* SPDX-License-Identifier: MIT
 *
 * Threads that agree: exclusivity, safe points, the device lock, with vCPUs that execute nothing.
 */
#include "machine/rendezvous.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/suite.h"

enum { THREADS = 4, ROUNDS = 3000 };

static struct rendezvous r;
static struct vcpu *vcpus[THREADS];
static u64 counter[2]; /* equal whenever nobody is in the middle */
static u32 quit, broken;
static u8 shared[THREADS]; /* what each thread looked up before */
static u32 lent;

static void setup(void)
{
    struct error err;

    ck_assert_int_eq(rendezvous_create(&r, THREADS, &err), ST_OK);
    for (unsigned n = 0; n < THREADS; n++) {
        vcpus[n] = aligned_alloc(64, (sizeof(struct vcpu) + 63) & ~63ull);
        ck_assert_ptr_nonnull(vcpus[n]);
        vcpus[n]->events = vcpus[n]->asleep = 0;
        vcpus[n]->index = n;
        r.members[n].vcpu = vcpus[n];
    }
    counter[0] = counter[1] = 0;
    quit = broken = 0;
    lent = 1;
}

static void teardown(void)
{
    for (unsigned n = 0; n < THREADS; n++)
        free(vcpus[n]);
    rendezvous_destroy(&r);
}

/* Between two "instructions". */
static void safe_point(struct participant *p)
{
    u32 events = __atomic_load_n(&p->vcpu->events, __ATOMIC_SEQ_CST);

    vcpu_clear_signal(p->vcpu, EVENTS_AT_ONCE);
    if (events & EVENT_SYNC)
        rendezvous_synced(&r, p);
    if (events & EVENT_STOP) {
        rendezvous_leave(&r, p);
        rendezvous_enter(&r, p);
    }
}

static void run_threads(void *(*body)(void *))
{
    pthread_t threads[THREADS];

    for (unsigned n = 0; n < THREADS; n++)
        ck_assert_int_eq(pthread_create(&threads[n], NULL, body, &r.members[n]), 0);
    for (unsigned n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
}

/* Even threads change both words while the others stand still; odd ones look without any lock. */
static void *exclude(void *opaque)
{
    struct participant *p = opaque;
    u64 a, b;

    rendezvous_enter(&r, p);
    for (unsigned n = 0; n < ROUNDS; n++) {
        if (p->vcpu->index % 2 == 0) {
            rendezvous_exclusive_begin(&r, p);
            counter[0]++;
            rendezvous_exclusive_begin(&r, p); /* they nest */
            counter[1]++;
            rendezvous_exclusive_end(&r, p);
            rendezvous_exclusive_end(&r, p);
        } else {
            a = __atomic_load_n(&counter[0], __ATOMIC_RELAXED);
            b = __atomic_load_n(&counter[1], __ATOMIC_RELAXED);
            if (a != b)
                __atomic_store_n(&broken, 1, __ATOMIC_RELAXED);
        }
        safe_point(p);
    }
    rendezvous_leave(&r, p);
    return NULL;
}

START_TEST(exclusivity_keeps_all_others_still)
{
    run_threads(exclude);
    ck_assert_uint_eq(counter[0], THREADS / 2 * ROUNDS);
    ck_assert_uint_eq(counter[1], THREADS / 2 * ROUNDS);
    ck_assert_uint_eq(broken, 0);
}
END_TEST

static bool everybody(void *opaque, struct vcpu *v)
{
    (void)opaque, (void)v;
    return true;
}

/* Thread 0 takes back what it lends; nobody may use it after rendezvous_sync(). The others look it
 * up, and use what they found until their next safe point. */
static void *lend(void *opaque)
{
    struct participant *p = opaque;

    rendezvous_enter(&r, p);
    for (unsigned n = 0; n < ROUNDS && p->vcpu->index == 0; n++) {
        __atomic_store_n(&lent, 0, __ATOMIC_SEQ_CST);
        rendezvous_sync(&r, p, 0, everybody, NULL);
        for (unsigned k = 1; k < THREADS; k++)
            if (__atomic_load_n(&shared[k], __ATOMIC_SEQ_CST))
                __atomic_store_n(&broken, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&lent, 1, __ATOMIC_SEQ_CST);
        safe_point(p);
    }
    if (p->vcpu->index == 0)
        __atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&shared[p->vcpu->index], 1, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&lent, __ATOMIC_SEQ_CST))
            __atomic_store_n(&shared[p->vcpu->index], 0, __ATOMIC_SEQ_CST);
        for (unsigned k = 0; k < 20; k++)
            __builtin_ia32_pause();
        __atomic_store_n(&shared[p->vcpu->index], 0, __ATOMIC_SEQ_CST);
        safe_point(p);
    }
    rendezvous_leave(&r, p);
    return NULL;
}

START_TEST(sync_returns_when_all_have_passed_a_safe_point)
{
    run_threads(lend);
    ck_assert_uint_eq(broken, 0);
}
END_TEST

/* All wait for all: by sync, exclusivity and the device lock, in changing order. */
static void *mix(void *opaque)
{
    struct participant *p = opaque;

    rendezvous_enter(&r, p);
    for (unsigned n = 0; n < ROUNDS; n++) {
        switch ((n + p->vcpu->index) % 4) {
        case 0: rendezvous_sync(&r, p, EVENT_TLB, everybody, NULL); break;
        case 1:
            rendezvous_lock(&r, p);
            counter[0]++;
            rendezvous_lock(&r, p); /* again */
            rendezvous_sync(&r, p, 0, everybody, NULL);
            counter[1]++;
            rendezvous_unlock(&r);
            rendezvous_unlock(&r);
            break;
        case 2:
            rendezvous_lock(&r, p);
            rendezvous_exclusive_begin(&r, p);
            counter[0]++;
            counter[1]++;
            rendezvous_exclusive_end(&r, p);
            rendezvous_unlock(&r);
            break;
        default:
            rendezvous_exclusive_begin(&r, p);
            rendezvous_exclusive_end(&r, p);
            break;
        }
        rendezvous_notify(&r, p);
        safe_point(p);
    }
    rendezvous_leave(&r, p);
    return NULL;
}

START_TEST(nobody_waits_for_ever)
{
    run_threads(mix);
    ck_assert_uint_eq(counter[0], THREADS * ROUNDS / 2);
    ck_assert_uint_eq(counter[1], counter[0]);
}
END_TEST

START_TEST(who_is_outside_is_not_waited_for)
{
    rendezvous_enter(&r, &r.members[0]);
    rendezvous_sync(&r, &r.members[0], EVENT_TLB, everybody, NULL);
    for (unsigned n = 1; n < THREADS; n++)
        ck_assert_uint_eq(vcpus[n]->events, EVENT_TLB | EVENT_SYNC);
    ck_assert_uint_eq(vcpus[0]->events, 0);
    rendezvous_leave(&r, &r.members[0]);
    rendezvous_sync(&r, NULL, 0, everybody, NULL);
    ck_assert_uint_eq(vcpus[0]->events, 0);
}
END_TEST

/* Thread 0 keeps the device lock until thread 1 has waited for it for two milliseconds. */
static void *keep_waiting(void *opaque)
{
    struct participant *p = opaque;

    rendezvous_enter(&r, p);
    if (p->vcpu->index == 0) {
        rendezvous_lock(&r, p);
        rendezvous_lock(&r, p);
        __atomic_store_n(&lent, 0, __ATOMIC_SEQ_CST);
        while (!__atomic_load_n(&r.members[1].contention.contended, __ATOMIC_SEQ_CST))
            usleep(100);
        usleep(2000);
        rendezvous_unlock(&r);
        rendezvous_unlock(&r);
    } else if (p->vcpu->index == 1) {
        while (__atomic_load_n(&lent, __ATOMIC_SEQ_CST))
            usleep(100);
        rendezvous_lock(&r, p);
        rendezvous_exclusive_begin(&r, p);
        rendezvous_exclusive_end(&r, p);
        rendezvous_unlock(&r);
    }
    rendezvous_leave(&r, p);
    return NULL;
}

static void check_report(void)
{
    struct log log = {.categories = LOG_CONTENTION};
    size_t size, lines = 0;
    char *text;

    log.sink = open_memstream(&text, &size);
    rendezvous_report(&r, &log, 1000000000);
    fclose(log.sink);
    for (size_t at = 0; at < size; at++)
        lines += text[at] == '\n';
    ck_assert_uint_eq(lines, 1 + THREADS);
    ck_assert_ptr_nonnull(strstr(text, "processor 0: device lock taken 1 times, held "));
    free(text);
}

START_TEST(profile_counts_what_threads_wait_for)
{
    const struct contention *c;

    r.profiling = true;
    run_threads(keep_waiting);
    c = &r.members[0].contention;
    ck_assert_uint_eq(c->taken, 1);
    ck_assert_uint_eq(c->contended, 0);
    ck_assert_uint_ge(c->held, 2000000);
    c = &r.members[1].contention;
    ck_assert_uint_eq(c->taken, 1);
    ck_assert_uint_ge(c->contended, 1);
    ck_assert_uint_ge(c->lock_waited, 2000000);
    ck_assert_uint_eq(c->exclusive, 1);
    ck_assert_uint_eq(r.members[2].contention.taken, 0);
    check_report();
}
END_TEST

START_TEST(without_a_profile_there_is_no_report)
{
    struct log log = {.sink = NULL};

    rendezvous_report(&r, &log, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rendezvous");
    TCase *tc = tcase_create("rendezvous");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, exclusivity_keeps_all_others_still);
    tcase_add_test(tc, sync_returns_when_all_have_passed_a_safe_point);
    tcase_add_test(tc, nobody_waits_for_ever);
    tcase_add_test(tc, who_is_outside_is_not_waited_for);
    tcase_add_test(tc, profile_counts_what_threads_wait_for);
    tcase_add_test(tc, without_a_profile_there_is_no_report);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
