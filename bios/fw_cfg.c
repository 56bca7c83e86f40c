/* SPDX-License-Identifier: MIT */
#include "bios/fw_cfg.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "mem/base/bits.h"

enum {
    ID_TRADITIONAL = 1u << 0,
    ID_DMA = 1u << 1,
    DIR_ENTRY_SIZE = 64,      /* size, key, reserved, name */
    DMA_DESCRIPTOR_SIZE = 16, /* control, length, address */
    DMA_REGISTER = 4,         /* port offset of the 8-byte address register */
};

/* The DMA register reads as this text, first byte at the lowest port. */
static const char dma_signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};

enum status fw_cfg_store_create(struct fw_cfg_store *store, struct error *err)
{
    enum status status;

    *store = (struct fw_cfg_store){0};
    status = fw_cfg_add(store, FW_CFG_SIGNATURE, "QEMU", 4, err);
    if (status == ST_OK)
        status = fw_cfg_add_uint(store, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4, err);
    if (status != ST_OK)
        fw_cfg_store_destroy(store);
    return status;
}

void fw_cfg_store_destroy(struct fw_cfg_store *store)
{
    for (unsigned i = 0; i < store->item_count; i++)
        blob_fini(&store->items[i].data);
    for (unsigned i = 0; i < store->file_count; i++)
        blob_fini(&store->files[i].data);
    free(store->items);
    free(store->files);
    *store = (struct fw_cfg_store){0};
}

const struct blob *fw_cfg_find(const struct fw_cfg_store *store, u16 key)
{
    for (unsigned i = 0; i < store->item_count; i++)
        if (store->items[i].key == key)
            return &store->items[i].data;
    if (store->sealed && key >= FW_CFG_FILE_FIRST &&
        (unsigned)(key - FW_CFG_FILE_FIRST) < store->file_count)
        return &store->files[key - FW_CFG_FILE_FIRST].data;
    return NULL;
}

const struct blob *fw_cfg_find_file(const struct fw_cfg_store *store, const char *name)
{
    for (unsigned i = 0; i < store->file_count; i++)
        if (strcmp(store->files[i].name, name) == 0)
            return &store->files[i].data;
    return NULL;
}

static enum status check_data(const struct blob *data, const char *what, struct error *err)
{
    if (data->failed)
        return blob_status(data, what, err);
    if (data->size > UINT32_MAX)
        return error_set(err, ST_INVALID, "%s is larger than 4 GiB, which fw_cfg cannot carry.",
                         what);
    return ST_OK;
}

enum status fw_cfg_take(struct fw_cfg_store *store, u16 key, struct blob *data, struct error *err)
{
    enum status status = check_data(data, "A fw_cfg item", err);
    struct fw_cfg_item *items;

    check(!store->sealed, "fw_cfg item %#x added to a sealed store", key);
    if (status != ST_OK)
        goto fail;
    if (fw_cfg_find(store, key)) {
        status = error_set(err, ST_OVERLAP, "The fw_cfg item %#x exists already.", key);
        goto fail;
    }
    items = realloc(store->items, (store->item_count + 1) * sizeof(*items));
    if (!items) {
        status = error_set(err, ST_NO_MEMORY, "The host has no memory left for fw_cfg items.");
        goto fail;
    }
    store->items = items;
    items[store->item_count++] = (struct fw_cfg_item){.key = key, .data = *data};
    *data = (struct blob){0};
    return ST_OK;
fail:
    blob_fini(data);
    return status;
}

enum status fw_cfg_add(struct fw_cfg_store *store, u16 key, const void *data, u64 size,
                       struct error *err)
{
    struct blob copy = {0};

    blob_bytes(&copy, data, size);
    return fw_cfg_take(store, key, &copy, err);
}

enum status fw_cfg_add_uint(struct fw_cfg_store *store, u16 key, u64 value, unsigned size,
                            struct error *err)
{
    u8 bytes[8];

    store_le(bytes, value, size);
    return fw_cfg_add(store, key, bytes, size, err);
}

static enum status check_name(const struct fw_cfg_store *store, const char *name, struct error *err)
{
    size_t length = strlen(name);

    if (length == 0 || length >= FW_CFG_FILE_NAME_SIZE)
        return error_set(err, ST_INVALID,
                         "The fw_cfg file name \"%s\" must have 1 to %d characters.", name,
                         FW_CFG_FILE_NAME_SIZE - 1);
    if (fw_cfg_find_file(store, name))
        return error_set(err, ST_OVERLAP, "The fw_cfg file \"%s\" exists already.", name);
    return ST_OK;
}

