/* SPDX-License-Identifier: MIT
 *
 * Guest RAM and its page records.
 *
 * A record has 16 bytes and every change that must be seen as one (marking code: granule bits and
 * PAGE_CODE; invalidating: granule bits, PAGE_CODE and the generation) is one 16-byte
 * compare-exchange. So a mark is never lost to an invalidation that runs at the same time: either
 * the invalidation takes it along and raises the generation, or it happens before the mark.
 * Records live in untouched anonymous memory, so that big guests cost what they use.
 */
#include "mem/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/base/log.h"
#include "mem/base/memory_file.h"

union page_image {
    struct ram_page page;
    u128 bits;
};

static_assert(sizeof(struct ram_page) == 16, "a record is one 16-byte compare-exchange");
static_assert(offsetof(struct ram_page, generation) == 8, "generation and flags share a word");
static_assert(GRANULES == 64, "one granule bit per bit of a u64");

enum status ram_create(struct ram *ram, u64 size, struct error *err)
{
    enum status status;

    *ram = (struct ram){.fd = -1};
    if (!size || size % PAGE_SIZE || size >> 52)
        return error_set(err, ST_INVALID, "RAM of %llu bytes is not a positive multiple of 4096.",
                         (unsigned long long)size);
    ram->fd = memory_file_create("lockstep-ram", size);
    if (ram->fd < 0)
        goto fail;
    ram->hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ram->fd, 0);
    if (ram->hva == MAP_FAILED) {
        ram->hva = NULL;
        goto fail;
    }
    ram->size = size;
    ram->pages = mmap(NULL, size / PAGE_SIZE * sizeof(struct ram_page), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram->pages == MAP_FAILED) {
        ram->pages = NULL;
        goto fail;
    }
    ram->hits = calloc(RAM_HITS, sizeof(*ram->hits));
    if (!ram->hits)
        goto fail;
    return ST_OK;

fail:
    status = error_set(err, ST_NO_MEMORY,
                       "The host gives no %llu MiB of address space for guest RAM (%s); "
                       "use a smaller -m.",
                       (unsigned long long)(size >> 20), strerror(errno));
    ram_destroy(ram);
    return status;
}

void ram_destroy(struct ram *ram)
{
    free(ram->hits);
    if (ram->pages)
        munmap(ram->pages, ram->size / PAGE_SIZE * sizeof(struct ram_page));
    if (ram->hva)
        munmap(ram->hva, ram->size);
    if (ram->fd >= 0)
        close(ram->fd);
    *ram = (struct ram){.fd = -1};
}

u64 ram_page_of(const struct ram *ram, const void *hva)
{
    check(ram_contains(ram, hva), "host address %p is not in guest RAM", hva);
    return (u64)((const u8 *)hva - ram->hva) >> PAGE_SHIFT;
}

static struct ram_page *page_record(const struct ram *ram, const void *hva)
{
    return &ram->pages[ram_page_of(ram, hva)];
}

/* Reads both halves; a torn pair only makes the compare-exchange after it fail. */
static union page_image page_read(const struct ram_page *page)
{
    union page_image image = {0};
    u64 state = __atomic_load_n((const u64 *)&page->generation, __ATOMIC_SEQ_CST);

    image.page.code_granules = __atomic_load_n(&page->code_granules, __ATOMIC_SEQ_CST);
    image.page.generation = (u32)state;
    image.page.flags = (u32)(state >> 32);
    return image;
}

/* In assembly because compilers turn a 16-byte __atomic into a call of libatomic. */
static bool page_exchange(struct ram_page *page, union page_image old, union page_image new)
{
    bool done;
    u64 low = (u64)old.bits, high = (u64)(old.bits >> 64);

    asm volatile("lock cmpxchg16b %1"
                 : "=@ccz"(done), "+m"(*page), "+a"(low), "+d"(high)
                 : "b"((u64) new.bits), "c"((u64)(new.bits >> 64))
                 : "memory");
    return done;
}

bool ram_mark_code(struct ram *ram, const void *hva, unsigned size)
{
    struct ram_page *page = page_record(ram, hva);
    u64 offset = (u64)((const u8 *)hva - ram->hva) % PAGE_SIZE;
    union page_image old, new;

    check(size && offset + size <= PAGE_SIZE, "code mark of %u bytes at %p", size, hva);
    do {
        old = page_read(page);
        new = old;
        new.page.code_granules |= ram_granules(offset, size);
        new.page.flags |= PAGE_CODE;
    } while (!page_exchange(page, old, new));
    return !(old.page.flags & PAGE_CODE);
}

