/* SPDX-License-Identifier: MIT
 *
 * One engine with its machine. Between cases guest memory holds exactly what `expected` says; a
 * case changes only the lines of its code and patches, and puts back only what it wrote.
 */
#include "frontend/conform/engine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/cpuid.h"
#include "cpu/engine.h"
#include "cpu/fpu.h"
#include "cpu/segment.h"
#include "frontend/conform/engine_image.h"
#include "jit/jit.h"
#include "machine/alarm.h"
#include "mem/base/bits.h"

#define ALARM_NS (50ull * 1000 * 1000)
#define CASE_NS  (100ull * 1000 * 1000)
enum { LINE = ARENA_LINE, LINES = ARENA_IMAGE_SIZE / LINE, LINE_WORDS = LINES / 64 };
static_assert(LINES % 64 == 0, "a bit per line");

struct engine {
    struct log log;
    struct ram ram;
    struct physmap *map;
    struct pio_bus pio;
    struct cpu_model model;
    struct vcpu_platform platform;
    struct vcpu *v;
    struct alarm alarm; /* ends cases where instructions are not counted */
    u64 xcr0;           /* of cases that do not say */
    u64 tsc;
    u8 pristine[ARENA_IMAGE_SIZE] ALIGNED(64); /* the arena before any patch */
    u8 expected[ARENA_IMAGE_SIZE] ALIGNED(64); /* and with those of the case */
    u64 patched[LINE_WORDS];                   /* lines where the two differ */
};

const char *conform_engine_name(enum conform_engine kind)
{
    static const char *const names[] = {
        [CONFORM_INTERP] = "interp", [CONFORM_JIT] = "jit", [CONFORM_COUNTED] = "jit-counted"};

    return names[kind];
}

bool conform_engine_exists(enum conform_engine kind)
{
    return kind < CONFORM_ENGINES;
}

/* -- the machine -- */

static int no_interrupt(void *opaque, struct vcpu *v)
{
    (void)opaque;
    (void)v;
    return -1;
}

static u64 read_tsc(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct engine *)opaque)->tsc += 100;
}

static void flush_tlb(void *opaque)
{
    vcpu_signal(((struct engine *)opaque)->v, EVENT_TLB);
}

static void protect_page(void *opaque, const u8 *page_hva)
{
    tlb_drop_write(&((struct engine *)opaque)->v->tlb, page_hva);
}

/* The registers of a Linux kernel on this host, as far as user code notices them. */
static void set_system_registers(struct engine *e)
{
    const struct cpu_model *m = &e->model;
    struct vcpu *v = e->v;

    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    v->cr3 = IMAGE_PML4;
    v->cr4 = image_cr4(&m->features);
    e->xcr0 = image_host_xcr0() & m->xcr0_supported;
    v->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    v->lstar = v->cstar = IMAGE_KERNEL + IMAGE_SYSCALL;
    v->gdtr = (struct table_reg){IMAGE_KERNEL + IMAGE_GDT, IMAGE_GDT_LIMIT};
    v->idtr = (struct table_reg){IMAGE_KERNEL + IMAGE_IDT, IMAGE_IDT_LIMIT};
    v->ldtr = (struct segment){.selector = SEL_LDT,
                               .base = IMAGE_KERNEL + IMAGE_LDT,
                               .limit = IMAGE_LDT_LIMIT,
                               .attr = ATTR_P | SYS_LDT};
    v->tr = (struct segment){.selector = SEL_TSS,
                             .base = IMAGE_KERNEL + IMAGE_TSS,
                             .limit = IMAGE_TSS_LIMIT,
                             .attr = ATTR_P | SYS_TSS_BUSY};
    v->activity = ACTIVITY_RUN;
}

static enum status create_memory(struct engine *e, struct error *err)
{
    const struct region ram = {
        .name = "ram", .kind = REGION_RAM, .access = REGION_RW, .size = IMAGE_SIZE};
    enum status st = ram_create(&e->ram, IMAGE_SIZE, err);
    unsigned id;

