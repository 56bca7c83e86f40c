/* SPDX-License-Identifier: MIT
 *
 * -kernel with any file: it is refused with a sentence, or what was made of it lies inside guest
 * RAM, can be entered directly, and can be handed to firmware.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bios/boot.h"
#include "mem/base/bits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/guard.h"

enum { HEAD_SIZE = 4, CMDLINE_MAX = 64 };
#define RAM_MAX MIB(16)

static struct {
    struct ram ram;
    struct log log;
} board;

static void check_sentence(const struct error *err)
{
    size_t length = strnlen(err->text, sizeof(err->text));

    check(length > 20 && length < sizeof(err->text) && !strchr(err->text, '\n') &&
              err->text[length - 1] == '.',
          "not a sentence: \"%s\"", err->text);
}

/* [address, address + size) lies in RAM and apart from what was placed before it. */
static void check_run(const struct ram_layout *layout, u64 address, u64 size, u64 *end)
{
    check(!size || (address <= layout->low_size && size <= layout->low_size - address),
          "%#lx bytes at %#lx leave the RAM", size, address);
    check(!size || address >= *end, "%#lx bytes at %#lx overlap what ends at %#lx", size, address,
          *end);
    if (size)
        *end = address + size;
}

static void check_linux(const struct linux_image *image, const struct ram_layout *layout)
{
    u64 kernel = image->kernel_address, initrd = image->initrd_address;
    u64 size = image->initrd.size;
    u64 end = LINUX_SETUP_ADDRESS;

    check_run(layout, LINUX_SETUP_ADDRESS, image->setup.size, &end);
    check_run(layout, LINUX_CMDLINE_ADDRESS, image->cmdline.size, &end);
    check(!size || initrd >= MIB(1), "initrd at %#lx", initrd);
    if (size && initrd < kernel)
        check_run(layout, initrd, size, &end);
    check(kernel >= MIB(1), "kernel at %#lx", kernel);
    check_run(layout, kernel, image->kernel.size, &end);
    if (size && initrd >= kernel)
        check_run(layout, initrd, size, &end);
}

static void check_multiboot(const struct multiboot_image *image, const struct ram_layout *layout)
{
    u64 end = 0;

    check_run(layout, image->low.address, image->low.bytes.size, &end);
    check(end <= 0xa0000, "the lower run ends at %#lx", end);
    check_run(layout, image->high.address, image->high.bytes.size, &end);
    check_run(layout, image->info_address, image->info.size, &end);
}

static void build_platform(struct platform *platform, const struct ram_layout *layout)
{
    static const u32 apic_ids[1];
    struct platform_config config = {.layout = *layout, .cpu_count = 1, .max_cpus = 1};
    struct error err = {""};

    acpi_config_pc(&config.acpi, layout);
    config.acpi.apic_ids = apic_ids;
    config.acpi.cpu_count = 1;
    config.smbios = (struct smbios_config){
        .version = "0", .sockets = 1, .cores = 1, .threads = 1, .layout = *layout};
    check(!platform_build(platform, &config, &err), "%s", err.text);
}

static void enter_directly(struct boot_image *image, const struct ram_layout *layout,
                           bool want_long)
{
    const struct region region = {
        .name = "ram", .kind = REGION_RAM, .access = REGION_RW, .size = layout->low_size};
    struct platform platform;
    struct boot_state state;
    struct physmap *map;
    struct error err = {""};
    unsigned id;

    check(!physmap_create(&map, &board.ram, &board.log, &err), "%s", err.text);
    check(!physmap_add(map, &region, &id), "no RAM");
    build_platform(&platform, layout);
    if (boot_direct(image, &platform, map, want_long, &state, &err))
        check_sentence(&err);
    platform_fini(&platform);
    physmap_destroy(map);
}

static void give_to_firmware(struct boot_image *image)
{
    struct fw_cfg_store store;
    struct error err = {""};

    check(!fw_cfg_store_create(&store, &err), "%s", err.text);
    check(!boot_to_fw_cfg(image, &store, &err), "%s", err.text);
    check(!fw_cfg_seal(&store, &err), "%s", err.text);
    fw_cfg_store_destroy(&store);
}

static enum status load(struct boot_image *image, struct blob *file, u64 initrd_size,
                        const char *cmdline, const struct ram_layout *layout, struct error *err)
{
    struct blob initrd = {0};

    *image = (struct boot_image){.kind = linux_image_probe(file) ? BOOT_LINUX : BOOT_MULTIBOOT};
    if (image->kind == BOOT_LINUX) {
        blob_zero(&initrd, initrd_size);
        return linux_image_load(&image->linux_image, file, &initrd, cmdline, layout, err);
    }
    if (multiboot_probe(file))
        return multiboot_load(&image->multiboot, file, "kernel", cmdline,
                              initrd_size ? "/dev/null a,/dev/null" : NULL, layout, err);
    blob_fini(file);
    return error_set(err, ST_INVALID, "The file is neither, and that is no failure.");
}

