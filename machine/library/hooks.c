/* SPDX-License-Identifier: MIT
 *
 * From the processor's hooks (cpu/hooks.h) to the program's, and to what the library itself needs
 * them for: stops on exceptions, running until an address, the last exception of a run.
 */
#include "cpu/cpuid.h"
#include "cpu/insn.h"
#include "machine/library/library.h"
#include "mem/base/bits.h"

static void hook_ends(struct lockstep_machine *m, const struct vcpu *v, enum lockstep_end end)
{
    m->hook_end = end;
    m->end_cpu = v->index;
}

/* -- instructions -- */

static void show_fetch(struct lockstep_machine *m, unsigned cpu, u64 address, const struct insn *i)
{
    const struct lockstep_access access = {.kind = LOCKSTEP_FETCH,
                                           .size = i->len,
                                           .linear = address,
                                           .bytes = i->bytes,
                                           .value = i->len <= 8 ? load_le(i->bytes, i->len) : 0};

    m->hooks.memory(m->hooks.opaque, cpu, &access);
}

/* Whether the instruction begins a straight run of code. */
static bool begins_block(struct flow *flow, u64 address, const struct insn *i)
{
    bool begins = flow->ended || address != flow->next;

    flow->next = address + i->len;
    flow->ended = insn_row(i)->traits & T_ENDS;
    return begins;
}

static bool at_until(struct lockstep_machine *m, u64 address)
{
    bool armed = m->until_armed;

    m->until_armed = true;
    return m->until_set && armed && address == m->until;
}

static bool on_insn(void *opaque, struct vcpu *v, const struct insn *i)
{
    struct lockstep_machine *m = opaque;
    const struct lockstep_hooks *h = &m->hooks;
    u64 address = vcpu_64bit(v) ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip);
    bool begins;

    if (at_until(m, address)) {
        hook_ends(m, v, LOCKSTEP_END_ADDRESS);
        return false;
    }
    begins = begins_block(&m->flow[v->index], address, i);
    if ((begins && h->block && h->block(h->opaque, v->index, address) != LOCKSTEP_CONTINUE) ||
        (h->instruction &&
         h->instruction(h->opaque, v->index, address, i->bytes, i->len) != LOCKSTEP_CONTINUE)) {
        hook_ends(m, v, LOCKSTEP_END_HOOK);
        return false;
    }
    if (h->memory)
        show_fetch(m, v->index, address, i);
    return true;
}

/* -- accesses -- */

static void on_memory(void *opaque, struct vcpu *v, const struct vcpu_access *a)
{
    struct lockstep_machine *m = opaque;
    const struct lockstep_access access = {.kind = a->kind == ACCESS_WRITE ? LOCKSTEP_WRITE
                                                                           : LOCKSTEP_READ,
                                           .size = a->size,
                                           .linear = a->gla,
                                           .physical = a->gpa,
                                           .bytes = a->bytes,
                                           .value = a->size <= 8 ? load_le(a->bytes, a->size) : 0};

    m->hooks.memory(m->hooks.opaque, v->index, &access);
}

static void on_port(void *opaque, struct vcpu *v, u16 port, unsigned size, bool write, u64 value)
{
    struct lockstep_machine *m = opaque;
    const struct lockstep_port_access access = {
        .port = port, .write = write, .size = (u8)size, .value = (u32)(value & size_mask(size))};

    m->hooks.port(m->hooks.opaque, v->index, &access);
}

static void on_cpuid(void *opaque, struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_result *r)
{
    struct lockstep_machine *m = opaque;
    struct lockstep_cpuid result = {r->eax, r->ebx, r->ecx, r->edx};

    m->hooks.cpuid(m->hooks.opaque, v->index, leaf, subleaf, &result);
    *r = (struct cpuid_result){result.eax, result.ebx, result.ecx, result.edx};
}

/* -- exceptions and interrupts -- */

static enum lockstep_event_kind event_kind(enum event_kind kind)
{
    switch (kind) {
    case EVENT_EXCEPTION: return LOCKSTEP_EVENT_FAULT;
    case EVENT_TRAP_EXC: return LOCKSTEP_EVENT_TRAP;
    case EVENT_HARDWARE: return LOCKSTEP_EVENT_INTERRUPT;
    default: return LOCKSTEP_EVENT_SOFTWARE;
    }
}

static bool on_event(void *opaque, struct vcpu *v, const struct vcpu_event_info *e)
{
    struct lockstep_machine *m = opaque;

    m->flow[v->index].ended = true;
    m->last = (struct lockstep_exception){.kind = event_kind(e->kind),
                                          .vector = e->vector,
                                          .has_error_code = e->has_error,
                                          .delivered = true,
                                          .error_code = e->error,
                                          .cpu = v->index,
                                          .address = e->cr2,
                                          .dr6 = e->dr6,
                                          .rip = v->rip,
                                          .return_rip = e->return_rip};
    if (m->hooks.exception &&
        m->hooks.exception(m->hooks.opaque, v->index, &m->last) != LOCKSTEP_CONTINUE)
        hook_ends(m, v, LOCKSTEP_END_HOOK);
    else if (m->last.kind != LOCKSTEP_EVENT_INTERRUPT &&
             (m->stop_vectors[e->vector / 64] >> e->vector % 64 & 1))
        hook_ends(m, v, LOCKSTEP_END_EXCEPTION);
    else
        return true;
    m->last.delivered = false;
    return false;
}

/* -- installation -- */

void library_install_hooks(struct lockstep_machine *m)
{
    const struct lockstep_hooks *h = &m->hooks;
    bool steps = h->instruction || h->block || h->memory || m->until_set;

    m->vcpu_hooks = (struct vcpu_hooks){
        .opaque = m,
        .insn = steps ? on_insn : NULL,
        .memory = h->memory ? on_memory : NULL,
        .port = h->port ? on_port : NULL,
        .event = on_event,
        .cpuid = h->cpuid ? on_cpuid : NULL,
    };
    for (unsigned n = 0; n < library_cpu_count(m); n++)
        vcpu_set_hooks(library_cpu(m, n), &m->vcpu_hooks);
}

enum lockstep_status lockstep_set_hooks(struct lockstep_machine *m,
                                        const struct lockstep_hooks *hooks)
{
    enum lockstep_status st = library_idle(m);

    if (st)
        return st;
    if (hooks && hooks->size != sizeof(*hooks))
        return library_fail(m, LOCKSTEP_INVALID,
                            "lockstep_hooks.size is %u; this version of the library wants %zu.",
                            hooks->size, sizeof(*hooks));
    m->hooks = hooks ? *hooks : (struct lockstep_hooks){.size = 0};
    library_install_hooks(m);
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_stop_on_exception(struct lockstep_machine *m, int vector, bool stop)
{
    enum lockstep_status st = library_idle(m);

    if (st)
        return st;
    if (vector < LOCKSTEP_ALL_VECTORS || vector > 255)
        return library_fail(m, LOCKSTEP_INVALID, "There is no vector %d.", vector);
    for (unsigned n = 0; n < ARRAY_SIZE(m->stop_vectors); n++) {
        u64 bits = 0;

        if (vector == LOCKSTEP_ALL_VECTORS)
            bits = ~0ull;
        else if ((unsigned)vector / 64 == n)
            bits = BIT((unsigned)vector % 64);
        m->stop_vectors[n] = stop ? m->stop_vectors[n] | bits : m->stop_vectors[n] & ~bits;
    }
    return LOCKSTEP_OK;
}
