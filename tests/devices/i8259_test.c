/* SPDX-License-Identifier: MIT
 *
 * The 8259 pair through its ports and input lines.
 */
#include "devices/legacy/i8259.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

/* As a PC's BIOS: vectors 08 and 70, nothing masked. */
static void initialize(u8 icw4)
{
    out8(&h, 0x20, 0x11);
    out8(&h, 0x21, 0x08);
    out8(&h, 0x21, 0x04);
    out8(&h, 0x21, icw4);
    out8(&h, 0xa0, 0x11);
    out8(&h, 0xa1, 0x70);
    out8(&h, 0xa1, 0x02);
    out8(&h, 0xa1, icw4 & 0x0f);
}

static void setup(void)
{
    harness_setup(&h, &i8259_type, NULL, 0);
    initialize(0x01);
}

static void teardown(void)
{
    harness_teardown(&h);
}

static void line(unsigned pin, bool level)
{
    i8259_set_irq(h.self, pin, level);
}

static int ack(void)
{
    ck_assert(i8259_intr(h.self));
    return i8259_acknowledge(h.self);
}

static u8 irr(u16 port)
{
    out8(&h, port, 0x0a);
    return in8(&h, port);
}

static u8 isr(u16 port)
{
    out8(&h, port, 0x0b);
    return in8(&h, port);
}

START_TEST(edge_request_is_served_once)
{
    line(1, true);
    ck_assert(h.pins[I8259_PIN_INTR].level);
    ck_assert_uint_eq(irr(0x20), 0x02);
    ck_assert_int_eq(ack(), 0x09);
    ck_assert_uint_eq(irr(0x20), 0x00);
    ck_assert_uint_eq(isr(0x20), 0x02);
    out8(&h, 0x20, 0x20);
    ck_assert_uint_eq(isr(0x20), 0x00);
    ck_assert(!i8259_intr(h.self)); /* the line is still up: no new edge */
    line(1, false);
    line(1, true);
    ck_assert_int_eq(ack(), 0x09);
}
END_TEST

START_TEST(level_request_comes_back_after_eoi)
{
    out8(&h, 0x4d0, 0x20);
    line(5, true);
    ck_assert_int_eq(ack(), 0x0d);
    ck_assert(!i8259_intr(h.self));
    out8(&h, 0x20, 0x20);
    ck_assert_int_eq(ack(), 0x0d);
    line(5, false);
    out8(&h, 0x20, 0x20);
    ck_assert(!i8259_intr(h.self));
}
END_TEST

START_TEST(elcr_keeps_the_system_interrupts_edge)
{
    out8(&h, 0x4d0, 0xff);
    out8(&h, 0x4d1, 0xff);
    ck_assert_uint_eq(in8(&h, 0x4d0), 0xf8);
    ck_assert_uint_eq(in8(&h, 0x4d1), 0xde);
}
END_TEST

START_TEST(cascade_delivers_the_slave_vector_and_needs_two_eois)
{
    line(12, true);
    ck_assert_int_eq(ack(), 0x74);
    ck_assert_uint_eq(isr(0x20), 0x04);
    ck_assert_uint_eq(isr(0xa0), 0x10);
    line(9, true); /* higher in the slave, but the master is not special fully nested */
    ck_assert(!i8259_intr(h.self));
    out8(&h, 0xa0, 0x20);
    ck_assert(!i8259_intr(h.self));
    out8(&h, 0x20, 0x20);
    ck_assert_int_eq(ack(), 0x71);
}
END_TEST

START_TEST(special_fully_nested_lets_a_higher_slave_request_in)
{
    initialize(0x11);
    line(12, true);
    ck_assert_int_eq(ack(), 0x74);
    line(9, true);
    ck_assert_int_eq(ack(), 0x71);
    line(14, true); /* lower in the slave */
    ck_assert(!i8259_intr(h.self));
}
END_TEST

START_TEST(withdrawn_request_is_spurious)
{
    line(3, true);
    line(3, false);
    ck_assert(!i8259_intr(h.self));
    ck_assert_int_eq(i8259_acknowledge(h.self), 0x0f);
    ck_assert_uint_eq(isr(0x20), 0);
}
END_TEST

START_TEST(irq7_and_irq15_also_work_as_interrupts)
{
    line(7, true);
    ck_assert_int_eq(ack(), 0x0f);
    ck_assert_uint_eq(isr(0x20), 0x80); /* a spurious one leaves this bit clear */
    out8(&h, 0x20, 0x20);
    line(15, true);
    ck_assert_int_eq(ack(), 0x77);
    ck_assert_uint_eq(isr(0xa0), 0x80);
}
END_TEST

START_TEST(mask_hides_and_unmask_shows)
{
    out8(&h, 0x21, 0x02);
    ck_assert_uint_eq(in8(&h, 0x21), 0x02);
    line(1, true);
    ck_assert(!i8259_intr(h.self));
    ck_assert_uint_eq(irr(0x20), 0x02);
    out8(&h, 0x21, 0x00);
    ck_assert(i8259_intr(h.self));
}
END_TEST

START_TEST(priority_is_fully_nested)
{
    line(4, true);
    line(1, true);
    ck_assert_int_eq(ack(), 0x09);
    ck_assert(!i8259_intr(h.self));
    line(0, true);
    ck_assert_int_eq(ack(), 0x08);
    out8(&h, 0x20, 0x20); /* non-specific: the highest in service, IRQ0 */
    ck_assert_uint_eq(isr(0x20), 0x02);
    out8(&h, 0x20, 0x61); /* specific EOI of IRQ1 */
    ck_assert_int_eq(ack(), 0x0c);
}
END_TEST

