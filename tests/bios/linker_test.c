/* SPDX-License-Identifier: MIT */
#include "bios/linker.h"

#include "loader.h"

static void build(struct linker *linker)
{
    unsigned a, b;

    *linker = (struct linker){0};
    a = linker_file(linker, "etc/a", 64, LINKER_ZONE_HIGH);
    b = linker_file(linker, "etc/b", 16, LINKER_ZONE_FSEG);
    for (unsigned i = 0; i < 100; i++)
        blob_uint(&linker->files[a].blob, i * 7, 1);
    blob_zero(&linker->files[b].blob, 24);
    linker_pointer(linker, a, 8, 8, b, 16);
    linker_pointer(linker, a, 20, 4, a, 96);
    linker_pointer(linker, b, 0, 4, a, 0);
    linker_checksum(linker, a, 40, 0, 60);
    linker_checksum(linker, b, 23, 0, 24);
}

START_TEST(script_and_direct_application_agree)
{
    struct linker linker;
    struct loader loader = {0};
    struct blob script = {0};
    u64 addresses[2];

    build(&linker);
    linker_script(&linker, &script);
    ck_assert_uint_eq(script.size, 7 * 128);
    for (unsigned i = 0; i < 2; i++)
        loader_add(&loader, linker.files[i].name, &linker.files[i].blob);
    loader_run(&loader, &script);
    ck_assert_uint_eq(loader.files[0].align, 64);
    ck_assert_uint_eq(loader.files[0].zone, 1);
    ck_assert_uint_eq(loader.files[1].align, 16);
    ck_assert_uint_eq(loader.files[1].zone, 2);
    for (unsigned i = 0; i < 2; i++)
        addresses[i] = loader.files[i].address;
    linker_apply(&linker, addresses);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_mem_eq(linker.files[i].blob.data, loader.files[i].bytes, loader.files[i].size);
    ck_assert_uint_eq(load_le(linker.files[0].blob.data + 8, 8), addresses[1] + 16);
    ck_assert_uint_eq(bytes_sum(linker.files[0].blob.data, 60), 0);
    ck_assert_uint_eq(bytes_sum(linker.files[1].blob.data, 24), 0);
    loader_close(&loader);
    blob_fini(&script);
    linker_fini(&linker);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("linker");

    tcase_add_test(tcase, script_and_direct_application_agree);
    return bench_main("bios/linker", tcase);
}
