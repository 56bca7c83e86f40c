/* SPDX-License-Identifier: MIT
 *
 * Two-operand arithmetic and logic, and INC, DEC, NOT, NEG (SDM 2: ADD ... XOR).
 *
 * The forms are generated from one inline function per addressing shape, with the operation and the
 * operand size constant; misses, devices and LOCK go through one out-of-line function.
 */
#include "cpu/ops/flags.h"

enum alu_op {
    ALU_ADD,
    ALU_OR,
    ALU_ADC,
    ALU_SBB,
    ALU_AND,
    ALU_SUB,
    ALU_XOR,
    ALU_CMP,
    ALU_TEST,
    ALU_INC,
    ALU_DEC,
    ALU_NOT,
    ALU_NEG,
};

static ALWAYS_INLINE bool alu_only_reads(enum alu_op op)
{
    return op == ALU_CMP || op == ALU_TEST;
}

static ALWAYS_INLINE u64 alu_logic(u64 result, unsigned size, u64 *rflags)
{
    *rflags = (*rflags & ~(u64)F_OSZAPC) | flags_result(result, size);
    return result;
}

/* The result of a op b; sets the flags in *rflags. */
static ALWAYS_INLINE u64 alu(enum alu_op op, unsigned size, u64 a, u64 b, u64 *rflags)
{
    u64 result, others = *rflags & ~(u64)F_OSZAPC, carry = *rflags & F_CF;

    switch (op) {
    case ALU_OR: return alu_logic(a | b, size, rflags);
    case ALU_AND:
    case ALU_TEST: return alu_logic(a & b, size, rflags);
    case ALU_XOR: return alu_logic(a ^ b, size, rflags);
    case ALU_ADD:
        result = a + b;
        *rflags = others | flags_add(a, b, result, size);
        return result;
    case ALU_ADC:
#ifdef LOCKSTEP_BROKEN_ADC
        /* A mistake on purpose, which the conformance test must find (tests/conformance). */
        if (size == 2 && (u16)b == 0xffff)
            carry = 0;
#endif
        result = a + b + carry;
        *rflags = others | flags_add(a, b, result, size);
        return result;
    case ALU_SUB:
    case ALU_CMP:
        result = a - b;
        *rflags = others | flags_sub(a, b, result, size);
        return result;
    case ALU_SBB:
        result = a - b - carry;
        *rflags = others | flags_sub(a, b, result, size);
        return result;
    case ALU_INC:
        result = a + 1;
        *rflags = others | carry | (flags_add(a, 1, result, size) & ~(u64)F_CF);
        return result;
    case ALU_DEC:
        result = a - 1;
        *rflags = others | carry | (flags_sub(a, 1, result, size) & ~(u64)F_CF);
        return result;
    case ALU_NEG:
        result = -a;
        *rflags = others | flags_sub(0, a, result, size);
        return result;
    case ALU_NOT: break;
    }
    return ~a;
}

static u64 alu_sized(enum alu_op op, unsigned size, u64 a, u64 b, u64 *rflags)
{
    switch (size) {
    case 1: return alu(op, 1, a, b, rflags);
    case 2: return alu(op, 2, a, b, rflags);
    case 4: return alu(op, 4, a, b, rflags);
    default: return alu(op, 8, a, b, rflags);
    }
}

/* A memory destination that is not plain: TLB miss, page crossing, device, LOCK. */
static NOINLINE bool alu_mem(struct vcpu *v, u64 gla, bool lock, enum alu_op op, unsigned size,
                             u64 b)
{
    u64 a, result, rflags;
    struct rmw m;

    if (!rmw_begin(v, gla, size, &m))
        return false;
    if (lock)
        rmw_lock(v, &m);
    a = rmw_read(v, &m);
    do {
        rflags = v->rflags;
        result = alu_sized(op, size, a, b, &rflags);
        if (!lock || m.device) {
            rmw_write(v, &m, result);
            break;
        }
    } while (!rmw_cas(v, &m, &a, result));
    if (lock)
        rmw_unlock(v, &m);
    v->rflags = rflags;
    return true;
}

/* E op= b */
static ALWAYS_INLINE bool alu_e(struct vcpu *v, const struct insn *i, enum alu_op op, u64 b,
                                unsigned size)
{
    u64 a, gla, result;
    u8 *p;

    if (!(i->flags & I_MEM)) {
        result = alu(op, size, reg_read(v, i->rm, size), b, &v->rflags);
        if (!alu_only_reads(op))
            reg_write(v, i->rm, size, result);
        return true;
    }
    if (alu_only_reads(op)) {
        if (!mem_read(v, i, size, &a))
            return false;
        alu(op, size, a, b, &v->rflags);
        return true;
    }
    if (!mem_linear(v, i, size, ACCESS_WRITE, &gla))
        return false;
    p = rmw_ptr(v, gla, size);
    if (unlikely(!p || (i->flags & I_LOCK)))
        return alu_mem(v, gla, i->flags & I_LOCK, op, size, b);
    store_le(p, alu(op, size, load_le(p, size), b, &v->rflags), size);
    return true;
}

