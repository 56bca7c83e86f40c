/* SPDX-License-Identifier: MIT */
#include "bios/smbios.h"

#include <stdio.h>
#include <string.h>

#include "mem/base/bits.h"

enum smbios_type {
    TYPE_BIOS = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_ARRAY_MAPPED = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

enum {
    ANCHOR_SIZE = 31,
    CHASSIS_HANDLE = 0x300,
    PROCESSOR_HANDLE = 0x400,
    ARRAY_HANDLE = 0x1000,
    DEVICE_HANDLE = 0x1100,
    MAPPED_HANDLE = 0x1300,
    SOCKETS_MAX = 256,
    DIMMS_MAX = 64,
    NOT_PROVIDED = 0xfffe,  /* as a handle */
    DIMM_EXTENDED = 0x7fff, /* the size is in the extended field */
};

#define DIMM_SIZE_MIN GIB(16)

struct smbios_builder {
    struct blob *tables;
    const struct smbios_config *config;
    u64 start;        /* of the current structure */
    unsigned strings; /* added to the current structure */
    char text[512];   /* of the current structure's strings, each with its NUL */
    size_t text_size;
    u16 structures;
    u64 largest; /* structure, in bytes, strings included */
};

static void put(struct smbios_builder *build, u64 value, unsigned size)
{
    blob_uint(build->tables, value, size);
}

/* Adds a string to the current structure and writes its number into the formatted part. */
static void put_string(struct smbios_builder *build, const char *text)
{
    size_t size = strlen(text) + 1;

    if (size > sizeof(build->text) - build->text_size) {
        put(build, 0, 1);
        return;
    }
    memcpy(build->text + build->text_size, text, size);
    build->text_size += size;
    put(build, ++build->strings, 1);
}

static void structure_begin(struct smbios_builder *build, enum smbios_type type, u16 handle)
{
    build->start = build->tables->size;
    build->strings = 0;
    build->text_size = 0;
    put(build, type, 1);
    put(build, 0, 1);
    put(build, handle, 2);
}

/* The formatted part's length, then the strings; two NULs when there are none. */
static void structure_end(struct smbios_builder *build)
{
    u64 size;

    blob_patch(build->tables, build->start + 1, build->tables->size - build->start, 1);
    blob_bytes(build->tables, build->text, build->text_size);
    blob_zero(build->tables, build->strings ? 1 : 2);
    size = build->tables->size - build->start;
    if (size > build->largest)
        build->largest = size;
    build->structures++;
}

/* DSP0134 section 7.1 */
static void build_bios(struct smbios_builder *build)
{
    structure_begin(build, TYPE_BIOS, 0);
    put_string(build, "Lockstep");
    put_string(build, build->config->version);
    put(build, 0xe800, 2); /* starting segment */
    put_string(build, "01/01/2024");
    put(build, 0, 1);      /* 64 KiB */
    put(build, BIT(3), 8); /* characteristics are not given */
    put(build, 0x01, 1);   /* ACPI */
    put(build, 0x14, 1);   /* virtual machine; targeted content distribution */
    put(build, 0xffff, 2); /* no release number */
    put(build, 0xffff, 2); /* no embedded controller */
    structure_end(build);
}

/* Section 7.2.1: the first three fields of a UUID are stored little-endian. */
static void put_uuid(struct smbios_builder *build, const u8 *uuid)
{
    static const u8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

    for (unsigned i = 0; i < 16; i++)
        put(build, uuid[order[i]], 1);
}

static void build_system(struct smbios_builder *build)
{
    structure_begin(build, TYPE_SYSTEM, 0x100);
    put_string(build, "Lockstep");
    put_string(build, "Lockstep PC (i440FX + PIIX)");
    put_string(build, build->config->version);
    put(build, 0, 1); /* no serial number */
    put_uuid(build, build->config->uuid);
    put(build, 6, 1); /* woken by the power switch */
    put(build, 0, 1); /* no SKU */
    put(build, 0, 1); /* no family */
    structure_end(build);
}

/* Section 7.4 */
static void build_chassis(struct smbios_builder *build)
{
    structure_begin(build, TYPE_CHASSIS, CHASSIS_HANDLE);
    put_string(build, "Lockstep");
    put(build, 1, 1); /* type: other */
    put_string(build, build->config->version);
    put(build, 0, 2); /* no serial number, no asset tag */
    put(build, 3, 1); /* boot-up, power supply and thermal states: safe; no security */
    put(build, 3, 1);
    put(build, 3, 1);
    put(build, 2, 1);
    put(build, 0, 4); /* OEM-defined */
    put(build, 0, 1); /* height */
    put(build, 0, 1); /* power cords */
    put(build, 0, 2); /* no contained elements */
    put(build, 0, 1); /* no SKU */
    structure_end(build);
}

/* Section 7.5 */
static void build_processor(struct smbios_builder *build, unsigned socket)
{
    const struct smbios_config *config = build->config;
    char name[32];

    snprintf(name, sizeof(name), "CPU %u", socket);
    structure_begin(build, TYPE_PROCESSOR, (u16)(PROCESSOR_HANDLE + socket));
    put_string(build, name);
    put(build, 3, 1); /* central processor */
    put(build, 1, 1); /* family: other */
    put_string(build, "Lockstep");
    put(build, config->cpu_signature, 4);
    put(build, config->cpu_features, 4);
    put_string(build, config->version);
    put(build, 0, 1); /* voltage unknown */
    put(build, 0, 2); /* external clock unknown */
    put(build, config->cpu_mhz, 2);
    put(build, config->cpu_mhz, 2);
    put(build, 0x41, 1);   /* populated, enabled */
    put(build, 1, 1);      /* upgrade: other */
    put(build, 0xffff, 2); /* no cache handles */
    put(build, 0xffff, 2);
    put(build, 0xffff, 2);
    put(build, 0, 1); /* no serial number, asset tag or part number */
    put(build, 0, 2);
    put(build, config->cores > 255 ? 255 : config->cores, 1);
    put(build, config->cores > 255 ? 255 : config->cores, 1);
    put(build, config->threads > 255 ? 255 : config->threads, 1);
    put(build, 0x0c, 2); /* 64-bit capable, multi-core */
    put(build, 1, 2);    /* family 2: other */
    structure_end(build);
}

/* Section 7.17 */
static void build_memory_array(struct smbios_builder *build, u64 ram_size, unsigned dimms)
{
    bool small = ram_size < BIT(41) - KIB(1); /* what the 32-bit field of KiB can say */

    structure_begin(build, TYPE_MEMORY_ARRAY, ARRAY_HANDLE);
    put(build, 1, 1); /* location: other */
    put(build, 3, 1); /* system memory */
    put(build, 6, 1); /* multi-bit ECC */
    put(build, small ? ram_size >> 10 : 0x80000000, 4);
    put(build, NOT_PROVIDED, 2);
    put(build, dimms, 2);
    put(build, small ? 0 : ram_size, 8);
    structure_end(build);
}

/* Section 7.18 */
static void build_memory_device(struct smbios_builder *build, unsigned index, u64 size)
{
    u64 mib = size >> 20;
    char name[32];

    snprintf(name, sizeof(name), "DIMM %u", index);
    structure_begin(build, TYPE_MEMORY_DEVICE, (u16)(DEVICE_HANDLE + index));
    put(build, ARRAY_HANDLE, 2);
    put(build, NOT_PROVIDED, 2);
    put(build, 0xffff, 2); /* widths unknown */
    put(build, 0xffff, 2);
    put(build, mib < DIMM_EXTENDED ? mib : DIMM_EXTENDED, 2);
    put(build, 9, 1); /* DIMM */
    put(build, 0, 1); /* no set */
    put_string(build, name);
    put(build, 0, 1); /* no bank */
    put(build, 7, 1); /* RAM */
    put(build, 2, 2); /* detail: other */
    put(build, 0, 2); /* speed unknown */
    put_string(build, "Lockstep");
    put(build, 0, 1); /* no serial number, asset tag or part number */
    put(build, 0, 2);
    put(build, 0, 1); /* rank unknown */
    put(build, mib < DIMM_EXTENDED ? 0 : mib, 4);
    put(build, 0, 2); /* configured speed and voltages unknown */
    put(build, 0, 2);
    put(build, 0, 2);
    put(build, 0, 2);
    structure_end(build);
}

/* Section 7.20: addresses in KiB while they fit 32 bits. */
static void build_mapped(struct smbios_builder *build, unsigned index, u64 base, u64 size)
{
    u64 last = base + size - 1;
    bool small = last >> 10 < UINT32_MAX;

    if (!size)
        return;
    structure_begin(build, TYPE_MEMORY_ARRAY_MAPPED, (u16)(MAPPED_HANDLE + index));
    put(build, small ? base >> 10 : UINT32_MAX, 4);
    put(build, small ? last >> 10 : UINT32_MAX, 4);
    put(build, ARRAY_HANDLE, 2);
    put(build, 1, 1); /* partition width */
    put(build, small ? 0 : base, 8);
    put(build, small ? 0 : last, 8);
    structure_end(build);
}

static void build_memory(struct smbios_builder *build)
{
    const struct ram_layout *layout = &build->config->layout;
    u64 total = layout->low_size + layout->high_size, left = total, dimm = DIMM_SIZE_MIN;

    while (dimm * DIMMS_MAX < total)
        dimm *= 2;
    build_memory_array(build, total, (unsigned)((total + dimm - 1) / dimm));
    for (unsigned i = 0; left; i++) {
        u64 size = left < dimm ? left : dimm;

        build_memory_device(build, i, size);
        left -= size;
    }
    build_mapped(build, 0, 0, layout->low_size);
    build_mapped(build, 1, GIB(4), layout->high_size);
}

static void build_rest(struct smbios_builder *build)
{
    structure_begin(build, TYPE_BOOT, 0x2000);
    blob_zero(build->tables, 6); /* reserved */
    put(build, 0, 1);            /* no error */
    structure_end(build);
    structure_begin(build, TYPE_END, 0x7f00);
    structure_end(build);
}

/* Section 5.2.1; the checksums come with the address. */
static void build_anchor(const struct smbios_builder *build, struct blob *anchor)
{
    blob_bytes(anchor, "_SM_", 4);
    blob_uint(anchor, 0, 1);
    blob_uint(anchor, ANCHOR_SIZE, 1);
    blob_uint(anchor, 2, 1); /* version 2.8 */
    blob_uint(anchor, 8, 1);
    blob_uint(anchor, build->largest, 2);
    blob_zero(anchor, 6); /* entry point revision 0 and its formatted area */
    blob_bytes(anchor, "_DMI_", 5);
    blob_uint(anchor, 0, 1);
    blob_uint(anchor, build->tables->size, 2);
    blob_uint(anchor, 0, 4);
    blob_uint(anchor, build->structures, 2);
    blob_uint(anchor, 0x28, 1); /* BCD revision */
}

void smbios_place(struct blob *anchor, u32 tables_address)
{
    if (anchor->failed)
        return;
    blob_patch(anchor, 24, tables_address, 4);
    anchor->data[21] = 0;
    anchor->data[21] = (u8)-bytes_sum(anchor->data + 16, 15);
    anchor->data[4] = 0;
    anchor->data[4] = (u8)-bytes_sum(anchor->data, ANCHOR_SIZE);
}

enum status smbios_build(const struct smbios_config *config, struct blob *anchor,
                         struct blob *tables, struct error *err)
{
    struct smbios_builder build = {.tables = tables, .config = config};
    enum status status;

    build_bios(&build);
    build_system(&build);
    build_chassis(&build);
    for (unsigned i = 0; i < config->sockets && i < SOCKETS_MAX; i++)
        build_processor(&build, i);
    build_memory(&build);
    build_rest(&build);
    build_anchor(&build, anchor);
    smbios_place(anchor, 0);
    status = blob_status(tables, "the SMBIOS tables", err);
    if (status == ST_OK)
        status = blob_status(anchor, "the SMBIOS tables", err);
    if (status != ST_OK) {
        blob_fini(tables);
        blob_fini(anchor);
    }
    return status;
}
