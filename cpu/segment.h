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

static inline unsigned attr_dpl(u32 attr)
{
    return (attr & ATTR_DPL) >> ATTR_DPL_SHIFT;
}
static inline bool attr_is_code(u32 attr)
{
    return (attr & (ATTR_S | ATTR_CODE)) == (ATTR_S | ATTR_CODE);
}
static inline bool attr_is_conforming(u32 attr)
{
    return attr_is_code(attr) && (attr & ATTR_EXPAND_DOWN);
}
static inline bool attr_is_writable_data(u32 attr)
{
    return (attr & (ATTR_S | ATTR_CODE | ATTR_WRITE)) == (ATTR_S | ATTR_WRITE);
}
static inline bool attr_is_readable(u32 attr)
{
    return (attr & ATTR_S) && (!(attr & ATTR_CODE) || (attr & ATTR_WRITE));
}
/* The type of a system descriptor (enum sys_type), or -1 for code and data. */
static inline int attr_sys_type(u32 attr)
{
    return attr & ATTR_S ? -1 : (int)(attr & ATTR_TYPE);
}
static inline bool selector_is_null(u16 selector)
{
    return !(selector & 0xfffc);
}
/* An error code that names a selector (SDM 3A 6.13); ext: bit 0. */
static inline u32 selector_error(u16 selector, u32 ext)
{
    return (selector & 0xfffcu) | ext;
}
/* Canonical for the current paging mode, as instruction pointers and data addresses must be. */
static inline bool vcpu_canonical(const struct vcpu *v, u64 gla)
{
    unsigned shift = v->cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

    return (u64)((i64)(gla << shift) >> shift) == gla;
}
/* Canonical for the widest paging mode of this model, as base registers and MSRs must be. */
bool vcpu_canonical_base(const struct vcpu *v, u64 gla);

/* Reads the descriptor of a selector from GDT or LDT; wide: 16 bytes. false with out_of_limit set:
 * the selector is beyond the table (caller raises what its instruction raises); false otherwise: a
 * page fault is recorded. */
bool descriptor_read(struct vcpu *v, u16 selector, bool wide, struct descriptor *d,
                     bool *out_of_limit);
/* The same, raising vector with the selector and ext as error code when it is beyond the table. */
bool descriptor_fetch(struct vcpu *v, u16 selector, bool wide, enum vector vector, u32 ext,
                      struct descriptor *d);
/* Sets the accessed bit of a code or data descriptor in memory and in *d, if it is clear. */
bool descriptor_touch(struct vcpu *v, struct descriptor *d);
/* The checks that loads of CS, SS and data segment registers share, whatever loads them (SDM 2
 * "MOV", "CALL", "RET"; SDM 3A table 7-1). A bad selector or descriptor is the fault bad, #GP or
 * #TS, with the selector and ext as error code; an absent segment is #NP or, for SS, #SS. Nothing
 * is loaded and the accessed bit stays. cpl: the privilege level that the segment is for. */
bool code_fetch(struct vcpu *v, u16 selector, unsigned cpl, enum vector bad, u32 ext,
                struct descriptor *d);
/* The same for a descriptor that was read already. */
bool code_check(struct vcpu *v, u16 selector, unsigned cpl, enum vector bad, u32 ext,
                const struct descriptor *d);
bool stack_fetch(struct vcpu *v, u16 selector, unsigned cpl, enum vector bad, u32 ext,
                 struct descriptor *d);
/* At the current privilege level; a null selector is the caller's business. */
bool data_fetch(struct vcpu *v, u16 selector, enum vector bad, u32 ext, struct descriptor *d);
/* The code segment that a call, interrupt or trap gate names: #GP unless it is code that the
 * current privilege level may enter through a gate. Whether it is present is not looked at. */
bool gate_code_fetch(struct vcpu *v, u16 selector, u32 ext, struct descriptor *d);
/* A descriptor of the GDT, 16 bytes in long mode, with one of the types (bits 1 << enum sys_type):
 * else the fault bad, or absent, with the selector and ext as error code. */
bool system_fetch(struct vcpu *v, u16 selector, u32 types, enum vector bad, enum vector absent,
                  u32 ext, struct descriptor *d);
