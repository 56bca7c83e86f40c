/* SPDX-License-Identifier: MIT
 *
 * Hv#1: SynIC and synthetic timers. Names begin with the test's ID in the project's hv1-checklist,
 * section 7.
 *
 * The host may be elsewhere for milliseconds, so what is late is not counted; what is early is.
 */
#include "lib/hv1.h"

void *hv_page;
static u32 cpus;

enum { SINT_VECTOR = 0xd1, DIRECT_VECTOR = 0xd2, TIMER_MESSAGE = 0x80000010 };
enum { DIRECT = 1 << 12 | DIRECT_VECTOR << 4 };

struct message {
    u32 type;
    u8 size, flags;
    u16 reserved;
    u64 origin;
    u32 timer, reserved2;
    u64 expiration, delivery;
    u8 rest[216];
};

static volatile struct message *sim;
static volatile u8 *sief;
static volatile u32 interrupts, direct_interrupts;
static volatile u64 isr_in_handler;

static void on_sint(struct frame *f)
{
    interrupts++;
    isr_in_handler = in_service((u32)f->vector);
    wrmsr(HV_EOI, 0);
}

static void on_sint_auto_eoi(struct frame *f)
{
    interrupts++;
    isr_in_handler = in_service((u32)f->vector);
}

static void on_direct(struct frame *f)
{
    (void)f;
    direct_interrupts++;
    wrmsr(HV_EOI, 0);
}

static void synic_on(u8 *pages)
{
    sim = (volatile struct message *)pages;
    sief = pages + 4096;
    wrmsr(HV_SIMP, (ulong)sim | 1);
    wrmsr(HV_SIEFP, (ulong)sief | 1);
    wrmsr(HV_SCONTROL, 1);
    wrmsr(HV_SINT0 + 2, SINT_VECTOR);
    interrupts = 0;
}

static void synic_off(void)
{
    for (u32 n = 0; n < 4; n++)
        wrmsr(HV_STIMER0_CONFIG + 2 * n, 0);
    for (u32 n = 0; n < 16; n++)
        wrmsr(HV_SINT0 + n, 0x10000);
    memset((void *)sim, 0, 4096);
    wrmsr(HV_EOM, 0);
    memset((void *)sim, 0, 4096);
    wrmsr(HV_SCONTROL, 0);
    wrmsr(HV_SIMP, 0);
    wrmsr(HV_SIEFP, 0);
}

/* A message on SINT2 after so many units. */
static u64 arm(u32 timer, u64 units)
{
    u64 due = now() + units;

    wrmsr(HV_STIMER0_COUNT + 2 * timer, due); /* first: an old count would be in the past */
    wrmsr(HV_STIMER0_CONFIG + 2 * timer, 2 << 16 | 1);
    return due;
}

/* -- SynIC -- */

static void synic_registers(void)
{
    check_msr(HV_SCONTROL, 0, "S-01 SCONTROL at reset");
    check_msr(HV_SVERSION, 1, "S-01 SVERSION");
    check_msr_gp(HV_SVERSION, true, 1, "S-01");
    group_begin("S-03 SINT registers");
    for (u32 n = 0; n < 16; n++) {
        u32 msr = HV_SINT0 + n;

        check_msr(msr, 0x10000, "at reset");
        check(msr_try_write(msr, 0x10000), "the reset value");
        check_msr_gp(msr, true, 0xf, "vector 0f");
        check(msr_try_write(msr, 0x10), "vector 10");
        check(msr_try_write(msr, 0x1000f), "vector 0f, masked");
        check(msr_try_write(msr, 0xffff000000000050), "reserved bits");
        check_msr(msr, 0xffff000000000050, "reserved bits stay");
        wrmsr(msr, 0x10000);
    }
    group_end();
}

static volatile u64 other_simp;

static void read_simp(ulong unused)
{
    (void)unused;
    other_simp = rdmsr(HV_SIMP);
}

