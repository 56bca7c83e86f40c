/* SPDX-License-Identifier: MIT */
#include "bios/firmware.h"

#include "bench.h"

static char *image_file(u64 size)
{
    u8 *bytes = malloc(size);
    char *path;

    for (u64 i = 0; i < size; i++)
        bytes[i] = (u8)(i >> 12 ^ i);
    path = bench_file(bytes, size);
    free(bytes);
    return path;
}

START_TEST(image_ends_at_4_gib_and_at_1_mib)
{
    static const u64 sizes[] = {KIB(64), KIB(128), KIB(192), KIB(256), MIB(16)};
    struct error err;

    for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct bench bench;
        struct firmware firmware;
        char *path = image_file(sizes[s]);
        u64 low = sizes[s] < KIB(128) ? sizes[s] : KIB(128);

        bench_open(&bench, MIB(2));
        ck_assert_int_eq(firmware_load(&firmware, bench.map, path, &err), ST_OK);
        for (u64 i = 0; i < low; i += 1021) {
            u64 offset = sizes[s] - low + i;

            ck_assert_uint_eq(physmap_read_uint(bench.map, MIB(1) - low + i, 1),
                              (u8)(offset >> 12 ^ offset));
            ck_assert_uint_eq(physmap_read_uint(bench.map, GIB(4) - low + i, 1),
                              (u8)(offset >> 12 ^ offset));
        }
        ck_assert_uint_eq(physmap_read_uint(bench.map, GIB(4) - sizes[s], 1), 0);
        physmap_write_uint(bench.map, 0xffff0, 0x55aa55aa, 4); /* ROM takes no writes */
        physmap_write_uint(bench.map, 0xfffffff0, 0x55aa55aa, 4);
        ck_assert_uint_eq(physmap_read_uint(bench.map, 0xffff0, 4),
                          physmap_read_uint(bench.map, 0xfffffff0, 4));
        ck_assert_uint_ne(physmap_read_uint(bench.map, 0xffff0, 4), 0x55aa55aa);
        firmware_unload(&firmware);
        ck_assert_uint_eq(physmap_read_uint(bench.map, 0xffff0, 4), 0); /* RAM again */
        bench_close(&bench);
        bench_unlink(path);
    }
}
END_TEST

START_TEST(wrong_sizes_are_refused)
{
    static const u64 sizes[] = {0, 1, KIB(64) - 1, KIB(96), MIB(16) + KIB(64)};
    struct bench bench;
    struct firmware firmware;
    struct error err;

    bench_open(&bench, MIB(2));
    for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
        char *path = image_file(sizes[s]);

        ck_assert_int_eq(firmware_load(&firmware, bench.map, path, &err), ST_INVALID);
        ck_assert_ptr_nonnull(strstr(err.text, "-bios"));
        bench_unlink(path);
    }
    ck_assert_int_eq(firmware_load(&firmware, bench.map, "/nonexistent", &err), ST_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "-bios"));
    bench_close(&bench);
}
END_TEST

START_TEST(debian_seabios_is_the_default)
{
    struct bench bench;
    struct firmware firmware;
    struct error err;

    bench_open(&bench, MIB(2));
    ck_assert_int_eq(firmware_load(&firmware, bench.map, NULL, &err), ST_OK);
    ck_assert_uint_eq(physmap_read_uint(bench.map, 0xfffffff0, 1), 0xea); /* far jump */
    ck_assert_uint_eq(physmap_read_uint(bench.map, 0xffff0, 1), 0xea);
    firmware_unload(&firmware);
    bench_close(&bench);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("firmware");

    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, image_ends_at_4_gib_and_at_1_mib);
    tcase_add_test(tcase, wrong_sizes_are_refused);
    tcase_add_test(tcase, debian_seabios_is_the_default);
    return bench_main("bios/firmware", tcase);
}
