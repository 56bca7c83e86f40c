/* SPDX-License-Identifier: MIT
 *
 * What the machine lends to Hv#1: time, the local APICs, other processors' TLBs, sleep and reset.
 */
#include <sched.h>
#include <unistd.h>

#include "devices/apic/lapic.h"
#include "machine/internal.h"

enum { CPUID_FIRST = 0x40000000, CPUID_LAST = 0x400000ff };

static struct processor *processor_of(void *opaque, const struct vcpu *v)
{
    return &((struct machine *)opaque)->processors[v->index];
}

/* -- time -- */

static u64 hv_tsc(void *opaque)
{
    return time_tsc(&((struct machine *)opaque)->time);
}

static u64 hv_tsc_to_ns(void *opaque, u64 tsc)
{
    return time_of_tsc(&((struct machine *)opaque)->time, tsc);
}

/* Asked by the vCPU itself. What its thread used of the host, or its slices in turns. */
static u64 hv_runtime_ns(void *opaque, struct vcpu *v)
{
    struct machine *m = opaque;
    const struct processor *p = processor_of(m, v);

    if (m->threaded)
        return p->ran_ns + threads_used_ns();
    return p->ran_ns + (p->slice_from == CLOCK_NEVER ? 0 : time_now(&m->time) - p->slice_from);
}

/* -- the local APIC -- */

static void hv_interrupt(void *opaque, struct vcpu *v, u8 vector)
{
    const struct apic_message message = {.mode = APIC_FIXED, .vector = vector};

    lapic_accept(processor_of(opaque, v)->lapic, &message);
}

static void hv_apic_settle(void *opaque, struct vcpu *v)
{
    lapic_settle(processor_of(opaque, v)->lapic);
}

static void hv_apic_eoi(void *opaque, struct vcpu *v)
{
    lapic_end_of_interrupt(processor_of(opaque, v)->lapic);
}

static u64 hv_apic_icr_read(void *opaque, struct vcpu *v)
{
    return lapic_icr_read(processor_of(opaque, v)->lapic);
}

static void hv_apic_icr_write(void *opaque, struct vcpu *v, u64 value)
{
    lapic_icr_write(processor_of(opaque, v)->lapic, value);
}

static u8 hv_apic_tpr_read(void *opaque, struct vcpu *v)
{
    return lapic_tpr_read(processor_of(opaque, v)->lapic);
}

static void hv_apic_tpr_write(void *opaque, struct vcpu *v, u8 value)
{
    lapic_tpr_write(processor_of(opaque, v)->lapic, value);
}

/* -- from the local APIC to Hv#1 (struct lapic_assist) -- */

static bool assist_auto_eoi(void *opaque, u8 vector)
{
    const struct processor *p = opaque;

    return hv1_auto_eoi(p->machine->hv1, p->vcpu, vector);
}

static bool assist_offer(void *opaque)
{
    const struct processor *p = opaque;

    return hv1_eoi_offer(p->machine->hv1, p->vcpu);
}

static bool assist_skipped(void *opaque)
{
    const struct processor *p = opaque;

    return hv1_eoi_skipped(p->machine->hv1, p->vcpu);
}

static void assist_withdraw(void *opaque)
{
    const struct processor *p = opaque;

    hv1_eoi_withdraw(p->machine->hv1, p->vcpu);
}

static void assist_eoi(void *opaque, u8 vector)
{
    const struct processor *p = opaque;

    hv1_eoi(p->machine->hv1, p->vcpu, vector);
}

/* Whoever sleeps in GUEST_IDLE wakes for any request, even one that its priority holds off. */
static void assist_requested(void *opaque)
{
    const struct processor *p = opaque;

    if (__atomic_load_n(&p->vcpu->activity, __ATOMIC_SEQ_CST) == ACTIVITY_MWAIT)
        vcpu_signal(p->vcpu, EVENT_INTR);
}

/* -- processors -- */

static bool in_set(void *flush, struct vcpu *v)
{
    const struct hv1_flush *f = flush;

    return f->vps[v->index / 64] & BIT(v->index % 64);
}

/* With threads a VP forgets by itself, at its next safe point; in turns the others stand between
 * two instructions. */
