/* SPDX-License-Identifier: MIT
 *
 * Contexts in real mode (32-bit images only): see real.asm.
 */
#include "guest.h"

enum { REAL_BASE = 0x9000, STUB_SIZE = 3 };

/* In the order of real.asm. */
struct real_registers {
    u32 ax, cx, dx, bx, sp, bp, si, di, ip, flags, cs, ss, ds, es, fs, gs, stub;
};

extern const u8 real_blob[], real_blob_end[], real_stubs[];
extern volatile struct real_registers real_registers;
void real_enter(u32 data_selector);

struct context context_real(void)
{
    return (struct context){.flags = FL_ONE, .sp = REAL_STACK, .ss = 0, .cs = 0};
}

void real_start(void)
{
    memcpy((void *)REAL_BASE, real_blob, (ulong)(real_blob_end - real_blob));
}

static void vectors_set(void)
{
    u32 volatile *table = NULL;

    asm volatile("" : "+r"(table)); /* address 0 is memory here */
    for (u32 i = 0; i < 256; i++)
        table[i] = (u32)(REAL_BASE >> 4) << 16 | ((u32)real_stubs + i * STUB_SIZE);
}

void real_run(struct context *c, const u8 *code, const u8 *end, bool big)
{
    volatile struct real_registers *r = &real_registers;

    memcpy((void *)REAL_CODE, code, (ulong)(end - code));
    vectors_set();
    c->base = c->ip = REAL_CODE;
    r->ax = c->ax, r->cx = c->cx, r->dx = c->dx, r->bx = c->bx;
    r->sp = c->sp, r->bp = c->bp, r->si = c->si, r->di = c->di;
    r->ip = c->ip, r->flags = c->flags, r->cs = c->cs, r->ss = c->ss;
    r->ds = c->ds, r->es = c->es, r->fs = c->fs, r->gs = c->gs;
    write_db6(0xffff0ff0);
    asm volatile("" ::: "memory");
    asm volatile("pushl %0; call real_enter; addl $4, %%esp" ::"r"(big ? K_DS : K_DS16) : "memory");
    c->ax = r->ax, c->cx = r->cx, c->dx = r->dx, c->bx = r->bx;
    c->sp = r->sp, c->bp = r->bp, c->si = r->si, c->di = r->di;
    c->ip = r->ip, c->flags = r->flags, c->cs = r->cs, c->ss = r->ss;
    c->ds = r->ds, c->es = r->es, c->fs = r->fs, c->gs = r->gs;
    c->vector = (r->stub - (u32)real_stubs) / STUB_SIZE - 1;
    c->error = 0, c->dr6 = read_db6(), c->cr2 = read_cr2();
}