/* Appends to the log. A reader that sees the new epoch sees the hit. */
static void log_hit(struct ram *ram, u64 page, u64 granules)
{
    struct ram_hit *hit;

    while (__atomic_exchange_n(&ram->hit_lock, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
    hit = &ram->hits[ram->code_epoch % RAM_HITS];
    __atomic_store_n(&hit->page, page, __ATOMIC_RELAXED);
    __atomic_store_n(&hit->granules, granules, __ATOMIC_RELAXED);
    __atomic_store_n(&ram->code_epoch, ram->code_epoch + 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&ram->hit_lock, 0, __ATOMIC_RELEASE);
}

/* The entry may be overwritten as soon as the log has gone round, so that is looked at last. */
bool ram_hit(const struct ram *ram, u64 epoch, struct ram_hit *hit)
{
    const struct ram_hit *from = &ram->hits[epoch % RAM_HITS];

    hit->page = __atomic_load_n(&from->page, __ATOMIC_ACQUIRE);
    hit->granules = __atomic_load_n(&from->granules, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&ram->code_epoch, __ATOMIC_ACQUIRE) - epoch < RAM_HITS;
}

/* One page of ram_written(). */
static bool page_written(struct ram *ram, struct ram_page *page, u64 mask)
{
    union page_image old, new;

    do {
        old = page_read(page);
        if (!(old.page.flags & PAGE_CODE) || !(old.page.code_granules & mask))
            return false;
        new = old;
        new.page.code_granules &= ~mask;
        new.page.generation++;
        if (!new.page.code_granules)
            new.page.flags &= ~(u32)PAGE_CODE;
    } while (!page_exchange(page, old, new));
    log_hit(ram, (u64)(page - ram->pages), old.page.code_granules & mask);
    if (ram->code_written)
        ram->code_written(ram->opaque);
    return true;
}

bool ram_written(struct ram *ram, const void *hva, u64 size)
{
    u64 at = (u64)((const u8 *)hva - ram->hva);
    bool hit = false;

    if (!size)
        return false;
    check(at < ram->size && size <= ram->size - at, "store of %llu bytes at %p is not in guest RAM",
          (unsigned long long)size, hva);
    /* The store must be visible before the flags are read: an engine marks first and then reads. */
    asm volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
    while (size) {
        struct ram_page *page = &ram->pages[at >> PAGE_SHIFT];
        u64 offset = at % PAGE_SIZE;
        u64 n = size < PAGE_SIZE - offset ? size : PAGE_SIZE - offset;

        if (unlikely(__atomic_load_n(&page->flags, __ATOMIC_RELAXED) & PAGE_CODE))
            hit |= page_written(ram, page, ram_granules(offset, n));
        at += n;
        size -= n;
    }
    return hit;
}

u32 ram_flags(const struct ram *ram, const void *hva)
{
    return __atomic_load_n(&page_record(ram, hva)->flags, __ATOMIC_SEQ_CST);
}

bool ram_note_writer(struct ram *ram, const void *hva)
{
    struct ram_page *page = page_record(ram, hva);
    u32 old = __atomic_fetch_or(&page->flags, PAGE_WRITE_TLB, __ATOMIC_SEQ_CST);

    return !(old & (PAGE_CODE | PAGE_DIRTY_LOG));
}

bool ram_has_writers(const struct ram *ram, const void *hva, u64 *stamp)
{
    const struct ram_page *page = page_record(ram, hva);

    *stamp = __atomic_load_n((const u64 *)&page->generation, __ATOMIC_SEQ_CST);
    return *stamp >> 32 & PAGE_WRITE_TLB;
}

void ram_writers_dropped(struct ram *ram, const void *hva, u64 stamp)
{
    u64 *state = (u64 *)&page_record(ram, hva)->generation;

    if (stamp >> 32 & (PAGE_CODE | PAGE_DIRTY_LOG))
        __atomic_compare_exchange_n(state, &stamp, stamp & ~((u64)PAGE_WRITE_TLB << 32), false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}
