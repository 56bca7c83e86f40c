/* SPDX-License-Identifier: MIT
 *
 * The vCPUs and their local APICs, and what each is told by the other.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "cpu/msr.h"
#include "cpu/native.h"
#include "devices/apic/lapic.h"
#include "devices/legacy/i8259.h"
#include "jit/jit.h"
#include "machine/disassemble.h"
#include "machine/internal.h"

enum {
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    IRQ_FPU = 13,
    CACHES_TOTAL = 256 << 20, /* bytes of translated code, all processors */
    CACHE_LEAST = 8 << 20,    /* for one of them, however many there are */
};

/* -- from the local APIC to the vCPU -- */

/* In turns a message for a processor that is not running must not wait for the end of a slice. */
static void signal_processor(struct processor *p, u32 events)
{
    struct machine *m = p->machine;

    vcpu_signal(p->vcpu, events);
    if (!m->threaded && m->processor_count > 1 && &m->processors[m->running] != p)
        vcpu_signal(m->processors[m->running].vcpu, EVENT_STOP);
}

static void sink_intr(void *opaque, bool pending)
{
    struct processor *p = opaque;

    if (pending)
        signal_processor(p, EVENT_INTR);
    else
        vcpu_clear_signal(p->vcpu, EVENT_INTR);
}

static void sink_nmi(void *opaque)
{
    signal_processor(opaque, EVENT_NMI);
}

static void sink_smi(void *opaque)
{
    signal_processor(opaque, EVENT_SMI);
}

static void sink_init(void *opaque)
{
    signal_processor(opaque, EVENT_INIT);
}

static void sink_sipi(void *opaque, u8 vector)
{
    struct processor *p = opaque;

    __atomic_store_n(&p->vcpu->sipi_vector, vector, __ATOMIC_RELAXED);
    signal_processor(p, EVENT_SIPI);
}

static u8 sink_extint(void *opaque)
{
    struct processor *p = opaque;
    u8 vector;

    machine_lock(p->machine);
    vector = (u8)i8259_acknowledge(p->machine->parts[PART_PIC].self);
    machine_unlock(p->machine);
    return vector;
}

/* The register page: every processor sees its own APIC at its own base. */
static struct processor *lapic_at(struct machine *m)
{
    struct processor *p = m->threaded ? machine_current(m) : &m->processors[m->running];

    return p && p->lapic_mapped && p->lapic_base == m->lapic_region_base ? p : NULL;
}

static u64 lapic_page_read(void *machine, u64 offset, unsigned size)
{
    struct processor *p = lapic_at(machine);

    return p ? lapic_mmio_ops.read(p->lapic, offset, size) : ~0ull;
}

static void lapic_page_write(void *machine, u64 offset, u64 value, unsigned size)
{
    struct processor *p = lapic_at(machine);

    if (p)
        lapic_mmio_ops.write(p->lapic, offset, value, size);
}

static const struct io_ops lapic_page_ops = {lapic_page_read, lapic_page_write,
                                             SIZE_ANY | IO_OWN_THREAD};

/* One page serves all: systems that relocate the APIC do so alike on every processor. */
static void map_lapic(struct processor *p, bool mapped, u64 gpa)
{
    struct machine *m = p->machine;
    struct region region = {
        .name = "lapic",
        .kind = REGION_MMIO,
        .access = REGION_RW,
        .base = gpa,
        .size = PAGE_SIZE,
        .priority = PRIO_MMIO + 1,
        .ops = &lapic_page_ops,
        .self = m,
    };

    p->lapic_mapped = mapped;
    if (mapped)
        p->lapic_base = gpa;
    if (!mapped || (m->lapic_region_present && m->lapic_region_base == gpa))
        return;
    if (m->lapic_region_present)
        physmap_remove(m->map, m->lapic_region);
    m->lapic_region_present = physmap_add(m->map, &region, &m->lapic_region) == ST_OK;
    m->lapic_region_base = gpa;
    if (!m->lapic_region_present)
        log_guest(m->log, "lapic: base 0x%lx cannot be mapped", gpa);
}

static void sink_map(void *opaque, bool mapped, u64 gpa)
{
    struct processor *p = opaque;

    machine_lock(p->machine);
    map_lapic(p, mapped, gpa);
    machine_unlock(p->machine);
}

static u64 sink_tsc_to_ns(void *opaque, u64 tsc)
{
    struct processor *p = opaque;
    const struct time_source *time = &p->machine->time;
    i64 base = (i64)(tsc - p->vcpu->tsc_offset);

    return base < 0 ? 0 : time_of_tsc(time, (u64)base);
}

/* -- from the vCPU to the platform -- */

static struct processor *processor_of(void *opaque, const struct vcpu *v)
{
    return &((struct machine *)opaque)->processors[v->index];
}

