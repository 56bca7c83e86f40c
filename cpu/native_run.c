/* SPDX-License-Identifier: MIT
 *
 * The shared body of SIMD rows: checks, guest memory, thunk, write-back. Order of events as the
 * SDM's exception classes have it (SDM 2 2.4): #UD, #NM, #MF, alignment and page faults, then #XM;
 * a store is probed before the instruction runs and made after it.
 */
#include "cpu/fpu.h"
#include "cpu/native_signal.h"
#include "cpu/native_thunk.h"
#include "cpu/ops/operand.h"

/* The vector row that a field names, never NULL. */
static void *vector_row(struct vcpu *v, unsigned n)
{
    return v->fpu.zmm[n & 31];
}

static unsigned register_of(const struct insn *i, unsigned slot)
{
    switch (slot) {
    case SLOT_REG: return i->reg;
    case SLOT_RM: return i->rm;
    case SLOT_VVVV: return i->vvvv;
    default: return ((unsigned)i->imm >> 4) & 15;
    }
}

static void load_operands(struct vcpu *v, const struct insn *i, const struct thunk *t,
                          struct native_call *call)
{
    for (unsigned n = 0; n < t->count; n++) {
        const struct native_operand *o = &t->operand[n];
        unsigned r = register_of(i, o->slot);

        switch (o->file) {
        case FILE_GPR: call->gpr[o->slot] = v->gpr[r & 15]; break;
        case FILE_K: call->k[o->slot] = v->fpu.k[r & 7]; break;
        case FILE_MMX: call->mmx[o->slot] = fpu_mmx_read(&v->fpu, r & 7); break;
        default: break;
        }
    }
    if (i->aaa)
        call->k[3] = v->fpu.k[i->aaa & 7];
    call->rax = v->gpr[RAX];
    call->rdx = v->gpr[RDX];
}

static void store_operands(struct vcpu *v, const struct insn *i, const struct thunk *t,
                           const struct native_call *call)
{
    const struct insn_row *row = insn_row(i);

    if (row->traits & T_MMX)
        fpu_mmx_enter(&v->fpu);
    for (unsigned n = 0; n < t->count; n++) {
        const struct native_operand *o = &t->operand[n];
        unsigned r = register_of(i, o->slot);

        if (!o->write)
            continue;
        switch (o->file) {
        case FILE_GPR: reg_write(v, r & 15, i->osz, call->gpr[o->slot]); break;
        case FILE_K: v->fpu.k[r & 7] = call->k[o->slot]; break;
        case FILE_MMX: fpu_mmx_write(&v->fpu, r & 7, call->mmx[o->slot]); break;
        default: break;
        }
    }
    if (!row->flags_written)
        return;
    v->rflags = (v->rflags & ~(u64)row->flags_written) | (call->rflags & row->flags_written);
    /* PCMPESTRI and PCMPISTRI, whose VEX forms clear the upper half as any 32-bit write. */
    if (row->key.map == MAP_0F3A && (row->key.opcode & 0xfd) == 0x61)
        v->gpr[RCX] = (u32)call->rcx;
}

bool native_raise_xm(struct vcpu *v)
{
    return v->cr4 & CR4_OSXMMEXCPT ? raise_fault(v, VEC_XM) : raise_ud(v);
}

bool native_execute(struct vcpu *v, const struct insn *i, const struct thunk *t)
{
    struct native_call *call = native_block(v->native);
    unsigned is4 = t->is4 ? register_of(i, SLOT_IS4) & (vcpu_64bit(v) ? 15 : 7) : 0;
    u64 stopped;

    if (!t->vectors_only)
        load_operands(v, i, t, call);
    if (t->mxcsr)
        call->mxcsr = v->fpu.mxcsr;
    stopped = native_call_thunk(v->native, t, vector_row(v, i->reg), vector_row(v, i->rm),
                                vector_row(v, i->vvvv), vector_row(v, is4));
    if (t->mxcsr)
        v->fpu.mxcsr = call->mxcsr;
    if (unlikely(stopped)) {
        /* The registers are in MMX state already (family 19h). */
        if (insn_row(i)->traits & T_MMX)
            fpu_mmx_enter(&v->fpu);
        return stopped == NATIVE_SIGFPE ? native_raise_xm(v) : raise_ud(v);
    }
    if (!t->vectors_only)
        store_operands(v, i, t, call);
    return true;
}

/* -- memory operands -- */

/* #GP(0) for a misaligned legacy operand, unless MXCSR.MM (AMD, APM 1 4.4.8) lifts it for
 * instructions that compute. Moves that demand alignment keep demanding it. */
static bool alignment_holds(const struct vcpu *v, const struct insn *i, u64 gla, unsigned size)
{
    const struct insn_row *row = insn_row(i);

    if (!(row->traits & T_ALIGN) || !(gla & (size - 1)))
        return true;
    return row->key.space == SPACE_LEGACY && (v->fpu.mxcsr & MXCSR_MM) && !(row->traits & T_STRICT);
}

/* Bits of a vector operand's elements, one per elem bytes. */
static u64 lanes(unsigned size, unsigned elem)
{
    unsigned count = size / elem;

    return count >= 64 ? ~0ull : BIT(count) - 1;
}

