/* SPDX-License-Identifier: MIT
 *
 * FXSAVE, FXRSTOR and the XSAVE family (SDM 1 10.5, 13.6-13.12). Areas are built in or read into a
 * buffer; a list of ranges says which bytes the instruction touches, so that others neither change
 * nor fault, and everything is probed before anything is stored or loaded.
 */
#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/exception.h"
#include "cpu/fpu.h"
#include "cpu/ops/operand.h"

enum {
    XMM_AT = 160,
    XMM_BYTES = 16,
    FXSAVE_BYTES = 512,
    HEADER_AT = 512, /* XSTATE_BV, XCOMP_BV, 48 reserved bytes */
    HEADER_BYTES = 64,
    EXTENDED_AT = 576,
    AREA_MAX = 2816,
    RANGES_MAX = 16,
};
#define XCOMP_COMPACTED BIT(63)

struct area {
    struct vcpu *v;
    const struct insn *i;
    unsigned count;
    struct {
        u32 at, size;
    } range[RANGES_MAX];
    u8 bytes[AREA_MAX];
};

static void area_add(struct area *a, u32 at, u32 size)
{
    if (!size)
        return;
    a->range[a->count].at = at;
    a->range[a->count++].size = size;
}

static bool area_linear(const struct area *a, unsigned n, enum access_kind kind, u64 *gla)
{
    u64 offset = mem_offset(a->v, a->i) + a->range[n].at;

    if (a->i->asz != 8)
        offset = size_cut(offset, a->i->asz);
    return seg_to_linear(a->v, (enum seg)a->i->seg, offset, a->range[n].size, kind, gla);
}

static bool area_read(struct area *a)
{
    u64 gla;

    for (unsigned n = 0; n < a->count; n++)
        if (!area_linear(a, n, ACCESS_READ, &gla) ||
            !lin_read_block(a->v, gla, a->bytes + a->range[n].at, a->range[n].size))
            return false;
    return true;
}

static bool area_write(struct area *a)
{
    u64 gla;

    for (unsigned n = 0; n < a->count; n++)
        if (!area_linear(a, n, ACCESS_WRITE, &gla) || !lin_probe_write(a->v, gla, a->range[n].size))
            return false;
    for (unsigned n = 0; n < a->count; n++)
        if (!area_linear(a, n, ACCESS_WRITE, &gla) ||
            !lin_write_block(a->v, gla, a->bytes + a->range[n].at, a->range[n].size))
            return false;
    return true;
}

/* The area must be aligned; its linear address decides. */
static bool aligned(struct vcpu *v, const struct insn *i, unsigned alignment)
{
    u64 gla = mem_offset(v, i) + v->seg[i->seg].base;

    return !(gla & (alignment - 1)) || raise_gp(v, 0);
}

static bool probe_at(struct vcpu *v, u64 gla, enum access_kind kind)
{
    return kind == ACCESS_WRITE ? lin_probe_write(v, gla, 1) : lin_probe_read(v, gla, 1);
}

/* The checks of FXSAVE and FXRSTOR in the order of family 19h: the first byte's segment, #AC for
 * what is not a multiple of 4, #GP for what is not of 16, the last byte's segment and page, the
 * first byte's page; only then the limit of what is between them. */
static bool fxsave_check(struct vcpu *v, const struct insn *i, enum access_kind kind)
{
    u64 last = mem_offset(v, i) + FXSAVE_BYTES - 1, gla, end;

    if (!mem_linear(v, i, 1, kind, &gla) || !lin_aligned(v, gla, 4) || !aligned(v, i, 16))
        return false;
    last = size_cut(last, i->asz); /* it wraps */
    return seg_to_linear(v, (enum seg)i->seg, last, 1, kind, &end) && probe_at(v, end, kind) &&
           probe_at(v, gla, kind);
}

static unsigned xmm_count(const struct vcpu *v)
{
    return vcpu_64bit(v) ? 16 : 8;
}

static void put_xmm(struct area *a)
{
    for (unsigned n = 0; n < xmm_count(a->v); n++)
        memcpy(a->bytes + XMM_AT + n * XMM_BYTES, a->v->fpu.zmm[n], XMM_BYTES);
    area_add(a, XMM_AT, xmm_count(a->v) * XMM_BYTES);
}

