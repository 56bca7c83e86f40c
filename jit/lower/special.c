/* SPDX-License-Identifier: MIT
 *
 * Integer instructions whose memory operand is not what their operand letters say: bit strings
 * (SDM 2A 3.1.1.9), direct offsets, XLAT, 16-byte compare-exchange; and VZEROUPPER, which has none.
 */
#include "jit/lower/lower.h"

/* -- BT, BTS, BTR, BTC with a bit string in memory -- */

/* The host's opcode with a register as bit number is the guest's. */
static bool bit_string(const struct insn *i)
{
    switch (i->id) {
    case INSN_BT_EvGv:
    case INSN_BTS_EvGv:
    case INSN_BTR_EvGv:
    case INSN_BTC_EvGv: return i->flags & I_MEM;
    default: return false;
    }
}

/* T1 = the signed bit number. */
static void load_bit_number(struct translator *t, const struct insn *i)
{
    unsigned from = lower_use(t, i->reg, T1);

    switch (i->osz) {
    case 2: emit_op_reg(t->e, EMIT_W, EMIT_0F | 0xbf, from, T1); break; /* movsx */
    case 4: emit_op_reg(t->e, EMIT_W, 0x63, from, T1); break;           /* movsxd */
    default: emit_mov(t->e, T1, from); break;
    }
}

/* T0 += the operand that the bit lies in. */
static void move_to_operand(struct translator *t, const struct insn *i)
{
    static const u8 log2_bits[] = {[2] = 4, [4] = 5, [8] = 6};
    struct emit_mem at = {.base = T0, .index = T1, .scale = (u8)(log2_bits[i->osz] - 3)};

    load_bit_number(t, i);
    emit_op_reg(t->e, EMIT_W, 0xc1, T1, 7); /* sar */
    emit_value(t->e, log2_bits[i->osz], 1);
    emit_lea(t->e, T0, &at, i->asz);
    if (i->asz == 2)
        lower_cut16(t, T0, T0);
}

/* Only CF changes, so it goes into JF from where it is. */
static void carry_to_jf(struct translator *t)
{
    struct emit_mem ah = emit_gs((i32)offsetof(struct vcpu, jit.flags) + 1);

    emit_op_reg(t->e, EMIT_REX, EMIT_0F | 0x90 | CC_B, T1, 0); /* setc t1b */
    emit_op_mem(t->e, 0, 0x80, &ah, 4);                        /* and byte, ~CF */
    emit_value(t->e, 0xfe, 1);
    emit_op_mem(t->e, EMIT_REX, 0x08, &ah, T1); /* or byte, t1b */
}

static void lower_bit_string(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    bool write = i->id != INSN_BT_EvGv;
    u32 prefixes = (i->osz == 2 ? EMIT_66 : i->osz == 8 ? EMIT_W : 0u);
    struct emit_mem at = emit_at(T0, 0);
    struct mem_ref ref;

    lower_save_flags(t);
    lower_ref(t, ji, i->osz, write, &ref);
    if (lower_bounded(t, &ref)) {
        unsigned seg = ref.seg;

        ref.seg = REF_FLAT;
        lower_address(t, &ref, 0);
        move_to_operand(t, i);
        lower_bounded_offset(t, ji, seg, i->osz, write);
    } else {
        lower_address(t, &ref, 0);
        move_to_operand(t, i);
    }
    lower_check(t, ji, i->osz, write);
    if (i->flags & I_LOCK)
        lower_locked(t, ji, &at, i->osz);
    emit_mov32(t->e, T1, lower_use(t, i->reg, T1));
    emit_op_reg(t->e, 0, 0x83, T1, 4); /* and t1d, bits - 1 */
    emit_value(t->e, i->osz * 8u - 1, 1);
    emit_op_mem(t->e, prefixes | (i->flags & I_LOCK ? EMIT_LOCK : 0u), EMIT_0F | i->opcode, &at,
                T1);
    carry_to_jf(t);
}

/* -- direct offsets and XLAT -- */

static bool direct_offset(const struct insn *i)
{
    return i->id == INSN_MOV_ALOb || i->id == INSN_MOV_rAXOv || i->id == INSN_MOV_ObAL ||
           i->id == INSN_MOV_OvrAX;
}

static void direct_ref(const struct translator *t, const struct insn *i, struct mem_ref *ref)
{
    *ref = (struct mem_ref){.base = REG_NONE,
                            .index = REG_NONE,
                            .asz = i->asz,
                            .seg = lower_segment_of(t, i->seg),
                            .size = i->osz,
                            .write = i->id == INSN_MOV_ObAL || i->id == INSN_MOV_OvrAX,
                            .disp = i->imm};
}