static int cpu_intr_acknowledge(void *opaque, struct vcpu *v)
{
    struct lapic *lapic = processor_of(opaque, v)->lapic;

    lapic_settle(lapic);
    return lapic_has_interrupt(lapic) ? lapic_acknowledge(lapic) : -1;
}

static u64 cpu_cr8_read(void *opaque, struct vcpu *v)
{
    return lapic_get_tpr(processor_of(opaque, v)->lapic);
}

static void cpu_cr8_write(void *opaque, struct vcpu *v, u64 value)
{
    lapic_set_tpr(processor_of(opaque, v)->lapic, (u8)value);
}

static u64 cpu_tsc(void *opaque, struct vcpu *v)
{
    (void)v;
    return time_tsc(&((struct machine *)opaque)->time);
}

static void cpu_tsc_changed(void *opaque, struct vcpu *v)
{
    struct machine *m = opaque;

    lapic_tsc_changed(processor_of(m, v)->lapic);
    if (m->hv1)
        hv1_tsc_changed(m->hv1);
}

static void cpu_ferr(void *opaque, struct vcpu *v, bool level)
{
    (void)v;
    machine_lock(opaque);
    pc_isa_irq(opaque, SOURCE_FPU, IRQ_FPU, level);
    machine_unlock(opaque);
}

static void cpu_reset(void *opaque, struct vcpu *v, bool init)
{
    struct processor *p = processor_of(opaque, v);

    if (!p->lapic_ready || !init)
        return;
    lapic_init_reset(p->lapic);
    if (p->machine->hv1)
        hv1_vp_reset(p->machine->hv1, v);
}

/* Counted time: a fixed sequence (splitmix64), so that runs repeat. */
static bool cpu_random(void *opaque, struct vcpu *v, u64 *value)
{
    struct machine *m = opaque;
    u64 z;

    (void)v;
    if (m->config.time == TIME_REAL)
        return getrandom(value, sizeof(*value), GRND_NONBLOCK) == sizeof(*value);
    z = m->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    *value = z ^ z >> 31;
    return true;
}

static bool cpu_hypercall(void *opaque, struct vcpu *v)
{
    return hv1_hypercall(((struct machine *)opaque)->hv1, v);
}

/* -- MSRs that live in the local APIC -- */

static bool apic_base_read(void *opaque, struct vcpu *v, u32 msr, u64 *value)
{
    (void)v, (void)msr;
    *value = lapic_base_read(opaque);
    return true;
}

static bool apic_base_write(void *opaque, struct vcpu *v, u32 msr, u64 value)
{
    (void)v, (void)msr;
    return lapic_base_write(opaque, value);
}

static bool x2apic_read(void *opaque, struct vcpu *v, u32 msr, u64 *value)
{
    (void)v;
    return lapic_msr_read(opaque, msr, value);
}

static bool x2apic_write(void *opaque, struct vcpu *v, u32 msr, u64 value)
{
    (void)v;
    return lapic_msr_write(opaque, msr, value);
}

static bool deadline_read(void *opaque, struct vcpu *v, u32 msr, u64 *value)
{
    (void)msr;
    *value = lapic_tsc_deadline_read(opaque);
    return vcpu_has(v, FEAT_TSC_DEADLINE);
}

static bool deadline_write(void *opaque, struct vcpu *v, u32 msr, u64 value)
{
    (void)msr;
    if (!vcpu_has(v, FEAT_TSC_DEADLINE))
        return false;
    lapic_tsc_deadline_write(opaque, value);
    return true;
}

static enum status register_msrs(struct processor *p)
{
    enum status st;

    st = cpu_msr_register(p->vcpu, MSR_APIC_BASE, MSR_APIC_BASE, apic_base_read, apic_base_write,
                          p->lapic);
    if (!st)
        st = cpu_msr_register(p->vcpu, MSR_X2APIC_FIRST, MSR_X2APIC_LAST, x2apic_read, x2apic_write,
                              p->lapic);
    if (!st)
        st = cpu_msr_register(p->vcpu, MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, deadline_read,
                              deadline_write, p->lapic);
    return st;
}

/* -- life -- */

static enum status lapic_create(struct machine *m, struct processor *p, struct error *err)
{
    const struct lapic_config config = {
        .bus = &m->apic_bus,
        .sink = {.intr = sink_intr,
                 .nmi = sink_nmi,
                 .smi = sink_smi,
                 .init = sink_init,
                 .sipi = sink_sipi,
                 .extint_acknowledge = sink_extint,
                 .map = sink_map,
                 .tsc_to_ns = sink_tsc_to_ns,
                 .opaque = p},
        .apic_id = p->vcpu->apic_id,
        .bsp = p->vcpu->bsp,
        .x2apic = vcpu_has(p->vcpu, FEAT_X2APIC),
        .tsc_deadline = vcpu_has(p->vcpu, FEAT_TSC_DEADLINE),
        .bus_hz = m->model.apic_bus_hz,
        .maxphyaddr = m->model.maxphyaddr,
    };
    enum status st;