    if (st)
        return st;
    st = physmap_create(&e->map, &e->ram, &e->log, err);
    if (st)
        return st;
    check(!physmap_add(e->map, &ram, &id), "the engine's RAM has no place");
    image_build(e->ram.hva);
    memcpy(e->pristine, e->ram.hva + IMAGE_ARENA, ARENA_IMAGE_SIZE);
    memcpy(e->expected, e->pristine, ARENA_IMAGE_SIZE);
    return pio_bus_create(&e->pio, &e->log, err);
}

static enum status create_translator(struct engine *e, enum conform_engine kind, struct error *err)
{
    const struct jit_options jit = {.optimisations = JIT_ALL, .counted = kind == CONFORM_COUNTED};
    enum status st = jit_create(e->v, &jit, err);

    if (st || kind == CONFORM_COUNTED)
        return st;
    st = alarm_prepare(err);
    if (!st && !alarm_create(&e->alarm, e->v))
        st = error_set(err, ST_NO_MEMORY, "The host gives no timer; use --engine jit-counted.");
    if (!st)
        alarm_set(&e->alarm, ALARM_NS);
    return st;
}

static enum status create_processor(struct engine *e, enum conform_engine kind, const char *cpu,
                                    struct error *err)
{
    const struct cpu_topology one = {1, 1, 1};
    enum status st = cpu_model_parse(&e->model, cpu, &one, 1000000000, 1000000000, err);

    if (st)
        return st;
    e->platform = (struct vcpu_platform){
        .opaque = e,
        .pio = &e->pio,
        .intr_acknowledge = no_interrupt,
        .tsc = read_tsc,
        .tsc_hz = 1000000000,
        .apic_bus_hz = 1000000000,
    };
    st = vcpu_create(&e->v, 0, 0, e->map, &e->model, &e->platform, &e->log, err);
    if (!st && kind != CONFORM_INTERP)
        st = create_translator(e, kind, err);
    if (st)
        return st;
    physmap_set_listeners(e->map, flush_tlb, protect_page, e);
    set_system_registers(e);
    return ST_OK;
}

enum status engine_create(struct engine **out, enum conform_engine kind, const char *cpu,
                          struct error *err)
{
    struct engine *e;
    enum status st;

    if (!conform_engine_exists(kind))
        return error_set(err, ST_UNSUPPORTED, "This build has no engine %s; use --engine interp.",
                         conform_engine_name(kind));
    e = aligned_alloc(64, align_up(sizeof(*e), 64));
    if (!e)
        return error_set(err, ST_NO_MEMORY, "No memory for an engine; free some memory.");
    memset(e, 0, sizeof(*e));
    log_init(&e->log);
    st = create_memory(e, err);
    if (!st)
        st = create_processor(e, kind, cpu, err);
    if (st) {
        engine_destroy(e);
        return st;
    }
    *out = e;
    return ST_OK;
}

void engine_destroy(struct engine *e)
{
    if (!e)
        return;
    alarm_destroy(&e->alarm);
    if (e->v)
        jit_destroy(e->v);
    vcpu_destroy(e->v);
    if (e->pio.log)
        pio_bus_destroy(&e->pio);
    if (e->map)
        physmap_destroy(e->map);
    if (e->ram.hva)
        ram_destroy(&e->ram);
    log_fini(&e->log);
    free(e);
}

/* -- memory -- */

/* Marks the lines of what arena_apply() puts at an address. */
static void mark_bytes(struct engine *e, u32 address, u32 size)
{
    const struct arena_area *area = arena_find(address);
    u32 at = address - (area ? area->address : 0);

    if (!area || !size)
        return;
    size = size < area->size - at ? size : area->size - at;
    for (unsigned line = (area->offset + at) / LINE; line <= (area->offset + at + size - 1) / LINE;
         line++)
        e->patched[line / 64] |= BIT(line % 64);
}

