/* SPDX-License-Identifier: MIT
 *
 * Register accesses: splitting by accepted size, claims and overlap, accesses over several claims,
 * the ends of the port space, handlers that change claims, and the trace.
 */
#include "mem/bus.h"
#include "tests/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct access {
    u64 offset;
    u64 value;
    unsigned size;
    bool write;
};

/* Answers byte n of a read with 0x10 + offset + n and records all accesses. */
struct probe {
    struct access seen[16];
    unsigned count;
};

static u64 probe_read(void *self, u64 offset, unsigned size)
{
    struct probe *probe = self;
    u64 value = ~0ull << 8; /* bits above size must be dropped by the bus */

    for (unsigned i = 0; i < 8; i++)
        value = i < size ? (value & ~(0xffull << i * 8)) | (0x10 + offset + i) << i * 8 : value;
    probe->seen[probe->count++] = (struct access){offset, 0, size, false};
    return value;
}

static void probe_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct probe *probe = self;

    probe->seen[probe->count++] = (struct access){offset, value, size, true};
}

static const struct io_ops any = {probe_read, probe_write, SIZE_ANY};
static const struct io_ops bytes = {probe_read, probe_write, SIZE_1};
static const struct io_ops words = {probe_read, probe_write, SIZE_2};
static const struct io_ops byte_dword = {probe_read, probe_write, SIZE_1 | SIZE_4};
static const struct io_ops dwords = {probe_read, probe_write, SIZE_4};

static struct log log_;
static struct pio_bus bus;

static void setup(void)
{
    log_init(&log_);
    ck_assert_int_eq(pio_bus_create(&bus, &log_, NULL), ST_OK);
}

static void teardown(void)
{
    pio_bus_destroy(&bus);
    log_fini(&log_);
}

static void expect(const struct probe *p, unsigned i, u64 offset, unsigned size, u64 value)
{
    ck_assert_uint_lt(i, p->count);
    ck_assert_uint_eq(p->seen[i].offset, offset);
    ck_assert_uint_eq(p->seen[i].size, size);
    if (p->seen[i].write)
        ck_assert_uint_eq(p->seen[i].value, value);
}

START_TEST(accepted_sizes_go_whole)
{
    struct probe p = {0};

    ck_assert_uint_eq(io_read(&any, &p, 3, 8), 0x1a19181716151413);
    ck_assert_uint_eq(io_read(&any, &p, 1, 1), 0x11);
    io_write(&any, &p, 5, 0xaabbccddee, 4);
    expect(&p, 0, 3, 8, 0);
    expect(&p, 1, 1, 1, 0);
    expect(&p, 2, 5, 4, 0xbbccddee);
    ck_assert_uint_eq(p.count, 3);
}
END_TEST

START_TEST(splits_into_aligned_pieces)
{
    struct probe p = {0};

    ck_assert_uint_eq(io_read(&byte_dword, &p, 2, 8), 0x1918171615141312);
    expect(&p, 0, 2, 1, 0);
    expect(&p, 1, 3, 1, 0);
    expect(&p, 2, 4, 4, 0);
    expect(&p, 3, 8, 1, 0);
    expect(&p, 4, 9, 1, 0);
    ck_assert_uint_eq(p.count, 5);
    p.count = 0;
    io_write(&bytes, &p, 0, 0x44332211, 4);
    for (unsigned i = 0; i < 4; i++)
        expect(&p, i, i, 1, 0x11 * (i + 1));
}
END_TEST

START_TEST(never_widens)
{
    struct probe p = {0};

    ck_assert_uint_eq(io_read(&dwords, &p, 0, 2), 0xffff);
    io_write(&dwords, &p, 0, 1, 1);
    ck_assert_uint_eq(p.count, 0);
    ck_assert_uint_eq(io_read(&words, &p, 0, 8), 0x1716151413121110);
    ck_assert_uint_eq(p.count, 4);
}
END_TEST

START_TEST(missing_handlers)
{
    static const struct io_ops none = {NULL, NULL, SIZE_ANY};

    ck_assert_uint_eq(io_read(&none, NULL, 0, 4), 0xffffffff);
    ck_assert_uint_eq(io_read(&none, NULL, 0, 8), ~0ull);
    io_write(&none, NULL, 0, 1, 8);
}
END_TEST

START_TEST(claims_and_overlap)
{
    struct probe p = {0}, q = {0};

    ck_assert_int_eq(pio_claim(&bus, 0x60, 0, &any, &p, "p"), ST_INVALID);
    ck_assert_int_eq(pio_claim(&bus, 0xfff0, 0x11, &any, &p, "p"), ST_INVALID);
    ck_assert_int_eq(pio_claim(&bus, 1, 0xffffffff, &any, &p, "p"), ST_INVALID);
    ck_assert_int_eq(pio_claim(&bus, 0x60, 4, &any, &p, "p"), ST_OK);
    ck_assert_int_eq(pio_claim(&bus, 0x5f, 2, &any, &q, "q"), ST_OVERLAP);
    ck_assert_int_eq(pio_claim(&bus, 0x63, 1, &any, &q, "q"), ST_OVERLAP);
    ck_assert_int_eq(pio_claim(&bus, 0x64, 1, &any, &q, "q"), ST_OK);
    ck_assert_uint_eq(pio_read(&bus, 0x5f, 1), 0xff);
    ck_assert_uint_eq(pio_read(&bus, 0x62, 2), 0x1312);
    pio_release(&bus, 0x61, &p); /* not where the claim starts */
    pio_release(&bus, 0x60, &q); /* not its owner */
    ck_assert_uint_eq(pio_read(&bus, 0x60, 1), 0x10);
    pio_release(&bus, 0x60, &p);
    ck_assert_uint_eq(pio_read(&bus, 0x60, 4), 0xffffffff);
    ck_assert_uint_eq(pio_read(&bus, 0x64, 1), 0x10);
    ck_assert_int_eq(pio_claim(&bus, 0x5f, 5, &any, &q, "q"), ST_OK);
}
END_TEST

