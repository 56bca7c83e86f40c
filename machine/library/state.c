/* SPDX-License-Identifier: MIT
 *
 * All registers of a processor at once. Checks come first, so that a set that fails changes
 * nothing; what follows from registers (TLB, mode, breakpoints) is re-derived only where they
 * changed, as callers do this before every instruction they test.
 */
#include <string.h>

#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/msr.h"
#include "machine/library/library.h"

#define CR0_BITS                                                                                   \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define SEGMENT_BITS                                                                               \
    (ATTR_TYPE | ATTR_S | ATTR_DPL | ATTR_P | ATTR_AVL | ATTR_L | ATTR_DB | ATTR_G | ATTR_NULL)
#define DR6_BITS (DR6_B | DR6_BD | DR6_BS | DR6_BT)
#define DR7_BITS 0xffff23ffull /* LEn, GEn, Ln, Gn, GD, R/Wn, LENn */

/* -- copies -- */

static void segment_out(struct lockstep_segment *to, const struct segment *from)
{
    *to = (struct lockstep_segment){.base = from->base,
                                    .limit = from->limit,
                                    .attributes = from->attr,
                                    .selector = from->selector};
}

static void segment_in(struct segment *to, const struct lockstep_segment *from)
{
    *to = (struct segment){.base = from->base,
                           .limit = from->limit,
                           .attr = from->attributes,
                           .selector = from->selector};
}

static void get_segments(const struct vcpu *v, struct lockstep_state *s)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        segment_out(&s->segment[n], &v->seg[n]);
    segment_out(&s->ldtr, &v->ldtr);
    segment_out(&s->tr, &v->tr);
    s->gdtr = (struct lockstep_table){.base = v->gdtr.base, .limit = v->gdtr.limit};
    s->idtr = (struct lockstep_table){.base = v->idtr.base, .limit = v->idtr.limit};
    s->cpl = v->cpl;
    s->reserved0 = 0;
}

static void set_segments(struct vcpu *v, const struct lockstep_state *s)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        segment_in(&v->seg[n], &s->segment[n]);
    segment_in(&v->ldtr, &s->ldtr);
    segment_in(&v->tr, &s->tr);
    v->gdtr = (struct table_reg){.base = s->gdtr.base, .limit = s->gdtr.limit};
    v->idtr = (struct table_reg){.base = s->idtr.base, .limit = s->idtr.limit};
    v->cpl = (u8)s->cpl;
}

static void get_control(struct vcpu *v, struct lockstep_state *s)
{
    s->cr0 = v->cr0;
    s->cr2 = v->cr2;
    s->cr3 = v->cr3;
    s->cr4 = v->cr4;
    s->cr8 = v->platform->cr8_read(v->platform->opaque, v);
    s->efer = v->efer;
    s->xcr0 = v->xcr0;
    s->xss = v->xss;
    memcpy(s->pdpte, v->pdpte, sizeof(s->pdpte));
}

/* Translations that the TLB keeps depend on these. */
static bool paging_changed(const struct vcpu *v, const struct lockstep_state *s)
{
    const u32 cr0 = CR0_PG | CR0_WP | CR0_PE;
    const u32 cr4 =
        CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;

    return ((v->cr0 ^ s->cr0) & cr0) || v->cr3 != s->cr3 || ((v->cr4 ^ s->cr4) & cr4) ||
           ((v->efer ^ s->efer) & (EFER_NXE | EFER_LMA)) ||
           memcmp(v->pdpte, s->pdpte, sizeof(v->pdpte));
}

static void set_control(struct vcpu *v, const struct lockstep_state *s)
{
    bool flush = paging_changed(v, s);

    v->cr0 = s->cr0 | CR0_ET;
    v->cr2 = s->cr2;
    v->cr3 = s->cr3;
    v->cr4 = s->cr4;
    v->efer = s->efer;
    v->xcr0 = s->xcr0;
    v->xss = s->xss;
    memcpy(v->pdpte, s->pdpte, sizeof(v->pdpte));
    if (s->cr8 != v->platform->cr8_read(v->platform->opaque, v))
        v->platform->cr8_write(v->platform->opaque, v, s->cr8);
    if (flush)
        tlb_flush_all(&v->tlb);
}

static void get_debug(const struct vcpu *v, struct lockstep_state *s)
{
    memcpy(s->dr, v->dr, sizeof(s->dr));
    s->dr6 = v->dr6;
    s->dr7 = v->dr7;
}

static void set_debug(struct vcpu *v, const struct lockstep_state *s)
{
    u64 dr7 = (s->dr7 & DR7_BITS) | DR7_FIXED;
    bool moved = dr7 != v->dr7 || memcmp(v->dr, s->dr, sizeof(v->dr));

    memcpy(v->dr, s->dr, sizeof(v->dr));
    v->dr6 = (s->dr6 & DR6_BITS) | DR6_FIXED;
    v->dr7 = dr7;
    if (moved)
        debug_update(v);
}

