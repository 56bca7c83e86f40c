/* SPDX-License-Identifier: MIT
 *
 * PCI bus: configuration mechanism #1, header masks, BARs, capabilities, interrupt wires.
 */
#include "tests/devices/board.h"
#include "tests/suite.h"

#include "mem/base/bits.h"

static struct board b;

/* A function with one BAR of each kind; every register answers with its own offset. */
struct card {
    struct pci_function pci;
    u64 last_offset;
    u64 last_value;
    unsigned writes, config_writes;
};

static struct card cards[2];
static unsigned pirq_level[PCI_PIRQS];
static u8 cf9;

static u64 card_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)size;
    return 0x5a000000 | offset;
}

static void card_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct card *card = self;

    (void)size;
    card->last_offset = offset;
    card->last_value = value;
    card->writes++;
}

static const struct io_ops card_ops = {card_read, card_write, SIZE_ANY};

static void card_config_written(void *self, unsigned offset, unsigned size)
{
    struct card *card = self;

    (void)offset;
    (void)size;
    card->config_writes++;
}

static void pirq_set(void *opaque, unsigned pirq, bool level)
{
    (void)opaque;
    ck_assert(pirq_level[pirq] != level);
    pirq_level[pirq] = level;
}

static u64 cf9_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    return cf9;
}

static void cf9_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    cf9 = (u8)value;
}

static const struct io_ops cf9_ops = {cf9_read, cf9_write, SIZE_1};

enum { CARD0 = 3 << 3, CARD1 = 4 << 3 };

static void add_card(struct card *card, u8 devfn, u8 pin)
{
    struct pci_header header = {.vendor = 0x1234,
                                .device = 0x5678,
                                .subsystem_vendor = 0xabcd,
                                .subsystem = 0xef01,
                                .revision = 9,
                                .class_code = 0x020304,
                                .interrupt_pin = pin};
    struct pci_bar io = {
        .kind = PCI_BAR_IO, .size = 32, .ops = &card_ops, .self = card, .name = "card io"};
    struct pci_bar mem = {
        .kind = PCI_BAR_MEM32, .size = KIB(8), .ops = &card_ops, .self = card, .name = "card mem"};
    struct pci_bar wide = {.kind = PCI_BAR_MEM64,
                           .prefetchable = true,
                           .size = MIB(1),
                           .ops = &card_ops,
                           .self = card,
                           .name = "card mem64"};
    struct error err;

    *card = (struct card){0};
    pci_function_init(&card->pci, &header, card_config_written, card);
    pci_function_add_bar(&card->pci, 0, &io);
    pci_function_add_bar(&card->pci, 1, &mem);
    pci_function_add_bar(&card->pci, 2, &wide);
    ck_assert_int_eq(pci_bus_add(b.pci, &card->pci, devfn, &err), ST_OK);
    pci_function_reset(&card->pci);
}

static void setup(void)
{
    board_setup(&b);
    for (unsigned i = 0; i < PCI_PIRQS; i++)
        pirq_level[i] = 0;
    cf9 = 0;
    pci_bus_route(b.pci, pirq_set, NULL);
    pci_bus_set_cf9(b.pci, &cf9_ops, NULL);
    add_card(&cards[0], CARD0, 1);
    add_card(&cards[1], CARD1, 2);
}

static void teardown(void)
{
    pci_bus_remove(b.pci, &cards[0].pci);
    pci_bus_remove(b.pci, &cards[1].pci);
    board_teardown(&b);
}

START_TEST(config_address)
{
    board_out(&b, 0xcf8, 0xffffffff, 4);
    ck_assert_uint_eq(board_in(&b, 0xcf8, 4), 0x80fffffc);
    board_out(&b, 0xcf8, 0x00, 1); /* narrow accesses are other ports */
    board_out(&b, 0xcfa, 0x00, 2);
    ck_assert_uint_eq(board_in(&b, 0xcf8, 4), 0x80fffffc);
    ck_assert_uint_eq(board_in(&b, 0xcf8, 1), 0xff);
    board_out(&b, 0xcf8, 0x00001800, 4); /* enable bit clear */
    ck_assert_uint_eq(board_in(&b, 0xcfc, 4), 0xffffffff);
}
END_TEST

