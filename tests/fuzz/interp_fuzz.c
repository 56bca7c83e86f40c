/* SPDX-License-Identifier: MIT
 *
 * The interpreter on any code, data, registers, tables and page tables, in every mode.
 *
 * An input is a head of HEAD_SIZE bytes (mode, what is random, a number that the rest grows from)
 * and the bytes of the code, which are the data as well. It runs for a bounded number of
 * instructions with interrupts in between; guest RAM lies between guard pages. Afterwards the
 * architecture's own invariants must hold; some inputs run a second time step by step, with traces,
 * and must end the same. An input that retires nothing (a chain of faults, a REP
 * that never ends) is stopped the way machine_stop() does it, which must work.
 */
#include <signal.h>
#include <time.h>

#include "cpu/decode_cache.h"
#include "cpu/fpu.h"
#include "tests/cpu/machine.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/guard.h"

enum {
    RAM_SIZE = 1 << 20,
    RAM_LOW = 0xc0000, /* bytes of it at 0; the others begin at 1 MiB */
    ROM_AT = 0xc0000,
    ROM_SIZE = 0x4000,
    DEVICE_AT = 0xd0000,
    ALIAS_AT = 0xe0000, /* of the first 64 KiB */
    PORTS_AT = 0x10,
    PORTS = 0x10,
    RUNS = 4,
    RUN_INSNS = 128,
    STOP_MS = 20, /* of processor time */
    TABLE_PAGES = 6,
    HEAD_SIZE = 8,
};

/* Bits of the head. */
enum {
    RANDOM_PAGES = 1u << 0,
    RANDOM_GDT = 1u << 1,
    RANDOM_IDT = 1u << 2,
    RANDOM_TSS = 1u << 3,
    RANDOM_CONTROL = 1u << 4, /* CR0, CR4, EFER, XCR0, PKRU, within what may be set */
    RANDOM_FLAGS = 1u << 5,   /* RFLAGS, DR7 and DRn */
    RANDOM_SEGMENTS = 1u << 6,
    RANDOM_CPL = 1u << 7,
    PAGING32 = 1u << 8, /* 32-bit modes: paging on */
    PAGING_PAE = 1u << 9,
    INTEL = 1u << 10,
    FEW_FEATURES = 1u << 11,
    TRACES = 1u << 12 | 1u << 15, /* both bits: run a second time with all traces, and compare */
    EVENTS = 1u << 13,
    REAL_A20 = 1u << 14, /* A20 off */
};

/* A mode as machine_start() leaves it: made once, copied for each input. */
struct start {
    bool made;
    struct vcpu v; /* up to the wiring */
    u8 low[MACHINE_DATA];
};

static struct machine m;
static struct start starts[MACHINE_USER64 + 1];
static timer_t stop_timer;
static u8 *rom;

/* -- the board -- */

/* A register of the device does what makes the memory map change under the instruction. */
static u64 device_read(void *self, u64 offset, unsigned size)
{
    (void)self, (void)size;
    return offset * 0x9e3779b97f4a7c15ull;
}

static void device_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)self, (void)size;
    if ((offset & 0xff0) == 0)
        physmap_set_a20(m.map, value & 1);
    if ((offset & 0xff0) == 0x10)
        vcpu_signal(m.v, value & (EVENT_NMI | EVENT_SMI | EVENT_TLB | EVENT_STOP));
}

static const struct io_ops device_ops = {device_read, device_write, SIZE_ANY};
static const struct io_ops device_ops_words = {device_read, device_write, SIZE_2};

static void stop(int number)
{
    (void)number;
    vcpu_signal(m.v, EVENT_STOP);
}

static void add_region(struct region region)
{
    unsigned id;

    region.access = REGION_RW;
    check(!physmap_add(m.map, &region, &id), "no region %s", region.name);
}