/* from NULL: zeros. */
static void get_xmm(struct vcpu *v, const u8 *from)
{
    for (unsigned n = 0; n < xmm_count(v); n++) {
        if (from)
            memcpy(v->fpu.zmm[n], from + n * XMM_BYTES, XMM_BYTES);
        else
            memset(v->fpu.zmm[n], 0, XMM_BYTES);
    }
}

static void put_x87(struct area *a)
{
    fpu_save_x87(&a->v->fpu, a->bytes, a->i->osz == 8);
    area_add(a, 0, FX_MXCSR);
    area_add(a, FX_ST, XMM_AT - FX_ST);
}

static void put_mxcsr(struct area *a)
{
    store_le(a->bytes + FX_MXCSR, a->v->fpu.mxcsr, 4);
    store_le(a->bytes + FX_MXCSR + 4, fpu_mxcsr_mask(a->v), 4);
    area_add(a, FX_MXCSR, 8);
}

static bool mxcsr_valid(const struct area *a)
{
    return !(load_le(a->bytes + FX_MXCSR, 4) & ~(u64)fpu_mxcsr_mask(a->v));
}

/* -- FXSAVE and FXRSTOR -- */

/* EFER.FFXSR: in 64-bit mode at CPL 0 the XMM registers are left out (APM 2 11.4.4). */
static bool fast_fxsave(const struct vcpu *v)
{
    return (v->efer & EFER_FFXSR) && vcpu_64bit(v) && v->cpl == 0;
}

bool op_FXSAVE_M(struct vcpu *v, const struct insn *i)
{
    struct area a = {.v = v, .i = i};

    if (!fpu_check(v, i))
        return v->repeat;
    if (!fxsave_check(v, i, ACCESS_WRITE))
        return false;
    put_x87(&a);
    /* Without CR4.OSFXSR neither XMM registers nor MXCSR are part of the image (APM 2 11.4.4). */
    if (v->cr4 & CR4_OSFXSR) {
        put_mxcsr(&a);
        if (!fast_fxsave(v))
            put_xmm(&a);
    }
    return area_write(&a);
}

bool op_FXRSTOR_M(struct vcpu *v, const struct insn *i)
{
    struct area a = {.v = v, .i = i};
    bool sse = (v->cr4 & CR4_OSFXSR) != 0;

    if (!fpu_check(v, i))
        return v->repeat;
    area_add(&a, 0, FXSAVE_BYTES);
    if (!fxsave_check(v, i, ACCESS_READ) || !area_read(&a))
        return false;
    if (sse && !mxcsr_valid(&a))
        return raise_gp(v, 0);
    fpu_load_x87(&v->fpu, a.bytes, i->osz == 8);
    if (sse) {
        v->fpu.mxcsr = (u32)load_le(a.bytes + FX_MXCSR, 4);
        if (!fast_fxsave(v))
            get_xmm(v, a.bytes + XMM_AT);
    }
    fpu_lower_ferr(v);
    return true;
}

/* -- XSAVE family -- */

static bool xsave_check(struct vcpu *v, bool privileged)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        return raise_ud(v);
    if (privileged && v->cpl != 0)
        return raise_gp(v, 0);
    return !(v->cr0 & CR0_TS) || raise_nm(v);
}

static u64 edx_eax(const struct vcpu *v)
{
    return (u32)v->gpr[RAX] | v->gpr[RDX] << 32;
}

/* XINUSE with what XSAVE and its relatives say about MXCSR (SDM 1 13.6); AMD leaves MXCSR out. */
static u64 state_to_save(const struct vcpu *v, u64 rfbm)
{
    u64 inuse = xsave_inuse(v);

    if (v->fpu.mxcsr != MXCSR_RESET && !vcpu_is_amd(v))
        inuse |= XCR0_SSE;
    return rfbm & inuse;
}

/* Where component n is: in the compacted format the present ones follow each other. */
static u32 component_at(const struct vcpu *v, unsigned n, u64 present, bool compacted)
{
    u32 offset, size;

    if (compacted)
        return xsave_size(v, present & (BIT(n) - 1), true);
    return xsave_component(v, n, &offset, &size) ? offset : 0;
}

/* Puts the components in `save` into the area; present: those that have a place (compacted). */
static void put_components(struct area *a, u64 save, u64 present, bool compacted)
{
    u32 offset, size;

    if (save & XCR0_X87)
        put_x87(a);
    if (save & XCR0_SSE)
        put_xmm(a);
    for (unsigned n = 2; n < 63; n++) {
        if (!(save >> n & 1) || !xsave_component(a->v, n, &offset, &size))
            continue;
        offset = component_at(a->v, n, present, compacted);
        area_add(a, offset, xsave_get(a->v, n, a->bytes + offset));
    }
}

