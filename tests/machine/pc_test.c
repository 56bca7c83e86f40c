/* SPDX-License-Identifier: MIT
 *
 * The board: which devices answer where, how their wires join, what a reset does to them.
 */
#include "machine/internal.h"
#include "tests/machine/guests.h"
#include "tests/suite.h"

static struct guest_machine g;
static struct machine *m;

static void setup(void)
{
    guest_prepare(&g, GUEST_EXIT, 0);
    guest_create(&g);
    m = g.machine;
}

static void teardown(void)
{
    guest_destroy(&g);
}

static unsigned in8(u16 port)
{
    return (unsigned)pio_read(&m->pio, port, 1);
}

static void out8(u16 port, u8 value)
{
    pio_write(&m->pio, port, value, 1);
}

/* Both 8259s, edge-triggered, everything unmasked. */
static void program_pics(void)
{
    static const u8 words[][2] = {{0x20, 0x11}, {0x21, 8},    {0x21, 4}, {0x21, 1}, {0x21, 0},
                                  {0xa0, 0x11}, {0xa1, 0x70}, {0xa1, 2}, {0xa1, 1}, {0xa1, 0}};

    for (size_t n = 0; n < ARRAY_SIZE(words); n++)
        out8(words[n][0], words[n][1]);
}

/* Requests that wait in the pair, bit n = IRQ n. */
static unsigned requests(void)
{
    out8(0x20, 0x0a);
    out8(0xa0, 0x0a);
    return in8(0x20) | in8(0xa0) << 8;
}

static u32 config_read(u32 devfn, u32 reg)
{
    pio_write(&m->pio, 0xcf8, 0x80000000u | devfn << 8 | reg, 4);
    return (u32)pio_read(&m->pio, 0xcfc, 4);
}

START_TEST(the_chipset_is_there)
{
    ck_assert_uint_eq(config_read(0, 0), 0x12378086);      /* 82441FX */
    ck_assert_uint_eq(config_read(1 << 3, 0), 0x70008086); /* PIIX3 ISA bridge */
    ck_assert_uint_eq(config_read(1 << 3 | 3, 0), 0x71138086);
    ck_assert_uint_eq(config_read(5 << 3, 0), 0xffffffff);
    ck_assert_uint_eq(in8(0xe9), 0xe9);      /* debug console */
    ck_assert_uint_ne(in8(0x3f8 + 5), 0xff); /* the first serial port, and no second one */
    ck_assert_uint_eq(in8(0x2f8 + 5), 0xff);
    ck_assert_uint_ne(in8(0x64), 0xff);
    ck_assert_uint_ne(in8(0x92), 0xff);
}
END_TEST

START_TEST(an_interrupt_line_is_the_or_of_its_sources)
{
    program_pics();
    pc_isa_irq(m, PART_SERIAL0, 4, true);
    pc_isa_irq(m, PART_SERIAL0 + 2, 4, true);
    ck_assert_uint_eq(requests() & 0x10, 0x10);
    pc_isa_irq(m, PART_SERIAL0, 4, false);
    ck_assert_uint_eq(m->isa_asserted[4], BIT(PART_SERIAL0 + 2));
    pc_isa_irq(m, PART_SERIAL0 + 2, 4, false);
    ck_assert_uint_eq(m->isa_asserted[4], 0);
    ck_assert_uint_eq(requests() & 0x10, 0); /* the request goes with the line */
}
END_TEST

START_TEST(every_part_has_its_own_bit)
{
    ck_assert_uint_le(SOURCE_FPU, 63);
    ck_assert_uint_ge(SOURCE_FPU, PART_COUNT);
}
END_TEST

START_TEST(the_coprocessor_drives_irq_13)
{
    const struct vcpu_platform *p = &m->vcpu_platform;

    program_pics();
    p->ferr(p->opaque, m->processors[0].vcpu, true);
    ck_assert_uint_eq(requests() & 0x2000, 0x2000);
    out8(0xf0, 0);
    ck_assert_uint_eq(requests() & 0x2000, 0);
}
END_TEST

START_TEST(reset_takes_every_line_down)
{
    program_pics();
    pc_isa_irq(m, PART_RTC, 8, true);
    pc_isa_irq(m, SOURCE_FPU, 13, true);
    pc_reset(m);
    for (unsigned n = 0; n < 16; n++)
        ck_assert_uint_eq(m->isa_asserted[n], 0);
}
END_TEST

START_TEST(cmos_tells_the_firmware_about_memory)
{
    out8(0x70, 0x30);
    unsigned low = in8(0x71);
    out8(0x70, 0x31);
    ck_assert_uint_eq(low | in8(0x71) << 8, 3 * 1024); /* 4 MiB: KiB above the first */
}
END_TEST

START_TEST(a20_gates_of_port_92_and_the_8042)
{
    guest_check(GUEST_A20, END_DEBUG_EXIT, 3);
}
END_TEST

START_TEST(x87_errors_arrive_as_irq_13)
{
    guest_check(GUEST_FPU, END_DEBUG_EXIT, 7);
}
END_TEST

/* Any byte to any port: nothing may break. The two resets and power-off are only requests. */
START_TEST(survives_random_port_accesses)
{
    u64 random = 1;

    for (unsigned n = 0; n < 300000; n++) {
        unsigned size;
        u16 port;

        random = random * 6364136223846793005ull + 1442695040888963407ull;
        port = (u16)(random >> 48) & (random & 0x100000 ? 0x3ff : 0xffff);
        size = 1u << (random >> 33 & 3) % 3;
        if (random & 0x200000)
            pio_write(&m->pio, port, random >> 13, size);
        else
            pio_read(&m->pio, port, size);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pc");
    TCase *tc = tcase_create("pc");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_chipset_is_there);
    tcase_add_test(tc, an_interrupt_line_is_the_or_of_its_sources);
    tcase_add_test(tc, every_part_has_its_own_bit);
    tcase_add_test(tc, the_coprocessor_drives_irq_13);
    tcase_add_test(tc, reset_takes_every_line_down);
    tcase_add_test(tc, cmos_tells_the_firmware_about_memory);
    tcase_add_test(tc, a20_gates_of_port_92_and_the_8042);
    tcase_add_test(tc, x87_errors_arrive_as_irq_13);
    tcase_add_test(tc, survives_random_port_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
