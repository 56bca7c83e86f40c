/* SPDX-License-Identifier: MIT
 *
 * Hv#1 under any sequence of synthetic MSRs, hypercalls, stores to its pages, local APICs,
 * interrupts, time, sleep and resets, on two VPs of the whole PC.
 *
 * An input is a byte that chooses the profile, then operations of OP_SIZE bytes each: what, which,
 * where, and a value. Checked besides memory errors:
 * - what lies under an overlay page is as it was left: only stores of the guest change RAM;
 * - the hypercall page never changes;
 * - reference time never goes back, resets included, and the TSC page shows the same;
 * - a refused WRMSR changes nothing that RDMSR shows;
 * - a hypercall keeps all registers but its result, which says nothing impossible.
 *
 * There is one board for each profile, put back to its beginning after each input; what the guest
 * saw in one of REPLAY_EVERY inputs is compared with what it sees on a board that was just made.
 */
#include <xxhash.h>

#include "tests/fuzz/rewind.h"

enum op {
    OP_WRMSR,      /* by one processor, or by all */
    OP_WRMSR_PAGE, /* with an address that can hold a page */
    OP_RDMSR,
    OP_CALL,
    OP_INPUT, /* a word of what calls read */
    OP_STORE,
    OP_LOAD,
    OP_TIME,
    OP_TAKE, /* the interrupt that waits, and its EOI or not */
    OP_CONNECT,
    OP_MODE,
    OP_CPUID,
    OP_INIT, /* of one processor */
    OP_RESET,
    OP_APIC, /* a register of the local APIC's page */
    OP_SLEEP,
    OP_COUNT
};
enum { OP_SIZE = 12, OPS_MAX = 256 };

enum {
    PAGES_AT = 0x10000, /* RAM where pages are put, and inputs of calls lie */
    PAGES = 8,
    INPUT_AT = PAGES_AT + 2 * PAGE_SIZE,
    TESTDEV = 0x3000,
    TSC = 0x10, /* the MSR */
    APIC_SVR = 0xf0,
    APIC_SVR_ENABLED = 0x1ff,
    CHECK_EVERY = 16, /* operations between looks at all pages */
    REPLAY_EVERY = 4096,
    RESETS_MAX = 2, /* of the machine in an input: they cost as much as a hundred others */
};

#define APIC_AT        0xfee00000ull

/* Of a call's control word: fast, up to 3 words of variable header, 15 repetitions. */
#define CONTROL_LIKELY 0x0003000f00070000ull

static const char *const profiles[] = {
    "full",       "min", "full,-xmm-input", "full,-ex-masks,-tlbflush-ext", "full,-stimer-direct",
    "full,-lock", "off", "full,+invtsc",    "min,+time,+synic,+stimer"};

static const u32 msrs[] = {0x40000000, 0x40000001, 0x40000002, 0x40000003, 0x40000010, 0x40000020,
                           0x40000021, 0x40000022, 0x40000023, 0x40000070, 0x40000071, 0x40000072,
                           0x40000073, 0x40000080, 0x40000081, 0x40000082, 0x40000083, 0x40000084,
                           0x40000090, 0x40000092, 0x4000009f, 0x400000b0, 0x400000b1, 0x400000b2,
                           0x400000b3, 0x400000b6, 0x400000b7, 0x400000f0, 0x40000100, 0x40000104,
                           0x40000105, 0x40000118, 0x10,       0x3b,       0x1b,       0x808};

static const u16 codes[] = {0x02, 0x03, 0x08, 0x0b, 0x13, 0x14,   0x15,
                            0x46, 0x50, 0x5c, 0x5d, 0x69, 0x8001, 0xffff};

struct target {
    struct rewind *kept;
    struct machine *m;
    u64 time;                    /* reference time, when it was last looked at */
    unsigned resets;             /* so far */
    u64 seen;                    /* all that the guest has seen, folded */
    u8 under[PAGES * PAGE_SIZE]; /* RAM of the pages */
    u8 hypercall_page[PAGE_SIZE];
};

static void see(struct target *t, u64 value)
{
    t->seen = (t->seen ^ value) * 0x9e3779b97f4a7c15ull;
    t->seen ^= t->seen >> 32;
}

static struct vcpu *vcpu_of(struct target *t, unsigned which)
{
    struct machine *m = t->m;

