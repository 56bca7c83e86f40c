/* SPDX-License-Identifier: MIT */
#include "bios/multiboot.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "mem/base/bits.h"

enum {
    HEADER_MAGIC = 0x1badb002,
    HEADER_SEARCH = 8192,
    FLAG_PAGE_ALIGN = 1u << 0,
    FLAG_MEMORY_INFO = 1u << 1,
    FLAG_MUST_MASK = 0xffff, /* demands that a loader must refuse if it does not know them */
    FLAG_ADDRESSES = 1u << 16,
};

/* Offsets in the boot information (section 3.3) and of what follows it in our blob. */
enum info {
    INFO_FLAGS = 0,
    INFO_MEM_LOWER = 4,
    INFO_MEM_UPPER = 8,
    INFO_CMDLINE = 16,
    INFO_MODS_COUNT = 20,
    INFO_MODS_ADDR = 24,
    INFO_MMAP_LENGTH = 44,
    INFO_MMAP_ADDR = 48,
    INFO_LOADER_NAME = 64,
    INFO_SIZE = 128,
    MMAP_ENTRY_SIZE = 24,
    MODULE_SIZE = 16,
    MODULES_MAX = 64,
};

enum info_flags {
    INFO_HAS_MEMORY = 1u << 0,
    INFO_HAS_CMDLINE = 1u << 2,
    INFO_HAS_MODULES = 1u << 3,
    INFO_HAS_MMAP = 1u << 6,
    INFO_HAS_LOADER = 1u << 9,
};

/* Below: interrupt vectors, BIOS data and stack. Above LOW_END: the extended BIOS data area. */
#define LOW_START   0x8000ull
#define LOW_END     0x90000ull
#define TOP_RESERVE MIB(1)

struct multiboot_header {
    u64 offset; /* in the file */
    u32 flags;
    u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

/* One piece of the file and where it goes; memory past file_size is zero. */
struct segment {
    u64 offset;
    u64 file_size;
    u64 address;
    u64 memory_size;
};

/* What building one image needs. */
struct loader {
    struct multiboot_image *image;
    const struct blob *file;
    const struct ram_layout *layout;
    struct error *err;
};

static bool find_header(const struct blob *file, struct multiboot_header *header)
{
    u64 end = file->size < HEADER_SEARCH ? file->size : HEADER_SEARCH;

    for (u64 at = 0; at + 12 <= end; at += 4) {
        const u8 *p = file->data + at;
        u32 flags = (u32)load_le(p + 4, 4);

        if (load_le(p, 4) != HEADER_MAGIC || (u32)(HEADER_MAGIC + flags + load_le(p + 8, 4)) != 0)
            continue;
        *header = (struct multiboot_header){.offset = at, .flags = flags};
        if (!(flags & FLAG_ADDRESSES))
            return true;
        if (at + 32 > end)
            continue;
        header->header_addr = (u32)load_le(p + 12, 4);
        header->load_addr = (u32)load_le(p + 16, 4);
        header->load_end_addr = (u32)load_le(p + 20, 4);
        header->bss_end_addr = (u32)load_le(p + 24, 4);
        header->entry_addr = (u32)load_le(p + 28, 4);
        return true;
    }
    return false;
}

bool multiboot_probe(const struct blob *file)
{
    struct multiboot_header header;

    return find_header(file, &header);
}

static enum status malformed(struct loader *loader, const char *what)
{
    return error_set(loader->err, ST_INVALID, "-kernel: the multiboot image is damaged: %s.", what);
}

/* Extends the run that the segment belongs to. Runs only grow: segments may come in any order. */
static enum status run_cover(struct loader *loader, const struct segment *segment, u64 *start,
                             u64 *end)
{
    u64 limit = loader->layout->low_size > TOP_RESERVE ? loader->layout->low_size - TOP_RESERVE : 0;
    bool low = segment->address < MIB(1);
    u64 last = low ? LOW_END : limit;

    if (segment->address < LOW_START || segment->address > last ||
        segment->memory_size > last - segment->address)
        return error_set(loader->err, ST_INVALID,
                         "-kernel: the multiboot image wants %llu bytes at %#llx, where the guest "
                         "has no free RAM; raise -m or link it elsewhere.",
                         (unsigned long long)segment->memory_size,
                         (unsigned long long)segment->address);
    if (segment->address < start[!low])
        start[!low] = segment->address;
    if (segment->address + segment->memory_size > end[!low])
        end[!low] = segment->address + segment->memory_size;
    return ST_OK;
}

static void copy_segment(struct loader *loader, const struct segment *segment)
{
    struct multiboot_image *image = loader->image;
    struct multiboot_run *run = segment->address < MIB(1) ? &image->low : &image->high;

    if (!run->bytes.failed && segment->file_size)
        memcpy(run->bytes.data + (segment->address - run->address),
               loader->file->data + segment->offset, segment->file_size);
}

/* Checks all segments, makes the runs and fills them. */
static enum status load_segments(struct loader *loader, const struct segment *segments,
                                 unsigned count)
{
    struct multiboot_image *image = loader->image;
    u64 start[2] = {UINT64_MAX, UINT64_MAX}, end[2] = {0, 0};
    enum status status = ST_OK;

    for (unsigned i = 0; i < count && status == ST_OK; i++) {
        const struct segment *segment = &segments[i];

        if (segment->offset > loader->file->size ||
            segment->file_size > loader->file->size - segment->offset ||
            segment->file_size > segment->memory_size)
            return malformed(loader, "a segment lies outside the file");
        status = run_cover(loader, segment, start, end);
    }
    if (status != ST_OK)
        return status;
    if (!end[0] && !end[1])
        return malformed(loader, "it has nothing to load");
    image->low.address = end[0] ? start[0] : 0;
    image->high.address = end[1] ? start[1] : MIB(1);
    if (end[0])
        blob_zero(&image->low.bytes, end[0] - start[0]);
    if (end[1])
        blob_zero(&image->high.bytes, end[1] - start[1]);
    for (unsigned i = 0; i < count; i++)
        copy_segment(loader, &segments[i]);
    if (image->low.bytes.failed)
        return blob_status(&image->low.bytes, "the multiboot kernel", loader->err);
    return blob_status(&image->high.bytes, "the multiboot kernel", loader->err);
}

/* Section 3.1.3: the address fields say where the file lies in memory. */
static enum status load_flat(struct loader *loader, const struct multiboot_header *header)
{
    struct segment segment = {.address = header->load_addr};

