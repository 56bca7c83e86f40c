/* SPDX-License-Identifier: MIT
 *
 * Which forms a row has in a mode. Candidates are enumerated from the row and kept if encodings of
 * them decode to the row: the decoder knows what a mode, a hidden feature or a vendor forbids.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/generate_internal.h"
#include "mem/base/log.h"

enum { PROBES = 6 }; /* encodings of a candidate that must decode */

struct candidates {
    struct generator *g;
    unsigned capacity;
    bool failed;
    struct rng rng;
};

struct decode_ctx generate_decode_ctx(const struct generator *g, unsigned mode)
{
    return (struct decode_ctx){.model = &g->model,
                               .code_size = (u8)conform_code_size((enum conform_mode)mode),
                               .protected_mode = true};
}

static bool has_operand(const struct insn_row *row, unsigned kind)
{
    for (unsigned n = 0; n < 4; n++)
        if (row->operands[n] == kind)
            return true;
    return false;
}

/* -- what is known of a row -- */

static u8 row_kinds(const struct insn_row *row)
{
    unsigned kinds = 1u << KIND_RANDOM;
    const char *s = row->name;
    bool f32 = strstr(s, "PS") || strstr(s, "SS"), f64 = strstr(s, "PD") || strstr(s, "SD");

    if (row->traits & T_FPEXC || !strncmp(s, "F", 1)) {
        kinds |= f32 || strstr(s, "f32") ? 1u << KIND_F32 : 0;
        kinds |= f64 || strstr(s, "f64") ? 1u << KIND_F64 : 0;
        kinds |= strstr(s, "PH") ? 1u << KIND_F16 : 0;
        if (strstr(s, "CVT") || strchr(s, 'i'))
            kinds |= 1u << KIND_INT;
    }
    if (strstr(s, "BF16"))
        kinds |= 1u << KIND_BF16 | 1u << KIND_F32;
    if (kinds == 1u << KIND_RANDOM)
        kinds |= 1u << KIND_INT;
    return (u8)kinds;
}

static bool w_matters(const struct insn_row *row)
{
    if (row->size == SZ_OSZ || row->size == SZ_D64 || row->size == SZ_F64)
        return true;
    return has_operand(row, OPND_Ey) || has_operand(row, OPND_Gy) || has_operand(row, OPND_My) ||
           has_operand(row, OPND_Ry) || has_operand(row, OPND_By) || has_operand(row, OPND_M) ||
           has_operand(row, OPND_M2q);
}

static void describe_row(struct generator *g, unsigned id)
{
    const struct insn_row *row = &insn_rows[id];
    struct gen_row *info = &g->rows[id];
    struct decode_slot slot;

    decode_slot_find(row->key.space, row->key.map, row->key.opcode, &slot);
    info->modrm = slot.modrm;
    info->to_memory = operand_infos[row->operands[0]].field == FIELD_RM;
    for (unsigned n = 0; n < 4; n++)
        info->vsib |= operand_infos[row->operands[n]].field == FIELD_VSIB;
    info->w_ignored = row->key.w == W_ANY && row->key.space != SPACE_EVEX && !w_matters(row);
    info->kinds = row_kinds(row);
}

/* -- candidates -- */

static bool decodes(struct candidates *x, const struct gen_form *form)
{
    struct decode_ctx ctx = generate_decode_ctx(x->g, form->mode);
    struct encoding enc;
    struct insn i;

    for (unsigned n = 0, missed = 0; n < PROBES; n++) {
        enum decode_result result;

        encode_form(x->g, form, &x->rng, true, &enc);
        result = insn_decode(&ctx, enc.bytes, enc.length, &i);
        if (form->undefined ? result == DECODE_UD : result == DECODE_OK && i.id == form->row)
            continue;
        /* A random field may have hit a more special row. */
        if (++missed > PROBES / 2)
            return false;
    }
    return true;
}

static void form_text(const struct gen_form *f, const struct insn_row *row, char *text, size_t size)
{
    static const char *const masks[] = {"", " {k}", " {k}{z}"};
    bool vector = row->key.space != SPACE_LEGACY;
    bool l = vector && row->key.l != L_LIG;
    bool rounding = f->evex_b && !f->memory;

    snprintf(text, size, "%s%s%s%s%s%s%s%s%s", f->memory ? "mem" : "reg", f->p66 ? " 66" : "",
             f->p67 ? " 67" : "", f->w ? " W" : "",
             f->rep == 0xf3 ? " rep"
             : f->rep       ? " repne"
                            : "",
             f->undefined ? " lock #UD"
             : f->lock    ? " lock"
                          : "",
             rounding    ? ""
             : !l        ? ""
             : f->l == 2 ? " 512"
             : f->l      ? " 256"
                         : " 128",
             masks[f->mask],
             !f->evex_b             ? ""
             : f->memory            ? " bcst"
             : (row->traits & T_ER) ? " er"
                                    : " sae");
}

