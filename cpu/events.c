/* SPDX-License-Identifier: MIT
 *
 * What happens between instructions: INIT, SIPI, debug traps, NMI, external interrupts, waking from
 * HLT and MWAIT, in the order of SDM 3A table 6-2.
 */
#include "cpu/control.h"
#include "cpu/engine.h"
#include "cpu/exception.h"
#include "cpu/hooks.h"
#include "cpu/vcpu.h"

static u32 events_now(const struct vcpu *v)
{
    return __atomic_load_n(&v->events, __ATOMIC_ACQUIRE);
}

/* Whether a hook lets an event through. One that is stopped wakes the processor all the same. */
static bool hook_allows(struct vcpu *v, u8 vector, enum event_kind kind, u64 dr6)
{
    const struct vcpu_event_info event = {
        .vector = vector, .kind = kind, .dr6 = dr6, .return_rip = v->rip};

    if (likely(!v->hooks) || hook_event(v, &event))
        return true;
    vcpu_set_activity(v, ACTIVITY_RUN);
    return false;
}

/* Delivers one event at an instruction boundary. A REP instruction that is not finished is
 * continued later with RF set, so that its breakpoint does not fire again (SDM 3B 17.3.1.1). */
static bool deliver(struct vcpu *v, u8 vector, enum event_kind kind)
{
    if (v->repeat)
        v->rflags |= F_RF;
    v->repeat = false;
    v->shadow = 0;
    vcpu_set_activity(v, ACTIVITY_RUN);
    log_trace(v->log, LOG_INT, "event %02x at %04x:%016lx cpl %u flags %06lx", vector,
              v->seg[SEG_CS].selector, v->rip, v->cpl, v->rflags);
    if (!interrupt_deliver(v, vector, kind, false, 0, v->rip) && !exception_deliver(v))
        return false;
    v->rip = v->next_rip;
    return true;
}

/* INIT keeps what SDM 3A table 9-1 says; an application processor then waits for SIPI. */
static void take_init(struct vcpu *v)
{
    vcpu_clear_signal(v, EVENT_INIT);
    vcpu_reset(v, true);
}

/* SDM 3A 8.4.3: starts at vector * 4 KiB in real mode; ignored unless waiting. */
static void take_sipi(struct vcpu *v)
{
    u8 vector;

    vcpu_clear_signal(v, EVENT_SIPI);
    if (v->activity != ACTIVITY_WAIT_SIPI)
        return;
    vector = __atomic_load_n(&v->sipi_vector, __ATOMIC_RELAXED);
    v->seg[SEG_CS].selector = (u16)(vector << 8);
    v->seg[SEG_CS].base = (u64)vector << 12;
    v->rip = v->next_rip = 0;
    vcpu_set_activity(v, ACTIVITY_RUN);
    vcpu_update_mode(v);
}

/* The trap of what breakpoints, TF and task switches have collected; held off by MOV SS. */
static bool take_debug_trap(struct vcpu *v)
{
    u64 dr6;

    if (v->pending_db && v->shadow == 2)
        return true;
    vcpu_clear_signal(v, EVENT_TRAP);
    if (!v->pending_db)
        return true;
    dr6 = v->pending_db;
    v->pending_db = 0;
    if (!hook_allows(v, VEC_DB, EVENT_TRAP_EXC, dr6))
        return false;
    v->dr6 |= dr6;
    return deliver(v, VEC_DB, EVENT_TRAP_EXC);
}

static bool take_nmi(struct vcpu *v)
{
    if (v->nmi_blocked || v->shadow == 2)
        return true;
    vcpu_clear_signal(v, EVENT_NMI);
    if (!hook_allows(v, VEC_NMI, EVENT_HARDWARE, 0))
        return false;
    v->nmi_blocked = true;
    return deliver(v, VEC_NMI, EVENT_HARDWARE);
}

static bool take_interrupt(struct vcpu *v)
{
    int vector;

    /* MWAIT may end for any reason; it does for interrupts that are masked, too. */
    if (v->activity == ACTIVITY_MWAIT)
        vcpu_set_activity(v, ACTIVITY_RUN);
    if (!(v->rflags & F_IF) || v->shadow)
        return true;
    vector = v->platform->intr_acknowledge(v->platform->opaque, v);
    if (vector < 0)
        return true;
    return hook_allows(v, (u8)vector, EVENT_HARDWARE, 0) && deliver(v, (u8)vector, EVENT_HARDWARE);
}

/* Events for a processor that runs, or sleeps in HLT or MWAIT. false: shut down, or stopped by a
 * hook. */
