/* SPDX-License-Identifier: MIT
 *
 * Model-specific registers. cpu/msr.c has those of the processor itself; the LAPIC (machine/) and
 * Hv#1 register ranges of their own on each vCPU.
 */
#pragma once

#include "cpu/vcpu.h"

#define MISC_ENABLE_MONITOR BIT(18) /* IA32_MISC_ENABLE: MONITOR and MWAIT are there */

/* false: #GP(0). Reserved bits are the handler's business. */
typedef bool msr_read_fn(void *opaque, struct vcpu *v, u32 msr, u64 *value);
typedef bool msr_write_fn(void *opaque, struct vcpu *v, u32 msr, u64 value);

/* Hands [first, last] to a higher layer on this vCPU. At most 16 ranges; ST_OVERLAP if one
 * intersects. */
MUST_USE enum status cpu_msr_register(struct vcpu *v, u32 first, u32 last, msr_read_fn *read,
                                      msr_write_fn *write, void *opaque);

MUST_USE enum status msr_table_create(struct vcpu *v, struct error *err);
void msr_table_destroy(struct vcpu *v);
/* To power-on values; INIT keeps them (SDM 3A table 9-1). */
void msr_reset(struct vcpu *v);
/* RDMSR and WRMSR without the CPL check. false: #GP(0) is due (not raised here). */
bool msr_read(struct vcpu *v, u32 msr, u64 *value);
bool msr_write(struct vcpu *v, u32 msr, u64 value);
/* The guest's TSC as RDTSC gives it. */
u64 vcpu_tsc(struct vcpu *v);
