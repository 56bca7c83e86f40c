/* SPDX-License-Identifier: MIT
 *
 * One instruction of the table inside a sequence: registers that are reserved stay as they are,
 * memory operands stay in the data pages.
 */
#include "frontend/conform/sequence.h"

static bool touches_reserved(const struct insn *i)
{
    const struct insn_row *row = insn_row(i);

    for (unsigned n = 0; n < 4; n++) {
        const struct operand_info *o = &operand_infos[row->operands[n]];
        unsigned reg = o->field == FIELD_REG ? i->reg : o->field == FIELD_VVVV ? i->vvvv : i->rm;

        if (o->file != FILE_GPR && o->file != FILE_GPR8)
            continue;
        if (o->field == FIELD_RM && (i->flags & I_MEM))
            continue;
        if (o->file == FILE_GPR8 && (reg & REG_HIGH))
            reg &= 3;
        if (RESERVED >> (reg & 31) & 1)
            return true;
    }
    return false;
}

/* A direct address leads anywhere within reach of the middle of the data pages. */
static void set_direct(struct sequence *s, struct encoding *enc, const struct insn *i)
{
    const struct conform_state *state = &s->b->c->in;
    u64 middle = ARENA_DATA + ARENA_DATA_SIZE / 2 - segment_base(state, sequence_mode(s), i->seg);
    u64 at = middle + rng_below(s->r, 2 * REACH) - REACH;

    if ((insn_row(i)->traits & T_ALIGN) || i->id == INSN_CMPXCHG16B_Mdq)
        at = align_down(at, 64);
    if (i->base == REG_IP)
        at -= sequence_address(s, s->at + enc->length);
    store_le(enc->bytes + enc->disp_at, at, enc->disp_size);
}

/* Aligns the displacement for operands that must be. false: it is not within reach. */
static bool set_pointer(struct encoding *enc, const struct insn *i)
{
    unsigned size = insn_mem_size(i);
    i64 disp = i->disp;

    if ((insn_row(i)->traits & T_ALIGN) || i->id == INSN_CMPXCHG16B_Mdq) {
        /* A compressed displacement is a multiple of the size as it is. */
        if (insn_row(i)->key.space != SPACE_EVEX || enc->disp_size > 1) {
            disp = (i64)align_down((u64)disp, size > 16 ? size : 16);
            store_le(enc->bytes + enc->disp_at, (u64)disp, enc->disp_size);
        }
    }
    return disp >= -REACH && disp <= REACH;
}

static void put_compare(struct sequence *s)
{
    sequence_put(s, 0x83);
    sequence_put(s, 0xc0 | 7 << 3 | rng_below(s->r, 8));
    sequence_put(s, rng_below(s->r, 256));
}

static const struct gen_form *choose_form(struct sequence *s, struct gen_form *own)
{
    static const u8 mix[] = {SAFE_INTEGER, SAFE_INTEGER, SAFE_INTEGER, SAFE_INTEGER,
                             SAFE_INTEGER, SAFE_VECTOR,  SAFE_VECTOR,  SAFE_X87};
    const struct generator *g = s->b->g;
    unsigned mode = sequence_mode(s), group = mix[rng_below(s->r, ARRAY_SIZE(mix))];
    unsigned row = g->safe[mode][group][rng_below(s->r, g->safe_count[mode][group])];
    unsigned first = g->first[row][mode];

    *own = g->specs[first + rng_below(s->r, forms_end(g, row, mode) - first)];
    own->shape = SHAPE_POINTER;
    if (own->memory && rng_one_in(s->r, 4))
        own->shape = rng_one_in(s->r, 3) ? SHAPE_ABSOLUTE : SHAPE_DIRECT;
    return own;
}

/* Division faults too often to leave much of a sequence; an absolute address without ModRM would
 * lead anywhere. */
static bool is_welcome(struct sequence *s, const struct encoding *enc, const struct insn *i)
{
    if (i->id >= INSN_DIV_Eb && i->id <= INSN_IDIV_Ev)
        return rng_one_in(s->r, 8);
    if (i->id == INSN_AAM_Ib)
        return (u8)i->imm != 0;
    return !enc->disp_size || (i->flags & I_MEM);
}

/* FS or GS before a direct address in 64-bit code. */
static void add_segment(struct sequence *s, struct encoding *enc, struct insn *i)
{
    bool fs = rng_one_in(s->r, 2);

    memmove(enc->bytes + 1, enc->bytes, enc->length);
    enc->bytes[0] = fs ? 0x64 : 0x65;
    enc->length++;
    enc->disp_at++;
    i->seg = fs ? SEG_FS : SEG_GS;
}

bool sequence_insn(struct sequence *s)
{
    struct decode_ctx ctx = generate_decode_ctx(s->b->g, sequence_mode(s));
    struct encoding enc;
    struct gen_form own;
    struct insn i;
    const struct gen_form *form = choose_form(s, &own);

    if (form->undefined || (form->p67 && sequence_mode(s) == MODE_32))
        return false;
    encode_form(s->b->g, form, s->r, true, &enc);
    if (insn_decode(&ctx, enc.bytes, enc.length, &i) != DECODE_OK || i.id != form->row)
        return false;
    if (touches_reserved(&i) || !is_welcome(s, &enc, &i))
        return false;
    if ((i.flags & I_MEM) && form->shape == SHAPE_POINTER && !set_pointer(&enc, &i))
        return false;
    if ((i.flags & I_MEM) && form->shape != SHAPE_POINTER) {
        if (sequence_mode(s) == MODE_64 && form->shape == SHAPE_ABSOLUTE && enc.length < 15)
            add_segment(s, &enc, &i);
        set_direct(s, &enc, &i);
    }
    memcpy(s->code + s->at, enc.bytes, enc.length);
    s->at += enc.length;
    if (insn_row(&i)->flags_undefined)
        put_compare(s);
    return true;
}
