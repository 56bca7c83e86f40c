/* SPDX-License-Identifier: MIT */
#include "bios/linux_boot.h"

#include "bench.h"

enum { KERNEL = 5000 };

static enum status load(struct linux_image *image, struct blob *file, u64 initrd_size,
                        const char *cmdline, u64 ram, struct error *err)
{
    struct ram_layout layout = ram_layout_split(ram, RAM_HOLE_BASE);
    struct blob initrd = {0};

    blob_zero(&initrd, initrd_size);
    return linux_image_load(image, file, &initrd, cmdline, &layout, err);
}

START_TEST(fills_the_header_and_splits_the_file)
{
    struct linux_image image;
    struct blob file;
    struct error err;
    const u8 *setup;

    bench_bzimage(&file, KERNEL);
    ck_assert_int_eq(load(&image, &file, 1000, "console=ttyS0", MIB(256), &err), ST_OK);
    setup = image.setup.data;
    ck_assert_uint_eq(image.setup.size, 2048);
    ck_assert_uint_eq(image.kernel.size, KERNEL);
    ck_assert_uint_eq(image.kernel.data[0], 0x40);
    ck_assert_uint_eq(setup[0x210], 0xff);
    ck_assert_uint_eq(setup[0x211], 0x81);
    ck_assert_uint_eq(load_le(setup + 0x214, 4), 0x1000000); /* relocatable: where it prefers */
    ck_assert_uint_eq(image.kernel_address, 0x1000000);
    ck_assert_uint_eq(load_le(setup + 0x218, 4), image.initrd_address);
    ck_assert_uint_eq(load_le(setup + 0x21c, 4), 1000);
    ck_assert_uint_eq(load_le(setup + 0x224, 2), 0xde00);
    ck_assert_uint_eq(load_le(setup + 0x228, 4), 0x20000);
    ck_assert_uint_eq(image.initrd_address, MIB(255) - 4096);
    ck_assert_str_eq((const char *)image.cmdline.data, "console=ttyS0");
    ck_assert(image.has_long_entry);
    linux_image_fini(&image);
}
END_TEST

START_TEST(initrd_obeys_every_limit)
{
    struct linux_image image;
    struct blob file;
    struct error err;

    bench_bzimage(&file, KERNEL); /* initrd_addr_max */
    blob_patch(&file, 0x22c, 0x37ffffff, 4);
    ck_assert_int_eq(load(&image, &file, 8192, "", GIB(8), &err), ST_OK);
    ck_assert_uint_eq(image.initrd_address, 0x38000000 - 8192);
    linux_image_fini(&image);
    bench_bzimage(&file, KERNEL); /* the hole below 4 GiB */
    blob_patch(&file, 0x22c, 0xffffffff, 4);
    ck_assert_int_eq(load(&image, &file, 1, "", GIB(8), &err), ST_OK);
    ck_assert_uint_eq(image.initrd_address, GIB(3) - MIB(1) - 4096);
    linux_image_fini(&image);
    bench_bzimage(&file, KERNEL); /* no room above the kernel, but below it */
    ck_assert_int_eq(load(&image, &file, MIB(14), "", MIB(32), &err), ST_OK);
    ck_assert_uint_ge(image.initrd_address, MIB(1));
    ck_assert_uint_le(image.initrd_address + MIB(14), image.kernel_address);
    linux_image_fini(&image);
    bench_bzimage(&file, KERNEL); /* nowhere */
    ck_assert_int_eq(load(&image, &file, MIB(16), "", MIB(32), &err), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "-initrd"));
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x22c, 0, 4);
    ck_assert_int_eq(load(&image, &file, 100, "", MIB(256), &err), ST_INVALID);
}
END_TEST

START_TEST(old_protocols_have_old_limits)
{
    struct linux_image image;
    struct blob file;
    struct error err;
    char line[300];

    memset(line, 'a', 299);
    line[299] = 0;
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x206, 0x0202, 2);
    blob_patch(&file, 0x22c, 0x10, 4); /* not a field yet */
    ck_assert_int_eq(load(&image, &file, 100, line + 44, GIB(2), &err), ST_OK); /* 255 */
    ck_assert_uint_eq(image.kernel_address, MIB(1));
    ck_assert_uint_eq(image.initrd_address, 0x38000000 - 4096);
    ck_assert(!image.has_long_entry);
    linux_image_fini(&image);
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x206, 0x0205, 2);
    ck_assert_int_eq(load(&image, &file, 0, line + 43, GIB(2), &err), ST_INVALID); /* 256 */
    ck_assert_ptr_nonnull(strstr(err.text, "-append"));
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x206, 0x0201, 2);
    ck_assert_int_eq(load(&image, &file, 0, "", GIB(2), &err), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "2.01"));
}
END_TEST

