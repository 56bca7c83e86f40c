/* SPDX-License-Identifier: MIT
 *
 * Writes to control and debug registers, EFER and XCR0 with all their checks and side effects
 * (TLB invalidation, mode changes, PDPTE loads). Used by MOV CRn, LMSW, CLTS, WRMSR, task switches.
 */
#pragma once

#include "cpu/vcpu.h"

/* Each returns false after recording the fault (#GP(0) unless stated). */
bool control_write_cr0(struct vcpu *v, u64 value);
bool control_write_cr3(struct vcpu *v, u64 value);
bool control_write_cr4(struct vcpu *v, u64 value);
/* EFER and XCR0: false means #GP(0) is due, nothing is recorded (they are also called by msr.c). */
bool control_write_efer(struct vcpu *v, u64 value);
bool control_write_xcr0(struct vcpu *v, u32 index, u64 value);
/* PKRU, which has no reserved bits. The TLB stays if nothing changes: kernels write it for every
 * signal and with every XRSTOR. */
void control_write_pkru(struct vcpu *v, u32 value);
/* What this model accepts. */
u64 control_cr4_supported(const struct vcpu *v);
u64 control_efer_supported(const struct vcpu *v);
bool control_xcr0_valid(const struct vcpu *v, u64 value);
/* CR3 as a task switch or reset loads it: no PCID semantics. */
bool control_load_cr3_task(struct vcpu *v, u64 value);
/* Re-derives TLB watch pages and `careful` from DR7. */
void debug_update(struct vcpu *v);

/* -- debug breakpoints (debug.c), SDM 3B chapter 17 -- */

/* DR6 bits of enabled instruction breakpoints that match a fetch at gla (0: none). */
u64 debug_match_exec(const struct vcpu *v, u64 gla);
/* Collects data-breakpoint hits of an access into v->pending_db (a trap after the instruction). */
void debug_match_data(struct vcpu *v, u64 gla, unsigned size, bool write);
/* The same for a port, with CR4.DE and R/W = 10b. */
void debug_match_io(struct vcpu *v, u16 port, unsigned size);