/* Makes guest memory hold a line of the expectation again. */
static void restore_line(struct engine *e, unsigned line)
{
    u8 *hva = e->ram.hva + IMAGE_ARENA + line * LINE;

    if (!memcmp(hva, e->expected + line * LINE, LINE))
        return;
    memcpy(hva, e->expected + line * LINE, LINE);
    ram_written(&e->ram, hva, LINE);
}

static void prepare_memory(struct engine *e, const struct conform_case *c)
{
    u64 stale[LINE_WORDS];

    memcpy(stale, e->patched, sizeof(stale));
    memset(e->patched, 0, sizeof(e->patched));
    for (unsigned w = 0; w < LINE_WORDS; w++)
        for (u64 set = stale[w]; set; set &= set - 1) {
            const unsigned at = (w * 64 + (unsigned)__builtin_ctzll(set)) * LINE;

            memcpy(e->expected + at, e->pristine + at, LINE);
        }
    arena_apply(e->expected, c);
    mark_bytes(e, c->code_address, c->code_size);
    for (u32 n = 0; n < c->patch_count; n++)
        mark_bytes(e, c->patch[n].address, c->patch[n].size);
    for (unsigned w = 0; w < LINE_WORDS; w++)
        for (u64 set = stale[w] | e->patched[w]; set; set &= set - 1)
            restore_line(e, w * 64 + (unsigned)__builtin_ctzll(set));
}

/* Lists the lines of a page that the case has changed, and puts them back at once. */
static void collect_page(struct engine *e, unsigned first, struct conform_outcome *o)
{
    for (unsigned line = first; line < first + 4096 / LINE; line++) {
        const u8 *hva = e->ram.hva + IMAGE_ARENA + line * LINE;

        if (!memcmp(hva, e->expected + line * LINE, LINE))
            continue;
        if (o->line_count < OUTCOME_LINES_MAX) {
            o->line[o->line_count].address = arena_address(line * LINE);
            memcpy(o->line[o->line_count].bytes, hva, LINE);
        }
        o->line_count += o->line_count <= OUTCOME_LINES_MAX;
        restore_line(e, line);
    }
}

static void collect_memory(struct engine *e, struct conform_outcome *o)
{
    o->line_count = 0;
    for (unsigned at = 0; at < ARENA_IMAGE_SIZE; at += 4096)
        if (memcmp(e->ram.hva + IMAGE_ARENA + at, e->expected + at, 4096))
            collect_page(e, at / LINE, o);
}

/* -- state -- */

static struct segment segment_of(u16 selector)
{
    const struct descriptor d = {.low = image_descriptor(selector)};

    return d.low ? segment_from_descriptor(selector, &d) : segment_null(selector, 0);
}

static void load_state(struct engine *e, const struct conform_case *c)
{
    const struct conform_state *s = &c->in;
    struct vcpu *v = e->v;

    memcpy(v->gpr, s->gpr, sizeof(v->gpr));
    v->rip = v->next_rip = s->rip;
    v->rflags = (s->rflags & CONFORM_FLAGS_IN) | F_IF | F_1;
    v->xcr0 = c->xcr0 && !(c->xcr0 & ~e->model.xcr0_supported) ? c->xcr0 : e->xcr0;
    for (unsigned n = 0; n < SEG_COUNT; n++)
        v->seg[n] = segment_of(s->selector[n]);
    if (c->mode == MODE_64) {
        v->seg[SEG_FS].base = s->fs_base;
        v->seg[SEG_GS].base = s->gs_base;
    }
    memcpy(v->fpu.zmm, s->zmm, sizeof(v->fpu.zmm));
    memcpy(v->fpu.k, s->k, sizeof(v->fpu.k));
    fpu_load_x87(&v->fpu, s->x87, true);
    v->fpu.mxcsr = s->mxcsr;
    if (v->pkru != s->pkru && (v->cr4 & CR4_PKE)) {
        v->pkru = s->pkru;
        tlb_permissions_changed(&v->tlb);
    }
    v->cpl = 3;
    v->shadow = 0;
    v->cr2 = 0;
    v->fault.pending = false;
    v->activity = ACTIVITY_RUN;
    vcpu_update_mode(v);
}

