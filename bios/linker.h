/* SPDX-License-Identifier: MIT
 *
 * Tables that point at each other but do not know their addresses yet, and how to finish them.
 *
 * The fix-ups are either written as the command script that firmware executes (fw_cfg file
 * etc/table-loader: SeaBIOS src/fw/romfile_loader.h, 128-byte commands), or applied here at given
 * addresses when there is no firmware. Pointers hold an offset into their target file until then.
 */
#pragma once

#include "bios/blob.h"

enum {
    LINKER_FILES_MAX = 4,
    LINKER_FIXUPS_MAX = 64,
    LINKER_COMMAND_SIZE = 128,
    LINKER_NAME_SIZE = 56,
};

/* Commands of the script. */
enum linker_command {
    LINKER_ALLOCATE = 1,
    LINKER_ADD_POINTER = 2,
    LINKER_ADD_CHECKSUM = 3,
};

/* Where firmware is to put a file. */
enum linker_zone {
    LINKER_ZONE_HIGH = 1, /* anywhere below 4 GiB that the memory map reserves */
    LINKER_ZONE_FSEG = 2, /* F0000-FFFFF, where RSDPs are searched */
};

struct linker_file {
    const char *name; /* fw_cfg file name */
    struct blob blob;
    u32 align;
    enum linker_zone zone;
};

struct linker_fixup {
    enum linker_command command; /* pointer or checksum */
    unsigned file;               /* index of the file that is patched */
    u32 offset;                  /* of the pointer or checksum */
    unsigned target;             /* pointer: index of the file whose address is added */
    u32 start;                   /* checksum: first byte */
    u32 size;                    /* pointer: 4 or 8; checksum: bytes summed */
};

struct linker {
    struct linker_file files[LINKER_FILES_MAX];
    unsigned file_count;
    struct linker_fixup fixups[LINKER_FIXUPS_MAX];
    unsigned fixup_count;
};

void linker_fini(struct linker *linker);
/* Adds an empty file and returns its index. name must outlive the linker. */
unsigned linker_file(struct linker *linker, const char *name, u32 align, enum linker_zone zone);
/* The size-byte field at offset of file points to target_offset in target. */
void linker_pointer(struct linker *linker, unsigned file, u64 offset, unsigned size,
                    unsigned target, u64 target_offset);
/* The byte at offset of file makes [start, start+size) sum to 0. Added after the range's pointers.
 */
void linker_checksum(struct linker *linker, unsigned file, u64 offset, u64 start, u64 size);

/* Appends the command script. */
void linker_script(const struct linker *linker, struct blob *script);
/* Patches the files for the given addresses, one per file. */
void linker_apply(struct linker *linker, const u64 *addresses);