static bool probe_byte(struct vcpu *v, const struct insn *i, u32 at, enum access_kind kind)
{
    u64 offset = mem_offset(v, i) + at, gla;

    if (i->asz != 8)
        offset = size_cut(offset, i->asz);
    return seg_to_linear(v, (enum seg)i->seg, offset, 1, kind, &gla) && probe_at(v, gla, kind);
}

/* Faults come from the first byte of the area, then from the last (family 19h). */
static bool probe_ends(struct vcpu *v, const struct insn *i, u32 size, enum access_kind kind)
{
    return probe_byte(v, i, 0, kind) && probe_byte(v, i, size - 1, kind);
}

/* XSAVE and XSAVEOPT: standard format. optimized: components in their initial configuration are not
 * written. MXCSR belongs to SSE and AVX alike. */
static bool save_standard(struct vcpu *v, const struct insn *i, bool optimized)
{
    struct area a = {.v = v, .i = i};
    u64 rfbm = v->xcr0 & edx_eax(v);
    u64 state, old;

    if (!xsave_check(v, false) || !aligned(v, i, 64) ||
        !probe_ends(v, i, xsave_size(v, rfbm, false), ACCESS_WRITE))
        return false;
    state = state_to_save(v, rfbm);
    area_add(&a, HEADER_AT, 8);
    if (!area_read(&a))
        return false;
    old = load_le(a.bytes + HEADER_AT, 8);
    store_le(a.bytes + HEADER_AT, (old & ~rfbm) | state, 8);
    put_components(&a, optimized ? state : rfbm, rfbm, false);
    if (rfbm & (XCR0_SSE | XCR0_AVX))
        put_mxcsr(&a);
    return area_write(&a);
}

/* XSAVEC and XSAVES: compacted format, initial components left out. */
static bool save_compacted(struct vcpu *v, const struct insn *i, u64 rfbm)
{
    struct area a = {.v = v, .i = i};
    u64 state;

    if (!aligned(v, i, 64) || !probe_ends(v, i, xsave_size(v, rfbm, true), ACCESS_WRITE))
        return false;
    state = state_to_save(v, rfbm);
    store_le(a.bytes + HEADER_AT, state, 8);
    store_le(a.bytes + HEADER_AT + 8, rfbm | XCOMP_COMPACTED, 8);
    area_add(&a, HEADER_AT, 16);
    put_components(&a, state, rfbm, true);
    if (state & XCR0_SSE)
        put_mxcsr(&a);
    return area_write(&a);
}

bool op_XSAVE_M(struct vcpu *v, const struct insn *i)
{
    return save_standard(v, i, false);
}

bool op_XSAVEOPT_M(struct vcpu *v, const struct insn *i)
{
    return save_standard(v, i, true);
}

bool op_XSAVEC_M(struct vcpu *v, const struct insn *i)
{
    return xsave_check(v, false) && save_compacted(v, i, v->xcr0 & edx_eax(v));
}

bool op_XSAVES_M(struct vcpu *v, const struct insn *i)
{
    return xsave_check(v, true) && save_compacted(v, i, (v->xcr0 | v->xss) & edx_eax(v));
}

static bool all_zero(const u8 *bytes, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        if (bytes[n])
            return false;
    return true;
}

/* The header checks of XRSTOR and XRSTORS (SDM 1 13.8, 13.12). enabled: XCR0, or with IA32_XSS. */
static bool header_valid(const u8 *header, u64 enabled)
{
    u64 state = load_le(header, 8), present = load_le(header + 8, 8);

    if (!(present & XCOMP_COMPACTED))
        return !(state & ~enabled) && all_zero(header + 8, 16);
    present &= ~XCOMP_COMPACTED;
    return !(present & ~enabled) && !(state & ~present) && all_zero(header + 16, 48);
}

/* Notes the bytes of the components to be loaded. */
static void want_components(struct area *a, u64 load, u64 present, bool compacted)
{
    u32 offset, size;

    if (load & XCR0_X87) {
        area_add(a, 0, FX_MXCSR);
        area_add(a, FX_ST, XMM_AT - FX_ST);
    }
    if (load & XCR0_SSE)
        area_add(a, XMM_AT, xmm_count(a->v) * XMM_BYTES);
    for (unsigned n = 2; n < 63; n++)
        if ((load >> n & 1) && xsave_component(a->v, n, &offset, &size))
            area_add(a, component_at(a->v, n, present, compacted), size);
}

