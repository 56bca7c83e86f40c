/* SPDX-License-Identifier: MIT
 *
 * Guest exceptions: recorded by whoever finds them, delivered by the run loop.
 *
 * Every raise_*() records the fault in v->fault and returns false, so that a body can
 * `return raise_gp(v, 0);`. No state may have been written before the last access that can fault.
 */
#pragma once

#include "cpu/vcpu.h"

bool raise_fault(struct vcpu *v, enum vector vector); /* without error code */
bool raise_fault_error(struct vcpu *v, enum vector vector, u32 error);
bool raise_pf(struct vcpu *v, u64 gla, u32 error);
/* #DB as a fault (instruction breakpoint, GD, ICEBP is a trap: see vcpu_trap_db()). */
bool raise_db(struct vcpu *v, u64 dr6_bits);

static inline bool raise_ud(struct vcpu *v)
{
    return raise_fault(v, VEC_UD);
}
static inline bool raise_nm(struct vcpu *v)
{
    return raise_fault(v, VEC_NM);
}
static inline bool raise_de(struct vcpu *v)
{
    return raise_fault(v, VEC_DE);
}
static inline bool raise_gp(struct vcpu *v, u32 error)
{
    return raise_fault_error(v, VEC_GP, error);
}
static inline bool raise_ss(struct vcpu *v, u32 error)
{
    return raise_fault_error(v, VEC_SS, error);
}
static inline bool raise_np(struct vcpu *v, u32 error)
{
    return raise_fault_error(v, VEC_NP, error);
}
static inline bool raise_ts(struct vcpu *v, u32 error)
{
    return raise_fault_error(v, VEC_TS, error);
}

/* Delivers v->fault through the IDT, with double and triple fault rules (SDM 3A 6.15, table 6-5).
 * v->rip is the faulting instruction. Returns false on shutdown (activity is set). */
bool exception_deliver(struct vcpu *v);

/* Kinds of event delivery (they differ in error code EXT bit, DPL checks and RF). */
enum event_kind {
    EVENT_EXCEPTION, /* a fault: RF is set in the pushed flags */
    EVENT_TRAP_EXC,  /* #DB trap or instruction breakpoint: RF is pushed as it is */
    EVENT_HARDWARE,  /* external interrupt or NMI: RF is pushed as it is, so the run loop sets it
                        when it interrupts an unfinished REP instruction (SDM 3B 17.3.1.1) */
    EVENT_SOFTWARE,  /* INT n, INT3, INTO: gate DPL is checked; return address is next_rip */
    EVENT_ICEBP,     /* INT1: as a hardware event, no DPL check */
};

/* One delivery in the current mode: real, V86, protected or long mode, through interrupt, trap or
 * task gate, with IST. return_rip is what gets pushed. On success v->rip and v->next_rip are both
 * the handler's first instruction, and a #DB handler has DR7.GD cleared. false: a fault was
 * recorded instead (nothing delivered). Blocking NMIs after an NMI is the caller's
 * (v->nmi_blocked). */
bool interrupt_deliver(struct vcpu *v, u8 vector, enum event_kind kind, bool has_error, u32 error,
                       u64 return_rip);
/* INT n: the same as EVENT_SOFTWARE, after the IOPL and VME redirection rules of V86 mode. */
bool interrupt_software(struct vcpu *v, u8 vector);
