/* SPDX-License-Identifier: MIT
 *
 * Hv#1: reference time, the APIC's MSRs, the assist page, self-IPIs and idle. Names begin with the
 * test's ID in the project's hv1-checklist, section 7.
 *
 * The host may be elsewhere for milliseconds, so what is late is not counted; what is early is.
 */
#include "lib/hv1.h"

void *hv_page;
static u32 cpus;

enum { DIRECT_VECTOR = 0xd2, LOW_VECTOR = 0x41, HIGH_VECTOR = 0xe1, NEST_VECTOR = 0xe2 };
enum { LEVEL_VECTOR = 0x61, IO_APIC = 0xfec00000 };
enum { DIRECT = 1 << 12 | DIRECT_VECTOR << 4, X2APIC_TPR = 0x808, IRR = 0x200 };

static volatile u32 direct_interrupts;

static bool requested(u32 vector)
{
    return lapic_read(IRR + vector / 32 * 16) >> vector % 32 & 1;
}

static void on_direct(struct frame *f)
{
    (void)f;
    direct_interrupts++;
    wrmsr(HV_EOI, 0);
}

/* -- reference time -- */

struct tsc_page {
    volatile u32 sequence, reserved;
    volatile u64 scale;
    volatile i64 offset;
    u64 rest[509];
};

static struct tsc_page *tsc_page;

static u64 mulhi(u64 a, u64 b)
{
    u64 low, high;

    asm("mulq %3" : "=a"(low), "=d"(high) : "0"(a), "r"(b) : "cc");
    return high;
}

/* The TLFS's loop; ~0 where the page says that it is not valid. */
static u64 page_time(void)
{
    for (;;) {
        u32 sequence = tsc_page->sequence;
        u64 time;

        if (!sequence)
            return ~0ull;
        barrier();
        time = mulhi(rdtsc(), tsc_page->scale) + (u64)tsc_page->offset;
        barrier();
        if (tsc_page->sequence == sequence)
            return time;
    }
}

static volatile u32 warps;

/* page, counter, page. */
static void no_warps(ulong milliseconds)
{
    u64 end = now() + milliseconds * MS, last = 0;

    while (last < end) {
        u64 first = page_time(), counter = now(), second = page_time();

        if (first < last || counter < first || second < counter)
            warps++;
        last = second;
    }
}

static volatile u32 ticket_lock;
static volatile u64 last_time, last_tsc;

/* everybody takes the lock and must not see time, or the TSC, go back. */
static void take_turns(ulong rounds)
{
    while (rounds--) {
        u64 time, tsc;

        while (__atomic_exchange_n(&ticket_lock, 1, __ATOMIC_ACQUIRE))
            pause();
        time = now();
        tsc = rdtsc();
        if (time < last_time || tsc < last_tsc)
            warps++;
        last_time = time;
        last_tsc = tsc;
        __atomic_store_n(&ticket_lock, 0, __ATOMIC_RELEASE);
    }
}

static void on_all(smp_fn *fn, ulong arg)
{
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, fn, arg);
    fn(arg);
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
}

static void reference_page(u8 *page)
{
    u64 hz = rdmsr(HV_TSC_FREQUENCY), a, b, product;

    check_msr_gp(HV_TIME_REF_COUNT, true, 0, "R-01");
    memset(page, 0x5a, 4096);
    wrmsr(HV_REFERENCE_TSC, (ulong)page | 1);
    tsc_page = (struct tsc_page *)page;
    check(tsc_page->sequence != 0 && tsc_page->sequence != ~0u, "R-04 the page is valid");
    product = mulhi(tsc_page->scale, hz);
    check(product == 9999999 || product == 10000000, "R-04 scale: %llu", product);
    check(tsc_page->reserved == 0 && tsc_page->rest[0] == 0 && tsc_page->rest[508] == 0,
          "R-04 the rest is zero");
    TRY("movl $1, (%0)", ::"r"(page) : "memory");
    check_fault(GP, 0, "R-04 a store");
    check(msr_try_write(HV_REFERENCE_TSC, ~0ull << 12 | 1), "R-04 a bad address is no fault");
    check(page[0] == 0x5a, "R-04 memory is back");
    wrmsr(HV_REFERENCE_TSC, (ulong)page | 1);
    a = now();
    delay_us(1);
    b = now();
    check(b > a, "R-02 larger after a microsecond");
    warps = 0;
    on_all(no_warps, 1000);
    check_eq(warps, 0, "R-03 page and counter agree everywhere");
    last_time = last_tsc = 0;
    on_all(take_turns, 5000);
    check_eq(warps, 0, "R-02, R-05 neither goes back over processors");
    check_eq(cpuid(0x80000007, 0).d >> 8 & 1, 1, "R-06 invariant TSC");
}