static bool element_linear(struct vcpu *v, const struct insn *i, unsigned offset, unsigned size,
                           enum access_kind kind, u64 *gla)
{
    u64 at = mem_offset(v, i) + offset;

    /* With VEX the address size cuts each element's address, with EVEX the operand's only (family
     * 19h). */
    if (insn_row(i)->key.space == SPACE_VEX && i->asz != 8)
        at = size_cut(at, i->asz);
    return seg_to_linear(v, (enum seg)i->seg, at, size, kind, gla);
}

/* An element's checks, in the order of family 19h: segment, alignment, page. */
static bool element_checked(struct vcpu *v, const struct insn *i, unsigned offset, unsigned elem,
                            enum access_kind kind, u64 *gla)
{
    return element_linear(v, i, offset, elem, kind, gla) &&
           (insn_row(i)->key.space == SPACE_VEX || lin_aligned(v, *gla, elem));
}

/* Reads the elements whose mask bit is set to their places in buf; the others read as zero and
 * cannot fault. */
static bool read_elements(struct vcpu *v, const struct insn *i, u8 *buf, unsigned size,
                          unsigned elem, u64 mask)
{
    u64 gla;

    memset(buf, 0, size);
    for (unsigned n = 0; n < size / elem; n++)
        if ((mask >> n & 1) && (!element_checked(v, i, n * elem, elem, ACCESS_READ, &gla) ||
                                !lin_read_block(v, gla, buf + n * elem, elem)))
            return false;
    return true;
}

static bool probe_elements(struct vcpu *v, const struct insn *i, unsigned size, unsigned elem,
                           u64 mask)
{
    u64 gla;

    for (unsigned n = 0; n < size / elem; n++)
        if ((mask >> n & 1) && (!element_checked(v, i, n * elem, elem, ACCESS_WRITE, &gla) ||
                                !lin_probe_write(v, gla, elem)))
            return false;
    return true;
}

/* After probe_elements(). */
static bool write_elements(struct vcpu *v, const struct insn *i, const u8 *buf, unsigned size,
                           unsigned elem, u64 mask)
{
    u64 gla;

    for (unsigned n = 0; n < size / elem; n++)
        if ((mask >> n & 1) && (!element_linear(v, i, n * elem, elem, ACCESS_WRITE, &gla) ||
                                !lin_write_block(v, gla, buf + n * elem, elem)))
            return false;
    return true;
}

/* Which elements of a fault-suppressing memory operand are accessed: by opmask, or for the VEX
 * forms (VMASKMOVPS, VPMASKMOVD) by the sign bits of the vvvv vector. */
static u64 active_elements(const struct vcpu *v, const struct insn *i, unsigned size, unsigned elem)
{
    const struct insn_row *row = insn_row(i);
    u64 mask = 0;

    if (row->key.space == SPACE_VEX) {
        const u8 *vector = v->fpu.zmm[i->vvvv & 15];

        for (unsigned n = 0; n < size / elem; n++)
            mask |= (u64)(vector[n * elem + elem - 1] >> 7) << n;
        return mask;
    }
    mask = i->aaa ? v->fpu.k[i->aaa & 7] : ~0ull;
    if (i->flags & I_EVEX_B) { /* one element in memory, read if any lane wants it */
        unsigned full = 16u << i->vl;

        for (unsigned n = 0; n < 4; n++)
            if (row->operands[n] == OPND_BChx)
                full /= 2;
        return (mask & lanes(full, elem)) != 0;
    }
    if (row->traits & T_DUPLICATE) { /* one that any of its copies wants */
        mask &= lanes(16u << i->vl, elem);
        for (unsigned shift = 32; shift >= size / elem; shift /= 2)
            mask |= mask >> shift;
    }
    mask &= lanes(size, elem);
    if (row->traits & T_DENSE) {
        unsigned count = (unsigned)__builtin_popcountll(mask);

        mask = count == 64 ? ~0ull : BIT(count) - 1;
    }
    return mask;
}

/* The linear address before any check. */
static u64 unchecked_linear(const struct vcpu *v, const struct insn *i)
{
    u64 offset = mem_offset(v, i);

    if (vcpu_64bit(v))
        return offset + (i->seg >= SEG_FS ? v->seg[i->seg].base : 0);
    return (u32)(v->seg[i->seg].base + offset);
}

/* Shifts by a vector and PUNPCKL use the low half of a 16-byte operand and read no more (family
 * 19h; SDM 2 PUNPCKL leaves it open), as shows where MXCSR.MM lets the operand be misaligned. The
 * limit holds for all of it. */
static bool reads_low_half(const struct insn *i)
{
    const struct insn_key *k = &insn_row(i)->key;

    if (k->space != SPACE_LEGACY || k->map != MAP_0F)
        return false;
    switch (k->opcode) {
    case 0x14: return true; /* UNPCKLPS, UNPCKLPD */
    case 0x60:
    case 0x61:
    case 0x62:
    case 0x6c:
    case 0xd1:
    case 0xd2:
    case 0xd3:
    case 0xe1:
    case 0xe2:
    case 0xf1:
    case 0xf2:
    case 0xf3: return k->prefix == PFX_66;
    default: return false;
    }
}

