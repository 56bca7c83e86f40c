/* SPDX-License-Identifier: MIT
 *
 * Recording and delivering exceptions: the double and triple fault rules of SDM 3A 6.15.
 *
 * A delivery that itself faults leaves the new fault in v->fault; table 6-5 decides whether that
 * one is delivered in its place, becomes a double fault, or shuts the processor down.
 */
#include "cpu/exception.h"

enum fault_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE_FAULT };

/* Benign faults that replace each other before the processor counts as dead. */
enum { SERIAL_MAX = 8 };

bool raise_fault(struct vcpu *v, enum vector vector)
{
    v->fault = (struct fault){.vector = vector, .pending = true};
    return false;
}

bool raise_fault_error(struct vcpu *v, enum vector vector, u32 error)
{
    v->fault = (struct fault){.vector = vector, .pending = true, .has_error = true, .error = error};
    return false;
}

bool raise_pf(struct vcpu *v, u64 gla, u32 error)
{
    raise_fault_error(v, VEC_PF, error);
    v->fault.cr2 = gla;
    return false;
}

bool raise_db(struct vcpu *v, u64 dr6_bits)
{
    raise_fault(v, VEC_DB);
    v->fault.dr6 = dr6_bits;
    return false;
}

/* SDM 3A table 6-4. */
static enum fault_class fault_class(unsigned vector)
{
    switch (vector) {
    case VEC_DE:
    case VEC_TS:
    case VEC_NP:
    case VEC_SS:
    case VEC_GP: return CLASS_CONTRIBUTORY;
    case VEC_PF: return CLASS_PAGE_FAULT;
    case VEC_DF: return CLASS_DOUBLE_FAULT;
    default: return CLASS_BENIGN;
    }
}

/* SDM 3A table 6-5: whether the second of two faults, while delivering the first, makes it worse.
 */
static bool faults_combine(unsigned first, unsigned second)
{
    enum fault_class a = fault_class(first), b = fault_class(second);

    switch (a) {
    case CLASS_CONTRIBUTORY: return b == CLASS_CONTRIBUTORY;
    case CLASS_PAGE_FAULT:
    case CLASS_DOUBLE_FAULT: return b == CLASS_CONTRIBUTORY || b == CLASS_PAGE_FAULT;
    default: return false;
    }
}

static bool deliver_once(struct vcpu *v, const struct fault *f)
{
    enum event_kind kind = EVENT_EXCEPTION;

    v->fault.pending = false;
    if (f->vector == VEC_PF)
        v->cr2 = f->cr2;
    if (f->vector == VEC_DB) {
        v->dr6 |= f->dr6;
        /* An instruction breakpoint leaves RF as it is, SDM 3B 17.3.1.1; general detect is a fault
         * like any other. */
        if (!(f->dr6 & DR6_BD))
            kind = EVENT_TRAP_EXC;
    }
    return interrupt_deliver(v, f->vector, kind, f->has_error, f->error, v->rip);
}

static bool shut_down(struct vcpu *v)
{
    v->fault.pending = false;
    vcpu_set_activity(v, ACTIVITY_SHUTDOWN);
    return false;
}

bool exception_deliver(struct vcpu *v)
{
    /* DEVIATION: a processor repeats a benign fault that its own delivery raises (#AC on a CPL 3
     * stack) for ever, deaf to everything; here that is a shutdown (exception_serial_is_bounded).
     */
    for (unsigned serial = 0; serial < SERIAL_MAX; serial++) {
        struct fault first = v->fault;

        if (deliver_once(v, &first))
            return true;
        /* CR2 tells of the latest #PF even when it becomes a double fault (SDM 3A 6.15, #PF). */
        if (v->fault.vector == VEC_PF)
            v->cr2 = v->fault.cr2;
        if (!faults_combine(first.vector, v->fault.vector))
            continue;
        if (first.vector == VEC_DF)
            return shut_down(v);
        raise_fault_error(v, VEC_DF, 0);
    }
    return shut_down(v);
}
