/* SPDX-License-Identifier: MIT */
#include "bios/multiboot.h"

#include <elf.h>

#include "bench.h"

static const struct ram_layout small = {.low_size = MIB(64)};

static enum status load(struct multiboot_image *image, struct blob *file, const char *modules,
                        struct error *err)
{
    return multiboot_load(image, file, "kernel", "args", modules, &small, err);
}

static void put_header(struct blob *file, u64 at, u32 flags)
{
    blob_patch(file, at, 0x1badb002, 4);
    blob_patch(file, at + 4, flags, 4);
    blob_patch(file, at + 8, -(0x1badb002 + flags), 4);
}

/* A flat image of 1000 bytes with its header at 100. */
static void flat(struct blob *file, u32 load_addr, u32 load_end, u32 bss_end)
{
    *file = (struct blob){0};
    blob_zero(file, 1000);
    memset(file->data, 0xcc, 1000);
    put_header(file, 100, 0x10003);
    blob_patch(file, 112, load_addr + 60, 4); /* the first 40 bytes are not loaded */
    blob_patch(file, 116, load_addr, 4);
    blob_patch(file, 120, load_end, 4);
    blob_patch(file, 124, bss_end, 4);
    blob_patch(file, 128, load_addr + 200, 4);
}

struct phdr {
    u64 offset, vaddr, paddr, filesz, memsz;
};

static void elf(struct blob *file, bool elf64, u64 entry, const struct phdr *headers,
                unsigned count)
{
    *file = (struct blob){0};
    blob_zero(file, 4096);
    memcpy(file->data, ELFMAG, SELFMAG);
    put_header(file, 2048, 3);
    file->data[EI_CLASS] = elf64 ? ELFCLASS64 : ELFCLASS32;
    if (elf64) {
        Elf64_Ehdr ehdr = {.e_entry = entry, .e_phoff = 64, .e_phentsize = 56};

        ehdr.e_phnum = (u16)count;
        memcpy(file->data + EI_NIDENT, (u8 *)&ehdr + EI_NIDENT, sizeof(ehdr) - EI_NIDENT);
    } else {
        Elf32_Ehdr ehdr = {.e_entry = (u32)entry, .e_phoff = 64, .e_phentsize = 32};

        ehdr.e_phnum = (u16)count;
        memcpy(file->data + EI_NIDENT, (u8 *)&ehdr + EI_NIDENT, sizeof(ehdr) - EI_NIDENT);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct phdr *h = &headers[i];
        Elf64_Phdr p64 = {.p_type = PT_LOAD,
                          .p_offset = h->offset,
                          .p_vaddr = h->vaddr,
                          .p_paddr = h->paddr,
                          .p_filesz = h->filesz,
                          .p_memsz = h->memsz};
        Elf32_Phdr p32 = {.p_type = PT_LOAD,
                          .p_offset = (u32)h->offset,
                          .p_vaddr = (u32)h->vaddr,
                          .p_paddr = (u32)h->paddr,
                          .p_filesz = (u32)h->filesz,
                          .p_memsz = (u32)h->memsz};

        memcpy(file->data + 64 + i * (elf64 ? 56 : 32), elf64 ? (void *)&p64 : (void *)&p32,
               elf64 ? 56 : 32);
    }
    memset(file->data + 3000, 0x5a, 1096);
}

static const u8 *info_pointer(const struct multiboot_image *image, unsigned offset)
{
    u64 address = load_le(image->info.data + offset, 4);

    ck_assert_uint_ge(address, image->info_address);
    ck_assert_uint_lt(address - image->info_address, image->info.size);
    return image->info.data + (address - image->info_address);
}

START_TEST(flat_image)
{
    struct multiboot_image image;
    struct blob file;
    struct error err;

    flat(&file, MIB(2), 0, 0);
    ck_assert(multiboot_probe(&file));
    ck_assert_int_eq(load(&image, &file, NULL, &err), ST_OK);
    ck_assert_uint_eq(image.entry, MIB(2) + 200);
    ck_assert_uint_eq(image.high.address, MIB(2));
    ck_assert_uint_eq(image.high.bytes.size, 960);
    ck_assert_uint_eq(load_le(image.high.bytes.data + 60, 4), 0x1badb002);
    ck_assert_uint_eq(image.low.bytes.size, 0);
    multiboot_fini(&image);
    flat(&file, MIB(2), MIB(2) + 500, MIB(2) + 9000);
    ck_assert_int_eq(load(&image, &file, NULL, &err), ST_OK);
    ck_assert_uint_eq(image.high.bytes.size, 9000);
    ck_assert_uint_eq(image.high.bytes.data[499], 0xcc);
    ck_assert_uint_eq(image.high.bytes.data[500], 0);
    ck_assert_uint_eq(image.info_address, MIB(2) + 3 * 4096);
    multiboot_fini(&image);
}
END_TEST

