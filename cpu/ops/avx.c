/* SPDX-License-Identifier: MIT
 *
 * AVX instructions that are no thunks: VZEROUPPER, VZEROALL, VMASKMOVDQU (SDM 2).
 */
#include "cpu/fpu.h"
#include "cpu/ops/masked_store.h"

/* Clears the bytes from offset on of the registers that this mode can name; ZMM16-31 stay. */
static bool zero_registers(struct vcpu *v, const struct insn *i, unsigned offset)
{
    if (!fpu_check(v, i))
        return v->repeat;
    for (unsigned n = 0; n < (vcpu_64bit(v) ? 16 : 8); n++)
        memset(v->fpu.zmm[n] + offset, 0, sizeof(v->fpu.zmm[n]) - offset);
    return true;
}

bool op_VZEROUPPER(struct vcpu *v, const struct insn *i)
{
    return zero_registers(v, i, 16);
}

bool op_VZEROALL(struct vcpu *v, const struct insn *i)
{
    return zero_registers(v, i, 0);
}

bool op_VMASKMOVDQU_VdqUdq(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    return masked_store(v, i, v->fpu.zmm[i->reg & 15], v->fpu.zmm[i->rm & 15], 16);
}
