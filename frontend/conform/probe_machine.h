/* SPDX-License-Identifier: MIT
 *
 * A machine of one processor on which single instructions are tried, one per call, each from the
 * same state: 64-bit code where the model has long mode, else 32-bit code, at CPL 0.
 */
#pragma once

#include "cpu/cpuid.h"
#include "include/lockstep.h"
#include "mem/base/status.h"

enum { PROBE_RAN = -1, PROBE_VECTOR_UD = 6, PROBE_VECTOR_GP = 13 };

struct probe_machine {
    struct lockstep_machine *machine;
    struct cpu_model model;
    unsigned bits; /* 64 or 32: the widest mode */
};

/* spec: a -cpu argument. */
MUST_USE enum status probe_machine_create(struct probe_machine *p, const char *spec,
                                          enum lockstep_engine engine, struct error *err);
void probe_machine_destroy(struct probe_machine *p);

struct probe_input {
    const u8 *bytes;
    unsigned count;
    unsigned bits; /* 64 or 32 */
    u64 rax, rcx, rdx;
    u64 cr4_set; /* CR4 bits to set first, as far as the model takes them */
};

/* PROBE_RAN (rax, rbx, rcx, rdx of state are valid), or the exception. */
int probe_machine_try(struct probe_machine *p, const struct probe_input *in,
                      struct lockstep_state *state);
/* CPUID as the guest sees it. */
struct cpuid_result probe_machine_cpuid(struct probe_machine *p, u32 leaf, u32 subleaf);
