/* SPDX-License-Identifier: MIT
 *
 * x87 words, tags, MMX aliasing and the checks before x87 and SIMD instructions (SDM 1 chapters 8,
 * 9; SDM 3A chapters 2.5, 12, 13). The images of FXSAVE and XSAVE: xsave_image.c.
 */
#include "cpu/fpu.h"

#include "cpu/cpuid.h"
#include "cpu/exception.h"
#include "cpu/insn.h"

enum { FCW_VALID = 0x1f7f, FCW_ONE = 0x40 };

static u8 *slot(struct fpu *fpu, unsigned st)
{
    return fpu->fx + FX_ST + (st & 7) * FX_SLOT;
}

static const u8 *slot_const(const struct fpu *fpu, unsigned st)
{
    return fpu->fx + FX_ST + (st & 7) * FX_SLOT;
}

void fpu_reset(struct fpu *fpu)
{
    memset(fpu, 0, sizeof(*fpu));
    store_le(fpu->fx + FX_FCW, FCW_ONE, 2);
    fpu->fx[FX_FTW] = 0xff; /* full tags 5555h: all registers zero */
    fpu->mxcsr = MXCSR_RESET;
}

void fpu_init(struct fpu *fpu)
{
    fpu_set_words(fpu, FCW_INIT, 0);
    fpu->fx[FX_FTW] = 0;
    memset(fpu->fx + FX_FOP, 0, FX_MXCSR - FX_FOP);
    fpu->fcs = fpu->fds = 0;
}

/* Turns the slots by the change of TOP: ST(n) of the image is physical register (TOP + n) mod 8. */
static void turn_slots(struct fpu *fpu, unsigned by)
{
    u8 old[8 * FX_SLOT];

    if (!(by & 7))
        return;
    memcpy(old, fpu->fx + FX_ST, sizeof(old));
    for (unsigned n = 0; n < 8; n++)
        memcpy(slot(fpu, n), old + ((n + by) & 7) * FX_SLOT, FX_SLOT);
}

void fpu_set_words(struct fpu *fpu, unsigned fcw, unsigned fsw)
{
    unsigned top = (fsw & FSW_TOP) >> FSW_TOP_SHIFT;

    turn_slots(fpu, top - fpu_top(fpu));
    fcw = (fcw & FCW_VALID) | FCW_ONE;
    fsw &= ~(unsigned)(FSW_ES | FSW_B);
    if (fsw & ~fcw & FSW_EXCEPTIONS)
        fsw |= FSW_ES | FSW_B;
    store_le(fpu->fx + FX_FCW, fcw, 2);
    store_le(fpu->fx + FX_FSW, fsw, 2);
}

/* Tag of a non-empty register: 0 valid, 1 zero, 2 special. */
static unsigned tag_of(const u8 *st)
{
    u64 mantissa = load_le(st, 8);
    unsigned exponent = (unsigned)load_le(st + 8, 2) & 0x7fff;

    if (!exponent && !mantissa)
        return 1;
    return !exponent || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

u16 fpu_full_tags(const struct fpu *fpu)
{
    unsigned tags = 0, top = fpu_top(fpu);

    for (unsigned r = 0; r < 8; r++) {
        unsigned tag = fpu->fx[FX_FTW] >> r & 1 ? tag_of(slot_const(fpu, r - top)) : 3;

        tags |= tag << (2 * r);
    }
    return (u16)tags;
}

u64 fpu_mmx_read(const struct fpu *fpu, unsigned n)
{
    return load_le(slot_const(fpu, n - fpu_top(fpu)), 8);
}

void fpu_mmx_write(struct fpu *fpu, unsigned n, u64 value)
{
    u8 *st = slot(fpu, n - fpu_top(fpu));

    store_le(st, value, 8);
    store_le(st + 8, 0xffff, 2);
}

void fpu_mmx_enter(struct fpu *fpu)
{
    fpu_set_words(fpu, fpu_fcw(fpu), fpu_fsw(fpu) & ~(unsigned)FSW_TOP);
    fpu->fx[FX_FTW] = 0xff;
}

u32 fpu_mxcsr_mask(const struct vcpu *v)
{
    return vcpu_has(v, FEAT_MISALIGNSSE) ? 0x2ffff : 0xffff;
}

void fpu_lower_ferr(struct vcpu *v)
{
    if (!(v->cr0 & CR0_NE) && !fpu_pending(&v->fpu) && v->platform->ferr)
        v->platform->ferr(v->platform->opaque, v, false);
}

/* A waiting instruction met a pending error (SDM 1 D.2.1, SDM 3A 2.5 on CR0.NE). */
static bool pending_error(struct vcpu *v)
{
    if (v->cr0 & CR0_NE)
        return raise_fault(v, VEC_MF);
    if (v->platform->ferr)
        v->platform->ferr(v->platform->opaque, v, true);
    /* DEVIATION: with interrupts off a real processor would freeze for good; here the instruction
     * goes on, as it does with IGNNE# asserted. Test: ferr_without_interrupts_goes_on. */
    if (!(v->rflags & F_IF))
        return true;
    v->repeat = true;
    v->icount++;
    return false;
}

bool fpu_check_pending(struct vcpu *v)
{
    return likely(!fpu_pending(&v->fpu)) || pending_error(v);
}

static bool vector_state_enabled(const struct vcpu *v, u64 components)
{
    return (v->cr4 & CR4_OSXSAVE) && (v->xcr0 & components) == components;
}

bool fpu_check(struct vcpu *v, const struct insn *i)
{
    u64 traits = insn_row(i)->traits;
    u64 blocked = CR0_TS;

    if (traits & T_EVEX) {
        if (!vector_state_enabled(v, XCR0_SSE | XCR0_AVX | XCR0_AVX512))
            return raise_ud(v);
    } else if (traits & T_AVX) {
        if (!vector_state_enabled(v, XCR0_SSE | XCR0_AVX))
            return raise_ud(v);
    } else if (traits & (T_SSE | T_MMX)) {
        if ((v->cr0 & CR0_EM) || ((traits & T_SSE) && !(v->cr4 & CR4_OSFXSR)))
            return raise_ud(v);
    } else {
        blocked |= CR0_EM;
    }
    if (v->cr0 & blocked)
        return raise_nm(v);
    return !(traits & (T_FPU | T_MMX)) || (traits & T_NOWAIT) || fpu_check_pending(v);
}