static void board_create(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct error err = {""};

    check(!ram_create(&m.ram, RAM_SIZE, &err), "%s", err.text);
    guard_ram(&m.ram);
    machine_wire(&m, RAM_LOW);
    m.log.sink = fopen("/dev/null", "w");
    m.log.owned = true;
    rom = malloc(ROM_SIZE);
    check(m.log.sink && rom, "the host has no memory");
    memset(rom, 0x90, ROM_SIZE);
    add_region((struct region){
        .name = "rom", .kind = REGION_ROM, .base = ROM_AT, .size = ROM_SIZE, .hva = rom});
    add_region((struct region){.name = "device",
                               .kind = REGION_MMIO,
                               .base = DEVICE_AT,
                               .size = PAGE_SIZE,
                               .ops = &device_ops});
    add_region((struct region){.name = "word device",
                               .kind = REGION_MMIO,
                               .base = DEVICE_AT + PAGE_SIZE,
                               .size = PAGE_SIZE,
                               .ops = &device_ops_words});
    add_region((struct region){
        .name = "alias", .kind = REGION_ALIAS, .base = ALIAS_AT, .size = 0x10000, .target = 0});
    add_region((struct region){.name = "ram above",
                               .kind = REGION_RAM,
                               .base = MIB(1),
                               .size = RAM_SIZE - RAM_LOW,
                               .ram_offset = RAM_LOW});
    check(!pio_claim(&m.pio, PORTS_AT, PORTS, &device_ops, &m, "ports"), "no ports");
    signal(SIGRTMIN, stop);
    check(!timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &stop_timer), "no timer");
}

static void set_timer(unsigned ms)
{
    const struct itimerspec when = {.it_value = {.tv_nsec = (long)ms * 1000000}};

    timer_settime(stop_timer, 0, &when, NULL);
}

/* -- what an input makes random -- */

/* Before anything was decoded or translated, so that it need not go through the memory map. */
static void put(u64 gpa, u64 value, unsigned size)
{
    store_le(m.ram.hva + gpa, value, size);
}

/* A number of the kind that matters to address checks, or any. */
static u64 random_value(u64 *r)
{
    u64 n = fuzz_random(r);

    switch (n & 15) {
    case 0: return 0;
    case 1: return ~0ull;
    case 2: return MACHINE_CODE + (n >> 8 & 0xff);
    case 3: return 0x800000000000ull - (n >> 8 & 0x1f);
    case 4: return 0xffff800000000000ull + (n >> 8 & 0x1f) - 16;
    case 5: return 0x100000000ull - (n >> 8 & 0x1f);
    case 6: return 0x10000 - (n >> 8 & 0x1f);
    case 7: return RAM_LOW - (n >> 8 & 0x3f);
    case 8: return DEVICE_AT + (n >> 8 & 0x1fff);
    case 9: return ROM_AT + (n >> 8 & 0x7fff);
    case 10: return n >> 8 & 0xff;
    case 11: return MIB(1) + RAM_SIZE - RAM_LOW - (n >> 8 & 0x3f);
    case 12: return n;
    case 13: return (n >> 8 & 0xff) * PAGE_SIZE - (n >> 16 & 0x1f);
    default: return MACHINE_DATA + (n >> 8 & 0xffff);
    }
}

static u64 random_entry(u64 *r, bool wide)
{
    u64 n = fuzz_random(r);
    u64 frame = n & 7 ? MACHINE_PML4 + (n >> 8) % TABLE_PAGES * PAGE_SIZE
                      : (n >> 8) % (MIB(2) / PAGE_SIZE) * PAGE_SIZE;
    u64 flags = n >> 32 & 0x1ff;

    if (n >> 41 & 7)
        flags |= 7; /* mostly present, writable, user */
    if (n >> 44 & 3)
        flags &= ~(u64)0x80; /* mostly no large page */
    if (wide && !(n >> 46 & 7))
        flags |= fuzz_random(r) & 0xfff0000000000000ull; /* NX, key, ignored and reserved */
    return frame | flags;
}

static void random_pages(u64 *r, bool wide)
{
    unsigned size = wide ? 8 : 4;

    for (u64 at = 0; at < TABLE_PAGES * PAGE_SIZE; at += size)
        if (fuzz_random(r) & 3)
            put(MACHINE_PML4 + at, random_entry(r, wide), size);
}

/* Descriptors whose bases and limits are mostly small, of any type. */
static void random_descriptors(u64 *r, u64 table, unsigned count)
{
    for (unsigned n = 1; n < count; n++) {
        u64 bits = fuzz_random(r), d = bits;

        if (bits & 3)
            d = (bits & 0x00f0ff000000ffffull) | (random_value(r) & 0xffffff) << 16;
        if (bits & 4)
            d |= (u64)ATTR_P << 40;
        if (bits & 8) /* a gate to the stubs or the code */
            d = (d & 0xffff00ff00ull << 16) | (bits >> 20 & 0x78) << 16 | (bits >> 30 & 0xff0) |
                (bits & 16 ? (u64)(MACHINE_STUBS >> 16) << 48 : (u64)(MACHINE_CODE >> 16) << 48);
        put(table + n * 8, d, 8);
    }
}

