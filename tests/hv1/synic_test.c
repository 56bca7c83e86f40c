/* SPDX-License-Identifier: MIT */
#include "tests/hv1/caller.h"
#include "tests/suite.h"

static void setup(void)
{
    b = board_create("full,ports");
    enter(b->v[0]);
}

static void teardown(void)
{
    board_destroy(b);
}

enum { SIM = 0x10000, SIEF = 0x11000, VECTOR = 0x50 };

static struct hv_message *slot(unsigned sint)
{
    return (struct hv_message *)physmap_ram_pointer(b->map, SIM, PAGE_SIZE) + sint;
}

/* SINT2 of processor 1 with its pages, and connections 7 (messages) and 8 (events) to it. */
static void connect(void)
{
    board_write(b, 1, HV_X64_MSR_SIMP, SIM | 1);
    board_write(b, 1, HV_X64_MSR_SIEFP, SIEF | 1);
    board_write(b, 1, HV_X64_MSR_SCONTROL, 1);
    board_write(b, 1, HV_X64_MSR_SINT0 + 2, VECTOR);
    b->hv1->connections[7] = (struct connection){CONNECTION_MESSAGE, 1, 2};
    b->hv1->connections[8] = (struct connection){CONNECTION_EVENT, 1, 2};
}

static u64 post(u32 connection, u32 type, u32 size, u8 fill)
{
    put(0, connection);
    put(1, (u64)size << 32 | type);
    for (unsigned n = 0; n < 30; n++)
        put(2 + n, fill * 0x0101010101010101ull);
    return call(HvPostMessage, INPUT, 0);
}

/* S-01, S-03 */
START_TEST(registers)
{
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_SCONTROL), 0);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_SVERSION), 1);
    ck_assert(board_refuses(b, HV_X64_MSR_SVERSION, 1));
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_EOM), 0);
    for (u32 n = 0; n < HV_SINTS; n++) {
        u32 msr = HV_X64_MSR_SINT0 + n;

        ck_assert_uint_eq(board_read(b, 0, msr), 0x10000);
        board_write(b, 0, msr, 0x10000);
        board_write(b, 0, msr, 0x1000f);
        ck_assert(board_refuses(b, msr, 0xf));
        board_write(b, 0, msr, 0xff00000000000010);
        ck_assert_uint_eq(board_read(b, 0, msr), 0xff00000000000010);
        ck_assert_uint_eq(board_read(b, 1, msr), 0x10000);
    }
}
END_TEST

/* S-04 */
START_TEST(a_message_in_its_slot)
{
    connect();
    ck_assert_uint_eq(post(7, 0x1234, 3, 0xaa), 0);
    ck_assert_uint_eq(slot(2)->type, 0x1234);
    ck_assert_uint_eq(slot(2)->payload_size, 3);
    ck_assert_uint_eq(slot(2)->flags, 0);
    ck_assert_uint_eq(slot(2)->origin, 7);
    ck_assert_uint_eq(slot(2)->payload[2], 0xaa);
    ck_assert_uint_eq(slot(2)->payload[3], 0);
    ck_assert_uint_eq(slot(1)->type | slot(3)->type, 0);
    ck_assert_uint_eq(b->ipis, 1);
    ck_assert(b->ipi[0].cpu == 1 && b->ipi[0].vector == VECTOR);
}
END_TEST

/* S-05: a full slot, then EOM, then the interrupt's end. */
START_TEST(what_waits_is_delivered_in_order)
{
    connect();
    post(7, 1, 1, 1);
    post(7, 2, 1, 2);
    post(7, 3, 1, 3);
    ck_assert_uint_eq(slot(2)->type, 1);
    ck_assert_uint_eq(slot(2)->flags, HV_MESSAGE_PENDING);
    ck_assert_uint_eq(b->ipis, 1);
    board_write(b, 1, HV_X64_MSR_EOM, 0);
    ck_assert_uint_eq(slot(2)->type, 1);
    slot(2)->type = 0;
    board_write(b, 1, HV_X64_MSR_EOM, 0);
    ck_assert_uint_eq(slot(2)->type, 2);
    ck_assert_uint_eq(slot(2)->flags, HV_MESSAGE_PENDING);
    ck_assert_uint_eq(b->ipis, 2);
    slot(2)->type = 0;
    hv1_eoi(b->hv1, b->v[1], VECTOR + 1);
    ck_assert_uint_eq(slot(2)->type, 0);
    hv1_eoi(b->hv1, b->v[0], VECTOR);
    ck_assert_uint_eq(slot(2)->type, 0);
    hv1_eoi(b->hv1, b->v[1], VECTOR);
    ck_assert_uint_eq(slot(2)->type, 3);
    ck_assert_uint_eq(slot(2)->flags, 0);
    ck_assert_uint_eq(b->ipis, 3);
}
END_TEST