    if (header->load_addr > header->header_addr ||
        header->header_addr - header->load_addr > header->offset)
        return malformed(loader, "its load address does not match its header's");
    segment.offset = header->offset - (header->header_addr - header->load_addr);
    segment.file_size = loader->file->size - segment.offset;
    if (header->load_end_addr) {
        if (header->load_end_addr < header->load_addr)
            return malformed(loader, "its end lies before its start");
        segment.file_size = header->load_end_addr - header->load_addr;
    }
    segment.memory_size = segment.file_size;
    if (header->bss_end_addr) {
        if (header->bss_end_addr < header->load_addr ||
            header->bss_end_addr - header->load_addr < segment.file_size)
            return malformed(loader, "its bss ends before its data");
        segment.memory_size = header->bss_end_addr - header->load_addr;
    }
    loader->image->entry = header->entry_addr;
    return load_segments(loader, &segment, 1);
}

/* The fields of ELF32 and ELF64 program headers that matter. */
struct program_header {
    u32 type;
    u64 vaddr;
    struct segment segment;
};

static struct program_header read_program_header(const u8 *p, bool elf64)
{
    struct program_header header = {.type = (u32)load_le(p, 4)};

    if (elf64) {
        header.vaddr = load_le(p + offsetof(Elf64_Phdr, p_vaddr), 8);
        header.segment.offset = load_le(p + offsetof(Elf64_Phdr, p_offset), 8);
        header.segment.address = load_le(p + offsetof(Elf64_Phdr, p_paddr), 8);
        header.segment.file_size = load_le(p + offsetof(Elf64_Phdr, p_filesz), 8);
        header.segment.memory_size = load_le(p + offsetof(Elf64_Phdr, p_memsz), 8);
    } else {
        header.vaddr = load_le(p + offsetof(Elf32_Phdr, p_vaddr), 4);
        header.segment.offset = load_le(p + offsetof(Elf32_Phdr, p_offset), 4);
        header.segment.address = load_le(p + offsetof(Elf32_Phdr, p_paddr), 4);
        header.segment.file_size = load_le(p + offsetof(Elf32_Phdr, p_filesz), 4);
        header.segment.memory_size = load_le(p + offsetof(Elf32_Phdr, p_memsz), 4);
    }
    return header;
}

/* Collects the PT_LOAD segments and turns the entry, which may be a virtual address, into a
 * physical one. */
static enum status collect_elf(struct loader *loader, bool elf64, u64 table, unsigned count)
{
    u64 size = elf64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    const u8 *data = loader->file->data;
    u64 entry = elf64 ? load_le(data + offsetof(Elf64_Ehdr, e_entry), 8)
                      : load_le(data + offsetof(Elf32_Ehdr, e_entry), 4);
    struct segment *segments = calloc(count, sizeof(*segments));
    u64 physical = entry;
    unsigned loads = 0;
    enum status status;

