/* SPDX-License-Identifier: MIT
 *
 * Timers and interrupt controllers of the PC: 8254, 8259, RTC, ACPI PM timer, local APIC (xAPIC and
 * x2APIC), I/O APIC. Under a real clock a busy host takes the machine away for milliseconds, which
 * no PC does: what must happen within a time is tried again until the time was kept, and interrupts
 * are counted against the time in which the machine ran. With "counted" on the command line the
 * clock is the instruction count, and nothing is tried twice.
 */
#include "guest.h"

enum {
    PIT_HZ = 1193182,
    PIT = 0x40,
    PIC1 = 0x20,
    PIC2 = 0xa0,
    CMOS = 0x70,
    IOAPIC = 0xfec00000,
    TIMER_VECTOR = 0x60,
    IO_VECTOR = 0x70,
    LVT_MASKED = 1 << 16,
    LVT_PERIODIC = 1 << 17,
    LVT_DEADLINE = 2 << 17,
};

static volatile u32 counts[256];
static volatile u32 last_order[16], order_at;
static bool counted;

static void on_pic(struct frame *f)
{
    counts[f->vector]++;
    if (order_at < ARRAY_SIZE(last_order))
        last_order[order_at++] = (u32)f->vector;
    if (f->vector == IRQ_BASE + 8) {
        outb(CMOS, 0xc);
        inb(CMOS + 1);
    }
    pic_eoi((u32)f->vector - IRQ_BASE);
}

static void on_lapic(struct frame *f)
{
    counts[f->vector]++;
    lapic_write(0xb0, 0);
}

static void on_io_rtc(struct frame *f)
{
    outb(CMOS, 0xc);
    inb(CMOS + 1);
    on_lapic(f);
}

enum { TRIES = 100 };

/* Whether what began at `start` was over within the time. If not, the caller does it again. */
static bool undisturbed(u64 start, u32 microseconds)
{
    return counted || rdtsc() - start < tsc_cycles(microseconds);
}

static void check_rate(u64 got, u64 want, const char *name)
{
    u64 slack = want / (counted ? 500 : 50);

    check(got >= want - slack && got <= want + slack, "%s: %llu, expected %llu", name, got, want);
}

/* Waits with interrupts on until the machine has run for the time, and checks how often a source of
 * hz interrupts a second came meanwhile. A request that is pending already takes no second one (SDM
 * 3A 10.8.4; 8259A, IRR), so while the host is away all of its interrupts but one are lost. */
static void check_interrupts(volatile u32 *count, u32 hz, u32 milliseconds, const char *name)
{
    u64 away = tsc_cycles(300), longest = tsc_cycles(milliseconds * 20000);
    u64 start, last, now, ran = 0, least, most;
    u32 gaps = 0;

    *count = 0;
    start = last = rdtsc();
    asm volatile("sti");
    do {
        asm volatile("pause");
        now = rdtsc();
        if (now - last < away)
            ran += now - last;
        else
            gaps++;
        last = now;
    } while (ran < tsc_cycles(milliseconds * 1000) && now - start < longest);
    asm volatile("cli");
    least = ran * hz / tsc_hz();
    least -= least < gaps + 2 ? least : gaps + 2;
    most = (now - start) * hz / tsc_hz() + 2;
    check(*count >= least && *count <= most, "%s: %u interrupts, expected %llu to %llu", name,
          *count, least, most);
}

static u8 cmos_read(u8 index)
{
    outb(CMOS, index);
    return inb(CMOS + 1);
}

static void cmos_write(u8 index, u8 value)
{
    outb(CMOS, index);
    outb(CMOS + 1, value);
}

/* -- 8254 ----------------------------------------------------------------------------------- */

static bool pit_out2(void)
{
    return inb(0x61) >> 5 & 1;
}

static u8 pit_status(u32 channel)
{
    outb(PIT + 3, (u8)(0xe0 | 2 << channel));
    return inb((u16)(PIT + channel));
}