    m->running = which % m->processor_count;
    return m->processors[m->running].vcpu;
}

static u32 msr_of(unsigned where)
{
    unsigned n = where % (ARRAY_SIZE(msrs) + 1);

    return n < ARRAY_SIZE(msrs) ? msrs[n] : 0x40000000 + (where >> 6 & 0x1ff);
}

/* -- invariants -- */

static u8 *ram_page(const struct target *t, unsigned n)
{
    return t->m->ram.hva + PAGES_AT + n * PAGE_SIZE;
}

static void check_pages(const struct target *t)
{
    const struct hv1 *h = t->m->hv1;

    check(!memcmp(t->under, ram_page(t, 0), sizeof(t->under)), "RAM changed by itself");
    check(!h || !memcmp(t->hypercall_page, h->hypercall_page.hva, PAGE_SIZE),
          "the hypercall page changed");
}

/* While the TSC page is valid, it and any processor's TSC make the reference time. */
static void check_tsc_page(const struct target *t, u64 time)
{
    const struct hv_reference_tsc *page = (const struct hv_reference_tsc *)t->m->hv1->tsc_page.hva;

    for (unsigned n = 0; page->sequence && n < t->m->processor_count; n++) {
        u64 tsc = 0, from_page;

        msr_read(t->m->processors[n].vcpu, TSC, &tsc);
        from_page = (u64)((u128)tsc * page->scale >> 64) + (u64)page->offset;
        check(from_page == time, "time is %lu by the page on processor %u, and %lu", from_page, n,
              time);
    }
}

static void check_time(struct target *t)
{
    struct hv1 *h = t->m->hv1;
    u64 now;

    if (!h || !hv1_has(h, HV1_TIME))
        return;
    now = hv1_time(h);
    check(now >= t->time, "reference time went back from %lu to %lu", t->time, now);
    t->time = now;
    check_tsc_page(t, now);
}

/* A store of the guest to 8 bytes of the pages, or to what hides them. */
static void store(struct target *t, u64 gpa, u64 value)
{
    u64 at = gpa - PAGES_AT;
    u8 *under = &t->under[at];
    const u8 *now = ram_page(t, 0) + at;

    check(!memcmp(under, now, 8), "RAM at %lx changed by itself", gpa);
    physmap_write_uint(t->m->map, gpa, value, 8);
    memcpy(under, now, 8);
}

/* -- operations -- */

/* Those that show time, or what the local APIC makes of it. */
static bool steady(u32 msr)
{
    return msr != 0x10 && msr != HV_X64_MSR_VP_RUNTIME && msr != HV_X64_MSR_TIME_REF_COUNT &&
           msr != HV_X64_MSR_GUEST_IDLE;
}

static void write_msr(struct vcpu *v, u32 msr, u64 value)
{
    u64 before = 0, after = 0;
    bool readable = steady(msr) && msr_read(v, msr, &before);

    if (msr_write(v, msr, value))
        return;
    check(!readable || (msr_read(v, msr, &after) && after == before),
          "a refused WRMSR %x of %lx changed it from %lx to %lx", msr, value, before, after);
}

static void write_msrs(const struct target *t, struct vcpu *v, bool all, u32 msr, u64 value)
{
    for (unsigned n = 0; all && n < t->m->processor_count; n++)
        if (t->m->processors[n].vcpu != v)
            write_msr(t->m->processors[n].vcpu, msr, value);
    write_msr(v, msr, value);
}

static void read_msr(struct target *t, struct vcpu *v, u32 msr)
{
    u64 value = 0;

    see(t, msr_read(v, msr, &value));
    see(t, value);
}

/* In one of the pages, or where there is no RAM at all. */
static u64 page_address(u64 value)
{
    static const u64 elsewhere[] = {0,          0xa0000,    0xf0000,   0x200000,
                                    0xfee00000, 1ull << 39, 1ull << 52};

    return value & 8 ? elsewhere[(value >> 4) % ARRAY_SIZE(elsewhere)]
                     : PAGES_AT + (value & (PAGES - 1)) * PAGE_SIZE;
}

