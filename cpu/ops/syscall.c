/* SPDX-License-Identifier: MIT
 *
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS, as Intel (SDM 2) and as AMD (APM 3) have them:
 *
 *                          Intel                        AMD
 *   SYSCALL, SYSRET        64-bit mode only, else #UD   any mode
 *   SYSENTER, SYSEXIT      any mode but real            protected and V86 mode, #UD in long mode
 *   SYSRET, bad RCX        #GP(0) at CPL 0              fault at the fetch, at CPL 3
 *   SYSRET, SS             flat                         selector only, the hidden part stays
 */
#include "cpu/cpuid.h"
#include "cpu/exception.h"
#include "cpu/insn.h"
#include "cpu/segment.h"

enum { FLAT = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | ATTR_G };

static void flat_code(struct vcpu *v, u16 selector, unsigned cpl, bool wide)
{
    v->seg[SEG_CS] = (struct segment){.selector = selector,
                                      .limit = 0xffffffff,
                                      .attr = FLAT | ATTR_CODE | cpl << ATTR_DPL_SHIFT |
                                              (wide ? ATTR_L : ATTR_DB)};
}

static void flat_stack(struct vcpu *v, u16 selector, unsigned cpl)
{
    v->seg[SEG_SS] = (struct segment){
        .selector = selector, .limit = 0xffffffff, .attr = FLAT | ATTR_DB | cpl << ATTR_DPL_SHIFT};
}

static bool syscall_exists(const struct vcpu *v)
{
    return (v->efer & EFER_SCE) && (vcpu_is_amd(v) || vcpu_64bit(v));
}

/* In legacy mode (AMD) EIP comes from STAR, RFLAGS is not saved, and VM, IF and RF are cleared; a
 * check for real mode is not in the pseudo-code of APM 3. Long mode saves RFLAGS without RF (APM 3;
 * SDM 2 does not say, and an instruction that completes has cleared RF, SDM 3B 17.3.1.1). */
bool op_SYSCALL(struct vcpu *v, const struct insn *i)
{
    u16 selector = (u16)(v->star >> 32);

    (void)i;
    if (!syscall_exists(v))
        return raise_ud(v);
    v->gpr[RCX] = v->next_rip;
    if (v->long_mode) {
        v->gpr[R11] = v->rflags & ~(u64)F_RF;
        v->next_rip = vcpu_64bit(v) ? v->lstar : v->cstar;
        v->rflags = (v->rflags & ~(v->fmask & 0xffffffff) & ~(u64)F_RF) | F_1;
    } else {
        v->next_rip = (u32)v->star;
        v->rflags &= ~(u64)(F_VM | F_IF | F_RF);
    }
    /* Both manuals clear the RPL of CS; SS is STAR + 8 as it comes. */
    flat_code(v, selector & 0xfffc, 0, v->long_mode);
    flat_stack(v, (u16)(selector + 8), 0);
    vcpu_set_cpl(v, 0);
    return true;
}

/* RF and VM cannot be set by SYSRET (SDM 2: RFLAGS := (R11 & 3C7FD7H) | 2). */
enum { SYSRET_FLAGS = F_ALL & ~(F_RF | F_VM) };

/* Outside 64-bit mode (AMD) RFLAGS changes in IF only. SS: SDM 2 "(IA32_STAR[63:48]+8) OR 3" and
 * flat; APM 3 "MSR_STAR.SYSRET_CS + 8", with "base, limit, attributes unchanged". */
bool op_SYSRET(struct vcpu *v, const struct insn *i)
{
    u16 star = (u16)(v->star >> 48);
    bool amd = vcpu_is_amd(v), wide = i->osz == 8;

    if (!syscall_exists(v))
        return raise_ud(v);
    if (vcpu_real_mode(v) || v->cpl)
        return raise_gp(v, 0);
    if (wide && !amd && !vcpu_canonical(v, v->gpr[RCX]))
        return raise_gp(v, 0);
    v->next_rip = wide ? v->gpr[RCX] : (u32)v->gpr[RCX];
    if (vcpu_64bit(v))
        v->rflags = (v->gpr[R11] & SYSRET_FLAGS) | F_1;
    else
        v->rflags |= F_IF;
    flat_code(v, (u16)((star + (wide ? 16 : 0)) | 3), 3, wide);
    if (amd)
        v->seg[SEG_SS].selector = (u16)(star + 8);
    else
        flat_stack(v, (u16)((star + 8) | 3), 3);
    vcpu_set_cpl(v, 3);
    return true;
}

/* AMD: #UD in long mode, 64-bit and compatibility mode alike (APM 3 "SYSENTER", "SYSEXIT"), though
 * CPUID says SEP. Both: #GP(0) in real mode or while SYSENTER_CS is null. */
static bool sysenter_check(struct vcpu *v)
{
    if (v->long_mode && vcpu_is_amd(v))
        return raise_ud(v);
    if (vcpu_real_mode(v) || selector_is_null((u16)v->sysenter_cs))
        return raise_gp(v, 0);
    return true;
}

/* SS is CS + 8 after the RPL was cleared (SDM 2: "CS.Selector + 8"), unlike SYSCALL's. */
bool op_SYSENTER(struct vcpu *v, const struct insn *i)
{
    u16 selector = (u16)v->sysenter_cs & 0xfffc;

    (void)i;
    if (!sysenter_check(v))
        return false;
    v->rflags &= ~(u64)(F_VM | F_IF | F_RF);
    v->gpr[RSP] = v->long_mode ? v->sysenter_esp : (u32)v->sysenter_esp;
    v->next_rip = v->long_mode ? v->sysenter_eip : (u32)v->sysenter_eip;
    flat_code(v, selector, 0, v->long_mode);
    flat_stack(v, (u16)(selector + 8), 0);
    vcpu_set_cpl(v, 0);
    return true;
}

/* CS is SYSENTER_CS + 16, or + 32 for a return to 64-bit mode, and SS the one after it (SDM 2). */
bool op_SYSEXIT(struct vcpu *v, const struct insn *i)
{
    bool wide = i->osz == 8;
    u16 selector = (u16)(v->sysenter_cs + (wide ? 32 : 16)) | 3;

    if (v->cpl)
        return raise_gp(v, 0);
    if (!sysenter_check(v))
        return false;
    if (wide && (!vcpu_canonical(v, v->gpr[RDX]) || !vcpu_canonical(v, v->gpr[RCX])))
        return raise_gp(v, 0);
    v->next_rip = wide ? v->gpr[RDX] : (u32)v->gpr[RDX];
    v->gpr[RSP] = wide ? v->gpr[RCX] : (u32)v->gpr[RCX];
    flat_code(v, selector, 3, wide);
    flat_stack(v, (u16)(selector + 8), 3);
    vcpu_set_cpl(v, 3);
    return true;
}

bool op_SWAPGS(struct vcpu *v, const struct insn *i)
{
    u64 base = v->seg[SEG_GS].base;

    (void)i;
    if (v->cpl)
        return raise_gp(v, 0);
    v->seg[SEG_GS].base = v->kernel_gs_base;
    v->kernel_gs_base = base;
    return true;
}
