/* SPDX-License-Identifier: MIT
 *
 * The tables through a second pair of eyes: Intel's compiler disassembles each and compiles the
 * result again without a complaint; fields that firmware and systems rely on are checked by offset.
 */
#include "bios/acpi.h"

#include <sys/wait.h>

#include "loader.h"

/* Builds, runs the loader script, and leaves everything at final addresses. */
static void load_tables(struct loader *loader, const struct acpi_config *config)
{
    struct linker linker = {0};
    struct blob script = {0};
    struct error err;

    *loader = (struct loader){0};
    ck_assert_int_eq(acpi_build(&linker, config, &err), ST_OK);
    linker_script(&linker, &script);
    for (unsigned i = 0; i < linker.file_count; i++)
        loader_add(loader, linker.files[i].name, &linker.files[i].blob);
    loader_run(loader, &script);
    ck_assert_str_eq(loader->files[ACPI_FILE_RSDP].name, "etc/acpi/rsdp");
    ck_assert_uint_eq(loader->files[ACPI_FILE_RSDP].zone, 2);
    blob_fini(&script);
    linker_fini(&linker);
}

static u8 *find(struct loader *loader, const char *signature)
{
    return acpi_find(loader, loader->files[ACPI_FILE_RSDP].bytes, signature);
}

/* A PC with everything that the tables can say. */
static void full_config(struct acpi_config *config)
{
    static const u32 ids[] = {0, 1, 2, 254, 255, 300};
    struct ram_layout layout = ram_layout_split(GIB(16), RAM_HOLE_BASE);

    acpi_config_pc(config, &layout);
    config->apic_ids = ids;
    config->cpu_count = ARRAY_SIZE(ids);
    config->gpe_base = 0xafe0;
    config->gpe_size = 4;
    config->has_mouse = true;
    config->has_vga = true;
    config->has_dma = true;
    config->hpet_address = 0xfed00000;
    config->hpet_id = 0x8086a201;
    config->pm_timer_32 = true;
}

/* As little as possible. */
static void bare_config(struct acpi_config *config)
{
    struct ram_layout layout = ram_layout_split(MIB(64), RAM_HOLE_BASE);

    bench_acpi_config(config, &layout);
    config->cpu_count = 1;
    config->has_8042 = false;
    config->has_com1 = false;
    config->smbus_base = 0;
    config->gpe_base = 0;
    config->fw_cfg_base = 0;
    config->smi_command = 0;
    config->pci_memory64.max = 0;
}

/* Runs iasl in dir; its output goes to dir/log. Returns the log, which the caller frees. */
static char *run_iasl(const char *dir, const char *arguments)
{
    char command[512], path[300], *log = calloc(1, 65536);
    FILE *file;
    int status;

    snprintf(command, sizeof(command), "cd %s && iasl %s > log 2>&1", dir, arguments);
    status = system(command);
    snprintf(path, sizeof(path), "%s/log", dir);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_gt(fread(log, 1, 65535, file), 0);
    fclose(file);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "iasl %s:\n%s", arguments, log);
    return log;
}

static void check_with_iasl(const char *dir, const u8 *table)
{
    char name[300], *log;
    FILE *file;

    snprintf(name, sizeof(name), "%s/%.4s.dat", dir, (const char *)table);
    file = fopen(name, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(table, load_le(table + 4, 4), 1, file), 1);
    fclose(file);
    snprintf(name, sizeof(name), "-d %.4s.dat", (const char *)table);
    log = run_iasl(dir, name);
    ck_assert_msg(!strstr(log, "Warning") && !strstr(log, "Error"), "%s", log);
    free(log);
    snprintf(name, sizeof(name), "-p again %.4s.dsl", (const char *)table);
    log = run_iasl(dir, name);
    ck_assert_msg(strstr(log, "0 Errors, 0 Warnings, 0 Remarks") != NULL, "%.4s: %s",
                  (const char *)table, log);
    free(log);
}

START_TEST(iasl_has_no_complaint)
{
    static const char *const all[] = {"FACP", "DSDT", "FACS", "APIC", "WAET", "HPET"};
    char dir[] = "/tmp/lockstep-acpi-XXXXXX", command[64];
    struct acpi_config config;
    struct loader loader;
    u8 *rsdp, *table;

    if (_i)
        full_config(&config);
    else
        bare_config(&config);
    load_tables(&loader, &config);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        table = find(&loader, all[i]);
        if (table)
            check_with_iasl(dir, table);
        else
            ck_assert(!config.hpet_address && strcmp(all[i], "HPET") == 0);
    }
    rsdp = loader.files[ACPI_FILE_RSDP].bytes;
    check_with_iasl(dir, loader_at(&loader, load_le(rsdp + 16, 4)));
    check_with_iasl(dir, loader_at(&loader, load_le(rsdp + 24, 8)));
    snprintf(command, sizeof(command), "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
    loader_close(&loader);
}
END_TEST