START_TEST(cf9_is_passed_on)
{
    board_out(&b, 0xcf9, 0x06, 1);
    ck_assert_uint_eq(cf9, 6);
    ck_assert_uint_eq(board_in(&b, 0xcf9, 1), 6);
    ck_assert_uint_eq(board_in(&b, 0xcf8, 2), 0x06ff);
    board_out(&b, 0xcf8, 0x80001800, 4); /* a dword there is CONFIG_ADDRESS alone */
    ck_assert_uint_eq(cf9, 6);
    ck_assert_uint_eq(board_in(&b, 0xcfc, 2), 0x1234);
}
END_TEST

START_TEST(lanes_and_absent_functions)
{
    ck_assert_uint_eq(config_get(&b, CARD0, 0, 4), 0x56781234);
    ck_assert_uint_eq(config_get(&b, CARD0, 2, 2), 0x5678);
    ck_assert_uint_eq(config_get(&b, CARD0, 1, 2), 0x7812); /* inside the dword */
    ck_assert_uint_eq(config_get(&b, CARD0, 3, 1), 0x56);
    ck_assert_uint_eq(config_get(&b, CARD0, 8, 4), 0x02030409);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x2c, 4), 0xef01abcd);
    ck_assert_uint_eq(config_get(&b, CARD0 + 1, 0, 4), 0xffffffff);
    ck_assert_uint_eq(config_get(&b, 0xf8, 0, 2), 0xffff);
    config_put(&b, 0xf8, 4, 0xffffffff, 4);
    board_out(&b, 0xcf8, 0x80011800, 4); /* bus 1 */
    ck_assert_uint_eq(board_in(&b, 0xcfc, 4), 0xffffffff);
    board_out(&b, 0xcf8, 0x80001800, 4);
    ck_assert_uint_eq(board_in(&b, 0xcfb, 2), 0x34ff); /* runs from the address into the data */
    ck_assert_uint_eq(board_in(&b, 0xcff, 2), 0xff56); /* and out of it */
}
END_TEST

START_TEST(header_masks)
{
    config_put(&b, CARD0, 0, 0xffffffff, 4);
    ck_assert_uint_eq(config_get(&b, CARD0, 0, 4), 0x56781234);
    config_put(&b, CARD0, 0x3c, 0xffffffff, 4);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x3c, 4), 0x000001ff);
    config_put(&b, CARD0, 4, 0xfffffff0, 4);
    ck_assert_uint_eq(config_get(&b, CARD0, 4, 4), 0x00000540);
    cards[0].pci.config[PCI_STATUS + 1] = 0x79;
    config_put(&b, CARD0, 6, 0x4000, 2);
    ck_assert_uint_eq(config_get(&b, CARD0, 6, 2), 0x3900);
    ck_assert_uint_eq(cards[0].config_writes, 4);
    pci_function_reset(&cards[0].pci);
    ck_assert_uint_eq(config_get(&b, CARD0, 4, 4), 0);
}
END_TEST

START_TEST(bar_sizing)
{
    static const u32 sizes[] = {0xffffffe1, 0xffffe000, 0xfff0000c, 0xffffffff, 0, 0};

    config_put(&b, CARD0, 4, 7, 2);
    for (u8 i = 0; i < 6; i++)
        config_put(&b, CARD0, 0x10 + i * 4, 0xffffffff, 4); /* with decoding on */
    for (u8 i = 0; i < 6; i++)
        ck_assert_uint_eq(config_get(&b, CARD0, 0x10 + i * 4, 4), sizes[i]);
}
END_TEST

