/* SPDX-License-Identifier: MIT
 *
 * Local APIC: interrupt queue and priorities, LVT and pins, modes of IA32_APIC_BASE.
 */
#include <string.h>

#include "tests/devices/apic_fixture.h"
#include "tests/suite.h"

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f, 2);
    fixture_enable(&f, 0);
    fixture_enable(&f, 1);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

START_TEST(acknowledge_moves_request_into_service)
{
    struct lapic *l = f.cpus[0].lapic;

    ck_assert(!lapic_has_interrupt(l));
    ck_assert(fixture_interrupt(&f, 0, 0x41, false));
    ck_assert(lapic_has_interrupt(l) && f.cpus[0].intr && !f.cpus[1].intr);
    ck_assert(requested(&f, 0, 0x41) && !in_service(&f, 0, 0x41));
    ck_assert_uint_eq(lapic_acknowledge(l), 0x41);
    ck_assert(!requested(&f, 0, 0x41) && in_service(&f, 0, 0x41));
    ck_assert(!f.cpus[0].intr);
    ck_assert_uint_eq(reg_read(&f, 0, 0xa0), 0x40);
    reg_write(&f, 0, 0xb0, 0);
    ck_assert(!in_service(&f, 0, 0x41));
    ck_assert_uint_eq(reg_read(&f, 0, 0xa0), 0);
}
END_TEST

START_TEST(higher_class_nests_same_class_waits)
{
    struct lapic *l = f.cpus[0].lapic;

    fixture_interrupt(&f, 0, 0x41, false);
    lapic_acknowledge(l);
    fixture_interrupt(&f, 0, 0x4f, false);
    ck_assert(!lapic_has_interrupt(l));
    fixture_interrupt(&f, 0, 0x50, false);
    ck_assert_uint_eq(lapic_acknowledge(l), 0x50);
    reg_write(&f, 0, 0xb0, 0); /* ends 50h */
    ck_assert(!lapic_has_interrupt(l));
    reg_write(&f, 0, 0xb0, 0); /* ends 41h */
    ck_assert_uint_eq(lapic_acknowledge(l), 0x4f);
}
END_TEST

START_TEST(tpr_holds_back_its_class_and_cr8_is_its_high_half)
{
    struct lapic *l = f.cpus[0].lapic;

    reg_write(&f, 0, 0x80, 0x5c);
    ck_assert_uint_eq(lapic_get_tpr(l), 5);
    ck_assert_uint_eq(reg_read(&f, 0, 0xa0), 0x5c);
    fixture_interrupt(&f, 0, 0x5f, false);
    ck_assert(!lapic_has_interrupt(l));
    ck_assert_uint_eq(lapic_acknowledge(l), 0xff); /* spurious, and not in service */
    ck_assert(!in_service(&f, 0, 0xff));
    lapic_set_tpr(l, 4);
    ck_assert_uint_eq(reg_read(&f, 0, 0x80), 0x40);
    ck_assert(lapic_has_interrupt(l));
    lapic_set_tpr(l, 5);
    ck_assert(!lapic_has_interrupt(l));
}
END_TEST

START_TEST(arbitration_priority_register)
{
    ck_assert_uint_eq(reg_read(&f, 0, 0x90), 0);
    reg_write(&f, 0, 0x80, 0x5c);
    ck_assert_uint_eq(reg_read(&f, 0, 0x90), 0x5c);
    fixture_interrupt(&f, 0, 0x66, false);
    ck_assert_uint_eq(reg_read(&f, 0, 0x90), 0x40); /* 50h AND 60h */
}
END_TEST

