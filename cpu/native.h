/* SPDX-License-Identifier: MIT
 *
 * Thunks: x87 and SIMD instructions executed by the host CPU.
 *
 * An instruction is re-encoded once per distinct form (same opcode, fixed registers, memory operand
 * replaced by a buffer) and cached; a call loads the guest's operands and control words around it.
 * Exceptions the guest has unmasked come back as #XM through a SIGFPE handler that only ever
 * resumes inside a thunk.
 */
#pragma once

#include "cpu/insn.h"
#include "mem/base/status.h"

struct native;

/* One set of thunks; used by one vCPU. Installs the process's SIGFPE handler on first use. */
MUST_USE enum status native_create(struct native **native, struct error *err);
void native_destroy(struct native *native);
/* false: the host allows no executable memory, so op_native() is #UD for everything. Then
 * cpu_model_parse() offers no feature that needs it. */
bool native_available(const struct native *native);
/* The same before there is one. */
bool native_possible(void);

/* The shared body of SIMD rows: checks, operand fetch, thunk, write-back. */
bool op_native(struct vcpu *v, const struct insn *i);
