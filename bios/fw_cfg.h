/* SPDX-License-Identifier: MIT
 *
 * fw_cfg: the device through which firmware reads the machine's description, tables and kernel.
 *
 * Interface as documented in QEMU's docs/specs/fw_cfg: a 16-bit selector, a byte-wide data port and
 * a DMA address register (big-endian, the write of its low half starts the transfer). The store of
 * items is filled before the device is made and never changes afterwards; the guest cannot write to
 * it. Reads past an item's end, and of items that do not exist, give zeros.
 */
#pragma once

#include "bios/blob.h"
#include "devices/device.h"

/* Item keys of the fw_cfg interface. */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
};

enum {
    FW_CFG_FILE_NAME_SIZE = 56, /* with the NUL */
    FW_CFG_PORTS = 12,          /* selector and data at 0, DMA at 4, relative to the base port */
    FW_CFG_BASE = 0x510,        /* where every known firmware looks for it */
};

/* Bits of a DMA descriptor's control word. */
enum fw_cfg_dma_control {
    FW_CFG_DMA_ERROR = 1u << 0,
    FW_CFG_DMA_READ = 1u << 1,
    FW_CFG_DMA_SKIP = 1u << 2,
    FW_CFG_DMA_SELECT = 1u << 3,
    FW_CFG_DMA_WRITE = 1u << 4,
};

struct fw_cfg_item {
    u16 key;
    struct blob data;
};

struct fw_cfg_file {
    char name[FW_CFG_FILE_NAME_SIZE];
    struct blob data;
};

/* Items by key and files by name. Files get their keys, in order of name, when the store is sealed.
 */
struct fw_cfg_store {
    struct fw_cfg_item *items;
    unsigned item_count;
    struct fw_cfg_file *files;
    unsigned file_count;
    bool sealed;
};

/* Starts with the signature and the interface id only. */
MUST_USE enum status fw_cfg_store_create(struct fw_cfg_store *store, struct error *err);
void fw_cfg_store_destroy(struct fw_cfg_store *store);

/* Adds an item; `take` moves the blob's bytes into the store (also on failure), the others copy.
 * ST_OVERLAP: the key or name is taken. ST_INVALID: a name of 56 characters or more, an empty name,
 * or more than 4 GiB - 1 bytes. */
MUST_USE enum status fw_cfg_take(struct fw_cfg_store *store, u16 key, struct blob *data,
                                 struct error *err);
MUST_USE enum status fw_cfg_add(struct fw_cfg_store *store, u16 key, const void *data, u64 size,
                                struct error *err);
MUST_USE enum status fw_cfg_add_uint(struct fw_cfg_store *store, u16 key, u64 value, unsigned size,
                                     struct error *err);
MUST_USE enum status fw_cfg_take_file(struct fw_cfg_store *store, const char *name,
                                      struct blob *data, struct error *err);
MUST_USE enum status fw_cfg_add_file(struct fw_cfg_store *store, const char *name, const void *data,
                                     u64 size, struct error *err);

/* Sorts the files and makes the directory item; nothing can be added any more. Idempotent. */
MUST_USE enum status fw_cfg_seal(struct fw_cfg_store *store, struct error *err);
/* The item of key in a sealed store, or NULL. */
const struct blob *fw_cfg_find(const struct fw_cfg_store *store, u16 key);
/* The file's bytes, or NULL. */
const struct blob *fw_cfg_find_file(const struct fw_cfg_store *store, const char *name);

struct fw_cfg_config {
    struct fw_cfg_store *store; /* sealed by init; outlives the device */
};

struct fw_cfg {
    const struct fw_cfg_store *store;
    struct physmap *map;
    struct log *log;
    u64 offset;   /* of the next byte in the selected item */
    u32 dma_high; /* high half of the next DMA descriptor's address */
    u16 selector; /* enum fw_cfg_key */
};

/* Its config is a struct fw_cfg_config. */
extern const struct device_type fw_cfg_type;
