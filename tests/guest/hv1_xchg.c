/* SPDX-License-Identifier: MIT
 *
 * XCHG with memory is atomic without LOCK, on every path: what Microsoft's knowledge base says of
 * guests whose hypervisor emulated it in two steps. Names begin with the test's ID in the project's
 * hv1-checklist, section 7. hammer.c does the same to all other locked instructions.
 *
 * A token lies in memory. Who gets it by XCHG holds it alone, and puts it back by XCHG. `-append
 * long` hands it on ten million times.
 */
#include "lib/crossings.h"
#include "lib/hv1.h"

void *hv_page;
static u32 cpus;

enum { VA = 0x70000000, LINE = 64, PAGE = 4096, TESTDEV_MMIO = 0xff000000, SELF_VECTOR = 0xd5 };
enum kind { PLAIN, CODE, WATCHED, STEPPED, OVERLAY };

static const struct place {
    const char *name;
    u32 offset; /* in two pages */
    enum kind kind;
    u32 rounds;
} places[] = {
    {"X-01 aligned", 256, PLAIN, 40000},
    {"X-02 misaligned in its line", 257, PLAIN, 40000},
    {"X-02 across a line", 8 * LINE - 1, PLAIN, 10000},
    {"X-02 across a page", PAGE - 1, PLAIN, 10000},
    {"X-03 in a page whose code runs", 256, CODE, 4000},
    {"X-03 across a line, in a page whose code runs", 8 * LINE - 1, CODE, 1000},
    {"X-03 in a watched page", 256, WATCHED, 4000},
    {"X-03 by a processor that single-steps", 256, STEPPED, 1000},
    {"X-03 in a page of event flags", 256, OVERLAY, 20000},
    {"X-03 misaligned, in a page of event flags", 257, OVERLAY, 20000},
    {"X-03 from a page of event flags to memory", PAGE - 1, OVERLAY, 2000},
};

static const struct place *place;
static volatile u8 *at;
static u32 size;
static u64 token;
static u32 times = 1;
static volatile u32 holders, wrong, arrived;
static volatile u64 gets;
static struct crossings crossings; /* the token's ways from one processor to another */

#define SWAP(type)                                                                                 \
    {                                                                                              \
        type v = (type)value;                                                                      \
        asm volatile("xchg %0, %1" : "+q"(v), "+m"(*(type *)at)::"memory");                        \
        return v;                                                                                  \
    }

static u64 swap(u64 value)
{
    switch (size) {
    case 1: SWAP(u8)
    case 2: SWAP(u16)
    case 4: SWAP(u32)
    default: SWAP(u64)
    }
}

static void error(void)
{
    __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
}

static void take_and_put_back(u32 cpu, struct lock_watch *watch)
{
    u64 got = swap(0);

    if (!got) {
        lock_lost(&crossings, watch, gets); /* a token that somebody tore is found by nobody */
        return;
    }
    if (got != token || __atomic_fetch_add(&holders, 1, __ATOMIC_SEQ_CST) != 0)
        error();
    gets = gets + 1;
    crossings_step(&crossings, cpu);
    __atomic_fetch_sub(&holders, 1, __ATOMIC_SEQ_CST);
    if (swap(token) != 0)
        error();
}

static void step(bool on)
{
    if (on)
        asm volatile("pushfq; orl $0x100, (%%rsp); popfq" ::: "memory", "cc");
    else
        asm volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static void on_step(struct frame *f)
{
    (void)f;
}

/* Every processor until the token was had often enough. */
static bool go_on(void)
{
    return !crossings.lost && (gets < place->rounds * times || !crossings_enough(&crossings));
}

static void pass_token(ulong cpu)
{
    struct lock_watch watch = {0};

    if (place->kind == WATCHED && cpu == 0) {
        write_db0(VA + 2000); /* never touched */
        write_db7(0xd0402);   /* G0, writes, 4 bytes */
    }
    __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
    while (arrived < cpus)
        pause();
    if (place->kind == STEPPED && cpu == 0)
        step(true);
    for (u32 n = 0; go_on(); n++) {
        take_and_put_back((u32)cpu, &watch);
        if (place->kind == CODE && n % 8 == cpu)
            asm volatile("call *%0" ::"r"(VA + 3000ul) : "memory", "cc");
    }
    if (place->kind == STEPPED && cpu == 0)
        step(false);
    if (place->kind == WATCHED && cpu == 0)
        write_db7(0x400);
}

static void pass_token_everywhere(const char *name)
{
    token = 0x8182838485868788ull >> (64 - size * 8);
    swap(token);
    holders = wrong = arrived = 0;
    gets = 0;
    crossings_begin(&crossings, CROSSINGS, CROSSINGS_US);
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, pass_token, n);
    pass_token(0);
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
    check_eq(wrong, 0, "%s, %u bytes: one holder", name, size);
    check(!crossings.lost, "%s, %u bytes: it goes round", name, size);
    check_eq(swap(0), token, "%s, %u bytes: the token is still there", name, size);
}