START_TEST(splits_over_claims_at_bytes)
{
    struct probe p = {0}, q = {0};

    ck_assert_int_eq(pio_claim(&bus, 0x100, 2, &any, &p, "p"), ST_OK);
    ck_assert_int_eq(pio_claim(&bus, 0x102, 1, &any, &q, "q"), ST_OK);
    ck_assert_uint_eq(pio_read(&bus, 0x100, 4), 0xff101110);
    ck_assert_uint_eq(p.count, 2);
    pio_write(&bus, 0x101, 0x44332211, 4);
    expect(&p, 2, 1, 1, 0x11);
    expect(&q, 1, 0, 1, 0x22);
    ck_assert_uint_eq(q.count, 2);
}
END_TEST

START_TEST(end_of_the_port_space)
{
    struct probe p = {0}, q = {0};

    ck_assert_int_eq(pio_claim(&bus, 0xffff, 1, &any, &p, "p"), ST_OK);
    ck_assert_int_eq(pio_claim(&bus, 0, 4, &any, &q, "q"), ST_OK);
    ck_assert_uint_eq(pio_read(&bus, 0xffff, 4), 0xffffff10);
    pio_write(&bus, 0xfffe, 0x55667788, 4);
    expect(&p, 1, 0, 1, 0x77);
    ck_assert_uint_eq(q.count, 0);
}
END_TEST

START_TEST(the_whole_space_in_single_claims)
{
    struct probe p = {0};
    unsigned claimed = 0;
    enum status status = ST_OK;

    for (unsigned port = 0; port < 0x10000 && status == ST_OK; port++) {
        status = pio_claim(&bus, (u16)port, 1, &any, &p, "p");
        claimed += status == ST_OK;
        if (claimed > 2000 && port < 0xf000)
            port = 0xf000; /* the search for a free claim is linear: keep the test short */
    }
    ck_assert_uint_ge(claimed, 2000);
    ck_assert_int_eq(status, ST_OK);
    ck_assert_uint_eq(pio_read(&bus, 0x10, 1), 0x10);
}
END_TEST

/* Releases its own claim and makes many new ones, so that the claim array moves. */
static void mover_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)offset;
    (void)value;
    (void)size;
    pio_release(&bus, 0x200, self);
    for (unsigned i = 0; i < 500; i++)
        ck_assert_int_eq(pio_claim(&bus, (u16)(0x1000 + i), 1, &any, self, "new"), ST_OK);
}

START_TEST(handlers_may_change_claims)
{
    static const struct io_ops mover = {probe_read, mover_write, SIZE_1};
    struct probe p = {0};

    log_.sink = fopen("/dev/null", "w");
    log_.owned = true;
    log_.categories = LOG_MMIO;
    ck_assert_int_eq(pio_claim(&bus, 0x200, 1, &mover, &p, "mover"), ST_OK);
    pio_write(&bus, 0x1ff, 0x0101, 2);
    ck_assert_uint_eq(pio_read(&bus, 0x200, 1), 0xff);
    ck_assert_uint_eq(pio_read(&bus, 0x1000, 1), 0x10);
}
END_TEST

START_TEST(traces_every_access)
{
    struct probe p = {0};
    char *text = NULL;
    size_t length;

    log_.sink = open_memstream(&text, &length);
    log_.categories = LOG_MMIO;
    ck_assert_int_eq(pio_claim(&bus, 0x3f8, 8, &any, &p, "uart"), ST_OK);
    pio_read(&bus, 0x3f8, 1);
    pio_write(&bus, 0x3fa, 0x1234, 1);
    pio_read(&bus, 0x80, 2);
    fclose(log_.sink);
    log_.sink = stderr;
    ck_assert_ptr_nonnull(strstr(text, "pio read 0x3f8 1 -> 0x10 (uart)"));
    ck_assert_ptr_nonnull(strstr(text, "pio write 0x3fa 1 <- 0x34 (uart)"));
    ck_assert_ptr_nonnull(strstr(text, "pio read 0x80 2 -> 0xffff (nobody)"));
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bus");
    TCase *tc = tcase_create("bus");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, accepted_sizes_go_whole);
    tcase_add_test(tc, splits_into_aligned_pieces);
    tcase_add_test(tc, never_widens);
    tcase_add_test(tc, missing_handlers);
    tcase_add_test(tc, claims_and_overlap);
    tcase_add_test(tc, splits_over_claims_at_bytes);
    tcase_add_test(tc, end_of_the_port_space);
    tcase_add_test(tc, the_whole_space_in_single_claims);
    tcase_add_test(tc, handlers_may_change_claims);
    tcase_add_test(tc, traces_every_access);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
