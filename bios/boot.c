/* SPDX-License-Identifier: MIT */
#include "bios/boot.h"

#include <string.h>

#include "bios/option_rom.h"
#include "mem/base/bits.h"

/* Guest memory of the entry without firmware, all below the real-mode setup area. */
enum {
    GDT_ADDRESS = 0x1000,
    PAGE_TABLES_ADDRESS = 0x2000, /* PML4, PDPT and four page directories */
    PAGE_TABLE_PAGES = 6,
    STACK_TOP = 0x9000,
    BOOT_CS = 0x10, /* Linux's boot protocol demands these selectors */
    BOOT_DS = 0x18,
};

#define GDT_CODE32 0x00cf9b000000ffffull
#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA   0x00cf93000000ffffull

enum { PTE_PRESENT = 1, PTE_WRITABLE = 2, PTE_LARGE = 0x80 };

static const char linux_rom_name[] = "genroms/lockstep-linux.bin";
static const char multiboot_rom_name[] = "genroms/lockstep-multiboot.bin";

static enum status load_linux(struct boot_image *image, struct blob *file,
                              const struct boot_request *request, const struct ram_layout *layout,
                              struct error *err)
{
    struct blob initrd = {0};

    image->kind = BOOT_LINUX;
    if (request->initrd) {
        enum status status = blob_read_file(&initrd, request->initrd, UINT32_MAX, "-initrd", err);

        if (status != ST_OK) {
            blob_fini(file);
            return status;
        }
    }
    return linux_image_load(&image->linux_image, file, &initrd,
                            request->append ? request->append : "", layout, err);
}

enum status boot_image_load(struct boot_image *image, const struct boot_request *request,
                            const struct ram_layout *layout, struct error *err)
{
    struct blob file;
    enum status status = blob_read_file(&file, request->kernel, UINT32_MAX, "-kernel", err);

    *image = (struct boot_image){0};
    if (status != ST_OK)
        return status;
    if (linux_image_probe(&file))
        return load_linux(image, &file, request, layout, err);
    if (multiboot_probe(&file)) {
        image->kind = BOOT_MULTIBOOT;
        return multiboot_load(&image->multiboot, &file, request->kernel,
                              request->append ? request->append : "", request->initrd, layout, err);
    }
    blob_fini(&file);
    return error_set(err, ST_INVALID,
                     "-kernel: %s is not a Linux kernel (bzImage) or multiboot image; name another "
                     "file.",
                     request->kernel);
}

void boot_image_fini(struct boot_image *image)
{
    if (image->kind == BOOT_LINUX)
        linux_image_fini(&image->linux_image);
    else
        multiboot_fini(&image->multiboot);
    *image = (struct boot_image){0};
}

/* One run of bytes as the three items that the option ROM reads. Nothing is added when it is empty:
 * absent items read as zeros. */
struct run_keys {
    u16 address;
    u16 size;
    u16 data;
};
static const struct run_keys kernel_keys = {FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE,
                                            FW_CFG_KERNEL_DATA};
static const struct run_keys initrd_keys = {FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE,
                                            FW_CFG_INITRD_DATA};
static const struct run_keys cmdline_keys = {FW_CFG_CMDLINE_ADDR, FW_CFG_CMDLINE_SIZE,
                                             FW_CFG_CMDLINE_DATA};
static const struct run_keys setup_keys = {FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA};

static enum status add_run(struct fw_cfg_store *store, const struct run_keys *keys, u64 address,
                           struct blob *data, struct error *err)
{
    u64 size = data->size;
    enum status status;

    if (!size)
        return ST_OK;
    status = fw_cfg_take(store, keys->data, data, err);
    if (status == ST_OK)
        status = fw_cfg_add_uint(store, keys->size, size, 4, err);
    if (status == ST_OK)
        status = fw_cfg_add_uint(store, keys->address, address, 4, err);
    return status;
}

/* The option ROM, and the boot order entry by which SeaBIOS runs it before any disk. */
static enum status add_rom(struct fw_cfg_store *store, enum option_rom which, const char *name,
                           struct error *err)
{
    struct blob rom = {0}, order = {0};
    enum status status;

    option_rom_get(which, &rom);
    status = fw_cfg_take_file(store, name, &rom, err);
    if (status != ST_OK)
        return status;
    blob_bytes(&order, "/rom@", 5);
    blob_bytes(&order, name, strlen(name));
    blob_string(&order, "\n");
    return fw_cfg_take_file(store, "bootorder", &order, err);
}

static enum status linux_to_fw_cfg(struct linux_image *image, struct fw_cfg_store *store,
                                   struct error *err)
{
    enum status status = add_run(store, &setup_keys, LINUX_SETUP_ADDRESS, &image->setup, err);

    if (status == ST_OK)
        status = add_run(store, &cmdline_keys, LINUX_CMDLINE_ADDRESS, &image->cmdline, err);
    if (status == ST_OK)
        status = add_run(store, &kernel_keys, image->kernel_address, &image->kernel, err);
    if (status == ST_OK)
        status = add_run(store, &initrd_keys, image->initrd_address, &image->initrd, err);
    if (status == ST_OK)
        status = add_rom(store, OPTION_ROM_LINUX, linux_rom_name, err);
    return status;
}

static enum status multiboot_to_fw_cfg(struct multiboot_image *image, struct fw_cfg_store *store,
                                       struct error *err)
{
    enum status status = fw_cfg_add_uint(store, FW_CFG_KERNEL_ENTRY, image->entry, 4, err);

    if (status == ST_OK)
        status = add_run(store, &setup_keys, image->low.address, &image->low.bytes, err);
    if (status == ST_OK)
        status = add_run(store, &kernel_keys, image->high.address, &image->high.bytes, err);
    if (status == ST_OK)
        status = add_run(store, &initrd_keys, image->info_address, &image->info, err);
    if (status == ST_OK)
        status = add_rom(store, OPTION_ROM_MULTIBOOT, multiboot_rom_name, err);
    return status;
}