static void read_state(const struct vcpu *v, struct conform_state *s)
{
    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
    s->rip = v->rip;
    s->rflags = v->rflags;
    for (unsigned n = 0; n < SEG_COUNT; n++)
        s->selector[n] = v->seg[n].selector;
    s->fs_base = v->seg[SEG_FS].base;
    s->gs_base = v->seg[SEG_GS].base;
    memcpy(s->zmm, v->fpu.zmm, sizeof(s->zmm));
    memcpy(s->k, v->fpu.k, sizeof(s->k));
    memcpy(s->x87, v->fpu.fx, FX_X87_BYTES);
    memset(s->x87 + FX_MXCSR, 0, 8);
    s->mxcsr = v->fpu.mxcsr;
    s->pkru = v->pkru;
}

/* The interrupted state, as the processor pushed it. */
static void read_frame(const struct engine *e, struct conform_outcome *o)
{
    const u8 *frame = e->ram.hva + (e->v->gpr[RSP] - IMAGE_KERNEL);

    o->vector = (u8)((e->v->rip - IMAGE_KERNEL - IMAGE_STUBS) / 16);
    if (e->v->gpr[RSP] == IMAGE_KERNEL + IMAGE_STACK - 6 * 8) {
        o->error_code = (u32)load_le(frame, 4);
        frame += 8;
    }
    o->cr2 = o->vector == VEC_PF ? e->v->cr2 : 0;
    o->out.rip = load_le(frame, 8);
    o->out.selector[SEG_CS] = (u16)load_le(frame + 8, 2);
    o->out.rflags = load_le(frame + 16, 8) & ~(u64)F_RF;
    o->out.gpr[RSP] = load_le(frame + 24, 8);
    o->out.selector[SEG_SS] = (u16)load_le(frame + 32, 2);
}

static enum vcpu_exit run_at_most(struct vcpu *v, u64 limit)
{
    v->stalls = 0;
    return v->jit.owner ? jit_run(v, limit) : interp_run(v, limit);
}

/* Of this thread: a busy host may let it wait for long. */
static u64 processor_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

/* Sets the next alarm, and says whether the case has had its time since its first. */
static bool case_is_over(struct engine *e, enum vcpu_exit why, u64 *first)
{
    if (e->alarm.made)
        alarm_set(&e->alarm, ALARM_NS);
    if (why != EXIT_STOP)
        return false;
    if (!*first)
        *first = processor_ns();
    return processor_ns() - *first >= CASE_NS;
}

/* A long REP instruction may leave the engine before it is done. */
static enum vcpu_exit run_to_end(struct engine *e, u64 limit)
{
    struct vcpu *v = e->v;
    const u64 end = v->icount + limit;
    enum vcpu_exit why = run_at_most(v, limit);
    u64 first = 0;

    for (unsigned n = 0; n < 1000 && (why == EXIT_STALLED || why == EXIT_STOP); n++) {
        if (case_is_over(e, why, &first))
            break;
        why = run_at_most(v, end - v->icount);
    }
    return why;
}

void engine_run(struct engine *e, const struct conform_case *c, u64 limit,
                struct conform_outcome *o)
{
    struct vcpu *v = e->v;
    enum vcpu_exit why;

    prepare_memory(e, c);
    load_state(e, c);
    why = run_to_end(e, limit);
    read_state(v, &o->out);
    o->error_code = 0;
    o->cr2 = 0;
    if (why != EXIT_IDLE || v->cpl)
        o->vector = OUTCOME_NONE;
    else if (v->rip == IMAGE_KERNEL + IMAGE_SYSCALL + 1)
        o->vector = OUTCOME_SYSCALL;
    else
        read_frame(e, o);
    collect_memory(e, o);
}