static void synic_pages(u8 *pages)
{
    for (u32 n = 0; n < 2; n++) {
        u8 *page = pages + n * 4096;

        memset(page, 0x5a, 4096);
        wrmsr(n ? HV_SIEFP : HV_SIMP, (ulong)page | 1);
        check(page[0] == 0 && page[4095] == 0, "S-02 page %u reads as zero", n);
        page[100] = 1;
        wrmsr(n ? HV_SIEFP : HV_SIMP, (ulong)page);
        check(page[0] == 0x5a && page[100] == 0x5a, "S-02 what was below is back");
        wrmsr(n ? HV_SIEFP : HV_SIMP, (ulong)page | 1);
        check(page[100] == 1, "S-02 the page keeps its contents");
        page[100] = 0;
        if (cpus > 1 && !n) {
            smp_run(1, read_simp, 0);
            check_eq(other_simp, 0, "S-02 the other processor has its own");
        }
        wrmsr(n ? HV_SIEFP : HV_SIMP, 0);
    }
}

static void messages(u8 *pages)
{
    u64 due;

    synic_on(pages);
    due = arm(0, MS);
    pass_until(&interrupts, 1);
    check_eq(interrupts, 1, "S-04 one interrupt");
    check_eq(sim[2].type, TIMER_MESSAGE, "S-04 message type");
    check_eq(sim[2].size, 24, "S-04 payload size");
    check_eq(sim[2].flags, 0, "S-04 flags");
    check_eq(sim[2].origin, 0, "S-04 origin");
    check(sim[1].type == 0 && sim[3].type == 0, "S-04 no other slot");
    check_eq(sim[2].expiration, due, "T-02 expiration");
    check(sim[2].delivery >= due && sim[2].delivery <= now(), "T-02 delivery");
    check_msr(HV_STIMER0_CONFIG, 2 << 16, "T-02 not enabled any more");
    check_eq(isr_in_handler, 1, "S-07 in service without AutoEOI");
    /* The slot is still full. */
    arm(1, MS);
    AWAIT(sim[2].flags & 1);
    check_eq(interrupts, 1, "S-05 no interrupt while the slot is full");
    check_eq(sim[2].flags & 1, 1, "S-05 message pending");
    sim[2].type = 0;
    wrmsr(HV_EOM, 0);
    pass_until(&interrupts, 2);
    check_eq(interrupts, 2, "S-05 delivered after EOM");
    check_eq(sim[2].timer, 1, "S-05 it is the second timer's");
    arm(2, MS);
    AWAIT(sim[2].flags & 1);
    sim[2].type = 0;
    lapic_write(0x310, 0);
    lapic_write(0x300, SINT_VECTOR); /* an interrupt of that vector, and its EOI */
    pass_until(&interrupts, 4);
    check_eq(interrupts, 4, "S-05 delivered after EOI");
    check_eq(sim[2].timer, 2, "S-05 it is the third timer's");
    synic_off();
}

static void masked_source(u8 *pages)
{
    synic_on(pages);
    wrmsr(HV_SINT0 + 2, 0x10000 | SINT_VECTOR);
    arm(0, MS);
    AWAIT(sim[2].type);
    check_eq(sim[2].type, TIMER_MESSAGE, "S-06 masked: the message is there");
    arm(1, MS);
    AWAIT(sim[2].flags & 1);
    sim[2].type = 0;
    wrmsr(HV_EOM, 0);
    check_eq(sim[2].timer, 1, "S-06 the second follows EOM");
    pass(MS);
    check_eq(interrupts, 0, "S-06 no interrupt");
    synic_off();
}