static void pit_mode_0(void)
{
    bool low = false, high = false;
    u16 stopped = 0, still = 0, after = 0;
    u64 start, last, now, took = 0;

    for (u32 i = 0; i < TRIES; i++) {
        start = rdtsc();
        pit_program(2, 0, 2386); /* 2 ms */
        low = !pit_out2();
        if (!undisturbed(start, 50))
            continue;
        now = rdtsc();
        do
            last = now, now = rdtsc();
        while (!pit_out2());
        took = rdtsc() - start;
        if (undisturbed(last, 20))
            break;
    }
    check(low, "mode 0: OUT is low after the control word");
    check_rate(took, tsc_hz() / 500, "mode 0: OUT rises after the count");
    for (u32 i = 0; i < TRIES; i++) {
        start = rdtsc();
        pit_program(2, 0, 1193);
        delay_us(1500);
        high = pit_out2();
        after = pit_read(2);
        if (undisturbed(start, 25000))
            break;
    }
    check(high, "mode 0: OUT stays high");
    check(after > 0x8000, "mode 0: the counter wraps and goes on");
    for (u32 i = 0; i < TRIES; i++) {
        start = rdtsc();
        pit_program(2, 0, 60000);
        outb(0x61, inb(0x61) & ~1u);
        delay_us(100);
        stopped = pit_read(2);
        delay_us(500);
        still = pit_read(2);
        outb(0x61, inb(0x61) | 1);
        delay_us(500);
        after = pit_read(2);
        if (undisturbed(start, 40000))
            break;
    }
    check_eq(still, stopped, "gate low stops mode 0");
    check(after < stopped, "gate high goes on");
}

static void pit_low_byte(void)
{
    u8 first = 0, second = 0;

    for (u32 i = 0; i < TRIES; i++) {
        u64 start = rdtsc();

        outb(PIT + 3, 0x90); /* channel 2, low byte only, mode 0 */
        outb(PIT + 2, 200);
        delay_us(5); /* the count is loaded by the next clock */
        first = inb(PIT + 2), second = inb(PIT + 2);
        if (undisturbed(start, 150))
            break;
    }
    check(first <= 200 && second <= first, "low byte only: %u then %u", first, second);
}

static void pit_bcd(void)
{
    u16 now, wrong = 0;

    for (u32 i = 0; i < TRIES; i++) {
        u64 start = rdtsc();

        wrong = 0;
        outb(PIT + 3, 0xb1);
        outb(PIT + 2, 0x00);
        outb(PIT + 2, 0x50);
        delay_us(5);
        for (u32 n = 0; n < 100; n++) {
            now = pit_read(2);
            if ((now & 15) > 9 || (now >> 4 & 15) > 9 || (now >> 8 & 15) > 9 || now > 0x5000)
                wrong = now;
        }
        if (undisturbed(start, 4000)) /* 0x5000 counts are 4190 us */
            break;
    }
    check_eq(wrong, 0, "BCD: every digit is below 10, and it counts down");
}

static void pit_latch(void)
{
    u16 latched = 0, later = 0;

    for (u32 i = 0; i < TRIES; i++) {
        u64 start = rdtsc();

        pit_program(2, 0, 50000);
        delay_us(5);
        outb(PIT + 3, 0x80);
        latched = inb(PIT + 2);
        delay_us(300);
        latched = (u16)(latched | inb(PIT + 2) << 8);
        later = pit_read(2);
        if (undisturbed(start, 700))
            break;
    }
    check(latched > 49000, "a latched value waits to be read: %u", latched);
    check(later < latched, "and the counter went on");
}

static void pit_modes(void)
{
    u16 last, now;
    u32 reloads = 0;
    bool even = true;

    group_begin("8254");
    outb(0x61, (inb(0x61) & ~3u) | 1);
    pit_mode_0();
    pit_program(2, 2, 1000);
    delay_us(5);
    last = pit_read(2);
    u64 end = rdtsc() + tsc_cycles(2000);
    for (u32 i = 0; i < 2000 || rdtsc() < end; i++) {
        now = pit_read(2);
        check(now >= 1 && now <= 1000, "mode 2: %u is in 1..1000", now);
        reloads += now > last;
        last = now;
    }
    check(reloads > 0, "mode 2 reloads");
    pit_program(2, 3, 1000);
    delay_us(5);
    for (u32 i = 0; i < 500; i++)
        even = even && !(pit_read(2) & 1);
    check(even, "mode 3 counts by two");
    pit_low_byte();
    pit_bcd();
    pit_latch();
    check_eq(pit_status(2) & 0x3f, 0x30, "read-back status: mode 0, both bytes, binary");
    pit_program(2, 3, 10);
    check_eq(pit_status(2) & 0x3f, 0x36, "read-back status: mode 3");
    outb(PIT + 3, 0xb0);
    check_eq(pit_status(2) & 0x40, 0x40, "null count before the count is written");
    outb(0x61, inb(0x61) & ~3u);
    group_end();
}

