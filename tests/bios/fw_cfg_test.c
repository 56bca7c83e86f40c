/* SPDX-License-Identifier: MIT */
#include "bios/fw_cfg.h"

#include <endian.h>

#include "bench.h"

enum { DESCRIPTOR = 0x1000, BUFFER = 0x2000 };

/* The device on a bus at its usual place, reached through ports only. */
struct fixture {
    struct bench bench;
    struct pio_bus pio;
    struct fw_cfg_store store;
    struct fw_cfg device;
};

static void open_fixture(struct fixture *f)
{
    struct fw_cfg_config config = {.store = &f->store};
    struct device_env env = {0};
    struct error err;

    bench_open(&f->bench, MIB(1));
    ck_assert_int_eq(pio_bus_create(&f->pio, &f->bench.log, &err), ST_OK);
    ck_assert_int_eq(fw_cfg_store_create(&f->store, &err), ST_OK);
    ck_assert_int_eq(fw_cfg_add_uint(&f->store, FW_CFG_RAM_SIZE, 0x1122334455667788, 8, &err),
                     ST_OK);
    ck_assert_int_eq(fw_cfg_add_file(&f->store, "etc/zebra", "stripes", 7, &err), ST_OK);
    ck_assert_int_eq(fw_cfg_add_file(&f->store, "bootorder", "none", 4, &err), ST_OK);
    ck_assert_int_eq(fw_cfg_add_file(&f->store, "etc/apple", "x", 1, &err), ST_OK);
    env.map = f->bench.map;
    env.log = &f->bench.log;
    env.pio = &f->pio;
    memset(&f->device, 0, sizeof(f->device));
    ck_assert_int_eq(fw_cfg_type.init(&f->device, &env, &config, &err), ST_OK);
    fw_cfg_type.reset(&f->device);
    for (const struct device_pio *range = fw_cfg_type.pio; range->size; range++)
        ck_assert_int_eq(pio_claim(&f->pio, (u16)(FW_CFG_BASE + range->base), range->size,
                                   &range->ops, &f->device, "fw_cfg"),
                         ST_OK);
}

static void close_fixture(struct fixture *f)
{
    fw_cfg_store_destroy(&f->store);
    pio_bus_destroy(&f->pio);
    bench_close(&f->bench);
}

static void read_port(struct fixture *f, void *out, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        ((u8 *)out)[i] = (u8)pio_read(&f->pio, 0x511, 1);
}

/* Runs a descriptor at an address; returns its control word afterwards. */
static u32 dma_at(struct fixture *f, u64 descriptor, u32 control, u32 length, u64 address)
{
    u32 words[4] = {htobe32(control), htobe32(length), htobe32((u32)(address >> 32)),
                    htobe32((u32)address)};

    physmap_write(f->bench.map, descriptor, words, sizeof(words));
    pio_write(&f->pio, 0x514, htobe32((u32)(descriptor >> 32)), 4);
    pio_write(&f->pio, 0x518, htobe32((u32)descriptor), 4);
    physmap_read(f->bench.map, descriptor, words, 4);
    return be32toh(words[0]);
}

static u32 dma(struct fixture *f, u32 control, u32 length, u64 address)
{
    return dma_at(f, DESCRIPTOR, control, length, address);
}

START_TEST(selector_and_data_port)
{
    struct fixture f;
    u8 bytes[12];

    open_fixture(&f);
    read_port(&f, bytes, 4);
    ck_assert_mem_eq(bytes, "QEMU", 4); /* selected at reset */
    pio_write(&f.pio, 0x510, FW_CFG_ID, 2);
    read_port(&f, bytes, 4);
    ck_assert_uint_eq(load_le(bytes, 4), 3);
    pio_write(&f.pio, 0x510, FW_CFG_RAM_SIZE, 2);
    read_port(&f, bytes, 12);
    ck_assert_uint_eq(load_le(bytes, 8), 0x1122334455667788);
    ck_assert_uint_eq(load_le(bytes + 8, 4), 0); /* past the end */
    pio_write(&f.pio, 0x510, 0x7777, 2);
    read_port(&f, bytes, 2);
    ck_assert_uint_eq(load_le(bytes, 2), 0); /* no such item */
    pio_write(&f.pio, 0x510, FW_CFG_SIGNATURE, 2);
    pio_write(&f.pio, 0x511, 'X', 1); /* data is not writable */
    pio_write(&f.pio, 0x510, 3, 1);   /* nor is the selector a byte */
    read_port(&f, bytes, 4);
    ck_assert_mem_eq(bytes, "QEMU", 4);
    close_fixture(&f);
}
END_TEST

