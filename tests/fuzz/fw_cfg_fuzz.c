/* SPDX-License-Identifier: MIT
 *
 * fw_cfg's DMA and PCI configuration space with any descriptors and register values. Neither may
 * change the store's items or the firmware image, whatever the memory map is made to look like.
 */
#include <xxhash.h>

#include "tests/fuzz/board.h"

enum { OP_SIZE = 24, OPS_MAX = 64 };
enum { PORT_SELECT = 0x510, PORT_DATA, PORT_DMA = 0x514, PORT_PCI_ADDRESS = 0xcf8, PORT_PCI_DATA };

static u64 immutable_hash(const struct machine *m)
{
    u64 hash = XXH3_64bits(m->firmware.image, m->firmware.size);

    for (unsigned n = 0; n < m->store.item_count; n++)
        hash ^= XXH3_64bits_withSeed(m->store.items[n].data.data, m->store.items[n].data.size, n);
    for (unsigned n = 0; n < m->store.file_count; n++)
        hash += XXH3_64bits_withSeed(m->store.files[n].data.data, m->store.files[n].data.size, n);
    return hash;
}

/* A place for a descriptor or a transfer: RAM, the edges of things, registers, or anywhere. */
static u64 place(unsigned how, u64 bits)
{
    switch (how & 7) {
    case 0: return bits & 0xfffff;
    case 1: return 0xa0000 - (bits & 0x1f);
    case 2: return MIB(1) - (bits & 0x1f);
    case 3: return 0xc0000 + (bits & 0x3ffff);
    case 4: return 0xfee00000 + (bits & 0xfff);
    case 5: return 0xfffc0000 + (bits & 0x3ffff);
    case 6: return -(bits & 0x1f);
    default: return bits;
    }
}

static void transfer(struct machine *m, const u8 *bytes)
{
    u64 descriptor = place(bytes[1], load_le(bytes + 4, 4));
    u8 raw[16];

    memcpy(raw, bytes + 8, 8); /* control and length */
    if (!(bytes[1] & 0x40))    /* mostly small */
        raw[4] = raw[5] = 0;
    store_le(raw + 8, __builtin_bswap64(place(bytes[1] >> 3, load_le(bytes + 16, 8))), 8);
    physmap_write(m->map, descriptor, raw, sizeof(raw));
    pio_write(&m->pio, PORT_DMA, __builtin_bswap32((u32)(descriptor >> 32)), 4);
    pio_write(&m->pio, PORT_DMA + 4, __builtin_bswap32((u32)descriptor), 4);
}

static void read_item(struct machine *m, const u8 *bytes)
{
    unsigned size = 1u << (bytes[1] & 1);

    pio_write(&m->pio, PORT_SELECT, load_le(bytes + 2, 2), 2);
    for (unsigned n = 0; n < bytes[4]; n++)
        pio_read(&m->pio, PORT_DATA - (bytes[1] >> 1 & 1), size);
    pio_write(&m->pio, PORT_SELECT + bytes[5] % 12, load_le(bytes + 6, 4), 1u << bytes[10] % 3);
}

static void configure(struct machine *m, const u8 *bytes)
{
    u32 address = (u32)load_le(bytes + 4, 4);
    unsigned size = 1u << (bytes[1] % 3);
    u16 port = (u16)(PORT_PCI_DATA + 3 + (bytes[1] >> 2 & 3));

    if (bytes[1] & 0x80) /* one of the devices that are there */
        address = 0x80000000u | (bytes[2] % 3) << 11 | (bytes[3] & 7) << 8 | bytes[4];
    pio_write(&m->pio, PORT_PCI_ADDRESS, address, 4);
    if (bytes[1] & 0x40)
        pio_read(&m->pio, port, size);
    else
        pio_write(&m->pio, port, load_le(bytes + 8, 4), size);
}

static void touch(struct machine *m, const u8 *bytes)
{
    u64 gpa = place(bytes[1], load_le(bytes + 4, 8)), value = load_le(bytes + 12, 8);
    u8 block[256];

    if (bytes[1] & 8)
        physmap_write_uint(m->map, gpa, value, 1u << (bytes[1] >> 4 & 3));
    else
        physmap_read(m->map, gpa, block, bytes[2]);
    pio_write(&m->pio, (u16)load_le(bytes + 20, 2), value, 1u << bytes[3] % 3);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct board b;
    u64 hash;

    board_create(&b);
    hash = immutable_hash(b.m);
    for (unsigned n = 0; n < OPS_MAX && in.left; n++) {
        u8 bytes[OP_SIZE];

        fuzz_bytes(&in, bytes, sizeof(bytes));
        switch (bytes[0] & 3) {
        case 0: transfer(b.m, bytes); break;
        case 1: read_item(b.m, bytes); break;
        case 2: configure(b.m, bytes); break;
        case 3: touch(b.m, bytes); break;
        }
        board_serve(&b);
    }
    check(immutable_hash(b.m) == hash, "the guest changed the firmware or a fw_cfg item");
    board_destroy(&b);
    return 0;
}

/* Reads, skips and selects of the first items; then each PCI register of each function; PAM and a
 * store into the ROM's place. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    static const u8 controls[] = {0x02, 0x0a, 0x04, 0x0c, 0x10, 0x18};
    size_t at = 0;

    if (n >= 12)
        return 0;
    for (unsigned k = 0; k < 32 && at + OP_SIZE <= capacity; k++) {
        u8 *bytes = data + at;

        memset(bytes, 0, OP_SIZE);
        bytes[0] = n < 6 ? 0 : 2;
        if (n < 6) {
            store_le(bytes + 4, 0x1000 + 16 * k, 4);
            bytes[9] = (u8)k; /* key */
            bytes[11] = controls[n];
            bytes[15] = (u8)(8 * k); /* length, big-endian */
            store_le(bytes + 16, 0x9ff00 + 8 * k, 8);
        } else {
            bytes[1] = (u8)(0x80 | (n & 1 ? 2 : 0) | (k & 3) << 2);
            bytes[2] = (u8)(n & 1);
            bytes[3] = (u8)(n / 2 - 3);
            bytes[4] = (u8)(8 * k);
            store_le(bytes + 8, 0x33333333, 4);
        }
        at += OP_SIZE;
    }
    return at;
}
