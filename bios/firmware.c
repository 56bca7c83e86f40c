/* SPDX-License-Identifier: MIT */
#include "bios/firmware.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bios/blob.h"

static const char *const default_paths[] = {
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/seabios/bios.bin",
};

static enum status find_default(const char **path, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(default_paths); i++) {
        if (access(default_paths[i], F_OK) == 0) {
            *path = default_paths[i];
            return ST_OK;
        }
    }
    return error_set(err, ST_NOT_FOUND,
                     "There is no BIOS image at %s; install the package seabios or name one with "
                     "-bios.",
                     default_paths[0]);
}

/* Checks the size and copies the image into page-aligned memory, as ROM regions want it. */
static enum status take_image(struct firmware *firmware, const struct blob *blob, const char *path,
                              struct error *err)
{
    if (!blob->size || blob->size % KIB(64))
        return error_set(err, ST_INVALID,
                         "-bios: %s has %llu bytes; a BIOS image is a multiple of 64 KiB, up to 16 "
                         "MiB.",
                         path, (unsigned long long)blob->size);
    firmware->image = aligned_alloc(PAGE_SIZE, blob->size);
    if (!firmware->image)
        return error_set(err, ST_NO_MEMORY, "The host has no memory left for the BIOS image.");
    memcpy(firmware->image, blob->data, blob->size);
    firmware->size = blob->size;
    return ST_OK;
}

static enum status map_rom(struct firmware *firmware, const char *name, u64 base, u64 offset,
                           struct error *err)
{
    struct region region = {
        .name = name,
        .kind = REGION_ROM,
        .access = REGION_RW,
        .base = base,
        .size = firmware->size - offset,
        .priority = PRIO_ROM,
        .hva = firmware->image + offset,
    };
    unsigned id;
    enum status status = physmap_add(firmware->map, &region, &id);

    if (status != ST_OK)
        return error_set(err, status, "-bios: the image cannot be mapped at %#llx.",
                         (unsigned long long)base);
    firmware->regions[firmware->region_count++] = id;
    return ST_OK;
}

enum status firmware_load(struct firmware *firmware, struct physmap *map, const char *path,
                          struct error *err)
{
    struct blob blob;
    enum status status;
    u64 low;

    *firmware = (struct firmware){.map = map};
    if (!path) {
        status = find_default(&path, err);
        if (status != ST_OK)
            return status;
    }
    status = blob_read_file(&blob, path, FIRMWARE_SIZE_MAX, "-bios", err);
    if (status != ST_OK)
        return status;
    status = take_image(firmware, &blob, path, err);
    blob_fini(&blob);
    if (status != ST_OK)
        return status;
    low = firmware->size < KIB(128) ? firmware->size : KIB(128);
    status = map_rom(firmware, "bios", GIB(4) - firmware->size, 0, err);
    if (status == ST_OK)
        status = map_rom(firmware, "bios-low", MIB(1) - low, firmware->size - low, err);
    if (status != ST_OK)
        firmware_unload(firmware);
    return status;
}

void firmware_unload(struct firmware *firmware)
{
    for (unsigned i = 0; i < firmware->region_count; i++)
        physmap_remove(firmware->map, firmware->regions[i]);
    free(firmware->image);
    *firmware = (struct firmware){0};
}