/* Counter, TSC and ACPI timer at one time: the closest of many readings. */
struct reading {
    u64 time, tsc;
    u32 pm;
};

static struct reading read_all(void)
{
    struct reading best = {0};
    u64 least = ~0ull;

    for (u32 n = 0; n < 100; n++) {
        struct reading r = {.time = now(), .tsc = rdtsc(), .pm = pm_timer()};
        u64 took = now() - r.time;

        if (took < least) {
            least = took;
            best = r;
        }
    }
    return best;
}

static void rates(u32 ticks, const char *when)
{
    struct reading from = read_all(), to;
    u64 pm, want;
    u32 rest;

    while (((pm_timer() - from.pm) & 0xffffff) < ticks)
        pause();
    to = read_all();
    pm = (to.pm - from.pm) & 0xffffff;
    want = divide_u64(pm * 10000000, PM_HZ, &rest);
    check(within(to.time - from.time, want), "R-01 the counter's rate%s: %llu for %llu", when,
          to.time - from.time, want);
    want = divide_u64(pm * rdmsr(HV_TSC_FREQUENCY), PM_HZ, &rest);
    check(within(to.tsc - from.tsc, want), "R-06 the TSC's rate%s: %llu for %llu", when,
          to.tsc - from.tsc, want);
}

static volatile bool resting;

static void work(ulong unused)
{
    (void)unused;
    while (!resting)
        barrier();
}

/* With four of them, all others at work are more than the host has processors. */
static void constant_rates(void)
{
    pm_timer_start();
    rates(2 * PM_HZ, "");
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, work, 0);
    rates(PM_HZ / 2, " under load");
    resting = true;
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
}

static void add_to_tsc(ulong delta)
{
    wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) + delta);
}

/* TSCs that differ make the page invalid, a common one makes it valid again. */
static void moved_tsc(void)
{
    u32 sequence = tsc_page->sequence;
    u64 before = now(), counter;

    add_to_tsc(1ull << 40);
    if (cpus > 1) {
        check_eq(tsc_page->sequence, 0, "R-08 one odd TSC: not valid");
        counter = now();
        check(counter >= before && counter < before + 5000 * MS, "R-08 the counter goes on");
        for (u32 n = 1; n < cpus; n++)
            smp_run(n, add_to_tsc, 1ull << 40);
    }
    check(tsc_page->sequence != 0 && tsc_page->sequence != sequence, "R-07 a new sequence");
    counter = now();
    check(counter >= before && counter < before + 5000 * MS, "R-07 time has not jumped");
    check(page_time() - counter < 100 * MS, "R-07 the page agrees");
    warps = 0;
    on_all(no_warps, 50);
    check_eq(warps, 0, "R-07 nor after it");
    for (u32 n = 0; n < cpus; n++)
        smp_run(n, add_to_tsc, -(1ull << 40));
    check(tsc_page->sequence != 0, "R-07 back");
}

/* -- the local APIC's MSRs -- */

static volatile u32 low_count, high_count, level_count, order, low_order, high_order;
static volatile u32 *assist;
static volatile u32 assist_seen, skip_eoi, high_seen;