/* Whether iasl's view of the DSDT has the text. */
static void dsdt_text(const struct acpi_config *config, char *text, size_t size)
{
    char dir[] = "/tmp/lockstep-acpi-XXXXXX", path[64];
    struct loader loader;
    FILE *file;

    load_tables(&loader, config);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    check_with_iasl(dir, find(&loader, "DSDT"));
    snprintf(path, sizeof(path), "%s/DSDT.dsl", dir);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
    snprintf(path, sizeof(path), "rm -r %s", dir);
    ck_assert_int_eq(system(path), 0);
    loader_close(&loader);
}

static const char *const hids[] = {"PNP0303", "PNP0F13", "PNP0200", "PNP0501", "PNP0103"};

START_TEST(dsdt_names_what_there_is_and_nothing_else)
{
    static const char *const always[] = {"PNP0A03", "PNP0C0F", "PNP0B00", "PNP0100",      "PNP0000",
                                         "PNP0C04", "PNP0800", "PNP0C02", "\"ACPI0007\"", "_PIC",
                                         "_PRT",    "_S5",     "_DIS",    "_SRS",         "_PRS"};
    size_t size = 1 << 20;
    char *text = malloc(size);
    struct acpi_config config;

    full_config(&config);
    dsdt_text(&config, text, size);
    for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
        ck_assert_msg(strstr(text, always[i]) != NULL, "%s", always[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(hids); i++)
        ck_assert_msg(strstr(text, hids[i]) != NULL, "%s", hids[i]);
    ck_assert_ptr_null(strstr(text, "VMBUS"));
    ck_assert_ptr_null(strstr(text, "VMBus"));
    bare_config(&config);
    dsdt_text(&config, text, size);
    for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
        ck_assert_msg(strstr(text, always[i]) != NULL, "%s", always[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(hids); i++)
        ck_assert_msg(strstr(text, hids[i]) == NULL, "%s", hids[i]);
    ck_assert_ptr_null(strstr(text, "QWordMemory"));
    free(text);
}
END_TEST

START_TEST(fadt_fields)
{
    struct acpi_config config;
    struct loader loader;
    const u8 *fadt;

    full_config(&config);
    load_tables(&loader, &config);
    fadt = find(&loader, "FACP");
    ck_assert_ptr_nonnull(fadt);
    ck_assert_uint_eq(load_le(fadt + 4, 4), 276);
    ck_assert_uint_eq(fadt[8], 6);
    ck_assert_uint_eq(load_le(fadt + 46, 2), 9);
    ck_assert_uint_eq(load_le(fadt + 48, 4), 0xb2);
    ck_assert_uint_eq(fadt[52], 0xf1);
    ck_assert_uint_eq(fadt[53], 0xf0);
    ck_assert_uint_eq(load_le(fadt + 56, 4), 0x600);
    ck_assert_uint_eq(load_le(fadt + 64, 4), 0x604);
    ck_assert_uint_eq(load_le(fadt + 76, 4), 0x608);
    ck_assert_uint_eq(load_le(fadt + 80, 4), 0xafe0);
    ck_assert_uint_eq(fadt[88], 4);
    ck_assert_uint_eq(fadt[89], 2);
    ck_assert_uint_eq(fadt[91], 4);
    ck_assert_uint_eq(fadt[92], 4);
    ck_assert_uint_eq(fadt[108], 0x32);
    ck_assert_uint_eq(load_le(fadt + 109, 2), 0x13); /* legacy devices, 8042, VGA, no ASPM */
    ck_assert_uint_eq(load_le(fadt + 112, 4), 1 | 1 << 2 | 1 << 5 | 1 << 8 | 1 << 10);
    ck_assert_mem_eq(fadt + 116, "\1\10\0\1\xf9\x0c\0\0\0\0\0\0\6", 13); /* reset register */
    ck_assert_uint_eq(load_le(fadt + 152, 8), 0x600);
    ck_assert_uint_eq(load_le(fadt + 176, 8), 0x604);
    ck_assert_uint_eq(load_le(fadt + 212, 8), 0x608);
    ck_assert_uint_eq(load_le(fadt + 224, 8), 0xafe0);
    loader_close(&loader);
    bare_config(&config);
    load_tables(&loader, &config);
    fadt = find(&loader, "FACP");
    ck_assert_uint_eq(load_le(fadt + 109, 2), 0x15); /* no 8042, no VGA */
    ck_assert_uint_eq(load_le(fadt + 48, 6), 0);
    ck_assert_uint_eq(load_le(fadt + 224, 8), 0);
    loader_close(&loader);
}
END_TEST

START_TEST(madt_entries)
{
    struct acpi_config config;
    struct loader loader;
    const u8 *madt, *entry;
    unsigned counts[16] = {0}, level = 0;

    full_config(&config);
    load_tables(&loader, &config);
    madt = find(&loader, "APIC");
    ck_assert_uint_eq(load_le(madt + 36, 4), 0xfee00000);
    ck_assert_uint_eq(load_le(madt + 40, 4), 1);
    for (entry = madt + 44; entry < madt + load_le(madt + 4, 4); entry += entry[1]) {
        ck_assert_uint_ge(entry[1], 6);
        ck_assert_uint_lt(entry[0], 16);
        if (entry[0] == 0)
            ck_assert_uint_eq(entry[3], config.apic_ids[counts[0]]);
        if (entry[0] == 9)
            ck_assert_uint_eq(load_le(entry + 4, 4), config.apic_ids[load_le(entry + 12, 4)]);
        if (entry[0] == 2 && entry[3] == 0)
            ck_assert_uint_eq(load_le(entry + 4, 4), 2);
        if (entry[0] == 2 && load_le(entry + 8, 2) == 0xd)
            level |= 1u << entry[3];
        counts[entry[0]]++;
    }
    ck_assert_uint_eq(counts[0], 4);  /* ids below 255 */
    ck_assert_uint_eq(counts[9], 2);  /* x2APIC */
    ck_assert_uint_eq(counts[1], 1);  /* I/O APIC */
    ck_assert_uint_eq(counts[2], 5);  /* timer, SCI, 5, 10, 11 */
    ck_assert_uint_eq(counts[4], 1);  /* NMI */
    ck_assert_uint_eq(counts[10], 1); /* NMI of x2APICs */
    ck_assert_uint_eq(level, 1u << 5 | 1u << 9 | 1u << 10 | 1u << 11);
    loader_close(&loader);
}
END_TEST

START_TEST(waet_and_hpet)
{
    struct acpi_config config;
    struct loader loader;

    full_config(&config);
    load_tables(&loader, &config);
    ck_assert_uint_eq(load_le(find(&loader, "WAET") + 36, 4), 3);
    ck_assert_uint_eq(load_le(find(&loader, "HPET") + 44, 8), 0xfed00000);
    loader_close(&loader);
    bare_config(&config);
    load_tables(&loader, &config);
    ck_assert_ptr_null(find(&loader, "HPET"));
    loader_close(&loader);
}
END_TEST

START_TEST(windows_match_the_ram_layout)
{
    static const u64 sizes[] = {MIB(64), GIB(3), GIB(4), GIB(100)};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct ram_layout layout = ram_layout_split(sizes[i], RAM_HOLE_BASE);
        struct acpi_config config;

        acpi_config_pc(&config, &layout);
        ck_assert_uint_eq(config.pci_memory32.min, layout.low_size);
        ck_assert_uint_eq(config.pci_memory32.max, 0xfebfffff);
        ck_assert_uint_ge(config.pci_memory64.min, GIB(4) + layout.high_size);
        ck_assert_uint_gt(config.pci_memory64.max, config.pci_memory64.min);
    }
}
END_TEST

START_TEST(processor_count_limits)
{
    struct acpi_config config;
    struct linker linker = {0};
    struct loader loader;
    struct error err;
    u32 *ids = calloc(4096, sizeof(*ids));

    full_config(&config);
    config.cpu_count = 0;
    ck_assert_int_eq(acpi_build(&linker, &config, &err), ST_INVALID);
    config.cpu_count = 4097;
    ck_assert_int_eq(acpi_build(&linker, &config, &err), ST_INVALID);
    for (unsigned i = 0; i < 4096; i++)
        ids[i] = i;
    config.apic_ids = ids;
    config.cpu_count = 4096;
    load_tables(&loader, &config);
    ck_assert_uint_gt(load_le(find(&loader, "DSDT") + 4, 4), 4096 * 20);
    loader_close(&loader);
    free(ids);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("acpi");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, iasl_has_no_complaint, 0, 2);
    tcase_add_test(tcase, dsdt_names_what_there_is_and_nothing_else);
    tcase_add_test(tcase, fadt_fields);
    tcase_add_test(tcase, madt_entries);
    tcase_add_test(tcase, waet_and_hpet);
    tcase_add_test(tcase, windows_match_the_ram_layout);
    tcase_add_test(tcase, processor_count_limits);
    return bench_main("bios/acpi", tcase);
}
