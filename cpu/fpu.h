/* SPDX-License-Identifier: MIT
 *
 * Floating-point and vector state outside of single instructions: reset values, the FXSAVE and
 * XSAVE images in all formats (SDM 1 chapters 10.5 and 13), and the checks that precede x87 and
 * SIMD.
 *
 * In struct fpu the summary bits FSW.ES and FSW.B always agree with the flags and masks, as on
 * hardware. FIP, FDP, FOP and their selectors are kept by software and always those of the last
 * non-control instruction (CPUID.XSAVEERPTR), whatever the host does with its own.
 */
#pragma once

#include "cpu/vcpu.h"
#include "mem/base/bits.h"

/* Offsets in struct fpu.fx, which is an FXSAVE64 image. */
enum fx_offset {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_ST = 32
};
enum { FX_X87_BYTES = 160, FX_SLOT = 16, ST_BYTES = 10 };

enum fsw {
    FSW_EXCEPTIONS = 0x3f, /* IE DE ZE OE UE PE */
    FSW_PE = 1u << 5,
    FSW_SF = 1u << 6,
    FSW_ES = 1u << 7,
    FSW_TOP_SHIFT = 11,
    FSW_TOP = 7u << 11,
    FSW_B = 1u << 15,
};

enum { MXCSR_RESET = 0x1f80, MXCSR_MM = 1u << 17, FCW_INIT = 0x37f };

/* Power-on values: FNINIT state with FCW 0040h per SDM 3A table 9-1, MXCSR 1F80h, vectors zero. */
void fpu_reset(struct fpu *fpu);
/* FNINIT. */
void fpu_init(struct fpu *fpu);

/* #NM and #UD checks by the row's traits (T_FPU, T_MMX, T_SSE, T_AVX, T_EVEX), then #MF for a
 * pending x87 error. With CR0.NE = 0 FERR# is raised instead and the instruction waits for the
 * interrupt: it retires without effect and runs again (so that time passes), as long as RFLAGS.IF
 * lets the interrupt in. False: a fault is recorded, or v->repeat is set because it waits; either
 * way the body returns v->repeat. */
bool fpu_check(struct vcpu *v, const struct insn *i);
/* The last part of it, for FWAIT. */
bool fpu_check_pending(struct vcpu *v);

/* -- x87 words -- */
static inline unsigned fpu_fcw(const struct fpu *fpu)
{
    return (unsigned)load_le(fpu->fx + FX_FCW, 2);
}
static inline unsigned fpu_fsw(const struct fpu *fpu)
{
    return (unsigned)load_le(fpu->fx + FX_FSW, 2);
}
static inline unsigned fpu_top(const struct fpu *fpu)
{
    return (fpu_fsw(fpu) & FSW_TOP) >> FSW_TOP_SHIFT;
}
/* An unmasked x87 exception waits for the next waiting instruction. */
static inline bool fpu_pending(const struct fpu *fpu)
{
    return (fpu_fsw(fpu) & ~fpu_fcw(fpu) & FSW_EXCEPTIONS) != 0;
}
/* Stores control and status words as hardware keeps them: reserved bits fixed, ES and B derived,
 * and the register slots turned so that each physical register keeps its content under the new TOP.
 */
void fpu_set_words(struct fpu *fpu, unsigned fcw, unsigned fsw);
/* The full tag word of FNSTENV, from the abridged one and the registers (SDM 1 8.1.7). */
u16 fpu_full_tags(const struct fpu *fpu);
/* FERR# follows a pending error that went away (CR0.NE = 0). */
void fpu_lower_ferr(struct vcpu *v);

/* -- MMX registers: the physical x87 registers -- */
u64 fpu_mmx_read(const struct fpu *fpu, unsigned n);
/* After fpu_mmx_enter(): the value with all ones above it. */
void fpu_mmx_write(struct fpu *fpu, unsigned n, u64 value);
/* TOP = 0, all tags valid: what every MMX instruction but EMMS does. */
void fpu_mmx_enter(struct fpu *fpu);

/* -- MXCSR -- */
/* Bits that may be set: MXCSR_MASK of FXSAVE images. */
u32 fpu_mxcsr_mask(const struct vcpu *v);

/* -- images -- */
/* The x87 part of an FXSAVE or XSAVE image: bytes 0-23 and 32-159. wide: 64-bit pointers. */
void fpu_save_x87(const struct fpu *fpu, u8 image[FX_X87_BYTES], bool wide);
void fpu_load_x87(struct fpu *fpu, const u8 image[FX_X87_BYTES], bool wide);

/* Bytes of an XSAVE area in standard and compacted format for a set of components. */
u32 xsave_size(const struct vcpu *v, u64 components, bool compacted);
/* Offset and size of one component in the standard format (CPUID.0Dh); false: not a component. */
bool xsave_component(const struct vcpu *v, unsigned component, u32 *offset, u32 *size);
/* Components that differ from their initial configuration (XINUSE); outside 64-bit mode registers
 * 8-15 and 16-31 do not count (SDM 1 13.6). */
u64 xsave_inuse(const struct vcpu *v);
/* One component 2..9 from its image, or (image NULL) to its initial configuration. Outside 64-bit
 * mode registers that cannot be named keep their value (SDM 1 13.13). */
void xsave_put(struct vcpu *v, unsigned component, const u8 *image);
/* The image of one component 2..9; returns how many bytes of it exist in this mode. */
u32 xsave_get(const struct vcpu *v, unsigned component, u8 image[1024]);
