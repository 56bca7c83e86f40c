/* SPDX-License-Identifier: MIT
 *
 * What integer, string and bit rows want of registers and memory so that their cases are worth
 * running: counts, dividends, pointers, selectors; and the flags that operands leave undefined.
 */
#include "frontend/conform/generate_internal.h"

enum setup {
    SETUP_NONE,
    SETUP_ROTATE, /* count in CL or an immediate */
    SETUP_SHIFT,
    SETUP_SHIFT2, /* SHLD, SHRD */
    SETUP_DIV,
    SETUP_XLAT,
    SETUP_MASKMOV,
    SETUP_CLZERO,
    SETUP_BIT, /* BT Ev,Gv and its kin */
    SETUP_CMPXCHG,
    SETUP_CMPXCHG8,
    SETUP_SELECTOR, /* the operand is a selector */
    SETUP_POINTER,  /* the operand is a far pointer to be loaded */
    SETUP_BOUND,
    SETUP_PCMPESTR,
};

static const u8 setups[INSN_COUNT] = {
    [INSN_ROL_EbIb... INSN_RCR_EvCL] = SETUP_ROTATE,
    [INSN_SHL_EbIb... INSN_SAR_EvCL] = SETUP_SHIFT,
    [INSN_SHLD_EvGvIb... INSN_SHRD_EvGvCL] = SETUP_SHIFT2,
    [INSN_DIV_Eb... INSN_IDIV_Ev] = SETUP_DIV,
    [INSN_XLAT] = SETUP_XLAT,
    [INSN_MASKMOVQ_PqNq] = SETUP_MASKMOV,
    [INSN_MASKMOVDQU_VdqUdq] = SETUP_MASKMOV,
    [INSN_VMASKMOVDQU_VdqUdq] = SETUP_MASKMOV,
    [INSN_CLZERO] = SETUP_CLZERO,
    [INSN_BT_EvGv] = SETUP_BIT,
    [INSN_BTS_EvGv] = SETUP_BIT,
    [INSN_BTR_EvGv] = SETUP_BIT,
    [INSN_BTC_EvGv] = SETUP_BIT,
    [INSN_CMPXCHG_EbGb] = SETUP_CMPXCHG,
    [INSN_CMPXCHG_EvGv] = SETUP_CMPXCHG,
    [INSN_CMPXCHG8B_Mq] = SETUP_CMPXCHG8,
    [INSN_CMPXCHG16B_Mdq] = SETUP_CMPXCHG8,
    [INSN_MOV_SwEw] = SETUP_SELECTOR,
    [INSN_ARPL_EwGw] = SETUP_SELECTOR,
    [INSN_LAR_GvEw] = SETUP_SELECTOR,
    [INSN_LSL_GvEw] = SETUP_SELECTOR,
    [INSN_VERR_Ew] = SETUP_SELECTOR,
    [INSN_VERW_Ew] = SETUP_SELECTOR,
    [INSN_LES_GvMp... INSN_LGS_GvMp] = SETUP_POINTER,
    [INSN_BOUND_GvMa] = SETUP_BOUND,
    [INSN_PCMPESTRM_VdqWdqIb] = SETUP_PCMPESTR,
    [INSN_PCMPESTRI_VdqWdqIb] = SETUP_PCMPESTR,
    [INSN_VPCMPESTRM_VdqWdqIb] = SETUP_PCMPESTR,
    [INSN_VPCMPESTRI_VdqWdqIb] = SETUP_PCMPESTR,
};

/* -- shifts -- */

static bool count_in_cl(const struct insn_row *row)
{
    return row->operands[1] == OPND_CL || row->operands[2] == OPND_CL;
}

static void set_count(struct build *b)
{
    unsigned width = 8u * b->i.osz;
    const unsigned counts[] = {0, 1, width - 1, width, width + 1, 31, 32, 33, 63, 64, 9, 17};
    unsigned count = rng_one_in(&b->rng, 3) ? counts[rng_below(&b->rng, ARRAY_SIZE(counts))]
                                            : rng_below(&b->rng, 2 * width);

    if (rng_one_in(&b->rng, 16))
        count = rng_below(&b->rng, 256);
    if (count_in_cl(b->row))
        store_le(&b->c->in.gpr[RCX], count, 1);
    else if (b->enc.imm_size == 1)
        b->enc.bytes[b->enc.imm_at] = (u8)count;
}

/* Flags that this count leaves undefined (SDM 2, RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD). */
static u32 undefined_after_shift(const struct build *b, enum setup setup)
{
    unsigned width = 8u * b->i.osz, count = 1;
    u32 row = b->row->flags_undefined;

    if (count_in_cl(b->row))
        count = (u8)b->c->in.gpr[RCX];
    else if (b->enc.imm_size == 1)
        count = b->enc.bytes[b->enc.imm_at];
    count &= b->i.osz == 8 ? 63 : 31;
    if (count == 0)
        return 0;
    if (setup == SETUP_ROTATE)
        return count == 1 ? 0 : row;
    if (count == 1)
        return row & F_AF;
    if (setup == SETUP_SHIFT2)
        return count <= width ? row & (F_OF | F_AF) : row;
    return count <= width ? row & ~(u32)F_CF : row;
}