    p->lapic = calloc(1, lapic_type.state_size);
    if (!p->lapic)
        return error_set(err, ST_NO_MEMORY, "No memory for a local APIC; free some memory.");
    p->lapic_env =
        (struct device_env){.clock = &m->clock, .log = m->log, .map = m->map, .pio = &m->pio};
    st = lapic_type.init(p->lapic, &p->lapic_env, &config, err);
    if (st)
        return st;
    p->lapic_ready = true;
    st = register_msrs(p);
    return st ? error_set(err, st, "The local APIC's MSRs are taken.") : ST_OK;
}

/* Each processor has a code cache of its own; together they stay within bounds. */
static u64 cache_share(const struct machine *m)
{
    u64 share = CACHES_TOTAL / m->processor_count;

    return share > JIT_CACHE_DEFAULT ? JIT_CACHE_DEFAULT
           : share < CACHE_LEAST     ? CACHE_LEAST
                                     : share;
}

static enum status translator_create(struct machine *m, struct vcpu *v, struct error *err)
{
    /* Stores beside code are not waited for by who marks more of their page (tlb_mixed_ptr()). */
    const u64 unsafe = m->threaded && m->processor_count > 1 ? JIT_MIXED : 0;
    const struct jit_options options = {
        .optimisations = JIT_ALL & ~(m->config.jit_off | unsafe),
        .counted = m->config.time == TIME_COUNTED || m->config.exact,
        .sole = m->processor_count == 1 && m->config.own_process,
        .cache_size = m->config.jit_cache ? m->config.jit_cache : cache_share(m),
        .check = m->config.engine == ENGINE_CHECK,
        .disassemble = machine_disassemble,
    };

    return jit_create(v, &options, err);
}

static enum status processor_create(struct machine *m, unsigned index, struct error *err)
{
    struct processor *p = &m->processors[index];
    u32 apic_id = cpu_topology_apic_id(&m->model.topology, index);
    enum status st;

    p->machine = m;
    p->slice_from = CLOCK_NEVER;
    p->participant = m->threaded ? &m->rendezvous.members[index] : NULL;
    st = vcpu_create(&p->vcpu, index, apic_id, m->map, &m->model, &m->vcpu_platform, m->log, err);
    if (!st && m->threaded)
        p->participant->vcpu = p->vcpu;
    if (!st && m->config.engine != ENGINE_INTERP)
        st = translator_create(m, p->vcpu, err);
    else if (!st && !index && !native_available(p->vcpu->native))
        log_warn(m->log, "The host allows no executable memory: the guest has no x87 and no SIMD "
                         "instructions.");
    if (!st)
        st = lapic_create(m, p, err);
    return st || !m->hv1 ? st : hv1_connect(p, err);
}

/* -- what one processor does to the others -- */

static bool everybody(void *opaque, struct vcpu *v)
{
    (void)opaque, (void)v;
    return true;
}

/* The physical map has changed. Whoever made the change goes on when nobody uses the old one any
 * more; its own block ends behind this instruction. */
static void flush_all(void *opaque)
{
    struct machine *m = opaque;
    struct processor *self = machine_current(m);

    if (!m->parking.running) {
        for (unsigned n = 0; n < m->processor_count; n++)
            if (m->processors[n].vcpu) {
                tlb_flush_all(&m->processors[n].vcpu->tlb);
                vcpu_signal(m->processors[n].vcpu, EVENT_TLB);
            }
        return;
    }
    if (self) {
        tlb_flush_all(&self->vcpu->tlb);
        vcpu_signal(self->vcpu, EVENT_TLB);
    }
    rendezvous_sync(&m->rendezvous, self ? self->participant : NULL, EVENT_TLB, everybody, NULL);
}

static bool drops_write(void *page_hva, struct vcpu *v)
{
    return tlb_drop_write(&v->tlb, page_hva);
}

/* The page becomes a code page. A processor that may have found a write tag for it before can still
 * be about to store there, so it has to pass a safe point first. */
static void drop_write(void *opaque, const u8 *page_hva)
{
    struct machine *m = opaque;
    struct processor *self = machine_current(m);

    if (self) {
        tlb_drop_write(&self->vcpu->tlb, page_hva);
        rendezvous_take_begin(&m->rendezvous, self->participant);
        rendezvous_sync(&m->rendezvous, self->participant, 0, drops_write, (void *)page_hva);
        rendezvous_take_end(&m->rendezvous);
        return;
    }
    for (unsigned n = 0; n < m->processor_count; n++)
        if (m->processors[n].vcpu)
            tlb_drop_write(&m->processors[n].vcpu->tlb, page_hva);
}