START_TEST(level_eoi_is_broadcast_unless_suppressed)
{
    struct lapic *l = f.cpus[0].lapic;

    fixture_record_eois(&f);
    fixture_interrupt(&f, 0, 0x61, true);
    ck_assert(reg_bit(&f, 0, 0x180, 0x61));
    lapic_acknowledge(l);
    reg_write(&f, 0, 0xb0, 0);
    ck_assert_uint_eq(f.eois, 1);
    ck_assert_uint_eq(f.eoi_vector, 0x61);
    reg_write(&f, 0, 0xb0, 0); /* nothing in service */
    ck_assert_uint_eq(f.eois, 1);

    reg_write(&f, 0, 0xf0, 0x11ff);
    fixture_interrupt(&f, 0, 0x61, true);
    lapic_acknowledge(l);
    reg_write(&f, 0, 0xb0, 0);
    ck_assert_uint_eq(f.eois, 1);

    reg_write(&f, 0, 0xf0, 0x1ff);
    fixture_interrupt(&f, 0, 0x61, false); /* an edge clears TMR */
    ck_assert(!reg_bit(&f, 0, 0x180, 0x61));
    lapic_acknowledge(l);
    reg_write(&f, 0, 0xb0, 0);
    ck_assert_uint_eq(f.eois, 1);
}
END_TEST

START_TEST(software_disable_masks_lvt_and_refuses_fixed)
{
    struct lapic *l = f.cpus[0].lapic;

    fixture_interrupt(&f, 0, 0x41, false);
    reg_write(&f, 0, 0x350, 0x400); /* LINT0 NMI */
    reg_write(&f, 0, 0xf0, 0x0ff);
    ck_assert(lapic_has_interrupt(l)); /* what is pending stays pending */
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0x10400);
    reg_write(&f, 0, 0x350, 0x400);
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0x10400);
    ck_assert(!fixture_interrupt(&f, 0, 0x42, false));
    ck_assert(!requested(&f, 0, 0x42));
    ck_assert(apic_bus_send(&f.bus, &(struct apic_message){.mode = APIC_NMI}));
    ck_assert_uint_eq(f.cpus[0].nmis, 1);
    fixture_enable(&f, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0x10400);
}
END_TEST

START_TEST(illegal_vectors_set_esr_and_fire_error_once)
{
    struct lapic *l = f.cpus[0].lapic;

    reg_write(&f, 0, 0x370, 0x90);
    ck_assert(fixture_interrupt(&f, 0, 0x0f, false));
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0); /* not latched yet */
    ck_assert_uint_eq(lapic_acknowledge(l), 0x90);
    reg_write(&f, 0, 0xb0, 0);
    fixture_interrupt(&f, 0, 0x01, false);
    ck_assert(!lapic_has_interrupt(l)); /* not armed again */
    reg_write(&f, 0, 0x280, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0x40);
    fixture_interrupt(&f, 0, 0x01, false);
    ck_assert(lapic_has_interrupt(l));
    reg_write(&f, 0, 0x280, 0);
    reg_write(&f, 0, 0x280, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0);
}
END_TEST

START_TEST(illegal_vector_in_error_entry_does_not_recurse)
{
    reg_write(&f, 0, 0x370, 0x03);
    reg_read(&f, 0, 0x040);
    reg_write(&f, 0, 0x280, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0xc0);
    ck_assert(!lapic_has_interrupt(f.cpus[0].lapic));
}
END_TEST

START_TEST(lint0_extint_passes_any_priority)
{
    struct lapic *l = f.cpus[0].lapic;

    lapic_set_tpr(l, 15);
    reg_write(&f, 0, 0x350, 0x700);
    lapic_set_lint(l, LAPIC_LINT0, true);
    ck_assert(lapic_has_interrupt(l));
    lapic_set_lint(l, LAPIC_LINT0, false);
    ck_assert(!lapic_has_interrupt(l));
    lapic_set_lint(l, LAPIC_LINT0, true);
    ck_assert_uint_eq(lapic_acknowledge(l), 0x70);
    ck_assert_uint_eq(f.cpus[0].intas, 1);
    ck_assert(!lapic_has_interrupt(l) && !in_service(&f, 0, 0x70));
    reg_write(&f, 0, 0x350, 0x10700);
    lapic_set_lint(l, LAPIC_LINT0, true);
    ck_assert(!lapic_has_interrupt(l));
    reg_write(&f, 0, 0x350, 0x700);
    ck_assert(lapic_has_interrupt(l));
}
END_TEST

