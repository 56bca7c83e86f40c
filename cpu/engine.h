/* SPDX-License-Identifier: MIT
 *
 * Running a vCPU. An engine is a function of this shape; the interpreter is the reference.
 */
#pragma once

#include "cpu/vcpu.h"

/* What retires nothing and may go on for ever: a delivered fault costs STALL_FAULT, a piece of a
 * REP instruction STALL_REP, and an engine that has spent STALLS_MAX returns EXIT_STALLED, so that
 * time passes and the host's input is looked at. Counted, not timed: it happens again in the same
 * run. The caller zeroes v->stalls where a new slice begins; the engine does after EXIT_STALLED. */
enum { STALL_FAULT = 1, STALL_REP = 64, STALLS_MAX = 65536 };

/* Executes guest instructions until an exit reason. budget: how many instructions may retire at
 * most; the engine returns EXIT_BUDGET exactly there (v->icount advanced by budget). A REP
 * instruction counts once, when it completes; an exception or interrupt delivery counts nothing.
 * Pending events are looked at before the first instruction and after each one. */
typedef enum vcpu_exit engine_fn(struct vcpu *v, u64 budget);

engine_fn interp_run;

/* What both engines do between instructions (events.c). */

/* Takes pending INIT, SIPI, SMI, NMI, INTR (if the shadow and flags allow), wakes HLT. Returns
 * false if the vCPU must leave the engine, with *exit set. */
bool vcpu_take_events(struct vcpu *v, enum vcpu_exit *exit);
/* Something happened that retires nothing; cost: as above. Sets EVENT_STOP when it was too much. */
void vcpu_stall(struct vcpu *v, unsigned cost);
/* Whether EXIT_STOP is to be EXIT_STALLED; then the count begins anew. */
bool vcpu_stalled(struct vcpu *v);
/* Delivers the recorded fault of the instruction at v->rip. false: leave with vcpu_leave(). */
bool vcpu_deliver_fault(struct vcpu *v);
/* Why the engine is left: EXIT_SHUTDOWN, or EXIT_HOOK if a hook wants it. */
enum vcpu_exit vcpu_leave(struct vcpu *v);
