/* SPDX-License-Identifier: MIT
 *
 * The 16550A through its eight ports, with a memory console at the other end of the cable.
 */
#include <string.h>

#include "devices/backend/chardev_memory.h"
#include "devices/legacy/uart16550.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = RBR, FCR = IIR };
enum { CAPACITY = 64 };

static struct harness h;
static struct chardev *console;

static void setup(void)
{
    struct uart16550_config config;
    struct error err;

    ck_assert_int_eq(chardev_memory_create(&console, CAPACITY, &err), ST_OK);
    config.chardev = console;
    harness_setup(&h, &uart16550_type, &config, 0);
    out8(&h, LCR, 0x03);
}

static void teardown(void)
{
    harness_teardown(&h);
    chardev_destroy(console);
}

static bool irq(void)
{
    return h.pins[UART16550_PIN_IRQ].level;
}

static void feed(const char *text)
{
    ck_assert_uint_eq(chardev_memory_feed(console, text, strlen(text)), strlen(text));
}

static const char *sent(char text[CAPACITY + 1])
{
    text[chardev_memory_take(console, text, CAPACITY)] = 0;
    return text;
}

START_TEST(power_on_values)
{
    h.type->reset(h.self);
    ck_assert_uint_eq(in8(&h, IER), 0x00);
    ck_assert_uint_eq(in8(&h, IIR), 0x01);
    ck_assert_uint_eq(in8(&h, LCR), 0x00);
    ck_assert_uint_eq(in8(&h, MCR), 0x00);
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    ck_assert_uint_eq(in8(&h, MSR), 0xb0);
    out8(&h, SCR, 0x5a);
    ck_assert_uint_eq(in8(&h, SCR), 0x5a);
    out8(&h, IER, 0xff);
    ck_assert_uint_eq(in8(&h, IER), 0x0f);
    out8(&h, MCR, 0xff);
    ck_assert_uint_eq(in8(&h, MCR), 0x1f);
}
END_TEST

START_TEST(divisor_latch)
{
    out8(&h, LCR, 0x83);
    out8(&h, RBR, 0x34);
    out8(&h, IER, 0x12);
    ck_assert_uint_eq(in8(&h, RBR), 0x34);
    ck_assert_uint_eq(in8(&h, IER), 0x12);
    out8(&h, LCR, 0x03);
    ck_assert_uint_eq(in8(&h, IER), 0x00);
    ck_assert_uint_eq(in8(&h, RBR), 0x00);
}
END_TEST

START_TEST(transmit_and_thre_interrupt)
{
    char text[CAPACITY + 1];

    out8(&h, IER, 0x02);
    ck_assert(irq()); /* enabling with an empty THR interrupts at once */
    ck_assert_uint_eq(in8(&h, IIR), 0x02);
    ck_assert(!irq()); /* reading IIR cleared it */
    ck_assert_uint_eq(in8(&h, IIR), 0x01);
    out8(&h, THR, 'o');
    ck_assert(irq());
    h.pins[0].rises = 0;
    out8(&h, THR, 'k');
    ck_assert_uint_eq(h.pins[0].rises, 1); /* each write takes it back first */
    ck_assert_str_eq(sent(text), "ok");
}
END_TEST

START_TEST(full_back_end_holds_thre_down_and_loses_nothing)
{
    char text[CAPACITY + 1];

    out8(&h, FCR, 0x01);
    for (unsigned i = 0; i < CAPACITY; i++)
        out8(&h, THR, 'a');
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    out8(&h, IER, 0x02);
    in8(&h, IIR);
    for (unsigned i = 0; i < 16; i++)
        out8(&h, THR, 'b' + i);
    ck_assert_uint_eq(in8(&h, LSR), 0x00);
    ck_assert(!irq());
    sent(text);
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    ck_assert(irq());
    ck_assert_str_eq(sent(text), "bcdefghijklmnopq");
}
END_TEST

