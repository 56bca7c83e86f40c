/* SPDX-License-Identifier: MIT */
#include "bios/linker.h"

#include <string.h>

#include "mem/base/bits.h"
#include "mem/base/log.h"

void linker_fini(struct linker *linker)
{
    for (unsigned i = 0; i < linker->file_count; i++)
        blob_fini(&linker->files[i].blob);
    *linker = (struct linker){0};
}

unsigned linker_file(struct linker *linker, const char *name, u32 align, enum linker_zone zone)
{
    check(linker->file_count < LINKER_FILES_MAX, "too many linked files");
    check(strlen(name) < LINKER_NAME_SIZE, "file name %s is too long", name);
    linker->files[linker->file_count] =
        (struct linker_file){.name = name, .align = align, .zone = zone};
    return linker->file_count++;
}

static struct linker_fixup *linker_add(struct linker *linker, enum linker_command command,
                                       unsigned file, u64 offset)
{
    struct linker_fixup *fixup = &linker->fixups[linker->fixup_count];

    check(linker->fixup_count < LINKER_FIXUPS_MAX, "too many table fix-ups");
    linker->fixup_count++;
    *fixup = (struct linker_fixup){.command = command, .file = file, .offset = (u32)offset};
    return fixup;
}

void linker_pointer(struct linker *linker, unsigned file, u64 offset, unsigned size,
                    unsigned target, u64 target_offset)
{
    struct linker_fixup *fixup = linker_add(linker, LINKER_ADD_POINTER, file, offset);

    fixup->target = target;
    fixup->size = size;
    blob_patch(&linker->files[file].blob, offset, target_offset, size);
}

void linker_checksum(struct linker *linker, unsigned file, u64 offset, u64 start, u64 size)
{
    struct linker_fixup *fixup = linker_add(linker, LINKER_ADD_CHECKSUM, file, offset);

    fixup->start = (u32)start;
    fixup->size = (u32)size;
    blob_patch(&linker->files[file].blob, offset, 0, 1);
}

/* A command: a 32-bit code, then the fields that the caller appends, padded by script_end(). */
static u64 script_begin(struct blob *script, enum linker_command command)
{
    return blob_uint(script, command, 4);
}

static void script_name(struct blob *script, const char *name)
{
    char padded[LINKER_NAME_SIZE] = {0};

    memcpy(padded, name, strlen(name));
    blob_bytes(script, padded, sizeof(padded));
}

static void script_end(struct blob *script, u64 start)
{
    blob_zero(script, start + LINKER_COMMAND_SIZE - script->size);
}

static void script_allocate(struct blob *script, const struct linker_file *file)
{
    u64 start = script_begin(script, LINKER_ALLOCATE);

    script_name(script, file->name);
    blob_uint(script, file->align, 4);
    blob_uint(script, file->zone, 1);
    script_end(script, start);
}

static void script_fixup(struct blob *script, const struct linker *linker,
                         const struct linker_fixup *fixup)
{
    u64 start = script_begin(script, fixup->command);

    script_name(script, linker->files[fixup->file].name);
    if (fixup->command == LINKER_ADD_POINTER) {
        script_name(script, linker->files[fixup->target].name);
        blob_uint(script, fixup->offset, 4);
        blob_uint(script, fixup->size, 1);
    } else {
        blob_uint(script, fixup->offset, 4);
        blob_uint(script, fixup->start, 4);
        blob_uint(script, fixup->size, 4);
    }
    script_end(script, start);
}

void linker_script(const struct linker *linker, struct blob *script)
{
    for (unsigned i = 0; i < linker->file_count; i++)
        script_allocate(script, &linker->files[i]);
    for (unsigned i = 0; i < linker->fixup_count; i++)
        script_fixup(script, linker, &linker->fixups[i]);
}

void linker_apply(struct linker *linker, const u64 *addresses)
{
    for (unsigned i = 0; i < linker->fixup_count; i++) {
        const struct linker_fixup *fixup = &linker->fixups[i];
        struct blob *blob = &linker->files[fixup->file].blob;
        u8 *field;

        if (blob->failed)
            continue;
        field = blob->data + fixup->offset;
        if (fixup->command == LINKER_ADD_POINTER)
            store_le(field, load_le(field, fixup->size) + addresses[fixup->target], fixup->size);
        else
            *field = (u8)(*field - bytes_sum(blob->data + fixup->start, fixup->size));
    }
}
