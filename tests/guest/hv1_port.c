/* SPDX-License-Identifier: MIT
 *
 * Hv#1: messages and events through the connections of hyperv-testdev. Names begin with the test's
 * ID in the project's hv1-checklist, section 7.
 */
#include "lib/hv1.h"

void *hv_page;
static u32 cpus;

enum { SINT_VECTOR = 0xd1, TESTDEV = 0x3000, QUEUE = 16, FLAGS = 2048, PAYLOAD_MAX = 240 };
enum operation { MESSAGE_CREATE = 4, MESSAGE_DESTROY, EVENT_CREATE, EVENT_DESTROY };

struct message {
    u32 type;
    u8 size, flags;
    u16 reserved;
    u64 origin;
    u8 payload[PAYLOAD_MAX];
};

static volatile struct message *sim;
static volatile u8 *sief;
static volatile u32 interrupts[CPUS_MAX];

static struct {
    u32 connection, reserved, type, size;
    u8 payload[PAYLOAD_MAX];
} post __attribute__((aligned(4096)));

static void on_sint(struct frame *f)
{
    (void)f;
    interrupts[rdmsr(HV_VP_INDEX)]++;
    wrmsr(HV_EOI, 0);
}

static void connect(enum operation operation, u32 connection, u32 vp, u32 sint)
{
    outl(TESTDEV, connection << 24 | operation << 16 | vp << 8 | sint);
}

static void synic_on(ulong pages)
{
    wrmsr(HV_SIMP, pages | 1);
    wrmsr(HV_SIEFP, (pages + 4096) | 1);
    wrmsr(HV_SCONTROL, 1);
    for (u32 n = 0; n < 16; n++)
        wrmsr(HV_SINT0 + n, SINT_VECTOR);
}

static void synic_off(ulong unused)
{
    (void)unused;
    for (u32 n = 0; n < 16; n++)
        wrmsr(HV_SINT0 + n, 0x10000);
    wrmsr(HV_SCONTROL, 0);
    wrmsr(HV_SIMP, 0);
    wrmsr(HV_SIEFP, 0);
}

static u32 post_message(u32 connection, u32 type, u32 size)
{
    post.connection = connection;
    post.type = type;
    post.size = size;
    return hv_status(0x5c, (ulong)&post, 0);
}

static u32 signal_fast(u32 connection, u32 flag)
{
    return hv_status(0x5d | HV_FAST, (u64)flag << 32 | connection, 0);
}

static u32 signal_memory(u32 connection, u32 flag)
{
    static u64 input __attribute__((aligned(8)));

    input = (u64)flag << 32 | connection;
    return hv_status(0x5d, (ulong)&input, 0);
}

/* Interrupts of the boot processor since the last look. */
static u32 taken(void)
{
    u32 count;

    asm volatile("sti; nop; nop; cli" ::: "memory");
    count = interrupts[0];
    interrupts[0] = 0;
    return count;
}

/* -- K-09 -- */

static void refusals(void)
{
    check_eq(post_message(7, 1, 8), HV_INVALID_CONNECTION_ID, "K-09 no such connection");
    check_eq(post_message(0x00ffffff, 1, 8), HV_INVALID_CONNECTION_ID, "K-09 nor this one");
    connect(EVENT_CREATE, 7, 0, 3);
    check_eq(post_message(7, 1, 8), HV_INVALID_PORT_ID, "K-09 a port for events");
    connect(EVENT_DESTROY, 7, 0, 3);
    connect(MESSAGE_CREATE, 1, 0, 3);
    check_eq(post_message(1, 0x80000001, 8), HV_INVALID_PARAMETER, "K-09 type bit 31");
    check_eq(post_message(1, 0, 8), HV_INVALID_PARAMETER, "K-09 type 0");
    check_eq(post_message(1, 1, PAYLOAD_MAX + 1), HV_INVALID_PARAMETER, "K-09 241 bytes");
    check_eq(hv_status(0x5c | HV_FAST, 1, 1), HV_INVALID_INPUT, "K-09 no fast form");
    wrmsr(HV_SIMP, 0);
    check_eq(post_message(1, 1, 8), HV_INVALID_SYNIC_STATE, "K-09 no message page");
    wrmsr(HV_SIMP, (ulong)sim | 1);
    wrmsr(HV_SCONTROL, 0);
    check_eq(post_message(1, 1, 8), HV_INVALID_SYNIC_STATE, "K-09 SynIC disabled");
    wrmsr(HV_SCONTROL, 1);
    check_eq(taken(), 0, "K-09 none of these interrupts");
    check_eq(sim[3].type, 0, "K-09 nor shows");
}