static void pit_interrupts(void)
{
    u64 start;

    group_begin("IRQ 0");
    trap_set_handler(IRQ_BASE, on_pic);
    pit_program(0, 0, 11932);
    pic_mask(0xfffe);
    counts[IRQ_BASE] = 0;
    start = rdtsc();
    check_eq(wait_flag(&counts[IRQ_BASE], 500), 1, "mode 0: one interrupt");
    if (counted)
        check_rate(rdtsc() - start, tsc_hz() / 100, "after 10 ms");
    wait_flag(&counts[1], 20);
    check_eq(counts[IRQ_BASE], 1, "mode 0: no second one");
    for (u32 mode = 2; mode <= 3; mode++) {
        pit_program(0, mode, 1193);
        check_interrupts(&counts[IRQ_BASE], 1000, 100, mode == 2 ? "mode 2" : "mode 3");
    }
    pic_mask(0xffff);
    pit_program(0, 0, 1);
    group_end();
}

/* -- 8259 ----------------------------------------------------------------------------------- */

static u8 pic_register(u16 port, u8 which)
{
    outb(port, which);
    return inb(port);
}

static void rtc_periodic(bool on)
{
    cmos_write(0xa, 0x26); /* 1024 Hz */
    cmos_write(0xb, (u8)(2 | (on ? 0x40 : 0)));
    cmos_read(0xc);
}

/* Makes IRQ 0 and IRQ 8 wait, with IF clear. */
static void both_pending(void)
{
    pic_mask(0xffff);
    wait_flag(&counts[1], 5); /* whatever was left is not delivered */
    rtc_periodic(true);
    pic_mask(0xffff & ~(1 << 0 | 1 << 2 | 1 << 8));
    outb(PIT + 3, 0x30); /* OUT low */
    outb(PIT, 10);
    outb(PIT, 0);
    for (u32 i = 0; i < 1000 && (pic_register(PIC1, 0xa) & 5) != 5; i++)
        delay_us(20);
    cmos_write(0xa, 0x2f); /* 2 Hz: no second one soon. The line must stay high until the INTA. */
    order_at = 0;
}

static void pic_priorities(void)
{
    trap_set_handler(IRQ_BASE + 8, on_pic);
    group_begin("8259");
    both_pending();
    check_eq(pic_register(PIC1, 0xa) & 5, 5, "IRR: IRQ 0 and the cascade");
    check_eq(pic_register(PIC2, 0xa) & 1, 1, "IRR: IRQ 8");
    check_eq(pic_register(PIC1, 0xb), 0, "ISR: nothing");
    wait_flag(&counts[1], 5);
    check(order_at >= 2 && last_order[0] == IRQ_BASE && last_order[1] == IRQ_BASE + 8,
          "IRQ 0 before IRQ 8: %u, %x %x", order_at, last_order[0], last_order[1]);
    outb(PIC1, 0xc0); /* IRQ 0 gets the lowest priority */
    both_pending();
    wait_flag(&counts[1], 5);
    check(order_at >= 2 && last_order[0] == IRQ_BASE + 8 && last_order[1] == IRQ_BASE,
          "rotated, IRQ 8 before IRQ 0: %u, %x %x", order_at, last_order[0], last_order[1]);
    outb(PIC1, 0xc7);
    both_pending();
    outb(PIC1, 0xc); /* poll */
    check_eq(inb(PIC1), 0x80, "poll: IRQ 0");
    check_eq(pic_register(PIC1, 0xb), 1, "ISR after the poll");
    check_eq(pic_register(PIC1, 0xa) & 1, 0, "IRR after the poll");
    wait_flag(&counts[1], 2);
    check_eq(order_at, 0, "a lower interrupt waits for the EOI");
    outb(PIC1, 0x20);
    wait_flag(&counts[1], 2);
    check(order_at >= 1, "and comes after it");
    both_pending();
    pic_mask(0xffff);
    wait_flag(&counts[1], 2);
    check_eq(order_at, 0, "masked");
    pic_mask(0xffff & ~(1 << 0 | 1 << 2 | 1 << 8));
    wait_flag(&counts[1], 2);
    check(order_at >= 2, "an edge is kept while masked");
    rtc_periodic(false);
    pic_mask(0x5aa5);
    check_eq(inb(PIC1 + 1) | inb(PIC2 + 1) << 8, 0x5aa5, "masks read back");
    pic_mask(0xffff);
    check_eq(inb(0x4d0) & 7, 0, "ELCR: IRQ 0 to 2 are edge-triggered");
    group_end();
}

