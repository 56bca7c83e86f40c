/* SPDX-License-Identifier: MIT */
#include "bios/blob.h"

#include "bench.h"

START_TEST(appends_patches_and_inserts_little_endian)
{
    struct blob blob = {0};
    static const u8 expected[] = {0x34, 0x12, 'h', 'i', 0, 0xaa, 0xbb, 0, 0, 0x78, 0x56, 0, 0};

    ck_assert_uint_eq(blob_uint(&blob, 0x1234, 2), 0);
    ck_assert_uint_eq(blob_string(&blob, "hi"), 2);
    ck_assert_uint_eq(blob_zero(&blob, 6), 5);
    ck_assert_uint_eq(blob_align(&blob, 1), 11);
    blob_patch(&blob, 7, 0x5678, 4);
    blob_insert(&blob, 5, "\xaa\xbb", 2);
    ck_assert_uint_eq(blob.size, sizeof(expected));
    ck_assert_mem_eq(blob.data, expected, sizeof(expected));
    blob_align(&blob, 16);
    ck_assert_uint_eq(blob.size, 16);
    blob_fini(&blob);
    ck_assert_ptr_null(blob.data);
}
END_TEST

START_TEST(grows_past_its_first_capacity)
{
    struct blob blob = {0};

    for (unsigned i = 0; i < 5000; i++)
        blob_uint(&blob, i, 4);
    for (unsigned i = 0; i < 5000; i++)
        ck_assert_uint_eq(load_le(blob.data + i * 4, 4), i);
    blob_fini(&blob);
}
END_TEST

START_TEST(absurd_size_fails_once_and_for_all)
{
    struct blob blob = {0};
    struct error err;

    blob_uint(&blob, 1, 1);
    blob_zero(&blob, ~0ull - 5);
    ck_assert(blob.failed);
    blob_uint(&blob, 1, 1);
    blob_patch(&blob, 900, 1, 8);
    ck_assert_int_eq(blob_status(&blob, "a test", &err), ST_NO_MEMORY);
    ck_assert_ptr_nonnull(strstr(err.text, "a test"));
    blob_fini(&blob);
}
END_TEST

START_TEST(reads_files_and_names_what_failed)
{
    struct error err;
    struct blob blob;
    char *path = bench_file("content", 7);

    ck_assert_int_eq(blob_read_file(&blob, path, 7, "-kernel", &err), ST_OK);
    ck_assert_uint_eq(blob.size, 7);
    ck_assert_mem_eq(blob.data, "content", 7);
    blob_fini(&blob);
    ck_assert_int_eq(blob_read_file(&blob, path, 6, "-kernel", &err), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "-kernel"));
    ck_assert_ptr_null(blob.data);
    bench_unlink(path);
    ck_assert_int_eq(blob_read_file(&blob, "/nonexistent/x", 9, "-initrd", &err), ST_NOT_FOUND);
    ck_assert_str_eq(err.text,
                     "-initrd: cannot open /nonexistent/x: No such file or directory; name "
                     "another file.");
    ck_assert_int_eq(blob_read_file(&blob, "/tmp", 9, "-bios", &err), ST_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "-bios: cannot read /tmp"));
}
END_TEST

START_TEST(endless_file_is_refused)
{
    struct error err;
    struct blob blob;

    ck_assert_int_eq(blob_read_file(&blob, "/dev/zero", MIB(1), "-initrd", &err), ST_INVALID);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("blob");

    tcase_add_test(tcase, appends_patches_and_inserts_little_endian);
    tcase_add_test(tcase, grows_past_its_first_capacity);
    tcase_add_test(tcase, absurd_size_fails_once_and_for_all);
    tcase_add_test(tcase, reads_files_and_names_what_failed);
    tcase_add_test(tcase, endless_file_is_refused);
    return bench_main("bios/blob", tcase);
}
