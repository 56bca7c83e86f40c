/* SPDX-License-Identifier: MIT
 *
 * Bit test and scan, counts, CRC32, ADCX and ADOX (SDM 2).
 *
 * Undefined flags, as on Zen 4: BT and its kin change CF only; BSF and BSR set PF by the result and
 * clear the rest (Zen 3 keeps it), a zero source leaves the destination untouched; LZCNT and TZCNT
 * clear SF, AF and PF and keep OF.
 */
#include "cpu/ops/flags.h"

enum bit_op { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static ALWAYS_INLINE u64 bit_change(enum bit_op op, u64 value, u64 mask)
{
    switch (op) {
    case BIT_SET: return value | mask;
    case BIT_RESET: return value & ~mask;
    case BIT_COMPLEMENT: return value ^ mask;
    case BIT_TEST: break;
    }
    return value;
}

/* At gla; mask has one bit. */
static bool bit_memory(struct vcpu *v, const struct insn *i, enum bit_op op, u64 offset, u64 mask)
{
    struct rmw m;
    u64 gla, old;

    if (op == BIT_TEST) {
        if (!seg_read(v, (enum seg)i->seg, offset, i->osz, &old))
            return false;
    } else {
        if (!seg_to_linear(v, (enum seg)i->seg, offset, i->osz, ACCESS_WRITE, &gla) ||
            !rmw_begin(v, gla, i->osz, &m))
            return false;
        if (i->flags & I_LOCK)
            rmw_lock(v, &m);
        old = rmw_read(v, &m);
        if (!(i->flags & I_LOCK) || m.device) {
            rmw_write(v, &m, bit_change(op, old, mask));
        } else {
            while (!rmw_cas(v, &m, &old, bit_change(op, old, mask)))
                ;
        }
        if (i->flags & I_LOCK)
            rmw_unlock(v, &m);
    }
    flags_set(v, F_CF, (old & mask) != 0);
    return true;
}

static ALWAYS_INLINE bool bit_register(struct vcpu *v, const struct insn *i, enum bit_op op,
                                       u64 mask)
{
    u64 old = reg_read(v, i->rm, i->osz);

    if (op != BIT_TEST)
        reg_write(v, i->rm, i->osz, bit_change(op, old, mask));
    flags_set(v, F_CF, (old & mask) != 0);
    return true;
}

/* The bit number in a register is signed and reaches beyond a memory operand (SDM 2A 3.1.1.9). */
static ALWAYS_INLINE bool bit_eg(struct vcpu *v, const struct insn *i, enum bit_op op)
{
    const unsigned bits = i->osz * 8;
    u64 number = sign_extend(v->gpr[i->reg], i->osz), offset;

    if (!(i->flags & I_MEM))
        return bit_register(v, i, op, 1ull << (number & (bits - 1)));
    offset = mem_offset(v, i) + (u64)((i64)number >> __builtin_ctz(bits)) * i->osz;
    return bit_memory(v, i, op, size_cut(offset, i->asz), 1ull << (number & (bits - 1)));
}

static ALWAYS_INLINE bool bit_ei(struct vcpu *v, const struct insn *i, enum bit_op op)
{
    u64 mask = 1ull << ((u64)i->imm & (i->osz * 8u - 1));

    if (!(i->flags & I_MEM))
        return bit_register(v, i, op, mask);
    return bit_memory(v, i, op, mem_offset(v, i), mask);
}

#define BIT_FORMS(NAME, OP)                                                                        \
    bool op_##NAME##_EvGv(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return bit_eg(v, i, OP);                                                                   \
    }                                                                                              \
    bool op_##NAME##_EvIb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return bit_ei(v, i, OP);                                                                   \
    }

BIT_FORMS(BT, BIT_TEST)
BIT_FORMS(BTS, BIT_SET)
BIT_FORMS(BTR, BIT_RESET)
BIT_FORMS(BTC, BIT_COMPLEMENT)

/* -- scans and counts -- */

static bool bit_scan(struct vcpu *v, const struct insn *i, bool reverse)
{
    u64 value, result = 0;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    if (value) {
        result = (u64)(reverse ? 63 - __builtin_clzll(value) : __builtin_ctzll(value));
        reg_write(v, i->reg, i->osz, result);
    }
    flags_set(v, F_OSZAPC, (value ? 0 : F_ZF) | flag_parity(result));
    return true;
}

bool op_BSF_GvEv(struct vcpu *v, const struct insn *i)
{
    return bit_scan(v, i, false);
}

bool op_BSR_GvEv(struct vcpu *v, const struct insn *i)
{
    return bit_scan(v, i, true);
}

static bool count_zeros(struct vcpu *v, const struct insn *i, bool leading)
{
    const unsigned bits = i->osz * 8;
    u64 value, result;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    if (!value)
        result = bits;
    else
        result = (u64)(leading ? __builtin_clzll(value << (64 - bits)) : __builtin_ctzll(value));
    reg_write(v, i->reg, i->osz, result);
    flags_set(v, F_SF | F_ZF | F_AF | F_PF | F_CF, (value ? 0 : F_CF) | (result ? 0 : F_ZF));
    return true;
}

bool op_TZCNT_GvEv(struct vcpu *v, const struct insn *i)
{
    return count_zeros(v, i, false);
}

bool op_LZCNT_GvEv(struct vcpu *v, const struct insn *i)
{
    return count_zeros(v, i, true);
}

bool op_POPCNT_GvEv(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    reg_write(v, i->reg, i->osz, (u64)__builtin_popcountll(value));
    flags_set(v, F_OSZAPC, value ? 0 : F_ZF);
    return true;
}

/* -- CRC32 with the polynomial 11EDC6F41h, bit-reflected, four bits at a time -- */

static bool crc32(struct vcpu *v, const struct insn *i, unsigned size)
{
    static const u32 nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    u32 crc = (u32)v->gpr[i->reg];
    u64 value;

    if (!rm_read(v, i, size, &value))
        return false;
    for (unsigned n = 0; n < size * 2; n++, value >>= 4)
        crc = crc >> 4 ^ nibble[(crc ^ value) & 15];
    v->gpr[i->reg] = crc;
    return true;
}

bool op_CRC32_GyEb(struct vcpu *v, const struct insn *i)
{
    return crc32(v, i, 1);
}

bool op_CRC32_GyEv(struct vcpu *v, const struct insn *i)
{
    return crc32(v, i, i->osz);
}

/* -- additions with a private carry -- */

static bool add_carry(struct vcpu *v, const struct insn *i, u64 flag)
{
    u64 a = reg_read(v, i->reg, i->osz), b, carry = v->rflags & flag ? 1 : 0;
    u128 sum;

    if (!rm_read(v, i, i->osz, &b))
        return false;
    sum = (u128)a + b + carry;
    reg_write(v, i->reg, i->osz, (u64)sum);
    flags_set(v, flag, sum >> i->osz * 8 ? flag : 0);
    return true;
}

bool op_ADCX_GyEy(struct vcpu *v, const struct insn *i)
{
    return add_carry(v, i, F_CF);
}

bool op_ADOX_GyEy(struct vcpu *v, const struct insn *i)
{
    return add_carry(v, i, F_OF);
}
