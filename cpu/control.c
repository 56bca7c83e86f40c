/* SPDX-License-Identifier: MIT
 *
 * Writes to CR0, CR3, CR4, EFER and XCR0: every check and every side effect (SDM 3A 2.5, 4.10.4,
 * 9.8.5; SDM 2 "MOV Control Registers"; SDM 1 13.3). What follows from DR7 is in debug.c.
 */
#include "cpu/control.h"

#include "cpu/cpuid.h"
#include "cpu/exception.h"
#include "cpu/segment.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define CR3_NOFLUSH BIT(63)

/* Reads the PDPTEs that PAE paging keeps in the processor (SDM 3A 4.4.1). */
static bool load_pdptes(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4)
{
    struct paging_ctx ctx = vcpu_paging_ctx(v, false, true);
    u64 pdpte[4];

    ctx.cr0 = cr0;
    ctx.cr3 = cr3;
    ctx.cr4 = cr4;
    if (!page_load_pdptes(v->map, &ctx, cr3, pdpte))
        return raise_gp(v, 0);
    for (unsigned n = 0; n < 4; n++)
        v->pdpte[n] = pdpte[n];
    return true;
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* -- CR0 -- */

/* Turning paging on with EFER.LME set enters IA-32e mode, turning it off leaves it. */
static bool cr0_paging_check(struct vcpu *v, u64 value)
{
    bool on = (value & CR0_PG) && !(v->cr0 & CR0_PG);
    bool off = !(value & CR0_PG) && (v->cr0 & CR0_PG);
    int tss = attr_sys_type(v->tr.attr & ~2u);

    if (on && (v->efer & EFER_LME)) {
        if (!(v->cr4 & CR4_PAE) || (v->seg[SEG_CS].attr & ATTR_L) || tss == SYS_TSS16)
            return raise_gp(v, 0);
    }
    if (off && (vcpu_64bit(v) || (v->cr4 & CR4_PCIDE)))
        return raise_gp(v, 0);
    return true;
}

bool control_write_cr0(struct vcpu *v, u64 value)
{
    u64 old = v->cr0, changed, efer = v->efer;

    if (value >> 32)
        return raise_gp(v, 0);
    value = (value & CR0_DEFINED) | CR0_ET;
    if ((value & (CR0_PG | CR0_PE)) == CR0_PG || (value & (CR0_NW | CR0_CD)) == CR0_NW)
        return raise_gp(v, 0);
    if (!cr0_paging_check(v, value))
        return false;
    changed = old ^ value;
    if (changed & CR0_PG) {
        efer &= ~(u64)EFER_LMA;
        if ((value & CR0_PG) && (efer & EFER_LME))
            efer |= EFER_LMA;
    }
    if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(value, v->cr4, efer) &&
        !load_pdptes(v, value, v->cr3, v->cr4))
        return false;
    v->cr0 = value;
    v->efer = efer;
    if (changed & CR0_PG)
        tlb_flush_all(&v->tlb);
    else if (changed & (CR0_WP | CR0_PE))
        tlb_permissions_changed(&v->tlb);
    if (!(value & CR0_PE))
        v->cpl = 0;
    vcpu_update_mode(v);
    return true;
}

/* -- CR3 -- */

bool control_write_cr3(struct vcpu *v, u64 value)
{
    bool pcide = v->cr4 & CR4_PCIDE;
    bool keep = pcide && (value & CR3_NOFLUSH);

    if (pcide)
        value &= ~CR3_NOFLUSH;
    if (v->long_mode && value >> v->model->maxphyaddr)
        return raise_gp(v, 0);
    if (pae_paging(v->cr0, v->cr4, v->efer) && !load_pdptes(v, v->cr0, value, v->cr4))
        return false;
    v->cr3 = value;
    if (keep)
        tlb_switch(&v->tlb);
    else
        tlb_flush_pcid(&v->tlb, vcpu_pcid(v));
    return true;
}

bool control_load_cr3_task(struct vcpu *v, u64 value)
{
    if (pae_paging(v->cr0, v->cr4, v->efer) && !load_pdptes(v, v->cr0, value, v->cr4))
        return false;
    v->cr3 = value;
    tlb_flush_non_global(&v->tlb);
    return true;
}

/* -- CR4 -- */

