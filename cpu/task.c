/* SPDX-License-Identifier: MIT
 *
 * Hardware task switching with 16- and 32-bit TSSs (SDM 3A chapter 7).
 *
 * Everything that can fault in the old task (reading the new TSS, writing the old one, busy bits)
 * is checked before the first store. Then follows the commit point: TR, CR3 and the general
 * registers are those of the new task, its segment registers hold selectors only, and each
 * descriptor that fails its check raises its exception in the new task (table 7-1).
 */
#include "cpu/control.h"
#include "cpu/exception.h"
#include "cpu/frame.h"
#include "cpu/segment.h"

/* Where a TSS keeps what (SDM 3A figures 7-2 and 7-10). The SDM calls 2CH the smallest limit of a
 * 16-bit TSS (table 6-6, 7.6); that is its size, and its last byte is 2BH, as 67H is of the other.
 * A 16-bit TSS saves neither FS and GS nor the upper halves of EIP and EFLAGS (7.6). */
struct tss_layout {
    u8 size; /* of registers */
    u8 ip;   /* IP, FLAGS, then the eight registers */
    u8 seg;  /* ES, CS, SS, DS and in the 32-bit TSS FS, GS */
    u8 seg_step;
    u8 segs;
    u8 ldt;
    u8 limit;       /* smallest limit of a new TSS */
    u8 saved_limit; /* last byte that is saved to an old one */
};

static const struct tss_layout layout16 = {2, 0x0e, 0x22, 2, 4, 0x2a, 0x2b, 0x29};
static const struct tss_layout layout32 = {4, 0x20, 0x48, 4, 6, 0x60, 0x67, 0x5d};

struct task_state {
    u64 cr3, ip, flags, gpr[8];
    u64 seg[SEG_COUNT];
    u64 ldt, trap;
};

static const struct tss_layout *layout_of(u32 attr)
{
    return attr_sys_type(attr & ~(u32)SYS_BUSY) == SYS_TSS ? &layout32 : &layout16;
}

/* -- before the commit point -- */

static bool state_read(struct vcpu *v, const struct tss_layout *l, u32 base, struct task_state *s)
{
    *s = (struct task_state){.cr3 = 0};
    if (!sys_read(v, base + l->ip, l->size, &s->ip) ||
        !sys_read(v, base + l->ip + l->size, l->size, &s->flags))
        return false;
    for (unsigned r = 0; r < 8; r++) {
        if (!sys_read(v, base + l->ip + (r + 2) * l->size, l->size, &s->gpr[r]))
            return false;
        /* SDM 3A 7.6: the upper halves are "modified and not maintained", without a value (APM 2
         * has none either). Ones, as in other emulators; not measured on hardware. */
        if (l->size == 2)
            s->gpr[r] |= 0xffff0000;
    }
    for (unsigned n = 0; n < l->segs; n++) {
        if (!sys_read(v, base + l->seg + n * l->seg_step, 2, &s->seg[n]))
            return false;
    }
    if (!sys_read(v, base + l->ldt, 2, &s->ldt))
        return false;
    return l->size == 2 ||
           (sys_read(v, base + 0x1c, 4, &s->cr3) && sys_read(v, base + 0x64, 1, &s->trap));
}

static bool probe_range(struct vcpu *v, u32 first, u32 last)
{
    return sys_probe_write(v, first, 1) && sys_probe_write(v, last, 1);
}

static u32 gdt_type_byte(const struct vcpu *v, u16 selector)
{
    return (u32)v->gdtr.base + (selector & 0xfff8u) + 5;
}

static bool leaves_task(const struct vcpu *v, const struct task_request *r)
{
    return (r->reason == TASK_JUMP || r->reason == TASK_IRET) && !selector_is_null(v->tr.selector);
}

static bool is_nested(const struct task_request *r)
{
    return r->reason == TASK_CALL || r->reason == TASK_GATE;
}

/* Faults that the stores to both TSSs and to the GDT would raise. */
static bool stores_probe(struct vcpu *v, const struct task_request *r, u32 new_base)
{
    const struct tss_layout *old = layout_of(v->tr.attr);
    u32 base = (u32)v->tr.base;

    /* Table 6-6: "Stores to the old TSS encounter a fault condition" is #TS with the selector of a
     * TSS; that it is the old one's is our reading. */
    if (v->tr.limit < old->saved_limit)
        return raise_ts(v, selector_error(v->tr.selector, r->ext));
    if (!probe_range(v, base + old->ip, base + old->saved_limit))
        return false;
    if (leaves_task(v, r) && !sys_probe_write(v, gdt_type_byte(v, v->tr.selector), 1))
        return false;
    if (is_nested(r) && !sys_probe_write(v, new_base, 2))
        return false;
    return r->reason == TASK_IRET || sys_probe_write(v, gdt_type_byte(v, r->selector), 1);
}

