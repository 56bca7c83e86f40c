/* SPDX-License-Identifier: MIT
 *
 * An interpreter of table-loader scripts, written from the format's description and not from
 * bios/linker.c: files are copied to made-up addresses, then pointers and checksums are patched.
 */
#pragma once

#include "bench.h"

struct loaded_file {
    char name[56];
    u8 *bytes;
    u64 size;
    u64 address; /* 0: not allocated yet */
    u32 align;
    u8 zone;
};

struct loader {
    struct loaded_file files[4];
    unsigned count;
};

static inline struct loaded_file *loader_find(struct loader *loader, const u8 *name)
{
    ck_assert_ptr_nonnull(memchr(name, 0, 56));
    for (unsigned i = 0; i < loader->count; i++)
        if (strcmp(loader->files[i].name, (const char *)name) == 0)
            return &loader->files[i];
    ck_abort_msg("script names the unknown file %s", name);
    return NULL;
}

static inline void loader_add(struct loader *loader, const char *name, const struct blob *blob)
{
    struct loaded_file *file = &loader->files[loader->count++];

    memset(file, 0, sizeof(*file));
    strcpy(file->name, name);
    file->bytes = malloc(blob->size);
    memcpy(file->bytes, blob->data, blob->size);
    file->size = blob->size;
}

static inline void loader_command(struct loader *loader, const u8 *command)
{
    u32 code = (u32)load_le(command, 4);
    struct loaded_file *file = loader_find(loader, command + 4);
    const u8 *rest = command + 60;

    if (code == 1) {
        ck_assert_uint_eq(file->address, 0);
        file->align = (u32)load_le(rest, 4);
        file->zone = rest[4];
        ck_assert(is_power_of_two(file->align));
        ck_assert(file->zone == 1 || file->zone == 2);
        file->address = (file->zone == 2 ? 0xf6000 : 0x7ffe0000) + 3 * file->align;
        return;
    }
    ck_assert_uint_ne(file->address, 0);
    if (code == 2) {
        struct loaded_file *target = loader_find(loader, rest);
        u64 offset = load_le(rest + 56, 4), value;
        unsigned size = rest[60];

        ck_assert(size == 4 || size == 8);
        ck_assert_uint_ne(target->address, 0);
        ck_assert_uint_le(offset + size, file->size);
        value = load_le(file->bytes + offset, size);
        ck_assert_uint_lt(value, target->size);
        store_le(file->bytes + offset, value + target->address, size);
    } else {
        u64 offset = load_le(rest, 4), start = load_le(rest + 4, 4), size = load_le(rest + 8, 4);
        u8 sum = 0;

        ck_assert_uint_eq(code, 3);
        ck_assert_uint_le(start + size, file->size);
        ck_assert(offset >= start && offset < start + size);
        for (u64 i = start; i < start + size; i++)
            sum = (u8)(sum + file->bytes[i]);
        file->bytes[offset] = (u8)(file->bytes[offset] - sum);
    }
}

static inline void loader_run(struct loader *loader, const struct blob *script)
{
    ck_assert_uint_eq(script->size % 128, 0);
    for (u64 at = 0; at < script->size; at += 128)
        loader_command(loader, script->data + at);
}

static inline void loader_close(struct loader *loader)
{
    for (unsigned i = 0; i < loader->count; i++)
        free(loader->files[i].bytes);
}

/* The bytes at a guest address inside one of the files. */
static inline u8 *loader_at(struct loader *loader, u64 address)
{
    for (unsigned i = 0; i < loader->count; i++) {
        struct loaded_file *file = &loader->files[i];

        if (address - file->address < file->size)
            return file->bytes + (address - file->address);
    }
    ck_abort_msg("pointer %#llx leads nowhere", (unsigned long long)address);
    return NULL;
}

/* Checks the whole tree from an RSDP down: signatures, lengths, checksums, XSDT = RSDT. Returns the
 * table with the given signature (also DSDT and FACS), or NULL. */
static inline u8 *acpi_find(struct loader *loader, const u8 *rsdp, const char *signature)
{
    u8 *rsdt, *xsdt, *found = NULL;
    unsigned count;

    ck_assert_mem_eq(rsdp, "RSD PTR ", 8);
    ck_assert_uint_eq(bytes_sum(rsdp, 20), 0);
    ck_assert_uint_eq(bytes_sum(rsdp, 36), 0);
    ck_assert_uint_eq(rsdp[15], 2);
    rsdt = loader_at(loader, load_le(rsdp + 16, 4));
    xsdt = loader_at(loader, load_le(rsdp + 24, 8));
    ck_assert_mem_eq(rsdt, "RSDT", 4);
    ck_assert_mem_eq(xsdt, "XSDT", 4);
    ck_assert_uint_eq(bytes_sum(rsdt, load_le(rsdt + 4, 4)), 0);
    ck_assert_uint_eq(bytes_sum(xsdt, load_le(xsdt + 4, 4)), 0);
    count = (unsigned)(load_le(xsdt + 4, 4) - 36) / 8;
    ck_assert_uint_eq((load_le(rsdt + 4, 4) - 36) / 4, count);
    for (unsigned i = 0; i < count; i++) {
        u64 address = load_le(xsdt + 36 + i * 8, 8);
        u8 *table = loader_at(loader, address);

        ck_assert_uint_eq(load_le(rsdt + 36 + i * 4, 4), address);
        ck_assert_uint_eq(bytes_sum(table, load_le(table + 4, 4)), 0);
        if (memcmp(table, signature, 4) == 0)
            found = table;
        if (memcmp(table, "FACP", 4) != 0)
            continue;
        ck_assert_uint_eq(load_le(table + 40, 4), load_le(table + 140, 8));
        ck_assert_uint_eq(load_le(table + 132, 8), 0);
        ck_assert_uint_eq(load_le(table + 36, 4) % 64, 0);
        if (strcmp(signature, "DSDT") == 0)
            found = loader_at(loader, load_le(table + 40, 4));
        if (strcmp(signature, "FACS") == 0)
            found = loader_at(loader, load_le(table + 36, 4));
    }
    return found;
}
