/* SPDX-License-Identifier: MIT
 *
 * A processor with RAM and nothing else, for tests of cpu/: places code, starts it in any mode,
 * runs it until HLT and tells which exception ended it.
 *
 * Every vector leads to a stub of its own that halts, so "exception n was delivered" is "the stub
 * of n ran" (machine_vector()). Linear equals physical, every page is a user page.
 *
 *   0x00000 IVT     0x01000 GDT     0x02000 IDT     0x03000 TSS      0x04000 page tables
 *   0x10000 code    0x20000 stack top (grows down)  0x28000 ring-0 stack top of the TSS
 *   0x30000 stubs   0x40000 data, free to the end (16 MiB)
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/engine.h"
#include "cpu/vcpu.h"
#include "mem/base/bits.h"

enum {
    MACHINE_GDT = 0x1000,
    MACHINE_IDT = 0x2000,
    MACHINE_TSS = 0x3000,
    MACHINE_PML4 = 0x4000,
    MACHINE_CODE = 0x10000,
    MACHINE_STACK = 0x20000,
    MACHINE_STACK0 = 0x28000,
    MACHINE_STUBS = 0x30000,
    MACHINE_DATA = 0x40000,
    MACHINE_RAM = 16 << 20,
};

/* Selectors of the GDT; SEL_FREE and what follows are for tests. */
enum {
    SEL_CODE64 = 0x08,
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_CODE16 = 0x20,
    SEL_DATA16 = 0x28,
    SEL_USER_DATA = 0x3b, /* the order that SYSRET wants: 32-bit code, data, 64-bit code */
    SEL_USER_CODE32 = 0x33,
    SEL_USER_CODE64 = 0x43,
    SEL_TSS = 0x48, /* 16 bytes */
    SEL_FREE = 0x58,
};

enum machine_mode {
    MACHINE_REAL,   /* CS = 0x1000, other segments 0 */
    MACHINE_PROT16, /* 16-bit code and stack segments based at 0 with 64 KiB limit, CS based at code
                     */
    MACHINE_PROT32, /* flat, paging off */
    MACHINE_LONG,   /* 64-bit */
    MACHINE_COMPAT, /* 32-bit code in long mode */
    MACHINE_USER32, /* as PROT32 and LONG, at CPL 3 */
    MACHINE_USER64,
};

struct machine {
    struct log log;
    struct ram ram;
    struct physmap *map;
    struct pio_bus pio;
    struct cpu_model model;
    struct vcpu_platform platform;
    struct vcpu *v;
    int irq;       /* what intr_acknowledge answers */
    unsigned acks; /* how often it was asked */
    unsigned resets;
    u64 cr8, tsc, random;
    bool ferr;
};

static inline int machine_ack(void *opaque, struct vcpu *v)
{
    struct machine *m = opaque;
    int vector = m->irq;

    m->acks++;
    m->irq = -1;
    vcpu_clear_signal(v, EVENT_INTR);
    return vector;
}

static inline u64 machine_cr8_read(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct machine *)opaque)->cr8;
}

static inline void machine_cr8_write(void *opaque, struct vcpu *v, u64 value)
{
    (void)v;
    ((struct machine *)opaque)->cr8 = value;
}

static inline u64 machine_tsc(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct machine *)opaque)->tsc += 100;
}

static inline void machine_tsc_changed(void *opaque, struct vcpu *v)
{
    (void)opaque;
    (void)v;
}

static inline void machine_ferr(void *opaque, struct vcpu *v, bool level)
{
    (void)v;
    ((struct machine *)opaque)->ferr = level;
}

static inline void machine_reset(void *opaque, struct vcpu *v, bool init)
{
    (void)v;
    (void)init;
    ((struct machine *)opaque)->resets++;
}

static inline bool machine_random(void *opaque, struct vcpu *v, u64 *value)
{
    struct machine *m = opaque;

    (void)v;
    m->random = m->random * 6364136223846793005ull + 1442695040888963407ull;
    *value = m->random;
    return true;
}

static inline void machine_flush(void *opaque)
{
    vcpu_signal(((struct machine *)opaque)->v, EVENT_TLB);
}

static inline void machine_protect(void *opaque, const u8 *page_hva)
{
    tlb_drop_write(&((struct machine *)opaque)->v->tlb, page_hva);
}

