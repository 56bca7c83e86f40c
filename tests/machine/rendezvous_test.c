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

/* Two threads ask, each for itself; the other two obey at their safe points. What one asks for must
 * not be taken for done because they obeyed the other. */
static u64 wanted[2], obeyed[THREADS][2];

static void obey(struct participant *p)
{
    for (unsigned n = 0; n < 2; n++)
        if (__atomic_load_n(&p->vcpu->events, __ATOMIC_SEQ_CST) & (EVENT_NMI << n)) {
            vcpu_clear_signal(p->vcpu, EVENT_NMI << n);
            __atomic_store_n(&obeyed[p->vcpu->index][n],
                             __atomic_load_n(&wanted[n], __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
        }
}

/* Between two "instructions". */
static void safe_point(struct participant *p)
{
    u32 events = __atomic_load_n(&p->vcpu->events, __ATOMIC_SEQ_CST);

    vcpu_clear_signal(p->vcpu, events & EVENTS_AT_ONCE);
    if (events & EVENT_SYNC) {
        rendezvous_syncing(p);
        obey(p);
        rendezvous_synced(&r, p);
    }
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
        if (__atomic_load_n(&lent, __ATOMIC_SEQ_CST)) {
            __atomic_store_n(&shared[p->vcpu->index], 1, __ATOMIC_SEQ_CST);
            for (unsigned k = 0; k < 20; k++)
                __builtin_ia32_pause();
            __atomic_store_n(&shared[p->vcpu->index], 0, __ATOMIC_SEQ_CST);
        }
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

/* Threads 0 and 1 take back what the others have, as write tags are taken from TLBs. The one that
 * comes second finds nothing left to take; still it must not return while somebody uses what he
 * found before the first one took it. */
static pthread_barrier_t barrier;
static u32 owned[THREADS], takers_done;

static bool takes(void *opaque, struct vcpu *v)
{
    (void)opaque;
    return __atomic_exchange_n(&owned[v->index], 0, __ATOMIC_SEQ_CST);
}

static void take(struct participant *p)
{
    rendezvous_take_begin(&r, p);
    rendezvous_sync(&r, p, 0, takes, NULL);
    rendezvous_take_end(&r);
    for (unsigned n = 0; n < 300; n++)
        if (__atomic_load_n(&shared[2 + n % 2], __ATOMIC_SEQ_CST))
            __atomic_store_n(&broken, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&takers_done, 1, __ATOMIC_SEQ_CST);
}

static void use(struct participant *p)
{
    unsigned k = p->vcpu->index;

    while (__atomic_load_n(&takers_done, __ATOMIC_SEQ_CST) < 2) {
        if (__atomic_load_n(&owned[k], __ATOMIC_SEQ_CST)) {
            __atomic_store_n(&shared[k], 1, __ATOMIC_SEQ_CST);
            for (unsigned n = 0; n < 300; n++)
                __builtin_ia32_pause();
            __atomic_store_n(&shared[k], 0, __ATOMIC_SEQ_CST);
        }
        safe_point(p);
    }
}

static void *take_or_use(void *opaque)
{
    struct participant *p = opaque;

    for (unsigned n = 0; n < ROUNDS / 3; n++) {
        owned[p->vcpu->index] = p->vcpu->index >= 2;
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            takers_done = 0;
        pthread_barrier_wait(&barrier);
        rendezvous_enter(&r, p);
        if (p->vcpu->index < 2)
            take(p);
        else
            use(p);
        safe_point(p);
        rendezvous_leave(&r, p);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

START_TEST(the_second_taker_waits_as_well)
{
    pthread_barrier_init(&barrier, NULL, THREADS);
    run_threads(take_or_use);
    pthread_barrier_destroy(&barrier);
    ck_assert_uint_eq(broken, 0);
}
END_TEST

static pthread_barrier_t all_in;

static bool obeys(void *opaque, struct vcpu *v)
{
    (void)opaque;
    return v->index >= 2;
}

static void *ask(void *opaque)
{
    struct participant *p = opaque;
    unsigned index = p->vcpu->index;

    rendezvous_enter(&r, p);
    pthread_barrier_wait(&all_in);
    for (u64 n = 1; n <= ROUNDS / 10 && index < 2; n++) {
        __atomic_store_n(&wanted[index], n, __ATOMIC_SEQ_CST);
        rendezvous_sync(&r, p, EVENT_NMI << index, obeys, NULL);
        for (unsigned k = 2; k < THREADS; k++)
            if (__atomic_load_n(&obeyed[k][index], __ATOMIC_SEQ_CST) < n)
                __atomic_store_n(&broken, 1, __ATOMIC_RELAXED);
        safe_point(p);
    }
    if (index < 2)
        __atomic_add_fetch(&quit, 1, __ATOMIC_SEQ_CST);
    while (index >= 2 && __atomic_load_n(&quit, __ATOMIC_SEQ_CST) < 2)
        safe_point(p);
    rendezvous_leave(&r, p);
    return NULL;
}

START_TEST(sync_of_two_at_once_waits_for_each)
{
    memset(wanted, 0, sizeof(wanted));
    memset(obeyed, 0, sizeof(obeyed));
    pthread_barrier_init(&all_in, NULL, THREADS);
    run_threads(ask);
    pthread_barrier_destroy(&all_in);
    ck_assert_uint_eq(broken, 0);
}
END_TEST

/* Processor 1 is about to say that it obeyed somebody else, after it had looked at its events, when
 * its next event comes in; it looks at that when EVENT_SYNC comes. */
static unsigned signals;
static bool looked;

static void late(void *opaque, struct vcpu *v)
{
    struct participant *p = &r.members[v->index];

    (void)opaque;
    if (!signals++) {
        rendezvous_synced(&r, p);
        return;
    }
    looked = __atomic_load_n(&v->events, __ATOMIC_SEQ_CST) & EVENT_TLB;
    safe_point(p);
}

START_TEST(who_obeyed_another_has_not_passed)
{
    static const struct vcpu_platform platform = {.wake = late};

    signals = 0;
    looked = false;
    vcpus[1]->platform = &platform;
    rendezvous_enter(&r, &r.members[0]);
    rendezvous_enter(&r, &r.members[1]);
    rendezvous_syncing(&r.members[1]);
    vcpus[1]->asleep = 1;
    rendezvous_sync(&r, &r.members[0], EVENT_TLB, everybody, NULL);
    ck_assert(looked);
    ck_assert_uint_eq(vcpus[1]->events, 0);
}
END_TEST

/* Processor 1 waits for a device in the middle of an instruction. */
static u32 finished;

static void *use_device(void *opaque)
{
    struct participant *p = opaque;

    rendezvous_enter(&r, p);
    pthread_barrier_wait(&all_in);
    rendezvous_lock(&r, p);
    rendezvous_unlock(&r);
    pthread_barrier_wait(&all_in);
    safe_point(p);
    rendezvous_leave(&r, p);
    return NULL;
}

static void *forget(void *opaque)
{
    struct participant *p = opaque;

    rendezvous_enter(&r, p);
    rendezvous_sync(&r, p, EVENT_TLB, everybody, NULL);
    __atomic_store_n(&finished, 1, __ATOMIC_SEQ_CST);
    rendezvous_finish(&r, p, EVENT_TLB, everybody, NULL);
    __atomic_store_n(&finished, 2, __ATOMIC_SEQ_CST);
    rendezvous_leave(&r, p);
    return NULL;
}

static void wait_for(const u32 *at, u32 value)
{
    while (__atomic_load_n(at, __ATOMIC_SEQ_CST) != value)
        usleep(1000);
}

START_TEST(finish_waits_for_the_end_of_instructions)
{
    pthread_t threads[2];

    finished = 0;
    pthread_barrier_init(&all_in, NULL, 2);
    rendezvous_lock(&r, NULL);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, use_device, &r.members[1]), 0);
    pthread_barrier_wait(&all_in);
    wait_for(&r.members[1].presence, WAITING);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, forget, &r.members[0]), 0);
    wait_for(&r.members[0].presence, ASKING);
    ck_assert_uint_eq(finished, 1);
    rendezvous_unlock(&r);
    wait_for(&r.members[1].presence, RUNNING);
    usleep(20000);
    ck_assert_uint_eq(finished, 1);
    pthread_barrier_wait(&all_in);
    for (unsigned n = 0; n < 2; n++)
        pthread_join(threads[n], NULL);
    ck_assert_uint_eq(finished, 2);
    pthread_barrier_destroy(&all_in);
}
END_TEST

/* All wait for all: by sync, exclusivity and the device lock, in changing order. */
static void *mix(void *opaque)
{
    struct participant *p = opaque;

    rendezvous_enter(&r, p);
    for (unsigned n = 0; n < ROUNDS; n++) {
        switch ((n + p->vcpu->index) % 5) {
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
        case 3: rendezvous_finish(&r, p, EVENT_TLB, everybody, NULL); break;
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
    ck_assert_uint_eq(counter[0], THREADS * ROUNDS / 5 * 2);
    ck_assert_uint_eq(counter[1], counter[0]);
}
END_TEST

START_TEST(who_is_outside_is_not_waited_for)
{
    rendezvous_enter(&r, &r.members[0]);
    rendezvous_sync(&r, &r.members[0], EVENT_TLB, everybody, NULL);
    for (unsigned n = 1; n < THREADS; n++)
        ck_assert_uint_eq(vcpus[n]->events, EVENT_TLB);
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
    tcase_add_test(tc, the_second_taker_waits_as_well);
    tcase_add_test(tc, sync_of_two_at_once_waits_for_each);
    tcase_add_test(tc, who_obeyed_another_has_not_passed);
    tcase_add_test(tc, finish_waits_for_the_end_of_instructions);
    tcase_add_test(tc, nobody_waits_for_ever);
    tcase_add_test(tc, who_is_outside_is_not_waited_for);
    tcase_add_test(tc, profile_counts_what_threads_wait_for);
    tcase_add_test(tc, without_a_profile_there_is_no_report);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
