/* SPDX-License-Identifier: MIT
 *
 * A row and a form as bytes: registers, addressing shape and redundant prefixes are chosen at
 * random, every field that the row or the form requires is as required.
 */
#include "frontend/conform/generate_internal.h"

/* Everything that goes into ModRM, SIB, REX, VEX and EVEX; numbers are complete. */
struct fields {
    unsigned reg, rm, vvvv;
    unsigned base, index, scale, mod; /* memory: base 0-15, index 0-15 or vector 0-31 */
    bool rip, no_index;
    unsigned disp_size;
    bool sib;
};

struct writer {
    const struct generator *g;
    const struct gen_form *form;
    const struct insn_row *row;
    struct rng *r;
    struct encoding *enc;
    struct fields f;
    u8 *p;
};

static unsigned address_bytes(const struct gen_form *form)
{
    unsigned code = conform_code_size((enum conform_mode)form->mode);

    if (code == 8)
        return form->p67 ? 4 : 8;
    return (code == 4) != form->p67 ? 4 : 2;
}

/* -- choice of the fields -- */

/* A register number that exists in the file. */
static unsigned choose_register(struct writer *w, unsigned file)
{
    bool wide = w->form->mode == MODE_64;

    switch (file) {
    case FILE_VEC: return rng_below(w->r, !wide ? 8 : w->row->key.space == SPACE_EVEX ? 32 : 16);
    case FILE_MMX:
    case FILE_K:
    case FILE_ST:
    case FILE_DR: return rng_below(w->r, 8);
    case FILE_SEG: {
        unsigned n = rng_below(w->r, 6);

        return n == SEG_CS && operand_infos[w->row->operands[0]].file == FILE_SEG ? SEG_DS : n;
    }
    case FILE_CR: {
        static const u8 numbers[] = {0, 2, 3, 4, 8};

        return numbers[rng_below(w->r, wide ? 5 : 4)];
    }
    default: return rng_below(w->r, wide ? 16 : 8);
    }
}

static void choose_registers(struct writer *w)
{
    struct fields *f = &w->f;

    f->reg = w->row->key.reg ? w->row->key.reg - 1u : rng_below(w->r, 8);
    f->rm = w->row->key.rm ? w->row->key.rm - 1u : rng_below(w->r, 8);
    f->vvvv = 0;
    for (unsigned n = 0; n < 4; n++) {
        const struct operand_info *o = &operand_infos[w->row->operands[n]];

        if (o->field == FIELD_REG)
            f->reg = choose_register(w, o->file);
        else if ((o->field == FIELD_RM && !w->form->memory) || o->field == FIELD_OPCODE)
            f->rm = choose_register(w, o->file);
        else if (o->field == FIELD_VVVV)
            f->vvvv = choose_register(w, o->file);
    }
    /* XCHG rAX, rAX is NOP. */
    if (w->row->key.plus_r && w->row->key.opcode == 0x90 && !f->rm)
        f->rm = RBX;
}

/* Gathers want destination, index and mask to differ (SDM 2, VPGATHERDD). */
static void choose_vector_index(struct writer *w)
{
    struct fields *f = &w->f;
    bool vex = w->row->key.space == SPACE_VEX;

    do {
        f->index = choose_register(w, FILE_VEC);
        if (vex)
            f->vvvv = choose_register(w, FILE_VEC);
    } while (f->index == f->reg || (vex && (f->vvvv == f->reg || f->vvvv == f->index)));
    f->sib = true;
    f->no_index = false;
}

/* The shapes that sequences use. */
static void choose_given_shape(struct writer *w)
{
    struct fields *f = &w->f;
    bool wide = w->form->mode == MODE_64;

    f->index = RSP;
    f->no_index = true;
    if (w->form->shape == SHAPE_POINTER) {
        f->base = RBX;
        f->mod = 1 + rng_below(w->r, 2);
        f->disp_size = f->mod == 1 ? 1 : 4;
        return;
    }
    f->base = RBP;
    f->disp_size = 4;
    f->rip = wide && w->form->shape == SHAPE_DIRECT;
    f->sib = wide && !f->rip;
}