static bool take_running(struct vcpu *v)
{
    if (!take_debug_trap(v))
        return false;
    if ((events_now(v) & EVENT_NMI) && !take_nmi(v))
        return false;
    return !(events_now(v) & EVENT_INTR) || take_interrupt(v);
}

bool vcpu_monitor_hit(const struct vcpu *v)
{
    for (unsigned n = 0; n < CACHE_LINE / 8; n++)
        if (__atomic_load_n(&v->monitor_line[n], __ATOMIC_SEQ_CST) != v->monitor_seen[n])
            return true;
    return false;
}

/* Who asked for a safe point sent its events before EVENT_SYNC, so they are looked at after it. */
u32 vcpu_obey_others(struct vcpu *v)
{
    u32 events = events_now(v);

    if (events & EVENT_SYNC) {
        vcpu_clear_signal(v, EVENT_SYNC);
        v->platform->syncing(v->platform->opaque, v);
        events = events_now(v) | EVENT_SYNC;
    }
    if (events & EVENT_TLB) {
        vcpu_clear_signal(v, EVENT_TLB);
        tlb_flush_all(&v->tlb);
    }
    if (events & EVENT_FORGET) {
        vcpu_clear_signal(v, EVENT_FORGET);
        tlb_requests_obey(&v->requests, &v->tlb);
    }
    if (events & EVENT_SYNC) {
        tlb_settle(&v->tlb);
        v->platform->synced(v->platform->opaque, v);
    }
    return events;
}

bool vcpu_take_events(struct vcpu *v, enum vcpu_exit *exit)
{
    u32 events = vcpu_obey_others(v);

    if (events & EVENT_SMI)
        vcpu_clear_signal(v, EVENT_SMI); /* there is no SMM */
    if (events & EVENT_STOP) {
        vcpu_clear_signal(v, EVENT_STOP);
        *exit = EXIT_STOP;
        return false;
    }
    if (events & EVENT_INIT)
        take_init(v);
    if (events_now(v) & EVENT_SIPI)
        take_sipi(v);
    if (v->activity <= ACTIVITY_MWAIT && !take_running(v)) {
        if (v->hook_stop) {
            v->hook_stop = false;
            *exit = EXIT_HOOK;
            return false;
        }
        vcpu_set_activity(v, ACTIVITY_SHUTDOWN);
    }
    if (v->activity == ACTIVITY_RUN)
        return true;
    *exit = v->activity == ACTIVITY_SHUTDOWN ? EXIT_SHUTDOWN : EXIT_IDLE;
    return false;
}

void vcpu_stall(struct vcpu *v, unsigned cost)
{
    v->stalls += cost;
    if (v->stalls >= STALLS_MAX)
        vcpu_signal(v, EVENT_STOP);
}

static bool hook_fault(struct vcpu *v)
{
    const struct fault *f = &v->fault;
    bool breakpoint = f->vector == VEC_DB && !(f->dr6 & DR6_BD);
    const struct vcpu_event_info event = {.vector = f->vector,
                                          .kind = breakpoint ? EVENT_TRAP_EXC : EVENT_EXCEPTION,
                                          .has_error = f->has_error,
                                          .error = f->error,
                                          .cr2 = f->cr2,
                                          .dr6 = f->dr6,
                                          .return_rip = v->rip};

    v->fault.pending = false;
    if (!hook_event(v, &event))
        return false;
    v->fault.pending = true;
    return true;
}

bool vcpu_deliver_fault(struct vcpu *v)
{
    if (unlikely(v->hook_stop))
        return false; /* a software interrupt was stopped */
    check(v->fault.pending, "an instruction failed without a fault at %04x:%016lx",
          v->seg[SEG_CS].selector, v->rip);
    log_trace(v->log, LOG_INT, "fault %02x error %04x at %04x:%016lx cpl %u cr2 %016lx",
              v->fault.vector, v->fault.error, v->seg[SEG_CS].selector, v->rip, v->cpl,
              v->fault.cr2);
    if (unlikely(v->hooks) && !hook_fault(v))
        return false;
    v->shadow = 0;
    v->pending_db = 0;
    vcpu_stall(v, STALL_FAULT);
    if (!exception_deliver(v))
        return false;
    v->rip = v->next_rip;
    return true;
}

enum vcpu_exit vcpu_leave(struct vcpu *v)
{
    bool stopped = v->hook_stop;

    v->hook_stop = false;
    return stopped ? EXIT_HOOK : EXIT_SHUTDOWN;
}

bool vcpu_stalled(struct vcpu *v)
{
    if (v->stalls < STALLS_MAX)
        return false;
    v->stalls = 0;
    return true;
}