static void memory(u8 *data)
{
    page_map(VA, (ulong)data | PTE_P | PTE_W);
    page_map(VA + PAGE, ((ulong)data + PAGE) | PTE_P | PTE_W);
    for (u32 p = 0; p < ARRAY_SIZE(places); p++) {
        place = &places[p];
        if (place->kind == OVERLAY)
            wrmsr(HV_SIEFP, (ulong)data | 1);
        for (size = 1; size <= 8; size *= 2) {
            at = (volatile u8 *)VA + place->offset;
            if (size == 1 && (place->offset + 1) % LINE == 0)
                continue;      /* one byte crosses nothing */
            data[3000] = 0xc3; /* RET */
            memset((void *)at, 0, size);
            pass_token_everywhere(place->name);
        }
        wrmsr(HV_SIEFP, 0);
    }
}

static bool has_testdev(void)
{
    volatile u32 *scratch = (volatile u32 *)TESTDEV_MMIO;

    *scratch = 0x12345678;
    return *scratch == 0x12345678;
}

static void device(void)
{
    static const struct place in_device = {"", 0, PLAIN, 2000};

    if (!has_testdev()) {
        check_skip("X-04 in a device", "there is no pc-testdev");
        return;
    }
    place = &in_device;
    at = (volatile u8 *)TESTDEV_MMIO;
    for (size = 1; size <= 8; size *= 2) {
        *(volatile u64 *)at = 0;
        pass_token_everywhere("X-04 in a device");
    }
}

static volatile u32 self_interrupts[CPUS_MAX], self_wrong[CPUS_MAX];

static void on_self(struct frame *f)
{
    (void)f;
    self_interrupts[rdmsr(HV_VP_INDEX)]++;
    lapic_write(0xb0, 0);
}

/* One read, which gives what was written last, and one write, which sends one interrupt. */
static void swap_icr(ulong cpu)
{
    const u32 count = 500;
    u32 bad = 0, last = 0x40000 | SELF_VECTOR;

    self_interrupts[cpu] = 0;
    asm volatile("sti");
    lapic_write(0x300, last);
    for (u32 n = 0; n < count; n++) {
        u32 value = 0x40000 | SELF_VECTOR | (n & 1) << 14;

        asm volatile("xchg %0, (%1)"
                     : "=r"(value)
                     : "r"((ulong)LAPIC_DEFAULT + 0x300), "0"(value)
                     : "memory");
        bad += (value & ~0x1000u) != last;
        last = 0x40000 | SELF_VECTOR | (n & 1) << 14;
        bad += self_interrupts[cpu] != n + 2;
    }
    if (cpu == 0)
        asm volatile("cli");
    self_wrong[cpu] = bad;
}

static void icr(void)
{
    trap_set_handler(SELF_VECTOR, on_self);
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, swap_icr, n);
    swap_icr(0);
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
    for (u32 n = 0; n < cpus; n++)
        check_eq(self_wrong[n], 0, "X-04 the ICR of processor %u: one read, one write", n);
}

void guest_main(void)
{
    u8 *data = page_alloc();

    page_alloc();
    cpus = smp_start();
    hv_enable(page_alloc());
    trap_set_handler(DB, on_step);
    if (guest_option("long"))
        times = 250;
    memory(data);
    device();
    icr();
}
