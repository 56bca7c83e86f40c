/* SPDX-License-Identifier: MIT
 *
 * What tests of bios/ share: a suite runner, guest memory with RAM as a ram_layout says, files with
 * given contents, and the ACPI configuration of a small PC.
 */
#pragma once

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bios/acpi.h"
#include "bios/e820.h"
#include "mem/base/bits.h"
#include "mem/physmap.h"
#include "tests/suite.h"

struct bench {
    struct log log;
    struct ram ram;
    struct physmap *map;
    struct ram_layout layout;
};

static inline void bench_add_ram(struct bench *bench, const char *name, u64 base, u64 size,
                                 u64 ram_offset)
{
    struct region region = {
        .name = name,
        .kind = REGION_RAM,
        .access = REGION_RW,
        .base = base,
        .size = size,
        .priority = PRIO_RAM,
        .ram_offset = ram_offset,
    };
    unsigned id;

    if (size)
        ck_assert_int_eq(physmap_add(bench->map, &region, &id), ST_OK);
}

static inline void bench_open(struct bench *bench, u64 ram_size)
{
    struct error err;

    *bench = (struct bench){.layout = ram_layout_split(ram_size, RAM_HOLE_BASE)};
    log_init(&bench->log);
    ck_assert_int_eq(ram_create(&bench->ram, ram_size, &err), ST_OK);
    ck_assert_int_eq(physmap_create(&bench->map, &bench->ram, &bench->log, &err), ST_OK);
    bench_add_ram(bench, "low", 0, bench->layout.low_size, 0);
    bench_add_ram(bench, "high", GIB(4), bench->layout.high_size, bench->layout.low_size);
}

static inline void bench_close(struct bench *bench)
{
    physmap_destroy(bench->map);
    ram_destroy(&bench->ram);
}

/* Creates a file of its own; the caller unlinks and frees the name. */
static inline char *bench_file(const void *data, u64 size)
{
    char *path = strdup("/tmp/lockstep-bios-XXXXXX");
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
    return path;
}

static inline void bench_unlink(char *path)
{
    unlink(path);
    free(path);
}

static inline void bench_acpi_config(struct acpi_config *config, const struct ram_layout *layout)
{
    static const u32 ids[] = {0, 1};

    acpi_config_pc(config, layout);
    config->apic_ids = ids;
    config->cpu_count = ARRAY_SIZE(ids);
}

/* A minimal bzImage of protocol 2.15: setup_sects 3, header up to 0x268. */
static inline void bench_bzimage(struct blob *file, u64 kernel_size)
{
    enum { SETUP = 4 * 512 };

    *file = (struct blob){0};
    blob_zero(file, SETUP);
    blob_patch(file, 0x1f1, 3, 1);
    blob_patch(file, 0x1fe, 0xaa55, 2);
    blob_patch(file, 0x200, 0x66eb, 2); /* jmp to 0x268 */
    blob_patch(file, 0x202, 0x53726448, 4);
    blob_patch(file, 0x206, 0x020f, 2);
    blob_patch(file, 0x211, 1, 1);
    blob_patch(file, 0x214, 0x100000, 4);
    blob_patch(file, 0x22c, 0x7fffffff, 4);
    blob_patch(file, 0x230, 0x200000, 4);
    blob_patch(file, 0x234, 1, 1);
    blob_patch(file, 0x236, 3, 2);
    blob_patch(file, 0x238, 2047, 4);
    blob_patch(file, 0x258, 0x1000000, 8);
    blob_patch(file, 0x260, 0x800000, 4);
    for (u64 i = 0; i < kernel_size; i++)
        blob_uint(file, 0x40 + i % 64, 1);
}

static inline int bench_main(const char *name, TCase *tcase)
{
    Suite *suite = suite_create(name);

    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