/* alignment: what #AC asks for. Family 19h sees the misalignment that is #GP before a violation of
 * the segment's limit, which may be #SS. */
static bool run_memory(struct vcpu *v, const struct insn *i, const struct thunk *t,
                       unsigned alignment)
{
    struct native_call *call = native_block(v->native);
    enum access_kind kind = t->mem_write ? ACCESS_WRITE : ACCESS_READ;
    u64 gla;

    if (!alignment_holds(v, i, unchecked_linear(v, i), t->mem_size))
        return raise_gp(v, 0);
    if (t->mem_size == 64 && t->mem_write && !mem_try(v, i, 64, kind) &&
        (!mem_linear(v, i, 32, kind, &gla) || !lin_aligned(v, gla, alignment) ||
         !lin_probe_write(v, gla, 32)))
        return false; /* 64 bytes are stored as twice 32 (family 19h) */
    if (unlikely(unchecked_linear(v, i) & 15) && reads_low_half(i)) {
        memset(call->mem, 0, 16);
        return mem_linear(v, i, 16, kind, &gla) && lin_aligned(v, gla, alignment) &&
               lin_read_block(v, gla, call->mem, 8) && native_execute(v, i, t);
    }
    if (!mem_linear(v, i, t->mem_size, kind, &gla) || !lin_aligned(v, gla, alignment))
        return false;
    if (t->mem_read) {
        const u8 *p = tlb_read_ptr(v->tlb_now, gla, t->mem_size);

        if (likely(p))
            memcpy(call->mem, p, t->mem_size);
        else if (!lin_read_block(v, gla, call->mem, t->mem_size))
            return false;
    }
    if (!t->mem_write)
        return native_execute(v, i, t);
    return lin_probe_write(v, gla, t->mem_size) && native_execute(v, i, t) &&
           lin_write_block(v, gla, call->mem, t->mem_size);
}

/* Reads the active elements of the operand: at once where nobody can tell the difference. */
static bool read_active(struct vcpu *v, const struct insn *i, u8 *buf, unsigned size, unsigned elem,
                        u64 mask)
{
    const u8 *p = NULL;
    u64 gla;

    if (!v->align_check && seg_try(v, (enum seg)i->seg, mem_offset(v, i), size, ACCESS_READ, &gla))
        p = tlb_read_ptr(v->tlb_now, gla, size);
    if (unlikely(!p))
        return read_elements(v, i, buf, size, elem, mask);
    memcpy(buf, p, size);
    return true;
}

/* What #AC asks of an operand: its size, at most 16 bytes. */
static unsigned operand_alignment(unsigned size)
{
    return size > 16 ? 16 : size;
}

/* Instructions whose masked-out elements do not touch memory (without T_FAULT_SUPP: are not stored
 * but fault all the same). With none left not even a demand for alignment remains. */
static bool run_masked(struct vcpu *v, const struct insn *i, const struct thunk *t)
{
    struct native_call *call = native_block(v->native);
    const struct insn_row *row = insn_row(i);
    unsigned elem = 1u << (row->traits >> 29 & 3);
    unsigned size = t->mem_size;
    u64 mask = active_elements(v, i, size, elem);
    u64 gla = unchecked_linear(v, i);
    bool probed;

    /* An expanding load without opmask is an ordinary one. */
    if (!i->aaa && !t->mem_write && row->key.space == SPACE_EVEX)
        return run_memory(v, i, t, operand_alignment(size));
    if (mask && !alignment_holds(v, i, gla, size))
        return raise_gp(v, 0);
    if (t->mem_read && !read_active(v, i, call->mem, size, elem, mask))
        return false;
    if (!t->mem_write)
        return native_execute(v, i, t);
    if (row->traits & T_FAULT_SUPP)
        probed = probe_elements(v, i, size, elem, mask);
    else
        probed = mem_linear(v, i, size, ACCESS_WRITE, &gla) &&
                 lin_aligned(v, gla, operand_alignment(size)) && lin_probe_write(v, gla, size);
    return probed && native_execute(v, i, t) && write_elements(v, i, call->mem, size, elem, mask);
}

bool op_native(struct vcpu *v, const struct insn *i)
{
    const struct insn_row *row = insn_row(i);
    const struct thunk *t;

    if (unlikely(!native_available(v->native)))
        return raise_ud(v); /* FCMOVcc has the feature of CMOVcc */
    if (!fpu_check(v, i))
        return v->repeat;
    if (row->traits & T_FPU)
        return x87_native(v, i);
    t = native_thunk(v->native, i);
    if (!t->mem_size)
        return native_execute(v, i, t);
    if (i->aaa && (t->mem_write || (row->traits & T_FAULT_SUPP)))
        return run_masked(v, i, t);
    if ((row->traits & T_DENSE) || ((i->flags & I_VEX) && (row->traits & T_FAULT_SUPP)))
        return run_masked(v, i, t);
    return run_memory(v, i, t, operand_alignment(t->mem_size));
}
