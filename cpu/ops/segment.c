/* SPDX-License-Identifier: MIT
 *
 * Instructions on segment registers and descriptors: PUSH, POP, MOV, LES..LGS, ARPL, LAR, LSL,
 * VERR, VERW, SLDT, STR, LLDT, LTR (SDM 2).
 */
#include "cpu/cpuid.h"
#include "cpu/ops/operand.h"
#include "cpu/segment.h"

/* SDM 3A 6.8.3: after MOV SS and POP SS nothing interrupts before the next instruction is done. */
static void shadow_stack_load(struct vcpu *v)
{
    v->shadow = 2;
    vcpu_signal(v, EVENT_TRAP);
}

/* -- PUSH, POP, MOV -- */

static bool push_seg(struct vcpu *v, const struct insn *i, enum seg seg)
{
    return stack_push(v, v->seg[seg].selector, i->osz);
}

/* The increment has the width of the stack as it was before the load. */
static bool pop_seg(struct vcpu *v, const struct insn *i, enum seg seg)
{
    u64 value, rsp = v->gpr[RSP];

    if (!stack_pop(v, i->osz, &value))
        return false;
    if (segment_load(v, seg, (u16)value))
        return true;
    v->gpr[RSP] = rsp;
    return false;
}

bool op_PUSH_ES(struct vcpu *v, const struct insn *i)
{
    return push_seg(v, i, SEG_ES);
}

bool op_PUSH_CS(struct vcpu *v, const struct insn *i)
{
    return push_seg(v, i, SEG_CS);
}

bool op_PUSH_SS(struct vcpu *v, const struct insn *i)
{
    return push_seg(v, i, SEG_SS);
}

bool op_PUSH_DS(struct vcpu *v, const struct insn *i)
{
    return push_seg(v, i, SEG_DS);
}

bool op_PUSH_FS(struct vcpu *v, const struct insn *i)
{
    return push_seg(v, i, SEG_FS);
}

bool op_PUSH_GS(struct vcpu *v, const struct insn *i)
{
    return push_seg(v, i, SEG_GS);
}

bool op_POP_ES(struct vcpu *v, const struct insn *i)
{
    return pop_seg(v, i, SEG_ES);
}

bool op_POP_SS(struct vcpu *v, const struct insn *i)
{
    if (!pop_seg(v, i, SEG_SS))
        return false;
    shadow_stack_load(v);
    return true;
}

bool op_POP_DS(struct vcpu *v, const struct insn *i)
{
    return pop_seg(v, i, SEG_DS);
}

bool op_POP_FS(struct vcpu *v, const struct insn *i)
{
    return pop_seg(v, i, SEG_FS);
}

bool op_POP_GS(struct vcpu *v, const struct insn *i)
{
    return pop_seg(v, i, SEG_GS);
}

/* The register field of MOV Sreg; REX.R is ignored. */
static unsigned sreg(const struct insn *i)
{
    return i->modrm >> 3 & 7;
}

/* A 16-bit value that goes to memory as 16 bits and to a register with the operand size. */
static bool store_word(struct vcpu *v, const struct insn *i, u64 value)
{
    return rm_write(v, i, i->flags & I_MEM ? 2 : i->osz, value);
}

bool op_MOV_EwRvSw(struct vcpu *v, const struct insn *i)
{
    if (sreg(i) >= SEG_COUNT)
        return raise_ud(v);
    return store_word(v, i, v->seg[sreg(i)].selector);
}

bool op_MOV_SwEw(struct vcpu *v, const struct insn *i)
{
    enum seg seg = (enum seg)sreg(i);
    u64 value;

    if (seg >= SEG_COUNT || seg == SEG_CS)
        return raise_ud(v);
    if (!rm_read(v, i, 2, &value) || !segment_load(v, seg, (u16)value))
        return false;
    if (seg == SEG_SS)
        shadow_stack_load(v);
    return true;
}

/* -- far pointers -- */

static bool load_far_pointer(struct vcpu *v, const struct insn *i, enum seg seg)
{
    unsigned osz = vcpu_is_amd(v) && i->osz == 8 ? 4 : i->osz;
    u64 offset, selector;

    if (!far_pointer_read(v, i, osz, &offset, &selector) || !segment_load(v, seg, (u16)selector))
        return false;
    reg_write(v, i->reg, osz, offset);
    return true;
}

bool op_LES_GvMp(struct vcpu *v, const struct insn *i)
{
    return load_far_pointer(v, i, SEG_ES);
}

bool op_LDS_GvMp(struct vcpu *v, const struct insn *i)
{
    return load_far_pointer(v, i, SEG_DS);
}

bool op_LSS_GvMp(struct vcpu *v, const struct insn *i)
{
    return load_far_pointer(v, i, SEG_SS);
}

bool op_LFS_GvMp(struct vcpu *v, const struct insn *i)
{
    return load_far_pointer(v, i, SEG_FS);
}

bool op_LGS_GvMp(struct vcpu *v, const struct insn *i)
{
    return load_far_pointer(v, i, SEG_GS);
}

/* -- looking at descriptors without loading them -- */

static void set_zf(struct vcpu *v, bool zf)
{
    v->rflags = (v->rflags & ~(u64)F_ZF) | (zf ? F_ZF : 0);
}

