/* SPDX-License-Identifier: MIT
 *
 * The 8259 pair, the 8254, the local APIC and waiting.
 */
#include "guest.h"

enum { PIC1 = 0x20, PIC2 = 0xa0, PIT = 0x40, PORT_B = 0x61, PIT_HZ = 1193182 };

void pic_start(void)
{
    static const u8 words[2][4] = {{0x11, IRQ_BASE, 4, 1}, {0x11, IRQ_BASE + 8, 2, 1}};

    for (u32 i = 0; i < 2; i++) {
        u16 port = i == 0 ? PIC1 : PIC2;

        outb(port, words[i][0]);
        for (u32 w = 1; w < 4; w++)
            outb(port + 1, words[i][w]);
    }
    pic_mask(0xffff);
}

void pic_mask(u16 mask)
{
    outb(PIC1 + 1, (u8)mask);
    outb(PIC2 + 1, (u8)(mask >> 8));
}

void pic_eoi(u32 irq)
{
    if (irq >= 8)
        outb(PIC2, 0x20);
    outb(PIC1, 0x20);
}

u32 lapic_read(u32 reg)
{
    return *(volatile u32 *)(ulong)(LAPIC_DEFAULT + reg);
}

void lapic_write(u32 reg, u32 value)
{
    *(volatile u32 *)(ulong)(LAPIC_DEFAULT + reg) = value;
}

void pit_program(u32 channel, u32 mode, u16 count)
{
    outb(PIT + 3, (u8)(channel << 6 | 0x30 | mode << 1));
    outb((u16)(PIT + channel), (u8)count);
    outb((u16)(PIT + channel), (u8)(count >> 8));
}

u16 pit_read(u32 channel)
{
    u8 low;

    outb(PIT + 3, (u8)(channel << 6));
    low = inb((u16)(PIT + channel));
    return (u16)(low | inb((u16)(PIT + channel)) << 8);
}

/* The host may be elsewhere for milliseconds; where that falls between two readings is what makes a
 * measurement uncertain. The run counts that was surest of its two ends. It is shorter than the
 * time that a host lets a program run at a stretch: one that is as long may never have a sure end.
 */
u64 tsc_hz(void)
{
    enum { PARTS = 500, RUNS_MIN = 6, RUNS_MAX = 200 };
    static u64 hz;
    u64 best = ~0ull, cycles = 0, start, loaded, before, after, unsure;

    if (hz != 0)
        return hz;
    outb(PORT_B, (inb(PORT_B) & ~2u) | 1);
    for (u32 i = 0; i < RUNS_MIN || (i < RUNS_MAX && best > cycles >> 9); i++) {
        start = rdtsc();
        pit_program(2, 0, PIT_HZ / PARTS);
        loaded = after = rdtsc();
        do {
            before = after;
            after = rdtsc();
        } while (!(inb(PORT_B) & 0x20));
        after = rdtsc();
        unsure = loaded - start + (after - before);
        if (unsure < best) {
            best = unsure;
            cycles = after - start;
        }
    }
    hz = cycles * PARTS;
    return hz;
}

u64 tsc_cycles(u32 microseconds)
{
    u32 rest;

    return divide_u64(tsc_hz() * microseconds, 1000000, &rest);
}

u32 wait_flag(volatile u32 *flag, u32 milliseconds)
{
    u64 end = rdtsc() + tsc_cycles(milliseconds * 1000);

    asm volatile("sti");
    while (*flag == 0 && rdtsc() < end)
        asm volatile("pause");
    asm volatile("cli");
    return *flag;
}

void delay_us(u32 microseconds)
{
    u64 end = rdtsc() + tsc_cycles(microseconds);

    while (rdtsc() < end)
        asm volatile("pause");
}