static void one_message(u32 sint, u32 size)
{
    bool same = true;

    connect(MESSAGE_CREATE, 1, 0, sint);
    for (u32 n = 0; n < PAYLOAD_MAX; n++)
        post.payload[n] = (u8)(n + sint);
    check_eq(post_message(1, 0x1000 + sint, size), HV_SUCCESS, "K-09 %u bytes to SINT %u", size,
             sint);
    check_eq(taken(), 1, "K-09 one interrupt");
    check_eq(sim[sint].type, 0x1000 + sint, "K-09 its type");
    check_eq(sim[sint].size, size, "K-09 its size");
    check_eq(sim[sint].flags, 0, "K-09 nothing pending");
    for (u32 n = 0; n < size; n++)
        same &= sim[sint].payload[n] == (u8)(n + sint);
    check(same, "K-09 its payload");
    sim[sint].type = 0;
    wrmsr(HV_EOM, 0);
    check_eq(sim[sint].type, 0, "K-09 no second one");
}

/* One message in the slot and sixteen behind it. */
static void fill_queue(u32 connection)
{
    for (u32 n = 0; n <= QUEUE; n++) {
        post.payload[0] = (u8)n;
        check_eq(post_message(connection, 0x2000, 1), HV_SUCCESS, "message %u", n);
    }
}

static void order(void)
{
    u32 wrong = 0;

    connect(MESSAGE_CREATE, 2, 0, 15);
    group_begin("K-09 a full queue");
    fill_queue(2);
    group_end();
    check_eq(post_message(2, 0x2000, 1), HV_INSUFFICIENT_BUFFERS, "K-09 one too many");
    check_eq(sim[15].flags & 1, 1, "K-09 something is pending");
    check_eq(taken(), 1, "K-09 one interrupt for the first");
    for (u32 n = 0; n <= QUEUE; n++) {
        wrong += sim[15].payload[0] != n;
        wrong += (sim[15].flags & 1) != (n < QUEUE);
        sim[15].type = 0;
        wrmsr(HV_EOM, 0);
        wrong += n < QUEUE && taken() != 1;
    }
    check_eq(wrong, 0, "K-09 in order, with an interrupt each");
    check_eq(sim[15].type, 0, "K-09 that was all");
    connect(MESSAGE_DESTROY, 2, 0, 15);
    check_eq(post_message(2, 1, 1), HV_INVALID_CONNECTION_ID, "K-09 the connection is gone");
}

/* -- K-10, S-08 -- */

static u32 bits_set(void)
{
    u32 count = 0;

    for (u32 n = 0; n < 4096; n++)
        for (u32 left = sief[n]; left; left &= left - 1)
            count++;
    return count;
}

static void flag_positions(void)
{
    static const u32 sints[] = {0, 15}, flags[] = {0, 7, 8, 2047};

    for (u32 s = 0; s < ARRAY_SIZE(sints); s++) {
        connect(EVENT_CREATE, 0, 0, sints[s]);
        for (u32 f = 0; f < ARRAY_SIZE(flags); f++) {
            volatile u8 *byte = &sief[256 * sints[s] + flags[f] / 8];

            check_eq(signal_fast(0, flags[f]), HV_SUCCESS, "S-08 flag %u of SINT %u", flags[f],
                     sints[s]);
            check_eq(*byte, 1u << flags[f] % 8, "S-08 its bit");
            check_eq(bits_set(), 1, "S-08 and no other");
            check_eq(taken(), 1, "S-08 one interrupt");
            *byte = 0;
        }
    }
}

