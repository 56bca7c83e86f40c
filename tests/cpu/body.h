/* SPDX-License-Identifier: MIT
 *
 * One instruction body at a time in a machine of tests/cpu/machine.h, without the run loop; and
 * small pages for tests of faults.
 */
#pragma once

#include "cpu/access.h"
#include "cpu/insn.h"
#include "tests/cpu/machine.h"

enum {
    BODY_PAGES = 0x800000,     /* 2 MiB mapped by 4 KiB pages after body_page() */
    BODY_PAGE_TABLE = 0x100000 /* their page table */
};

static struct machine machine;

/* A fixture: a machine per test, in 64-bit mode. */
static inline void body_setup(void)
{
    machine_create(&machine);
    machine_start(&machine, MACHINE_LONG);
}

static inline void body_teardown(void)
{
    machine_destroy(&machine);
}

/* Runs the body of the instruction at v->rip; next_rip is set before and not committed after. */
static inline bool body_run(struct machine *m, const void *bytes, unsigned size)
{
    struct vcpu *v = m->v;
    const struct decode_ctx ctx = {.code_size = v->code_size, .protected_mode = vcpu_protected(v)};
    struct insn i;

    check(insn_decode(&ctx, bytes, size, &i) == DECODE_OK && i.len == size, "cannot decode");
    v->next_rip = v->rip + size;
    v->fault.pending = false;
    v->repeat = false;
    v->pending_db = 0;
    return insn_bodies[i.id](v, &i);
}
#define BODY(m, ...) body_run(m, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* Sets the entry of the small page of gla (long mode); flags 0 makes it not present. */
static inline void body_page(struct machine *m, u64 gla, u64 flags)
{
    const u64 entry = MACHINE_PML4 + 0x2000 + BODY_PAGES / (2 << 20) * 8;

    if (machine_get(m, entry, 8) & 0x80) {
        for (unsigned n = 0; n < 512; n++)
            machine_put_uint(m, BODY_PAGE_TABLE + n * 8, (BODY_PAGES + n * PAGE_SIZE) | 7, 8);
        machine_put_uint(m, entry, BODY_PAGE_TABLE | 7, 8);
    }
    machine_put_uint(m, BODY_PAGE_TABLE + (gla - BODY_PAGES) / PAGE_SIZE * 8,
                     flags ? (gla & PAGE_MASK) | flags : 0, 8);
    tlb_flush_all(&m->v->tlb);
}

/* The fault that was recorded: vector and error code in one number, -1 for none. */
static inline int body_fault(const struct machine *m)
{
    const struct fault *f = &m->v->fault;

    if (!f->pending)
        return -1;
    return (int)(f->vector | (f->has_error ? f->error << 8 : 0));
}