    if (!segments)
        return error_set(loader->err, ST_NO_MEMORY, "The host has no memory left for -kernel.");
    for (unsigned i = 0; i < count; i++) {
        struct program_header header = read_program_header(data + table + i * size, elf64);

        if (header.type != PT_LOAD || !header.segment.memory_size)
            continue;
        if (entry >= header.vaddr && entry - header.vaddr < header.segment.memory_size)
            physical = entry - header.vaddr + header.segment.address;
        segments[loads++] = header.segment;
    }
    loader->image->entry = (u32)physical;
    if (physical > UINT32_MAX)
        status = malformed(loader, "its entry lies above 4 GiB");
    else
        status = load_segments(loader, segments, loads);
    free(segments);
    return status;
}

static enum status load_elf(struct loader *loader)
{
    const struct blob *file = loader->file;
    bool elf64;
    u64 table, entry_size;
    unsigned count;

    if (file->size < sizeof(Elf64_Ehdr) || memcmp(file->data, ELFMAG, SELFMAG) != 0)
        return malformed(loader, "it is no ELF file and its header has no load addresses");
    elf64 = file->data[EI_CLASS] == ELFCLASS64;
    if (elf64) {
        table = load_le(file->data + offsetof(Elf64_Ehdr, e_phoff), 8);
        entry_size = load_le(file->data + offsetof(Elf64_Ehdr, e_phentsize), 2);
        count = (unsigned)load_le(file->data + offsetof(Elf64_Ehdr, e_phnum), 2);
    } else {
        table = load_le(file->data + offsetof(Elf32_Ehdr, e_phoff), 4);
        entry_size = load_le(file->data + offsetof(Elf32_Ehdr, e_phentsize), 2);
        count = (unsigned)load_le(file->data + offsetof(Elf32_Ehdr, e_phnum), 2);
    }
    if (entry_size != (elf64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || !count ||
        table > file->size || count * entry_size > file->size - table)
        return malformed(loader, "its program headers lie outside the file");
    return collect_elf(loader, elf64, table, count);
}

static enum status load_kernel(struct loader *loader)
{
    struct multiboot_header header;
    u32 unknown;

    if (!find_header(loader->file, &header))
        return error_set(loader->err, ST_INVALID, "-kernel: the file is not a multiboot image.");
    unknown = header.flags & FLAG_MUST_MASK & ~(u32)(FLAG_PAGE_ALIGN | FLAG_MEMORY_INFO);
    if (unknown)
        return error_set(loader->err, ST_UNSUPPORTED,
                         "-kernel: the multiboot image demands features %#x, which are not offered "
                         "(bit 2 is a video mode).",
                         unknown);
    if (header.flags & FLAG_ADDRESSES)
        return load_flat(loader, &header);
    return load_elf(loader);
}

/* An address inside the information blob. */
static u64 info_at(const struct multiboot_image *image, u64 offset)
{
    return image->info_address + offset;
}

/* Reads one module: "file" or "file arguments". The whole text is its command line. */
static enum status add_module(struct loader *loader, const char *text, u64 entry)
{
    struct multiboot_image *image = loader->image;
    struct blob *info = &image->info, data;
    char *path = strndup(text, strcspn(text, " "));
    enum status status;
    u64 start;

    if (!path)
        return error_set(loader->err, ST_NO_MEMORY, "The host has no memory left for -initrd.");
    status = blob_read_file(&data, path, loader->layout->low_size, "-initrd", loader->err);
    free(path);
    if (status != ST_OK)
        return status;
    blob_patch(info, entry + 8, info_at(image, blob_string(info, text)), 4);
    blob_align(info, PAGE_SIZE); /* info_address is aligned, too */
    start = blob_bytes(info, data.data, data.size);
    blob_patch(info, entry, info_at(image, start), 4);
    blob_patch(info, entry + 4, info_at(image, start + data.size), 4);
    blob_fini(&data);
    return blob_status(info, "the multiboot modules", loader->err);
}

static enum status add_modules(struct loader *loader, const char *modules)
{
    struct blob *info = &loader->image->info;
    char *list = strdup(modules), *rest = list, *text;
    enum status status = ST_OK;
    u64 table = blob_zero(info, (u64)MODULES_MAX * MODULE_SIZE);
    u32 count = 0;