enum status fw_cfg_take_file(struct fw_cfg_store *store, const char *name, struct blob *data,
                             struct error *err)
{
    enum status status = check_data(data, name, err);
    struct fw_cfg_file *files;

    check(!store->sealed, "fw_cfg file %s added to a sealed store", name);
    if (status == ST_OK)
        status = check_name(store, name, err);
    if (status != ST_OK)
        goto fail;
    files = realloc(store->files, (store->file_count + 1) * sizeof(*files));
    if (!files) {
        status = error_set(err, ST_NO_MEMORY, "The host has no memory left for fw_cfg files.");
        goto fail;
    }
    store->files = files;
    files += store->file_count++;
    *files = (struct fw_cfg_file){.data = *data};
    memcpy(files->name, name, strlen(name));
    *data = (struct blob){0};
    return ST_OK;
fail:
    blob_fini(data);
    return status;
}

enum status fw_cfg_add_file(struct fw_cfg_store *store, const char *name, const void *data,
                            u64 size, struct error *err)
{
    struct blob copy = {0};

    blob_bytes(&copy, data, size);
    return fw_cfg_take_file(store, name, &copy, err);
}

static int compare_names(const void *a, const void *b)
{
    const struct fw_cfg_file *x = a, *y = b;

    return strcmp(x->name, y->name);
}

enum status fw_cfg_seal(struct fw_cfg_store *store, struct error *err)
{
    struct blob directory = {0};
    enum status status;

    if (store->sealed)
        return ST_OK;
    if (store->file_count)
        qsort(store->files, store->file_count, sizeof(*store->files), compare_names);
    blob_uint(&directory, htobe32(store->file_count), 4);
    for (unsigned i = 0; i < store->file_count; i++) {
        const struct fw_cfg_file *file = &store->files[i];
        u64 start = blob_zero(&directory, DIR_ENTRY_SIZE);

        blob_patch(&directory, start, htobe32((u32)file->data.size), 4);
        blob_patch(&directory, start + 4, htobe16((u16)(FW_CFG_FILE_FIRST + i)), 2);
        if (!directory.failed)
            memcpy(directory.data + start + 8, file->name, sizeof(file->name));
    }
    status = fw_cfg_take(store, FW_CFG_FILE_DIR, &directory, err);
    store->sealed = status == ST_OK;
    return status;
}

static void fw_cfg_select(struct fw_cfg *fw, u16 key)
{
    fw->selector = key;
    fw->offset = 0;
}

/* The selected item's bytes from the current offset on; *left is 0 when there are none. */
static const u8 *fw_cfg_here(const struct fw_cfg *fw, u64 *left)
{
    const struct blob *item = fw_cfg_find(fw->store, fw->selector);

    *left = item && fw->offset < item->size ? item->size - fw->offset : 0;
    return *left ? item->data + fw->offset : NULL;
}

/* The offset saturates, so that no number of reads and skips brings it back to the start. */
static void fw_cfg_advance(struct fw_cfg *fw, u64 count)
{
    fw->offset = fw->offset + count < fw->offset ? UINT64_MAX : fw->offset + count;
}

static u8 fw_cfg_next(struct fw_cfg *fw)
{
    u64 left;
    const u8 *here = fw_cfg_here(fw, &left);

    fw_cfg_advance(fw, 1);
    return left ? *here : 0;
}

/* Zeros for the part of a read that lies past the item's end. */
static bool dma_zero(struct fw_cfg *fw, u64 gpa, u64 size)
{
    static const u8 zeros[PAGE_SIZE];

    while (size) {
        u64 chunk = size < sizeof(zeros) ? size : sizeof(zeros);

        if (!physmap_write(fw->map, gpa, zeros, chunk))
            return false;
        gpa += chunk;
        size -= chunk;
    }
    return true;
}

static bool dma_read(struct fw_cfg *fw, u64 gpa, u32 length)
{
    u64 left;
    const u8 *here = fw_cfg_here(fw, &left);
    u64 count = length < left ? length : left;
    bool ok = true;

    if (gpa + length < gpa)
        return false;
    if (count)
        ok = physmap_write(fw->map, gpa, here, count);
    ok = ok && dma_zero(fw, gpa + count, length - count);
    fw_cfg_advance(fw, length);
    return ok;
}

/* Reads the descriptor, does what it asks, and writes its control word back: 0 or the error bit.
 * The firmware polls that word, so it is written last. */