START_TEST(receive_without_fifo)
{
    out8(&h, IER, 0x01);
    feed("xy");
    ck_assert(irq());
    ck_assert_uint_eq(in8(&h, IIR), 0x04);
    ck_assert_uint_eq(in8(&h, LSR), 0x61);
    ck_assert_uint_eq(in8(&h, RBR), 'x');
    ck_assert_uint_eq(in8(&h, RBR), 'y'); /* the back end held it back */
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    ck_assert(!irq());
}
END_TEST

START_TEST(fifo_trigger_levels)
{
    static const u8 level[4] = {1, 4, 8, 14};

    out8(&h, IER, 0x01);
    for (unsigned i = 0; i < 4; i++) {
        out8(&h, FCR, 0x07 | i << 6);
        ck_assert_uint_eq(in8(&h, IIR), 0xc1);
        for (unsigned n = 1; n <= 14; n++) {
            feed("z");
            ck_assert_int_eq(irq(), n >= level[i]);
        }
        ck_assert_uint_eq(in8(&h, IIR), 0xc4);
        for (unsigned n = 14; n >= level[i]; n--)
            in8(&h, RBR);
        ck_assert(!irq());
    }
}
END_TEST

START_TEST(receive_timeout)
{
    u64 character = 10 * NS_PER_SECOND * 12 / 115200; /* 8N1 at 9600 */

    out8(&h, IER, 0x01);
    out8(&h, FCR, 0x81);
    feed("ab");
    harness_run_for(&h, 4 * character - 1);
    ck_assert(!irq());
    harness_run_for(&h, 1);
    ck_assert_uint_eq(in8(&h, IIR), 0xcc);
    ck_assert_uint_eq(in8(&h, RBR), 'a');
    ck_assert(!irq()); /* reading restarts it */
    harness_run_for(&h, 4 * character);
    ck_assert(irq());
    in8(&h, RBR);
    harness_run_for(&h, NS_PER_SECOND);
    ck_assert(!irq());
}
END_TEST

START_TEST(interrupt_priorities)
{
    out8(&h, IER, 0x0f);
    out8(&h, MCR, 0x10); /* loop: all modem lines drop */
    ck_assert_uint_eq(in8(&h, IIR), 0x02);
    ck_assert_uint_eq(in8(&h, IIR), 0x00);
    out8(&h, THR, 1);
    out8(&h, THR, 2); /* overrun */
    ck_assert_uint_eq(in8(&h, IIR), 0x06);
    ck_assert_uint_eq(in8(&h, LSR), 0x63);
    ck_assert_uint_eq(in8(&h, IIR), 0x04);
    ck_assert_uint_eq(in8(&h, RBR), 2); /* overwritten */
    ck_assert_uint_eq(in8(&h, IIR), 0x02);
    ck_assert_uint_eq(in8(&h, MSR) & 0x0f, 0x0b);
    ck_assert_uint_eq(in8(&h, IIR), 0x01);
    ck_assert(!irq());
}
END_TEST

START_TEST(fifo_overrun_keeps_the_fifo)
{
    char text[CAPACITY + 1];

    out8(&h, FCR, 0x01);
    out8(&h, MCR, 0x10);
    for (unsigned i = 0; i < 17; i++)
        out8(&h, THR, i);
    ck_assert_uint_eq(in8(&h, LSR), 0x63);
    ck_assert_uint_eq(in8(&h, LSR), 0x61);
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(in8(&h, RBR), i);
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    ck_assert_str_eq(sent(text), ""); /* the loop keeps it from the cable */
}
END_TEST

START_TEST(loop_carries_modem_lines)
{
    out8(&h, MCR, 0x10);
    in8(&h, MSR);
    for (unsigned out = 0; out < 16; out++) {
        unsigned in = (out & 1) << 5 | (out & 2) << 3 | (out & 4) << 4 | (out & 8) << 4;

        out8(&h, MCR, 0x10 | out);
        ck_assert_uint_eq(in8(&h, MSR) & 0xf0, in);
        ck_assert_uint_eq(in8(&h, MSR), in);
    }
    out8(&h, MCR, 0x14);
    in8(&h, MSR);
    out8(&h, MCR, 0x10);
    ck_assert_uint_eq(in8(&h, MSR), 0x04); /* TERI: the trailing edge of RI only */
    out8(&h, MCR, 0x14);
    ck_assert_uint_eq(in8(&h, MSR), 0x40);
}
END_TEST