/* A processor with every feature, which tests may take away from m->model.features. */
static inline void machine_model(struct cpu_model *model)
{
    *model = (struct cpu_model){
        .name = "test",
        .vendor = "AuthenticAMD",
        .brand = "Lockstep test processor",
        .signature = 0x00a60f12,
        .topology = {1, 1, 1},
        .maxphyaddr = 48,
        .linear_bits = 48,
        .tsc_hz = 1000000000,
        .apic_bus_hz = 1000000000,
        .xcr0_supported = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU,
        .cpuid_range_first = 1,
    };
    memset(&model->features, 0xff, sizeof(model->features));
    feature_remove(&model->features, FEAT_LA57);
}

static inline void machine_put(struct machine *m, u64 gpa, const void *bytes, size_t size)
{
    check(physmap_write(m->map, gpa, bytes, size), "test writes outside RAM");
}

static inline void machine_put_uint(struct machine *m, u64 gpa, u64 value, unsigned size)
{
    machine_put(m, gpa, &value, size);
}

static inline u64 machine_get(struct machine *m, u64 gpa, unsigned size)
{
    return physmap_read_uint(m->map, gpa, size);
}

/* Code at MACHINE_CODE, followed by HLT. */
static inline void machine_code(struct machine *m, const void *bytes, size_t size)
{
    machine_put(m, MACHINE_CODE, bytes, size);
    machine_put(m, MACHINE_CODE + size, "\xf4", 1);
}
#define MACHINE_CODE_BYTES(m, ...)                                                                 \
    machine_code(m, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* attr: enum seg_attr; limit in bytes, or in pages with ATTR_G. */
static inline void machine_descriptor(struct machine *m, unsigned selector, u32 base, u32 limit,
                                      u32 attr)
{
    u64 d = (limit & 0xffff) | (u64)(limit >> 16 & 0xf) << 48 | (u64)(base & 0xffffff) << 16 |
            (u64)(base >> 24) << 56 | (u64)attr << 40;

    machine_put_uint(m, MACHINE_GDT + (selector & ~7u), d, 8);
}

static inline void machine_gdt(struct machine *m)
{
    const u32 data = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED;
    const u32 flat = data | ATTR_DB | ATTR_G;
    const u32 user = ATTR_DPL;

    machine_descriptor(m, SEL_CODE64, 0, 0xfffff, data | ATTR_CODE | ATTR_L | ATTR_G);
    machine_descriptor(m, SEL_DATA, 0, 0xfffff, flat);
    machine_descriptor(m, SEL_CODE32, 0, 0xfffff, flat | ATTR_CODE);
    machine_descriptor(m, SEL_CODE16, MACHINE_CODE, 0xffff, data | ATTR_CODE);
    machine_descriptor(m, SEL_DATA16, 0, 0xffff, data);
    machine_descriptor(m, SEL_USER_DATA, 0, 0xfffff, flat | user);
    machine_descriptor(m, SEL_USER_CODE32, 0, 0xfffff, flat | ATTR_CODE | user);
    machine_descriptor(m, SEL_USER_CODE64, 0, 0xfffff, data | ATTR_CODE | ATTR_L | ATTR_G | user);
    machine_descriptor(m, SEL_TSS, MACHINE_TSS, 0xfff, ATTR_P | SYS_TSS_BUSY);
}

/* An interrupt gate (type: enum sys_type) for vector, in the IDT of the mode. */
static inline void machine_gate(struct machine *m, bool long_mode, unsigned vector, u16 selector,
                                u64 offset, unsigned type, unsigned dpl, unsigned ist)
{
    u64 low = (offset & 0xffff) | (u64)selector << 16 | (u64)ist << 32 |
              (u64)(ATTR_P | type | dpl << ATTR_DPL_SHIFT) << 40 | (offset >> 16 & 0xffff) << 48;

    if (long_mode) {
        machine_put_uint(m, MACHINE_IDT + vector * 16, low, 8);
        machine_put_uint(m, MACHINE_IDT + vector * 16 + 8, offset >> 32, 8);
    } else {
        machine_put_uint(m, MACHINE_IDT + vector * 8, low, 8);
    }
}

static inline u64 machine_stub(unsigned vector)
{
    return MACHINE_STUBS + vector * 16;
}

/* IVT or IDT with a halting stub for every vector; DPL 3, so that INT n works from user mode. */
static inline void machine_vectors(struct machine *m, enum machine_mode mode)
{
    bool long_mode = mode == MACHINE_LONG || mode == MACHINE_COMPAT || mode == MACHINE_USER64;

    for (unsigned n = 0; n < 256; n++) {
        machine_put(m, machine_stub(n), "\xf4\xcf", 2); /* HLT; IRET */
        if (mode == MACHINE_REAL)
            machine_put_uint(m, n * 4, (u64)(MACHINE_STUBS >> 4) << 16 | n * 16, 4);
        else
            machine_gate(m, long_mode, n, long_mode ? SEL_CODE64 : SEL_CODE32, machine_stub(n),
                         SYS_INT_GATE, 3, 0);
    }
}

/* The hidden part as the GDT says, without any check. */
static inline void machine_segment(struct machine *m, enum seg seg, u16 selector)
{
    u64 d = machine_get(m, MACHINE_GDT + (selector & ~7u), 8);
    u32 limit = (u32)(d & 0xffff) | (u32)(d >> 32 & 0xf0000);
    u32 attr = (u32)(d >> 40) & 0xf0ff;

    m->v->seg[seg] = (struct segment){
        .selector = selector,
        .base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
        .limit = attr & ATTR_G ? limit << 12 | 0xfff : limit,
        .attr = attr,
    };
}

/* Identity-maps 4 GiB with 2 MiB user pages for long mode. */
static inline void machine_page_tables(struct machine *m)
{
    const u64 table = MACHINE_PML4;

    machine_put_uint(m, table, (table + 0x1000) | 7, 8);
    for (unsigned n = 0; n < 4; n++) {
        machine_put_uint(m, table + 0x1000 + n * 8, (table + 0x2000 + n * 0x1000) | 7, 8);
        for (unsigned e = 0; e < 512; e++)
            machine_put_uint(m, table + 0x2000 + n * 0x1000 + e * 8,
                             ((u64)n << 30 | (u64)e << 21) | 0xe7, 8);
    }
}

static inline void machine_start_real(struct machine *m)
{
    struct vcpu *v = m->v;

    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] =
            (struct segment){.limit = 0xffff, .attr = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED};
    v->seg[SEG_CS].selector = MACHINE_CODE >> 4;
    v->seg[SEG_CS].base = MACHINE_CODE;
    v->seg[SEG_SS].selector = 0x1000;
    v->seg[SEG_SS].base = 0x10000;
    v->idtr = (struct table_reg){.limit = 0x3ff};
    v->rip = 0;
    v->gpr[RSP] = 0xfff0;
}

