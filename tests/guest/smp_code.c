/* SPDX-License-Identifier: MIT
 *
 * What one processor does to the code, the translations and the attention of others:
 * cross-modifying code (SDM 3A 8.1.3), TLB shoot-down (4.10.5), interprocessor interrupts (10.6).
 */
#include "team.h"

#define VA 0x0000323400000000ul

enum { PAGE = 4096, POOL = 64, VECTOR_SHOOT = 0x81, VECTOR_COUNT = 0x82, VECTOR_SELF = 0x83 };

static u32 cpus, rounds;
static volatile u32 bad;

/* -- cross-modifying code -- */

static u8 *pool[POOL];
static volatile struct {
    u32 value;
    u32 pad[31];
} written, executed;

/* mov $value, %eax; ret */
static u64 returns(u32 value)
{
    return 0xb8 | (u64)value << 8 | 0xc3ull << 40;
}

static u32 call(const u8 *code)
{
    u32 value;

    asm volatile("call *%1" : "=a"(value) : "r"(code) : "memory", "cc");
    return value;
}

static u8 *slot(u32 n)
{
    return pool[n / 8 % POOL] + n % 8 * 504 + n % 64 * 8 % 504;
}

/* Processor 1 writes functions, one after the other, into pages that the others run functions of
 * all the time; each is run as soon as it is announced, after a serialising instruction. */
static void modify(u32 cpu)
{
    team_barrier(cpus);
    for (u32 n = 1; n <= rounds; n++) {
        if (cpu == 1) {
            while (executed.value < (n - 1) * (cpus - 1))
                pause();
            *(volatile u64 *)slot(n) = returns(n);
            barrier();
            written.value = n;
        } else {
            while (written.value < n) {
                if (n > 1 && call(slot(n - 1)) != n - 1)
                    atomic_add(&bad, 1);
                pause();
            }
            cpuid(0, 0);
            if (call(slot(n)) != n)
                atomic_add(&bad, 1);
            atomic_add(&executed.value, 1);
        }
    }
}

/* The same function again and again, in a loop of the reader that is never left. */
static void modify_one(u32 cpu)
{
    volatile u64 *code = (volatile u64 *)pool[0];

    team_barrier(cpus);
    if (cpu == 1) {
        for (u32 n = 1; n <= rounds; n++)
            *code = returns(n);
        written.value = rounds;
        return;
    }
    for (u32 last = 0, now; !written.value || last != rounds; last = now) {
        cpuid(0, 0);
        now = call(pool[0]);
        if (now < last || now > rounds)
            atomic_add(&bad, 1);
        if (written.value && now != rounds)
            now = last; /* it may have been fetched before `written` was read: once more */
    }
}

static void cross_modifying(void)
{
    group_begin("cross-modifying code");
    for (u32 n = 0; n < POOL; n++)
        pool[n] = page_alloc();
    bad = written.value = executed.value = 0;
    team_run(cpus, modify);
    check_eq(bad, 0, "every function is run as it was written");
    for (u32 n = 0; n < PAGE / 8; n++)
        ((u64 *)pool[0])[n] = returns(0);
    bad = written.value = 0;
    team_run(cpus, modify_one);
    check_eq(bad, 0, "a function that changes all the time");
    group_end();
}

/* -- shoot-down -- */

enum { ALIVE = 0x600d, DEAD = 0xdead };

static volatile u32 acks, shooting;
static u8 *frames[2];

void shoot_handler(void);
void shoot_handler(void)
{
    invlpg(VA);
    lapic_write(0xb0, 0);
    atomic_add(&acks, 1);
}
extern const u8 shoot_entry[];
#define SAVED_PUSH                                                                                 \
    "push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; push "  \
    "%r11; "
#define SAVED_POP                                                                                  \
    "pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax; "
#define ENTRY(name, handler)                                                                       \
    asm(".text\n" #name ": " SAVED_PUSH                                                            \
        "cld; push %rbp; mov %rsp, %rbp; and $-16, %rsp; call " #handler                           \
        "; mov %rbp, %rsp; pop %rbp; " SAVED_POP "iretq\n")
ENTRY(shoot_entry, shoot_handler);