/* -- RTC ------------------------------------------------------------------------------------ */

static void rtc(void)
{
    u32 before, hours;

    group_begin("RTC");
    trap_set_handler(IRQ_BASE + 8, on_pic);
    pic_mask(0xffff & ~(1 << 2 | 1 << 8));
    rtc_periodic(true);
    check_interrupts(&counts[IRQ_BASE + 8], 1024, 100, "periodic");
    rtc_periodic(false);
    before = counts[IRQ_BASE + 8];
    wait_flag(&counts[1], 20);
    check_eq(counts[IRQ_BASE + 8], before, "off is off");
    check_eq(cmos_read(0xd) & 0x80, 0x80, "register D: valid");
    cmos_read(0xc);
    check_eq(cmos_read(0xc) & 0xb0, 0, "register C is clear after a read");
    /* Update-ended and alarm with every field "don't care" come once a second. */
    cmos_write(1, 0xff), cmos_write(3, 0xff), cmos_write(5, 0xff);
    cmos_write(0xb, 2 | 0x30);
    /* Read before register C is cleared, for the next update may come at any moment. */
    u32 second = cmos_read(0);
    u8 flags = 0;
    while (cmos_read(0xa) & 0x80)
        second = cmos_read(0);
    cmos_read(0xc);
    pic_mask(0xffff);
    u64 end = rdtsc() + tsc_hz() + tsc_hz() / 2;
    while (!(flags & 0x10) && rdtsc() < end)
        flags = cmos_read(0xc);
    check_eq(flags & 0xb0, 0xb0, "update-ended and alarm, with IRQF");
    check(cmos_read(0) != second, "the second has changed");
    cmos_write(0xb, 2);
    /* The formats: BCD and binary, 24 hours. */
    cmos_write(0xb, 0x82);
    cmos_write(4, 0x13);
    cmos_write(0, 0x58);
    hours = cmos_read(4);
    check_eq(hours, 0x13, "SET: registers keep what was written");
    check_eq(cmos_read(0xa) & 0x80, 0, "no update while SET");
    cmos_write(0xb, 2);
    cmos_write(0x40, 0xa7);
    check_eq(cmos_read(0x40), 0xa7, "CMOS RAM");
    pic_mask(0xffff);
    group_end();
}

/* -- ACPI PM timer -------------------------------------------------------------------------- */

static u32 pci_read(u32 function, u32 reg)
{
    outl(0xcf8, 0x80000000 | 1 << 11 | function << 8 | reg);
    return inl(0xcfc);
}

static void pci_write(u32 function, u32 reg, u32 value)
{
    outl(0xcf8, 0x80000000 | 1 << 11 | function << 8 | reg);
    outl(0xcfc, value);
}