static void end_interrupt(void)
{
    assist_seen = assist ? assist[0] : 0;
    if (skip_eoi && assist) {
        u8 was;

        asm volatile("btrl $0, %1; setc %0" : "=r"(was), "+m"(assist[0])::"cc", "memory");
        if (was)
            return;
    }
    asm volatile("wrmsr" ::"c"(HV_EOI), "a"(0x12345678), "d"(0x9abcdef0) : "memory");
}

static void on_low(struct frame *f)
{
    (void)f;
    low_count++;
    low_order = ++order;
    end_interrupt();
}

static void on_high(struct frame *f)
{
    (void)f;
    high_count++;
    high_order = ++order;
    end_interrupt();
    high_seen = assist_seen;
}

static volatile u32 remote_count;

static void on_remote(struct frame *f)
{
    (void)f;
    remote_count++;
    wrmsr(HV_EOI, 0);
}

static u64 icr_of(u32 cpu, bool x2apic)
{
    return (u64)cpu << (x2apic ? 32 : 56);
}

static void apic_msrs(bool x2apic)
{
    const char *id = x2apic ? "I-04 x2APIC:" : "I-01..3";

    low_count = 0;
    wrmsr(HV_ICR, icr_of(0, x2apic) | LOW_VECTOR);
    asm volatile("sti; nop; nop; cli");
    check_eq(low_count, 1, "%s ICR to itself", id);
    wrmsr(HV_ICR, icr_of(0, x2apic) | LOW_VECTOR);
    asm volatile("sti; nop; nop; cli");
    check_eq(low_count, 2, "%s EOI with garbage ended the first", id);
    check_eq(rdmsr(HV_ICR), icr_of(0, x2apic) | LOW_VECTOR, "%s ICR reads back", id);
    check_msr_gp(HV_EOI, false, 0, id);
    if (cpus > 1) {
        u64 end = now() + 5000 * MS;

        remote_count = 0;
        trap_set_handler(0xd3, on_remote);
        wrmsr(HV_ICR, icr_of(1, x2apic) | 0xd3);
        while (!remote_count && now() < end)
            pause();
        check_eq(remote_count, 1, "%s ICR to another", id);
    }
    wrmsr(HV_TPR, 0x50);
    if (!x2apic)
        check_eq(lapic_read(0x80), 0x50, "%s TPR in memory", id);
    else
        check_eq(rdmsr(X2APIC_TPR), 0x50, "%s TPR as MSR", id);
    {
        u64 cr8;

        asm volatile("mov %%cr8, %0" : "=r"(cr8));
        check_eq(cr8, 5, "%s TPR is CR8", id);
        asm volatile("mov %0, %%cr8" ::"r"(7ul));
    }
    check_eq(rdmsr(HV_TPR), 0x70, "%s CR8 is TPR", id);
    wrmsr(HV_TPR, 0);
}

/* A lower one that comes while the bit is set takes it back; the handler then ends its interrupt by
 * EOI, and the lower one follows. */
static void on_nesting(struct frame *f)
{
    (void)f;
    high_count++;
    high_order = ++order;
    assist_seen = assist[0];
    wrmsr(HV_ICR, LOW_VECTOR);
    high_seen = assist[0];
    end_interrupt();
}

static void nested_interrupts(void)
{
    trap_set_handler(NEST_VECTOR, on_nesting);
    low_count = high_count = order = 0;
    wrmsr(HV_ICR, NEST_VECTOR);
    asm volatile("sti; nop; nop; cli");
    check_eq(high_count, 1, "I-06 an interrupt during which a lower one comes");
    check_eq(high_seen & 1, 0, "I-06 the bit is taken back");
    check_eq(low_count, 1, "I-06 the lower one follows");
    check(high_order < low_order, "I-06 after it");
    check_eq(in_service(NEST_VECTOR) + in_service(LOW_VECTOR), 0, "I-06 both have ended");
}

