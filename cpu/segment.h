/* SPDX-License-Identifier: MIT
 *
 * Segment registers and descriptors: loading with all checks, in every mode (SDM 3A chapters 3, 5).
 */
#pragma once

#include "cpu/access.h"
#include "cpu/vcpu.h"

/* A descriptor as it lies in memory; high is the second half of 16-byte system descriptors. */
struct descriptor {
    u64 low, high;
    u64 gla; /* where it was read from */
};

static inline u32 descriptor_attr(const struct descriptor *d)
{
    return (u32)(d->low >> 40) & 0xf0ff;
}
static inline u32 descriptor_limit(const struct descriptor *d)
{
    u32 limit = (u32)(d->low & 0xffff) | (u32)((d->low >> 32) & 0xf0000);

    return d->low & BIT(55) ? limit << 12 | 0xfff : limit;
}
static inline u64 descriptor_base(const struct descriptor *d)
{
    return ((d->low >> 16) & 0xffffff) | ((d->low >> 32) & 0xff000000);
}

/* Reads the descriptor of a selector from GDT or LDT; wide: 16 bytes. false with out_of_limit set:
 * the selector is beyond the table (caller raises what its instruction raises); false otherwise: a
 * page fault is recorded. */
bool descriptor_read(struct vcpu *v, u16 selector, bool wide, struct descriptor *d, bool *out_of_limit);

/* MOV/POP/Lxs to a data segment register or SS, in any mode, with every check of the SDM's MOV page
 * (#GP, #SS, #NP with the selector as error code); sets the accessed bit in memory. */
bool segment_load(struct vcpu *v, enum seg seg, u16 selector);
/* The same checks raising #TS etc. belong to task switching and stay in task.c. */

/* Real and V86 mode: base = selector << 4. Real mode keeps limit and attributes ("big real"). */
void segment_load_real(struct vcpu *v, enum seg seg, u16 selector);
/* Writes the hidden part from a checked descriptor. */
void segment_set(struct vcpu *v, enum seg seg, u16 selector, const struct descriptor *d);
/* After a return to an outer ring: DS, ES, FS, GS that the new CPL may not use become null. */
void segment_invalidate_outer(struct vcpu *v);
/* Sets CPL and everything that follows from it and from CS/SS (calls vcpu_update_mode()). */
void vcpu_set_cpl(struct vcpu *v, unsigned cpl);

/* Far transfers (far_transfer.c). rip offsets are not yet truncated. */
bool far_call(struct vcpu *v, u16 selector, u64 offset, unsigned osz);
bool far_jump(struct vcpu *v, u16 selector, u64 offset, unsigned osz);
bool far_return(struct vcpu *v, unsigned osz, u16 pop_bytes);
bool interrupt_return(struct vcpu *v, unsigned osz);

/* Task switching (task.c), SDM 3A chapter 8. */
enum task_reason { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE_EVENT };
/* tss_selector names an available (busy for IRET) TSS. has_error/error: pushed on the new stack for
 * exceptions. v->next_rip is what the old TSS saves. */
bool task_switch(struct vcpu *v, u16 tss_selector, enum task_reason reason, bool has_error, u32 error);