static void events(void)
{
    connect(EVENT_CREATE, 5, 0, 4);
    check_eq(signal_memory(5, 9), HV_SUCCESS, "K-10 from memory");
    check_eq(sief[256 * 4 + 1], 1 << 6, "K-10 the flag counts from the port's base");
    check_eq(taken(), 1, "K-10 one interrupt");
    check_eq(signal_fast(5, 9), HV_SUCCESS, "K-10 once more, fast");
    check_eq(signal_memory(5, 9), HV_SUCCESS, "K-10 and from memory");
    check_eq(taken(), 0, "K-10 no interrupt while it is set");
    sief[256 * 4 + 1] = 0;
    check_eq(signal_fast(5, 9), HV_SUCCESS, "K-10 after it was cleared");
    check_eq(taken(), 1, "K-10 an interrupt again");
    sief[256 * 4 + 1] = 0;
    check_eq(signal_fast(5, FLAGS - 5), HV_INVALID_PARAMETER, "K-10 one flag too far");
    check_eq(signal_memory(5, 0xffff), HV_INVALID_PARAMETER, "K-10 much too far");
    check_eq(signal_fast(6, 0), HV_INVALID_CONNECTION_ID, "K-10 no such connection");
    check_eq(signal_fast(1, 0), HV_INVALID_PORT_ID, "K-10 a port for messages");
    check_eq(signal_fast(5, 1 << 16), HV_INVALID_INPUT, "K-10 padding");
    wrmsr(HV_SINT0 + 4, 0x10000 | SINT_VECTOR);
    check_eq(signal_fast(5, 9), HV_INVALID_SYNIC_STATE, "K-10 masked");
    wrmsr(HV_SINT0 + 4, SINT_VECTOR);
    wrmsr(HV_SIEFP, 0);
    check_eq(signal_fast(5, 9), HV_INVALID_SYNIC_STATE, "K-10 no page of flags");
    wrmsr(HV_SIEFP, (ulong)sief | 1);
    check_eq(bits_set(), 0, "K-10 none of these shows");
    check_eq(taken(), 0, "K-10 nor interrupts");
}

/* -- several processors -- */

static volatile u64 other[4];

static void read_state(ulong unused)
{
    (void)unused;
    other[0] = rdmsr(HV_SIMP);
    other[1] = rdmsr(HV_SIEFP);
    other[2] = rdmsr(HV_SCONTROL);
    other[3] = rdmsr(HV_SINT0 + 3);
}

/* S-10: INIT and SIPI of a processor whose queue is full. */
static void reset_of_a_processor(u8 *pages)
{
    volatile struct message *slot = (volatile struct message *)pages + 3;

    smp_run(1, synic_on, (ulong)pages);
    connect(MESSAGE_CREATE, 3, 1, 3);
    group_begin("S-10 a full queue");
    fill_queue(3);
    group_end();
    check_eq(slot->type, 0x2000, "K-09 a message to another processor");
    check(smp_restart(1), "S-10 INIT and SIPI");
    smp_run(1, read_state, 0);
    check(!other[0] && !other[1] && !other[2] && other[3] == 0x10000, "S-10 registers are clear");
    check_eq(post_message(3, 1, 1), HV_INVALID_SYNIC_STATE, "S-10 SynIC is off");
    check_eq(slot->type, 0, "S-10 memory is back");
    smp_run(1, synic_on, (ulong)pages);
    check_eq(slot->type, 0, "S-10 the page is empty");
    post.payload[0] = 0x77;
    check_eq(post_message(3, 0x3000, 1), HV_SUCCESS, "S-10 a message after that");
    check_eq(slot->payload[0], 0x77, "S-10 is the first to come");
    check_eq(slot->flags, 0, "S-10 nothing pending");
    smp_run(1, synic_off, 0);
}

/* K-11: all signal flags of their own on the boot processor, which counts them. */
static void signal_many(ulong cpu)
{
    u32 wrong = 0;

    for (u32 n = 0; n < 2000; n++)
        wrong += signal_fast(0, (u32)cpu * 64 + n % 64) != HV_SUCCESS;
    other[cpu % 4] = wrong;
}

static void concurrent(void)
{
    u32 want = (cpus > 4 ? 4 : cpus);

    connect(EVENT_CREATE, 0, 0, 6);
    for (u32 n = 0; n < 4; n++)
        other[n] = 0;
    for (u32 n = 1; n < want; n++)
        smp_begin(n, signal_many, n);
    signal_many(0);
    for (u32 n = 1; n < want; n++)
        smp_wait(n);
    check_eq(other[0] + other[1] + other[2] + other[3], 0, "K-11 no wrong status");
    check_eq(bits_set(), want * 64, "K-11 no flag is lost");
    check(taken() >= 1, "K-11 interrupts");
}

void guest_main(void)
{
    u8 *pages = page_alloc(), *others;

    page_alloc();
    others = page_alloc();
    page_alloc();
    cpus = smp_start();
    trap_set_handler(SINT_VECTOR, on_sint);
    check_eq(cpuid(0x40000003, 0).b & 0x30, 0x30, "K-09, K-10 privileges");
    hv_enable(page_alloc());
    sim = (volatile struct message *)pages;
    sief = pages + 4096;
    synic_on((ulong)pages);
    refusals();
    one_message(3, 8);
    one_message(0, PAYLOAD_MAX);
    one_message(15, 0);
    order();
    flag_positions();
    events();
    if (cpus > 1)
        reset_of_a_processor(others);
    concurrent();
    synic_off(0);
}