static void random_control(struct vcpu *v, u64 *r)
{
    const u64 keep0 = CR0_PE | CR0_PG | CR0_ET, keep4 = CR4_PAE | CR4_LA57;
    u64 n = fuzz_random(r);
    u64 any4 = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
               CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP |
               CR4_PKE;

    v->cr0 =
        (v->cr0 & keep0) | (n & (CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_CD));
    v->cr4 = (v->cr4 & keep4) | (n >> 32 & any4);
    if (v->efer & EFER_LMA)
        v->cr4 |= n & 2 ? CR4_PCIDE : 0;
    v->efer ^= fuzz_random(r) & (EFER_SCE | EFER_NXE | EFER_FFXSR);
    v->pkru = (u32)fuzz_random(r);
    v->star = fuzz_random(r);
    v->lstar = random_value(r) & 0x7fffffffffffull;
    v->cstar = random_value(r) & 0x7fffffffffffull;
    v->sysenter_cs = fuzz_random(r) & 0xffff;
    v->sysenter_eip = random_value(r) & 0x7fffffffffffull;
    v->sysenter_esp = random_value(r) & 0x7fffffffffffull;
}

static void random_flags(struct vcpu *v, u64 *r)
{
    u64 n = fuzz_random(r);
    u64 mask = F_ALL & ~(u64)(F_VM | F_VIF | F_VIP);

    v->rflags = (n & mask) | F_1;
    if (n >> 32 & 3)
        v->rflags &= ~(u64)(F_TF | F_RF);
    if ((n >> 34 & 3) && (v->cr0 & CR0_PE))
        return;
    for (unsigned i = 0; i < 4; i++)
        v->dr[i] = random_value(r);
    v->dr7 = (fuzz_random(r) & 0xffff23ffull) | BIT(10);
    debug_update(v);
}

static void random_segments(struct vcpu *v, u64 *r)
{
    for (unsigned s = 0; s < SEG_COUNT; s++) {
        u64 n = fuzz_random(r);

        if (s == SEG_CS || n & 1)
            continue;
        v->seg[s].base = n & 2 && v->efer & EFER_LMA ? random_value(r) & 0x7fffffffffffull
                                                     : (u32)random_value(r);
        v->seg[s].limit = (u32)random_value(r);
        if (n & 4)
            v->seg[s].attr ^= (n >> 8) & (ATTR_EXPAND_DOWN | ATTR_WRITE | ATTR_DB);
        if (s != SEG_SS && (n & 0x38) == 0)
            v->seg[s] = (struct segment){.attr = ATTR_NULL};
    }
}

static void enable_paging(struct vcpu *v, u64 *r, bool pae, bool random)
{
    if (random)
        random_pages(r, pae);
    else
        for (unsigned n = 0; n < PAGE_SIZE / 4; n++) /* 4 MiB pages one to one */
            put(MACHINE_PML4 + n * 4, (u64)n << 22 | 0xe7, 4);
    v->cr3 = MACHINE_PML4;
    v->cr4 |= pae && random ? CR4_PAE : CR4_PSE;
    v->cr0 |= CR0_PG;
    for (unsigned n = 0; n < 4; n++)
        v->pdpte[n] = (u64)(MACHINE_PML4 + (n + 1) * PAGE_SIZE) | 1;
}

/* -- one input -- */

/* Before start_mode(): a change of A20 flushes. */
static void choose_model(unsigned how, u64 *r)
{
    machine_model(&m.model);
    if (how & INTEL)
        memcpy(m.model.vendor, "GenuineIntel", 13);
    if (how & FEW_FEATURES) {
        u8 *bytes = (u8 *)&m.model.features;

        for (size_t n = 0; n < sizeof(m.model.features); n++)
            bytes[n] &= (u8)(fuzz_random(r) | fuzz_random(r));
    }
    physmap_set_a20(m.map, true);
    decode_cache_flush(m.v->decode);
}