START_TEST(extint_message_waits_for_inta)
{
    struct lapic *l = f.cpus[0].lapic;

    ck_assert(apic_bus_send(&f.bus, &(struct apic_message){.mode = APIC_EXTINT}));
    ck_assert(lapic_has_interrupt(l));
    ck_assert_uint_eq(lapic_acknowledge(l), 0x70);
    ck_assert(!lapic_has_interrupt(l));
}
END_TEST

START_TEST(lint_edge_and_level)
{
    struct lapic *l = f.cpus[0].lapic;

    fixture_record_eois(&f);
    reg_write(&f, 0, 0x350, 0x55); /* fixed, edge */
    lapic_set_lint(l, LAPIC_LINT0, true);
    lapic_set_lint(l, LAPIC_LINT0, true);
    ck_assert_uint_eq(lapic_acknowledge(l), 0x55);
    reg_write(&f, 0, 0xb0, 0);
    ck_assert(!lapic_has_interrupt(l));
    lapic_set_lint(l, LAPIC_LINT0, false);

    reg_write(&f, 0, 0x350, 0x8055); /* fixed, level */
    lapic_set_lint(l, LAPIC_LINT0, true);
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0xc055);
    ck_assert_uint_eq(lapic_acknowledge(l), 0x55);
    ck_assert(!lapic_has_interrupt(l));
    reg_write(&f, 0, 0xb0, 0); /* still active: comes again */
    ck_assert_uint_eq(lapic_acknowledge(l), 0x55);
    lapic_set_lint(l, LAPIC_LINT0, false);
    reg_write(&f, 0, 0xb0, 0);
    ck_assert(!lapic_has_interrupt(l));
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0x8055);
    lapic_set_lint(l, LAPIC_LINT0, true);
    reg_write(&f, 0, 0x350, 0x55); /* to edge: remote IRR is gone */
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0x55);
}
END_TEST

START_TEST(lint1_nmi_smi_init_are_edges)
{
    struct lapic *l = f.cpus[0].lapic;
    static const u32 modes[] = {0x8400, 0x200, 0x500};

    for (unsigned i = 0; i < 3; i++) {
        reg_write(&f, 0, 0x360, modes[i]);
        lapic_set_lint(l, LAPIC_LINT1, true);
        lapic_set_lint(l, LAPIC_LINT1, true);
        lapic_set_lint(l, LAPIC_LINT1, false);
    }
    ck_assert_uint_eq(f.cpus[0].nmis, 1);
    ck_assert_uint_eq(f.cpus[0].smis, 1);
    ck_assert_uint_eq(f.cpus[0].inits, 1);
    reg_write(&f, 0, 0x360, 0x10400);
    lapic_set_lint(l, LAPIC_LINT1, true);
    reg_write(&f, 0, 0x360, 0x400); /* unmasking makes no edge */
    ck_assert_uint_eq(f.cpus[0].nmis, 1);
}
END_TEST

START_TEST(globally_disabled_pins_are_intr_and_nmi)
{
    struct lapic *l = f.cpus[0].lapic;

    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert(f.cpus[0].mapped);
    ck_assert(lapic_base_write(l, LAPIC_DEFAULT_BASE | LAPIC_BASE_BSP));
    ck_assert(!lapic_enabled(l) && !f.cpus[0].mapped && !lapic_has_interrupt(l));
    ck_assert_uint_eq(reg_read(&f, 0, 0x30), 0xffffffff);
    ck_assert(!apic_bus_send(&f.bus, &(struct apic_message){.mode = APIC_NMI}));
    lapic_set_lint(l, LAPIC_LINT1, true);
    lapic_set_lint(l, LAPIC_LINT1, true);
    ck_assert_uint_eq(f.cpus[0].nmis, 1);
    lapic_set_lint(l, LAPIC_LINT0, true);
    ck_assert_uint_eq(lapic_acknowledge(l), 0x70);
    /* Enabled again: as after power-up. */
    ck_assert(lapic_base_write(l, LAPIC_DEFAULT_BASE | LAPIC_BASE_BSP | LAPIC_BASE_EN));
    ck_assert_uint_eq(reg_read(&f, 0, 0xf0), 0xff);
    ck_assert_uint_eq(reg_read(&f, 0, 0x350), 0x10000);
}
END_TEST