u64 control_cr4_supported(const struct vcpu *v)
{
    static const struct {
        u32 bits;
        u16 feature;
    } gate[] = {
        {CR4_VME | CR4_PVI, FEAT_VME}, {CR4_TSD, FEAT_TSC},       {CR4_DE, FEAT_DE},
        {CR4_PSE, FEAT_PSE},           {CR4_PAE, FEAT_PAE},       {CR4_MCE, FEAT_MCE},
        {CR4_PGE, FEAT_PGE},           {CR4_OSFXSR, FEAT_FXSR},   {CR4_OSXMMEXCPT, FEAT_SSE},
        {CR4_UMIP, FEAT_UMIP},         {CR4_LA57, FEAT_LA57},     {CR4_PCIDE, FEAT_PCID},
        {CR4_FSGSBASE, FEAT_FSGSBASE}, {CR4_OSXSAVE, FEAT_XSAVE}, {CR4_SMEP, FEAT_SMEP},
        {CR4_SMAP, FEAT_SMAP},         {CR4_PKE, FEAT_PKU},
    };
    u64 bits = CR4_PCE;

    for (unsigned n = 0; n < ARRAY_SIZE(gate); n++) {
        if (vcpu_has(v, (enum cpu_feature)gate[n].feature))
            bits |= gate[n].bits;
    }
    return bits;
}

static bool cr4_check(struct vcpu *v, u64 value)
{
    u64 changed = v->cr4 ^ value;

    if (value & ~control_cr4_supported(v))
        return raise_gp(v, 0);
    if (v->long_mode && ((changed & CR4_LA57) || !(value & CR4_PAE)))
        return raise_gp(v, 0);
    if ((changed & value & CR4_PCIDE) && (!v->long_mode || (v->cr3 & 0xfff)))
        return raise_gp(v, 0);
    return true;
}

bool control_write_cr4(struct vcpu *v, u64 value)
{
    u64 changed = v->cr4 ^ value;

    if (!cr4_check(v, value))
        return false;
    if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
        pae_paging(v->cr0, value, v->efer) && !load_pdptes(v, v->cr0, v->cr3, value))
        return false;
    v->cr4 = value;
    /* SDM 3A 4.10.4.1; LA57 and PSE because cached translations depend on them here. */
    if ((changed & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_LA57)) || (changed & ~value & CR4_PCIDE) ||
        (changed & value & CR4_SMEP))
        tlb_flush_all(&v->tlb);
    else if (changed & (CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PCIDE))
        tlb_permissions_changed(&v->tlb);
    vcpu_update_mode(v);
    return true;
}

/* -- EFER, XCR0 -- */

u64 control_efer_supported(const struct vcpu *v)
{
    u64 supported = EFER_LMA;

    supported |= vcpu_has(v, FEAT_SYSCALL) ? EFER_SCE : 0;
    supported |= vcpu_has(v, FEAT_LM) ? EFER_LME : 0;
    supported |= vcpu_has(v, FEAT_NX) ? EFER_NXE : 0;
    supported |= vcpu_has(v, FEAT_FXSR_OPT) ? EFER_FFXSR : 0;
    return supported;
}

bool control_write_efer(struct vcpu *v, u64 value)
{
    u64 changed;

    if (value & ~control_efer_supported(v))
        return false;
    changed = v->efer ^ value;
    if ((changed & EFER_LME) && (v->cr0 & CR0_PG))
        return false;
    /* LMA is the processor's own. */
    v->efer = (value & ~(u64)EFER_LMA) | (v->efer & EFER_LMA);
    if (changed & EFER_NXE)
        tlb_flush_all(&v->tlb);
    vcpu_update_mode(v);
    return true;
}

bool control_xcr0_valid(const struct vcpu *v, u64 value)
{
    u64 avx512 = value & XCR0_AVX512;

    if ((value & ~v->model->xcr0_supported) || !(value & XCR0_X87))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    return !avx512 || (avx512 == XCR0_AVX512 && (value & XCR0_AVX));
}

bool control_write_xcr0(struct vcpu *v, u32 index, u64 value)
{
    if (index != 0 || !control_xcr0_valid(v, value))
        return false;
    v->xcr0 = value;
    return true;
}

/* -- PKRU -- */

void control_write_pkru(struct vcpu *v, u32 value)
{
    if (v->pkru == value)
        return;
    v->pkru = value;
    tlb_permissions_changed(&v->tlb);
}