/* Base of a 16-byte (long mode) or 8-byte (else) TSS or LDT descriptor. */
u64 descriptor_system_base(const struct vcpu *v, const struct descriptor *d);

/* Reads size bytes of the current TSS; the limit is the caller's business. */
bool tss_read(struct vcpu *v, u32 offset, unsigned size, u64 *value);
/* The I/O map base of the current TSS. A 16-bit TSS has none (SDM 3A 7.6): #GP(0), as without room
 * for the field. */
bool tss_io_map(struct vcpu *v, u32 *map);

/* MOV/POP/Lxs to a data segment register or SS, in any mode, with every check of the SDM's MOV page
 * (#GP, #SS, #NP with the selector as error code); sets the accessed bit in memory. */
bool segment_load(struct vcpu *v, enum seg seg, u16 selector);

/* Real and V86 mode: base = selector << 4. Real mode keeps limit and attributes ("big real"). */
void segment_load_real(struct vcpu *v, enum seg seg, u16 selector);
/* Entering V86 mode: base, 64 KiB limit, DPL 3 (SDM 3A 20.2). */
void segment_load_v86(struct vcpu *v, enum seg seg, u16 selector);
/* The hidden part that a checked descriptor gives. */
struct segment segment_from_descriptor(u16 selector, const struct descriptor *d);
/* Writes the hidden part from a checked descriptor, whose accessed bit it sets in memory first. */
bool segment_commit(struct vcpu *v, enum seg seg, u16 selector, struct descriptor *d);
/* A register that holds a null selector; dpl matters for SS in 64-bit mode only. */
struct segment segment_null(u16 selector, unsigned dpl);
/* Whether size bytes at offset are inside a segment, expand-down ones too. */
bool segment_covers(const struct segment *s, u64 offset, unsigned size);
/* After a return to an outer ring: DS, ES, FS, GS that the new CPL may not use become null. */
void segment_invalidate_outer(struct vcpu *v);
/* Sets CPL and everything that follows from it and from CS/SS (calls vcpu_update_mode()). */
void vcpu_set_cpl(struct vcpu *v, unsigned cpl);

/* SGDT, SIDT, SLDT, SMSW, STR: CR4.UMIP keeps them from user programs, #GP(0) (SDM 3A 2.5). */
bool umip_check(struct vcpu *v);

/* Far transfers (far_transfer.c, far_return.c). Offsets are not yet truncated. All set next_rip. */
bool far_call(struct vcpu *v, u16 selector, u64 offset, unsigned osz);
bool far_jump(struct vcpu *v, u16 selector, u64 offset, unsigned osz);
bool far_return(struct vcpu *v, unsigned osz, u16 pop_bytes);
/* IRET, IRETD, IRETQ. NMIs are unblocked even if it faults (SDM 3A 6.7.1, 3C 26.6). */
bool interrupt_return(struct vcpu *v, unsigned osz);
/* An instruction pointer for a code segment with these attributes: inside the limit, or canonical
 * for a 64-bit segment; else #GP(error). */
bool code_rip_check(struct vcpu *v, u32 attr, u32 limit, u64 rip, u32 error);
/* Loads CS from a checked descriptor with RPL = cpl, sets CPL, next_rip and derived fields. */
void code_enter(struct vcpu *v, u16 selector, unsigned cpl, const struct descriptor *d, u64 rip);

/* Task switching (task.c), SDM 3A chapter 7. */
enum task_reason { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE };
struct task_request {
    u16 selector; /* of the new TSS */
    enum task_reason reason;
    bool has_error; /* an error code goes onto the new task's stack */
    u32 error;
    u32 ext;    /* EXT bit of exceptions during the switch: 1 for events */
    u64 rip;    /* what the old TSS saves; CALL, JMP: next_rip */
    u64 rflags; /* the same; RF is set for faults through a task gate */
};
/* Switches to the task of r->selector after checking its descriptor (#GP, for IRET #TS; #NP). Sets
 * rip and next_rip. After the commit point (SDM 3A 7.3) a fault is recorded in the context of the
 * new task, with rip at its first instruction. */
bool task_switch(struct vcpu *v, const struct task_request *r);