static inline void machine_start_protected(struct machine *m, enum machine_mode mode)
{
    bool user = mode == MACHINE_USER32 || mode == MACHINE_USER64;
    bool long_mode = mode == MACHINE_LONG || mode == MACHINE_COMPAT || mode == MACHINE_USER64;
    static const u16 code[] = {
        [MACHINE_PROT16] = SEL_CODE16,      [MACHINE_PROT32] = SEL_CODE32,
        [MACHINE_LONG] = SEL_CODE64,        [MACHINE_COMPAT] = SEL_CODE32,
        [MACHINE_USER32] = SEL_USER_CODE32, [MACHINE_USER64] = SEL_USER_CODE64,
    };
    u16 data = user ? SEL_USER_DATA : mode == MACHINE_PROT16 ? SEL_DATA16 : SEL_DATA;
    struct vcpu *v = m->v;

    v->cr0 |= CR0_PE;
    if (long_mode) {
        machine_page_tables(m);
        v->cr4 |= CR4_PAE;
        v->cr3 = MACHINE_PML4;
        v->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
        v->cr0 |= CR0_PG | CR0_WP;
        machine_put_uint(m, MACHINE_TSS + 4, MACHINE_STACK0, 8);
    } else {
        machine_put_uint(m, MACHINE_TSS + 4, MACHINE_STACK0, 4);
        machine_put_uint(m, MACHINE_TSS + 8, SEL_DATA, 2);
    }
    machine_put_uint(m, MACHINE_TSS + 0x66, 0xfff, 2); /* no I/O bitmap */
    for (unsigned s = 0; s < SEG_COUNT; s++)
        machine_segment(m, (enum seg)s, s == SEG_CS ? code[mode] : data);
    v->gdtr = (struct table_reg){MACHINE_GDT, 0xfff};
    v->idtr = (struct table_reg){MACHINE_IDT, 0xfff};
    v->tr = (struct segment){
        .selector = SEL_TSS, .base = MACHINE_TSS, .limit = 0xfff, .attr = ATTR_P | SYS_TSS_BUSY};
    v->rip = mode == MACHINE_PROT16 ? 0 : MACHINE_CODE;
    v->gpr[RSP] = mode == MACHINE_PROT16 ? 0xfff0 : MACHINE_STACK;
    v->cpl = user ? 3 : 0;
}