static void dma_run(struct fw_cfg *fw, u64 descriptor)
{
    u8 raw[DMA_DESCRIPTOR_SIZE];
    u32 control, length, result = 0;
    u64 gpa;

    if (descriptor > UINT64_MAX - DMA_DESCRIPTOR_SIZE ||
        !physmap_read(fw->map, descriptor, raw, sizeof(raw))) {
        log_guest(fw->log, "fw_cfg: DMA descriptor at %#llx is outside memory",
                  (unsigned long long)descriptor);
        return;
    }
    control = be32toh((u32)load_le(raw, 4));
    length = be32toh((u32)load_le(raw + 4, 4));
    gpa = be64toh(load_le(raw + 8, 8));
    if (control & FW_CFG_DMA_SELECT)
        fw_cfg_select(fw, (u16)(control >> 16));
    if (control & FW_CFG_DMA_READ) {
        if (!dma_read(fw, gpa, length))
            result = FW_CFG_DMA_ERROR;
    } else if (control & FW_CFG_DMA_WRITE) {
        result = FW_CFG_DMA_ERROR; /* no item is writable */
    } else if (control & FW_CFG_DMA_SKIP) {
        fw_cfg_advance(fw, length);
    }
    if (result)
        log_guest(fw->log, "fw_cfg: DMA of %u bytes at %#llx (control %#x) failed", length,
                  (unsigned long long)gpa, control);
    result = htobe32(result);
    physmap_write(fw->map, descriptor, &result, sizeof(result));
}

/* Ports 0 and 1: the selector takes 16-bit writes, the data port byte reads. Since version 1 of the
 * interface item data cannot be written through the port. */
static u64 port_read(void *self, u64 offset, unsigned size)
{
    struct fw_cfg *fw = self;
    u64 value = 0; /* the selector is write-only */

    if (offset == 1)
        value = fw_cfg_next(fw);
    else if (size == 2)
        value = (u64)fw_cfg_next(fw) << 8;
    return value;
}

static void port_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct fw_cfg *fw = self;

    if (offset == 0 && size == 2)
        fw_cfg_select(fw, (u16)value);
    else
        log_guest(fw->log, "fw_cfg: %u-byte write to port %llu ignored", size,
                  (unsigned long long)offset);
}

static u64 dma_port_read(void *self, u64 offset, unsigned size)
{
    u64 value = 0;

    (void)self;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)(u8)dma_signature[(offset + i) & 7] << (8 * i);
    return value;
}

static void dma_port_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct fw_cfg *fw = self;
    u64 descriptor;

    if (size == 4 && offset == 0) {
        fw->dma_high = be32toh((u32)value);
    } else if (size == 4 && offset == 4) {
        descriptor = (u64)fw->dma_high << 32 | be32toh((u32)value);
        fw->dma_high = 0; /* so that 32-bit firmware need not write the high half */
        dma_run(fw, descriptor);
    } else {
        log_guest(fw->log, "fw_cfg: %u-byte write to DMA port %llu ignored", size,
                  (unsigned long long)offset);
    }
}

static const struct device_pio fw_cfg_pio[] = {
    {0, 2, {port_read, port_write, SIZE_1 | SIZE_2}},
    {DMA_REGISTER, 8, {dma_port_read, dma_port_write, SIZE_1 | SIZE_2 | SIZE_4}},
    {0, 0, {NULL, NULL, 0}},
};

static enum status fw_cfg_init(void *self, const struct device_env *env, const void *config,
                               struct error *err)
{
    struct fw_cfg *fw = self;
    const struct fw_cfg_config *wanted = config;

    fw->store = wanted->store;
    fw->map = env->map;
    fw->log = env->log;
    return fw_cfg_seal(wanted->store, err);
}

static void fw_cfg_reset(void *self)
{
    struct fw_cfg *fw = self;

    fw_cfg_select(fw, FW_CFG_SIGNATURE);
    fw->dma_high = 0;
}

static const struct device_field fw_cfg_fields[] = {
    DEVICE_FIELD(fw_cfg, selector),
    DEVICE_FIELD(fw_cfg, offset),
    DEVICE_FIELD(fw_cfg, dma_high),
    {NULL, 0, 0},
};

const struct device_type fw_cfg_type = {
    .name = "fw_cfg",
    .state_size = sizeof(struct fw_cfg),
    .pio = fw_cfg_pio,
    .init = fw_cfg_init,
    .reset = fw_cfg_reset,
    .save = fw_cfg_fields,
};