START_TEST(io_bar_moves)
{
    config_put(&b, CARD0, 0x10, 0xc001, 4);
    ck_assert_uint_eq(board_in(&b, 0xc004, 4), 0xffffffff);
    config_put(&b, CARD0, 4, PCI_COMMAND_IO, 2);
    ck_assert_uint_eq(board_in(&b, 0xc004, 4), 0x5a000004);
    config_put(&b, CARD0, 0x10, 0xd0, 1); /* byte by byte: ports are C0C0h, then D0C0h */
    ck_assert_uint_eq(board_in(&b, 0xc0c4, 4), 0x5a000004);
    config_put(&b, CARD0, 0x11, 0xd0, 1);
    ck_assert_uint_eq(board_in(&b, 0xc0c4, 4), 0xffffffff);
    board_out(&b, 0xd0c8, 0x77, 1);
    ck_assert_uint_eq(cards[0].last_offset, 8);
    config_put(&b, CARD0, 0x12, 1, 1); /* above 64 KiB: nowhere */
    ck_assert_uint_eq(board_in(&b, 0xd0c4, 4), 0xffffffff);
}
END_TEST

START_TEST(memory_bars_and_priority)
{
    config_put(&b, CARD0, 0x14, 0xe0000000, 4);
    config_put(&b, CARD0, 0x18, 0x00000000, 4);
    config_put(&b, CARD0, 0x1c, 0x00000010, 4); /* 64 GiB */
    config_put(&b, CARD0, 4, PCI_COMMAND_MEMORY, 2);
    ck_assert_uint_eq(physmap_read_uint(b.map, 0xe0001ffc, 4), 0x5a001ffc);
    ck_assert_uint_eq(physmap_read_uint(b.map, 0xe0002000, 4), 0xffffffff);
    ck_assert_uint_eq(physmap_read_uint(b.map, 0x1000000010ull, 4), 0x5a000010);
    /* A BAR on top of RAM is behind the RAM. */
    physmap_write_uint(b.map, 0x1000, 0x11223344, 4);
    config_put(&b, CARD0, 0x14, 0, 4);
    ck_assert_uint_eq(physmap_read_uint(b.map, 0x1000, 4), 0x11223344);
    ck_assert_uint_eq(physmap_read_uint(b.map, 0xe0001ffc, 4), 0xffffffff);
    /* Out of the physical address space. */
    config_put(&b, CARD0, 0x1c, 0xffffffff, 4);
    ck_assert_uint_eq(physmap_read_uint(b.map, 0x1000000010ull, 4), 0xffffffff);
}
END_TEST

START_TEST(conflicts_resolve_later)
{
    config_put(&b, CARD0, 0x10, 0xc000, 4);
    config_put(&b, CARD1, 0x10, 0xc000, 4);
    config_put(&b, CARD0, 4, PCI_COMMAND_IO, 2);
    config_put(&b, CARD1, 4, PCI_COMMAND_IO, 2);
    board_out(&b, 0xc000, 1, 1);
    ck_assert_uint_eq(cards[0].writes, 1);
    ck_assert_uint_eq(cards[1].writes, 0);
    config_put(&b, CARD0, 0x10, 0xd000, 4);
    board_out(&b, 0xc000, 1, 1);
    ck_assert_uint_eq(cards[0].writes, 1);
    ck_assert_uint_eq(cards[1].writes, 1);
    config_put(&b, CARD1, 0x10, 0x0cf8, 4); /* on top of the bus's own ports */
    ck_assert_uint_eq(config_get(&b, CARD1, 0, 2), 0x1234);
}
END_TEST

START_TEST(capabilities_are_linked)
{
    struct pci_function *fn = &cards[0].pci;
    unsigned first = pci_function_add_capability(fn, 0x05, 14);
    unsigned second = pci_function_add_capability(fn, 0x11, 12);

    pci_function_reset(fn);
    ck_assert_uint_eq(first, 0x40);
    ck_assert_uint_eq(second, 0x50);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x06, 2) & PCI_STATUS_CAPABILITIES, 0x10);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x34, 1), 0x40);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x40, 2), 0x5005);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x50, 2), 0x0011);
}
END_TEST

