/* SPDX-License-Identifier: MIT */
#include "bios/platform.h"

#include "mem/base/bits.h"

/* Addresses of the tables when there is no firmware to choose them. */
enum {
    RSDP_ADDRESS = 0xe0000,
    ACPI_ADDRESS = 0xe0040,
    SMBIOS_ANCHOR_ADDRESS = 0xf0000,
    SMBIOS_TABLES_ADDRESS = 0xf0020,
};

enum status platform_build(struct platform *platform, const struct platform_config *config,
                           struct error *err)
{
    enum status status;

    *platform = (struct platform){.config = *config};
    status = acpi_build(&platform->acpi, &config->acpi, err);
    if (status == ST_OK)
        status =
            smbios_build(&config->smbios, &platform->smbios_anchor, &platform->smbios_tables, err);
    if (status != ST_OK)
        platform_fini(platform);
    return status;
}

void platform_fini(struct platform *platform)
{
    linker_fini(&platform->acpi);
    blob_fini(&platform->smbios_anchor);
    blob_fini(&platform->smbios_tables);
}

/* The items by key. NUMA: no nodes, then a zero for each processor's node. */
static enum status add_items(const struct platform_config *config, struct fw_cfg_store *store,
                             struct error *err)
{
    const struct {
        u16 key;
        u8 size;
        u64 value;
    } items[] = {
        {FW_CFG_RAM_SIZE, 8, config->layout.low_size + config->layout.high_size},
        {FW_CFG_NOGRAPHIC, 2, config->serial_console},
        {FW_CFG_NB_CPUS, 2, config->cpu_count},
        {FW_CFG_MAX_CPUS, 2, config->max_cpus},
        {FW_CFG_BOOT_MENU, 2, config->boot_menu},
        {FW_CFG_IRQ0_OVERRIDE, 4, 1},
    };
    struct blob numa = {0};
    enum status status = fw_cfg_add(store, FW_CFG_UUID, config->smbios.uuid, 16, err);

    for (unsigned i = 0; i < ARRAY_SIZE(items) && status == ST_OK; i++)
        status = fw_cfg_add_uint(store, items[i].key, items[i].value, items[i].size, err);
    if (status != ST_OK)
        return status;
    blob_zero(&numa, 8 + 8 * (u64)config->max_cpus);
    return fw_cfg_take(store, FW_CFG_NUMA, &numa, err);
}

enum status platform_to_fw_cfg(struct platform *platform, struct fw_cfg_store *store,
                               struct error *err)
{
    struct e820_map map;
    u8 encoded[E820_ENTRIES_MAX * E820_ENTRY_SIZE];
    struct blob script = {0};
    enum status status = add_items(&platform->config, store, err);

    e820_for_firmware(&map, &platform->config.layout);
    e820_encode(&map, encoded);
    linker_script(&platform->acpi, &script);
    if (status == ST_OK)
        status = fw_cfg_add_file(store, "etc/e820", encoded, (u64)map.count * E820_ENTRY_SIZE, err);
    for (unsigned i = 0; i < platform->acpi.file_count && status == ST_OK; i++)
        status = fw_cfg_take_file(store, platform->acpi.files[i].name,
                                  &platform->acpi.files[i].blob, err);
    if (status == ST_OK)
        status = fw_cfg_take_file(store, ACPI_LOADER_NAME, &script, err);
    if (status == ST_OK)
        status = fw_cfg_take_file(store, SMBIOS_ANCHOR_NAME, &platform->smbios_anchor, err);
    if (status == ST_OK)
        status = fw_cfg_take_file(store, SMBIOS_TABLES_NAME, &platform->smbios_tables, err);
    blob_fini(&script);
    return status;
}

static enum status place(struct physmap *map, u64 address, u64 end, const struct blob *blob,
                         struct error *err)
{
    if (blob->size > end - address)
        return error_set(err, ST_INVALID,
                         "-bios none: the tables for this many processors do not fit below 1 MiB; "
                         "boot with firmware.");
    if (!physmap_write(map, address, blob->data, blob->size))
        return error_set(err, ST_INVALID, "-bios none: there is no RAM at %#llx; raise -m.",
                         (unsigned long long)address);
    return ST_OK;
}

enum status platform_place(struct platform *platform, struct physmap *map, u64 *rsdp,
                           struct error *err)
{
    const u64 addresses[] = {[ACPI_FILE_TABLES] = ACPI_ADDRESS, [ACPI_FILE_RSDP] = RSDP_ADDRESS};
    const struct linker_file *files = platform->acpi.files;
    enum status status;

    linker_apply(&platform->acpi, addresses);
    smbios_place(&platform->smbios_anchor, SMBIOS_TABLES_ADDRESS);
    status = place(map, RSDP_ADDRESS, ACPI_ADDRESS, &files[ACPI_FILE_RSDP].blob, err);
    if (status == ST_OK)
        status =
            place(map, ACPI_ADDRESS, SMBIOS_ANCHOR_ADDRESS, &files[ACPI_FILE_TABLES].blob, err);
    if (status == ST_OK)
        status =
            place(map, SMBIOS_ANCHOR_ADDRESS, SMBIOS_TABLES_ADDRESS, &platform->smbios_anchor, err);
    if (status == ST_OK)
        status = place(map, SMBIOS_TABLES_ADDRESS, MIB(1), &platform->smbios_tables, err);
    *rsdp = RSDP_ADDRESS;
    return status;
}