START_TEST(elf_images_with_low_and_high_parts)
{
    static const struct phdr headers[] = {
        {3000, 0xc0200000, 0x200000, 1000, 5000},
        {3000, 0x9000, 0x9000, 16, 16},
        {3500, 0xc0100000, 0x100000, 10, 10},
    };

    for (unsigned elf64 = 0; elf64 < 2; elf64++) {
        struct multiboot_image image;
        struct blob file;
        struct error err;

        elf(&file, elf64, 0xc0200010, headers, 3);
        ck_assert_int_eq(load(&image, &file, NULL, &err), ST_OK);
        ck_assert_uint_eq(image.entry, 0x200010); /* virtual to physical */
        ck_assert_uint_eq(image.low.address, 0x9000);
        ck_assert_uint_eq(image.low.bytes.size, 16);
        ck_assert_uint_eq(image.high.address, 0x100000);
        ck_assert_uint_eq(image.high.bytes.size, 0x100000 + 5000);
        ck_assert_uint_eq(image.high.bytes.data[9], 0x5a);
        ck_assert_uint_eq(image.high.bytes.data[10], 0);
        ck_assert_uint_eq(image.high.bytes.data[0x100000 + 999], 0x5a);
        ck_assert_uint_eq(image.high.bytes.data[0x100000 + 1000], 0);
        multiboot_fini(&image);
    }
}
END_TEST

START_TEST(information_and_modules)
{
    char *one = bench_file("first module", 12), *two = bench_file("2", 1);
    struct e820_map map;
    struct multiboot_image image;
    struct blob file;
    struct error err;
    char list[200];
    const u8 *mods, *mmap;

    snprintf(list, sizeof(list), "%s with args,%s", one, two);
    flat(&file, MIB(2), 0, 0);
    ck_assert_int_eq(load(&image, &file, list, &err), ST_OK);
    ck_assert_uint_eq(load_le(image.info.data, 4), 1 | 4 | 8 | 64 | 512);
    ck_assert_str_eq((const char *)info_pointer(&image, 16), "kernel args");
    ck_assert_str_eq((const char *)info_pointer(&image, 64), "Lockstep");
    ck_assert_uint_eq(load_le(image.info.data + 20, 4), 2);
    mods = info_pointer(&image, 24);
    ck_assert_uint_eq(load_le(mods, 4) % 4096, 0);
    ck_assert_uint_eq(load_le(mods + 4, 4) - load_le(mods, 4), 12);
    ck_assert_mem_eq(image.info.data + load_le(mods, 4) - image.info_address, "first module", 12);
    *strchr(list, ',') = 0;
    ck_assert_str_eq((const char *)image.info.data + load_le(mods + 8, 4) - image.info_address,
                     list);
    ck_assert_uint_eq(load_le(mods + 20, 4) - load_le(mods + 16, 4), 1);
    e820_for_kernel(&map, &small);
    multiboot_set_map(&image, &map);
    ck_assert_uint_eq(load_le(image.info.data + 4, 4), 639);
    ck_assert_uint_eq(load_le(image.info.data + 8, 4), 63 * 1024);
    ck_assert_uint_eq(load_le(image.info.data + 44, 4), map.count * 24);
    mmap = info_pointer(&image, 48);
    ck_assert_uint_eq(load_le(mmap, 4), 20);
    ck_assert_uint_eq(load_le(mmap + 12, 8), KIB(639));
    ck_assert_uint_eq(load_le(mmap + 20, 4), 1);
    multiboot_fini(&image);
    flat(&file, MIB(2), 0, 0);
    ck_assert_int_eq(load(&image, &file, "/nonexistent", &err), ST_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "-initrd"));
    bench_unlink(one);
    bench_unlink(two);
}
END_TEST

START_TEST(modules_that_do_not_fit)
{
    u8 *bytes = calloc(1, MIB(62));
    char *path = bench_file(bytes, MIB(62));
    struct multiboot_image image;
    struct blob file;
    struct error err;

    free(bytes);
    flat(&file, MIB(2), 0, 0);
    ck_assert_int_eq(load(&image, &file, path, &err), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "-initrd"));
    bench_unlink(path);
}
END_TEST