START_TEST(interrupt_wires)
{
    /* INTA of device 3 and INTB of device 4: PIRQ 2 and PIRQ 0. */
    pci_function_set_intx(&cards[0].pci, true);
    ck_assert_uint_eq(pirq_level[2], 1);
    pci_function_set_intx(&cards[1].pci, true);
    ck_assert_uint_eq(pirq_level[0], 1);
    ck_assert_uint_eq(config_get(&b, CARD0, 6, 2), PCI_STATUS_INTERRUPT);
    config_put(&b, CARD0, 4, PCI_COMMAND_INTX_DISABLE, 2);
    ck_assert_uint_eq(pirq_level[2], 0);
    ck_assert_uint_eq(config_get(&b, CARD0, 6, 2), PCI_STATUS_INTERRUPT);
    config_put(&b, CARD0, 4, 0, 2);
    ck_assert_uint_eq(pirq_level[2], 1);
    pci_function_reset(&cards[0].pci);
    ck_assert_uint_eq(pirq_level[2], 0);
    ck_assert_uint_eq(config_get(&b, CARD0, 6, 2), 0);
}
END_TEST

START_TEST(wires_are_shared)
{
    static struct card third;

    add_card(&third, 7 << 3, 1); /* PIRQ 2, like card 0 */
    pci_function_set_intx(&cards[0].pci, true);
    pci_function_set_intx(&third.pci, true);
    pci_function_set_intx(&cards[0].pci, false);
    ck_assert_uint_eq(pirq_level[2], 1);
    pci_bus_remove(b.pci, &third.pci);
    ck_assert_uint_eq(pirq_level[2], 0);
}
END_TEST

START_TEST(multi_function_bit_and_taken_places)
{
    static struct card other;
    struct error err;

    ck_assert_uint_eq(config_get(&b, CARD0, 0x0e, 1), 0);
    add_card(&other, CARD0 + 2, 0);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x0e, 1), 0x80);
    pci_function_reset(&cards[0].pci);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x0e, 1), 0x80);
    ck_assert_int_eq(pci_bus_add(b.pci, &other.pci, CARD1, &err), ST_OVERLAP);
    pci_bus_remove(b.pci, &other.pci);
    ck_assert_uint_eq(config_get(&b, CARD0, 0x0e, 1), 0);
    ck_assert_uint_eq(config_get(&b, CARD0 + 2, 0, 4), 0xffffffff);
}
END_TEST

START_TEST(random_accesses)
{
    static const u8 devfns[] = {CARD0, CARD1, 0, 0xff};
    static const u16 ports[] = {0xcf8, 0xcf9, 0xcfa, 0xcfb, 0xcfc, 0xcfd,
                                0xcfe, 0xcff, 0,     0x20,  0x40,  0xfff0};

    for (unsigned i = 0; i < 8; i++) {
        board_fuzz(&b, devfns, ARRAY_SIZE(devfns), ports, ARRAY_SIZE(ports), 15000);
        pci_function_reset(&cards[i % 2].pci);
        pci_function_set_intx(&cards[i / 2 % 2].pci, i % 2);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pci");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, config_address);
    tcase_add_test(tc, cf9_is_passed_on);
    tcase_add_test(tc, lanes_and_absent_functions);
    tcase_add_test(tc, header_masks);
    tcase_add_test(tc, bar_sizing);
    tcase_add_test(tc, io_bar_moves);
    tcase_add_test(tc, memory_bars_and_priority);
    tcase_add_test(tc, conflicts_resolve_later);
    tcase_add_test(tc, capabilities_are_linked);
    tcase_add_test(tc, interrupt_wires);
    tcase_add_test(tc, wires_are_shared);
    tcase_add_test(tc, multi_function_bit_and_taken_places);
    tcase_add_test(tc, random_accesses);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