START_TEST(input_waits_for_the_end_of_the_loop)
{
    out8(&h, MCR, 0x10);
    feed("q");
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    out8(&h, MCR, 0x00);
    ck_assert_uint_eq(in8(&h, RBR), 'q');
}
END_TEST

START_TEST(break_is_revealed_at_the_top_of_the_fifo)
{
    out8(&h, FCR, 0x01);
    out8(&h, IER, 0x04);
    feed("a");
    chardev_send_event(console, CHARDEV_BREAK);
    ck_assert(!irq());
    ck_assert_uint_eq(in8(&h, LSR), 0xe1);
    ck_assert_uint_eq(in8(&h, RBR), 'a');
    ck_assert(irq());
    ck_assert_uint_eq(in8(&h, LSR), 0xf9);
    ck_assert(!irq());
    ck_assert_uint_eq(in8(&h, LSR), 0xe1);
    ck_assert_uint_eq(in8(&h, RBR), 0);
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    out8(&h, MCR, 0x10);
    out8(&h, LCR, 0x43);
    ck_assert_uint_eq(in8(&h, LSR), 0xf9);
}
END_TEST

START_TEST(word_length_masks_data)
{
    out8(&h, LCR, 0x00); /* 5 bits */
    out8(&h, MCR, 0x10);
    out8(&h, THR, 0xff);
    ck_assert_uint_eq(in8(&h, RBR), 0x1f);
}
END_TEST

START_TEST(fifo_control)
{
    out8(&h, FCR, 0x01);
    feed("abc");
    out8(&h, FCR, 0x02); /* bit 0 clear: the FIFOs go off, which empties them */
    ck_assert_uint_eq(in8(&h, IIR), 0x01);
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    out8(&h, FCR, 0x01);
    feed("abc");
    out8(&h, FCR, 0x03);
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    ck_assert_uint_eq(in8(&h, IIR), 0xc1);
}
END_TEST

START_TEST(no_cable)
{
    static const struct uart16550_config config = {.chardev = NULL};

    teardown();
    console = NULL;
    harness_setup(&h, &uart16550_type, &config, 0);
    ck_assert_uint_eq(in8(&h, MSR), 0x00);
    out8(&h, THR, 'x');
    ck_assert_uint_eq(in8(&h, LSR), 0x60);
    chardev_send_event(NULL, CHARDEV_BREAK);
}
END_TEST

static void fuzz_step(struct harness *f)
{
    u64 r = harness_random(f);
    char text[CAPACITY + 1];

    if (r % 4 == 0)
        chardev_memory_feed(console, "0123456789abcdefghij", r >> 8 & 15);
    if (r % 16 == 1)
        sent(text);
    if (r % 64 == 2)
        chardev_send_event(console, CHARDEV_BREAK);
}

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0, 1, 2, 3, 4, 5, 6, 7};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, fuzz_step);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uart16550");
    TCase *tc = tcase_create("uart16550");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, power_on_values);
    tcase_add_test(tc, divisor_latch);
    tcase_add_test(tc, transmit_and_thre_interrupt);
    tcase_add_test(tc, full_back_end_holds_thre_down_and_loses_nothing);
    tcase_add_test(tc, receive_without_fifo);
    tcase_add_test(tc, fifo_trigger_levels);
    tcase_add_test(tc, receive_timeout);
    tcase_add_test(tc, interrupt_priorities);
    tcase_add_test(tc, fifo_overrun_keeps_the_fifo);
    tcase_add_test(tc, loop_carries_modem_lines);
    tcase_add_test(tc, input_waits_for_the_end_of_the_loop);
    tcase_add_test(tc, break_is_revealed_at_the_top_of_the_fifo);
    tcase_add_test(tc, word_length_masks_data);
    tcase_add_test(tc, fifo_control);
    tcase_add_test(tc, no_cable);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
