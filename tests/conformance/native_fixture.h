/* SPDX-License-Identifier: MIT
 *
 * A native host with a batch of cases, and cases of a few bytes of code. For one test program.
 */
#pragma once

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/native.h"

enum { BATCH = 64, CODE = ARENA_CODE + 0x100 };

static struct native_host *host;
static struct conform_case *cases; /* BATCH of them */
static struct conform_outcome *outcomes;
static struct error err;

static inline void setup(void)
{
    ck_assert_msg(native_host_create(&host, BATCH, &err) == ST_OK, "%s", err.text);
    cases = aligned_alloc(64, BATCH * sizeof(*cases));
    outcomes = aligned_alloc(64, BATCH * sizeof(*outcomes));
    memset(cases, 0, BATCH * sizeof(*cases));
    memset(outcomes, 0xa5, BATCH * sizeof(*outcomes));
}

static inline void teardown(void)
{
    native_host_destroy(host);
    free(cases);
    free(outcomes);
}

/* A case with the usual state of its mode; code as a string of bytes. */
static inline struct conform_case *prepare(struct conform_case *c, enum conform_mode mode,
                                           const char *code, u32 size)
{
    static const u16 cs[] = {SEL_CS64, SEL_CS32, SEL_CODE16};

    memset(c, 0, sizeof(*c));
    c->mode = (u8)mode;
    c->code_address = CODE;
    c->code_size = size;
    memcpy(c->code, code, size);
    c->in.rip = mode == MODE_16 ? CODE - ARENA_CODE : CODE;
    c->in.gpr[RSP] = mode == MODE_16 ? 0x1000 : ARENA_STACK + 0x1000;
    for (unsigned i = 0; i < CONFORM_SEGMENTS; i++)
        c->in.selector[i] = mode == MODE_16 ? SEL_DATA16 : SEL_FLAT;
    c->in.selector[SEG_CS] = cs[mode];
    c->in.selector[SEG_SS] = mode == MODE_16 ? SEL_STACK16 : SEL_FLAT;
    c->in.mxcsr = 0x1f80;
    c->in.x87[0] = 0x7f; /* FCW 037F */
    c->in.x87[1] = 0x03;
    return c;
}
#define PREPARE(mode, code) prepare(cases, mode, code, sizeof(code) - 1)

static inline struct conform_outcome *run(void)
{
    ck_assert_msg(native_host_run(host, cases, outcomes, 1, &err) == ST_OK, "%s", err.text);
    return outcomes;
}

/* Runs code in a mode with RAX, RCX, RDX set. */
static inline struct conform_outcome *run_code(enum conform_mode mode, const char *code, u32 size,
                                               u64 rax, u64 rcx, u64 rdx)
{
    struct conform_case *c = prepare(cases, mode, code, size);

    c->in.gpr[RAX] = rax;
    c->in.gpr[RCX] = rcx;
    c->in.gpr[RDX] = rdx;
    return run();
}
#define RUN(mode, code, rax, rcx, rdx) run_code(mode, code, sizeof(code) - 1, rax, rcx, rdx)

static inline void assert_ran(const struct conform_outcome *o, u32 size)
{
    ck_assert_uint_eq(o->vector, VEC_BP);
    ck_assert_uint_eq(o->error_code, 0);
    ck_assert_uint_eq(o->cr2, 0);
    ck_assert_uint_eq(o->out.rip, cases->in.rip + size + 1); /* behind the INT3 */
}