START_TEST(automatic_eoi_leaves_nothing_in_service)
{
    initialize(0x03);
    line(4, true);
    ck_assert_int_eq(ack(), 0x0c);
    ck_assert_uint_eq(isr(0x20), 0);
}
END_TEST

START_TEST(rotate_in_automatic_eoi)
{
    initialize(0x03);
    out8(&h, 0x20, 0x80);
    line(3, true);
    ck_assert_int_eq(ack(), 0x0b);
    line(3, false);
    line(3, true);
    line(5, true); /* IRQ3 is now the lowest */
    ck_assert_int_eq(ack(), 0x0d);
    ck_assert_int_eq(ack(), 0x0b);
    out8(&h, 0x20, 0x00); /* rotation off: IRQ3 stays the lowest */
    line(3, false);
    line(3, true);
    line(4, true);
    ck_assert_int_eq(ack(), 0x0c);
    ck_assert_int_eq(ack(), 0x0b);
}
END_TEST

START_TEST(rotate_on_eoi_and_set_priority)
{
    line(3, true);
    ck_assert_int_eq(ack(), 0x0b);
    out8(&h, 0x20, 0xa0); /* rotate on non-specific EOI */
    line(3, false);
    line(3, true);
    line(6, true);
    ck_assert_int_eq(ack(), 0x0e);
    out8(&h, 0x20, 0xe6); /* rotate on specific EOI of IRQ6: IRQ7 is now the highest */
    line(7, true);
    ck_assert_int_eq(ack(), 0x0f);
    out8(&h, 0x20, 0x20);
    ck_assert_int_eq(ack(), 0x0b);
    out8(&h, 0x20, 0x20);
    out8(&h, 0x20, 0xc4); /* set priority: IRQ4 the lowest, IRQ5 the highest */
    out8(&h, 0x21, 0x00);
    line(4, true);
    line(5, true);
    ck_assert_int_eq(ack(), 0x0d);
}
END_TEST

START_TEST(special_mask_opens_lower_levels)
{
    line(3, true);
    ck_assert_int_eq(ack(), 0x0b);
    line(6, true);
    ck_assert(!i8259_intr(h.self));
    out8(&h, 0x20, 0x68);
    out8(&h, 0x21, 0x08); /* mask the level in service */
    ck_assert_int_eq(ack(), 0x0e);
    out8(&h, 0x20, 0x20); /* must not clear the masked IRQ3 */
    ck_assert_uint_eq(isr(0x20), 0x08);
    out8(&h, 0x20, 0x48); /* special mask off */
    line(6, false);
    line(6, true);
    ck_assert(!i8259_intr(h.self));
}
END_TEST

START_TEST(poll_is_an_acknowledge)
{
    line(4, true);
    out8(&h, 0x20, 0x0c);
    ck_assert_uint_eq(in8(&h, 0x20), 0x84);
    ck_assert_uint_eq(isr(0x20), 0x10);
    out8(&h, 0x20, 0x0c);
    ck_assert_uint_eq(in8(&h, 0x20) & 0x80, 0);
    ck_assert_uint_eq(in8(&h, 0x20), 0x10); /* one read only */
}
END_TEST

START_TEST(initialization_needs_a_new_edge_and_all_its_words)
{
    line(1, true);
    out8(&h, 0x20, 0x11);
    out8(&h, 0x21, 0x20);
    ck_assert_uint_eq(irr(0x20), 0);
    line(1, false);
    line(1, true);
    ck_assert(!i8259_intr(h.self));
    out8(&h, 0x21, 0x04);
    out8(&h, 0x21, 0x01);
    ck_assert_int_eq(ack(), 0x21);
    out8(&h, 0x20, 0x12); /* single, no ICW4: the second word ends it */
    out8(&h, 0x21, 0x40);
    out8(&h, 0x21, 0xfe);
    ck_assert_uint_eq(in8(&h, 0x21), 0xfe);
}
END_TEST

START_TEST(masked_until_programmed)
{
    h.type->reset(h.self);
    line(1, true);
    line(10, true);
    ck_assert(!i8259_intr(h.self));
    ck_assert_uint_eq(in8(&h, 0x21), 0xff);
}
END_TEST

static void fuzz_step(struct harness *f)
{
    u64 r = harness_random(f);

    i8259_set_irq(f->self, r & 31, r >> 8 & 1);
    if (r >> 16 & 1)
        ck_assert_int_lt(i8259_acknowledge(f->self), 256);
    ck_assert(i8259_intr(f->self) == f->pins[I8259_PIN_INTR].level);
}

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, fuzz_step);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("i8259");
    TCase *tc = tcase_create("i8259");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, edge_request_is_served_once);
    tcase_add_test(tc, level_request_comes_back_after_eoi);
    tcase_add_test(tc, elcr_keeps_the_system_interrupts_edge);
    tcase_add_test(tc, cascade_delivers_the_slave_vector_and_needs_two_eois);
    tcase_add_test(tc, special_fully_nested_lets_a_higher_slave_request_in);
    tcase_add_test(tc, withdrawn_request_is_spurious);
    tcase_add_test(tc, irq7_and_irq15_also_work_as_interrupts);
    tcase_add_test(tc, mask_hides_and_unmask_shows);
    tcase_add_test(tc, priority_is_fully_nested);
    tcase_add_test(tc, automatic_eoi_leaves_nothing_in_service);
    tcase_add_test(tc, rotate_in_automatic_eoi);
    tcase_add_test(tc, rotate_on_eoi_and_set_priority);
    tcase_add_test(tc, special_mask_opens_lower_levels);
    tcase_add_test(tc, poll_is_an_acknowledge);
    tcase_add_test(tc, initialization_needs_a_new_edge_and_all_its_words);
    tcase_add_test(tc, masked_until_programmed);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