/* Mostly one in which calls may be made. */
static void set_mode(struct vcpu *v, unsigned where)
{
    v->cr0 = (where & 0xf0) == 0x10 ? v->cr0 & ~(u64)CR0_PE : v->cr0 | CR0_PE;
    v->cpl = (where & 0xf0) == 0x20 ? 3 : 0;
    v->code_size = where & 1 ? 4 : 8;
    v->seg[SEG_CS].base = 0;
    v->seg[SEG_CS].limit = 0xffffffff;
}

static void check_result(const struct vcpu *v, u64 control, u64 result)
{
    static const u16 known[] = {0, 2, 3, 4, 5, 6, 0x11, 0x12, 0x13, 0x18};
    unsigned reps = (unsigned)(control >> 32) & 0xfff, done = (unsigned)(result >> 32) & 0xfff;
    bool is_known = false;

    for (size_t n = 0; n < ARRAY_SIZE(known); n++)
        is_known |= (u16)result == known[n];
    check(is_known, "status %x", (u16)result);
    check(!(result & 0xfffff000ffff0000), "reserved bits of result %lx", result);
    check(done <= reps, "%u of %u repetitions are done", done, reps);
    check(!v->fault.pending, "a call that returned left a fault");
}

static void call(struct target *t, struct vcpu *v, unsigned where, u64 value)
{
    struct hv1 *h = t->m->hv1;
    bool wide;
    u64 before[16], control = codes[where % ARRAY_SIZE(codes)];
    u64 input =
        where & 0x8000 ? page_address(value >> 8) + (value & 0xff8) : INPUT_AT + (value & 8);
    u64 result;

    if (!h)
        return;
    if (where & 0x3000)
        set_mode(v, v->code_size == 4);
    wide = v->code_size == 8;
    control |= value & (where & 0x4000 ? ~0xffffull : CONTROL_LIKELY);
    v->rip = (h->hypercall & PAGE_MASK) + (value >> 60 == 7 ? PAGE_SIZE : 0x20);
    v->gpr[wide ? RCX : RAX] = wide ? control : (u32)control;
    v->gpr[RDX] = wide ? input : control >> 32;
    v->gpr[RBX] = 0;
    if (!wide)
        v->gpr[RCX] = (u32)input;
    v->gpr[8] = value;
    memcpy(before, v->gpr, sizeof(before));
    if (!hv1_hypercall(h, v)) {
        check(v->fault.pending && v->fault.vector == VEC_UD, "a call failed without #UD");
        check(!memcmp(before, v->gpr, sizeof(before)), "#UD changed registers");
        v->fault.pending = false;
        return;
    }
    result = wide ? v->gpr[RAX] : (u32)v->gpr[RAX] | v->gpr[RDX] << 32;
    see(t, result);
    check_result(v, control, result);
    before[RAX] = v->gpr[RAX];
    if (!wide)
        before[RDX] = v->gpr[RDX];
    check(!memcmp(before, v->gpr, sizeof(before)), "call %x changed registers", (u16)control);
}

static void take_interrupt(struct target *t, struct vcpu *v, unsigned where)
{
    const struct vcpu_platform *p = &t->m->vcpu_platform;

    see(t, (u64)p->intr_acknowledge(p->opaque, v));
    if (where & 1)
        msr_write(v, where & 2 ? HV_X64_MSR_EOI : HV_X64_MSR_EOM, 0);
}

static void access_apic(struct target *t, unsigned where, u32 value)
{
    u64 gpa = APIC_AT + (where & 0x3f) * 16;

    if (where & 0x40)
        see(t, physmap_read_uint(t->m->map, gpa, 4));
    else
        physmap_write_uint(t->m->map, gpa, value, 4);
}

static void advance(struct target *t, unsigned where, u64 value)
{
    if (time_now(&t->m->time) < 1ull << 60)
        board_advance(&t->kept->b, (value & 0xffffffff) << (where & 15));
}

/* As the thread of a processor does that has nothing to run. */
static void go_to_sleep(struct target *t, struct vcpu *v, unsigned where, u64 value)
{
    if (!t->m->hv1)
        return;
    see(t, hv1_sleeps(t->m->hv1, v));
    advance(t, where, value);
    hv1_wakes(t->m->hv1, v);
}

static void read_cpuid(struct target *t, const struct vcpu *v, u32 leaf)
{
    struct cpuid_result r;

    cpuid_read(v, leaf, 0, &r);
    see(t, r.eax | (u64)r.ebx << 32);
    see(t, r.ecx | (u64)r.edx << 32);
}

