/* SPDX-License-Identifier: MIT */
#include "bios/boot.h"

#include "pc.h"

struct fixture {
    struct bench bench;
    struct platform platform;
    struct boot_image image;
    char *kernel;
    char *initrd;
};

static void open_linux(struct fixture *f)
{
    struct boot_request request = {.append = "quiet"};
    struct blob file;
    struct error err;

    bench_open(&f->bench, MIB(128));
    pc_build(&f->platform, &f->bench.layout);
    bench_bzimage(&file, 3000);
    f->kernel = bench_file(file.data, file.size);
    f->initrd = bench_file("the initrd", 10);
    blob_fini(&file);
    request.kernel = f->kernel;
    request.initrd = f->initrd;
    ck_assert_int_eq(boot_image_load(&f->image, &request, &f->bench.layout, &err), ST_OK);
    ck_assert_int_eq(f->image.kind, BOOT_LINUX);
}

static void open_multiboot(struct fixture *f)
{
    static const u32 words[] = {0x1badb002, 0x10003,     -(0x1badb002u + 0x10003),
                                MIB(1),     MIB(1),      0,
                                0,          MIB(1) + 32, 0xfeedface};
    struct boot_request request = {0};
    struct error err;

    bench_open(&f->bench, MIB(128));
    pc_build(&f->platform, &f->bench.layout);
    f->kernel = bench_file(words, sizeof(words));
    f->initrd = bench_file("", 0);
    request.kernel = f->kernel;
    ck_assert_int_eq(boot_image_load(&f->image, &request, &f->bench.layout, &err), ST_OK);
    ck_assert_int_eq(f->image.kind, BOOT_MULTIBOOT);
}

static void close_fixture(struct fixture *f)
{
    bench_unlink(f->kernel);
    bench_unlink(f->initrd);
    boot_image_fini(&f->image);
    platform_fini(&f->platform);
    bench_close(&f->bench);
}

static u64 item(const struct fw_cfg_store *store, u16 key)
{
    const struct blob *blob = fw_cfg_find(store, key);

    ck_assert_ptr_nonnull(blob);
    return load_le(blob->data, 4);
}

START_TEST(linux_items_and_boot_order)
{
    struct fw_cfg_store store;
    struct fixture f;
    struct error err;
    const struct blob *order;

    open_linux(&f);
    ck_assert_int_eq(fw_cfg_store_create(&store, &err), ST_OK);
    ck_assert_int_eq(boot_to_fw_cfg(&f.image, &store, &err), ST_OK);
    ck_assert_uint_eq(item(&store, FW_CFG_SETUP_ADDR), 0x10000);
    ck_assert_uint_eq(item(&store, FW_CFG_SETUP_SIZE), 2048);
    ck_assert_uint_eq(item(&store, FW_CFG_CMDLINE_ADDR), 0x20000);
    ck_assert_uint_eq(item(&store, FW_CFG_CMDLINE_SIZE), 6);
    ck_assert_str_eq((char *)fw_cfg_find(&store, FW_CFG_CMDLINE_DATA)->data, "quiet");
    ck_assert_uint_eq(item(&store, FW_CFG_KERNEL_ADDR), 0x1000000);
    ck_assert_uint_eq(item(&store, FW_CFG_KERNEL_SIZE), 3000);
    ck_assert_uint_eq(item(&store, FW_CFG_INITRD_SIZE), 10);
    ck_assert_mem_eq(fw_cfg_find(&store, FW_CFG_INITRD_DATA)->data, "the initrd", 10);
    order = fw_cfg_find_file(&store, "bootorder");
    ck_assert_str_eq((char *)order->data, "/rom@genroms/lockstep-linux.bin\n");
    ck_assert_uint_eq(fw_cfg_find_file(&store, "genroms/lockstep-linux.bin")->size % 512, 0);
    fw_cfg_store_destroy(&store);
    close_fixture(&f);
}
END_TEST

START_TEST(multiboot_items)
{
    struct fw_cfg_store store;
    struct fixture f;
    struct error err;

    open_multiboot(&f);
    ck_assert_int_eq(fw_cfg_store_create(&store, &err), ST_OK);
    ck_assert_int_eq(boot_to_fw_cfg(&f.image, &store, &err), ST_OK);
    ck_assert_uint_eq(item(&store, FW_CFG_KERNEL_ENTRY), MIB(1) + 32);
    ck_assert_uint_eq(item(&store, FW_CFG_KERNEL_ADDR), MIB(1));
    ck_assert_uint_eq(item(&store, FW_CFG_KERNEL_SIZE), 36);
    ck_assert_uint_eq(item(&store, FW_CFG_INITRD_ADDR), MIB(1) + 4096);
    ck_assert_ptr_null(fw_cfg_find(&store, FW_CFG_SETUP_DATA));
    ck_assert_ptr_nonnull(fw_cfg_find_file(&store, "genroms/lockstep-multiboot.bin"));
    fw_cfg_store_destroy(&store);
    close_fixture(&f);
}
END_TEST

