/* SPDX-License-Identifier: MIT
 *
 * PIIX3 ISA bridge: identity, PIRQ routing with shared IRQs, reset control register.
 */
#include "devices/pci/piix3.h"
#include "tests/devices/board.h"
#include "tests/suite.h"

static struct board b;
static struct pci_function cards[2]; /* INTA of device 3 (PIRQ 2) and of device 4 (PIRQ 3) */

enum { PIIX3 = 1 << 3 };

static void setup(void)
{
    static const struct pci_header header = {
        .vendor = 1, .device = 1, .class_code = 0xff0000, .interrupt_pin = 1};
    struct piix3_config config;
    struct error err;

    board_setup(&b);
    config = (struct piix3_config){b.pci, 1, board_reset_request, &b};
    board_add(&b, &piix3_type, 0, 0, &config);
    for (u8 i = 0; i < 2; i++) {
        pci_function_init(&cards[i], &header, NULL, NULL);
        ck_assert_int_eq(pci_bus_add(b.pci, &cards[i], (u8)((3 + i) << 3), &err), ST_OK);
    }
}

static void teardown(void)
{
    pci_bus_remove(b.pci, &cards[0]);
    pci_bus_remove(b.pci, &cards[1]);
    board_teardown(&b);
}

/* The raised lines, as bits. */
static unsigned raised(void)
{
    unsigned set = 0;

    for (unsigned i = 0; i < BOARD_LINES; i++)
        set |= (unsigned)b.levels[i] << i;
    return set;
}

START_TEST(identity)
{
    ck_assert_uint_eq(config_get(&b, PIIX3, 0, 4), 0x70008086);
    ck_assert_uint_eq(config_get(&b, PIIX3, 8, 4) >> 8, 0x060100);
    ck_assert_uint_eq(config_get(&b, PIIX3, 4, 4), 0x02000007);
    config_put(&b, PIIX3, 4, 0, 2);
    ck_assert_uint_eq(config_get(&b, PIIX3, 4, 2), 0x0007);
    ck_assert_uint_eq(config_get(&b, PIIX3, 0x60, 4), 0x80808080);
    config_put(&b, PIIX3, 0x60, 0xffffffff, 4);
    ck_assert_uint_eq(config_get(&b, PIIX3, 0x60, 4), 0x8f8f8f8f);
}
END_TEST

START_TEST(routing)
{
    pci_function_set_intx(&cards[0], true);
    ck_assert_uint_eq(raised(), 0);
    config_put(&b, PIIX3, 0x62, 11, 1); /* a wire that is high reaches its new IRQ at once */
    ck_assert_uint_eq(raised(), 1u << 11);
    config_put(&b, PIIX3, 0x62, 10, 1);
    ck_assert_uint_eq(raised(), 1u << 10);
    config_put(&b, PIIX3, 0x62, 0x8a, 1);
    ck_assert_uint_eq(raised(), 0);
    config_put(&b, PIIX3, 0x60, 0x0b0b0b0b, 4);
    pci_function_set_intx(&cards[1], true);
    pci_function_set_intx(&cards[0], false);
    ck_assert_uint_eq(raised(), 1u << 11); /* OR of both wires */
    pci_function_set_intx(&cards[1], false);
    ck_assert_uint_eq(raised(), 0);
}
END_TEST

START_TEST(reserved_irqs_are_not_routed)
{
    pci_function_set_intx(&cards[0], true);
    for (u8 irq = 0; irq < 16; irq++) {
        bool reserved = irq < 3 || irq == 8 || irq == 13;

        config_put(&b, PIIX3, 0x62, irq, 1);
        ck_assert_uint_eq(raised(), reserved ? 0 : 1u << irq);
    }
}
END_TEST

START_TEST(reset_drops_routes)
{
    config_put(&b, PIIX3, 0x62, 11, 1);
    pci_function_set_intx(&cards[0], true);
    ck_assert_uint_eq(raised(), 1u << 11);
    b.parts[1].type->reset(b.parts[1].self);
    ck_assert_uint_eq(raised(), 0);
}
END_TEST

START_TEST(reset_control)
{
    ck_assert_uint_eq(board_in(&b, 0xcf9, 1), 0);
    board_out(&b, 0xcf9, 0x02, 1);
    ck_assert_uint_eq(b.hard_resets + b.soft_resets, 0);
    board_out(&b, 0xcf9, 0x06, 1);
    ck_assert_uint_eq(b.hard_resets, 1);
    board_out(&b, 0xcf9, 0x0e, 1); /* RCPU does not rise */
    ck_assert_uint_eq(b.hard_resets, 1);
    ck_assert_uint_eq(board_in(&b, 0xcf9, 1), 0x06);
    board_out(&b, 0xcf9, 0x00, 1);
    board_out(&b, 0xcf9, 0x04, 1);
    ck_assert_uint_eq(b.soft_resets, 1);
}
END_TEST

START_TEST(random_accesses)
{
    static const u8 devfns[] = {PIIX3, 3 << 3, 4 << 3};
    static const u16 ports[] = {0xcf8, 0xcf9, 0xcfc, 0xcfd, 0xcfe, 0xcff};

    for (unsigned i = 0; i < 64; i++) {
        board_fuzz(&b, devfns, ARRAY_SIZE(devfns), ports, ARRAY_SIZE(ports), 2000);
        pci_function_set_intx(&cards[i % 2], i / 2 % 2);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("piix3");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, identity);
    tcase_add_test(tc, routing);
    tcase_add_test(tc, reserved_irqs_are_not_routed);
    tcase_add_test(tc, reset_drops_routes);
    tcase_add_test(tc, reset_control);
    tcase_add_test(tc, random_accesses);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