enum status boot_to_fw_cfg(struct boot_image *image, struct fw_cfg_store *store, struct error *err)
{
    if (image->kind == BOOT_LINUX)
        return linux_to_fw_cfg(&image->linux_image, store, err);
    return multiboot_to_fw_cfg(&image->multiboot, store, err);
}

/* A write whose target was checked against the RAM layout; it fails only if the machine has no RAM
 * mapped there. */
static enum status write_guest(struct physmap *map, u64 gpa, const void *data, u64 size,
                               struct error *err)
{
    if (!size || physmap_write(map, gpa, data, size))
        return ST_OK;
    return error_set(err, ST_INVALID, "-kernel: the guest has no RAM at %#llx; raise -m.",
                     (unsigned long long)gpa);
}

/* Flat segments in guest memory and in the state. */
static enum status enter_flat(struct physmap *map, struct boot_state *state, struct error *err)
{
    u64 code = state->mode == BOOT_LONG64 ? GDT_CODE64 : GDT_CODE32;
    u8 gdt[4 * 8] = {0};

    store_le(gdt + BOOT_CS, code, 8);
    store_le(gdt + BOOT_DS, GDT_DATA, 8);
    state->gdt_base = GDT_ADDRESS;
    state->gdt_limit = sizeof(gdt) - 1;
    state->cs = BOOT_CS;
    state->ds = BOOT_DS;
    state->cs_access = (u16)(code >> 40);
    state->ds_access = (u16)(GDT_DATA >> 40);
    state->rsp = STACK_TOP;
    return write_guest(map, GDT_ADDRESS, gdt, sizeof(gdt), err);
}

/* Identity map of the first 4 GiB in 2 MiB pages (SDM 3A section 4.5). */
static enum status map_identity(struct physmap *map, struct boot_state *state, struct error *err)
{
    u8 pages[PAGE_TABLE_PAGES][PAGE_SIZE] = {0};
    u64 flags = PTE_PRESENT | PTE_WRITABLE;

    store_le(pages[0], (PAGE_TABLES_ADDRESS + PAGE_SIZE) | flags, 8);
    for (unsigned i = 0; i < 4; i++)
        store_le(pages[1] + 8 * i, (PAGE_TABLES_ADDRESS + (2 + i) * PAGE_SIZE) | flags, 8);
    for (u64 i = 0; i < 4 * 512; i++)
        store_le(&pages[2][0] + 8 * i, i * MIB(2) | flags | PTE_LARGE, 8);
    state->cr3 = PAGE_TABLES_ADDRESS;
    return write_guest(map, PAGE_TABLES_ADDRESS, pages, sizeof(pages), err);
}

/* boot.rst, "32-bit boot protocol" and "64-bit boot protocol". */
static enum status linux_direct(struct linux_image *image, struct physmap *map,
                                const struct e820_map *e820, u64 rsdp, struct boot_state *state,
                                struct error *err)
{
    u8 zero_page[LINUX_ZERO_PAGE_SIZE];
    enum status status = ST_OK;

    linux_zero_page(image, e820, rsdp, zero_page);
    state->rip = image->kernel_address;
    state->rsi = LINUX_SETUP_ADDRESS;
    if (state->mode == BOOT_LONG64) {
        state->rip += LINUX_LONG_ENTRY;
        status = map_identity(map, state, err);
    }
    if (status == ST_OK)
        status = write_guest(map, LINUX_SETUP_ADDRESS, zero_page, sizeof(zero_page), err);
    if (status == ST_OK)
        status =
            write_guest(map, LINUX_CMDLINE_ADDRESS, image->cmdline.data, image->cmdline.size, err);
    if (status == ST_OK)
        status =
            write_guest(map, image->kernel_address, image->kernel.data, image->kernel.size, err);
    if (status == ST_OK)
        status =
            write_guest(map, image->initrd_address, image->initrd.data, image->initrd.size, err);
    return status;
}

/* Multiboot Specification section 3.2. */
static enum status multiboot_direct(struct multiboot_image *image, struct physmap *map,
                                    const struct e820_map *e820, struct boot_state *state,
                                    struct error *err)
{
    enum status status;

    multiboot_set_map(image, e820);
    state->rip = image->entry;
    state->rax = MULTIBOOT_BOOT_MAGIC;
    state->rbx = image->info_address;
    status =
        write_guest(map, image->low.address, image->low.bytes.data, image->low.bytes.size, err);
    if (status == ST_OK)
        status = write_guest(map, image->high.address, image->high.bytes.data,
                             image->high.bytes.size, err);
    if (status == ST_OK)
        status = write_guest(map, image->info_address, image->info.data, image->info.size, err);
    return status;
}

enum status boot_direct(struct boot_image *image, struct platform *platform, struct physmap *map,
                        bool want_long, struct boot_state *state, struct error *err)
{
    struct e820_map e820;
    enum status status;
    u64 rsdp;

    *state = (struct boot_state){.mode = BOOT_PROT32};
    if (image->kind == BOOT_LINUX && want_long && image->linux_image.has_long_entry)
        state->mode = BOOT_LONG64;
    e820_for_kernel(&e820, &platform->config.layout);
    status = platform_place(platform, map, &rsdp, err);
    if (status == ST_OK)
        status = enter_flat(map, state, err);
    if (status != ST_OK)
        return status;
    if (image->kind == BOOT_LINUX)
        return linux_direct(&image->linux_image, map, &e820, rsdp, state, err);
    return multiboot_direct(&image->multiboot, map, &e820, state, err);
}