static void auto_eoi(u8 *pages)
{
    synic_on(pages);
    trap_set_handler(SINT_VECTOR, on_sint_auto_eoi);
    wrmsr(HV_SINT0 + 2, 1 << 17 | SINT_VECTOR);
    wrmsr(HV_SINT0 + 3, 1 << 17 | SINT_VECTOR);
    arm(0, MS);
    pass_until(&interrupts, 1);
    check_eq(isr_in_handler, 0, "S-07 AutoEOI: not in service in the handler");
    sim[2].type = 0;
    wrmsr(HV_STIMER0_COUNT, now() + MS);
    wrmsr(HV_STIMER0_CONFIG, 3 << 16 | 1);
    pass_until(&interrupts, 2);
    check_eq(interrupts, 2, "S-07 the next comes without EOI, from another SINT");
    check_eq(sim[3].type, TIMER_MESSAGE, "S-07 in its own slot");
    trap_set_handler(SINT_VECTOR, on_sint);
    synic_off();
}

static void synic_on_other(ulong pages)
{
    synic_on((u8 *)pages);
}

static void reset_of_a_processor(u8 *pages)
{
    if (cpus < 2)
        return;
    wrmsr(HV_SCONTROL, 0);
    smp_run(1, synic_on_other, (ulong)pages);
    check(smp_restart(1), "S-10 INIT and SIPI");
    smp_run(1, read_simp, 0);
    check_eq(other_simp, 0, "S-10 SIMP is clear");
    check(pages[0] == 0, "S-10 memory is back");
}

/* -- timers -- */

static void timer_registers(void)
{
    group_begin("T-01 registers");
    for (u32 n = 0; n < 4; n++) {
        check_msr(HV_STIMER0_CONFIG + 2 * n, 0, "config at reset");
        check_msr(HV_STIMER0_COUNT + 2 * n, 0, "count at reset");
        wrmsr(HV_STIMER0_CONFIG + 2 * n, 0xf0ffe);
        check_msr(HV_STIMER0_CONFIG + 2 * n, 0xf0ffe, "config keeps its bits");
        wrmsr(HV_STIMER0_CONFIG + 2 * n, 0);
        check_msr_gp(HV_STIMER0_CONFIG + 2 * n, true, 1 << 13, "reserved 13");
        check_msr_gp(HV_STIMER0_CONFIG + 2 * n, true, 1ull << 20, "reserved 20");
        check_msr_gp(HV_STIMER0_CONFIG + 2 * n, true, 1ull << 63, "reserved 63");
    }
    group_end();
    wrmsr(HV_STIMER0_CONFIG, 1);
    check_msr(HV_STIMER0_CONFIG, 0, "T-06 no SINT, not enabled");
}

static void direct_timers(void)
{
    u64 start, due;

    trap_set_handler(DIRECT_VECTOR, on_direct);
    direct_interrupts = 0;
    due = now() + MS;
    wrmsr(HV_STIMER0_COUNT, due);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 1);
    pass_until(&direct_interrupts, 1);
    check_eq(direct_interrupts, 1, "T-07 direct, without SynIC");
    check(now() >= due, "T-02 never early");
    wrmsr(HV_STIMER0_COUNT, 1);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 1);
    pass_until(&direct_interrupts, 2);
    check_eq(direct_interrupts, 2, "T-02 in the past: at once");
    /* Periodic. */
    direct_interrupts = 0;
    start = now();
    wrmsr(HV_STIMER0_COUNT, MS);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 3);
    pass_until(&direct_interrupts, 200);
    check(direct_interrupts >= 200, "T-03 200 periods");
    check(now() - start >= 200 * MS - MS / 2, "T-03 not faster than asked for: %llu",
          now() - start);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 3 | 8);
    wrmsr(HV_STIMER0_COUNT, 0);
    check_eq(rdmsr(HV_STIMER0_CONFIG) & 1, 0, "T-04 a count of 0 disables");
    direct_interrupts = 0;
    pass(5 * MS);
    check(direct_interrupts <= 1, "T-04 no more ticks");
    /* Auto-enable, rewriting. */
    direct_interrupts = 0;
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 8);
    pass(2 * MS);
    check_eq(direct_interrupts, 0, "T-05 not enabled yet");
    wrmsr(HV_STIMER0_COUNT, now() + 5000 * MS);
    check_eq(rdmsr(HV_STIMER0_CONFIG) & 1, 1, "T-05 enabled by its count");
    wrmsr(HV_STIMER0_COUNT, now() + MS);
    pass_until(&direct_interrupts, 1);
    pass(5 * MS);
    check_eq(direct_interrupts, 1, "T-10 only the new expiry");
}