START_TEST(kernel_that_does_not_fit)
{
    struct linux_image image;
    struct blob file;
    struct error err;

    bench_bzimage(&file, KERNEL);
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(8), &err), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "raise -m"));
    bench_bzimage(&file, KERNEL); /* absurd preferred address: loaded at 1 MiB as in old times */
    blob_patch(&file, 0x258, UINT64_MAX, 8);
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_OK);
    ck_assert_uint_eq(image.kernel_address, MIB(1));
    linux_image_fini(&image);
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x260, UINT32_MAX, 4);
    ck_assert_int_eq(load(&image, &file, 0, "", GIB(8), &err), ST_INVALID);
    bench_bzimage(&file, KERNEL); /* not relocatable: the run-time copy must fit all the same */
    blob_patch(&file, 0x234, 0, 1);
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(20), &err), ST_INVALID);
}
END_TEST

START_TEST(damaged_files_are_refused)
{
    struct blob whole, file;
    struct linux_image image;
    struct error err;

    bench_bzimage(&whole, KERNEL);
    for (u64 size = 0; size <= 2048; size += 7) { /* truncated anywhere */
        file = (struct blob){0};
        blob_bytes(&file, whole.data, size);
        ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_INVALID);
    }
    blob_fini(&whole);
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x1f1, 255, 1); /* setup larger than the file */
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_INVALID);
    bench_bzimage(&file, MIB(1));
    blob_patch(&file, 0x1f1, 255, 1); /* setup larger than its 32 KiB */
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_INVALID);
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x211, 0, 1); /* a zImage */
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_INVALID);
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x201, 2, 1); /* header ends before protocol 2.02's fields */
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_INVALID);
    bench_bzimage(&file, KERNEL);
    blob_patch(&file, 0x202, 0, 4);
    ck_assert(!linux_image_probe(&file));
    ck_assert_int_eq(load(&image, &file, 0, "", MIB(64), &err), ST_INVALID);
}
END_TEST

START_TEST(random_headers_never_escape_memory)
{
    u64 seed = 88172645463325252ull;

    for (unsigned round = 0; round < 20000; round++) {
        struct linux_image image;
        struct blob file;
        struct error err;

        bench_bzimage(&file, 700);
        for (unsigned i = 0; i < 8; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            file.data[0x1f0 + seed % 0x80] = (u8)(seed >> 32);
        }
        if (load(&image, &file, 5000, "quiet", MIB(128), &err) != ST_OK)
            continue;
        ck_assert_uint_ge(image.kernel_address, MIB(1));
        ck_assert_uint_le(image.kernel_address + image.kernel.size, MIB(128));
        ck_assert_uint_ge(image.initrd_address, MIB(1));
        ck_assert_uint_le(image.initrd_address + image.initrd.size, MIB(127));
        ck_assert(image.initrd_address + image.initrd.size <= image.kernel_address ||
                  image.kernel_address + image.kernel.size <= image.initrd_address);
        linux_image_fini(&image);
    }
}
END_TEST

START_TEST(zero_page)
{
    struct ram_layout layout = ram_layout_split(GIB(4), RAM_HOLE_BASE);
    u8 page[LINUX_ZERO_PAGE_SIZE];
    struct linux_image image;
    struct e820_map map;
    struct blob file;
    struct error err;

    bench_bzimage(&file, KERNEL);
    ck_assert_int_eq(load(&image, &file, 100, "", GIB(4), &err), ST_OK);
    e820_for_kernel(&map, &layout);
    linux_zero_page(&image, &map, 0xe0000, page);
    ck_assert_uint_eq(load_le(page + 0x70, 8), 0xe0000);
    ck_assert_uint_eq(page[0x1e8], map.count);
    ck_assert_uint_eq(load_le(page + 0x2d0 + 20 * (map.count - 1), 8), GIB(4));
    ck_assert_mem_eq(page + 0x202, "HdrS", 4);
    ck_assert_uint_eq(load_le(page + 0x228, 4), 0x20000);
    ck_assert_uint_eq(page[0x268], 0); /* the header ends there; code is not copied */
    linux_image_fini(&image);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("linux_boot");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, fills_the_header_and_splits_the_file);
    tcase_add_test(tcase, initrd_obeys_every_limit);
    tcase_add_test(tcase, old_protocols_have_old_limits);
    tcase_add_test(tcase, kernel_that_does_not_fit);
    tcase_add_test(tcase, damaged_files_are_refused);
    tcase_add_test(tcase, random_headers_never_escape_memory);
    tcase_add_test(tcase, zero_page);
    return bench_main("bios/linux_boot", tcase);
}