/* The 8254 at input 2 of the I/O APIC, as a level interrupt: its line stays high in mode 0. */
static void io_apic_write(u32 index, u32 value)
{
    *(volatile u32 *)(ulong)IO_APIC = index;
    *(volatile u32 *)(ulong)(IO_APIC + 0x10) = value;
}

static void on_level(struct frame *f)
{
    (void)f;
    level_count++;
    assist_seen = assist[0];
    io_apic_write(0x10 + 2 * 2, 1 << 16);
    lapic_write(0xb0, 0);
}

static void level_interrupt(void)
{
    trap_set_handler(LEVEL_VECTOR, on_level);
    level_count = 0;
    assist_seen = 99;
    pit_program(0, 0, 1000);
    io_apic_write(0x11 + 2 * 2, 0);
    io_apic_write(0x10 + 2 * 2, 1 << 15 | LEVEL_VECTOR);
    pass_until(&level_count, 1);
    check_eq(level_count, 1, "I-06 a level interrupt");
    check_eq(assist_seen & 1, 0, "I-06 never sets the bit");
    check_eq(in_service(LEVEL_VECTOR), 0, "I-06 its EOI ends it");
}

static void assist_page(u8 *page)
{
    memset(page, 0x5a, 4096);
    wrmsr(HV_VP_ASSIST, (ulong)page | 1);
    check(page[0] == 0 && page[4] == 0, "I-05 the page appears, empty");
    page[64] = 1;
    *(u32 *)page = 0xffffffff;
    wrmsr(HV_VP_ASSIST, (ulong)page);
    check(page[0] == 0x5a, "I-05 memory is back");
    wrmsr(HV_VP_ASSIST, (ulong)page | 1);
    check(*(u32 *)page == 0 && page[64] == 1, "I-05 the first field is cleared, the rest kept");
    assist = (volatile u32 *)page;
    skip_eoi = 1;
    low_count = high_count = order = 0;
    for (u32 n = 1; n <= 3; n++) {
        wrmsr(HV_ICR, LOW_VECTOR);
        asm volatile("sti; nop; nop; cli");
        check_eq(low_count, n, "I-06 without EOI the next arrives");
        check_eq(assist_seen & 1, 1, "I-06 the bit is set in the handler");
    }
    check_eq(in_service(LOW_VECTOR), 0, "I-06 not in service any more");
    /* Two at a time: with the lower one waiting the bit stays clear. */
    wrmsr(HV_ICR, LOW_VECTOR);
    wrmsr(HV_ICR, HIGH_VECTOR);
    skip_eoi = 1;
    high_count = 0;
    asm volatile("sti; nop; nop; cli");
    check_eq(high_count, 1, "I-06 the higher one first");
    check_eq(low_count, 4, "I-06 then the lower one");
    check(high_order < low_order, "I-06 in this order");
    check_eq(high_seen & 1, 0, "I-06 the bit is clear with a lower one waiting");
    check_eq(assist_seen & 1, 1, "I-06 and set for the last");
    nested_interrupts();
    level_interrupt();
    wrmsr(HV_VP_ASSIST, 0);
    assist = NULL;
    skip_eoi = 0;
}

/* -- I-07: the handler of an interrupt to oneself runs before the next instruction -- */

volatile u32 self_counter, self_seen;

static void on_self(struct frame *f)
{
    (void)f;
    self_seen = self_counter;
    if (rdmsr(MSR_APIC_BASE) & 1 << 10)
        wrmsr(0x80b, 0);
    else
        lapic_write(0xb0, 0);
}

#define SELF_IPI(name, setup, insn)                                                                \
    do {                                                                                           \
        u32 wrong = 0;                                                                             \
        for (u32 n = 0; n < 50; n++) {                                                             \
            self_counter = 0, self_seen = 99;                                                      \
            asm volatile("sti; nop\n" setup "\n" insn "\nincl self_counter\ncli" ::                \
                             : "rax", "rcx", "rdx", "r8", "memory", "cc");                         \
            wrong += self_seen != 0 || self_counter != 1;                                          \
        }                                                                                          \
        check_eq(wrong, 0, "I-07 %s", name);                                                       \
    } while (0)

