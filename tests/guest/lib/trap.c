/* SPDX-License-Identifier: MIT
 *
 * Tables of the processor, the C side of every exception, and contexts. One context runs at a time:
 * current points at it from context_run() until whatever trap ends it.
 */
#include "guest.h"

struct gate idt[256] __attribute__((aligned(16)));
struct tss tss __attribute__((aligned(4096)));
struct table_pointer idt_pointer = {sizeof(idt) - 1, (ulong)idt};
volatile struct trap trap;
volatile ulong try_ip, trap_start, monitor_sp;
static trap_handler *handlers[256];
static struct context *current;
static u8 trap_stack[16384] __attribute__((aligned(16)));
u8 context_stack[2][8192] __attribute__((aligned(4096)));

void frame_enter(struct frame *frame);
void frame_leave(void) __attribute__((noreturn));
void trap_handle(struct frame *frame);
void guest_start(void) __attribute__((noreturn));

void idt_set(u32 vector, const void *entry, u16 selector, u8 type)
{
    ulong offset = (ulong)entry;

    idt[vector] = (struct gate){.offset_low = (u16)offset, .selector = selector, .type = type};
#ifdef __x86_64__
    idt[vector].offset_middle = (u16)(offset >> 16);
    idt[vector].offset_high = (u32)(offset >> 32);
    idt[vector].ist = 1;
#else
    idt[vector].offset_high = (u16)(offset >> 16);
#endif
}

u64 descriptor(ulong base, u32 limit, u8 access, u8 flags)
{
    return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
           (u64)(limit >> 16 & 0xf) << 48 | (u64)(flags & 0xf) << 52 |
           (u64)(base >> 24 & 0xff) << 56;
}

void descriptor_set(u16 selector, u64 value)
{
    *(volatile u64 *)&gdt[selector / 8] = value;
}

void trap_set_handler(u32 vector, trap_handler *handler)
{
    handlers[vector] = handler;
}

void trap_arm(void)
{
    trap = (struct trap){.vector = NO_TRAP};
}

static bool from_outer(const struct frame *f)
{
    return LONG_MODE || (f->cs & 3) != 0 || (f->flags & FL_VM) != 0;
}

static void context_save(struct context *c, const struct frame *f)
{
    c->ax = f->ax, c->cx = f->cx, c->dx = f->dx, c->bx = f->bx;
    c->bp = f->bp, c->si = f->si, c->di = f->di;
    c->ip = f->ip, c->flags = f->flags, c->cs = f->cs & 0xffff;
    c->ds = f->ds & 0xffff, c->es = f->es & 0xffff;
    c->fs = f->fs & 0xffff, c->gs = f->gs & 0xffff;
    c->sp = from_outer(f) ? f->sp : (ulong)&f->sp;
    c->ss = from_outer(f) ? f->ss & 0xffff : K_DS;
    c->vector = f->vector, c->error = f->error;
    c->cr2 = read_cr2(), c->dr6 = read_db6();
#ifdef __x86_64__
    c->r8 = f->r8, c->r9 = f->r9, c->r10 = f->r10, c->r11 = f->r11;
    c->r12 = f->r12, c->r13 = f->r13, c->r14 = f->r14, c->r15 = f->r15;
#else
    if (f->flags & FL_VM) {
        c->ds = f->v86_ds, c->es = f->v86_es;
        c->fs = f->v86_fs, c->gs = f->v86_gs;
    }
#endif
}

void trap_handle(struct frame *f)
{
    if (handlers[f->vector]) {
        handlers[f->vector](f);
    } else if (current) {
        context_save(current, f);
        current = NULL;
        frame_leave();
    } else if (try_ip != 0) {
        trap.vector = f->vector, trap.error = f->error, trap.ip = f->ip;
        trap.cr2 = read_cr2(), trap.dr6 = read_db6(), trap.flags = f->flags;
        trap.start = trap_start, trap.end = try_ip, trap.count++;
        f->ip = try_ip;
        f->flags &= ~(ulong)(FL_TF | FL_RF | FL_NT);
    } else {
        guest_panic("vector %lx error %lx at %lx:%lx flags %lx cr2 %lx", f->vector, f->error, f->cs,
                    f->ip, f->flags, read_cr2());
    }
}