static void get_system(const struct vcpu *v, struct lockstep_state *s)
{
    s->star = v->star;
    s->lstar = v->lstar;
    s->cstar = v->cstar;
    s->fmask = v->fmask;
    s->kernel_gs_base = v->kernel_gs_base;
    s->sysenter_cs = v->sysenter_cs;
    s->sysenter_esp = v->sysenter_esp;
    s->sysenter_eip = v->sysenter_eip;
    s->tsc_aux = v->tsc_aux;
    s->pat = v->pat;
}

static void set_system(struct vcpu *v, const struct lockstep_state *s)
{
    v->star = s->star;
    v->lstar = s->lstar;
    v->cstar = s->cstar;
    v->fmask = (u32)s->fmask;
    v->kernel_gs_base = s->kernel_gs_base;
    v->sysenter_cs = (u32)s->sysenter_cs;
    v->sysenter_esp = s->sysenter_esp;
    v->sysenter_eip = s->sysenter_eip;
    v->tsc_aux = (u32)s->tsc_aux;
    v->pat = s->pat;
}

static void get_activity(const struct vcpu *v, struct lockstep_state *s)
{
    s->activity = v->activity;
    s->interrupt_shadow = v->shadow;
    s->nmi_blocked = v->nmi_blocked;
    s->reserved1 = 0;
    s->pending_debug = v->pending_db;
}

static void set_activity(struct vcpu *v, const struct lockstep_state *s)
{
    v->activity = (enum vcpu_activity)s->activity;
    v->shadow = s->interrupt_shadow;
    v->nmi_blocked = s->nmi_blocked;
    v->pending_db = s->pending_debug & DR6_BITS;
    if (v->pending_db)
        vcpu_signal(v, EVENT_TRAP);
}

static void set_tsc(struct vcpu *v, u64 tsc)
{
    v->tsc_offset += tsc - vcpu_tsc(v);
    if (v->platform->tsc_changed)
        v->platform->tsc_changed(v->platform->opaque, v);
}

static void get_fpu(const struct vcpu *v, struct lockstep_state *s)
{
    s->mxcsr = v->fpu.mxcsr;
    s->fcs = v->fpu.fcs;
    s->fds = v->fpu.fds;
    fpu_save_x87(&v->fpu, s->x87, true);
    memset(s->x87 + FX_MXCSR, 0, FX_ST - FX_MXCSR);
}

static void set_fpu(struct vcpu *v, const struct lockstep_state *s)
{
    v->fpu.mxcsr = s->mxcsr;
    fpu_load_x87(&v->fpu, s->x87, true);
    v->fpu.fcs = s->fcs;
    v->fpu.fds = s->fds;
}

static void get_vector(const struct vcpu *v, struct lockstep_state *s)
{
    s->pkru = v->pkru;
    s->reserved2 = 0;
    memcpy(s->k, v->fpu.k, sizeof(s->k));
    memcpy(s->zmm, v->fpu.zmm, sizeof(s->zmm));
}

static void set_vector(struct vcpu *v, const struct lockstep_state *s)
{
    if (v->pkru != s->pkru) {
        v->pkru = s->pkru;
        tlb_permissions_changed(&v->tlb);
    }
    memcpy(v->fpu.k, s->k, sizeof(v->fpu.k));
    memcpy(v->fpu.zmm, s->zmm, sizeof(v->fpu.zmm));
}

/* -- checks -- */

static const char *check_control(const struct vcpu *v, const struct lockstep_state *s)
{
    const bool paging = s->cr0 & CR0_PG, lme = s->efer & EFER_LME;

    if ((s->cr0 & ~(u64)CR0_BITS) || (paging && !(s->cr0 & CR0_PE)) ||
        (s->cr0 & (CR0_NW | CR0_CD)) == CR0_NW)
        return "CR0 has reserved bits, PG without PE, or NW without CD";
    if (s->cr4 & ~control_cr4_supported(v))
        return "CR4 has bits that this processor model does not have";
    if (s->efer & ~control_efer_supported(v))
        return "EFER has bits that this processor model does not have";
    if (!(s->efer & EFER_LMA) != !(lme && paging))
        return "EFER.LMA must be EFER.LME and CR0.PG";
    if ((s->efer & EFER_LMA) && !(s->cr4 & CR4_PAE))
        return "long mode needs CR4.PAE";
    if ((s->cr4 & CR4_PCIDE) && !(s->efer & EFER_LMA))
        return "CR4.PCIDE needs long mode";
    if (s->cr3 >> v->model->maxphyaddr)
        return "CR3 is beyond the physical address width";
    if (!control_xcr0_valid(v, s->xcr0))
        return "XCR0 is not a set of components that this processor model accepts";
    if (s->xss & ~v->model->xss_supported)
        return "XSS has bits that this processor model does not have";
    return s->cr8 > 15 ? "CR8 is above 15" : NULL;
}