/* rfbm: components to change; those not in load go to their initial configuration. */
static void load_components(struct area *a, u64 rfbm, u64 load, u64 present, bool compacted)
{
    struct vcpu *v = a->v;
    u32 offset, size;

    if (load & XCR0_X87) {
        fpu_load_x87(&v->fpu, a->bytes, a->i->osz == 8);
    } else if (rfbm & XCR0_X87) {
        fpu_init(&v->fpu);
        memset(v->fpu.fx + FX_ST, 0, FX_X87_BYTES - FX_ST);
    }
    if (rfbm & XCR0_SSE)
        get_xmm(v, load & XCR0_SSE ? a->bytes + XMM_AT : NULL);
    for (unsigned n = 2; n < 63; n++) {
        if (!(rfbm >> n & 1) || !xsave_component(v, n, &offset, &size))
            continue;
        xsave_put(v, n,
                  load >> n & 1 ? a->bytes + component_at(a->v, n, present, compacted) : NULL);
    }
    fpu_lower_ferr(v);
}

/* MXCSR: in the standard format loaded with SSE or AVX whatever XSTATE_BV says; in the compacted
 * format a part of SSE, initial with it (SDM 1 13.8). */
static bool restore_area(struct vcpu *v, const struct insn *i, u64 enabled, bool need_compacted)
{
    struct area header = {.v = v, .i = i}, a = {.v = v, .i = i};
    u64 rfbm = enabled & edx_eax(v), present, load;
    bool compacted, mxcsr;

    if (!aligned(v, i, 64) || !probe_byte(v, i, 0, ACCESS_READ))
        return false;
    area_add(&header, HEADER_AT, HEADER_BYTES);
    if (!area_read(&header))
        return false;
    present = load_le(header.bytes + HEADER_AT + 8, 8);
    compacted = present & XCOMP_COMPACTED;
    if (!header_valid(header.bytes + HEADER_AT, enabled) || (need_compacted && !compacted) ||
        (compacted && !vcpu_has(v, FEAT_XSAVEC)))
        return raise_gp(v, 0);
    /* The last byte is that of all components asked for, in use or not (family 19h). */
    if (!compacted && !probe_byte(v, i, xsave_size(v, rfbm, false) - 1, ACCESS_READ))
        return false;
    load = rfbm & load_le(header.bytes + HEADER_AT, 8);
    mxcsr = compacted ? load & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
    want_components(&a, load, present, compacted);
    if (mxcsr)
        area_add(&a, FX_MXCSR, 8);
    if (!area_read(&a))
        return false;
    if (mxcsr && !mxcsr_valid(&a))
        return raise_gp(v, 0);
    load_components(&a, rfbm, load, present, compacted);
    if (mxcsr)
        v->fpu.mxcsr = (u32)load_le(a.bytes + FX_MXCSR, 4);
    else if (compacted && (rfbm & XCR0_SSE))
        v->fpu.mxcsr = MXCSR_RESET;
    return true;
}

bool op_XRSTOR_M(struct vcpu *v, const struct insn *i)
{
    return xsave_check(v, false) && restore_area(v, i, v->xcr0, false);
}

bool op_XRSTORS_M(struct vcpu *v, const struct insn *i)
{
    return xsave_check(v, true) && restore_area(v, i, v->xcr0 | v->xss, true);
}

/* -- XCR0 -- */

bool op_XGETBV(struct vcpu *v, const struct insn *i)
{
    u64 value;

    (void)i;
    if (!(v->cr4 & CR4_OSXSAVE))
        return raise_ud(v);
    if ((u32)v->gpr[RCX] == 0)
        value = v->xcr0;
    else if ((u32)v->gpr[RCX] == 1 && vcpu_has(v, FEAT_XGETBV1))
        value = state_to_save(v, v->xcr0);
    else
        return raise_gp(v, 0);
    v->gpr[RAX] = (u32)value;
    v->gpr[RDX] = value >> 32;
    return true;
}

bool op_XSETBV(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!(v->cr4 & CR4_OSXSAVE))
        return raise_ud(v);
    if (v->cpl != 0 || !control_write_xcr0(v, (u32)v->gpr[RCX], edx_eax(v)))
        return raise_gp(v, 0);
    return true;
}
