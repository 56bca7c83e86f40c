/* SPDX-License-Identifier: MIT
 *
 * x87 state between translated code, which keeps it in the host's registers, and vcpu.fpu.
 */
#include <string.h>

#include "cpu/fpu.h"
#include "jit/internal.h"

/* FOP, FIP and FDP as ops/x87.c keeps them: of the last instruction that is not a control one, and
 * of the last operand in memory (SDM 1 8.1.8, 8.1.9). Selectors have not changed since. */
static void settle_pointers(struct vcpu *v)
{
    const u8 *arena = jit_of(v)->arena;
    const struct jit_insn *insn = (const void *)(arena + v->jit.x87_insn);
    const struct jit_insn *data = (const void *)(arena + v->jit.x87_data);
    struct fpu *fpu = &v->fpu;

    if (v->jit.x87_insn) {
        store_le(fpu->fx + FX_FOP, (insn->insn.opcode & 7u) << 8 | insn->insn.modrm, 2);
        store_le(fpu->fx + FX_FIP, insn->rip, 8);
        fpu->fcs = v->seg[SEG_CS].selector;
    }
    if (v->jit.x87_data) {
        store_le(fpu->fx + FX_FDP, v->jit.x87_fdp, 8);
        fpu->fds = v->seg[data->insn.seg].selector;
    }
    v->jit.x87_insn = v->jit.x87_data = 0;
}

void jit_x87_settle(struct vcpu *v)
{
    struct fpu *fpu = &v->fpu;
    const u8 *image = v->jit.x87_image;

    if (v->jit.x87 != X87_SAVED)
        return;
    memcpy(fpu->fx, image, FX_FOP);
    memcpy(fpu->fx + FX_ST, image + FX_ST, FX_X87_BYTES - FX_ST);
    settle_pointers(v);
    v->jit.x87 = X87_MEMORY;
}

u32 jit_x87_mode(const struct vcpu *v)
{
    if ((v->cr0 & (CR0_EM | CR0_TS)) || (fpu_fcw(&v->fpu) & FSW_EXCEPTIONS) != FSW_EXCEPTIONS)
        return 0;
    return MODE_X87;
}