static void pm_timer(void)
{
    u32 base, start, now, last;
    u64 tsc;
    bool forward = true;

    if (pci_read(3, 0) != 0x71138086) {
        check_skip("PM timer", "no PIIX4 power management");
        return;
    }
    group_begin("PM timer");
    if (!(pci_read(3, 0x80) & 1)) {
        pci_write(3, 0x40, 0x601);
        pci_write(3, 0x80, pci_read(3, 0x80) | 1);
    }
    base = pci_read(3, 0x40) & 0xffc0;
    last = inl((u16)(base + 8));
    for (u32 i = 0; i < 10000; i++) {
        now = inl((u16)(base + 8));
        forward = forward && ((now - last) & 0xffffff) < 0x800000 && now < 0x1000000;
        last = now;
    }
    check(forward, "counts forward in 24 bits");
    /* Until it is right once: the host may take the processor away between two readings. */
    bool good = false;
    u64 want = 0;
    for (u32 run = 0; run < TRIES && !good; run++) {
        start = inl((u16)(base + 8)), tsc = rdtsc();
        delay_us(50000);
        tsc = rdtsc() - tsc;
        now = (inl((u16)(base + 8)) - start) & 0xffffff;
        want = tsc * 35795 / (tsc_hz() / 100); /* 3.579545 MHz */
        good = now > want - want / 40 && now < want + want / 40;
    }
    check(good, "3.58 MHz: %u for %llu", now, want);
    group_end();
}

/* -- Local APIC ----------------------------------------------------------------------------- */

/* Ticks of the timer in 2 ms. */
static u32 lapic_ticks(u32 divide)
{
    u64 start, end, took = 1;
    u32 ticks = 0;

    lapic_write(0x3e0, divide);
    for (u32 i = 0; i < TRIES; i++) {
        start = rdtsc();
        lapic_write(0x380, ~0u);
        if (!undisturbed(start, 50))
            continue;
        delay_us(2000);
        end = rdtsc();
        ticks = ~0u - lapic_read(0x390);
        took = rdtsc() - start;
        if (undisturbed(end, 50))
            break;
    }
    return (u32)(ticks * tsc_cycles(2000) / took);
}

static void lapic_timer(void)
{
    u32 ticks, first;
    u64 deadline = 0, got = 0;

    trap_set_handler(TIMER_VECTOR, on_lapic);
    group_begin("local APIC timer");
    lapic_write(0x320, LVT_MASKED | TIMER_VECTOR);
    ticks = lapic_ticks(0xb); /* divide by 1 */
    check(ticks > 1000, "it counts down: %u ticks in 2 ms", ticks);
    check_rate((u64)lapic_ticks(3) * 16, ticks, "divided by 16");
    lapic_write(0x3e0, 0xb);
    lapic_write(0x380, 0);
    check_eq(lapic_read(0x390), 0, "an initial count of 0 stops it");

    counts[TIMER_VECTOR] = 0;
    lapic_write(0x320, TIMER_VECTOR);
    lapic_write(0x380, ticks * 5 / 2);
    wait_flag(&counts[TIMER_VECTOR], 500);
    wait_flag(&counts[1], 20);
    check_eq(counts[TIMER_VECTOR], 1, "one-shot: one interrupt");
    check_eq(lapic_read(0x390), 0, "one-shot: ends at 0");
    lapic_write(0x320, LVT_PERIODIC | TIMER_VECTOR);
    lapic_write(0x380, ticks / 2);
    check_interrupts(&counts[TIMER_VECTOR], 1000, 100, "periodic");
    check(lapic_read(0x390) <= ticks / 2, "periodic: reloads");
    lapic_write(0x320, LVT_MASKED | LVT_PERIODIC | TIMER_VECTOR);
    wait_flag(&counts[1], 1); /* one may be waiting already */
    first = counts[TIMER_VECTOR];
    wait_flag(&counts[1], 10);
    check_eq(counts[TIMER_VECTOR], first, "masked");
    lapic_write(0x380, 0);
    if (cpuid(1, 0).c >> 24 & 1) {
        counts[TIMER_VECTOR] = 0;
        lapic_write(0x320, LVT_DEADLINE | TIMER_VECTOR);
        asm volatile("mfence" ::: "memory");
        for (u32 i = 0; i < TRIES && (i == 0 || rdtsc() >= deadline); i++) {
            deadline = rdtsc() + tsc_hz() / 100;
            wrmsr(MSR_TSC_DEADLINE, deadline);
            got = rdmsr(MSR_TSC_DEADLINE);
        }
        check_eq(got, deadline, "the deadline reads back");
        wait_flag(&counts[TIMER_VECTOR], 500);
        check(rdtsc() >= deadline, "not before the deadline");
        check_eq(counts[TIMER_VECTOR], 1, "deadline: one interrupt");
        check_eq(rdmsr(MSR_TSC_DEADLINE), 0, "deadline: disarmed");
        counts[TIMER_VECTOR] = 0;
        wrmsr(MSR_TSC_DEADLINE, 1);
        wait_flag(&counts[TIMER_VECTOR], 20);
        check_eq(counts[TIMER_VECTOR], 1, "a past deadline fires at once");
        for (u32 i = 0; i < TRIES && (i == 0 || rdtsc() >= deadline); i++) {
            deadline = rdtsc() + tsc_hz() / 50;
            wrmsr(MSR_TSC_DEADLINE, deadline);
            wrmsr(MSR_TSC_DEADLINE, 0);
        }
        counts[TIMER_VECTOR] = 0;
        wait_flag(&counts[1], 25);
        check_eq(counts[TIMER_VECTOR], 0, "writing 0 disarms it");
        lapic_write(0x380, 1000);
        check_eq(lapic_read(0x390), 0, "the initial count is ignored in deadline mode");
    }
    lapic_write(0x320, LVT_MASKED);
    group_end();

    group_begin("local APIC registers");
    check((lapic_read(0x30) & 0xff) >= 0x10 && (lapic_read(0x30) & 0xff) < 0x20, "version");
    check((lapic_read(0x30) >> 16 & 0xff) >= 3, "LVT entries");
    trap_set_handler(0x99, on_lapic);
    counts[0x99] = 0;
    lapic_write(0x310, 0);
    lapic_write(0x300, 0x40099);
    check_eq(lapic_read(0x200 + 0x10 * (0x99 / 32)) >> (0x99 & 31) & 1, 1, "IRR before delivery");
    asm volatile("sti; nop; cli");
    check_eq(counts[0x99], 1, "self-IPI");
    if (!skip_on_qemu("vectors below 16 in the ICR")) {
        lapic_write(0x280, 0);
        lapic_read(0x280);
        lapic_write(0x300, 0x40005);
        lapic_write(0x280, 0);
        check(lapic_read(0x280) & 0x20, "a vector below 16 is an error that ESR tells");
        lapic_write(0x280, 0);
        lapic_write(0x280, 0);
        check_eq(lapic_read(0x280), 0, "ESR is clear again");
    }
    lapic_write(0xf0, 0xff);
    check_eq(lapic_read(0x320) & LVT_MASKED, LVT_MASKED, "software disable masks the LVT");
    lapic_write(0x320, TIMER_VECTOR);
    check_eq(lapic_read(0x320) & LVT_MASKED, LVT_MASKED, "and keeps it masked");
    lapic_write(0xf0, 0x1ff);
    group_end();
}