static void start_mode(enum machine_mode mode)
{
    struct start *s = &starts[mode];

    memset(m.ram.hva, 0, m.ram.size);
    memset(m.ram.pages, 0, m.ram.size / PAGE_SIZE * sizeof(*m.ram.pages));
    if (!s->made) {
        physmap_set_a20(m.map, true);
        machine_start(&m, mode);
        memcpy(&s->v, m.v, offsetof(struct vcpu, index));
        memcpy(s->low, m.ram.hva, sizeof(s->low));
        s->made = true;
    }
    vcpu_reset(m.v, false);
    memcpy(m.v, &s->v, offsetof(struct vcpu, index));
    memcpy(m.ram.hva, s->low, sizeof(s->low));
}

static void place(struct fuzz_input *in)
{
    u8 code[1024];
    size_t size = in->left < sizeof(code) ? in->left : sizeof(code);

    fuzz_bytes(in, code, size);
    machine_put(&m, MACHINE_CODE, code, size);
    for (unsigned n = 0; n < 4; n++)
        machine_put(&m, MACHINE_DATA + n * 0x1000, code, size);
    machine_put(&m, MIB(1), code, size);
}

static void prepare(unsigned how, u64 *r)
{
    struct vcpu *v = m.v;

    fpu_reset(&v->fpu);
    for (unsigned n = 0; n < sizeof(v->fpu.zmm); n += 8)
        store_le((u8 *)v->fpu.zmm + n, fuzz_random(r), 8);
    for (unsigned n = 0; n < 16; n++)
        if (n != RSP)
            v->gpr[n] = random_value(r);
    if (how & RANDOM_GDT)
        random_descriptors(r, MACHINE_GDT, 64);
    if (how & RANDOM_IDT)
        random_descriptors(r, MACHINE_IDT, 512);
    if (how & RANDOM_TSS)
        for (unsigned n = 0; n < 0x100; n += 8)
            put(MACHINE_TSS + n, random_value(r), 8);
    if (how & RANDOM_SEGMENTS)
        random_segments(v, r);
    if (v->efer & EFER_LMA) {
        if (how & RANDOM_PAGES)
            random_pages(r, true);
    } else if ((v->cr0 & CR0_PE) && (how & PAGING32)) {
        enable_paging(v, r, how & PAGING_PAE, how & RANDOM_PAGES);
    }
    if (how & RANDOM_CONTROL)
        random_control(v, r);
    if (how & RANDOM_FLAGS)
        random_flags(v, r);
    physmap_set_a20(m.map, !(how & REAL_A20));
    m.log.categories = (how & TRACES) == TRACES ? ~(u32)LOG_CPU : 0;
    vcpu_update_mode(v);
    tlb_flush_all(&v->tlb);
}

static void check_state(const struct vcpu *v)
{
    static struct vcpu derived; /* up to the wiring */

    memcpy(&derived, v, offsetof(struct vcpu, index));
    check(!v->fault.pending, "a fault was not delivered");
    check((v->rflags & F_1) && !(v->rflags & ~(u64)(F_ALL | F_1)), "RFLAGS %#lx", v->rflags);
    check(v->cpl <= 3 && (!vcpu_real_mode(v) || v->cpl == 0), "CPL %u", v->cpl);
    check(!vcpu_v86(v) || ((v->cr0 & CR0_PE) && v->cpl == 3), "V86 mode at CPL %u", v->cpl);
    check(!(v->cr0 & CR0_PG) || (v->cr0 & CR0_PE), "CR0 %#lx", v->cr0);
    check(!(v->cr0 & CR0_NW) || (v->cr0 & CR0_CD), "CR0 %#lx", v->cr0);
    check(!(v->efer & EFER_LMA) ==
              !((v->efer & EFER_LME) && (v->cr0 & CR0_PG) && (v->cr4 & CR4_PAE)),
          "EFER %#lx CR0 %#lx CR4 %#lx", v->efer, v->cr0, v->cr4);
    check(!(v->efer & EFER_LMA) || !vcpu_v86(v), "V86 in long mode");
    check(!(v->fpu.mxcsr & ~0x2ffffu), "MXCSR %#x", v->fpu.mxcsr);
    check((v->xcr0 & XCR0_X87) && !(v->xcr0 & ~m.model.xcr0_supported), "XCR0 %#lx", v->xcr0);
    vcpu_update_mode(&derived);
    check(derived.code_size == v->code_size && derived.stack_size == v->stack_size &&
              derived.long_mode == v->long_mode && derived.align_check == v->align_check &&
              derived.careful == v->careful &&
              derived.tlb_now - derived.tlb.tables == v->tlb_now - v->tlb.tables,
          "derived fields are stale: code %u/%u stack %u/%u AC %d/%d careful %d/%d table %td/%td",
          v->code_size, derived.code_size, v->stack_size, derived.stack_size, v->align_check,
          derived.align_check, v->careful, derived.careful, v->tlb_now - v->tlb.tables,
          derived.tlb_now - derived.tlb.tables);
}