START_TEST(directory_is_sorted_and_leads_to_the_files)
{
    static const char *const names[] = {"bootorder", "etc/apple", "etc/zebra"};
    static const u32 sizes[] = {4, 1, 7};
    struct fixture f;
    u8 directory[4 + 3 * 64], content[7];

    open_fixture(&f);
    pio_write(&f.pio, 0x510, FW_CFG_FILE_DIR, 2);
    read_port(&f, directory, sizeof(directory));
    ck_assert_uint_eq(be32toh((u32)load_le(directory, 4)), 3);
    for (unsigned i = 0; i < 3; i++) {
        const u8 *entry = directory + 4 + i * 64;

        ck_assert_uint_eq(be32toh((u32)load_le(entry, 4)), sizes[i]);
        ck_assert_uint_eq(be16toh((u16)load_le(entry + 4, 2)), 0x20 + i);
        ck_assert_uint_eq(load_le(entry + 6, 2), 0);
        ck_assert_str_eq((const char *)entry + 8, names[i]);
    }
    pio_write(&f.pio, 0x510, 0x22, 2);
    read_port(&f, content, 7);
    ck_assert_mem_eq(content, "stripes", 7);
    close_fixture(&f);
}
END_TEST

START_TEST(dma_register_reads_as_signature)
{
    struct fixture f;
    char text[9] = {0};

    open_fixture(&f);
    for (unsigned i = 0; i < 8; i++)
        text[i] = (char)pio_read(&f.pio, (u16)(0x514 + i), 1);
    ck_assert_str_eq(text, "QEMU CFG");
    ck_assert_uint_eq(pio_read(&f.pio, 0x518, 4), 0x47464320);
    close_fixture(&f);
}
END_TEST

START_TEST(dma_select_read_skip)
{
    struct fixture f;
    u8 bytes[16];
    u32 select = 0x22u << 16 | FW_CFG_DMA_SELECT;

    open_fixture(&f);
    memset(f.bench.ram.hva + BUFFER, 0xee, 32);
    ck_assert_uint_eq(dma(&f, select | FW_CFG_DMA_READ, 3, BUFFER), 0);
    ck_assert_uint_eq(dma(&f, FW_CFG_DMA_SKIP, 2, 0), 0);
    ck_assert_uint_eq(dma(&f, FW_CFG_DMA_READ, 10, BUFFER + 3), 0);
    physmap_read(f.bench.map, BUFFER, bytes, 16);
    ck_assert_mem_eq(bytes, "stres\0\0\0\0\0\0\0\0\xee\xee\xee", 16);
    ck_assert_uint_eq(dma(&f, select, 0, 0), 0); /* select alone */
    read_port(&f, bytes, 2);
    ck_assert_mem_eq(bytes, "st", 2);
    ck_assert_uint_eq(dma(&f, select | FW_CFG_DMA_SKIP, 5, 0), 0);
    read_port(&f, bytes, 2);
    ck_assert_mem_eq(bytes, "es", 2);
    /* a skip past the end stays there, however often */
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(dma(&f, FW_CFG_DMA_SKIP, UINT32_MAX, 0), 0);
    read_port(&f, bytes, 1);
    ck_assert_uint_eq(bytes[0], 0);
    close_fixture(&f);
}
END_TEST

START_TEST(dma_write_is_refused)
{
    struct fixture f;
    u8 bytes[7];
    u32 select = 0x22u << 16 | FW_CFG_DMA_SELECT;

    open_fixture(&f);
    ck_assert_uint_eq(dma(&f, select | FW_CFG_DMA_WRITE, 4, BUFFER), FW_CFG_DMA_ERROR);
    read_port(&f, bytes, 7);
    ck_assert_mem_eq(bytes, "stripes", 7);
    close_fixture(&f);
}
END_TEST

