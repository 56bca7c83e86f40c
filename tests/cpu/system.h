/* SPDX-License-Identifier: MIT
 *
 * Helpers of the tests of segments, events, far transfers and tasks, on top of machine.h: a machine
 * per test, checks of recorded faults, selectors for descriptors under test.
 */
#pragma once

#include <check.h>

#include "cpu/exception.h"
#include "cpu/insn.h"
#include "cpu/segment.h"
#include "tests/cpu/machine.h"

enum { NO_ERROR = -1 };

/* Descriptors under test, all in the GDT. */
enum { SEL_A = SEL_FREE, SEL_B = SEL_FREE + 8, SEL_C = SEL_FREE + 16, SEL_D = SEL_FREE + 24 };

enum {
    DATA_RW = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | ATTR_DB | ATTR_G,
    CODE_RX = DATA_RW | ATTR_CODE,
    CODE_L = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | ATTR_CODE | ATTR_L | ATTR_G,
    DPL1 = 1 << ATTR_DPL_SHIFT,
    DPL2 = 2 << ATTR_DPL_SHIFT,
    DPL3 = 3 << ATTR_DPL_SHIFT,
};

static struct machine machine;
static struct vcpu *v;

static inline void system_setup(void)
{
    machine_create(&machine);
    v = machine.v;
}

static inline void system_teardown(void)
{
    machine_destroy(&machine);
}

/* The call failed with this fault; error: NO_ERROR for vectors without one. */
static inline void expect_fault(bool result, int vector, int error)
{
    ck_assert_msg(!result, "succeeded instead of vector %d", vector);
    ck_assert(v->fault.pending);
    ck_assert_int_eq(v->fault.vector, vector);
    ck_assert_int_eq(v->fault.has_error, error != NO_ERROR);
    if (error != NO_ERROR)
        ck_assert_uint_eq(v->fault.error, (u32)error);
    v->fault.pending = false;
}

static inline void expect_ok(bool result)
{
    ck_assert_msg(result, "vector %d error %#x instead of success", v->fault.vector,
                  v->fault.error);
}

/* Words of size bytes at linear address gla, from the lowest. */
static inline void expect_words(u64 gla, unsigned size, const u64 *want, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        ck_assert_msg(machine_get(&machine, gla + n * size, size) == want[n],
                      "word %u is %lx, not %lx", n, machine_get(&machine, gla + n * size, size),
                      want[n]);
}
#define EXPECT_WORDS(gla, size, ...)                                                               \
    expect_words(gla, size, (const u64[]){__VA_ARGS__},                                            \
                 sizeof((const u64[]){__VA_ARGS__}) / sizeof(u64))

/* Puts words of size bytes at gpa. */
static inline void put_words(u64 gpa, unsigned size, const u64 *value, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        machine_put_uint(&machine, gpa + n * size, value[n], size);
}
#define PUT_WORDS(gpa, size, ...)                                                                  \
    put_words(gpa, size, (const u64[]){__VA_ARGS__},                                               \
              sizeof((const u64[]){__VA_ARGS__}) / sizeof(u64))

/* Runs bytes in a mode and expects the stub of a vector to stop it; NO_VECTOR: its own HLT does. */
enum { NO_VECTOR = -1 };
static inline void expect_code(const u8 *bytes, size_t size, int vector)
{
    enum vcpu_exit exit;

    machine_code(&machine, bytes, size);
    exit = machine_run(&machine);
    ck_assert_int_eq(exit, EXIT_IDLE);
    ck_assert_int_eq(machine_vector(&machine), vector);
}
#define EXPECT_CODE(vector, ...)                                                                   \
    expect_code((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), vector)

/* The system descriptor of a call gate, in legacy (8 bytes) or long mode (16 bytes). */
static inline void put_call_gate(unsigned selector, u16 target, u64 offset, u32 attr,
                                 unsigned params)
{
    u64 low = (offset & 0xffff) | (u64)target << 16 | (u64)params << 32 | (u64)attr << 40 |
              (offset >> 16 & 0xffff) << 48;

    machine_put_uint(&machine, MACHINE_GDT + (selector & ~7u), low, 8);
    if (v->long_mode)
        machine_put_uint(&machine, MACHINE_GDT + (selector & ~7u) + 8, offset >> 32, 8);
}

/* Sets CPL with matching user segments, as if the program had been started there. */
static inline void set_user(unsigned cpl)
{
    v->seg[SEG_CS].selector = (u16)((v->seg[SEG_CS].selector & ~3) | cpl);
    vcpu_set_cpl(v, cpl);
}