START_TEST(linux_direct_32)
{
    struct boot_state state;
    struct fixture f;
    struct error err;
    char text[16];

    open_linux(&f);
    ck_assert_int_eq(boot_direct(&f.image, &f.platform, f.bench.map, false, &state, &err), ST_OK);
    ck_assert_int_eq(state.mode, BOOT_PROT32);
    ck_assert_uint_eq(state.rip, 0x1000000);
    ck_assert_uint_eq(state.rsi, 0x10000);
    ck_assert_uint_eq(state.cs, 0x10);
    ck_assert_uint_eq(state.ds, 0x18);
    ck_assert_uint_eq(state.cs_access, 0xcf9b);
    ck_assert_uint_eq(state.ds_access, 0xcf93);
    ck_assert_uint_eq(state.gdt_limit, 31);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, state.gdt_base + 0x10, 8), 0x00cf9b000000ffff);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, state.gdt_base + 0x18, 8), 0x00cf93000000ffff);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, state.rip, 1), 0x40);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, 0x10202, 4), 0x53726448);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, 0x10070, 8), 0xe0000);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, 0xe0000, 8), 0x2052545020445352);
    physmap_read(f.bench.map, physmap_read_uint(f.bench.map, 0x10218, 4), text, 10);
    ck_assert_mem_eq(text, "the initrd", 10);
    physmap_read(f.bench.map, physmap_read_uint(f.bench.map, 0x10228, 4), text, 6);
    ck_assert_str_eq(text, "quiet");
    close_fixture(&f);
}
END_TEST

START_TEST(linux_direct_64_maps_4_gib)
{
    static const u64 addresses[] = {0, 0x1000000, MIB(127), GIB(3) + 0x1234, GIB(4) - 1};
    struct boot_state state;
    struct fixture f;
    struct error err;

    open_linux(&f);
    ck_assert_int_eq(boot_direct(&f.image, &f.platform, f.bench.map, true, &state, &err), ST_OK);
    ck_assert_int_eq(state.mode, BOOT_LONG64);
    ck_assert_uint_eq(state.rip, 0x1000200);
    ck_assert_uint_eq(state.cs_access, 0xaf9b);
    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
        u64 table = state.cr3, entry = 0;

        for (int level = 3; level >= 1; level--) {
            u64 index = addresses[i] >> (12 + 9 * level) & 511;

            entry = physmap_read_uint(f.bench.map, table + index * 8, 8);
            ck_assert_uint_eq(entry & 3, 3);
            ck_assert_uint_eq(entry >> 7 & 1, level == 1);
            table = entry & 0xffffffffff000;
        }
        ck_assert_uint_eq(table, addresses[i] & ~(MIB(2) - 1));
    }
    close_fixture(&f);
}
END_TEST

START_TEST(multiboot_direct)
{
    struct boot_state state;
    struct fixture f;
    struct error err;

    open_multiboot(&f);
    ck_assert_int_eq(boot_direct(&f.image, &f.platform, f.bench.map, true, &state, &err), ST_OK);
    ck_assert_int_eq(state.mode, BOOT_PROT32);
    ck_assert_uint_eq(state.rip, MIB(1) + 32);
    ck_assert_uint_eq(state.rax, 0x2badb002);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, state.rip, 4), 0xfeedface);
    ck_assert_uint_eq(physmap_read_uint(f.bench.map, state.rbx + 8, 4), 127 * 1024);
    close_fixture(&f);
}
END_TEST

START_TEST(bad_files_give_one_sentence)
{
    struct ram_layout layout = ram_layout_split(MIB(64), RAM_HOLE_BASE);
    char *text = bench_file("#!/bin/sh\n", 10);
    struct boot_request request = {.kernel = text};
    struct boot_image image;
    struct blob file;
    struct error err;
    char expected[256], *kernel;

    ck_assert_int_eq(boot_image_load(&image, &request, &layout, &err), ST_INVALID);
    snprintf(expected, sizeof(expected),
             "-kernel: %s is not a Linux kernel (bzImage) or multiboot image; name another file.",
             text);
    ck_assert_str_eq(err.text, expected);
    request.kernel = "/nonexistent/vmlinuz";
    ck_assert_int_eq(boot_image_load(&image, &request, &layout, &err), ST_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "-kernel: cannot open /nonexistent/vmlinuz"));
    bench_bzimage(&file, 3000);
    kernel = bench_file(file.data, file.size);
    blob_fini(&file);
    request = (struct boot_request){.kernel = kernel, .initrd = "/nonexistent/initrd"};
    ck_assert_int_eq(boot_image_load(&image, &request, &layout, &err), ST_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "-initrd: cannot open /nonexistent/initrd"));
    bench_unlink(kernel);
    bench_unlink(text);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("boot");

    tcase_add_test(tcase, linux_items_and_boot_order);
    tcase_add_test(tcase, multiboot_items);
    tcase_add_test(tcase, linux_direct_32);
    tcase_add_test(tcase, linux_direct_64_maps_4_gib);
    tcase_add_test(tcase, multiboot_direct);
    tcase_add_test(tcase, bad_files_give_one_sentence);
    return bench_main("bios/boot", tcase);
}