static void raise_event(u64 *r)
{
    u64 n = fuzz_random(r);

    switch (n & 7) {
    case 0: vcpu_signal(m.v, EVENT_NMI); break;
    case 1: vcpu_signal(m.v, EVENT_SMI); break;
    case 2: vcpu_signal(m.v, EVENT_TLB); break;
    case 3:
        m.v->sipi_vector = (u8)(n >> 8);
        vcpu_signal(m.v, EVENT_INIT | EVENT_SIPI);
        break;
    default: machine_interrupt(&m, (unsigned)(n >> 8 & 0xff)); break;
    }
}

static enum vcpu_exit run(unsigned how, u64 *r)
{
    enum vcpu_exit why = EXIT_BUDGET;

    for (unsigned n = 0; n < RUNS && (why == EXIT_BUDGET || why == EXIT_IDLE); n++) {
        u64 before = m.v->icount;

        if (n == RUNS - 1 && m.log.categories)
            m.log.categories |= LOG_CPU;
        why = interp_run(m.v, RUN_INSNS);
        check(m.v->icount - before <= RUN_INSNS, "more instructions than the budget");
        check(why != EXIT_BUDGET || m.v->icount - before == RUN_INSNS, "budget not used up");
        if (why != EXIT_SHUTDOWN) /* which may come in the middle of an event: only reset follows */
            check_state(m.v);
        if (how & EVENTS)
            raise_event(r);
    }
    return why;
}

static enum vcpu_exit run_input(struct fuzz_input in, enum machine_mode mode, unsigned how, u64 r)
{
    enum vcpu_exit why;

    m.irq = -1;
    m.random = 1;
    m.cr8 = m.tsc = 0;
    choose_model(how, &r);
    start_mode(mode);
    place(&in);
    prepare(how, &r);
    set_timer(STOP_MS);
    why = run(how, &r);
    set_timer(0);
    return m.v->events & EVENT_STOP ? EXIT_STOP : why; /* it may come as the run ends */
}

/* What the run loop's two paths, whole runs and single steps, must agree on. */
static void check_same(const struct vcpu *a, const struct vcpu *b)
{
    static const struct {
        const char *name;
        size_t offset, size;
    } fields[] = {
#define FIELD(field) {#field, offsetof(struct vcpu, field), sizeof(((struct vcpu *)0)->field)}
        FIELD(gpr),    FIELD(rip),      FIELD(rflags), FIELD(cpl),      FIELD(icount),
        FIELD(cr0),    FIELD(cr2),      FIELD(cr3),    FIELD(cr4),      FIELD(efer),
        FIELD(dr),     FIELD(dr6),      FIELD(dr7),    FIELD(fpu.zmm),  FIELD(fpu.k),
        FIELD(shadow), FIELD(activity), FIELD(events), FIELD(fpu.mxcsr)
#undef FIELD
    };

    for (unsigned n = 0; n < ARRAY_SIZE(fields); n++)
        check(!memcmp((const u8 *)a + fields[n].offset, (const u8 *)b + fields[n].offset,
                      fields[n].size),
              "single steps give another %s", fields[n].name);
    for (unsigned n = 0; n < SEG_COUNT; n++)
        check(a->seg[n].selector == b->seg[n].selector && a->seg[n].base == b->seg[n].base &&
                  a->seg[n].limit == b->seg[n].limit && a->seg[n].attr == b->seg[n].attr,
              "single steps give another segment register %u", n);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct vcpu first; /* up to the wiring */
    static u8 first_ram[RAM_SIZE];
    struct fuzz_input in = {data, size};
    enum machine_mode mode;
    unsigned how;
    u64 r;

    if (!m.v)
        board_create();
    mode = (enum machine_mode)(fuzz_uint(&in, 1) % (MACHINE_USER64 + 1));
    how = (unsigned)fuzz_uint(&in, 2);
    r = fuzz_uint(&in, HEAD_SIZE - 3) | BIT(63);
    if (run_input(in, mode, how & ~(unsigned)TRACES, r) == EXIT_STOP || (how & TRACES) != TRACES)
        return 0;
    memcpy(&first, m.v, offsetof(struct vcpu, index));
    memcpy(first_ram, m.ram.hva, sizeof(first_ram));
    if (run_input(in, mode, how, r) == EXIT_STOP)
        return 0;
    check_same(&first, m.v);
    check(!memcmp(first_ram, m.ram.hva, sizeof(first_ram)), "single steps leave another memory");
    return 0;
}