struct context context_flat(u32 cpl)
{
    struct context c = {.ip = 0, .flags = FL_ONE, .cs = K_CS, .ss = K_DS};

    if (cpl == 3)
        c.cs = U_CS, c.ss = U_DS;
    c.ds = c.es = cpl == 3 ? U_DS : K_DS;
    c.fs = c.gs = c.ds;
    c.sp = (ulong)context_stack[cpl != 0] + sizeof(context_stack[0]) - 64;
    return c;
}

#ifdef __x86_64__
/* FS and GS are only loaded when they change: loading them changes their bases, too. */
static void load_fs_gs(const struct context *c)
{
    u16 fs, gs;

    asm volatile("mov %%fs, %0; mov %%gs, %1" : "=r"(fs), "=r"(gs));
    if (fs != (u16)c->fs)
        asm volatile("mov %0, %%fs" ::"r"((u32)c->fs));
    if (gs != (u16)c->gs)
        asm volatile("mov %0, %%gs" ::"r"((u32)c->gs));
}
#endif

void context_run(struct context *c)
{
    struct frame buffer = {0}, *f = &buffer;

    f->ip = c->ip, f->cs = c->cs, f->flags = c->flags | FL_ONE, f->sp = c->sp, f->ss = c->ss;
#ifdef __x86_64__
    f->r8 = c->r8, f->r9 = c->r9, f->r10 = c->r10, f->r11 = c->r11;
    f->r12 = c->r12, f->r13 = c->r13, f->r14 = c->r14, f->r15 = c->r15;
    load_fs_gs(c);
#else
    /* IRET to the same privilege leaves ESP after the frame: the frame goes onto that stack. */
    if (!from_outer(f)) {
        f = (struct frame *)(c->sp - __builtin_offsetof(struct frame, sp));
        f->ip = c->ip, f->cs = c->cs, f->flags = c->flags | FL_ONE;
    }
    if (c->flags & FL_VM) {
        f->v86_ds = c->ds, f->v86_es = c->es, f->v86_fs = c->fs, f->v86_gs = c->gs;
        f->ds = f->es = f->fs = f->gs = 0;
    }
#endif
    if (LONG_MODE || !(c->flags & FL_VM))
        f->ds = c->ds, f->es = c->es, f->fs = c->fs, f->gs = c->gs;
    f->ax = c->ax, f->cx = c->cx, f->dx = c->dx, f->bx = c->bx;
    f->bp = c->bp, f->si = c->si, f->di = c->di;
    write_db6(0xffff0ff0);
    current = c;
    frame_enter(f);
    barrier();
}

void context_at(struct context *c, const u8 *snippet)
{
    c->ip = c->base = (ulong)snippet;
    context_run(c);
}

bool cpu_is_intel(void)
{
    return cpuid(0, 0).b == 0x756e6547; /* "Genu" */
}

static void tables_start(void)
{
    for (u32 i = 0; i < 256; i++)
        idt_set(i, trap_entries[i], K_CS, PRESENT | INTERRUPT_GATE);
    for (u32 i = BP; i <= BR; i++)
        idt[i].type |= DPL3;
    idt[END].type |= DPL3;
    descriptor_set(TSS_SEL, descriptor((ulong)&tss, sizeof(tss) - 1, 0x89, 0));
    tss.io_base = __builtin_offsetof(struct tss, io_map);
    memset(tss.io_map, 0xff, sizeof(tss.io_map));
#ifdef __x86_64__
    tss.rsp[0] = tss.ist[0] = (ulong)trap_stack + sizeof(trap_stack);
#else
    tss.esp0 = (ulong)trap_stack + sizeof(trap_stack);
    tss.ss0 = K_DS;
#endif
    asm volatile("lidt %0; lldt %w2; ltr %w1" ::"m"(idt_pointer), "r"(TSS_SEL), "r"(0) : "memory");
}

void guest_start(void)
{
    tables_start();
    pic_start();
    outb(0x3fb, 3); /* COM1: 8 bits, divisor latch off */
#ifndef __x86_64__
    real_start();
#endif
    print("\n"); /* firmware leaves the cursor within a line */
    guest_main();
    guest_exit();
}