START_TEST(apic_base_transitions)
{
    enum { OFF = 0, XAPIC = 0x800, INVALID = 0x400, X2APIC = 0xc00 };
    static const u32 modes[] = {OFF, XAPIC, INVALID, X2APIC};
    static const bool legal[4][4] = {
        /* to:  off    xAPIC  inval. x2APIC */
        [0] = {true, true, false, false},
        [1] = {true, true, false, true},
        [3] = {true, false, false, true},
    };
    struct lapic *l = f.cpus[0].lapic;

    for (unsigned from = 0; from < 4; from++) {
        for (unsigned to = 0; from != 2 && to < 4; to++) {
            u64 before, base = LAPIC_DEFAULT_BASE;

            lapic_type.reset(l);
            if (from == 0)
                ck_assert(lapic_base_write(l, base));
            if (from == 3)
                ck_assert(lapic_base_write(l, base | X2APIC));
            before = lapic_base_read(l);
            ck_assert_msg(lapic_base_write(l, base | modes[to]) == legal[from][to], "%u->%u", from,
                          to);
            ck_assert_uint_eq(lapic_base_read(l), legal[from][to] ? base | modes[to] : before);
        }
    }
}
END_TEST

START_TEST(apic_base_reserved_bits_and_relocation)
{
    struct lapic *l = f.cpus[1].lapic;

    ck_assert_uint_eq(lapic_base_read(l), 0xfee00800);
    ck_assert_uint_eq(lapic_base_read(f.cpus[0].lapic), 0xfee00900);
    ck_assert(!lapic_base_write(l, 0xfee00801));
    ck_assert(!lapic_base_write(l, 0xfee00a00));
    ck_assert(!lapic_base_write(l, 0xfee00800 | BIT(40)));
    ck_assert(lapic_base_write(l, 0xaabbcc000 | 0x800));
    ck_assert(f.cpus[1].mapped);
    ck_assert_uint_eq(f.cpus[1].map_base, 0xaabbcc000);
    ck_assert(lapic_base_write(l, 0xaabbcc000 | 0xc00));
    ck_assert(!f.cpus[1].mapped);
}
END_TEST

START_TEST(init_keeps_base_and_id)
{
    struct lapic *l = f.cpus[1].lapic;

    fixture_x2apic(&f, 1);
    ck_assert(msr_write(&f, 1, 0x808, 0x33));
    lapic_init_reset(l);
    ck_assert_uint_eq(lapic_base_read(l), 0xfee00c00);
    ck_assert_uint_eq(msr_read(&f, 1, 0x808), 0);
    ck_assert_uint_eq(msr_read(&f, 1, 0x80f), 0xff);
    ck_assert_uint_eq(msr_read(&f, 1, 0x802), 1);
}
END_TEST

/* -- what a hypervisor interface adds -- */

static struct {
    bool auto_eoi, page; /* answers */
    u32 word;            /* of the assist page: bit 0 */
    unsigned eois, requests;
    u8 eoi_vector;
} hv;

static bool hv_auto_eoi(void *opaque, u8 vector)
{
    (void)opaque, (void)vector;
    return hv.auto_eoi;
}

static bool hv_offer(void *opaque)
{
    (void)opaque;
    hv.word = hv.page;
    return hv.page;
}

