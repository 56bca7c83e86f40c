/* SPDX-License-Identifier: MIT
 *
 * RETF and IRET: to the same ring, to an outer ring, to V86 mode, to the previous task, in every
 * mode (SDM 2 "RET", "IRET/IRETD/IRETQ"; SDM 3A 5.8.6).
 */
#include "cpu/segment.h"

struct far_target {
    u16 cs, ss;
    u64 rip, rsp;
    unsigned cpl;
    bool load_ss;
    bool null_ss;
    struct descriptor code, stack;
};

/* Flags that IRET in V86 and real mode may change: all but VM, and VIF, VIP (SDM 2 "IRET"). */
enum { IRET_FLAGS16 = 0x7fd5, IRET_FLAGS32 = IRET_FLAGS16 | F_RF | F_AC | F_ID };

/* The flags are read first, as faults show (family 19h). */
static bool pop3(struct vcpu *v, unsigned osz, u64 value[3])
{
    return stack_peek(v, 2 * osz, osz, &value[2]) && stack_peek(v, 0, osz, &value[0]) &&
           stack_peek(v, osz, osz, &value[1]);
}

/* The stack pointer after popping that many bytes, in the width of the current stack. */
static u64 stack_after(const struct vcpu *v, unsigned bytes)
{
    u64 rsp = v->gpr[RSP] + bytes;

    return v->stack_size == 4 ? (u32)rsp : rsp;
}

static void set_flags(struct vcpu *v, u64 value, u64 mask)
{
    v->rflags = (v->rflags & ~mask) | (value & mask) | F_1;
}

/* -- checks that RETF and IRET share -- */

/* SDM 2 "RET": never inwards, then what a code segment of the return's RPL needs. */
static bool return_code_check(struct vcpu *v, struct far_target *t)
{
    t->cpl = t->cs & 3;
    if (t->cpl < v->cpl)
        return raise_gp(v, selector_error(t->cs, 0));
    return code_fetch(v, t->cs, t->cpl, VEC_GP, 0, &t->code);
}

static bool return_64bit(const struct vcpu *v, const struct far_target *t)
{
    return v->long_mode && (descriptor_attr(&t->code) & ATTR_L);
}

/* A null SS is for 64-bit mode below CPL 3, with RPL = CPL (SDM 2 "RET", "IRET"). */
static bool return_stack_check(struct vcpu *v, struct far_target *t)
{
    t->load_ss = true;
    t->null_ss = selector_is_null(t->ss);
    if (!t->null_ss)
        return stack_fetch(v, t->ss, t->cpl, VEC_GP, 0, &t->stack);
    return (return_64bit(v, t) && t->cpl != 3 && (t->ss & 3u) == t->cpl) || raise_gp(v, 0);
}

static bool return_rip_check(struct vcpu *v, const struct far_target *t)
{
    return code_rip_check(v, descriptor_attr(&t->code), descriptor_limit(&t->code), t->rip, 0);
}

static bool return_touch(struct vcpu *v, struct far_target *t)
{
    if (!descriptor_touch(v, &t->code))
        return false;
    return !t->load_ss || t->null_ss || descriptor_touch(v, &t->stack);
}

/* A return to a 16-bit stack writes SP alone; the rest of ESP keeps what the inner ring had. */
static void return_commit(struct vcpu *v, const struct far_target *t)
{
    unsigned old_cpl = v->cpl;

    if (t->load_ss) {
        v->seg[SEG_SS] =
            t->null_ss ? segment_null(t->ss, t->cpl) : segment_from_descriptor(t->ss, &t->stack);
        if (!return_64bit(v, t))
            v->gpr[RSP] = (u32)v->gpr[RSP];
    }
    code_enter(v, t->cs, t->cpl, &t->code, t->rip);
    stack_set(v, t->rsp);
    if (t->cpl > old_cpl)
        segment_invalidate_outer(v);
}

/* -- RETF -- */

