/* SPDX-License-Identifier: MIT */
#include "smp.h"

enum { AP_STACK = 16384, ICR = 0x300, ICR2 = 0x310, SVR = 0xf0 };
enum { ICR_INIT = 0x4500, ICR_SIPI = 0x4600, TSS_BYTES = 104 };

struct small_tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, io_base;
} __attribute__((packed));

extern const u8 ap_code[], ap_code_end[];
extern volatile u32 ap_index;
extern ap_fn *volatile ap_entry;
static u8 ap_trap_stacks[CPUS_MAX][AP_STACK] __attribute__((aligned(16)));
static struct small_tss ap_tss[CPUS_MAX] __attribute__((aligned(16)));
static volatile u32 online[CPUS_MAX];
static smp_fn *volatile work[CPUS_MAX];
static volatile ulong work_arg[CPUS_MAX];

void ap_prepare(ap_fn *entry, u32 first)
{
    memcpy((void *)AP_CODE, ap_code, (ulong)(ap_code_end - ap_code));
    ap_entry = entry;
    ap_index = first;
}

static void ap_tables(u32 index)
{
    u16 selector = (u16)(FREE_SEL + 0x38 + index * 16);

    ap_tss[index].ist[0] = (ulong)ap_trap_stacks[index] + AP_STACK;
    ap_tss[index].rsp[0] = ap_tss[index].ist[0];
    ap_tss[index].io_base = TSS_BYTES;
    descriptor_set(selector, descriptor((ulong)&ap_tss[index], TSS_BYTES - 1, 0x89, 0));
    descriptor_set(selector + 8, (ulong)&ap_tss[index] >> 32);
    asm volatile("lidt %0; lldt %w2; ltr %w1" ::"m"(idt_pointer), "r"(selector), "r"(0) : "memory");
}

static void ap_main(u32 index)
{
    ap_tables(index);
    lapic_write(SVR, 0x1ff);
    online[index] = 1;
    asm volatile("sti");
    for (;;) {
        smp_fn *fn = work[index];

        if (fn) {
            fn(work_arg[index]);
            barrier();
            work[index] = NULL;
        }
        pause();
    }
}

static void send(u32 cpu, u32 low)
{
    lapic_write(ICR2, cpu << 24);
    lapic_write(ICR, low);
}

bool smp_restart(u32 cpu)
{
    u64 end;

    online[cpu] = 0;
    work[cpu] = NULL;
    ap_index = cpu;
    send(cpu, ICR_INIT);
    delay_us(200);
    send(cpu, ICR_SIPI | AP_CODE >> 12);
    end = rdtsc() + tsc_cycles(2000000);
    while (!online[cpu] && rdtsc() < end)
        pause();
    return online[cpu];
}

/* How many there are: CPUID leaf 0BH, level 1. */
u32 smp_start(void)
{
    u32 count = cpuid(0xb, 1).b & 0xffff, cpu;

    ap_prepare(ap_main, 1);
    lapic_write(SVR, 0x1ff);
    if (count > CPUS_MAX)
        count = CPUS_MAX;
    for (cpu = 1; cpu < count; cpu++)
        if (!smp_restart(cpu))
            break;
    return cpu;
}

void smp_begin(u32 cpu, smp_fn *fn, ulong arg)
{
    smp_wait(cpu);
    work_arg[cpu] = arg;
    barrier();
    work[cpu] = fn;
}

void smp_wait(u32 cpu)
{
    while (work[cpu])
        pause();
}

void smp_run(u32 cpu, smp_fn *fn, ulong arg)
{
    if (cpu == 0) {
        fn(arg);
        return;
    }
    smp_begin(cpu, fn, arg);
    smp_wait(cpu);
}