static void x2apic(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);
    u32 low, high, id = lapic_read(0x20) >> 24;

    if (!(cpuid(1, 0).c >> 21 & 1)) {
        check_skip("x2APIC", "not offered");
        return;
    }
    group_begin("x2APIC");
    TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(0x802));
    check_fault(GP, 0, "its MSRs in xAPIC mode");
    wrmsr(MSR_APIC_BASE, base | 1 << 10);
    check_eq(rdmsr(0x802), id, "the id has 32 bits");
    check((rdmsr(0x803) & 0xff) >= 0x10, "version");
    check_eq(rdmsr(0x80d), (u32)(1 << (id & 15) | id >> 4 << 16), "the logical id is derived");
    TRY("wrmsr", ::"c"(0x80b), "a"(1), "d"(0));
    check_fault(GP, 0, "EOI takes only 0");
    TRY("wrmsr", ::"c"(0x802), "a"(1), "d"(0));
    check_fault(GP, 0, "the id is read-only");
    TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(0x80e));
    check_fault(GP, 0, "there is no DFR");
    TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(0x831));
    check_fault(GP, 0, "there is no ICR high half");
    TRY("wrmsr", ::"c"(0x80f), "a"(0x1ff), "d"(1));
    check_fault(GP, 0, "reserved bits of SVR");
    trap_set_handler(0x98, NULL);
    struct context c = context_flat(0);
    SNIPPET(64, x2_self, "mov $0x83f, %ecx; mov $0x98, %eax; xor %edx, %edx; wrmsr; sti; nop; nop");
    context_at(&c, x2_self);
    check_eq(c.vector, 0x98, "SELF IPI");
    wrmsr(0x80b, 0);
    TRY("wrmsr", ::"c"(MSR_APIC_BASE), "a"((u32)base), "d"((u32)(base >> 32)));
    check_fault(GP, 0, "back to xAPIC without disabling");
    wrmsr(MSR_APIC_BASE, base & ~(u64)(1 << 11 | 1 << 10));
    TRY("wrmsr", ::"c"(MSR_APIC_BASE), "a"((u32)base | 1 << 10), "d"((u32)(base >> 32)));
    check_fault(GP, 0, "from disabled to x2APIC at once");
    wrmsr(MSR_APIC_BASE, base);
    lapic_write(0xf0, 0x1ff);
    lapic_write(0x350, 0x700);
    check_eq(lapic_read(0x20) >> 24, id, "xAPIC again");
    group_end();
}