/* Puts the processor at the start of the code in a mode, with clean registers, SSE and XSAVE on. */
static inline void machine_start(struct machine *m, enum machine_mode mode)
{
    struct vcpu *v = m->v;

    vcpu_reset(v, false);
    v->activity = ACTIVITY_RUN;
    v->cr0 = CR0_ET | CR0_NE | CR0_MP;
    v->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_DE;
    v->xcr0 = m->model.xcr0_supported;
    v->gpr[RDX] = 0;
    machine_gdt(m);
    machine_vectors(m, mode);
    if (mode == MACHINE_REAL)
        machine_start_real(m);
    else
        machine_start_protected(m, mode);
    v->next_rip = v->rip;
    vcpu_update_mode(v);
    tlb_flush_all(&v->tlb);
}

/* Everything but the RAM, which is there. The first ram_mapped bytes of it are mapped at 0. */
static inline void machine_wire(struct machine *m, u64 ram_mapped)
{
    struct error err = {""};
    unsigned id;

    log_init(&m->log);
    m->irq = -1;
    m->random = 1;
    machine_model(&m->model);
    check(!physmap_create(&m->map, &m->ram, &m->log, &err), "%s", err.text);
    struct region ram = {
        .name = "ram", .kind = REGION_RAM, .access = REGION_RW, .size = ram_mapped};
    check(!physmap_add(m->map, &ram, &id), "no RAM region");
    check(!pio_bus_create(&m->pio, &m->log, &err), "%s", err.text);
    m->platform = (struct vcpu_platform){
        .opaque = m,
        .pio = &m->pio,
        .intr_acknowledge = machine_ack,
        .cr8_read = machine_cr8_read,
        .cr8_write = machine_cr8_write,
        .tsc = machine_tsc,
        .tsc_changed = machine_tsc_changed,
        .ferr = machine_ferr,
        .reset = machine_reset,
        .random = machine_random,
        .tsc_hz = 1000000000,
        .apic_bus_hz = 1000000000,
    };
    check(!vcpu_create(&m->v, 0, 0, m->map, &m->model, &m->platform, &m->log, &err), "%s",
          err.text);
    physmap_set_listeners(m->map, machine_flush, machine_protect, m);
}

static inline void machine_create(struct machine *m)
{
    struct error err = {""};

    memset(m, 0, sizeof(*m));
    check(!ram_create(&m->ram, MACHINE_RAM, &err), "%s", err.text);
    machine_wire(m, MACHINE_RAM);
}

static inline void machine_destroy(struct machine *m)
{
    vcpu_destroy(m->v);
    pio_bus_destroy(&m->pio);
    physmap_destroy(m->map);
    ram_destroy(&m->ram);
    log_fini(&m->log);
}

/* Runs until the processor halts (EXIT_IDLE), shuts down, or 10 million instructions have passed.
 */
static inline enum vcpu_exit machine_run(struct machine *m)
{
    return interp_run(m->v, 10000000);
}

/* Exactly count instructions. */
static inline enum vcpu_exit machine_step(struct machine *m, u64 count)
{
    return interp_run(m->v, count);
}

/* Raises the processor's external interrupt line with a vector. */
static inline void machine_interrupt(struct machine *m, unsigned vector)
{
    m->irq = (int)vector;
    vcpu_signal(m->v, EVENT_INTR);
}

/* The vector whose stub halted, or -1. */
static inline int machine_vector(const struct machine *m)
{
    u64 at = m->v->rip + m->v->seg[SEG_CS].base - 1 - MACHINE_STUBS;

    if (m->v->activity != ACTIVITY_HLT || at >= 256 * 16 || at % 16)
        return -1;
    return (int)(at / 16);
}

/* Runs code at MACHINE_CODE until it halts, as the processor is: the vector that ended it, or -1.
 */
static inline int machine_execute(struct machine *m, const void *code, size_t size)
{
    machine_code(m, code, size);
    machine_run(m);
    return machine_vector(m);
}
#define MACHINE_EXECUTE(m, ...)                                                                    \
    machine_execute(m, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* The n-th value on the stack of a stub in 64-bit (32-bit, 16-bit) mode: n = 0 is the error code or
 * the return address. */
static inline u64 machine_stack(struct machine *m, unsigned n, unsigned size)
{
    struct vcpu *v = m->v;
    u64 sp = v->stack_size == 2 ? (u16)v->gpr[RSP] : v->gpr[RSP];

    return machine_get(m, v->seg[SEG_SS].base + sp + n * size, size);
}