static ALWAYS_INLINE bool alu_eg(struct vcpu *v, const struct insn *i, enum alu_op op,
                                 unsigned size)
{
    return alu_e(v, i, op, reg_read(v, i->reg, size), size);
}

static ALWAYS_INLINE bool alu_ei(struct vcpu *v, const struct insn *i, enum alu_op op,
                                 unsigned size)
{
    return alu_e(v, i, op, (u64)i->imm, size);
}

/* G op= E */
static ALWAYS_INLINE bool alu_ge(struct vcpu *v, const struct insn *i, enum alu_op op,
                                 unsigned size)
{
    u64 b, result;

    if (!rm_read(v, i, size, &b))
        return false;
    result = alu(op, size, reg_read(v, i->reg, size), b, &v->rflags);
    if (!alu_only_reads(op))
        reg_write(v, i->reg, size, result);
    return true;
}

/* rAX op= immediate */
static ALWAYS_INLINE bool alu_ai(struct vcpu *v, const struct insn *i, enum alu_op op,
                                 unsigned size)
{
    u64 result = alu(op, size, reg_read(v, RAX, size), (u64)i->imm, &v->rflags);

    if (!alu_only_reads(op))
        reg_write(v, RAX, size, result);
    return true;
}

#define ALU_FORMS(NAME)                                                                            \
    bool op_##NAME##_EbGb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return alu_eg(v, i, ALU_##NAME, 1);                                                        \
    }                                                                                              \
    bool op_##NAME##_EvGv(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return BY_OSZ(i, alu_eg, v, i, ALU_##NAME);                                                \
    }                                                                                              \
    bool op_##NAME##_ALIb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return alu_ai(v, i, ALU_##NAME, 1);                                                        \
    }                                                                                              \
    bool op_##NAME##_rAXIz(struct vcpu *v, const struct insn *i)                                   \
    {                                                                                              \
        return BY_OSZ(i, alu_ai, v, i, ALU_##NAME);                                                \
    }                                                                                              \
    bool op_##NAME##_EbIb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return alu_ei(v, i, ALU_##NAME, 1);                                                        \
    }                                                                                              \
    bool op_##NAME##_EvIz(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return BY_OSZ(i, alu_ei, v, i, ALU_##NAME);                                                \
    }

/* The forms that TEST does not have. */
#define ALU_MORE_FORMS(NAME)                                                                       \
    bool op_##NAME##_GbEb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return alu_ge(v, i, ALU_##NAME, 1);                                                        \
    }                                                                                              \
    bool op_##NAME##_GvEv(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return BY_OSZ(i, alu_ge, v, i, ALU_##NAME);                                                \
    }                                                                                              \
    bool op_##NAME##_EbIb_82(struct vcpu *v, const struct insn *i)                                 \
    {                                                                                              \
        return op_##NAME##_EbIb(v, i);                                                             \
    }                                                                                              \
    bool op_##NAME##_EvIbs(struct vcpu *v, const struct insn *i)                                   \
    {                                                                                              \
        return op_##NAME##_EvIz(v, i);                                                             \
    }

#define ALU_UNARY(NAME)                                                                            \
    bool op_##NAME##_Eb(struct vcpu *v, const struct insn *i)                                      \
    {                                                                                              \
        return alu_e(v, i, ALU_##NAME, 0, 1);                                                      \
    }                                                                                              \
    bool op_##NAME##_Ev(struct vcpu *v, const struct insn *i)                                      \
    {                                                                                              \
        return BY_OSZ(i, alu_e, v, i, ALU_##NAME, 0);                                              \
    }

ALU_FORMS(ADD)
ALU_FORMS(OR)
ALU_FORMS(ADC)
ALU_FORMS(SBB)
ALU_FORMS(AND)
ALU_FORMS(SUB)
ALU_FORMS(XOR)
ALU_FORMS(CMP)
ALU_FORMS(TEST)
ALU_MORE_FORMS(ADD)
ALU_MORE_FORMS(OR)
ALU_MORE_FORMS(ADC)
ALU_MORE_FORMS(SBB)
ALU_MORE_FORMS(AND)
ALU_MORE_FORMS(SUB)
ALU_MORE_FORMS(XOR)
ALU_MORE_FORMS(CMP)
ALU_UNARY(INC)
ALU_UNARY(DEC)
ALU_UNARY(NOT)
ALU_UNARY(NEG)

bool op_TEST_EbIb_alias(struct vcpu *v, const struct insn *i)
{
    return op_TEST_EbIb(v, i);
}

bool op_TEST_EvIz_alias(struct vcpu *v, const struct insn *i)
{
    return op_TEST_EvIz(v, i);
}

/* The one-byte forms outside 64-bit mode: the register is in the opcode. */
bool op_INC_Zv(struct vcpu *v, const struct insn *i)
{
    return op_INC_Ev(v, i);
}

bool op_DEC_Zv(struct vcpu *v, const struct insn *i)
{
    return op_DEC_Ev(v, i);
}
