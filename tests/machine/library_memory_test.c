/* SPDX-License-Identifier: MIT
 *
 * Mappings, memory from outside, device registers and ports of the public library.
 */
#include <stdlib.h>

#include "tests/machine/library.h"

enum { PAGE = 4096 };

/* mov eax, [ecx]; mov [edx], eax; hlt */
static const u8 copy_code[] = {0x8b, 0x01, 0x89, 0x02, 0xf4};

static void copy(struct lockstep_machine *m, u64 from, u64 to)
{
    lib_start(m, 32, copy_code, sizeof(copy_code));
    lib_set(m, LOCKSTEP_RCX, from);
    lib_set(m, LOCKSTEP_RDX, to);
    ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_HALTED);
}

START_TEST(mapping_is_checked)
{
    struct lockstep_machine *m = lib_create();
    u8 *memory = aligned_alloc(PAGE, PAGE);

    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(NULL, 0, PAGE, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(m, 0x200001, PAGE, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(m, 0x200000, 100, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(m, 0x200000, 0, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(m, 1ull << 52, PAGE, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(m, ~0xfffull, PAGE, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_memory(m, 0x200000, PAGE, 8, NULL));
    FAILS(LOCKSTEP_OVERLAP, lockstep_map_memory(m, LIB_MEMORY - PAGE, 2 * PAGE, 0, NULL));
    FAILS(LOCKSTEP_NO_MEMORY, lockstep_map_memory(m, 1ull << 40, 1ull << 40, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_host_memory(m, 0x200000, PAGE, NULL, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_host_memory(m, 0x200000, PAGE, memory, 9, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_host_memory(m, 1, PAGE, memory, 0, NULL));
    FAILS(LOCKSTEP_OVERLAP, lockstep_map_host_memory(m, 0, PAGE, memory, 0, NULL));
    FAILS(LOCKSTEP_OVERLAP, lockstep_map_mmio(m, 0, PAGE, NULL, NULL, NULL, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_mmio(m, 1, PAGE, NULL, NULL, NULL, NULL));
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_unmap(m, 77));
    FAILS(LOCKSTEP_INVALID, lockstep_unmap(NULL, 0));
    lockstep_destroy(m);
    free(memory);
}
END_TEST

START_TEST(unmapped_memory_reads_as_zeroes_when_mapped_again)
{
    const struct lockstep_cpu_config config = {.size = sizeof(config), .memory_limit = 4 * PAGE};
    struct lockstep_machine *m;
    unsigned id, other;
    u64 value = 0x1122;

    OK(lockstep_create_cpu(&config, &m, NULL));
    OK(lockstep_map_memory(m, 0, 2 * PAGE, LOCKSTEP_MEMORY_WRITE, &id));
    OK(lockstep_map_memory(m, 0x10000, 2 * PAGE, LOCKSTEP_MEMORY_WRITE, &other));
    ck_assert_uint_ne(id, other);
    FAILS(LOCKSTEP_NO_MEMORY, lockstep_map_memory(m, 0x20000, PAGE, 0, NULL));
    lib_store(m, 0x1ff8, value, 8);
    OK(lockstep_unmap(m, id));
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_unmap(m, id));
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_read_physical(m, 0x1ff8, &value, 8));
    ck_assert_uint_eq(value, ~0ull);
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_write_physical(m, 0x1ff8, &value, 8));
    OK(lockstep_map_memory(m, 0x30000, 2 * PAGE, LOCKSTEP_MEMORY_WRITE, &id));
    ck_assert_uint_eq(lib_load(m, 0x31ff8, 8), 0);
    lockstep_destroy(m);
}
END_TEST

START_TEST(rom_keeps_its_contents)
{
    struct lockstep_machine *m = lib_create();
    u32 *rom;

    OK(lockstep_map_memory(m, 0x200000, PAGE, 0, NULL));
    rom = lockstep_memory(m, 0x200000, PAGE);
    ck_assert_ptr_nonnull(rom);
    rom[0] = 0xcafe;
    lib_store(m, LIB_DATA, 0x1234, 4);
    copy(m, LIB_DATA, 0x200000);
    OK(lockstep_write_physical(m, 0x200000, "abcd", 4));
    ck_assert_uint_eq(lib_load(m, 0x200000, 4), 0xcafe);
    copy(m, 0x200000, LIB_DATA);
    ck_assert_uint_eq(lib_load(m, LIB_DATA, 4), 0xcafe);
    lockstep_destroy(m);
}
END_TEST

/* Data both ways without a copy, code that the program changes while it runs, and read-only. */
START_TEST(host_memory_is_shared)
{
    static const u8 inc_hlt[] = {0x40, 0xf4}, dec_hlt[] = {0x48, 0xf4};
    struct lockstep_machine *m = lib_create();
    u8 *memory = aligned_alloc(PAGE, PAGE), *fixed = aligned_alloc(PAGE, PAGE);

    memset(memory, 0, PAGE);
    memset(fixed, 0x77, PAGE);
    OK(lockstep_map_host_memory(m, 0x200000, PAGE, memory, LOCKSTEP_MEMORY_WRITE, NULL));
    OK(lockstep_map_host_memory(m, 0x300000, PAGE, fixed, 0, NULL));
    memory[8] = 0x5a;
    copy(m, 0x200008, 0x200010);
    ck_assert_uint_eq(memory[0x10], 0x5a);
    copy(m, 0x200008, 0x300000);
    ck_assert_uint_eq(fixed[0], 0x77);
    lib_set(m, LOCKSTEP_RAX, 10);
    memcpy(memory, inc_hlt, 2);
    lib_start(m, 32, "\x90", 1);
    lib_set(m, LOCKSTEP_RIP, 0x200000);
    lib_run(m, 10);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 11);
    memcpy(memory, dec_hlt, 2);
    lib_start(m, 32, "\x90", 1);
    lib_set(m, LOCKSTEP_RIP, 0x200000);
    lib_run(m, 10);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 10);
    ck_assert_ptr_null(lockstep_memory(m, 0x200000, PAGE));
    lockstep_destroy(m);
    free(memory);
    free(fixed);
}
END_TEST

/* -- device registers -- */

struct device {
    struct lockstep_machine *m;
    u64 offset, value;
    unsigned size, reads, writes;
    enum lockstep_status nested;
};

static u64 device_read(void *opaque, u64 offset, unsigned size)
{
    struct device *d = opaque;

    d->offset = offset;
    d->size = size;
    d->reads++;
    d->nested = lockstep_run(d->m, 1, NULL);
    return 0x8877665544332211;
}

static void device_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct device *d = opaque;

    d->offset = offset;
    d->size = size;
    d->value = value;
    d->writes++;
}

START_TEST(mmio_callbacks)
{
    struct lockstep_machine *m = lib_create();
    struct device d = {.m = m};
    unsigned id;

    OK(lockstep_map_mmio(m, 0x400000, 2 * PAGE, device_read, device_write, &d, &id));
    copy(m, 0x401004, LIB_DATA);
    ck_assert_uint_eq(d.offset, 0x1004);
    ck_assert_uint_eq(d.size, 4);
    ck_assert_uint_eq(d.reads, 1);
    ck_assert_int_eq(d.nested, LOCKSTEP_BUSY);
    ck_assert_uint_eq(lib_load(m, LIB_DATA, 4), 0x44332211);
    copy(m, LIB_DATA, 0x400008);
    ck_assert_uint_eq(d.offset, 8);
    ck_assert_uint_eq(d.value, 0x44332211);
    ck_assert_uint_eq(d.writes, 1);
    /* From outside, as by DMA. */
    ck_assert_uint_eq(lib_load(m, 0x400010, 2), 0x2211);
    ck_assert_uint_eq(d.size, 2);
    lib_store(m, 0x400018, 0x99, 8);
    ck_assert_uint_eq(d.size, 8);
    ck_assert_ptr_null(lockstep_memory(m, 0x400000, 4));
    OK(lockstep_unmap(m, id));
    copy(m, 0x400000, LIB_DATA);
    ck_assert_uint_eq(lib_load(m, LIB_DATA, 4), 0xffffffff);
    /* Handlers may be missing. */
    OK(lockstep_map_mmio(m, 0x400000, PAGE, NULL, NULL, NULL, NULL));
    copy(m, 0x400000, 0x400004);
    ck_assert_uint_eq(lib_load(m, 0x400000, 4), 0xffffffff);
    lockstep_destroy(m);
}
END_TEST

START_TEST(port_callbacks)
{
    /* in al, 0x45; out 0x46, ax; in eax, 0x50; hlt */
    static const u8 code[] = {0xe4, 0x45, 0x66, 0xe7, 0x46, 0xe5, 0x50, 0xf4};
    struct lockstep_machine *m = lib_create();
    struct device d = {.m = m};

    OK(lockstep_map_ports(m, 0x40, 8, device_read, device_write, &d));
    lib_start(m, 32, code, sizeof(code));
    lib_set(m, LOCKSTEP_RAX, 0x1200);
    lib_run(m, 1);
    ck_assert_uint_eq(d.offset, 5);
    ck_assert_uint_eq(d.size, 1);
    lib_run(m, 1);
    ck_assert_uint_eq(d.offset, 6);
    ck_assert_uint_eq(d.size, 2);
    ck_assert_uint_eq(d.value, 0x1211);
    lib_run(m, 2);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 0xffffffff);
    FAILS(LOCKSTEP_OVERLAP, lockstep_map_ports(m, 0x47, 2, NULL, NULL, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_ports(m, 0xffff, 2, NULL, NULL, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_ports(m, 0, 0, NULL, NULL, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_map_ports(NULL, 0, 1, NULL, NULL, NULL));
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_unmap_ports(m, 0x41));
    FAILS(LOCKSTEP_INVALID, lockstep_unmap_ports(NULL, 0x40));
    OK(lockstep_unmap_ports(m, 0x40));
    OK(lockstep_map_ports(m, 0x47, 2, NULL, NULL, NULL));
    lockstep_destroy(m);
}
END_TEST

/* -- memory from outside -- */

START_TEST(stores_from_outside_are_executed)
{
    static const u8 code[] = {0xb8, 1, 0, 0, 0, 0xf4}, changed[] = {0xb8, 2, 0, 0, 0, 0xf4};
    struct lockstep_machine *m = lib_create();
    u8 *code_at;

    lib_start(m, 32, code, sizeof(code));
    lib_run(m, 5);
    lib_start(m, 32, changed, sizeof(changed));
    lib_run(m, 5);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 2);
    code_at = lockstep_memory(m, LIB_CODE, 16);
    code_at[1] = 3;
    OK(lockstep_memory_changed(m, LIB_CODE, 16));
    lib_set(m, LOCKSTEP_RIP, LIB_CODE);
    OK(lockstep_enter_mode(m, 0, 32, 0)); /* awake again */
    lib_run(m, 5);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 3);
    FAILS(LOCKSTEP_INVALID, lockstep_memory_changed(m, LIB_MEMORY, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_memory_changed(NULL, 0, 4));
    lockstep_destroy(m);
}
END_TEST

START_TEST(pointers_are_checked)
{
    struct lockstep_machine *m = lib_create();
    u8 *start = lockstep_memory(m, 0, LIB_MEMORY);

    ck_assert_ptr_nonnull(start);
    ck_assert_ptr_eq(lockstep_memory(m, 0x1234, 1), start + 0x1234);
    ck_assert_ptr_null(lockstep_memory(m, 0, LIB_MEMORY + 1));
    ck_assert_ptr_null(lockstep_memory(m, 0, 0));
    ck_assert_ptr_null(lockstep_memory(m, ~0ull, 2));
    ck_assert_ptr_null(lockstep_memory(NULL, 0, 1));
    FAILS(LOCKSTEP_INVALID, lockstep_read_physical(m, 0, NULL, 1));
    FAILS(LOCKSTEP_INVALID, lockstep_write_physical(m, 0, NULL, 1));
    FAILS(LOCKSTEP_INVALID, lockstep_read_physical(NULL, 0, start, 1));
    FAILS(LOCKSTEP_INVALID, lockstep_write_physical(NULL, 0, start, 1));
    OK(lockstep_read_physical(m, 0, NULL, 0));
    lockstep_destroy(m);
}
END_TEST

/* Page 0x50 of linear memory is page 0x60 of physical memory, page 0x51 is not there. */
START_TEST(linear_memory)
{
    struct lockstep_machine *m = lib_create();
    u64 physical;
    u32 value = 0;

    lib_start(m, 64, "\xf4", 1);
    lib_store(m, 0x3000, 0x7007, 8); /* instead of the first 2 MiB page: a page table */
    for (unsigned n = 0; n < 512; n++)
        lib_store(m, 0x7000 + 8 * n, (u64)n << 12 | 7, 8);
    lib_store(m, 0x7000 + 8 * 0x50, 0x60007, 8);
    lib_store(m, 0x7000 + 8 * 0x51, 0, 8);
    OK(lockstep_flush_tlb(m));
    OK(lockstep_translate(m, 0, 0x50123, &physical));
    ck_assert_uint_eq(physical, 0x60123);
    FAILS(LOCKSTEP_FAULT, lockstep_translate(m, 0, 0x51000, &physical));
    FAILS(LOCKSTEP_FAULT, lockstep_translate(m, 0, 1ull << 60, &physical));
    OK(lockstep_write_linear(m, 0, 0x50010, "wxyz", 4));
    ck_assert_uint_eq(lib_load(m, 0x60010, 4), 0x7a797877);
    OK(lockstep_read_linear(m, 0, 0x50010, &value, 4));
    ck_assert_uint_eq(value, 0x7a797877);
    lib_store(m, 0x60ffe, 0, 2);
    FAILS(LOCKSTEP_FAULT, lockstep_write_linear(m, 0, 0x50ffe, "abcd", 4));
    ck_assert_uint_eq(lib_load(m, 0x60ffe, 2), 0);
    FAILS(LOCKSTEP_NOT_FOUND, lockstep_read_linear(m, 0, 0x7fffff00, &value, 4));
    OK(lockstep_read_linear(m, 0, 0x4fffe, &value, 4)); /* over a page: 4F, then 60 */
    FAILS(LOCKSTEP_INVALID, lockstep_read_linear(m, 0, 0, NULL, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_write_linear(m, 0, 0, NULL, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_read_linear(m, 9, 0, &value, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_write_linear(NULL, 0, 0, &value, 4));
    FAILS(LOCKSTEP_INVALID, lockstep_translate(m, 0, 0, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_translate(NULL, 0, 0, &physical));
    FAILS(LOCKSTEP_INVALID, lockstep_flush_tlb(NULL));
    lockstep_destroy(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("library_memory");
    TCase *tc = tcase_create("memory");

    tcase_add_test(tc, mapping_is_checked);
    tcase_add_test(tc, unmapped_memory_reads_as_zeroes_when_mapped_again);
    tcase_add_test(tc, rom_keeps_its_contents);
    tcase_add_test(tc, host_memory_is_shared);
    tcase_add_test(tc, mmio_callbacks);
    tcase_add_test(tc, port_callbacks);
    tcase_add_test(tc, stores_from_outside_are_executed);
    tcase_add_test(tc, pointers_are_checked);
    tcase_add_test(tc, linear_memory);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