/* A destination that stays as it is is not written (family 19h). */
bool op_ARPL_EwGw(struct vcpu *v, const struct insn *i)
{
    u64 dest, rpl = v->gpr[i->reg] & 3;
    bool lower;

    if (!rm_read(v, i, 2, &dest))
        return false;
    lower = (dest & 3) < rpl;
    if (lower && !rm_write(v, i, 2, (dest & ~3ull) | rpl))
        return false;
    set_zf(v, lower);
    return true;
}

/* Reads the descriptor that the operand selects, if the current CPL and RPL may see it. false: a
 * fault; *visible: exists and is not hidden by its privilege level. */
static bool descriptor_look(struct vcpu *v, const struct insn *i, struct descriptor *d,
                            bool *visible)
{
    unsigned dpl;
    bool out_of_limit;
    u64 selector;
    u32 attr;

    *visible = false;
    if (!rm_read(v, i, 2, &selector))
        return false;
    if (selector_is_null((u16)selector))
        return true;
    if (!descriptor_read(v, (u16)selector, false, d, &out_of_limit))
        return out_of_limit;
    attr = descriptor_attr(d);
    dpl = attr_dpl(attr);
    *visible = attr_is_conforming(attr) || (dpl >= v->cpl && dpl >= (selector & 3u));
    return true;
}

/* System descriptor types that LAR and LSL accept, as bits (SDM 2 tables 3-53 and 3-62). */
static bool type_accepted(const struct vcpu *v, u32 attr, bool gates)
{
    u32 types = BIT(SYS_LDT) | BIT(SYS_TSS) | BIT(SYS_TSS_BUSY);

    if (attr & ATTR_S)
        return true;
    if (!v->long_mode)
        types |= BIT(SYS_TSS16) | BIT(SYS_TSS16_BUSY);
    if (gates)
        types |= v->long_mode ? BIT(SYS_CALL_GATE)
                              : BIT(SYS_CALL_GATE) | BIT(SYS_CALL_GATE16) | BIT(SYS_TASK_GATE);
    return types >> (attr & ATTR_TYPE) & 1;
}

/* AMD delivers limit bits 19:16 in place; the SDM leaves them undefined. */
bool op_LAR_GvEw(struct vcpu *v, const struct insn *i)
{
    struct descriptor d;
    bool ok;

    if (!descriptor_look(v, i, &d, &ok))
        return false;
    ok = ok && type_accepted(v, descriptor_attr(&d), true);
    if (ok)
        reg_write(v, i->reg, i->osz, (d.low >> 32) & 0xffff00);
    set_zf(v, ok);
    return true;
}

bool op_LSL_GvEw(struct vcpu *v, const struct insn *i)
{
    struct descriptor d;
    bool ok;

    if (!descriptor_look(v, i, &d, &ok))
        return false;
    ok = ok && type_accepted(v, descriptor_attr(&d), false);
    if (ok)
        reg_write(v, i->reg, i->osz, descriptor_limit(&d));
    set_zf(v, ok);
    return true;
}

bool op_VERR_Ew(struct vcpu *v, const struct insn *i)
{
    struct descriptor d;
    bool ok;

    if (!descriptor_look(v, i, &d, &ok))
        return false;
    set_zf(v, ok && attr_is_readable(descriptor_attr(&d)));
    return true;
}

bool op_VERW_Ew(struct vcpu *v, const struct insn *i)
{
    struct descriptor d;
    bool ok;

    if (!descriptor_look(v, i, &d, &ok))
        return false;
    set_zf(v, ok && attr_is_writable_data(descriptor_attr(&d)));
    return true;
}

/* -- LDTR and TR -- */

bool op_SLDT_EwRv(struct vcpu *v, const struct insn *i)
{
    return umip_check(v) && store_word(v, i, v->ldtr.selector);
}

bool op_STR_EwRv(struct vcpu *v, const struct insn *i)
{
    return umip_check(v) && store_word(v, i, v->tr.selector);
}

static struct segment system_segment(const struct vcpu *v, u16 selector, const struct descriptor *d)
{
    struct segment s = segment_from_descriptor(selector, d);

    s.base = descriptor_system_base(v, d);
    return s;
}

bool op_LLDT_Ew(struct vcpu *v, const struct insn *i)
{
    struct descriptor d;
    u64 selector;

    if (v->cpl)
        return raise_gp(v, 0);
    if (!rm_read(v, i, 2, &selector))
        return false;
    if (selector_is_null((u16)selector)) {
        v->ldtr = segment_null((u16)selector, 0);
        return true;
    }
    if (!system_fetch(v, (u16)selector, BIT(SYS_LDT), VEC_GP, VEC_NP, 0, &d))
        return false;
    v->ldtr = system_segment(v, (u16)selector, &d);
    return true;
}

bool op_LTR_Ew(struct vcpu *v, const struct insn *i)
{
    u32 types = v->long_mode ? BIT(SYS_TSS) : BIT(SYS_TSS) | BIT(SYS_TSS16);
    struct descriptor d;
    u64 selector;
    u8 old;

    if (v->cpl)
        return raise_gp(v, 0);
    if (!rm_read(v, i, 2, &selector))
        return false;
    if (!system_fetch(v, (u16)selector, types, VEC_GP, VEC_NP, 0, &d) ||
        !sys_claim_bits(v, d.gla + 5, SYS_BUSY, &old))
        return false;
    if (old & SYS_BUSY) /* another processor was faster */
        return raise_fault_error(v, VEC_GP, selector_error((u16)selector, 0));
    v->tr = system_segment(v, (u16)selector, &d);
    v->tr.attr |= SYS_BUSY;
    return true;
}