static void shoot(u32 cpu)
{
    volatile u32 *page = (volatile u32 *)VA;

    team_barrier(cpus);
    if (cpu) {
        asm volatile("sti");
        while (shooting) {
            if (page[0] == DEAD)
                atomic_add(&bad, 1);
            page[cpu * 16]++;
        }
        asm volatile("cli");
        return;
    }
    for (u32 n = 1; n <= rounds / 8; n++) {
        u32 *old = (u32 *)frames[(n - 1) % 2], *new = (u32 *)frames[n % 2];
        u32 before[TEAM_MAX];

        new[0] = ALIVE;
        acks = 0;
        *(volatile u64 *)page_entry(VA, 1) = (u64) new | PTE_P | PTE_W;
        invlpg(VA);
        team_ipi(TEAM_OTHERS, VECTOR_SHOOT);
        while (acks < cpus - 1)
            pause();
        old[0] = DEAD;
        for (u32 c = 1; c < cpus; c++)
            before[c] = ((volatile u32 *)old)[c * 16];
        for (u32 k = 0; k < 50; k++)
            pause();
        for (u32 c = 1; c < cpus; c++)
            if (((volatile u32 *)old)[c * 16] != before[c])
                atomic_add(&bad, 1);
    }
    shooting = 0;
}

static void shoot_down(void)
{
    group_begin("TLB shoot-down");
    for (u32 n = 0; n < 2; n++)
        frames[n] = page_alloc();
    *(u32 *)frames[0] = ALIVE;
    page_map(VA, (u64)frames[0] | PTE_P | PTE_W);
    team_gate(VECTOR_SHOOT, shoot_entry);
    bad = 0;
    shooting = 1;
    team_run(cpus, shoot);
    check_eq(bad, 0, "nobody uses the old page after its INVLPG");
    group_end();
}

/* -- interrupts -- */

static volatile struct {
    u32 count;
    u32 pad[31];
} received[TEAM_MAX];
static volatile u32 nmis;

static u32 my_cpu(void)
{
    u32 id = lapic_read(0x20) >> 24;

    for (u32 n = 0; n < cpus; n++)
        if (team_apic_id(n) == id)
            return n;
    return 0;
}

void count_handler(void);
void count_handler(void)
{
    received[my_cpu()].count++;
    lapic_write(0xb0, 0);
}
extern const u8 count_entry[];
ENTRY(count_entry, count_handler);

void nmi_handler(void);
void nmi_handler(void)
{
    atomic_add(&nmis, 1);
}
extern const u8 nmi_entry[];
ENTRY(nmi_entry, nmi_handler);

/* Everybody interrupts the next one, which is in a loop, halted or interrupting itself; each waits
 * until its interrupt has arrived. */
static void ring(u32 cpu)
{
    u32 next = (cpu + 1) % cpus;

    asm volatile("sti");
    team_barrier(cpus);
    for (u32 n = 1; n <= rounds / 8; n++) {
        team_ipi(team_apic_id(next), VECTOR_COUNT);
        while (received[next].count < n)
            pause();
    }
    team_barrier(cpus);
    asm volatile("cli");
}

static volatile u32 woken;

static void wake_halted(u32 cpu)
{
    team_barrier(cpus);
    for (u32 n = 1; n <= rounds / 32; n++) {
        if (cpu) {
            u32 before = received[cpu].count;

            atomic_add(&woken, 1);
            asm volatile("sti; hlt; cli");
            while (received[cpu].count == before)
                asm volatile("sti; hlt; cli");
        } else {
            while (woken < n * (cpus - 1))
                pause();
            team_ipi(TEAM_OTHERS, VECTOR_COUNT);
        }
    }
}

/* -- MONITOR and MWAIT -- */

static volatile struct {
    u32 value;
    u32 pad[31];
} bell[2];

/* Sleeps, as often as MWAIT ends, until the word has the value. */
static void await(volatile u32 *word, u32 value)
{
    while (*word != value) {
        asm volatile("monitor" ::"a"(word), "c"(0), "d"(0));
        if (*word == value)
            break;
        asm volatile("mwait" ::"a"(0), "c"(0) : "memory");
    }
}

