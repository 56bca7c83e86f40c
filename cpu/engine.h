/* SPDX-License-Identifier: MIT
 *
 * Running a vCPU. An engine is a function of this shape; the interpreter is the reference.
 */
#pragma once

#include "cpu/vcpu.h"

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