static bool hv_skipped(void *opaque)
{
    (void)opaque;
    return !hv.word;
}

static void hv_withdraw(void *opaque)
{
    (void)opaque;
    hv.word = 0;
}

static void hv_eoi(void *opaque, u8 vector)
{
    (void)opaque;
    hv.eois++;
    hv.eoi_vector = vector;
}

static void hv_requested(void *opaque)
{
    (void)opaque;
    hv.requests++;
}

static struct lapic *with_assist(void)
{
    const struct lapic_assist assist = {hv_auto_eoi, hv_offer,     hv_skipped, hv_withdraw,
                                        hv_eoi,      hv_requested, NULL};

    memset(&hv, 0, sizeof(hv));
    hv.page = true;
    lapic_set_assist(f.cpus[0].lapic, &assist);
    return f.cpus[0].lapic;
}

/* What the vCPU does for an interrupt; -1: nothing to take. */
static int take(struct lapic *l)
{
    lapic_settle(l);
    return lapic_has_interrupt(l) ? lapic_acknowledge(l) : -1;
}

START_TEST(a_skipped_eoi_is_performed_when_it_matters)
{
    struct lapic *l = with_assist();

    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert_uint_eq(hv.requests, 1);
    ck_assert_int_eq(take(l), 0x41);
    ck_assert_uint_eq(hv.word, 1);
    hv.word = 0; /* the guest's BTR in place of an EOI */
    ck_assert_uint_eq(hv.eois, 0);
    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert(f.cpus[0].intr);
    ck_assert_int_eq(take(l), 0x41);
    ck_assert_uint_eq(hv.eois, 1);
    ck_assert_uint_eq(hv.eoi_vector, 0x41);
    hv.word = 0;
    ck_assert(!in_service(&f, 0, 0x41)); /* a look at ISR settles, too */
    ck_assert_uint_eq(hv.eois, 2);
}
END_TEST

START_TEST(an_offer_ends_when_something_waits)
{
    struct lapic *l = with_assist();

    fixture_interrupt(&f, 0, 0x51, false);
    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert_int_eq(take(l), 0x51);
    ck_assert_uint_eq(hv.word, 0); /* 41h waits for the EOI */
    lapic_end_of_interrupt(l);
    ck_assert_int_eq(take(l), 0x41);
    ck_assert_uint_eq(hv.word, 1);
    fixture_interrupt(&f, 0, 0x31, false); /* arrives later, lower */
    ck_assert(f.cpus[0].intr);             /* so that the vCPU looks */
    ck_assert_int_eq(take(l), -1);
    ck_assert_uint_eq(hv.word, 0);
    ck_assert(!f.cpus[0].intr);
    lapic_end_of_interrupt(l);
    ck_assert_int_eq(take(l), 0x31);
    ck_assert_uint_eq(hv.eois, 2);
}
END_TEST

START_TEST(only_the_innermost_eoi_is_skipped)
{
    struct lapic *l = with_assist();

    fixture_interrupt(&f, 0, 0x41, false);
    take(l);
    fixture_interrupt(&f, 0, 0x51, false);
    ck_assert_int_eq(take(l), 0x51);
    ck_assert_uint_eq(hv.word, 1); /* now for 51h */
    hv.word = 0;
    lapic_end_of_interrupt(l); /* a conventional EOI for 41h */
    ck_assert_uint_eq(hv.eois, 2);
    ck_assert(!in_service(&f, 0, 0x41) && !in_service(&f, 0, 0x51));
    fixture_interrupt(&f, 0, 0x41, false);
    take(l);
    ck_assert_uint_eq(hv.word, 1);
    reg_write(&f, 0, 0xb0, 0); /* an EOI is always taken */
    ck_assert_uint_eq(hv.word, 0);
    ck_assert_uint_eq(hv.eois, 3);
}
END_TEST

