/* SPDX-License-Identifier: MIT
 *
 * Accesses to guest-physical memory of any kind and length: device DMA, page tables, and the slow
 * path of vCPU accesses.
 *
 * An access goes piece by piece, each as long as one range of the map; a handler may change the
 * map, so every piece after a handler call is resolved anew. Addresses from 2^52 on are holes, also
 * where an access would wrap around 2^64.
 */
#include <string.h>

#include "mem/base/pieces.h"
#include "mem/physmap_view.h"

/* The size of the next device access: the whole rest where a vCPU could make it so. */
static unsigned device_piece(u64 gpa, u64 size)
{
    return is_access_size(size) ? (unsigned)size : natural_piece(gpa, size);
}

static const struct io_lock *lock_for(const struct physmap *map, const struct resolved *r)
{
    static const struct io_lock none;

    return (r->ops->sizes & IO_OWN_THREAD) ? &none : &map->lock;
}

static unsigned device_read(struct physmap *map, u64 gpa, const struct resolved *r, u8 *to,
                            u64 size)
{
    unsigned n = device_piece(gpa, size);
    u64 value;

    io_acquire(lock_for(map, r));
    value = io_read(r->ops, r->self, r->page.offset + gpa % PAGE_SIZE, n);
    io_release(lock_for(map, r));
    if (log_on(map->log, LOG_MMIO))
        log_trace(map->log, LOG_MMIO, "mmio read 0x%llx %u -> 0x%llx (%s)", (unsigned long long)gpa,
                  n, (unsigned long long)value, r->name);
    store_le(to, value, n);
    return n;
}

static unsigned device_write(struct physmap *map, u64 gpa, const struct resolved *r, const u8 *from,
                             u64 size)
{
    unsigned n = device_piece(gpa, size);
    u64 value = load_le(from, n);

    if (log_on(map->log, LOG_MMIO))
        log_trace(map->log, LOG_MMIO, "mmio write 0x%llx %u <- 0x%llx (%s)",
                  (unsigned long long)gpa, n, (unsigned long long)value, r->name);
    io_acquire(lock_for(map, r));
    io_write(r->ops, r->self, r->page.offset + gpa % PAGE_SIZE, value, n);
    io_release(lock_for(map, r));
    return n;
}

bool physmap_read(struct physmap *map, u64 gpa, void *buffer, u64 size)
{
    bool mapped = true;
    u8 *to = buffer;

    while (size) {
        struct resolved r;
        u64 n;

        physmap_resolve(map, gpa, false, &r);
        n = r.left < size ? r.left : size;
        if (likely(r.page.hva)) {
            copy_from_guest(to, r.page.hva + gpa % PAGE_SIZE, n);
        } else if (r.ops) {
            n = device_read(map, gpa, &r, to, n);
        } else {
            memset(to, 0xff, n);
            mapped = false;
        }
        to += n;
        size -= n;
        if (unlikely(gpa + n < gpa)) { /* past the end of all addresses */
            memset(to, 0xff, size);
            return size ? false : mapped;
        }
        gpa += n;
    }
    return mapped;
}

bool physmap_write(struct physmap *map, u64 gpa, const void *buffer, u64 size)
{
    bool mapped = true;
    const u8 *from = buffer;

    while (size) {
        struct resolved r;
        u64 n;

        physmap_resolve(map, gpa, true, &r);
        n = r.left < size ? r.left : size;
        if (likely(r.page.hva)) {
            u8 *to = r.page.hva + gpa % PAGE_SIZE;

            copy_to_guest(to, from, n);
            if (ram_contains(map->ram, to))
                ram_written(map->ram, to, n);
        } else if (r.ops) {
            n = device_write(map, gpa, &r, from, n);
        } else if (!r.page.region) {
            mapped = false; /* a ROM swallows the bytes, too, but it is there */
        }
        from += n;
        size -= n;
        if (unlikely(gpa + n < gpa)) /* past the end of all addresses */
            return size ? false : mapped;
        gpa += n;
    }
    return mapped;
}

u64 physmap_read_uint(struct physmap *map, u64 gpa, unsigned size)
{
    u8 bytes[8] = {0};

    physmap_read(map, gpa, bytes, size);
    return load_le(bytes, 8);
}

void physmap_write_uint(struct physmap *map, u64 gpa, u64 value, unsigned size)
{
    u8 bytes[8];

    store_le(bytes, value, 8);
    physmap_write(map, gpa, bytes, size);
}

/* The RAM at gpa for both kinds of access, and how far it goes. */
static u8 *ram_run(const struct physmap *map, u64 gpa, u64 *left)
{
    struct resolved read, write;

    physmap_resolve(map, gpa, false, &read);
    physmap_resolve(map, gpa, true, &write);
    if (!read.page.hva || read.page.hva != write.page.hva || !ram_contains(map->ram, read.page.hva))
        return NULL;
    *left = read.left < write.left ? read.left : write.left;
    return read.page.hva + gpa % PAGE_SIZE;
}

void *physmap_ram_pointer(struct physmap *map, u64 gpa, u64 size)
{
    u64 left, at = 0;
    u8 *start = ram_run(map, gpa, &left);

    while (start && size - at > left) {
        at += left;
        if (gpa + at < gpa || ram_run(map, gpa + at, &left) != start + at)
            return NULL;
    }
    return start;
}
