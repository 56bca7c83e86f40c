/* SPDX-License-Identifier: MIT
 *
 * Floating-point and vector state outside of single instructions: reset values, the FXSAVE and XSAVE
 * images in all formats (SDM 1 chapters 10.5 and 13), and the checks that precede x87 and SIMD.
 */
#pragma once

#include "cpu/vcpu.h"

/* Power-on values: FNINIT state with FCW 0040h per SDM 3A table 9-1, MXCSR 1F80h, vectors zero. */
void fpu_reset(struct fpu *fpu);
/* FNINIT. */
void fpu_init(struct fpu *fpu);

/* #NM and #UD checks by the row's traits (T_FPU, T_MMX, T_SSE, T_AVX, T_EVEX), then #MF for a pending
 * x87 error (or FERR# when CR0.NE = 0). false: recorded. */
bool fpu_check(struct vcpu *v, const struct insn *i);

/* FXSAVE/FXRSTOR image of 512 bytes; osz 8: FXSAVE64. restore: false = #GP (reserved MXCSR bits). */
void fpu_fxsave(const struct vcpu *v, u8 image[512], bool fxsave64);
bool fpu_fxrstor(struct vcpu *v, const u8 image[512], bool fxsave64);

/* Bytes of an XSAVE area in standard and compacted format for a set of components. */
u32 xsave_size(u64 components, bool compacted);
/* Offset and size of one component in the standard format (CPUID.0Dh); false: not a component. */
bool xsave_component(unsigned component, u32 *offset, u32 *size);
/* Components that differ from their initial configuration (XINUSE). */
u64 xsave_inuse(const struct vcpu *v);
