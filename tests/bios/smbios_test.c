/* SPDX-License-Identifier: MIT */
#include "bios/smbios.h"

#include "bench.h"

static const u8 uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                            0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

static void build(u64 ram, unsigned sockets, struct blob *anchor, struct blob *tables)
{
    struct smbios_config config = {
        .version = "0.1.0",
        .sockets = sockets,
        .cores = 2,
        .threads = 4,
        .cpu_signature = 0x306c3,
        .layout = ram_layout_split(ram, RAM_HOLE_BASE),
    };
    struct error err;

    memcpy(config.uuid, uuid, 16);
    *anchor = *tables = (struct blob){0};
    ck_assert_int_eq(smbios_build(&config, anchor, tables, &err), ST_OK);
}

/* Walks the structures: counts[type], and the first of each type. Checks lengths, string ends,
 * handles and that string numbers exist. */
static unsigned walk(const struct blob *tables, unsigned *counts, const u8 **first, u64 *largest)
{
    u64 at = 0;
    unsigned total = 0;
    bool seen[65536] = {0};

    *largest = 0;
    while (at < tables->size) {
        const u8 *p = tables->data + at;
        u64 end = at + p[1];

        ck_assert_uint_ge(p[1], 4);
        ck_assert(!seen[load_le(p + 2, 2)]);
        seen[load_le(p + 2, 2)] = true;
        while (tables->data[end] || tables->data[end + 1])
            ck_assert_uint_lt(++end, tables->size - 1);
        if (end + 2 - at > *largest)
            *largest = end + 2 - at;
        if (!counts[p[0]]++)
            first[p[0]] = p;
        total++;
        at = end + 2;
        if (p[0] == 127)
            ck_assert_uint_eq(at, tables->size);
    }
    return total;
}

START_TEST(anchor_and_structures_are_consistent)
{
    struct blob anchor, tables;
    unsigned counts[256] = {0}, total;
    const u8 *first[256] = {0};
    u64 largest;

    build(GIB(20), 2, &anchor, &tables);
    total = walk(&tables, counts, first, &largest);
    ck_assert_uint_eq(anchor.size, 31);
    ck_assert_mem_eq(anchor.data, "_SM_", 4);
    ck_assert_uint_eq(anchor.data[5], 31);
    ck_assert_uint_ge(anchor.data[6] << 8 | anchor.data[7], 0x208);
    ck_assert_uint_eq(load_le(anchor.data + 8, 2), largest);
    ck_assert_mem_eq(anchor.data + 16, "_DMI_", 5);
    ck_assert_uint_eq(load_le(anchor.data + 22, 2), tables.size);
    ck_assert_uint_eq(load_le(anchor.data + 28, 2), total);
    ck_assert_uint_eq(bytes_sum(anchor.data, 31), 0);
    ck_assert_uint_eq(bytes_sum(anchor.data + 16, 15), 0);
    smbios_place(&anchor, 0xf1234);
    ck_assert_uint_eq(load_le(anchor.data + 24, 4), 0xf1234);
    ck_assert_uint_eq(bytes_sum(anchor.data, 31), 0);
    ck_assert_uint_eq(bytes_sum(anchor.data + 16, 15), 0);
    blob_fini(&anchor);
    blob_fini(&tables);
}
END_TEST

START_TEST(every_type_is_there)
{
    static const struct {
        u8 type, count, size;
    } rows[] = {{0, 1, 0x18},  {1, 1, 0x1b},  {3, 1, 0x16},  {4, 2, 0x2a},  {16, 1, 0x17},
                {17, 2, 0x28}, {19, 2, 0x1f}, {32, 1, 0x0b}, {127, 1, 0x04}};
    static const u8 stored[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    struct blob anchor, tables;
    unsigned counts[256] = {0};
    const u8 *first[256] = {0};
    u64 largest;

    build(GIB(20), 2, &anchor, &tables);
    walk(&tables, counts, first, &largest);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        ck_assert_uint_eq(counts[rows[i].type], rows[i].count);
        ck_assert_uint_eq(first[rows[i].type][1], rows[i].size);
    }
    ck_assert_mem_eq(first[1] + 8, stored, 16);
    ck_assert_uint_eq(load_le(first[4] + 8, 4), 0x306c3);
    ck_assert_uint_eq(first[4][0x23], 2);
    ck_assert_uint_eq(first[4][0x25], 4);
    ck_assert_uint_eq(load_le(first[16] + 7, 4), 20 << 20); /* KiB */
    ck_assert_uint_eq(load_le(first[17] + 12, 2), 16384);   /* MiB */
    ck_assert_uint_eq(load_le(first[19] + 4, 4), 0);
    ck_assert_uint_eq(load_le(first[19] + 8, 4), (3u << 20) - 1);
    blob_fini(&anchor);
    blob_fini(&tables);
}
END_TEST

START_TEST(huge_and_tiny_machines)
{
    static const u64 sizes[] = {MIB(1), MIB(64), GIB(3), GIB(2 * 1024), GIB(64 * 1024)};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct blob anchor, tables;
        unsigned counts[256] = {0};
        const u8 *first[256] = {0};
        u64 largest;

        build(sizes[i], 300, &anchor, &tables);
        walk(&tables, counts, first, &largest);
        ck_assert_uint_le(counts[17], 64);
        ck_assert_uint_eq(counts[4], 256);
        ck_assert_uint_eq(load_le(anchor.data + 22, 2), tables.size);
        if (sizes[i] >= GIB(2 * 1024)) {
            ck_assert_uint_eq(load_le(first[16] + 7, 4), 0x80000000);
            ck_assert_uint_eq(load_le(first[16] + 15, 8), sizes[i]);
            ck_assert_uint_eq(load_le(first[17] + 12, 2), 0x7fff);
        }
        blob_fini(&anchor);
        blob_fini(&tables);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("smbios");

    tcase_add_test(tcase, anchor_and_structures_are_consistent);
    tcase_add_test(tcase, every_type_is_there);
    tcase_add_test(tcase, huge_and_tiny_machines);
    return bench_main("bios/smbios", tcase);
}