/* Processors 0 and 1 wake each other by stores; now and then one comes late. */
static void store_to_line(u32 cpu)
{
    team_barrier(cpus);
    for (u32 n = 1; n <= rounds / 32 && cpu < 2; n++) {
        for (u32 late = 0; late < (n % 8 == 0 ? 2000 : 0); late++)
            pause();
        if (cpu == 0)
            bell[1].value = n;
        await(&bell[cpu].value, n);
        if (cpu == 1)
            bell[0].value = n;
    }
}

/* Processor 1 sleeps on a line that nobody writes until an interrupt comes. */
static void interrupt_mwait(u32 cpu)
{
    team_barrier(cpus);
    for (u32 n = 1; n <= rounds / 32; n++) {
        if (cpu == 1) {
            u32 before = received[cpu].count;

            atomic_add(&woken, 1);
            while (received[cpu].count == before) {
                asm volatile("monitor" ::"a"(&bell[0]), "c"(0), "d"(0));
                asm volatile("sti; mwait; cli" ::"a"(0), "c"(0) : "memory");
            }
        } else if (!cpu) {
            while (woken < n)
                pause();
            team_ipi(team_apic_id(1), VECTOR_COUNT);
        }
    }
}

static bool has_monitor(void)
{
    return cpuid(1, 0).c & BIT(3);
}

static void monitored_lines(void)
{
    u32 before = received[1].count;

    group_begin("MONITOR and MWAIT");
    if (!has_monitor()) {
        check_skip("MWAIT", "not offered");
        group_end();
        return;
    }
    team_run(cpus, store_to_line);
    check_eq(bell[0].value, rounds / 32, "a store ends it");
    woken = 0;
    team_run(cpus, interrupt_mwait);
    check_eq(received[1].count - before, rounds / 32, "an interrupt ends it");
    group_end();
}

static void nmi_others(u32 cpu)
{
    enum { ICR = 0x300, NMI_TO_OTHERS = 0xc4400 };

    team_barrier(cpus);
    if (cpu == 0)
        for (u32 n = 1; n <= rounds / 32; n++) {
            lapic_write(ICR, NMI_TO_OTHERS);
            while (nmis < n * (cpus - 1))
                pause();
        }
    team_barrier(cpus);
}

/* The handler starts before the instruction behind the one that sends. */
static volatile u32 self_seen;
void self_handler(void);
void self_handler(void)
{
    self_seen = 1;
    lapic_write(0xb0, 0);
}
extern const u8 self_entry[];
ENTRY(self_entry, self_handler);

static void self_interrupts(u32 cpu)
{
    static const u32 icrs[] = {0x44000 | VECTOR_SELF, 0x84000 | VECTOR_SELF};

    if (cpu)
        return;
    asm volatile("sti");
    for (u32 n = 0; n < rounds / 8; n++) {
        u32 seen;

        self_seen = 0;
        asm volatile("movl %1, (%2); movl %3, %0"
                     : "=&r"(seen)
                     : "r"(icrs[0]), "r"((ulong)LAPIC_DEFAULT + 0x300), "m"(self_seen)
                     : "memory");
        if (!seen)
            atomic_add(&bad, 1);
    }
    asm volatile("cli");
}

static void interrupts(void)
{
    group_begin("interprocessor interrupts");
    team_gate(VECTOR_COUNT, count_entry);
    team_gate(VECTOR_SELF, self_entry);
    team_gate(NMI, nmi_entry);
    team_run(cpus, ring);
    for (u32 n = 0; n < cpus; n++)
        check_eq(received[n].count, rounds / 8, "none is lost or doubled, processor %u", n);
    team_run(cpus, wake_halted);
    for (u32 n = 1; n < cpus; n++)
        check_eq(received[n].count, rounds / 8 + rounds / 32, "each ends a HLT, processor %u", n);
    team_run(cpus, nmi_others);
    check_eq(nmis, rounds / 32 * (cpus - 1), "NMIs");
    bad = 0;
    team_run(cpus, self_interrupts);
    check_eq(bad, 0, "one to itself comes before the next instruction");
    group_end();
}

void guest_main(void)
{
    cpus = team_start();
    if (cpus < 2) {
        check_skip("processors and each other", "one processor");
        return;
    }
    rounds = guest_option("long") ? 200000 : guest_option("short") ? 640 : 2400;
    cross_modifying();
    shoot_down();
    interrupts();
    monitored_lines();
}