/* K-09 */
START_TEST(errors_of_posting)
{
    connect();
    ck_assert_uint_eq(post(7, 0x80000001, 1, 0), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(post(7, 0, 1, 0), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(post(7, 1, 241, 0), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(post(7, 1, ~0u, 0), HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(post(9, 1, 1, 0), HV_STATUS_INVALID_CONNECTION_ID);
    ck_assert_uint_eq(post(0x10000, 1, 1, 0), HV_STATUS_INVALID_CONNECTION_ID);
    ck_assert_uint_eq(post(8, 1, 1, 0), HV_STATUS_INVALID_PORT_ID);
    ck_assert_uint_eq(post(1u << 24, 1, 1, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    ck_assert_uint_eq(call(HvPostMessage | BIT(16), 7, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
    board_write(b, 1, HV_X64_MSR_SIMP, SIM);
    ck_assert_uint_eq(post(7, 1, 1, 0), HV_STATUS_INVALID_SYNIC_STATE);
    board_write(b, 1, HV_X64_MSR_SIMP, SIM | 1);
    board_write(b, 1, HV_X64_MSR_SCONTROL, 0);
    ck_assert_uint_eq(post(7, 1, 1, 0), HV_STATUS_INVALID_SYNIC_STATE);
    board_write(b, 1, HV_X64_MSR_SCONTROL, 1);
    for (unsigned n = 0; n < 17; n++) /* one in the slot, 16 buffers */
        ck_assert_uint_eq(post(7, n + 1, 240, (u8)n), 0);
    ck_assert_uint_eq(post(7, 99, 1, 0), HV_STATUS_INSUFFICIENT_BUFFERS);
    for (unsigned n = 0; n < 17; n++) {
        ck_assert_uint_eq(slot(2)->type, n + 1);
        ck_assert_uint_eq(slot(2)->payload[239], n);
        slot(2)->type = 0;
        board_write(b, 1, HV_X64_MSR_EOM, 0);
    }
    ck_assert_uint_eq(slot(2)->type, 0);
}
END_TEST

/* S-06 */
START_TEST(a_masked_source_gets_messages_without_interrupts)
{
    connect();
    board_write(b, 1, HV_X64_MSR_SINT0 + 2, HV_SINT_MASKED | VECTOR);
    post(7, 1, 1, 1);
    post(7, 2, 1, 1);
    ck_assert_uint_eq(slot(2)->type, 1);
    slot(2)->type = 0;
    board_write(b, 1, HV_X64_MSR_EOM, 0);
    ck_assert_uint_eq(slot(2)->type, 2);
    board_write(b, 1, HV_X64_MSR_SINT0 + 2, HV_SINT_POLLING | VECTOR);
    slot(2)->type = 0;
    post(7, 3, 1, 1);
    ck_assert_uint_eq(slot(2)->type, 3);
    ck_assert_uint_eq(b->ipis, 0);
}
END_TEST

/* S-07 */
START_TEST(auto_eoi_vectors)
{
    board_write(b, 1, HV_X64_MSR_SINT0 + 3, HV_SINT_AUTO_EOI | 0x60);
    board_write(b, 1, HV_X64_MSR_SINT0 + 4, 0x60);
    board_write(b, 1, HV_X64_MSR_SINT0 + 5, HV_SINT_AUTO_EOI | HV_SINT_MASKED | 0x61);
    ck_assert(hv1_auto_eoi(b->hv1, b->v[1], 0x60));
    ck_assert(!hv1_auto_eoi(b->hv1, b->v[1], 0x61));
    ck_assert(!hv1_auto_eoi(b->hv1, b->v[0], 0x60));
    board_write(b, 1, HV_X64_MSR_SINT0 + 3, 0x60);
    ck_assert(!hv1_auto_eoi(b->hv1, b->v[1], 0x60));
}
END_TEST

/* S-08, K-10 */
START_TEST(event_flags)
{
    static const u16 flags[] = {0, 7, 8, 2039};

    connect();
    for (size_t n = 0; n < ARRAY_SIZE(flags); n++) {
        unsigned bit = 8u + flags[n]; /* the connection's number is the first */
        u8 byte;

        ck_assert_uint_eq(call(HvSignalEvent | BIT(16), (u64)flags[n] << 32 | 8, 0), 0);
        byte = (u8)physmap_read_uint(b->map, SIEF + 2 * 256 + bit / 8, 1);
        ck_assert(byte & 1u << bit % 8);
        ck_assert_uint_eq(b->ipis, n + 1);
        put(0, (u64)flags[n] << 32 | 8);
        ck_assert_uint_eq(call(HvSignalEvent, INPUT, 0), 0);
        ck_assert_uint_eq(b->ipis, n + 1); /* it was set */
    }
    ck_assert_uint_eq(call(HvSignalEvent | BIT(16), 2040ull << 32 | 8, 0),
                      HV_STATUS_INVALID_PARAMETER);
    ck_assert_uint_eq(call(HvSignalEvent | BIT(16), 7, 0), HV_STATUS_INVALID_PORT_ID);
    ck_assert_uint_eq(call(HvSignalEvent | BIT(16), 1ull << 48 | 8, 0),
                      HV_STATUS_INVALID_HYPERCALL_INPUT);
    board_write(b, 1, HV_X64_MSR_SINT0 + 2, HV_SINT_RESET);
    ck_assert_uint_eq(call(HvSignalEvent | BIT(16), 8, 0), HV_STATUS_INVALID_SYNIC_STATE);
}
END_TEST

/* S-10 */
START_TEST(reset_empties_everything)
{
    connect();
    for (unsigned n = 0; n < 5; n++)
        post(7, n + 1, 1, 1);
    hv1_vp_reset(b->hv1, b->v[1]);
    ck_assert_uint_eq(board_read(b, 1, HV_X64_MSR_SIMP), 0);
    ck_assert_uint_eq(board_read(b, 1, HV_X64_MSR_SINT0 + 2), 0x10000);
    connect();
    ck_assert_uint_eq(slot(2)->type, 0);
    board_write(b, 1, HV_X64_MSR_EOM, 0);
    ck_assert_uint_eq(slot(2)->type, 0);
}
END_TEST

/* hyperv-testdev: what third-party test kernels write to port 3000h. */
START_TEST(connections_by_the_test_device)
{
    struct pio_bus pio;
    const struct device_env env = {.clock = &b->clock, .log = &b->log, .map = b->map, .pio = &pio};
    void *device = calloc(1, hv1_testdev_type.state_size);

    ck_assert_int_eq(pio_bus_create(&pio, &b->log, NULL), ST_OK);
    ck_assert_int_eq(hv1_testdev_type.init(device, &env, &b->hv1, NULL), ST_OK);
    connect();
    pio_write(&pio, 0x3000, 0x21u << 24 | 4 << 16 | 1 << 8 | 2, 4);
    ck_assert_uint_eq(post(0x21, 5, 1, 1), 0);
    ck_assert_uint_eq(slot(2)->type, 5);
    pio_write(&pio, 0x3000, 0x21u << 24 | 5 << 16, 4);
    ck_assert_uint_eq(post(0x21, 5, 1, 1), HV_STATUS_INVALID_CONNECTION_ID);
    pio_write(&pio, 0x3000, 0x22u << 24 | 6 << 16 | 1 << 8 | 2, 4);
    ck_assert_uint_eq(call(HvSignalEvent | BIT(16), 0x22, 0), 0);
    pio_write(&pio, 0x3000, 0x22u << 24 | 7 << 16, 4);
    ck_assert_uint_eq(call(HvSignalEvent | BIT(16), 0x22, 0), HV_STATUS_INVALID_CONNECTION_ID);
    b->ipis = 0;
    pio_write(&pio, 0x3000, 1 << 16 | 1 << 8 | 2, 4);
    pio_write(&pio, 0x3000, 3 << 16 | 1 << 8 | 2, 4);
    ck_assert_uint_eq(b->ipis, 1);
    pio_write(&pio, 0x3000, 3u << 16 | 99 << 8 | 2, 4); /* no such processor */
    pio_write(&pio, 0x3000, 4u << 16 | 1 << 8 | 16, 4); /* no such SINT */
    pio_write(&pio, 0x3000, ~0u, 4);
    ck_assert_uint_eq(b->ipis, 1);
    hv1_testdev_type.reset(device);
    hv1_testdev_type.fini(device);
    ck_assert_uint_eq(b->hv1->connections[7].kind, CONNECTION_NONE);
    pio_bus_destroy(&pio);
    free(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 synic");
    TCase *t = tcase_create("synic");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, registers);
    tcase_add_test(t, a_message_in_its_slot);
    tcase_add_test(t, what_waits_is_delivered_in_order);
    tcase_add_test(t, errors_of_posting);
    tcase_add_test(t, a_masked_source_gets_messages_without_interrupts);
    tcase_add_test(t, auto_eoi_vectors);
    tcase_add_test(t, event_flags);
    tcase_add_test(t, reset_empties_everything);
    tcase_add_test(t, connections_by_the_test_device);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
