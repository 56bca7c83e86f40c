/* SPDX-License-Identifier: MIT
 *
 * Several processors: APIC ids follow the topology, INIT and SIPI start them, a reset stops them;
 * the MSRs that live in the local APIC; randomness that repeats in counted time only.
 */
#include "machine/internal.h"
#include "cpu/msr.h"
#include "tests/machine/guests.h"
#include "tests/suite.h"

static const struct cpu_topology topologies[] = {
    {1, 1, 1}, {1, 1, 2}, {1, 2, 1}, {2, 1, 1}, {1, 4, 2}, {2, 3, 1}, {3, 3, 2}, {1, 5, 1},
};

static void prepare(struct guest_machine *g, enum guest guest, const struct cpu_topology *t)
{
    guest_prepare(g, guest, t->sockets * t->cores * t->threads);
    g->config.topology = *t;
}

/* The guest adds up the ids (+ 1) of all that came up. */
static void start_all(enum time_kind time)
{
    for (unsigned n = 0; n < ARRAY_SIZE(topologies); n++) {
        const struct cpu_topology *t = &topologies[n];
        struct guest_machine g;
        u32 sum = 0;

        for (unsigned cpu = 0; cpu < t->sockets * t->cores * t->threads; cpu++)
            sum += cpu_topology_apic_id(t, cpu) + 1;
        prepare(&g, GUEST_SMP, t);
        g.config.time = time;
        guest_create(&g);
        ck_assert_uint_eq(guest_run(&g, END_DEBUG_EXIT), (sum * 2 + 1) & 0x1ff);
        guest_destroy(&g);
    }
}

START_TEST(init_and_sipi_start_every_processor)
{
    start_all(TIME_REAL);
}
END_TEST

START_TEST(init_and_sipi_start_every_processor_in_counted_time)
{
    start_all(TIME_COUNTED);
}
END_TEST

START_TEST(reset_stops_the_other_processors)
{
    struct guest_machine g;

    prepare(&g, GUEST_SMP_RESET, &(const struct cpu_topology){1, 2, 1});
    guest_create(&g);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 3);
    guest_destroy(&g);
}
END_TEST

START_TEST(only_the_first_is_the_boot_processor)
{
    struct guest_machine g;

    prepare(&g, GUEST_EXIT, &(const struct cpu_topology){1, 3, 1});
    guest_create(&g);
    for (unsigned n = 0; n < 3; n++) {
        struct vcpu *v = g.machine->processors[n].vcpu;
        u64 base;

        ck_assert_int_eq(v->activity, n ? ACTIVITY_WAIT_SIPI : ACTIVITY_RUN);
        ck_assert(msr_read(v, 0x1b, &base));
        ck_assert_uint_eq(base, 0xfee00800 | (n ? 0 : 0x100));
    }
    guest_destroy(&g);
}
END_TEST

START_TEST(the_local_apic_has_its_msrs)
{
    struct guest_machine g;
    struct vcpu *v;
    u64 value;

    guest_prepare(&g, GUEST_EXIT, 0);
    guest_create(&g);
    v = g.machine->processors[0].vcpu;
    ck_assert(!msr_read(v, 0x802, &value)); /* xAPIC mode: no x2APIC registers */
    ck_assert(msr_write(v, 0x1b, 0xfee00d00));
    ck_assert(msr_read(v, 0x802, &value));
    ck_assert_uint_eq(value, 0);
    ck_assert(!msr_write(v, 0x802, 1));         /* read-only */
    ck_assert(!msr_write(v, 0x1b, 0xfee00900)); /* x2APIC to xAPIC is not a transition */
    ck_assert(msr_read(v, 0x6e0, &value));
    guest_destroy(&g);
}
END_TEST

START_TEST(no_deadline_timer_without_the_feature)
{
    struct guest_machine g;
    struct vcpu *v;
    u64 value;

    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.cpu = "max,-tsc-deadline,-x2apic";
    guest_create(&g);
    v = g.machine->processors[0].vcpu;
    ck_assert(!msr_read(v, 0x6e0, &value));
    ck_assert(!msr_write(v, 0x6e0, 5));
    ck_assert(!msr_write(v, 0x1b, 0xfee00d00));
    guest_destroy(&g);
}
END_TEST

/* IA32_APIC_BASE bit 11 off: CPUID shows no APIC (SDM 3A 10.4.3). */
START_TEST(cpuid_hides_a_disabled_apic)
{
    struct guest_machine g;
    struct cpuid_result r;
    struct vcpu *v;

    guest_prepare(&g, GUEST_EXIT, 0);
    guest_create(&g);
    v = g.machine->processors[0].vcpu;
    cpuid_read(v, 1, 0, &r);
    ck_assert(r.edx & 1 << 9);
    ck_assert(msr_write(v, 0x1b, 0xfee00100));
    cpuid_read(v, 1, 0, &r);
    ck_assert(!(r.edx & 1 << 9));
    guest_destroy(&g);
}
END_TEST

START_TEST(random_numbers_repeat_in_counted_time_only)
{
    u64 values[2][2] = {{0}};

    for (unsigned kind = TIME_REAL; kind <= TIME_COUNTED; kind++) {
        for (unsigned n = 0; n < 2; n++) {
            struct guest_machine g;
            const struct vcpu_platform *p;

            guest_prepare(&g, GUEST_EXIT, 0);
            g.config.time = kind;
            guest_create(&g);
            p = &g.machine->vcpu_platform;
            ck_assert(p->random(p->opaque, g.machine->processors[0].vcpu, &values[kind][n]));
            guest_destroy(&g);
        }
    }
    ck_assert_uint_ne(values[TIME_REAL][0], values[TIME_REAL][1]);
    ck_assert_uint_eq(values[TIME_COUNTED][0], values[TIME_COUNTED][1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("processors");
    TCase *tc = tcase_create("processors");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, init_and_sipi_start_every_processor);
    tcase_add_test(tc, init_and_sipi_start_every_processor_in_counted_time);
    tcase_add_test(tc, reset_stops_the_other_processors);
    tcase_add_test(tc, only_the_first_is_the_boot_processor);
    tcase_add_test(tc, the_local_apic_has_its_msrs);
    tcase_add_test(tc, no_deadline_timer_without_the_feature);
    tcase_add_test(tc, cpuid_hides_a_disabled_apic);
    tcase_add_test(tc, random_numbers_repeat_in_counted_time_only);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
