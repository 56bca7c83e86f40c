/* SPDX-License-Identifier: MIT
 *
 * Running a machine of the public library, and what ends a run.
 */
#include "cpu/engine.h"
#include "jit/jit.h"
#include "machine/internal.h"
#include "machine/library/library.h"

static u64 retired(const struct lockstep_machine *m)
{
    return m->cell ? m->cell->vcpu->icount : machine_instructions(m->pc->machine);
}

/* A processor that stalls is not stopped: there are no timers to serve. */
static enum vcpu_exit run_vcpu(struct lockstep_machine *m, u64 budget)
{
    struct vcpu *v = m->cell->vcpu;
    const u64 end = v->icount + budget;
    enum vcpu_exit why = EXIT_STALLED;

    v->stalls = 0;
    while (why == EXIT_STALLED) {
        why = v->jit.owner ? jit_run(v, end - v->icount) : interp_run(v, end - v->icount);
        if (__atomic_exchange_n(&m->cell->stop, false, __ATOMIC_SEQ_CST))
            why = why == EXIT_STALLED ? EXIT_STOP : why;
        else if (why == EXIT_STOP)
            why = EXIT_STALLED;
    }
    return why;
}

static enum lockstep_end run_cell(struct lockstep_machine *m, u64 budget)
{
    struct cell *cell = m->cell;
    enum vcpu_exit why;

    time_slice_begin(&cell->time, &cell->vcpu->icount);
    why = run_vcpu(m, budget);
    time_slice_end(&cell->time);
    switch (why) {
    case EXIT_BUDGET: return LOCKSTEP_END_BUDGET;
    case EXIT_STALLED:
    case EXIT_STOP: return LOCKSTEP_END_STOPPED;
    case EXIT_IDLE: return LOCKSTEP_END_HALTED;
    case EXIT_SHUTDOWN: return LOCKSTEP_END_SHUTDOWN;
    case EXIT_MISMATCH: /* of an engine that the library does not offer */
    case EXIT_HOOK: break;
    }
    return (enum lockstep_end)m->hook_end;
}

/* Guest time that a PC may idle in one run, in counted time: only the program can end the wait. */
#define PC_IDLE_NS (60 * NS_PER_SECOND)

static enum lockstep_end run_pc(struct lockstep_machine *m, u64 budget, int *code)
{
    switch (machine_run_for(m->pc->machine, budget, PC_IDLE_NS, code)) {
    case END_POWER_OFF: return LOCKSTEP_END_POWER_OFF;
    case END_REBOOT: return LOCKSTEP_END_REBOOT;
    case END_DEBUG_EXIT: return LOCKSTEP_END_DEBUG_EXIT;
    case END_SHUTDOWN: return LOCKSTEP_END_SHUTDOWN;
    case END_STOPPED: return LOCKSTEP_END_STOPPED;
    case END_HALTED: return LOCKSTEP_END_HALTED;
    case END_BUDGET: return LOCKSTEP_END_BUDGET;
    case END_MISMATCH:
    case END_HOOK: break;
    }
    return (enum lockstep_end)m->hook_end;
}

/* A budget that ends just where `until` is. */
static bool reached_until(const struct lockstep_machine *m, const struct vcpu *v)
{
    u64 address = vcpu_64bit(v) ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip);

    return m->until_set && m->until_armed && address == m->until;
}

static enum lockstep_status run(struct lockstep_machine *m, u64 budget,
                                struct lockstep_result *result)
{
    enum lockstep_end end = LOCKSTEP_END_BUDGET;
    u64 before = retired(m);
    int code = 0;

    m->running = true;
    m->end_cpu = m->cell ? 0 : m->pc->machine->running;
    m->last = (struct lockstep_exception){.kind = LOCKSTEP_EVENT_NONE};
    for (unsigned n = 0; n < library_cpu_count(m); n++)
        m->flow[n].ended = true;
    if (budget)
        end = m->cell ? run_cell(m, budget) : run_pc(m, budget, &code);
    m->running = false;
    if (m->pc && end != LOCKSTEP_END_HOOK && end != LOCKSTEP_END_EXCEPTION &&
        end != LOCKSTEP_END_ADDRESS)
        m->end_cpu = m->pc->machine->running;
    if (end == LOCKSTEP_END_BUDGET && reached_until(m, library_cpu(m, m->end_cpu)))
        end = LOCKSTEP_END_ADDRESS;
    if (result) {
        result->end = end;
        result->instructions = retired(m) - before;
        result->exit_code = (u32)code;
        result->cpu = m->end_cpu;
        result->rip = library_cpu(m, m->end_cpu)->rip;
        result->exception = m->last;
    }
    return LOCKSTEP_OK;
}

static enum lockstep_status check_run(struct lockstep_machine *m,
                                      const struct lockstep_result *result)
{
    enum lockstep_status st = library_idle(m);

    if (st)
        return st;
    if (result && result->size != sizeof(*result))
        return library_fail(m, LOCKSTEP_INVALID,
                            "lockstep_result.size is %u; this version of the library wants %zu.",
                            result->size, sizeof(*result));
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_run(struct lockstep_machine *m, uint64_t budget,
                                  struct lockstep_result *result)
{
    enum lockstep_status st = check_run(m, result);

    return st ? st : run(m, budget, result);
}

enum lockstep_status lockstep_run_until(struct lockstep_machine *m, uint64_t until, uint64_t budget,
                                        struct lockstep_result *result)
{
    enum lockstep_status st = check_run(m, result);

    if (st)
        return st;
    m->until_set = true;
    m->until_armed = false;
    m->until = until;
    library_install_hooks(m);
    st = run(m, budget, result);
    m->until_set = false;
    library_install_hooks(m);
    return st;
}

enum lockstep_status lockstep_step(struct lockstep_machine *m, struct lockstep_result *result)
{
    return lockstep_run(m, 1, result);
}

void lockstep_stop(struct lockstep_machine *m)
{
    if (!m)
        return;
    if (m->cell) {
        __atomic_store_n(&m->cell->stop, true, __ATOMIC_SEQ_CST);
        vcpu_signal(m->cell->vcpu, EVENT_STOP);
    } else {
        machine_stop(m->pc->machine);
    }
}

uint64_t lockstep_instructions(const struct lockstep_machine *m)
{
    return m ? retired(m) : 0;
}

enum lockstep_status lockstep_interrupt(struct lockstep_machine *m, uint8_t vector)
{
    if (!m)
        return LOCKSTEP_INVALID;
    if (!m->cell)
        return LOCKSTEP_UNSUPPORTED; /* no sentence: another thread may be running the machine */
    cell_interrupt(m->cell, vector);
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_nmi(struct lockstep_machine *m, unsigned cpu)
{
    if (!m || cpu >= library_cpu_count(m))
        return LOCKSTEP_INVALID;
    vcpu_signal(library_cpu(m, cpu), EVENT_NMI);
    if (m->pc)
        machine_request(m->pc->machine, 0); /* it may be asleep */
    return LOCKSTEP_OK;
}