START_TEST(hostile_flat_images)
{
    static const u32 rows[][3] = {
        {0, 0, 0},                 /* over the interrupt vectors */
        {0xffffff00, 0, 0},        /* wraps */
        {MIB(2), MIB(1), 0},       /* ends before it starts */
        {MIB(2), MIB(2) + 961, 0}, /* past the file */
        {MIB(2), 0xffffffff, 0},
        {MIB(2), MIB(2) + 500, MIB(2) + 499}, /* bss inside data */
        {MIB(2), MIB(2) + 500, 0xf0000000},   /* larger than RAM */
        {0x8fff0, 0, 0},                      /* into the EBDA */
        {0xa0000, 0, 0},                      /* video memory */
        {MIB(64) - 100, 0, 0},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct multiboot_image image;
        struct blob file;
        struct error err;

        flat(&file, rows[i][0], rows[i][1], rows[i][2]);
        ck_assert_msg(load(&image, &file, NULL, &err) == ST_INVALID, "row %u", i);
    }
}
END_TEST

START_TEST(hostile_elf_images)
{
    static const struct phdr rows[] = {
        {4097, MIB(2), MIB(2), 1, 1},
        {UINT64_MAX, MIB(2), MIB(2), 2, 2},
        {3000, MIB(2), MIB(2), 1097, 1097},
        {3000, MIB(2), MIB(2), 100, 99},
        {3000, MIB(2), MIB(2), 100, UINT64_MAX},
        {3000, MIB(2), UINT64_MAX, 100, 100},
        {3000, MIB(2), UINT64_MAX - 50, 100, 100},
        {3000, MIB(2), GIB(4), 100, 100},
        {3000, MIB(2), MIB(2), 0, 0},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct multiboot_image image;
        struct blob file;
        struct error err;

        elf(&file, true, MIB(2), &rows[i], 1);
        ck_assert_msg(load(&image, &file, NULL, &err) == ST_INVALID, "row %u", i);
        elf(&file, true, MIB(2), &rows[i], 1);
        blob_patch(&file, 32, UINT64_MAX - 55, 8); /* program headers out of the file */
        ck_assert_int_eq(load(&image, &file, NULL, &err), ST_INVALID);
        elf(&file, true, MIB(2), &rows[i], 1);
        blob_patch(&file, 56, 0xffff, 2); /* too many */
        ck_assert_int_eq(load(&image, &file, NULL, &err), ST_INVALID);
    }
}
END_TEST

START_TEST(header_rules)
{
    struct multiboot_image image;
    struct blob file;
    struct error err;

    flat(&file, MIB(2), 0, 0); /* an unknown demand must be refused, an unknown wish not */
    put_header(&file, 100, 0x10007);
    ck_assert_int_eq(load(&image, &file, NULL, &err), ST_UNSUPPORTED);
    flat(&file, MIB(2), 0, 0);
    put_header(&file, 100, 0x90003);
    ck_assert_int_eq(load(&image, &file, NULL, &err), ST_OK);
    multiboot_fini(&image);
    flat(&file, MIB(2), 0, 0);
    blob_patch(&file, 108, 0, 4); /* checksum */
    ck_assert(!multiboot_probe(&file));
    blob_fini(&file);
    blob_zero(&file, 9000); /* past the first 8 KiB, at an odd place, cut off */
    put_header(&file, 8192, 3);
    ck_assert(!multiboot_probe(&file));
    put_header(&file, 8184, 3);
    ck_assert(!multiboot_probe(&file));
    put_header(&file, 4098, 3);
    ck_assert(!multiboot_probe(&file));
    put_header(&file, 8180, 3);
    ck_assert(multiboot_probe(&file));
    file.size = 8;
    ck_assert(!multiboot_probe(&file));
    file.size = 0;
    ck_assert(!multiboot_probe(&file));
    blob_fini(&file);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("multiboot");

    tcase_add_test(tcase, flat_image);
    tcase_add_test(tcase, elf_images_with_low_and_high_parts);
    tcase_add_test(tcase, information_and_modules);
    tcase_add_test(tcase, modules_that_do_not_fit);
    tcase_add_test(tcase, hostile_flat_images);
    tcase_add_test(tcase, hostile_elf_images);
    tcase_add_test(tcase, header_rules);
    return bench_main("bios/multiboot", tcase);
}