static void self_ipis_x2apic(void)
{
    SELF_IPI("x2APIC ICR", "mov $0x830, %%ecx; mov $0xd4, %%eax; xor %%edx, %%edx", "wrmsr");
    SELF_IPI("x2APIC SELF IPI", "mov $0x83f, %%ecx; mov $0xd4, %%eax; xor %%edx, %%edx", "wrmsr");
    SELF_IPI("ICR of Hv#1 in x2APIC mode",
             "mov $0x40000071, %%ecx; mov $0xd4, %%eax; xor %%edx, %%edx", "wrmsr");
}

static void self_ipis(void)
{
    trap_set_handler(0xd4, on_self);
    lapic_write(0x310, 0);
    SELF_IPI("store to the ICR", "mov $0xd4, %%eax; mov $0xfee00300, %%ecx", "movl %%eax, (%%rcx)");
    SELF_IPI("XCHG with the ICR", "mov $0xd4, %%eax; mov $0xfee00300, %%ecx",
             "xchgl %%eax, (%%rcx)");
    SELF_IPI("shorthand self", "mov $0x400d4, %%eax; mov $0xfee00300, %%ecx",
             "movl %%eax, (%%rcx)");
    SELF_IPI("ICR of Hv#1", "mov $0x40000071, %%ecx; mov $0xd4, %%eax; xor %%edx, %%edx", "wrmsr");
    if (cpus == 1)
        SELF_IPI("all including self", "mov $0x800d4, %%eax; mov $0xfee00300, %%ecx",
                 "movl %%eax, (%%rcx)");
    SELF_IPI("hypercall", "mov $0x1000b, %%ecx; mov $0xd4, %%edx; mov $1, %%r8d",
             "mov hv_page, %%rax; call *%%rax; nop");
    /* With a shadow it comes one instruction later; with IF = 0 not at all. */
    self_counter = 0, self_seen = 99;
    asm volatile("cli; mov $0x40000071, %%ecx; mov $0xd4, %%eax; xor %%edx, %%edx; wrmsr\n"
                 "incl self_counter; incl self_counter" ::
                     : "rax", "rcx", "rdx", "memory", "cc");
    check_eq(self_seen, 99, "I-07 not with IF = 0");
    asm volatile("sti; incl self_counter; incl self_counter; cli" ::: "memory", "cc");
    check_eq(self_seen, 3, "I-07 one instruction after STI");
    self_counter = 0, self_seen = 99;
    asm volatile(
        "sti; mov %%ss, %%r8d; mov $0x40000071, %%ecx; mov $0xd4, %%eax; xor %%edx, %%edx\n"
        "cli; wrmsr; sti; incl self_counter; incl self_counter; cli" ::
            : "rax", "rcx", "rdx", "r8", "memory", "cc");
    check_eq(self_seen, 1, "I-07 the shadow covers one instruction");
}

/* -- idle -- */

/* 1 ms at a time; VP_RUNTIME is the host's time that the processor has used. */
static void idle_often(void)
{
    u64 start = now(), runtime = rdmsr(HV_VP_RUNTIME);
    u32 early = 0, lost = 0;

    for (u32 n = 0; n < 200; n++) {
        u64 due = now() + MS;

        direct_interrupts = 0;
        wrmsr(HV_STIMER0_COUNT, due);
        wrmsr(HV_STIMER0_CONFIG, DIRECT | 1);
        rdmsr(HV_GUEST_IDLE);
        early += now() < due;
        lost += !requested(DIRECT_VECTOR) || direct_interrupts;
        asm volatile("sti; nop; cli");
        lost += direct_interrupts != 1;
    }
    runtime = rdmsr(HV_VP_RUNTIME) - runtime;
    start = now() - start;
    check_eq(early, 0, "I-08 200 sleeps of 1 ms: none is short");
    check_eq(lost, 0, "I-08 each ends with its interrupt requested");
    check(runtime < start / 10, "I-08 the host is used for less than 10 %%: %llu of %llu", runtime,
          start);
}