static void create_board(void)
{
    struct error err = {""};

    log_init(&board.log);
    check(!ram_create(&board.ram, RAM_MAX, &err), "%s", err.text);
    guard_ram(&board.ram);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned how = (unsigned)fuzz_uint(&in, 1), initrd_kib = (unsigned)fuzz_uint(&in, 2) & 0x3fff;
    unsigned length = (unsigned)fuzz_uint(&in, 1) % CMDLINE_MAX;
    struct ram_layout layout = {.low_size = MIB(1u << (how & 3))};
    char cmdline[CMDLINE_MAX] = {0};
    struct boot_image image;
    struct blob file = {0};
    struct error err = {""};

    if (!board.ram.hva)
        create_board();
    memset(cmdline, 'c', length);
    blob_bytes(&file, in.at, in.left);
    if (how & 4) /* a body behind the header that was fuzzed */
        blob_zero(&file, KIB(64));
    if (load(&image, &file, KIB((u64)initrd_kib), cmdline, &layout, &err)) {
        check_sentence(&err);
        return 0;
    }
    if (image.kind == BOOT_LINUX)
        check_linux(&image.linux_image, &layout);
    else
        check_multiboot(&image.multiboot, &layout);
    enter_directly(&image, &layout, how & 8);
    give_to_firmware(&image);
    boot_image_fini(&image);
    return 0;
}

/* -- seeds -- */

static size_t seed_linux(u8 *file, unsigned protocol)
{
    file[0x1f1] = 1;
    store_le(file + 0x1fe, 0xaa55, 2);
    file[0x201] = 0x66;
    memcpy(file + 0x202, "HdrS", 4);
    store_le(file + 0x206, protocol, 2);
    file[0x211] = 1;
    store_le(file + 0x22c, 0x7fffffff, 4);
    file[0x234] = 1;
    store_le(file + 0x236, 1, 2);
    store_le(file + 0x238, 0x7ff, 4);
    store_le(file + 0x258, 0x100000, 8);
    store_le(file + 0x260, 0x20000, 4);
    return 0x600;
}

static void multiboot_header(u8 *header, u32 flags)
{
    store_le(header, 0x1badb002, 4);
    store_le(header + 4, flags, 4);
    store_le(header + 8, -(0x1badb002 + flags), 4);
}

static size_t seed_flat(u8 *file, u32 address)
{
    static const u32 offsets[] = {0, 0, 0x100, 0x200,
                                  0x40}; /* header, load, load end, bss, entry */

    multiboot_header(file, 0x10003);
    for (unsigned n = 0; n < ARRAY_SIZE(offsets); n++)
        store_le(file + 12 + 4 * n, address + offsets[n], 4);
    return 0x100;
}

/* An ELF file with two segments, one below and one above 1 MiB. */
static size_t seed_elf(u8 *file, bool wide)
{
    unsigned header = wide ? 64 : 52, entry = wide ? 56 : 32, word = wide ? 8 : 4;

    memcpy(file,
           "\x7f"
           "ELF",
           4);
    file[4] = wide ? 2 : 1;
    file[5] = file[6] = 1;
    store_le(file + 16, 2, 2);
    store_le(file + 18, wide ? 62 : 3, 2);
    store_le(file + 20, 1, 4);
    store_le(file + 24, 0x100000, word);
    store_le(file + 24 + word, header, word);
    store_le(file + (wide ? 52 : 40), header, 2);
    store_le(file + (wide ? 54 : 42), entry, 2);
    store_le(file + (wide ? 56 : 44), 2, 2);
    for (unsigned n = 0; n < 2; n++) {
        u8 *p = file + header + n * entry;
        u64 address = n ? 0x100000 : 0x8000;

        store_le(p, 1, 4);
        store_le(p + (wide ? 8 : 4), 0x200, word);
        store_le(p + (wide ? 16 : 8), address, word);
        store_le(p + (wide ? 24 : 12), address, word);
        store_le(p + (wide ? 32 : 16), 0x100, word);
        store_le(p + (wide ? 40 : 20), 0x180, word);
    }
    multiboot_header(file + 0x180, 3);
    return 0x300;
}

size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    static const u32 addresses[] = {0x8000, 0x100000, 0x9ff80};
    size_t size = 0x800;
    u8 *file = data + HEAD_SIZE;

    if (capacity < HEAD_SIZE + size)
        return 0;
    memset(data, 0, HEAD_SIZE + size);
    data[0] = (u8)(2 | (n & 1 ? 12 : 0));
    data[1] = (u8)(n & 2 ? 16 : 0);
    data[3] = 5;
    if (n < 4)
        size = seed_linux(file, n & 1 ? 0x20f : 0x202);
    else if (n < 7)
        size = seed_flat(file, addresses[n - 4]);
    else if (n < 9)
        size = seed_elf(file, n & 1);
    else
        return 0;
    return HEAD_SIZE + size;
}