static void hv_flush(void *opaque, struct vcpu *from, const struct hv1_flush *f)
{
    struct machine *m = opaque;

    for (unsigned word = 0; word < HV1_VP_WORDS; word++)
        for (u64 left = f->vps[word]; left; left &= left - 1) {
            struct vcpu *v = m->processors[word * 64 + (unsigned)__builtin_ctzll(left)].vcpu;

            if (m->threaded && v != from)
                tlb_request(&v->requests, &f->what);
            else
                tlb_forget(&v->tlb, &f->what);
        }
    if (m->threaded)
        rendezvous_finish(&m->rendezvous, processor_of(m, from)->participant, EVENT_FORGET, in_set,
                          (void *)f);
}

/* As MWAIT does; it ends at once if something is requested already. The store comes before the
 * look: whoever requests something later sees the sleeper. */
static void hv_idle(void *opaque, struct vcpu *v)
{
    v->monitor_line = NULL;
    vcpu_set_activity(v, ACTIVITY_MWAIT);
    if (lapic_requested(processor_of(opaque, v)->lapic))
        vcpu_set_activity(v, ACTIVITY_RUN);
}

static void hv_yield(void *opaque, struct vcpu *v)
{
    const struct machine *m = opaque;

    if (m->threaded)
        sched_yield();
    else
        vcpu_signal(v, EVENT_STOP);
}

static void hv_reset(void *opaque)
{
    machine_request(opaque, REQUEST_RESET);
}

/* -- life -- */

void machine_hv_help(FILE *out)
{
    hv1_help(out);
}

static unsigned cpu_count(const struct machine *m)
{
    const struct cpu_topology *t = &m->model.topology;

    return t->sockets * t->cores * t->threads;
}

/* That the machine's threads may use. */
static unsigned host_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

enum status hv1_prepare(struct machine *m, struct error *err)
{
    enum status st = hv1_profile_parse(&m->hv1_profile, m->config.hv, err);

    if (!st)
        st = hv1_profile_fit(&m->hv1_profile, cpu_count(m), err);
    if (st)
        return st;
    m->hv1_profile.ports = m->config.hv_testdev;
    if (m->config.hv_testdev && !(m->hv1_profile.switches & HV1_SYNIC))
        return error_set(err, ST_INVALID,
                         "-device hyperv-testdev needs the synthetic interrupt controller; add "
                         "+synic to -hv.");
    if (m->hv1_profile.level == HV1_OFF)
        feature_remove(&m->model.features, FEAT_HYPERVISOR);
    else
        feature_add(&m->model.features, FEAT_HYPERVISOR);
    return ST_OK;
}

enum status hv1_start(struct machine *m, struct error *err)
{
    const struct hv1_config config = {
        .profile = m->hv1_profile,
        .platform = {.opaque = m,
                     .lock = machine_lock,
                     .unlock = machine_unlock,
                     .tsc = hv_tsc,
                     .tsc_to_ns = hv_tsc_to_ns,
                     .runtime_ns = hv_runtime_ns,
                     .interrupt = hv_interrupt,
                     .apic_settle = hv_apic_settle,
                     .apic_eoi = hv_apic_eoi,
                     .apic_icr_read = hv_apic_icr_read,
                     .apic_icr_write = hv_apic_icr_write,
                     .apic_tpr_read = hv_apic_tpr_read,
                     .apic_tpr_write = hv_apic_tpr_write,
                     .flush = hv_flush,
                     .idle = hv_idle,
                     .yield = hv_yield,
                     .reset = hv_reset},
        .map = m->map,
        .clock = &m->clock,
        .log = m->log,
        .model = &m->model,
        .cpus = cpu_count(m),
        .overcommitted = cpu_count(m) > (m->threaded ? host_cpus() : 1),
        .ram_offset = m->config.ram_size,
    };
    enum status st;

    if (m->hv1_profile.level == HV1_OFF)
        return ST_OK;
    st = hv1_create(&m->hv1, &config, err);
    if (st)
        return st;
    m->model.cpuid_range_first = CPUID_FIRST;
    m->model.cpuid_range_last = CPUID_LAST;
    m->model.cpuid_range = hv1_cpuid;
    m->model.cpuid_adjust = hv1_cpuid_adjust;
    m->model.cpuid_range_opaque = m->hv1;
    return ST_OK;
}

enum status hv1_connect(struct processor *p, struct error *err)
{
    const struct lapic_assist assist = {.auto_eoi = assist_auto_eoi,
                                        .offer = assist_offer,
                                        .skipped = assist_skipped,
                                        .withdraw = assist_withdraw,
                                        .eoi = assist_eoi,
                                        .requested = assist_requested,
                                        .opaque = p};
    enum status st = hv1_attach(p->machine->hv1, p->vcpu, err);

    if (!st)
        lapic_set_assist(p->lapic, &assist);
    return st;
}
