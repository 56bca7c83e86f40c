/* SPDX-License-Identifier: MIT
 *
 * What the Hv#1 images share: numbers of the TLFS, MSR accesses that may fault, hypercalls.
 */
#ifndef GUEST_HV1_H
#define GUEST_HV1_H

#include "smp.h"

enum hv_msr {
    HV_GUEST_OS_ID = 0x40000000,
    HV_HYPERCALL = 0x40000001,
    HV_VP_INDEX = 0x40000002,
    HV_RESET = 0x40000003,
    HV_VP_RUNTIME = 0x40000010,
    HV_TIME_REF_COUNT = 0x40000020,
    HV_REFERENCE_TSC = 0x40000021,
    HV_TSC_FREQUENCY = 0x40000022,
    HV_APIC_FREQUENCY = 0x40000023,
    HV_EOI = 0x40000070,
    HV_ICR = 0x40000071,
    HV_TPR = 0x40000072,
    HV_VP_ASSIST = 0x40000073,
    HV_SCONTROL = 0x40000080,
    HV_SVERSION = 0x40000081,
    HV_SIEFP = 0x40000082,
    HV_SIMP = 0x40000083,
    HV_EOM = 0x40000084,
    HV_SINT0 = 0x40000090,
    HV_STIMER0_CONFIG = 0x400000b0,
    HV_STIMER0_COUNT = 0x400000b1,
    HV_GUEST_IDLE = 0x400000f0,
    HV_CRASH_P0 = 0x40000100,
    HV_CRASH_CTL = 0x40000105,
};

enum hv_status {
    HV_SUCCESS = 0,
    HV_INVALID_CODE = 2,
    HV_INVALID_INPUT = 3,
    HV_INVALID_ALIGNMENT = 4,
    HV_INVALID_PARAMETER = 5,
    HV_ACCESS_DENIED = 6,
    HV_INVALID_PORT_ID = 0x11,
    HV_INVALID_CONNECTION_ID = 0x12,
    HV_INSUFFICIENT_BUFFERS = 0x13,
    HV_INVALID_SYNIC_STATE = 0x18,
};

#define HV_FAST       (1ull << 16)
#define HV_REPS(n)    ((u64)(n) << 32)
#define HV_START(n)   ((u64)(n) << 48)
#define HV_VARHEAD(n) ((u64)(n) << 17)
#define HV_OS_ID      0x8100000000000001ull /* open source, Linux */

enum hv_level { HV_OFF, HV_MIN, HV_FULL };

/* The profile that the run was started with: its word on the command line. */
static inline enum hv_level hv_level(void)
{
    if (guest_option("hv=off"))
        return HV_OFF;
    return guest_option("hv=min") ? HV_MIN : HV_FULL;
}

/* false: it faulted (checked to be #GP(0)). */
static inline bool msr_try_read(u32 msr, u64 *value)
{
    u32 low = 0, high = 0;

    TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(msr), "0"(0), "1"(0) : "memory");
    *value = (u64)high << 32 | low;
    return trap.vector == NO_TRAP;
}

static inline bool msr_try_write(u32 msr, u64 value)
{
    TRY("wrmsr", ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
    return trap.vector == NO_TRAP;
}

static inline void check_msr(u32 msr, u64 want, const char *name)
{
    u64 value = 0;

    if (!msr_try_read(msr, &value))
        check(false, "%s: MSR %x faults", name, msr);
    else
        check_eq(value, want, "%s: MSR %x", name, msr);
}

static inline void check_msr_gp(u32 msr, bool write, u64 value, const char *name)
{
    u64 ignored;

    if (write)
        msr_try_write(msr, value);
    else
        msr_try_read(msr, &ignored);
    check_fault(GP, 0, "%s: %s MSR %x", name, write ? "WRMSR" : "RDMSR", msr);
}

/* Where the tests put the page; set by hv_enable(). */
extern void *hv_page;

/* Identity, then the page at a page of its own. false: the enable bit did not stay. */
static inline bool hv_enable(void *page)
{
    hv_page = page;
    wrmsr(HV_GUEST_OS_ID, HV_OS_ID);
    wrmsr(HV_HYPERCALL, (ulong)page | 1);
    return rdmsr(HV_HYPERCALL) & 1;
}

static inline u64 hv_call(u64 control, u64 input, u64 output)
{
    register u64 r8 asm("r8") = output;
    u64 result;

    asm volatile("call *%[page]"
                 : "=a"(result), "+c"(control), "+d"(input), "+r"(r8)
                 : [page] "r"(hv_page)
                 : "memory", "cc", "r9", "r10", "r11");
    return result;
}

static inline u32 hv_status(u64 control, u64 input, u64 output)
{
    return (u16)hv_call(control, input, output);
}

/* -- time and interrupts; the unit of reference time is 100 ns -- */

enum { MS = 10000 };

static inline u64 now(void)
{
    return rdmsr(HV_TIME_REF_COUNT);
}

/* Interrupts on until so much reference time is over. */
static inline void pass(u64 units)
{
    u64 end = now() + units;

    asm volatile("sti");
    while (now() < end)
        pause();
    asm volatile("cli");
}

/* Interrupts on until it is so, or for five seconds. */
#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        u64 end = now() + 5000 * MS;                                                               \
        asm volatile("sti" ::: "memory");                                                          \
        while (!(condition) && now() < end)                                                        \
            pause();                                                                               \
        asm volatile("cli" ::: "memory");                                                          \
    } while (0)

static inline void pass_until(volatile u32 *counter, u32 value)
{
    AWAIT(*counter >= value);
}

/* -- the ACPI timer, against which the others are measured -- */

enum { PM_HZ = 3579545 };

static inline u32 pm_timer(void)
{
    return inl(0x608) & 0xffffff;
}

static inline void pm_timer_start(void)
{
    enum { PM_BASE = 0x40, PM_ENABLE = 0x80 };
    const u32 device = 0x80000000 | 1 << 11 | 3 << 8;

    outl(0xcf8, device | PM_BASE);
    if (inl(0xcfc) & ~1u)
        return; /* the firmware has placed it */
    outl(0xcfc, 0x601);
    outl(0xcf8, device | PM_ENABLE);
    outl(0xcfc, inl(0xcfc) | 1);
}

/* By 0.1 %. */
static inline bool within(u64 value, u64 want)
{
    return value >= want - want / 1000 && value <= want + want / 1000;
}

static inline bool in_service(u32 vector)
{
    return lapic_read(0x100 + vector / 32 * 16) >> vector % 32 & 1;
}

#endif