static bool grow(struct candidates *x)
{
    struct generator *g = x->g;
    unsigned capacity = x->capacity ? x->capacity * 2 : 4096;
    struct conform_form *forms = realloc(g->forms, capacity * sizeof(*forms));
    struct gen_form *specs = forms ? realloc(g->specs, capacity * sizeof(*specs)) : NULL;

    if (forms)
        g->forms = forms;
    if (specs)
        g->specs = specs;
    if (!specs)
        return false;
    x->capacity = capacity;
    return true;
}

static void offer(struct candidates *x, const struct gen_form *form)
{
    struct generator *g = x->g;
    struct conform_form *out;

    if (x->failed || !decodes(x, form))
        return;
    if (g->count == x->capacity && !grow(x)) {
        x->failed = true;
        return;
    }
    g->specs[g->count] = *form;
    out = &g->forms[g->count];
    *out = (struct conform_form){
        .row = form->row,
        .mode = form->mode,
        .variant = (u16)(g->count - g->first[form->row][form->mode]),
    };
    form_text(form, &insn_rows[form->row], out->text, sizeof(out->text));
    g->count++;
}

/* -- legacy rows -- */

static bool osz_matters(const struct insn_row *row)
{
    if (row->key.prefix == PFX_NP || row->key.prefix == PFX_66)
        return false;
    return row->size == SZ_OSZ || row->size == SZ_D64 || row->size == SZ_F64;
}

static bool implicit_memory(unsigned id)
{
    const struct insn_row *row = &insn_rows[id];

    if ((row->traits & T_REP) || has_operand(row, OPND_Ob) || has_operand(row, OPND_Ov))
        return true;
    switch (id) {
    case INSN_XLAT:
    case INSN_MASKMOVQ_PqNq:
    case INSN_MASKMOVDQU_VdqUdq:
    case INSN_CLZERO:
    case INSN_LOOP_Jb:
    case INSN_LOOPE_Jb:
    case INSN_LOOPNE_Jb:
    case INSN_JCXZ_Jb: return true;
    default: return false;
    }
}

static void offer_rep(struct candidates *x, struct gen_form form)
{
    offer(x, &form);
    if (insn_rows[form.row].traits & T_REP) {
        form.rep = 0xf3;
        offer(x, &form);
        form.rep = 0xf2;
        offer(x, &form);
    }
    if (form.memory && (insn_rows[form.row].traits & T_LOCK)) {
        form.lock = true;
        offer(x, &form);
    }
}

static void offer_sizes(struct candidates *x, struct gen_form form)
{
    const struct insn_row *row = &insn_rows[form.row];
    unsigned w_first = row->key.w == W_1, w_last = row->key.w == W_0 ? 0 : 1;

    if (form.mode != MODE_64 || (row->key.w == W_ANY && !w_matters(row)))
        w_last = w_first;
    for (unsigned p66 = 0; p66 <= osz_matters(row); p66++)
        for (unsigned w = w_first; w <= w_last; w++) {
            form.p66 = p66;
            form.w = (u8)w;
            offer_rep(x, form);
        }
}

/* One form of a row is LOCK where it is #UD: in 64-bit mode, if the row exists there. */
static void offer_undefined(struct candidates *x, struct gen_form form)
{
    const struct insn_row *row = &insn_rows[form.row];
    unsigned mod = decode_row_mod(row);
    bool both =
        x->g->rows[form.row].modrm && mod != MOD_MEM && mod != MOD_REG && mod != MOD_IGNORED;

    if (form.mode != (row->key.mode == MODE_NOT64 ? MODE_32 : MODE_64))
        return;
    if (form.memory && (both || (row->traits & T_LOCK)))
        return;
    if (form.row == INSN_MOV_RnCn || form.row == INSN_MOV_CnRn)
        return; /* LOCK names CR8 to some processors (APM 3, MOV CRn: AltMovCr8) */
    form.lock = form.undefined = true;
    offer(x, &form);
}

static void offer_legacy(struct candidates *x, unsigned id, unsigned mode, bool memory)
{
    const struct insn_row *row = &insn_rows[id];
    struct gen_form form = {.row = (u16)id, .mode = (u8)mode, .memory = memory};

    for (unsigned p67 = 0; p67 <= (memory || implicit_memory(id)); p67++) {
        form.p67 = p67;
        offer_sizes(x, form);
    }
    form.p67 = false;
    form.w = row->key.w == W_1;
    offer_undefined(x, form);
}

