/* SPDX-License-Identifier: MIT
 *
 * A CPU-only machine of the public library with 1 MiB of memory, ready to run a few bytes of code.
 *
 *   0x01000 page tables (six pages)   0x10000 code   0x20000 data   0x80000 stack top
 */
#pragma once

#include <check.h>
#include <pthread.h>
#include <string.h>

#include "include/lockstep.h"
#include "mem/base/types.h"
#include "tests/suite.h"

enum {
    LIB_TABLES = 0x1000,
    LIB_IDT = 0x8000,
    LIB_GDT = 0x9000,
    LIB_CODE = 0x10000,
    LIB_HANDLER = 0x18000,
    LIB_DATA = 0x20000,
    LIB_STACK = 0x80000,
    LIB_MEMORY = 0x100000,
};

#define OK(call)          ck_assert_int_eq(call, LOCKSTEP_OK)
#define FAILS(want, call) ck_assert_int_eq(call, want)

static inline struct lockstep_machine *lib_create(void)
{
    const struct lockstep_cpu_config config = {.size = sizeof(config)};
    struct lockstep_machine *m;
    struct lockstep_error error;

    ck_assert_msg(!lockstep_create_cpu(&config, &m, &error), "%s", error.text);
    OK(lockstep_map_memory(m, 0, LIB_MEMORY, LOCKSTEP_MEMORY_WRITE, NULL));
    return m;
}

static inline u64 lib_get(struct lockstep_machine *m, enum lockstep_register reg)
{
    u64 value = 0;

    OK(lockstep_get_register(m, 0, reg, &value));
    return value;
}

static inline void lib_set(struct lockstep_machine *m, enum lockstep_register reg, u64 value)
{
    ck_assert_msg(!lockstep_set_register(m, 0, reg, value), "%s", lockstep_error(m));
}

static inline u64 lib_load(struct lockstep_machine *m, u64 address, unsigned size)
{
    u64 value = 0;

    OK(lockstep_read_physical(m, address, &value, size));
    return value;
}

static inline void lib_store(struct lockstep_machine *m, u64 address, u64 value, unsigned size)
{
    OK(lockstep_write_physical(m, address, &value, size));
}

/* Enters a mode of 16, 32 or 64 bits at the code. In real mode CS and DS begin at their places. */
static inline void lib_start(struct lockstep_machine *m, unsigned bits, const void *code,
                             size_t size)
{
    OK(lockstep_write_physical(m, LIB_CODE, code, size));
    ck_assert_msg(!lockstep_enter_mode(m, 0, bits, LIB_TABLES), "%s", lockstep_error(m));
    if (bits == 16) {
        OK(lockstep_set_real_segment(m, 0, LOCKSTEP_CS, LIB_CODE >> 4));
        OK(lockstep_set_real_segment(m, 0, LOCKSTEP_DS, LIB_DATA >> 4));
        OK(lockstep_set_real_segment(m, 0, LOCKSTEP_ES, LIB_DATA >> 4));
        OK(lockstep_set_real_segment(m, 0, LOCKSTEP_SS, 0x7000));
    }
    lib_set(m, LOCKSTEP_RIP, bits == 16 ? 0 : LIB_CODE);
    lib_set(m, LOCKSTEP_RSP, bits == 16 ? 0xfff0 : LIB_STACK);
}

static inline struct lockstep_result lib_run(struct lockstep_machine *m, u64 budget)
{
    struct lockstep_result result = {.size = sizeof(result)};

    ck_assert_msg(!lockstep_run(m, budget, &result), "%s", lockstep_error(m));
    return result;
}

static inline struct lockstep_state lib_state(struct lockstep_machine *m)
{
    struct lockstep_state s = {.size = sizeof(s), .version = LOCKSTEP_STATE_VERSION};

    OK(lockstep_get_state(m, 0, LOCKSTEP_STATE_ALL, &s));
    return s;
}

/* A 64-bit IDT whose gates all lead to a HLT at LIB_HANDLER + 16 * vector, and its GDT. */
static inline void lib_handlers(struct lockstep_machine *m)
{
    struct lockstep_state s = lib_state(m);

    lib_store(m, LIB_GDT + 8, 0x00af9b000000ffff, 8);
    lib_store(m, LIB_GDT + 16, 0x00cf93000000ffff, 8);
    for (unsigned n = 0; n < 256; n++) {
        u64 handler = LIB_HANDLER + 16 * n;

        lib_store(m, LIB_IDT + 16 * n,
                  (handler & 0xffff) | 8 << 16 | 0x8eull << 40 | (handler >> 16) << 48, 8);
        lib_store(m, LIB_IDT + 16 * n + 8, 0, 8);
        lib_store(m, handler, 0xf4, 1);
    }
    s.gdtr = (struct lockstep_table){.base = LIB_GDT, .limit = 0x17};
    s.idtr = (struct lockstep_table){.base = LIB_IDT, .limit = 0xfff};
    OK(lockstep_set_state(m, 0, LOCKSTEP_STATE_SEGMENTS, &s));
}