/* -- division -- */

/* A quotient that fits, for the most part. */
static void set_dividend(struct build *b)
{
    struct conform_state *s = &b->c->in;
    unsigned osz = b->i.osz;
    bool is_signed = b->i.id == INSN_IDIV_Eb || b->i.id == INSN_IDIV_Ev;
    u64 low = osz == 1 ? s->gpr[RAX] & 0xff : s->gpr[RAX] & size_mask(osz), high = 0;

    if (rng_one_in(&b->rng, 5))
        return;
    if (is_signed && (sign_extend(low, osz) >> 63))
        high = ~0ull;
    else if (rng_one_in(&b->rng, 3))
        high = rng_below(&b->rng, 64);
    if (osz == 1)
        store_le(&s->gpr[RAX], low | (high & 0xff) << 8, 2);
    else
        store_le(&s->gpr[RDX], high, osz);
}

/* -- strings -- */

/* How many iterations: none, a few, as many as fit, more than fit. */
static unsigned choose_iterations(struct build *b, unsigned size)
{
    switch (rng_below(&b->rng, 8)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return rng_below(&b->rng, ARENA_DATA_SIZE / size);
    case 3: return ARENA_DATA_SIZE / size + rng_below(&b->rng, 4);
    default: return rng_below(&b->rng, 24);
    }
}

/* A pointer register to an operand that is span bytes long, downwards with DF. */
static u64 string_pointer(struct build *b, unsigned seg, unsigned n, unsigned size, u64 span)
{
    u64 base = segment_base(&b->c->in, b->form->mode, seg), linear;
    unsigned room = span < ARENA_DATA_SIZE ? (unsigned)span : ARENA_DATA_SIZE;

    linear = address_choose(b, base, room ? room : size, 1);
    if (b->c->in.rflags & F_DF)
        linear += room > size ? room - size : 0;
    case_set_gpr(b, n, linear - base, b->i.asz);
    return linear;
}

static void setup_string(struct build *b)
{
    unsigned size = b->i.osz, count = 1;
    u64 source, destination, overlapping;
    u8 bytes[CASE_PATCH_BYTES];

    if (b->i.flags & (I_REP | I_REPNE)) {
        count = choose_iterations(b, size);
        case_set_gpr(b, RCX, count, b->i.asz);
    }
    source = string_pointer(b, b->i.seg, RSI, size, (u64)count * size);
    destination = string_pointer(b, SEG_ES, RDI, size, (u64)count * size);
    /* Overlapping, or the same; but not in the code: when a processor notices that REP has
     * overwritten the instruction itself depends on interrupts. */
    overlapping = source + (rng_one_in(&b->rng, 2) ? 0 : (u64)rng_below(&b->rng, 32) - 16);
    if (rng_one_in(&b->rng, 3) && overlapping - ARENA_CODE >= ARENA_CODE_SIZE) {
        destination = overlapping;
        case_set_gpr(b, RDI, destination - segment_base(&b->c->in, b->form->mode, SEG_ES),
                     b->i.asz);
    }
    if (rng_one_in(&b->rng, 2)) { /* something that repeats: the accumulator, mostly */
        for (unsigned n = 0; n < sizeof(bytes); n += 8) {
            u64 value = 0;

            for (unsigned at = 0; at < 8; at += size)
                memcpy((u8 *)&value + at, &b->c->in.gpr[RAX], size);
            if (rng_one_in(&b->rng, 24))
                value ^= BIT(rng_below(&b->rng, 64));
            store_le(bytes + n, value, 8);
        }
        case_patch(b->c, destination, bytes, sizeof(bytes));
    }
}

/* -- pointers in registers -- */

static void setup_pointer(struct build *b, unsigned n, unsigned size, u64 index)
{
    u64 base = segment_base(&b->c->in, b->form->mode, b->i.seg);

    b->linear = address_choose(b, base, size, 1);
    case_set_gpr(b, n, b->linear - base - index, b->i.asz);
}

/* A bit offset that stays in the neighbourhood of the operand. */
static void setup_bit(struct build *b)
{
    int bits = rng_one_in(&b->rng, 8) ? 8 * 8192 : 512;

    if (b->i.flags & I_MEM)
        case_set_gpr(b, b->i.reg, (u64)((i64)rng_below(&b->rng, (u32)bits * 2) - bits), b->i.osz);
}