/* -- the stores -- */

/* The new task becomes busy; for IRET it is so already (table 7-2). SDM 3A 8.1.2.1: the flag is
 * tested and set under LOCK, so that two processors do not switch to the same task. The first of
 * the stores, because it can still fail. */
static bool claim_task(struct vcpu *v, const struct task_request *r)
{
    u8 old;

    if (r->reason == TASK_IRET)
        return true;
    if (!sys_claim_bits(v, gdt_type_byte(v, r->selector), SYS_BUSY, &old))
        return false;
    return !(old & SYS_BUSY) || raise_fault_error(v, VEC_GP, selector_error(r->selector, r->ext));
}

static bool state_save(struct vcpu *v, const struct task_request *r)
{
    const struct tss_layout *l = layout_of(v->tr.attr);
    /* 7.3 step 8: IRET clears NT in the saved image. LDTR and CR3 are static fields (7.2.1). */
    u64 flags = r->reason == TASK_IRET ? r->rflags & ~(u64)F_NT : r->rflags;
    u32 base = (u32)v->tr.base;

    if (!sys_write(v, base + l->ip, l->size, r->rip) ||
        !sys_write(v, base + l->ip + l->size, l->size, flags))
        return false;
    for (unsigned n = 0; n < 8; n++) {
        if (!sys_write(v, base + l->ip + (n + 2) * l->size, l->size, v->gpr[n]))
            return false;
    }
    for (unsigned n = 0; n < l->segs; n++) {
        if (!sys_write(v, base + l->seg + n * l->seg_step, 2, v->seg[n].selector))
            return false;
    }
    return true;
}

/* Table 7-2: JMP and IRET free the old task, CALL and events leave it busy and link to it. Who
 * jumps to the own task, which the guest has freed, has just claimed it again. */
static bool free_or_link(struct vcpu *v, const struct task_request *r, u32 new_base)
{
    u32 old = gdt_type_byte(v, v->tr.selector);
    bool again = r->reason == TASK_JUMP && old == gdt_type_byte(v, r->selector);

    if (leaves_task(v, r) && !again && !sys_clear_bits(v, old, SYS_BUSY))
        return false;
    return !is_nested(r) || sys_write(v, new_base, 2, v->tr.selector);
}

/* -- after the commit point -- */

static void registers_commit(struct vcpu *v, const struct task_request *r,
                             const struct descriptor *tss, const struct task_state *s)
{
    v->tr = segment_from_descriptor(r->selector, tss);
    v->tr.attr |= SYS_BUSY;
    v->cr0 |= CR0_TS; /* SDM 3A 2.5 */
    /* NT: table 7-2. */
    v->rflags = (s->flags & F_ALL) | F_1 | (is_nested(r) ? F_NT : 0);
    v->rip = v->next_rip = s->ip;
    for (unsigned n = 0; n < 8; n++)
        v->gpr[n] = s->gpr[n];
    /* No manual says what FS and GS are in a 16-bit task; null is what a 286 program cannot notice.
     */
    for (unsigned n = 0; n < SEG_COUNT; n++)
        v->seg[n] = segment_null((u16)s->seg[n], 0);
    v->ldtr = segment_null((u16)s->ldt, 0);
    /* SDM 3B 17.2.4: L0 to L3 and LE end with the task. */
    v->dr7 &= ~0x155ull;
    v->shadow = 0;
    v->cpl = v->rflags & F_VM ? 3 : s->seg[SEG_CS] & 3;
    debug_update(v);
    vcpu_update_mode(v);
}

/* Without an LDT none of its selectors is valid; an absent one is #TS, not #NP (table 7-1). */
static bool load_ldt(struct vcpu *v, u16 selector, u32 ext)
{
    struct descriptor d;

    if (selector_is_null(selector))
        return true;
    if (!system_fetch(v, selector, BIT(SYS_LDT), VEC_TS, VEC_TS, ext, &d))
        return false;
    v->ldtr = segment_from_descriptor(selector, &d);
    return true;
}