static void do_op(struct target *t, struct fuzz_input *in)
{
    enum op op = fuzz_uint(in, 1) % OP_COUNT;
    unsigned which = (unsigned)fuzz_uint(in, 1);
    struct vcpu *v = vcpu_of(t, which);
    unsigned where = (unsigned)fuzz_uint(in, 2);
    u64 value = fuzz_uint(in, 8);
    struct machine *m = t->m;

    switch (op) {
    case OP_WRMSR: write_msrs(t, v, which & 0x80, msr_of(where), value); break;
    case OP_WRMSR_PAGE: write_msr(v, msr_of(where), page_address(value) | (value >> 52)); break;
    case OP_RDMSR: read_msr(t, v, msr_of(where)); break;
    case OP_CALL: call(t, v, where, value); break;
    case OP_INPUT: store(t, INPUT_AT + (where & 0x3f8), value); break;
    case OP_STORE: store(t, PAGES_AT + where % (PAGES * PAGE_SIZE - 8), value); break;
    case OP_LOAD:
        see(t, physmap_read_uint(m->map, page_address(where) + (value & 0xff8), 8));
        break;
    case OP_TIME: advance(t, where, value); break;
    case OP_TAKE: take_interrupt(t, v, where); break;
    case OP_CONNECT: pio_write(&m->pio, TESTDEV, (u32)value, 4); break;
    case OP_MODE: set_mode(v, where); break;
    case OP_CPUID: read_cpuid(t, v, 0x40000000 + (where & 0x1ff)); break;
    case OP_INIT: vcpu_reset(v, true); break;
    case OP_RESET:
        if (t->resets++ < RESETS_MAX)
            machine_request(m, REQUEST_RESET);
        break;
    case OP_APIC: access_apic(t, where, (u32)value); break;
    case OP_SLEEP: go_to_sleep(t, v, where, value); break;
    case OP_COUNT: break;
    }
    board_serve(&t->kept->b);
    check_time(t);
}

/* -- boards -- */

/* Its local APICs take interrupts, as after a guest's start. */
static void make(struct rewind *r, unsigned profile)
{
    struct machine *m;

    board_create_hv(&r->b, profiles[profile]);
    m = r->b.m;
    memset(m->ram.hva + PAGES_AT, 0xa5, PAGES * PAGE_SIZE);
    for (m->running = 0; m->running < m->processor_count; m->running++)
        physmap_write_uint(m->map, APIC_AT + APIC_SVR, APIC_SVR_ENABLED, 4);
    m->running = 0;
    rewind_keep(r, PAGES_AT, PAGES * PAGE_SIZE);
}

static void see_fields(struct target *t, const struct device_field *fields, const void *self)
{
    for (; fields->name; fields++)
        see(t, XXH3_64bits((const u8 *)self + fields->offset, fields->size));
}

/* All that a guest could see at the end, and what a snapshot would carry. */
static void see_all(struct target *t)
{
    struct machine *m = t->m;

    for (unsigned n = 0; n < m->processor_count; n++) {
        for (unsigned msr = 0; msr < ARRAY_SIZE(msrs); msr++)
            read_msr(t, vcpu_of(t, n), msrs[msr]);
        see_fields(t, lapic_type.save, m->processors[n].lapic);
        see(t, m->processors[n].vcpu->events);
        if (m->hv1)
            see_fields(t, hv1_vp_fields, &m->hv1->vps[n]);
    }
    if (m->hv1)
        see_fields(t, hv1_fields, m->hv1);
    for (unsigned n = 0; n < PART_COUNT; n++)
        if (m->parts[n].ready)
            see_fields(t, m->parts[n].type->save, m->parts[n].self);
    see(t, clock_next_deadline(&m->clock));
    see(t, XXH3_64bits(m->ram.hva, m->ram.size));
}