static u32 io_read(u32 index)
{
    *(volatile u32 *)(ulong)IOAPIC = index;
    return *(volatile u32 *)(ulong)(IOAPIC + 0x10);
}

static void io_write(u32 index, u32 value)
{
    *(volatile u32 *)(ulong)IOAPIC = index;
    *(volatile u32 *)(ulong)(IOAPIC + 0x10) = value;
}

static void io_apic(void)
{
    group_begin("I/O APIC");
    check_eq(io_read(1) >> 16 & 0xff, 23, "24 entries");
    io_write(0x10 + 2 * 5, 0x1abcd);
    check_eq(io_read(0x10 + 2 * 5) & ~0x5000u, 0x1abcd & ~0x5000u, "an entry reads back");
    io_write(0x10 + 2 * 5, LVT_MASKED);
    pic_mask(0xffff);
    trap_set_handler(IO_VECTOR, on_lapic);
    counts[IO_VECTOR] = 0;
    io_write(0x11 + 2 * 2, (lapic_read(0x20) >> 24) << 24);
    io_write(0x10 + 2 * 2, IO_VECTOR);
    pit_program(0, 0, 1193);
    wait_flag(&counts[IO_VECTOR], 500);
    wait_flag(&counts[1], 10);
    check_eq(counts[IO_VECTOR], 1, "the 8254 on input 2");
    io_write(0x10 + 2 * 2, LVT_MASKED | IO_VECTOR);
    pit_program(0, 2, 1193);
    wait_flag(&counts[1], 10);
    check_eq(counts[IO_VECTOR], 1, "masked");
    io_write(0x10 + 2 * 2, IO_VECTOR);
    check_interrupts(&counts[IO_VECTOR], 1000, 50, "periodic");
    io_write(0x10 + 2 * 2, LVT_MASKED);
    trap_set_handler(IO_VECTOR + 1, on_io_rtc);
    io_write(0x11 + 2 * 8, (lapic_read(0x20) >> 24) << 24);
    io_write(0x10 + 2 * 8, IO_VECTOR + 1);
    rtc_periodic(true);
    check_interrupts(&counts[IO_VECTOR + 1], 1024, 50, "the RTC on input 8");
    rtc_periodic(false);
    io_write(0x10 + 2 * 8, LVT_MASKED);
    pit_program(0, 0, 1);
    group_end();
}

/* The TSC against CPUID, and two clocks against each other over a longer time. */
static void agreement(void)
{
    struct cpuid c;
    u64 told; /* ticks a second */

    if (cpuid(0, 0).a < 0x15)
        return;
    c = cpuid(0x15, 0);
    if (c.a == 0 || c.b == 0 || c.c == 0)
        return;
    told = (u64)c.c * c.b / c.a;
    group_begin("CPUID 15");
    check(tsc_hz() > told - told / 100 && tsc_hz() < told + told / 100, "TSC rate: %llu, told %llu",
          tsc_hz(), told);
    group_end();
}

void guest_main(void)
{
    counted = guest_option("counted");
    tsc_hz();
    lapic_write(0xf0, 0x1ff);
    lapic_write(0x350, 0x700); /* LINT0: the 8259s, as firmware sets it */
    pit_modes();
    pit_interrupts();
    pic_priorities();
    rtc();
    pm_timer();
    lapic_timer();
    x2apic();
    io_apic();
    agreement();
}