/* SDM 2 "RET", REAL-ADDRESS-MODE. */
static bool far_return_real(struct vcpu *v, unsigned osz, u16 pop_bytes)
{
    u64 rip, cs;

    if (!stack_peek(v, 0, osz, &rip) || !stack_peek(v, osz, osz, &cs))
        return false;
    if (rip > v->seg[SEG_CS].limit)
        return raise_gp(v, 0);
    stack_set(v, v->gpr[RSP] + 2 * osz + pop_bytes);
    segment_load_real(v, SEG_CS, (u16)cs);
    v->next_rip = rip;
    return true;
}

/* SDM 2 "RET", PROTECTED-MODE: the count of bytes is taken from both stacks. */
bool far_return(struct vcpu *v, unsigned osz, u16 pop_bytes)
{
    struct far_target t = {.load_ss = false};
    unsigned at = 2 * osz + pop_bytes;
    u64 cs, ss = 0, rsp = 0;

    if (!vcpu_protected(v))
        return far_return_real(v, osz, pop_bytes);
    if (!stack_peek(v, osz, osz, &cs) || !stack_peek(v, 0, osz, &t.rip))
        return false;
    t.cs = (u16)cs;
    /* Another ring's stack pointer is read before its code is looked at, even if the return is not
     * allowed (family 19h). */
    if ((t.cs & 3u) != v->cpl &&
        (!stack_peek(v, at + osz, osz, &ss) || !stack_peek(v, at, osz, &rsp)))
        return false;
    if (!return_code_check(v, &t))
        return false;
    t.rsp = stack_after(v, at);
    if (t.cpl > v->cpl) {
        t.rsp = rsp + pop_bytes;
        t.ss = (u16)ss;
        if (!return_stack_check(v, &t))
            return false;
    }
    if (!return_rip_check(v, &t) || !return_touch(v, &t))
        return false;
    return_commit(v, &t);
    return true;
}

/* -- IRET -- */

static bool iret_real(struct vcpu *v, unsigned osz)
{
    u64 value[3];

    if (!pop3(v, osz, value))
        return false;
    if (value[0] > v->seg[SEG_CS].limit)
        return raise_gp(v, 0);
    stack_set(v, v->gpr[RSP] + 3 * osz);
    segment_load_real(v, SEG_CS, (u16)value[1]);
    v->next_rip = value[0];
    set_flags(v, value[2], osz == 2 ? IRET_FLAGS16 : IRET_FLAGS32);
    vcpu_update_mode(v);
    return true;
}

/* With IOPL < 3, VME gives the 16-bit IRET its own flag VIF (SDM 3B 20.3, SDM 2 "IRET"). */
static bool iret_v86(struct vcpu *v, unsigned osz)
{
    bool vme = vcpu_iopl(v) < 3;
    u64 value[3], mask = (osz == 2 ? IRET_FLAGS16 : IRET_FLAGS32) & ~(u64)F_IOPL;

    if (vme && (osz != 2 || !(v->cr4 & CR4_VME)))
        return raise_gp(v, 0);
    if (!pop3(v, osz, value))
        return false;
    if (vme && ((value[2] & F_TF) || ((value[2] & F_IF) && (v->rflags & F_VIP))))
        return raise_gp(v, 0);
    if (value[0] > v->seg[SEG_CS].limit)
        return raise_gp(v, 0);
    if (vme) {
        value[2] = (value[2] & ~(u64)F_VIF) | (value[2] & F_IF ? F_VIF : 0);
        mask = (mask & ~(u64)F_IF) | F_VIF;
    }
    stack_set(v, v->gpr[RSP] + 3 * osz);
    segment_load_v86(v, SEG_CS, (u16)value[1]);
    v->next_rip = value[0];
    set_flags(v, value[2], mask);
    vcpu_update_mode(v);
    return true;
}

