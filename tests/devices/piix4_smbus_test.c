/* SPDX-License-Identifier: MIT
 *
 * PIIX4 SMBus host controller: write masks, block buffer, interrupt condition.
 */
#include "devices/pci/piix4_smbus.h"
#include "tests/suite.h"

#include <check.h>
#include <stdlib.h>

static struct piix4_smbus smbus;

static void setup(void)
{
    piix4_smbus_reset(&smbus);
}

START_TEST(write_masks)
{
    static const u8 expected[PIIX4_SMBUS_PORTS] = {
        [2] = 0x1f, [3] = 0xff, [4] = 0xff,  [5] = 0xff,
        [6] = 0xff, [8] = 0x0f, [10] = 0xff, [11] = 0xff};

    for (unsigned i = 0; i < PIIX4_SMBUS_PORTS; i++) {
        if (i == 7) /* the block buffer */
            continue;
        piix4_smbus_write(&smbus, i, i == 2 ? 0xbf : 0xff);
        ck_assert_msg(piix4_smbus_read(&smbus, i) == expected[i], "register %u", i);
    }
}
END_TEST

START_TEST(block_buffer_rewinds_on_control_read)
{
    for (unsigned i = 0; i < PIIX4_SMBUS_BLOCK + 1; i++)
        piix4_smbus_write(&smbus, 7, (u8)(i + 1)); /* the last one wraps to the first place */
    piix4_smbus_read(&smbus, 2);
    ck_assert_uint_eq(piix4_smbus_read(&smbus, 7), PIIX4_SMBUS_BLOCK + 1);
    ck_assert_uint_eq(piix4_smbus_read(&smbus, 7), 2);
    piix4_smbus_read(&smbus, 2);
    ck_assert_uint_eq(piix4_smbus_read(&smbus, 7), PIIX4_SMBUS_BLOCK + 1);
}
END_TEST

START_TEST(errors_interrupt_when_enabled)
{
    piix4_smbus_write(&smbus, 2, 0x40);
    ck_assert_uint_eq(piix4_smbus_read(&smbus, 0), 0x04);
    ck_assert(!piix4_smbus_interrupt(&smbus));
    piix4_smbus_write(&smbus, 2, 0x01);
    ck_assert(piix4_smbus_interrupt(&smbus));
    piix4_smbus_write(&smbus, 0, 0xfb);
    ck_assert(piix4_smbus_interrupt(&smbus));
    piix4_smbus_write(&smbus, 0, 0x04);
    ck_assert(!piix4_smbus_interrupt(&smbus));
    piix4_smbus_write(&smbus, 2, 0x43);
    ck_assert_uint_eq(piix4_smbus_read(&smbus, 0), 0x10);
    ck_assert(piix4_smbus_interrupt(&smbus));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("piix4_smbus");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, write_masks);
    tcase_add_test(tc, block_buffer_rewinds_on_control_read);
    tcase_add_test(tc, errors_interrupt_when_enabled);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