static const char *check_segments(const struct lockstep_state *s)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        if (s->segment[n].attributes & ~(u32)SEGMENT_BITS)
            return "a segment has reserved attribute bits";
    if ((s->ldtr.attributes | s->tr.attributes) & ~(u32)SEGMENT_BITS)
        return "a segment has reserved attribute bits";
    if ((s->ldtr.attributes | s->tr.attributes) & ATTR_S)
        return "LDTR and TR hold system segments: attribute S is 0";
    return s->cpl > 3 ? "CPL is above 3" : NULL;
}

static const char *check_parts(const struct vcpu *v, u32 parts, const struct lockstep_state *s)
{
    const char *wrong = NULL;

    if (parts & LOCKSTEP_STATE_CONTROL)
        wrong = check_control(v, s);
    if (!wrong && (parts & LOCKSTEP_STATE_SEGMENTS))
        wrong = check_segments(s);
    if (!wrong && (parts & LOCKSTEP_STATE_FPU) && (s->mxcsr & ~fpu_mxcsr_mask(v)))
        wrong = "MXCSR has reserved bits";
    if (!wrong && (parts & LOCKSTEP_STATE_ACTIVITY) &&
        (s->activity > ACTIVITY_SHUTDOWN || s->interrupt_shadow > 2))
        wrong = "activity is above 4 or interrupt_shadow above 2";
    return wrong;
}

static enum lockstep_status check_arguments(struct lockstep_machine *m, u32 parts,
                                            const struct lockstep_state *s)
{
    if (!s)
        return library_fail(m, LOCKSTEP_INVALID, "The state is NULL.");
    if (s->size != sizeof(*s) || s->version != LOCKSTEP_STATE_VERSION)
        return library_fail(m, LOCKSTEP_INVALID,
                            "lockstep_state has size %u and version %u; this library wants %zu "
                            "and %d.",
                            s->size, s->version, sizeof(*s), LOCKSTEP_STATE_VERSION);
    if (parts & ~(u32)LOCKSTEP_STATE_ALL)
        return library_fail(m, LOCKSTEP_INVALID, "There are no state parts 0x%x.", parts);
    return LOCKSTEP_OK;
}

/* -- the interface -- */

enum lockstep_status lockstep_get_state(struct lockstep_machine *m, unsigned cpu, uint32_t parts,
                                        struct lockstep_state *s)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = check_arguments(m, parts, s);
    if (st)
        return st;
    if (parts & LOCKSTEP_STATE_GENERAL) {
        memcpy(s->gpr, v->gpr, sizeof(s->gpr));
        s->rip = v->rip;
        s->rflags = v->rflags;
    }
    if (parts & LOCKSTEP_STATE_SEGMENTS)
        get_segments(v, s);
    if (parts & LOCKSTEP_STATE_CONTROL)
        get_control(v, s);
    if (parts & LOCKSTEP_STATE_DEBUG)
        get_debug(v, s);
    if (parts & LOCKSTEP_STATE_SYSTEM)
        get_system(v, s);
    if (parts & LOCKSTEP_STATE_ACTIVITY)
        get_activity(v, s);
    if (parts & LOCKSTEP_STATE_TSC)
        s->tsc = vcpu_tsc(v);
    if (parts & LOCKSTEP_STATE_FPU)
        get_fpu(v, s);
    if (parts & LOCKSTEP_STATE_VECTOR)
        get_vector(v, s);
    return LOCKSTEP_OK;
}

static void set_parts(struct vcpu *v, u32 parts, const struct lockstep_state *s)
{
    if (parts & LOCKSTEP_STATE_GENERAL) {
        memcpy(v->gpr, s->gpr, sizeof(v->gpr));
        v->rip = v->next_rip = s->rip;
        v->rflags = (s->rflags & F_ALL) | F_1;
        v->repeat = false;
    }
    if (parts & LOCKSTEP_STATE_SEGMENTS)
        set_segments(v, s);
    if (parts & LOCKSTEP_STATE_CONTROL)
        set_control(v, s);
    if (parts & LOCKSTEP_STATE_DEBUG)
        set_debug(v, s);
    if (parts & LOCKSTEP_STATE_SYSTEM)
        set_system(v, s);
    if (parts & LOCKSTEP_STATE_ACTIVITY)
        set_activity(v, s);
    if (parts & LOCKSTEP_STATE_TSC)
        set_tsc(v, s->tsc);
    if (parts & LOCKSTEP_STATE_FPU)
        set_fpu(v, s);
    if (parts & LOCKSTEP_STATE_VECTOR)
        set_vector(v, s);
}

enum lockstep_status lockstep_set_state(struct lockstep_machine *m, unsigned cpu, uint32_t parts,
                                        const struct lockstep_state *s)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);
    const char *wrong;

    if (!st)
        st = library_idle(m);
    if (!st)
        st = check_arguments(m, parts, s);
    if (st)
        return st;
    wrong = check_parts(v, parts, s);
    if (wrong)
        return library_fail(m, LOCKSTEP_INVALID, "Cannot set the state: %s.", wrong);
    set_parts(v, parts, s);
    if (vcpu_real_mode(v))
        v->cpl = 0;
    else if (vcpu_v86(v))
        v->cpl = 3;
    vcpu_update_mode(v);
    return LOCKSTEP_OK;
}