/* SDM 2 "IRET", RETURN-TO-VIRTUAL-8086-MODE: EFLAGS is loaded as it comes, at CPL 0. */
static bool iret_to_v86(struct vcpu *v, const u64 value[3])
{
    static const u8 order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    u64 esp, selector[ARRAY_SIZE(order)];

    if (!stack_peek(v, 12, 4, &esp))
        return false;
    for (unsigned n = 0; n < ARRAY_SIZE(order); n++) {
        if (!stack_peek(v, 16 + n * 4, 4, &selector[n]))
            return false;
    }
    if (value[0] > 0xffff)
        return raise_gp(v, 0);
    segment_load_v86(v, SEG_CS, (u16)value[1]);
    for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
        segment_load_v86(v, (enum seg)order[n], (u16)selector[n]);
    v->gpr[RSP] = (u32)esp;
    v->next_rip = value[0];
    v->rflags = (value[2] & F_ALL) | F_1;
    vcpu_set_cpl(v, 3);
    return true;
}

/* NT: back to the task that the current TSS links to. A TSS without room for the link is #TS with
 * the selector of that TSS (SDM 3A table 6-6, "load the backlink"). */
static bool iret_task(struct vcpu *v)
{
    struct task_request r = {.reason = TASK_IRET, .rip = v->next_rip, .rflags = v->rflags};
    u64 link;

    if (v->tr.limit < 1)
        return raise_ts(v, selector_error(v->tr.selector, 0));
    if (!sys_read(v, (u32)v->tr.base, 2, &link))
        return false;
    r.selector = (u16)link;
    return task_switch(v, &r);
}

/* SDM 2 "IRET", RETURN-TO-SAME-PRIVILEGE-LEVEL; by the CPL before the return. */
static u64 iret_flag_mask(const struct vcpu *v, unsigned osz)
{
    u64 mask = F_CF | F_PF | F_AF | F_ZF | F_SF | F_TF | F_DF | F_OF | F_NT;

    if (osz > 2)
        mask |= F_RF | F_AC | F_ID;
    if (v->cpl <= vcpu_iopl(v))
        mask |= F_IF;
    if (v->cpl == 0)
        mask |= osz > 2 ? F_IOPL | F_VIF | F_VIP : F_IOPL;
    return mask;
}

/* In 64-bit mode RSP and SS are popped whatever the ring (SDM 3A 6.14.3). */
static bool iret_protected(struct vcpu *v, unsigned osz)
{
    struct far_target t = {.load_ss = false};
    u64 value[3], ss = 0, rsp = 0, mask;

    if (!pop3(v, osz, value))
        return false;
    if (osz == 4 && !v->long_mode && v->cpl == 0 && (value[2] & F_VM))
        return iret_to_v86(v, value);
    t.rip = value[0];
    t.cs = (u16)value[1];
    if (((t.cs & 3u) != v->cpl || vcpu_64bit(v)) &&
        (!stack_peek(v, 4 * osz, osz, &ss) || !stack_peek(v, 3 * osz, osz, &rsp)))
        return false;
    if (!return_code_check(v, &t))
        return false;
    t.rsp = stack_after(v, 3 * osz);
    if (t.cpl > v->cpl || vcpu_64bit(v)) {
        t.rsp = rsp;
        t.ss = (u16)ss;
    }
    /* The target comes before the stack (family 19h). */
    if (!return_rip_check(v, &t) ||
        ((t.cpl > v->cpl || vcpu_64bit(v)) && !return_stack_check(v, &t)) || !return_touch(v, &t))
        return false;
    mask = iret_flag_mask(v, osz);
    set_flags(v, value[2], mask);
    return_commit(v, &t);
    return true;
}

/* NT in long mode is #GP(0) (SDM 2 "IRET", IA-32e-MODE). */
bool interrupt_return(struct vcpu *v, unsigned osz)
{
    v->nmi_blocked = false;
    if (vcpu_real_mode(v))
        return iret_real(v, osz);
    if (vcpu_v86(v))
        return iret_v86(v, osz);
    if (v->rflags & F_NT)
        return v->long_mode ? raise_gp(v, 0) : iret_task(v);
    return iret_protected(v, osz);
}