static bool load_cs(struct vcpu *v, u16 selector, u32 ext)
{
    struct descriptor d;

    return code_fetch(v, selector, v->cpl, VEC_TS, ext, &d) &&
           segment_commit(v, SEG_CS, selector, &d);
}

static bool load_ss(struct vcpu *v, u16 selector, u32 ext)
{
    struct descriptor d;

    return stack_fetch(v, selector, v->cpl, VEC_TS, ext, &d) &&
           segment_commit(v, SEG_SS, selector, &d);
}

static bool load_data(struct vcpu *v, enum seg seg, u16 selector, u32 ext)
{
    struct descriptor d;

    if (selector_is_null(selector))
        return true;
    return data_fetch(v, selector, VEC_TS, ext, &d) && segment_commit(v, seg, selector, &d);
}

static bool segments_load(struct vcpu *v, const struct task_state *s, u32 ext)
{
    static const u8 data[] = {SEG_DS, SEG_ES, SEG_FS, SEG_GS};

    if (!load_ldt(v, (u16)s->ldt, ext))
        return false;
    if (v->rflags & F_VM) {
        for (unsigned n = 0; n < SEG_COUNT; n++)
            segment_load_v86(v, (enum seg)n, (u16)s->seg[n]);
        vcpu_update_mode(v);
        return true;
    }
    if (!load_cs(v, (u16)s->seg[SEG_CS], ext) || !load_ss(v, (u16)s->seg[SEG_SS], ext))
        return false;
    for (unsigned n = 0; n < ARRAY_SIZE(data); n++) {
        if (!load_data(v, (enum seg)data[n], (u16)s->seg[data[n]], ext))
            return false;
    }
    return true;
}

/* SDM 2 "INT n", TASK-GATE: the error code goes onto the new task's stack, #SS(EXT) without room.
 */
static bool push_error(struct vcpu *v, const struct task_request *r, unsigned size)
{
    struct frame f;

    if (!r->has_error)
        return true;
    frame_begin(&f, v, 0, r->ext);
    frame_push(&f, r->error, size);
    return frame_check(v, &f) && frame_write(v, &f);
}

static bool switch_to(struct vcpu *v, const struct task_request *r, const struct descriptor *tss)
{
    const struct tss_layout *l = layout_of(descriptor_attr(tss));
    u32 base = (u32)descriptor_base(tss);
    struct task_state s;

    if (descriptor_limit(tss) < l->limit)
        return raise_ts(v, selector_error(r->selector, r->ext));
    if (!state_read(v, l, base, &s) || !stores_probe(v, r, base) || !claim_task(v, r))
        return false;
    /* Saving comes before loading (7.3 steps 9 and 12), and both TSSs may share memory. */
    if (!state_save(v, r) || !free_or_link(v, r, base) || !state_read(v, l, base, &s))
        return false;
    /* A 16-bit task runs in the address space of the one before (7.6). Bad PDPTEs are a fault of
     * step 12, which belongs to the old task's environment. */
    if (l->size == 4 && (v->cr0 & CR0_PG) && !control_load_cr3_task(v, s.cr3))
        return false;
    registers_commit(v, r, tss, &s);
    if (!segments_load(v, &s, r->ext) || !push_error(v, r, l->size))
        return false;
    /* SDM 3B 17.3.1.5: the T flag traps before the first instruction of the new task. */
    if (s.trap & 1) {
        v->pending_db |= DR6_BT;
        vcpu_signal(v, EVENT_TRAP);
    }
    return code_rip_check(v, v->seg[SEG_CS].attr, v->seg[SEG_CS].limit, s.ip, r->ext);
}

/* The new task's TSS is in the GDT (SDM 3A 7.2.2), available or, for IRET, busy (7.3). Table 7-1:
 * #GP for JMP, CALL and events, #TS for IRET; #NP. */
bool task_switch(struct vcpu *v, const struct task_request *r)
{
    bool iret = r->reason == TASK_IRET;
    u32 types = iret ? BIT(SYS_TSS_BUSY) | BIT(SYS_TSS16_BUSY) : BIT(SYS_TSS) | BIT(SYS_TSS16);
    struct descriptor d;

    return system_fetch(v, r->selector, types, iret ? VEC_TS : VEC_GP, VEC_NP, r->ext, &d) &&
           switch_to(v, r, &d);
}