void setup_registers(struct build *b)
{
    if (setup_control_registers(b) || setup_state_registers(b))
        return;
    if (b->row->traits & T_REP) {
        setup_string(b);
        return;
    }
    switch ((enum setup)setups[b->i.id]) {
    case SETUP_ROTATE:
    case SETUP_SHIFT:
    case SETUP_SHIFT2: set_count(b); break;
    case SETUP_DIV: set_dividend(b); break;
    case SETUP_XLAT: setup_pointer(b, RBX, 1, (u8)b->c->in.gpr[RAX]); break;
    case SETUP_MASKMOV: setup_pointer(b, RDI, 16, 0); break;
    case SETUP_CLZERO: setup_pointer(b, RAX, 64, 0); break;
    case SETUP_BIT: setup_bit(b); break;
    case SETUP_SELECTOR:
        if (!(b->i.flags & I_MEM))
            case_set_gpr(b, b->i.rm, value_selector(&b->rng), 2);
        break;
    case SETUP_PCMPESTR:
        for (unsigned n = RAX; n <= RDX; n += RDX)
            if (!rng_one_in(&b->rng, 4))
                b->c->in.gpr[n] = (u64)(i64)((int)rng_below(&b->rng, 40) - 20);
        break;
    default: break;
    }
    /* MOV AL, [moffs]: the address is in the instruction. */
    if (b->enc.disp_size && !(b->i.flags & I_MODRM)) {
        u64 base = segment_base(&b->c->in, b->form->mode, b->i.seg);

        b->linear = address_choose(b, base, b->i.osz, 1);
        store_le(b->enc.bytes + b->enc.disp_at, b->linear - base, b->enc.disp_size);
        b->size = b->i.osz;
        b->has_memory = true;
    }
}

/* -- contents of memory -- */

static void patch_value(struct build *b, const void *bytes, unsigned size)
{
    case_patch(b->c, b->linear, bytes, size);
}

/* The accumulator, or EDX:EAX, as the destination holds it, half of the time. */
static void setup_compare(struct build *b)
{
    const struct conform_state *s = &b->c->in;
    u64 pair[2] = {s->gpr[RAX], s->gpr[RDX]};

    if (b->i.id == INSN_CMPXCHG8B_Mq) {
        pair[0] = (u32)s->gpr[RAX] | s->gpr[RDX] << 32;
        pair[1] = rng_next(&b->rng);
    }
    if (rng_one_in(&b->rng, 2))
        pair[rng_below(&b->rng, 2)] ^= BIT(rng_below(&b->rng, 64));
    if (b->has_memory)
        patch_value(b, pair, b->size < 16 ? b->size : 16);
    else if (b->i.rm < 16 && !(b->fixed >> b->i.rm & 1))
        b->c->in.gpr[b->i.rm] = pair[0];
}

static void patch_far_pointer(struct build *b)
{
    static const u16 writable[] = {SEL_FLAT, SEL_DATA16, SEL_STACK16};
    u16 selector = rng_one_in(&b->rng, 2) ? value_selector(&b->rng)
                                          : writable[rng_below(&b->rng, ARRAY_SIZE(writable))];
    u8 bytes[10];

    store_le(bytes, value_int(&b->rng), 8);
    store_le(bytes + b->i.osz, selector, 2);
    patch_value(b, bytes, b->i.osz + 2u);
}

static void patch_bounds(struct build *b)
{
    u64 index = b->c->in.gpr[b->i.reg];
    u8 bytes[16];

    store_le(bytes, index - rng_below(&b->rng, 4) + (rng_one_in(&b->rng, 6) ? 4 : 0), 8);
    store_le(bytes + b->i.osz, index + rng_below(&b->rng, 4) - (rng_one_in(&b->rng, 6) ? 4 : 0), 8);
    patch_value(b, bytes, 2u * b->i.osz);
}

static void patch_operand(struct build *b)
{
    u8 bytes[CASE_PATCH_BYTES];
    unsigned size = b->size < sizeof(bytes) ? b->size : sizeof(bytes);

    value_fill(&b->rng, value_kind_of(b, &b->rng), bytes, size);
    patch_value(b, bytes, size);
}

void setup_memory(struct build *b)
{
    enum setup setup = (enum setup)setups[b->i.id];
    u16 selector;

    if (setup_control_memory(b) || setup_state_memory(b))
        return;
    switch (setup) {
    case SETUP_ROTATE:
    case SETUP_SHIFT:
    case SETUP_SHIFT2: b->c->undefined_flags = undefined_after_shift(b, setup); break;
    case SETUP_CMPXCHG:
    case SETUP_CMPXCHG8: setup_compare(b); return;
    case SETUP_SELECTOR:
        selector = value_selector(&b->rng);
        if (b->has_memory)
            patch_value(b, &selector, 2);
        return;
    case SETUP_POINTER: patch_far_pointer(b); return;
    case SETUP_BOUND: patch_bounds(b); return;
    default: break;
    }
    if (b->has_memory)
        patch_operand(b);
}