START_TEST(no_offer_for_levels_and_without_a_page)
{
    struct lapic *l = with_assist();

    fixture_interrupt(&f, 0, 0x41, true);
    ck_assert_int_eq(take(l), 0x41);
    ck_assert_uint_eq(hv.word, 0);
    lapic_end_of_interrupt(l);
    hv.page = false;
    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert_int_eq(take(l), 0x41);
    ck_assert(in_service(&f, 0, 0x41));
    hv.page = true;
    lapic_end_of_interrupt(l);
    fixture_interrupt(&f, 0, 0x41, false);
    take(l);
    lapic_init_reset(l);
    hv.word = 0;
    lapic_settle(l);
    ck_assert_uint_eq(hv.eois, 2);
}
END_TEST

START_TEST(auto_eoi_never_enters_service)
{
    struct lapic *l = with_assist();

    hv.auto_eoi = true;
    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert_int_eq(take(l), 0x41);
    ck_assert(!in_service(&f, 0, 0x41));
    ck_assert_uint_eq(hv.word, 0);
    fixture_interrupt(&f, 0, 0x41, false);
    ck_assert_int_eq(take(l), 0x41);
}
END_TEST

START_TEST(registers_for_a_hypervisor)
{
    struct lapic *l = f.cpus[0].lapic;

    lapic_tpr_write(l, 0x55);
    ck_assert_uint_eq(reg_read(&f, 0, 0x80), 0x55);
    ck_assert_uint_eq(lapic_tpr_read(l), 0x55);
    ck_assert(!lapic_requested(l));
    lapic_icr_write(l, 0x0100000000000041ull);
    ck_assert_uint_eq(lapic_icr_read(l), 0x0100000000000041ull);
    ck_assert_uint_eq(reg_read(&f, 0, 0x310), 0x01000000);
    ck_assert(requested(&f, 1, 0x41));
    lapic_icr_write(l, 0x41);
    ck_assert(lapic_requested(l) && !lapic_has_interrupt(l));
    fixture_x2apic(&f, 0);
    fixture_x2apic(&f, 1);
    lapic_icr_write(l, 0x100000042ull);
    ck_assert_uint_eq(msr_read(&f, 0, 0x830), 0x100000042ull);
    ck_assert_uint_eq(msr_read(&f, 1, 0x822) >> 2 & 1, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lapic");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, acknowledge_moves_request_into_service);
    tcase_add_test(tc, higher_class_nests_same_class_waits);
    tcase_add_test(tc, tpr_holds_back_its_class_and_cr8_is_its_high_half);
    tcase_add_test(tc, arbitration_priority_register);
    tcase_add_test(tc, level_eoi_is_broadcast_unless_suppressed);
    tcase_add_test(tc, software_disable_masks_lvt_and_refuses_fixed);
    tcase_add_test(tc, illegal_vectors_set_esr_and_fire_error_once);
    tcase_add_test(tc, illegal_vector_in_error_entry_does_not_recurse);
    tcase_add_test(tc, lint0_extint_passes_any_priority);
    tcase_add_test(tc, extint_message_waits_for_inta);
    tcase_add_test(tc, lint_edge_and_level);
    tcase_add_test(tc, lint1_nmi_smi_init_are_edges);
    tcase_add_test(tc, globally_disabled_pins_are_intr_and_nmi);
    tcase_add_test(tc, apic_base_transitions);
    tcase_add_test(tc, apic_base_reserved_bits_and_relocation);
    tcase_add_test(tc, init_keeps_base_and_id);
    tcase_add_test(tc, a_skipped_eoi_is_performed_when_it_matters);
    tcase_add_test(tc, an_offer_ends_when_something_waits);
    tcase_add_test(tc, only_the_innermost_eoi_is_skipped);
    tcase_add_test(tc, no_offer_for_levels_and_without_a_page);
    tcase_add_test(tc, auto_eoi_never_enters_service);
    tcase_add_test(tc, registers_for_a_hypervisor);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
