/* SPDX-License-Identifier: MIT
 *
 * Gathers and scatters (SDM 2, VGATHERDPS, VPGATHERDD, VSCATTERDPS, ...; exception class 12).
 *
 * Elements are accessed in order, lowest first, each with its own translation. The mask (a vector
 * for VEX, an opmask for EVEX) loses an element as soon as that is done, so after a fault the
 * instruction runs again for the rest. Bit 0 of the opcode says that indices are quadwords, W that
 * data are. Their alignment is not checked (#AC), on family 19h.
 */
#include "cpu/fpu.h"
#include "cpu/ops/operand.h"

struct gather {
    unsigned count; /* elements */
    unsigned index_size, data_size;
    u8 *data, *mask; /* vector rows; mask: VEX only */
    const u8 *indices;
};

static void describe(struct vcpu *v, const struct insn *i, struct gather *g)
{
    g->index_size = i->opcode & 1 ? 8 : 4;
    g->data_size = i->flags & I_REXW ? 8 : 4;
    g->count = (16u << i->vl) / (g->index_size > g->data_size ? g->index_size : g->data_size);
    g->data = v->fpu.zmm[i->reg & 31];
    g->mask = v->fpu.zmm[i->vvvv & 15];
    g->indices = v->fpu.zmm[i->index & 31];
}

/* Offset of element n: the index is sign-extended and scaled like any other. */
static u64 element_offset(const struct vcpu *v, const struct insn *i, const struct gather *g,
                          unsigned n)
{
    u64 at = sign_extend(load_le(g->indices + n * g->index_size, g->index_size), g->index_size);

    at = (at << i->scale) + (u64)i->disp;
    if (i->base != REG_NONE)
        at += v->gpr[i->base];
    return i->asz == 8 ? at : size_cut(at, i->asz);
}

static bool load_element(struct vcpu *v, const struct insn *i, const struct gather *g, unsigned n)
{
    u8 value[8];
    u64 gla;

    if (!seg_to_linear(v, (enum seg)i->seg, element_offset(v, i, g, n), g->data_size, ACCESS_READ,
                       &gla) ||
        !lin_read_block(v, gla, value, g->data_size))
        return false;
    memcpy(g->data + n * g->data_size, value, g->data_size);
    return true;
}

static bool store_element(struct vcpu *v, const struct insn *i, const struct gather *g, unsigned n)
{
    u64 gla;

    return seg_to_linear(v, (enum seg)i->seg, element_offset(v, i, g, n), g->data_size,
                         ACCESS_WRITE, &gla) &&
           lin_write_block(v, gla, g->data + n * g->data_size, g->data_size);
}

/* Everything above the elements is cleared, as by any VEX or EVEX instruction. */
static void clear_above(u8 *row, unsigned bytes)
{
    memset(row + bytes, 0, 64 - bytes);
}

static bool gather_vex(struct vcpu *v, const struct insn *i)
{
    struct gather g;

    if (!fpu_check(v, i))
        return v->repeat;
    describe(v, i, &g);
    for (unsigned n = 0; n < g.count; n++) {
        u8 *mask = g.mask + n * g.data_size;

        if ((mask[g.data_size - 1] & 0x80) && !load_element(v, i, &g, n))
            return false;
        store_le(mask, 0, g.data_size);
    }
    clear_above(g.data, g.count * g.data_size);
    clear_above(g.mask, 0);
    return true;
}

static bool gather_evex(struct vcpu *v, const struct insn *i)
{
    u64 *k = &v->fpu.k[i->aaa & 7];
    struct gather g;

    if (!fpu_check(v, i))
        return v->repeat;
    describe(v, i, &g);
    for (unsigned n = 0; n < g.count; n++) {
        if (*k >> n & 1) {
            if (!load_element(v, i, &g, n))
                return false;
            /* Each element is a write of the vector length, as a fault in the next one shows. */
            clear_above(g.data, 16u << i->vl);
        }
        *k &= ~BIT(n);
    }
    clear_above(g.data, g.count * g.data_size);
    *k = 0;
    return true;
}

static bool scatter(struct vcpu *v, const struct insn *i)
{
    u64 *k = &v->fpu.k[i->aaa & 7];
    struct gather g;

    if (!fpu_check(v, i))
        return v->repeat;
    describe(v, i, &g);
    for (unsigned n = 0; n < g.count; n++) {
        if ((*k >> n & 1) && !store_element(v, i, &g, n))
            return false;
        *k &= ~BIT(n);
    }
    *k = 0;
    return true;
}

#define BODY(id, function)                                                                         \
    bool op_##id(struct vcpu *v, const struct insn *i)                                             \
    {                                                                                              \
        return function(v, i);                                                                     \
    }

BODY(VPGATHERDD_VxVMdHx, gather_vex)
BODY(VPGATHERDQ_VxVMdHx, gather_vex)
BODY(VPGATHERQD_VxVMqHx, gather_vex)
BODY(VPGATHERQQ_VxVMqHx, gather_vex)
BODY(VGATHERDPS_VxVMdHx, gather_vex)
BODY(VGATHERDPD_VxVMdHx, gather_vex)
BODY(VGATHERQPS_VxVMqHx, gather_vex)
BODY(VGATHERQPD_VxVMqHx, gather_vex)
BODY(VPGATHERDD_VxVMd_evex, gather_evex)
BODY(VPGATHERDQ_VxVMd_evex, gather_evex)
BODY(VPGATHERQD_VxVMq_evex, gather_evex)
BODY(VPGATHERQQ_VxVMq_evex, gather_evex)
BODY(VGATHERDPS_VxVMd_evex, gather_evex)
BODY(VGATHERDPD_VxVMd_evex, gather_evex)
BODY(VGATHERQPS_VxVMq_evex, gather_evex)
BODY(VGATHERQPD_VxVMq_evex, gather_evex)
BODY(VPSCATTERDD_VMdVx_evex, scatter)
BODY(VPSCATTERDQ_VMdVx_evex, scatter)
BODY(VPSCATTERQD_VMqVx_evex, scatter)
BODY(VPSCATTERQQ_VMqVx_evex, scatter)
BODY(VSCATTERDPS_VMdVx_evex, scatter)
BODY(VSCATTERDPD_VMdVx_evex, scatter)
BODY(VSCATTERQPS_VMqVx_evex, scatter)
BODY(VSCATTERQPD_VMqVx_evex, scatter)
