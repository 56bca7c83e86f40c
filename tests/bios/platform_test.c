/* SPDX-License-Identifier: MIT */
#include "bios/platform.h"

#include "loader.h"
#include "pc.h"

static u64 item(const struct fw_cfg_store *store, u16 key, unsigned size)
{
    const struct blob *blob = fw_cfg_find(store, key);

    ck_assert_ptr_nonnull(blob);
    ck_assert_uint_eq(blob->size, size);
    return load_le(blob->data, size);
}

/* The standard PC with this much memory, and what it tells the firmware. */
static void store_build(struct fw_cfg_store *store, struct platform *platform, u64 ram_size)
{
    struct ram_layout layout = ram_layout_split(ram_size, RAM_HOLE_BASE);
    struct error err;

    pc_build(platform, &layout);
    ck_assert_int_eq(fw_cfg_store_create(store, &err), ST_OK);
    ck_assert_int_eq(platform_to_fw_cfg(platform, store, &err), ST_OK);
}

START_TEST(firmware_finds_every_item)
{
    struct fw_cfg_store store;
    struct platform platform;
    struct error err;

    store_build(&store, &platform, GIB(5));
    ck_assert_int_eq(fw_cfg_seal(&store, &err), ST_OK);
    ck_assert_uint_eq(item(&store, FW_CFG_RAM_SIZE, 8), GIB(5));
    ck_assert_uint_eq(item(&store, FW_CFG_NB_CPUS, 2), 2);
    ck_assert_uint_eq(item(&store, FW_CFG_MAX_CPUS, 2), 2);
    ck_assert_uint_eq(item(&store, FW_CFG_IRQ0_OVERRIDE, 4), 1);
    ck_assert_uint_eq(item(&store, FW_CFG_BOOT_MENU, 2), 0);
    ck_assert_uint_eq(item(&store, FW_CFG_NOGRAPHIC, 2), 0);
    ck_assert_uint_eq(fw_cfg_find(&store, FW_CFG_NUMA)->size, 24);
    ck_assert_mem_eq(fw_cfg_find(&store, FW_CFG_UUID)->data, "\1\2\3", 4);
    ck_assert_uint_eq(fw_cfg_find_file(&store, "etc/e820")->size, 40);
    ck_assert_uint_eq(fw_cfg_find_file(&store, "etc/smbios/smbios-anchor")->size, 31);
    ck_assert_ptr_nonnull(fw_cfg_find_file(&store, "etc/smbios/smbios-tables"));
    fw_cfg_store_destroy(&store);
    platform_fini(&platform);
}
END_TEST

START_TEST(loader_script_in_the_store_links_the_tables)
{
    static const char *const names[] = {"etc/acpi/tables", "etc/acpi/rsdp"};
    struct loader loader = {0};
    struct fw_cfg_store store;
    struct platform platform;

    store_build(&store, &platform, GIB(1));
    for (unsigned i = 0; i < 2; i++)
        loader_add(&loader, names[i], fw_cfg_find_file(&store, names[i]));
    loader_run(&loader, fw_cfg_find_file(&store, "etc/table-loader"));
    ck_assert_ptr_nonnull(acpi_find(&loader, loader.files[1].bytes, "DSDT"));
    loader_close(&loader);
    fw_cfg_store_destroy(&store);
    platform_fini(&platform);
}
END_TEST

START_TEST(tables_in_memory_are_found_as_a_kernel_finds_them)
{
    struct loader loader = {.count = 1};
    struct platform platform;
    struct bench bench;
    struct error err;
    u8 *low;
    u64 rsdp, anchor;

    bench_open(&bench, MIB(16));
    pc_build(&platform, &bench.layout);
    ck_assert_int_eq(platform_place(&platform, bench.map, &rsdp, &err), ST_OK);
    low = malloc(MIB(1));
    ck_assert(physmap_read(bench.map, 0, low, MIB(1)));
    ck_assert_uint_eq(rsdp % 16, 0);
    for (u64 at = 0xe0000; at < rsdp; at += 16)
        ck_assert(memcmp(low + at, "RSD PTR ", 8) != 0);
    /* pointers in the tables are guest addresses: all of low memory is one "file" at 0 */
    loader.files[0] = (struct loaded_file){.bytes = low, .size = MIB(1)};
    ck_assert_ptr_nonnull(acpi_find(&loader, low + rsdp, "APIC"));
    ck_assert_ptr_nonnull(acpi_find(&loader, low + rsdp, "FACS"));
    for (anchor = 0xf0000; memcmp(low + anchor, "_SM_", 4) != 0; anchor += 16)
        ck_assert_uint_lt(anchor, MIB(1) - 32);
    ck_assert_uint_eq(bytes_sum(low + anchor, 31), 0);
    ck_assert_uint_eq(low[load_le(low + anchor + 24, 4)], 0); /* type 0 comes first */
    free(low);
    platform_fini(&platform);
    bench_close(&bench);
}
END_TEST

START_TEST(placing_needs_ram_below_1_mib)
{
    struct platform platform;
    struct bench bench;
    struct error err;
    u64 rsdp;

    bench_open(&bench, KIB(640));
    pc_build(&platform, &bench.layout);
    ck_assert_int_eq(platform_place(&platform, bench.map, &rsdp, &err), ST_INVALID);
    platform_fini(&platform);
    bench_close(&bench);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("platform");

    tcase_add_test(tcase, firmware_finds_every_item);
    tcase_add_test(tcase, loader_script_in_the_store_links_the_tables);
    tcase_add_test(tcase, tables_in_memory_are_found_as_a_kernel_finds_them);
    tcase_add_test(tcase, placing_needs_ram_below_1_mib);
    return bench_main("bios/platform", tcase);
}