static void lower_direct_offset(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    u32 prefixes = (i->osz == 2 ? EMIT_66 : i->osz == 8 ? EMIT_W : 0u);
    struct emit_mem at;
    struct mem_ref ref;

    direct_ref(t, i, &ref);
    at = lower_access(t, ji, &ref);
    emit_op_mem(t->e, prefixes, (ref.write ? 0x88u : 0x8au) | (i->osz > 1), &at, HOST_RAX);
}

static void lower_xlat(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem sum = {.base = T0, .index = T1}, at = emit_at(T0, 0);
    unsigned seg = lower_segment_of(t, ji->insn.seg);

    lower_save_flags(t);
    emit_op_reg(t->e, 0, EMIT_0F | 0xb6, HOST_RAX, T1); /* movzx t1d, al */
    emit_mov(t->e, T0, HOST_RBX);
    emit_lea(t->e, T0, &sum, ji->insn.asz);
    if (ji->insn.asz == 2)
        lower_cut16(t, T0, T0);
    if (seg != REF_FLAT)
        lower_bounded_offset(t, ji, seg, 1, false);
    lower_check(t, ji, 1, false);
    emit_op_mem(t->e, 0, 0x8a, &at, HOST_RAX);
}

/* -- CMPXCHG16B -- */

static void cmpxchg16b_ref(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref)
{
    lower_ref(t, ji, 16, true, ref);
    ref->aligned = true;
}

/* Atomic without LOCK, too, as the body is. */
static void lower_cmpxchg16b(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem at;
    struct mem_ref ref;

    cmpxchg16b_ref(t, ji, &ref);
    at = lower_access(t, ji, &ref);
    lower_need_flags(t);
    emit_op_mem(t->e, EMIT_LOCK | EMIT_W, EMIT_0F | 0xc7, &at, 1);
    t->flags = FLAGS_HOST;
}

/* -- VZEROUPPER -- */

/* Outside 64-bit mode it leaves registers 8 to 15 alone (SDM 2C "VZEROUPPER"), which the host's
 * would not. */
static bool zero_upper(const struct translator *t, const struct insn *i)
{
    const u32 needed = MODE_CODE64 | MODE_AVX;

    return i->id == INSN_VZEROUPPER && (t->block->mode & needed) == needed &&
           (t->j->options.optimisations & JIT_SIMD);
}

static void lower_zero_upper(struct translator *t)
{
    lower_want_vectors(t);
    emit_bytes(t->e, "\xc5\xf8\x77", 3);
}

/* -- which -- */

static bool ours(const struct translator *t, const struct insn *i)
{
    struct insn operand = {.asz = i->asz, .seg = i->seg};

    bool code64 = t->block->mode & MODE_CODE64;

    if (zero_upper(t, i))
        return true;
    if (bit_string(i))
        return lower_can_address(t, i) && (!code64 || i->asz == 8 || i->seg < SEG_FS);
    if (i->id == INSN_XLAT)
        return lower_can_address(t, &operand) && (!code64 || i->seg < SEG_FS);
    return (direct_offset(i) || i->id == INSN_CMPXCHG16B_Mdq) && lower_can_address(t, &operand);
}

bool lower_special_describe(const struct translator *t, const struct jit_insn *ji,
                            struct mem_ref *ref, struct reg_effects *effects)
{
    const struct insn *i = &ji->insn;

    if (!ours(t, i))
        return false;
    if (bit_string(i) || i->id == INSN_VZEROUPPER)
        return true;
    effects->written = BIT(RAX);
    if (direct_offset(i))
        direct_ref(t, i, ref);
    if (i->id == INSN_CMPXCHG16B_Mdq) {
        cmpxchg16b_ref(t, ji, ref);
        effects->written = (u32)(BIT(RAX) | BIT(RDX));
    }
    return true;
}

bool lower_special(struct translator *t, const struct jit_insn *ji)
{
    if (!ours(t, &ji->insn))
        return false;
    if (bit_string(&ji->insn))
        lower_bit_string(t, ji);
    else if (direct_offset(&ji->insn))
        lower_direct_offset(t, ji);
    else if (ji->insn.id == INSN_XLAT)
        lower_xlat(t, ji);
    else if (ji->insn.id == INSN_VZEROUPPER)
        lower_zero_upper(t);
    else
        lower_cmpxchg16b(t, ji);
    return true;
}
