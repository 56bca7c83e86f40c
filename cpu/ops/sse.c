/* SPDX-License-Identifier: MIT
 *
 * MMX and SSE instructions that are no thunks: byte-masked stores, EMMS, MXCSR.
 */
#include "cpu/exception.h"
#include "cpu/fpu.h"
#include "cpu/ops/masked_store.h"
#include "cpu/ops/operand.h"

bool op_EMMS(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    fpu_mmx_enter(&v->fpu);
    v->fpu.fx[FX_FTW] = 0;
    return true;
}

static bool masked_byte(struct vcpu *v, const struct insn *i, unsigned n, u64 *gla)
{
    u64 at = v->gpr[RDI] + n;

    return seg_to_linear(v, (enum seg)i->seg, i->asz == 8 ? at : size_cut(at, i->asz), 1,
                         ACCESS_WRITE, gla);
}

bool masked_store(struct vcpu *v, const struct insn *i, const u8 *bytes, const u8 *mask,
                  unsigned size)
{
    u64 gla;

    for (unsigned n = 0; n < size; n += 8) {
        u64 at = v->gpr[RDI] + n;

        if (!seg_to_linear(v, (enum seg)i->seg, i->asz == 8 ? at : size_cut(at, i->asz), 8,
                           ACCESS_WRITE, &gla) ||
            !lin_aligned(v, gla, 8) || !lin_probe_write(v, gla, 8))
            return false;
    }
    for (unsigned n = 0; n < size; n++)
        if ((mask[n] & 0x80) &&
            (!masked_byte(v, i, n, &gla) || !lin_write_block(v, gla, bytes + n, 1)))
            return false;
    return true;
}

bool op_MASKMOVQ_PqNq(struct vcpu *v, const struct insn *i)
{
    u64 bytes, mask;

    if (!fpu_check(v, i))
        return v->repeat;
    bytes = fpu_mmx_read(&v->fpu, i->reg & 7);
    mask = fpu_mmx_read(&v->fpu, i->rm & 7);
    /* Before the store, which may fault (family 19h). */
    fpu_mmx_enter(&v->fpu);
    return masked_store(v, i, (const u8 *)&bytes, (const u8 *)&mask, 8);
}

bool op_MASKMOVDQU_VdqUdq(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    return masked_store(v, i, v->fpu.zmm[i->reg & 15], v->fpu.zmm[i->rm & 15], 16);
}

static bool ldmxcsr(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!fpu_check(v, i))
        return v->repeat;
    if (!mem_read(v, i, 4, &value))
        return false;
    if (value & ~(u64)fpu_mxcsr_mask(v))
        return raise_gp(v, 0);
    v->fpu.mxcsr = (u32)value;
    return true;
}

static bool stmxcsr(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    return mem_write(v, i, 4, v->fpu.mxcsr);
}

bool op_LDMXCSR_Md(struct vcpu *v, const struct insn *i)
{
    return ldmxcsr(v, i);
}

bool op_STMXCSR_Md(struct vcpu *v, const struct insn *i)
{
    return stmxcsr(v, i);
}

bool op_VLDMXCSR_Md(struct vcpu *v, const struct insn *i)
{
    return ldmxcsr(v, i);
}

bool op_VSTMXCSR_Md(struct vcpu *v, const struct insn *i)
{
    return stmxcsr(v, i);
}