/* -- VEX and EVEX -- */

static void offer_masks(struct candidates *x, struct gen_form form)
{
    const struct insn_row *row = &insn_rows[form.row];
    bool zero = (row->traits & T_ZERO) && !(form.memory && x->g->rows[form.row].to_memory);

    for (unsigned mask = MASK_NONE; mask <= MASK_ZERO; mask++) {
        if ((mask && !(row->traits & T_MASK)) || (mask == MASK_ZERO && !zero))
            continue;
        if (mask == MASK_ZERO && form.mode == MODE_16)
            continue;
        form.mask = (u8)mask;
        form.evex_b = false;
        offer(x, &form);
        form.evex_b = true;
        if (form.memory ? !(row->traits & T_BCST)
                        : !(row->traits & (T_ER | T_SAE)) || (row->key.l == L_ANY && form.l != 2))
            continue;
        offer(x, &form);
    }
}

static void offer_lengths(struct candidates *x, struct gen_form form)
{
    static const u8 lengths[] = {
        [L_ANY] = 7, [L_0] = 1, [L_1] = 2, [L_2] = 4, [L_LIG] = 1, [L_12] = 6};
    const struct insn_row *row = &insn_rows[form.row];

    for (unsigned l = 0; l < (row->key.space == SPACE_EVEX ? 3u : 2u); l++) {
        if (!(lengths[row->key.l] >> l & 1))
            continue;
        form.l = (u8)l;
        if (row->key.space == SPACE_EVEX)
            offer_masks(x, form);
        else
            offer(x, &form);
    }
}

static void offer_vector(struct candidates *x, unsigned id, unsigned mode, bool memory)
{
    const struct insn_row *row = &insn_rows[id];
    struct gen_form form = {.row = (u16)id, .mode = (u8)mode, .memory = memory};
    unsigned w_first = row->key.w == W_1 || row->key.w == W_GPR1 || row->key.w == W_1_AMD;
    unsigned w_last = w_first || (row->key.w == W_ANY && !x->g->rows[id].w_ignored);

    if (row->key.w == W_1_AMD)
        w_first = 0;
    for (unsigned p67 = 0; p67 <= (memory && mode != MODE_64); p67++)
        for (unsigned w = w_first; w <= w_last; w++) {
            form.p67 = p67;
            form.w = (u8)w;
            offer_lengths(x, form);
        }
    form.p67 = false;
    form.w = (u8)w_last;
    form.l = row->key.l == L_1 || row->key.l == L_12 ? 1 : row->key.l == L_2 ? 2 : 0;
    offer_undefined(x, form);
}

/* -- all rows -- */

static void offer_row(struct candidates *x, unsigned id, unsigned mode)
{
    const struct insn_row *row = &insn_rows[id];
    unsigned mod = decode_row_mod(row);
    bool modrm = x->g->rows[id].modrm;

    x->g->first[id][mode] = x->g->count;
    for (unsigned memory = 0; memory <= modrm; memory++) {
        if (memory ? mod == MOD_REG || mod == MOD_IGNORED : mod == MOD_MEM)
            continue;
        if (row->key.space == SPACE_LEGACY)
            offer_legacy(x, id, mode, memory);
        else
            offer_vector(x, id, mode, memory);
    }
}

/* A row of which all forms are undefined ones has none. */
static void drop_if_only_undefined(struct generator *g, unsigned id, unsigned mode)
{
    for (unsigned n = g->first[id][mode]; n < g->count; n++)
        if (!g->specs[n].undefined)
            return;
    g->count = g->first[id][mode];
}

enum status forms_create(struct generator *g, struct error *err)
{
    struct candidates x = {.g = g, .rng = {0x9e3779b97f4a7c15ull}};

    for (unsigned id = INSN_INVALID + 1; id < INSN_COUNT; id++) {
        describe_row(g, id);
        for (unsigned mode = 0; mode < CONFORM_MODES; mode++) {
            g->first[id][mode] = g->count;
            if (conform_exempt(id))
                continue;
            offer_row(&x, id, mode);
            drop_if_only_undefined(g, id, mode);
        }
    }
    if (x.failed)
        return error_set(err, ST_NO_MEMORY, "There is no memory for the forms of instructions.");
    return ST_OK;
}

unsigned forms_end(const struct generator *g, unsigned row, unsigned mode)
{
    if (mode + 1 < CONFORM_MODES)
        return g->first[row][mode + 1];
    return row + 1 < INSN_COUNT ? g->first[row + 1][0] : g->count;
}