START_TEST(hostile_dma_targets_give_an_error)
{
    static const struct {
        u32 length;
        u64 address;
    } rows[] = {
        {7, 0x40000000}, {8, MIB(1) - 4},           {7, UINT64_MAX - 3},
        {7, UINT64_MAX}, {UINT32_MAX, BUFFER * 16}, {UINT32_MAX, UINT64_MAX - 0xfff},
        {7, 1ull << 52}, {UINT32_MAX, GIB(4)},      {0x200000, MIB(1) - PAGE_SIZE},
    };
    u32 control = 0x22u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ;
    struct fixture f;

    open_fixture(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        ck_assert_uint_eq(dma(&f, control, rows[i].length, rows[i].address), FW_CFG_DMA_ERROR);
    close_fixture(&f);
}
END_TEST

START_TEST(hostile_descriptors_are_survived)
{
    static const u64 addresses[] = {UINT64_MAX, UINT64_MAX - 8, MIB(1) - 8, GIB(2), 1ull << 52};
    u32 control = 0x22u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ;
    struct fixture f;
    u8 byte;

    open_fixture(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
        dma_at(&f, addresses[i], control, 7, BUFFER);
    physmap_read(f.bench.map, BUFFER, &byte, 1);
    ck_assert_uint_eq(byte, 0); /* nothing was transferred */
    /* over its own descriptor: the control word comes last */
    ck_assert_uint_eq(dma(&f, control, 7, DESCRIPTOR), 0);
    /* odd sizes and places of the address register */
    pio_write(&f.pio, 0x518, 0x10, 1);
    pio_write(&f.pio, 0x516, 0x12345678, 4);
    pio_write(&f.pio, 0x51a, 0x1234, 2);
    close_fixture(&f);
}
END_TEST

START_TEST(address_high_half_is_used_once)
{
    struct fixture f;
    u8 bytes[4];
    u32 words[4] = {htobe32(1u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ), htobe32(4), 0,
                    htobe32(BUFFER)};

    open_fixture(&f);
    physmap_write(f.bench.map, DESCRIPTOR, words, sizeof(words));
    pio_write(&f.pio, 0x514, htobe32(1), 4);
    pio_write(&f.pio, 0x518, htobe32(DESCRIPTOR), 4); /* at 4 GiB: not there */
    physmap_read(f.bench.map, DESCRIPTOR, bytes, 4);
    ck_assert_mem_eq(bytes, words, 4);
    pio_write(&f.pio, 0x518, htobe32(DESCRIPTOR), 4);
    physmap_read(f.bench.map, BUFFER, bytes, 4);
    ck_assert_uint_eq(load_le(bytes, 4), 3);
    close_fixture(&f);
}
END_TEST

START_TEST(store_refuses_bad_names_and_duplicates)
{
    struct fw_cfg_store store;
    struct error err;
    char name[57];

    ck_assert_int_eq(fw_cfg_store_create(&store, &err), ST_OK);
    memset(name, 'n', 56);
    name[56] = 0;
    ck_assert_int_eq(fw_cfg_add_file(&store, name, "", 0, &err), ST_INVALID);
    ck_assert_int_eq(fw_cfg_add_file(&store, name + 1, "", 0, &err), ST_OK); /* 55 characters */
    ck_assert_int_eq(fw_cfg_add_file(&store, name + 1, "", 0, &err), ST_OVERLAP);
    ck_assert_int_eq(fw_cfg_add_file(&store, "", "", 0, &err), ST_INVALID);
    ck_assert_int_eq(fw_cfg_add_uint(&store, FW_CFG_ID, 1, 4, &err), ST_OVERLAP);
    ck_assert_int_eq(fw_cfg_seal(&store, &err), ST_OK);
    ck_assert_int_eq(fw_cfg_seal(&store, &err), ST_OK);
    fw_cfg_store_destroy(&store);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("fw_cfg");

    tcase_add_test(tcase, selector_and_data_port);
    tcase_add_test(tcase, directory_is_sorted_and_leads_to_the_files);
    tcase_add_test(tcase, dma_register_reads_as_signature);
    tcase_add_test(tcase, dma_select_read_skip);
    tcase_add_test(tcase, dma_write_is_refused);
    tcase_add_test(tcase, hostile_dma_targets_give_an_error);
    tcase_add_test(tcase, hostile_descriptors_are_survived);
    tcase_add_test(tcase, address_high_half_is_used_once);
    tcase_add_test(tcase, store_refuses_bad_names_and_duplicates);
    return bench_main("bios/fw_cfg", tcase);
}