/* [base], [base + index * scale], [index * scale + disp], [disp], [rip + disp]. */
static void choose_shape(struct writer *w)
{
    struct fields *f = &w->f;
    bool wide = w->form->mode == MODE_64, vsib = w->g->rows[w->form->row].vsib;
    unsigned shape = rng_below(w->r, 16);

    f->base = rng_below(w->r, wide ? 16 : 8);
    f->index = rng_below(w->r, wide ? 16 : 8);
    f->scale = rng_below(w->r, 4);
    f->mod = rng_below(w->r, 3);
    f->sib = shape >= 7;
    f->no_index = shape == 7 || f->index == RSP;
    if (!vsib && shape >= 14) { /* no base, no index */
        f->mod = 0;
        f->base = RBP;
        f->no_index = true;
        f->rip = wide && shape == 14;
        f->sib = wide && !f->rip;
    }
    if (vsib)
        choose_vector_index(w);
    if (shape == 13) {
        f->mod = 0;
        f->base = RBP;
        f->sib = true;
    } else if (shape < 13 && f->mod == 0 && (f->base & 7) == RBP && !rng_one_in(w->r, 4)) {
        f->mod = 1; /* [rbp] has a displacement */
    }
    if ((f->base & 7) == RSP)
        f->sib = true;
    if (f->mod == 0 && (f->base & 7) == RBP && !f->sib && wide)
        f->rip = true;
    f->disp_size = f->mod == 1 ? 1 : f->mod == 2 ? 4 : (f->base & 7) == RBP ? 4 : 0;
}

/* -- prefixes -- */

static void put(struct writer *w, unsigned byte)
{
    *w->p++ = (u8)byte;
}