/* In each mode, with nothing random and with some of it: loads, stores, stack, strings, branches,
 * segment loads, far transfers, SSE, x87, control registers, self-modification. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    static const unsigned hows[] = {0,
                                    RANDOM_PAGES | PAGING32,
                                    0x3fff & ~(unsigned)TRACES,
                                    0xffff,
                                    RANDOM_GDT | RANDOM_IDT | RANDOM_TSS | EVENTS,
                                    RANDOM_CONTROL | RANDOM_FLAGS | RANDOM_SEGMENTS | INTEL};
    static const struct {
        u8 size, bytes[24];
    } codes[] = {
        {18,
         {0x8b, 0x03, 0x89, 0x06, 0x03, 0x07, 0x50, 0x5b, 0x87, 0x06, 0xf0, 0x0f, 0xb1, 0x0f, 0x0f,
          0xa2, 0xeb, 0xec}},
        {16,
         {0xf3, 0xa4, 0xf3, 0xab, 0xf2, 0xae, 0xac, 0x6c, 0xf3, 0x6f, 0xe4, 0x10, 0xe6, 0x11, 0xec,
          0xef}},
        {18,
         {0x8e, 0xd8, 0x8e, 0xe3, 0x0f, 0xb2, 0x23, 0x07, 0x1f, 0xcd, 0x30, 0xcf, 0xff, 0x1b, 0xff,
          0x2e, 0xcb, 0xca}},
        {22, {0x0f, 0x28, 0x03, 0x0f, 0x58, 0xc1, 0x0f, 0x29, 0x06, 0xdd, 0x03,
              0xd8, 0xc1, 0xdd, 0x1e, 0x0f, 0xae, 0x06, 0x0f, 0xae, 0x0e, 0x9b}},
        {24, {0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0, 0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0,
              0x0f, 0x32, 0x0f, 0x30, 0x0f, 0x01, 0x16, 0x0f, 0x00, 0xd8, 0x0f, 0x05}},
        {20, {0xc5, 0xfc, 0x28, 0x03, 0xc4, 0xe2, 0x7d, 0x90, 0x04, 0x8b,
              0x62, 0xf1, 0x7c, 0x48, 0x28, 0x03, 0x0f, 0xc7, 0x0e, 0xf4}},
        {20, {0x9a, 0, 0,    1, 0,    0x18, 0,    0xea, 0,    0,
              1,    0, 0x48, 0, 0x0f, 0x34, 0x0f, 0x35, 0x0f, 0x07}},
        {14, {0xc6, 0x03, 0x40, 0x88, 0x07, 0xe8, 0xf6, 0xff, 0xff, 0xff, 0xc8, 0x10, 0, 0x1f}},
    };
    unsigned mode = n % (MACHINE_USER64 + 1), rest = n / (MACHINE_USER64 + 1);
    unsigned how = hows[rest % ARRAY_SIZE(hows)];

    rest /= ARRAY_SIZE(hows);
    if (rest >= ARRAY_SIZE(codes) || capacity < HEAD_SIZE + sizeof(codes[0].bytes))
        return 0;
    data[0] = (u8)mode;
    store_le(data + 1, how, 2);
    store_le(data + 3, n * 0x9e3779b1u, 4);
    data[7] = (u8)n;
    memcpy(data + HEAD_SIZE, codes[rest].bytes, codes[rest].size);
    return HEAD_SIZE + codes[rest].size;
}
