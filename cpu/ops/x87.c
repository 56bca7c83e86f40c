/* SPDX-License-Identifier: MIT
 *
 * x87 instructions that compute, load or store: executed by the host with the guest's x87 state.
 *
 * The thunk works on a copy of the image, so that a store that faults leaves everything as it was.
 * The instruction and data pointers are ours, not the host's (fpu.h).
 */
#include "cpu/fpu.h"
#include "cpu/native_thunk.h"
#include "cpu/ops/operand.h"

/* An instruction that goes on despite a pending error (fpu.c: CR0.NE = 0) must not trap on the
 * host: it runs with everything masked. */
static void load_state(const struct vcpu *v, struct native_call *call)
{
    const struct fpu *fpu = &v->fpu;

    memcpy(call->fx, fpu->fx, FX_FOP);
    memset(call->fx + FX_FOP, 0, FX_MXCSR - FX_FOP);
    memcpy(call->fx + FX_ST, fpu->fx + FX_ST, FX_X87_BYTES - FX_ST);
    call->rflags = (v->rflags & F_OSZAPC) | F_1;
    if (unlikely(fpu_pending(fpu)))
        call->fx[FX_FCW] |= FSW_EXCEPTIONS;
}

/* FOP, FIP and FDP of a non-control instruction (SDM 1 8.1.8, 8.1.9). */
static void store_pointers(struct vcpu *v, const struct insn *i)
{
    struct fpu *fpu = &v->fpu;

    store_le(fpu->fx + FX_FOP, (i->opcode & 7u) << 8 | i->modrm, 2);
    store_le(fpu->fx + FX_FIP, v->rip, 8);
    fpu->fcs = v->seg[SEG_CS].selector;
    if (i->flags & I_MEM) {
        store_le(fpu->fx + FX_FDP, mem_offset(v, i), 8);
        fpu->fds = v->seg[i->seg].selector;
    }
}

static void store_state(struct vcpu *v, const struct insn *i, const struct native_call *call)
{
    const struct insn_row *row = insn_row(i);
    unsigned fcw = fpu_fcw(&v->fpu);

    memcpy(v->fpu.fx, call->fx, FX_FOP);
    memcpy(v->fpu.fx + FX_ST, call->fx + FX_ST, FX_X87_BYTES - FX_ST);
    if (unlikely((unsigned)load_le(call->fx, 2) != fcw))
        fpu_set_words(&v->fpu, fcw, fpu_fsw(&v->fpu));
    store_pointers(v, i);
    if (row->flags_written)
        v->rflags = (v->rflags & ~(u64)row->flags_written) | (call->rflags & row->flags_written);
}

/* A store does not happen when it raises an unmasked exception other than precision (SDM 1 8.5). */
static bool store_suppressed(const struct native_call *call)
{
    u64 fcw = load_le(call->fx + FX_FCW, 2), fsw = load_le(call->fx + FX_FSW, 2);

    return (fsw & ~fcw & FSW_EXCEPTIONS & ~(u64)FSW_PE) != 0;
}

/* Ten bytes are accessed as eight and two (family 19h): a fault of the first comes before the limit
 * of the second. */
static bool operand_linear(struct vcpu *v, const struct insn *i, const struct thunk *t, u64 *gla)
{
    enum access_kind kind = t->mem_write ? ACCESS_WRITE : ACCESS_READ;
    unsigned first = t->mem_size == 10 ? 8 : t->mem_size;

    if (!mem_linear(v, i, first, kind, gla) || !lin_aligned(v, *gla, first))
        return false;
    if (first == t->mem_size || mem_try(v, i, t->mem_size, kind))
        return true;
    return (t->mem_write ? lin_probe_write(v, *gla, first) : lin_probe_read(v, *gla, first)) &&
           mem_linear(v, i, t->mem_size, kind, gla);
}

bool x87_native(struct vcpu *v, const struct insn *i)
{
    const struct thunk *t = native_thunk(v->native, i);
    struct native_call *call = native_block(v->native);
    u64 gla = 0;

    if (t->mem_size && !operand_linear(v, i, t, &gla))
        return false;
    if (t->mem_read && !lin_read_block(v, gla, call->mem, t->mem_size))
        return false;
    if (t->mem_write && !lin_probe_write(v, gla, t->mem_size))
        return false;
    load_state(v, call);
    if (native_call_thunk(v->native, t, NULL, NULL, NULL, NULL))
        return raise_ud(v);
    if (t->mem_write && !store_suppressed(call) && !lin_write_block(v, gla, call->mem, t->mem_size))
        return false;
    store_state(v, i, call);
    return true;
}