    if (!list)
        return error_set(loader->err, ST_NO_MEMORY, "The host has no memory left for -initrd.");
    while (status == ST_OK && (text = strsep(&rest, ","))) {
        if (count == MODULES_MAX)
            status =
                error_set(loader->err, ST_INVALID, "-initrd: more than %d modules.", MODULES_MAX);
        else
            status = add_module(loader, text, table + (u64)count++ * MODULE_SIZE);
    }
    free(list);
    blob_patch(info, INFO_MODS_COUNT, count, 4);
    blob_patch(info, INFO_MODS_ADDR, info_at(loader->image, table), 4);
    return status;
}

static enum status build_info(struct loader *loader, const char *name, const char *cmdline,
                              const char *modules)
{
    struct multiboot_image *image = loader->image;
    struct blob *info = &image->info;
    u32 flags = INFO_HAS_MEMORY | INFO_HAS_CMDLINE | INFO_HAS_MMAP | INFO_HAS_LOADER;
    enum status status = ST_OK;
    u64 text;

    image->info_address = align_up(image->high.address + image->high.bytes.size, PAGE_SIZE);
    blob_zero(info, INFO_SIZE + (u64)MULTIBOOT_MMAP_ENTRIES * MMAP_ENTRY_SIZE);
    blob_patch(info, INFO_MMAP_ADDR, info_at(image, INFO_SIZE), 4);
    text = blob_bytes(info, name, strlen(name));
    if (*cmdline)
        blob_bytes(info, " ", 1);
    blob_string(info, cmdline);
    blob_patch(info, INFO_CMDLINE, info_at(image, text), 4);
    blob_patch(info, INFO_LOADER_NAME, info_at(image, blob_string(info, "Lockstep")), 4);
    blob_align(info, 16);
    if (modules && *modules) {
        flags |= INFO_HAS_MODULES;
        status = add_modules(loader, modules);
    }
    if (status != ST_OK)
        return status;
    blob_patch(info, INFO_FLAGS, flags, 4);
    if (info->size + TOP_RESERVE > loader->layout->low_size ||
        image->info_address > loader->layout->low_size - TOP_RESERVE - info->size)
        return error_set(loader->err, ST_INVALID,
                         "-initrd: the modules have %llu KiB, which do not fit into the guest's "
                         "RAM; raise -m.",
                         (unsigned long long)(info->size >> 10));
    return blob_status(info, "the multiboot information", loader->err);
}

enum status multiboot_load(struct multiboot_image *image, struct blob *file, const char *name,
                           const char *cmdline, const char *modules,
                           const struct ram_layout *layout, struct error *err)
{
    struct loader loader = {.image = image, .file = file, .layout = layout, .err = err};
    enum status status;

    *image = (struct multiboot_image){0};
    status = load_kernel(&loader);
    if (status == ST_OK)
        status = build_info(&loader, name, cmdline, modules);
    blob_fini(file);
    if (status != ST_OK)
        multiboot_fini(image);
    return status;
}

void multiboot_fini(struct multiboot_image *image)
{
    blob_fini(&image->low.bytes);
    blob_fini(&image->high.bytes);
    blob_fini(&image->info);
    *image = (struct multiboot_image){0};
}

void multiboot_set_map(struct multiboot_image *image, const struct e820_map *map)
{
    struct blob *info = &image->info;
    unsigned count = map->count < MULTIBOOT_MMAP_ENTRIES ? map->count : MULTIBOOT_MMAP_ENTRIES;
    u8 encoded[E820_ENTRIES_MAX * E820_ENTRY_SIZE];

    e820_encode(map, encoded);
    for (unsigned i = 0; i < count; i++) {
        const struct e820_entry *entry = &map->entries[i];
        u64 at = INFO_SIZE + (u64)i * MMAP_ENTRY_SIZE;

        blob_patch(info, at, E820_ENTRY_SIZE, 4);
        memcpy(info->data + at + 4, encoded + (u64)i * E820_ENTRY_SIZE, E820_ENTRY_SIZE);
        if (entry->type != E820_RAM)
            continue;
        if (entry->base == 0)
            blob_patch(info, INFO_MEM_LOWER, entry->size >> 10, 4);
        if (entry->base == MIB(1))
            blob_patch(info, INFO_MEM_UPPER, entry->size >> 10, 4);
    }
    blob_patch(info, INFO_MMAP_LENGTH, (u64)count * MMAP_ENTRY_SIZE, 4);
}