/* Decoded code has changed: who runs it must not go on with what it has. */
static void code_written(void *opaque)
{
    struct machine *m = opaque;
    struct processor *self = machine_current(m);

    rendezvous_notify(&m->rendezvous, self ? self->participant : NULL);
}

enum status processors_create(struct machine *m, struct error *err)
{
    enum status st;

    m->vcpu_platform = (struct vcpu_platform){
        .opaque = m,
        .pio = &m->pio,
        .intr_acknowledge = cpu_intr_acknowledge,
        .cr8_read = cpu_cr8_read,
        .cr8_write = cpu_cr8_write,
        .tsc = cpu_tsc,
        .tsc_changed = cpu_tsc_changed,
        .ferr = cpu_ferr,
        .reset = cpu_reset,
        .random = cpu_random,
        .hypercall = m->hv1 ? cpu_hypercall : NULL,
        .tsc_hz = m->time.tsc_hz,
        .apic_bus_hz = m->model.apic_bus_hz,
        .tsc_is_host = m->time.kind == TIME_REAL && m->time.host_tsc && m->time.slowness == 1,
        .tsc_host_start = m->time.start,
    };
    if (m->threaded)
        threads_fill_platform(&m->vcpu_platform);
    m->processors = calloc(m->processor_count, sizeof(*m->processors));
    if (!m->processors)
        return error_set(err, ST_NO_MEMORY, "No memory for %u processors; lower -smp.",
                         m->processor_count);
    st = apic_bus_create(&m->apic_bus, m->processor_count, err);
    for (unsigned n = 0; !st && n < m->processor_count; n++)
        st = processor_create(m, n, err);
    physmap_set_listeners(m->map, flush_all, drop_write, m);
    if (m->threaded) {
        m->apic_bus.lock = m->pio.lock;
        m->ram.code_written = code_written;
        m->ram.opaque = m;
    }
    return st;
}

void processors_destroy(struct machine *m)
{
    if (!m->processors)
        return;
    physmap_set_listeners(m->map, NULL, NULL, NULL);
    for (unsigned n = 0; n < m->processor_count; n++) {
        struct processor *p = &m->processors[n];

        if (p->lapic_ready && lapic_type.fini)
            lapic_type.fini(p->lapic);
        free(p->lapic);
        if (p->vcpu)
            jit_destroy(p->vcpu);
        vcpu_destroy(p->vcpu);
    }
    apic_bus_destroy(&m->apic_bus);
    free(m->processors);
    m->processors = NULL;
}

void machine_jit_report(struct machine *m, FILE *out)
{
    struct jit_stats s;

    for (unsigned n = 0; m->config.engine != ENGINE_INTERP && n < m->processor_count; n++) {
        jit_stats(m->processors[n].vcpu, &s);
        fprintf(out, "CPU %u, translated code:\n", n);
        fprintf(out, "  %14lu blocks translated\n", s.blocks);
        fprintf(out, "  %14lu bytes of code\n", s.code_bytes);
        fprintf(out, "  %14lu flushes of the code cache\n", s.flushes);
        fprintf(out, "  %14lu evictions of a region of it\n", s.evictions);
        fprintf(out, "  %14lu blocks found again\n", s.revived);
        fprintf(out, "  %14lu lookups of a block outside of code\n", s.lookups);
        fprintf(out, "  %14lu next blocks found by what instructions call\n", s.stays);
        fprintf(out, "  %14lu misses of the inline TLB\n", s.misses);
        fprintf(out, "  %14lu misses of the window, %lu mappings, %lu times all gone\n",
                s.window_misses, s.window_fills, s.window_drops);
        fprintf(out, "  %14lu of them found in the second level at once\n", s.probes);
        fprintf(out, "  %14lu accesses found to meet too many pages\n", s.sites);
        if (m->config.engine == ENGINE_CHECK)
            fprintf(out, "  %14lu stretches compared with the interpreter\n", s.checked);
        fprintf(out, "  %14lu instructions by a call of the interpreter:\n", s.interpreted);
        jit_print_calls(m->processors[n].vcpu, out);
    }
}

void processors_reset(struct machine *m)
{
    m->running = 0;
    for (unsigned n = 0; n < m->processor_count; n++) {
        lapic_type.reset(m->processors[n].lapic);
        vcpu_reset(m->processors[n].vcpu, false);
    }
}

void processors_set_lint0(struct machine *m, bool level)
{
    lapic_set_lint(m->processors[0].lapic, LAPIC_LINT0, level);
}