/* T-03 in full where time is counted: there nobody is ever late. */
static void thousand_periods(void)
{
    enum { PERIODS = 1000 };
    u64 start = now(), mean;
    u32 rest;

    direct_interrupts = 0;
    wrmsr(HV_STIMER0_COUNT, MS);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 3);
    pass_until(&direct_interrupts, PERIODS);
    mean = divide_u64(now() - start, PERIODS, &rest);
    check(mean >= MS - MS / 100 && mean <= MS + MS / 100, "T-03 mean of %u periods: %llu", PERIODS,
          mean);
    direct_interrupts = 0;
    pass(PERIODS * (u64)MS);
    check(direct_interrupts >= PERIODS - 1 && direct_interrupts <= PERIODS + 1,
          "T-03 interrupts in a second: %u", direct_interrupts);
    wrmsr(HV_STIMER0_CONFIG, 0);
}

/* Ticks are missed with interrupts off. */
static void missed_ticks(u32 lazy)
{
    u64 end = now() + 50 * MS;

    wrmsr(HV_STIMER0_COUNT, MS);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 3 | lazy);
    while (now() < end)
        pause();
    direct_interrupts = 0;
    end = now();
    pass_until(&direct_interrupts, 1);
    pass(5 * MS);
    end = now() - end;
    check(direct_interrupts >= 1, "T-08 ticks go on%s", lazy ? ", lazy" : "");
    check(direct_interrupts * MS <= end + 5 * MS, "T-08 no burst%s: %u", lazy ? ", lazy" : "",
          direct_interrupts);
    wrmsr(HV_STIMER0_CONFIG, 0);
}

/* Ticks as fast as they can be served, and faster: it goes on between them. */
static void short_period(void)
{
    u64 end = now() + 100 * MS;
    u32 steps = 0;

    direct_interrupts = 0;
    wrmsr(HV_STIMER0_COUNT, 10);
    wrmsr(HV_STIMER0_CONFIG, DIRECT | 3);
    asm volatile("sti" ::: "memory");
    do
        steps++;
    while (now() < end);
    asm volatile("cli" ::: "memory");
    wrmsr(HV_STIMER0_CONFIG, 0);
    pass(MS);
    check(direct_interrupts > 0, "T-08 a microsecond: %u ticks, %u steps", direct_interrupts,
          steps);
}

static void late_page(u8 *pages)
{
    wrmsr(HV_SINT0 + 2, SINT_VECTOR);
    wrmsr(HV_SCONTROL, 1);
    arm(0, MS);
    AWAIT(!(rdmsr(HV_STIMER0_CONFIG) & 1));
    synic_on(pages);
    check_eq(sim[2].type, TIMER_MESSAGE, "T-09 delivered when the page is enabled");
    pass(MS);
    synic_off();
}

void guest_main(void)
{
    u8 *pages = page_alloc();

    page_alloc();
    cpus = smp_start();
    trap_set_handler(SINT_VECTOR, on_sint);
    hv_enable(page_alloc());
    synic_registers();
    synic_pages(pages);
    timer_registers();
    memset(pages, 0, 8192);
    messages(pages);
    masked_source(pages);
    auto_eoi(pages);
    direct_timers();
    if (guest_option("counted"))
        thousand_periods();
    missed_ticks(0);
    missed_ticks(4);
    if (!guest_option("counted")) /* a microsecond is fifty instructions there */
        short_period();
    late_page(pages);
    reset_of_a_processor(pages);
}
