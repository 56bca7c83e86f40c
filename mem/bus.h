/* SPDX-License-Identifier: MIT
 *
 * Device registers: the I/O port bus and the handler interface shared with MMIO.
 *
 * A handler gets an offset from the start of its claim and never learns where it is mapped. The bus
 * splits accesses that a handler does not take at that size, widens none, answers unclaimed
 * accesses (reads: all ones, writes: ignored) and refuses overlapping claims.
 */
#pragma once

#include "mem/base/log.h"
#include "mem/base/status.h"
#include "mem/base/types.h"

/* Sizes a handler accepts, as bits. */
enum access_sizes {
    SIZE_1 = 1,
    SIZE_2 = 2,
    SIZE_4 = 4,
    SIZE_8 = 8,
    SIZE_ANY = 15,      /* 1, 2, 4 and 8 */
    IO_OWN_THREAD = 16, /* with them: the handler looks at the calling vCPU's own state only (a
                           local APIC) and takes no lock */
};

/* read returns the value in the low size bytes; higher bits are ignored. offset is aligned to
 * nothing in particular unless the access was split. */
struct io_ops {
    u64 (*read)(void *self, u64 offset, unsigned size);
    void (*write)(void *self, u64 offset, u64 value, unsigned size);
    u8 sizes; /* enum access_sizes */
};

/* What keeps the threads of a machine apart while a handler runs. acquire() may be called again by
 * the thread that holds the lock. All NULL: there is one thread. */
struct io_lock {
    void (*acquire)(void *opaque);
    void (*release)(void *opaque);
    void *opaque;
};

static inline void io_acquire(const struct io_lock *lock)
{
    if (lock->acquire)
        lock->acquire(lock->opaque);
}

static inline void io_release(const struct io_lock *lock)
{
    if (lock->release)
        lock->release(lock->opaque);
}

/* Performs one access of size 1, 2, 4 or 8 through ops, splitting it into the largest accepted size
 * (lowest address first) where needed. A NULL read answers all ones, a NULL write ignores. */
u64 io_read(const struct io_ops *ops, void *self, u64 offset, unsigned size);
void io_write(const struct io_ops *ops, void *self, u64 offset, u64 value, unsigned size);

struct pio_claim {
    const struct io_ops *ops;
    void *self;
    const char *name;
    u16 base;
    u32 size;
};

/* 65,536 ports, one claim index each. */
struct pio_bus {
    struct pio_claim *claims; /* index 0 is "nobody" */
    unsigned count;
    unsigned capacity;
    u16 *owner; /* 65,536 claim indices */
    struct log *log;
    struct io_lock lock; /* held while ports are looked up and handlers run */
};

MUST_USE enum status pio_bus_create(struct pio_bus *bus, struct log *log, struct error *err);
void pio_bus_destroy(struct pio_bus *bus);
/* Claims ports [base, base+size). ST_OVERLAP if any is taken, ST_INVALID if empty or past 0xffff.
 * ops and name must outlive the bus. */
MUST_USE enum status pio_claim(struct pio_bus *bus, u16 base, u32 size, const struct io_ops *ops,
                               void *self, const char *name);
/* Gives back what self claimed at base; nothing happens if there is no such claim. */
void pio_release(struct pio_bus *bus, u16 base, void *self);
/* One guest access, size 1, 2 or 4; an access that runs over several claims is split at bytes. */
u64 pio_read(struct pio_bus *bus, u16 port, unsigned size);
void pio_write(struct pio_bus *bus, u16 port, u64 value, unsigned size);