/* What the guest saw. whole: to the last bit. */
static u64 run(struct rewind *r, const u8 *data, size_t size, bool whole)
{
    struct fuzz_input in = {data, size};
    static struct target t;

    t.kept = r;
    t.m = r->b.m;
    t.time = t.seen = t.resets = 0;
    memcpy(t.under, ram_page(&t, 0), sizeof(t.under));
    if (t.m->hv1)
        memcpy(t.hypercall_page, t.m->hv1->hypercall_page.hva, PAGE_SIZE);
    for (unsigned n = 0; n < OPS_MAX && in.left; n++) {
        do_op(&t, &in);
        if (n % CHECK_EVERY == 0)
            check_pages(&t);
    }
    board_advance(&r->b, NS_PER_SECOND);
    check_pages(&t);
    if (whole)
        see_all(&t);
    return t.seen;
}

static void check_replay(unsigned profile, const u8 *data, size_t size, u64 seen)
{
    struct rewind fresh = {0};
    u64 again;

    make(&fresh, profile);
    again = run(&fresh, data, size, true);
    rewind_drop(&fresh);
    check(seen == again, "the board remembers inputs before this one: %lx, alone %lx", seen, again);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct rewind kept[ARRAY_SIZE(profiles)];
    static unsigned inputs;
    unsigned profile = size ? data[0] % ARRAY_SIZE(profiles) : 0;
    struct rewind *r = &kept[profile];
    bool replay = inputs++ % REPLAY_EVERY == REPLAY_EVERY - 1;
    u64 seen;

    if (size) {
        data++;
        size--;
    }
    if (!r->b.m)
        make(r, profile);
    seen = run(r, data, size, replay);
    rewind_restore(r);
    if (replay)
        check_replay(profile, data, size, seen);
    return 0;
}

static size_t put_op(u8 *data, size_t at, enum op op, unsigned which, unsigned where, u64 value)
{
    data[at] = (u8)op;
    data[at + 1] = (u8)which;
    store_le(data + at + 2, where, 2);
    store_le(data + at + 4, value, 8);
    return at + OP_SIZE;
}

static unsigned msr_number(u32 msr)
{
    unsigned n = 0;

    while (msrs[n] != msr)
        n++;
    return n;
}

/* One seed for each hypercall in both widths: pages, a timer and a connection are made, an input is
 * laid out, the call is made on both VPs, and what it raised is taken. Interrupts end by the assist
 * page, or by themselves. Last comes a reset, by which the TSCs go back. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    static const u64 words[] = {0x42, 3, 1, 0};
    size_t at = 1;

    if (n >= 2 * ARRAY_SIZE(codes) || capacity < 1 + 40 * OP_SIZE)
        return 0;
    data[0] = 0;
    for (unsigned vp = 0; vp < 2; vp++) {
        at = put_op(data, at, OP_WRMSR, vp, msr_number(HV_X64_MSR_GUEST_OS_ID), 1);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(HV_X64_MSR_HYPERCALL), PAGES_AT | 1);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(HV_X64_MSR_SIMP), (PAGES_AT + 0x3000) | 1);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(HV_X64_MSR_SIEFP), (PAGES_AT + 0x4000) | 1);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(HV_X64_MSR_SCONTROL), 1);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(HV_X64_MSR_VP_ASSIST_PAGE),
                    (PAGES_AT + 0x5000) | 1);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(0x40000092), n & 2 ? 0x42 : 0x20042);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(0x400000b1), 1000);
        at = put_op(data, at, OP_WRMSR, vp, msr_number(0x400000b0), 0x20003);
        at = put_op(data, at, OP_MODE, vp, n & 1, 0);
    }
    at = put_op(data, at, OP_WRMSR, 0x80, msr_number(TSC), n << 20);
    at =
        put_op(data, at, OP_CONNECT, 0, 0, codes[n / 2] == HvSignalEvent ? 0x42060002 : 0x42040002);
    for (unsigned word = 0; word < 4; word++)
        at = put_op(data, at, OP_INPUT, 0, word * 8, words[word]);
    for (unsigned vp = 0; vp < 2; vp++) {
        at = put_op(data, at, OP_CALL, vp, n / 2, 0);
        at = put_op(data, at, OP_CALL, vp, n / 2, 1ull << 32);
        at = put_op(data, at, OP_TIME, vp, 8, 1000000);
        at = put_op(data, at, OP_TAKE, vp, vp + 1, 0);
        at = put_op(data, at, OP_SLEEP, vp, 8, 1000000);
        at = put_op(data, at, OP_TAKE, vp, 3, 0);
    }
    return put_op(data, at, OP_RESET, 0, 0, 0);
}