static void put_segment(struct writer *w)
{
    static const u8 overrides[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    /* In 64-bit mode only FS and GS have a meaning. */
    unsigned n = w->form->mode == MODE_64 && !rng_one_in(w->r, 4) ? 4 + rng_below(w->r, 2)
                                                                  : rng_below(w->r, 6);

    put(w, overrides[n]);
}

static bool has_moffs(const struct insn_row *row)
{
    return operand_infos[row->operands[0]].imm == IMM_MOFFS ||
           operand_infos[row->operands[1]].imm == IMM_MOFFS;
}

/* Prefixes that change nothing, or what the form does not care about. */
static void put_redundant(struct writer *w)
{
    const struct gen_form *form = w->form;
    bool legacy = w->row->key.space == SPACE_LEGACY;

    switch (rng_below(w->r, 8)) {
    case 0:
        if (form->p66)
            put(w, 0x66);
        break;
    case 1: /* without memory it changes nothing, or which register counts */
        if (form->p67 || (!form->memory && !has_moffs(w->row)))
            put(w, 0x67);
        break;
    case 2:
        if (legacy && w->row->key.prefix == PFX_ANY && !(w->row->traits & T_REP))
            put(w, rng_one_in(w->r, 2) ? 0xf3 : 0xf2);
        break;
    case 3:
        if (legacy && w->row->size == SZ_BYTE && w->row->key.prefix == PFX_ANY)
            put(w, 0x66);
        break;
    case 4:
        if (form->mode == MODE_64 && legacy) {
            put(w, 0x40 | rng_below(w->r, 16)); /* void: not the last prefix */
            put_segment(w);
        }
        break;
    case 5:
        put_segment(w);
        put_segment(w);
        break;
    default: put_segment(w); break;
    }
}

static void put_legacy_prefixes(struct writer *w, bool plain)
{
    static const u8 mandatory[] = {[PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2};
    const struct gen_form *form = w->form;
    unsigned prefix = w->row->key.prefix;

    if (!plain && rng_one_in(w->r, form->memory ? 3 : 12))
        put_redundant(w);
    if (form->p67)
        put(w, 0x67);
    if (form->lock && rng_one_in(w->r, 2))
        put(w, 0xf0);
    if (form->p66)
        put(w, 0x66);
    if (prefix < ARRAY_SIZE(mandatory) && mandatory[prefix])
        put(w, mandatory[prefix]);
    if (form->rep)
        put(w, form->rep);
}

static void put_lock_once(struct writer *w)
{
    for (const u8 *q = w->enc->bytes; q < w->p; q++)
        if (*q == 0xf0)
            return;
    if (w->form->lock)
        put(w, 0xf0);
}

/* R, X, B of the fields. */
static unsigned field_r(const struct fields *f)
{
    return f->reg >> 3 & 1;
}

static unsigned field_x(const struct writer *w)
{
    return w->form->memory && w->f.sib && !w->f.no_index ? w->f.index >> 3 & 1 : 0;
}

static unsigned field_b(const struct writer *w)
{
    return (w->form->memory ? w->f.rip ? 0 : w->f.base : w->f.rm) >> 3 & 1;
}

/* W of the form, or any where it means nothing. */
static unsigned field_w(struct writer *w, bool plain)
{
    return !plain && w->g->rows[w->form->row].w_ignored ? rng_below(w->r, 2) : w->form->w;
}

static void put_rex_and_escape(struct writer *w, bool plain)
{
    unsigned rex = (rng_one_in(w->r, 3) ? field_w(w, plain) : w->form->w) << 3 |
                   field_r(&w->f) << 2 | field_x(w) << 1 | field_b(w);

    if (w->form->mode == MODE_64 && (rex || (!plain && rng_one_in(w->r, 6))))
        put(w, 0x40 | rex);
    if (w->row->key.map != MAP_1B)
        put(w, 0x0f);
    if (w->row->key.map == MAP_0F38 || w->row->key.map == MAP_0F3A)
        put(w, w->row->key.map == MAP_0F38 ? 0x38 : 0x3a);
}

static unsigned pp_of(const struct insn_row *row)
{
    return row->key.prefix == PFX_66   ? 1
           : row->key.prefix == PFX_F3 ? 2
           : row->key.prefix == PFX_F2 ? 3
                                       : 0;
}

static void put_vex(struct writer *w, bool plain)
{
    unsigned width = field_w(w, plain);
    unsigned r = !field_r(&w->f), x = !field_x(w), b = !field_b(w), vvvv = ~w->f.vvvv & 15;
    unsigned low = vvvv << 3 | (unsigned)w->form->l << 2 | pp_of(w->row);

    if (w->row->key.map == MAP_0F && !width && x && b && rng_one_in(w->r, 2)) {
        put(w, 0xc5);
        put(w, r << 7 | low);
        return;
    }
    put(w, 0xc4);
    put(w, r << 7 | x << 6 | b << 5 | w->row->key.map);
    put(w, width << 7 | low);
}

static void put_evex(struct writer *w)
{
    const struct gen_form *form = w->form;
    bool vector = form->memory && w->g->rows[form->row].vsib;
    unsigned x = form->memory ? field_x(w) : w->f.rm >> 4 & 1;
    unsigned v2 = (vector ? w->f.index : w->f.vvvv) >> 4 & 1, l = form->l;
    unsigned aaa = form->mask == MASK_NONE ? 0 : 1 + rng_below(w->r, 7);

    if (form->evex_b && !form->memory)
        l = w->row->traits & T_ER ? rng_below(w->r, 4) : rng_below(w->r, 3);
    put(w, 0x62);
    put(w, !field_r(&w->f) << 7 | (unsigned)!x << 6 | !field_b(w) << 5 |
               (unsigned)!(w->f.reg >> 4 & 1) << 4 | w->row->key.map);
    put(w, (unsigned)form->w << 7 | (~w->f.vvvv & 15) << 3 | 4 | pp_of(w->row));
    put(w, (unsigned)(form->mask == MASK_ZERO) << 7 | l << 5 | (unsigned)form->evex_b << 4 |
               (unsigned)!v2 << 3 | aaa);
}

/* -- the rest -- */

static void put_disp(struct writer *w, unsigned size)
{
    u64 value = size == 1 ? rng_next(w->r) : (u64)(i64)(int)(rng_below(w->r, 512)) - 256;

    w->enc->disp_at = (u8)(w->p - w->enc->bytes);
    w->enc->disp_size = (u8)size;
    if (!size)
        return;
    store_le(w->p, value, size);
    w->p += size;
}

static void put_memory16(struct writer *w)
{
    unsigned rm = rng_below(w->r, 8), mod = rng_below(w->r, 3);

    if (w->form->shape == SHAPE_POINTER) { /* [BX + disp] */
        rm = 7;
        mod = 1 + rng_below(w->r, 2);
    } else if (w->form->shape != SHAPE_ANY) { /* [disp16] */
        rm = 6;
        mod = 0;
    }

    put(w, mod << 6 | (w->f.reg & 7) << 3 | rm);
    put_disp(w, mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
}

static void put_modrm(struct writer *w)
{
    struct fields *f = &w->f;
    unsigned low = f->rip ? 5 : f->sib ? 4 : f->base & 7;

    if (!w->form->memory) {
        unsigned mod = w->row->key.mod == MOD_IGNORED ? rng_below(w->r, 4) : 3;

        put(w, mod << 6 | (f->reg & 7) << 3 | (f->rm & 7));
        return;
    }
    if (address_bytes(w->form) == 2) {
        put_memory16(w);
        return;
    }
    put(w, f->mod << 6 | (f->reg & 7) << 3 | low);
    if (low == 4 && !f->rip)
        put(w, f->scale << 6 | (f->no_index ? 4 : f->index & 7) << 3 | (f->base & 7));
    put_disp(w, f->disp_size);
}

static unsigned operand_bytes(const struct writer *w)
{
    const struct decode_ctx ctx = {.code_size =
                                       (u8)conform_code_size((enum conform_mode)w->form->mode)};

    if (ctx.code_size != 8)
        return (ctx.code_size == 4) != w->form->p66 ? 4 : 2;
    if (w->form->w)
        return 8;
    if (w->row->size == SZ_F64)
        return w->form->p66 && w->g->model.vendor[0] == 'A' ? 2 : 8;
    return w->form->p66 ? 2 : w->row->size == SZ_D64 ? 8 : 4;
}

static unsigned immediate_bytes(const struct writer *w, const struct operand_info *o)
{
    unsigned osz = operand_bytes(w);

    if (o->field == FIELD_IS4)
        return 1;
    switch (o->imm) {
    case IMM_NONE: return 0;
    case IMM_16: return 2;
    case IMM_Z:
    case IMM_JZ: return osz == 2 ? 2 : 4;
    case IMM_V: return osz;
    case IMM_FAR: return osz + 2;
    case IMM_MOFFS: return address_bytes(w->form);
    default: return 1;
    }
}

static void put_immediates(struct writer *w)
{
    for (unsigned n = 0; n < 4; n++) {
        const struct operand_info *o = &operand_infos[w->row->operands[n]];
        unsigned size = immediate_bytes(w, o), at = (unsigned)(w->p - w->enc->bytes);
        u64 value = rng_one_in(w->r, 2) ? rng_next(w->r) : value_int(w->r);

        if (!size)
            continue;
        if (o->imm == IMM_MOFFS) {
            w->enc->disp_at = (u8)at;
            w->enc->disp_size = (u8)size;
        } else if (!w->enc->imm_size) {
            w->enc->imm_at = (u8)at;
            w->enc->imm_size = (u8)size;
        }
        memcpy(w->p, &value, size < 8 ? size : 8);
        w->p += size;
    }
}

void encode_form(const struct generator *g, const struct gen_form *form, struct rng *r, bool plain,
                 struct encoding *enc)
{
    const struct insn_row *row = &insn_rows[form->row];
    struct writer w = {.g = g, .form = form, .row = row, .r = r, .enc = enc, .p = enc->bytes};

    enc->disp_size = enc->imm_size = enc->disp_at = enc->imm_at = 0;
    choose_registers(&w);
    if (form->memory && form->shape != SHAPE_ANY)
        choose_given_shape(&w);
    else if (form->memory && address_bytes(form) != 2)
        choose_shape(&w);
    if (row->key.space == SPACE_LEGACY) {
        put_legacy_prefixes(&w, plain);
        put_lock_once(&w);
        put_rex_and_escape(&w, plain);
    } else {
        if (!plain && rng_one_in(r, form->memory ? 4 : 12))
            put_segment(&w);
        if (form->p67)
            put(&w, 0x67);
        if (form->lock)
            put(&w, 0xf0);
        if (row->key.space == SPACE_VEX)
            put_vex(&w, plain);
        else
            put_evex(&w);
    }
    put(&w, row->key.opcode | (row->key.plus_r ? w.f.rm & 7 : 0));
    if (g->rows[form->row].modrm)
        put_modrm(&w);
    put_immediates(&w);
    enc->length = (u8)(w.p - enc->bytes);
}