static void idle(void)
{
    u64 start, due, runtime;

    direct_interrupts = 0;
    start = now();
    due = start + 20 * MS;
    wrmsr(HV_STIMER0_COUNT, due);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 1);
    runtime = rdmsr(HV_VP_RUNTIME);
    rdmsr(HV_GUEST_IDLE);
    runtime = rdmsr(HV_VP_RUNTIME) - runtime;
    check(now() >= due, "I-08 sleeps until the timer");
    check(requested(DIRECT_VECTOR), "I-08 the interrupt is requested");
    check_eq(direct_interrupts, 0, "I-08 and not taken with IF = 0");
    check(runtime < 10 * MS, "I-08 the time is not used: %llu", runtime);
    start = now();
    rdmsr(HV_GUEST_IDLE);
    check(now() - start < 500 * MS, "I-08 with one requested it does not sleep");
    asm volatile("sti; nop; cli");
    check_eq(direct_interrupts, 1, "I-08 taken after STI");
    idle_often();
    /* Held off by TPR: it wakes all the same. */
    wrmsr(HV_TPR, 0xff);
    due = now() + 5 * MS;
    wrmsr(HV_STIMER0_COUNT, due);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 1);
    asm volatile("sti");
    rdmsr(HV_GUEST_IDLE);
    check(now() >= due && direct_interrupts == 1, "I-08 wakes for what TPR holds off");
    wrmsr(HV_TPR, 0);
    asm volatile("nop; cli");
    check_eq(direct_interrupts, 2, "I-08 taken when TPR allows");
    wrmsr(HV_STIMER0_CONFIG, 0);
}

/* -- ACPI -- */

/* V-01: no VMBus in any table. They lie in RAM below 4 GiB, where the firmware put them. */
static bool table_has(const u8 *table, u32 size, const char *word)
{
    u32 length = 0;

    while (word[length])
        length++;
    for (u32 at = 0; at + length <= size; at++)
        if (!memcmp(table + at, word, length))
            return true;
    return false;
}

static void no_vmbus(void)
{
    static const char *const words[] = {"VMBUS", "VMBus", "MSFT1000"};
    const u8 *rsdp = NULL, *rsdt;
    u32 tables = 0;
    bool found = false;

    for (const u8 *at = (const u8 *)0xe0000; at < (const u8 *)0x100000; at += 16)
        if (!memcmp(at, "RSD PTR ", 8))
            rsdp = at;
    if (!rsdp) {
        check_skip("V-01 no VMBus", "there is no RSDP");
        return;
    }
    rsdt = (const u8 *)(ulong) * (const u32 *)(rsdp + 16);
    for (u32 at = 36; at < *(const u32 *)(rsdt + 4); at += 4) {
        const u8 *table = (const u8 *)(ulong) * (const u32 *)(rsdt + at);

        for (u32 n = 0; n < 4 && !memcmp(table, n ? "SSDT" : "FACP", 4); n++) {
            const u8 *dsdt = n ? table : (const u8 *)(ulong) * (const u32 *)(table + 40);

            for (u32 w = 0; w < ARRAY_SIZE(words); w++)
                found |= table_has(dsdt, *(const u32 *)(dsdt + 4), words[w]);
        }
        tables++;
    }
    check(tables > 2 && !found, "V-01 no VMBus in %u tables", tables);
}

void guest_main(void)
{
    cpus = smp_start();
    trap_set_handler(DIRECT_VECTOR, on_direct);
    trap_set_handler(LOW_VECTOR, on_low);
    trap_set_handler(HIGH_VECTOR, on_high);
    hv_enable(page_alloc());
    no_vmbus();
    reference_page(page_alloc());
    constant_rates();
    moved_tsc();
    apic_msrs(false);
    assist_page(page_alloc());
    self_ipis();
    idle();
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1 << 10);
    apic_msrs(true);
    self_ipis_x2apic();
}
