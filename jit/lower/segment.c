/* SPDX-License-Identifier: MIT
 *
 * FS and GS outside 64-bit mode: offset cut to 32 bits, compared with what the segment permits
 * (vcpu.jit.bound), plus the base.
 */
#include "jit/lower/lower.h"

bool lower_bounded(const struct translator *t, const struct mem_ref *ref)
{
    return !(t->block->mode & MODE_CODE64) && ref->seg >= SEG_FS;
}

/* The sum of offset and size does not wrap in 64 bits, that of offset and base does in 32. */
void lower_bounded_address(struct translator *t, const struct jit_insn *ji,
                           const struct mem_ref *ref)
{
    struct emit_mem bound = emit_gs(
        (i32)(offsetof(struct vcpu, jit.bound) + 8 * (2u * (ref->seg - SEG_FS) + ref->write)));
    struct emit_mem base =
        emit_gs((i32)(offsetof(struct vcpu, seg) + ref->seg * sizeof(struct segment) +
                      offsetof(struct segment, base)));
    struct emit_mem end = emit_at(T0, ref->size);
    struct mem_ref offset = *ref;

    offset.seg = SEG_DS;
    lower_address(t, &offset, 0);
    emit_lea(t->e, T1, &end, 8);
    emit_op_mem(t->e, EMIT_W, 0x3b, &bound, T1); /* cmp t1, bound */
    lower_give_up(t, ji, emit_jcc(t->e, CC_A, 0));
    emit_op_mem(t->e, 0, 0x03, &base, T0); /* add t0d, base */
}
