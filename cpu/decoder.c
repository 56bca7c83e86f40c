/* SPDX-License-Identifier: MIT
 *
 * The decoder: prefixes, opcode, choice of the row, and every check that makes an encoding #UD
 * (SDM 2 chapter 2, APM 3 chapter 1). Operands are decoded in decode_operand.c.
 */
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/decode_internal.h"
#include "cpu/regs.h"

static bool undefined(struct decoder *d)
{
    d->result = DECODE_UD;
    return false;
}

bool decode_amd(const struct decoder *d)
{
    return d->ctx->model && d->ctx->model->vendor[0] == 'A';
}

/* -- prefixes -- */

/* Notes a legacy prefix. false: the byte is not one. */
static bool legacy_prefix(struct decoder *d, u8 byte)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        /* ES, CS, SS, DS have no meaning in 64-bit mode, and do not undo an FS or GS override
         * (APM 3 1.2.4). */
        if (d->ctx->code_size != 8)
            d->seg = byte >> 3 & 3;
        break;
    case 0x64: d->seg = SEG_FS; break;
    case 0x65: d->seg = SEG_GS; break;
    case 0x66: d->p66 = true; break;
    case 0x67: d->p67 = true; break;
    case 0xf0: d->lock = true; break;
    case 0xf2:
    case 0xf3: d->rep = byte; break;
    default: return false;
    }
    d->rex = 0; /* a REX that is not the last prefix has no effect (SDM 2 2.2.1) */
    return true;
}

/* Takes all prefixes and the first opcode byte. */
static bool take_prefixes(struct decoder *d, u8 *opcode)
{
    for (;;) {
        if (!decode_byte(d, opcode))
            return false;
        if (legacy_prefix(d, *opcode))
            continue;
        if (d->ctx->code_size != 8 || (*opcode & 0xf0) != 0x40)
            break;
        d->rex = *opcode;
    }
    d->w = d->rex >> 3 & 1;
    d->r = d->rex >> 2 & 1;
    d->x = d->rex >> 1 & 1;
    d->b = d->rex & 1;
    if (d->rep)
        d->prefix = d->rep == 0xf3 ? PFX_F3 : PFX_F2;
    else
        d->prefix = d->p66 ? PFX_66 : PFX_NP;
    return true;
}

/* C4, C5 and 62 are VEX and EVEX in 64-bit mode, and elsewhere if the next byte would be a ModRM
 * byte with a register operand, which LES, LDS and BOUND do not have. */
static bool is_vector_prefix(struct decoder *d, u8 opcode)
{
    if (opcode != 0xc4 && opcode != 0xc5 && opcode != 0x62)
        return false;
    if (!d->ctx->protected_mode)
        return false;
    return d->ctx->code_size == 8 || (d->pos < d->count && d->bytes[d->pos] >= 0xc0);
}

static bool take_vex(struct decoder *d, u8 first)
{
    static const u8 prefixes[4] = {PFX_NP, PFX_66, PFX_F3, PFX_F2};
    u8 p0, p1;

    d->space = SPACE_VEX;
    d->map = MAP_0F;
    if (!decode_byte(d, &p0))
        return false;
    p1 = p0;
    if (first == 0xc4) {
        if (!decode_byte(d, &p1))
            return false;
        d->map = p0 & 0x1f;
        d->x = !(p0 & 0x40);
        d->b = !(p0 & 0x20);
        d->w = p1 >> 7;
    }
    d->r = !(p0 & 0x80);
    d->vvvv = ~p1 >> 3 & 15;
    d->l = p1 >> 2 & 1;
    d->prefix = prefixes[p1 & 3];
    return d->map >= MAP_0F && d->map <= MAP_0F3A ? true : undefined(d);
}

static bool take_evex(struct decoder *d)
{
    static const u8 prefixes[4] = {PFX_NP, PFX_66, PFX_F3, PFX_F2};
    u8 p0, p1, p2;

    d->space = SPACE_EVEX;
    if (!decode_byte(d, &p0) || !decode_byte(d, &p1) || !decode_byte(d, &p2))
        return false;
    d->r = !(p0 & 0x80);
    d->x = !(p0 & 0x40);
    d->b = !(p0 & 0x20);
    d->r2 = !(p0 & 0x10);
    d->map = p0 & 0xf;
    d->w = p1 >> 7;
    d->vvvv = ~p1 >> 3 & 15;
    d->prefix = prefixes[p1 & 3];
    d->z = p2 & 0x80;
    d->l = p2 >> 5 & 3;
    d->evex_b = p2 & 0x10;
    d->v2 = !(p2 & 8);
    d->i->aaa = p2 & 7;
    if (!(p1 & 4) || d->map < MAP_0F || d->map > MAP_0F3A)
        return undefined(d);
    return true;
}

/* To a processor without any instruction of an encoding its first byte is no opcode: what follows
 * is not fetched. */
static bool has_vector_prefix(const struct decoder *d, u8 first)
{
    const struct feature_set *f = d->ctx->model ? &d->ctx->model->features : NULL;

    if (!f || (first == 0x62 ? feature_has(f, FEAT_AVX512F) : feature_has(f, FEAT_AVX)))
        return true;
    return first != 0x62 && (feature_has(f, FEAT_BMI1) || feature_has(f, FEAT_BMI2));
}

static bool take_vector_prefix(struct decoder *d, u8 first)
{
    if (!has_vector_prefix(d, first))
        return undefined(d);
    if (!(first == 0x62 ? take_evex(d) : take_vex(d, first)))
        return false;
    /* Registers above 7 do not exist outside 64-bit mode; these bits are ignored there. */
    if (d->ctx->code_size != 8)
        d->b = d->r = d->x = d->r2 = d->v2 = 0;
    return true;
}

/* Everything up to and including the opcode byte. */
static bool take_opcode(struct decoder *d)
{
    u8 opcode;

    if (!take_prefixes(d, &opcode))
        return false;
    if (is_vector_prefix(d, opcode)) {
        if (!take_vector_prefix(d, opcode) || !decode_byte(d, &opcode))
            return false;
    } else if (opcode == 0x0f) {
        d->map = MAP_0F;
        if (!decode_byte(d, &opcode))
            return false;
        if (opcode == 0x38 || opcode == 0x3a) {
            d->map = opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
            if (!decode_byte(d, &opcode))
                return false;
        }
    }
    d->i->opcode = opcode;
    d->i->opcode_at = (u8)(d->pos - 1);
    return true;
}

/* -- choice of the row -- */

static bool match_prefix(const struct decoder *d, unsigned wanted)
{
    switch (wanted) {
    case PFX_ANY: return true;
    case PFX_NO_F2: return d->prefix != PFX_F2;
    case PFX_NO_REP: return d->prefix != PFX_F2 && d->prefix != PFX_F3;
    default: return d->prefix == wanted;
    }
}

static bool match_w(const struct decoder *d, unsigned wanted)
{
    switch (wanted) {
    case W_0: return !d->w;
    case W_1: return d->w;
    case W_GPR0: return !d->w || d->ctx->code_size != 8;
    case W_GPR1: return d->w && d->ctx->code_size == 8;
    case W_1_AMD: return d->w || decode_amd(d);
    default: return true;
    }
}

/* EVEX.b with registers turns L'L into the rounding mode, or voids it (SDM 2 table 2-43). */
static bool has_rounding(const struct decoder *d, const struct insn_row *row)
{
    return d->space == SPACE_EVEX && d->evex_b && d->mod == 3 && (row->traits & (T_ER | T_SAE));
}

static bool match_length(const struct decoder *d, const struct insn_row *row)
{
    unsigned l = has_rounding(d, row) ? 2 : d->l;

    switch (row->key.l) {
    case L_0: return l == 0;
    case L_1: return l == 1;
    case L_2: return l == 2;
    case L_12: return l == 1 || l == 2;
    default: return l < 3; /* L'L = 3 is reserved even where the length is ignored */
    }
}

static bool match_mod(const struct decoder *d, const struct insn_row *row)
{
    unsigned mod = decode_row_mod(row);

    return mod == MOD_MEM ? d->mod != 3 : mod == MOD_REG ? d->mod == 3 : true;
}

static bool match_key(const struct decoder *d, const struct insn_row *row)
{
    const struct insn_key *k = &row->key;
    u8 modrm = d->i->modrm;

    if (k->reg && (modrm >> 3 & 7) != k->reg - 1)
        return false;
    if (k->rm && (modrm & 7) != k->rm - 1)
        return false;
    if (k->rexb0 && d->b)
        return false;
    if (k->mode == (d->ctx->code_size == 8 ? MODE_NOT64 : MODE_ONLY64))
        return false;
    return match_prefix(d, k->prefix) && match_w(d, k->w) && match_mod(d, row) &&
           (d->space == SPACE_LEGACY || match_length(d, row));
}

/* Whether the model offers the row's feature. */
static bool offered(const struct decoder *d, const struct insn_row *row)
{
    const struct feature_set *f;

    if (!d->ctx->model || row->feature == FEAT_BASE)
        return true;
    f = &d->ctx->model->features;
    if (row->feature == FEAT_LAHF_LM_OR_32)
        return d->ctx->code_size != 8 || feature_has(f, FEAT_LAHF_LM);
    /* APM 3, PREFETCH: also with long mode. */
    if (row->feature == FEAT_PREFETCHW && feature_has(f, FEAT_LM))
        return true;
    if (d->space == SPACE_EVEX && d->l < 2 && !has_rounding(d, row) &&
        (row->key.l == L_ANY || row->key.l == L_1 || row->key.l == L_12) &&
        !feature_has(f, FEAT_AVX512VL))
        return false;
    return feature_has(f, row->feature);
}

static bool choose_row(struct decoder *d)
{
    struct decode_slot slot;

    decode_slot_find(d->space, d->map, d->i->opcode, &slot);
    if (slot.modrm) {
        d->i->modrm_at = (u8)d->pos;
        if (!decode_byte(d, &d->i->modrm))
            return false;
        d->i->flags |= I_MODRM;
        d->mod = d->i->modrm >> 6;
    }
    for (unsigned n = 0; n < slot.count; n++) {
        const struct insn_row *row = &insn_rows[slot.rows[n]];

        if (match_key(d, row) && offered(d, row)) {
            d->row = row;
            d->i->id = slot.rows[n];
            return true;
        }
    }
    return undefined(d);
}

/* -- checks and sizes -- */

static u8 operand_size(const struct decoder *d)
{
    unsigned code = d->ctx->code_size;

    switch ((enum insn_size)d->row->size) {
    case SZ_BYTE: return 1;
    case SZ_NAT: return code == 8 ? 8 : 4;
    case SZ_Y: return code == 8 && d->w ? 8 : 4;
    default: break;
    }
    if (code != 8)
        return (code == 4) != d->p66 ? 4 : 2;
    if (d->w)
        return 8;
    if (d->row->size == SZ_F64)
        return d->p66 && decode_amd(d) ? 2 : 8; /* SDM 1 6.3.7, APM 3 1.2.7 */
    if (d->p66)
        return 2;
    return d->row->size == SZ_D64 ? 8 : 4;
}

static u8 address_size(const struct decoder *d)
{
    if (d->ctx->code_size == 8)
        return d->p67 ? 4 : 8;
    return (d->ctx->code_size == 4) != d->p67 ? 4 : 2;
}

static bool has_opmask_operand(const struct insn_row *row)
{
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].file == FILE_K)
            return true;
    return false;
}

/* What AMD's Zen 4 ignores and Intel's SDM reserves: b with registers where memory could be a
 * broadcast; z without a mask where no mask can be, unless memory or opmasks are written. */
static void ignore_evex_bits(struct decoder *d, bool to_memory)
{
    u64 traits = d->row->traits;

    if (d->mod == 3 && (traits & T_BCST) && !has_rounding(d, d->row))
        d->evex_b = false;
    if (!d->i->aaa && !(traits & T_MASK) && !to_memory && !has_opmask_operand(d->row))
        d->z = false;
}

/* EVEX.b, z and aaa are reserved where the row does not take them (SDM 2 2.7.5 - 2.7.9). */
static bool check_evex(struct decoder *d)
{
    u64 traits = d->row->traits;
    bool mem = d->mod != 3;
    bool to_memory = mem && operand_infos[d->row->operands[0]].field == FIELD_RM;

    if (decode_amd(d))
        ignore_evex_bits(d, to_memory);
    if (d->evex_b && !(mem ? (traits & T_BCST) != 0 : has_rounding(d, d->row)))
        return undefined(d);
    if (d->i->aaa && !(traits & T_MASK))
        return undefined(d);
    if (d->z && (!(traits & T_ZERO) || !d->i->aaa || to_memory))
        return undefined(d);
    return true;
}

/* A vvvv that no operand uses must be 1111b; with VSIB V' belongs to the index. */
static bool check_vvvv(struct decoder *d)
{
    bool vsib = false;

    if (decode_row_vvvv(d->row))
        return true;
    for (unsigned n = 0; n < 4; n++)
        vsib |= operand_infos[d->row->operands[n]].field == FIELD_VSIB;
    if (d->vvvv || (d->v2 && !vsib))
        return undefined(d);
    return true;
}

static bool check_encoding(struct decoder *d)
{
    if ((d->row->traits & T_PE) && !d->ctx->protected_mode)
        return undefined(d);
    if (d->lock && (!(d->row->traits & T_LOCK) || d->mod == 3 || !(d->i->flags & I_MODRM)))
        return undefined(d);
    if (d->space != SPACE_LEGACY && (d->lock || d->p66 || d->rep || d->rex))
        return undefined(d); /* SDM 2 2.3.2, 2.7.10 */
    if (d->space == SPACE_EVEX && !check_evex(d))
        return false;
    return d->space == SPACE_LEGACY || check_vvvv(d);
}

static void set_flags(struct decoder *d)
{
    unsigned f = d->i->flags;

    f |= d->lock ? I_LOCK : 0;
    f |= d->rep == 0xf3 ? I_REP : d->rep == 0xf2 ? I_REPNE : 0;
    f |= d->rex ? I_REX : 0;
    f |= d->w && (d->ctx->code_size == 8 || (d->row->key.w != W_GPR0)) ? I_REXW : 0;
    f |= d->row->key.w == W_1_AMD ? I_REXW : 0;
    f |= d->p66 ? I_OSZ : 0;
    f |= d->p67 ? I_ASZ : 0;
    f |= d->seg != REG_NONE ? I_SEG : 0;
    f |= d->space == SPACE_VEX ? I_VEX : d->space == SPACE_EVEX ? I_EVEX : 0;
    f |= d->evex_b ? I_EVEX_B : 0;
    f |= d->z ? I_EVEX_Z : 0;
    d->i->flags = (u16)f;
    d->i->vl = has_rounding(d, d->row) || d->l > 2 ? 2 : d->l;
    d->i->osz = operand_size(d);
    d->i->asz = address_size(d);
}

enum decode_result insn_decode(const struct decode_ctx *ctx, const u8 *bytes, unsigned count,
                               struct insn *i)
{
    struct decoder d = {
        .ctx = ctx,
        .bytes = bytes,
        .count = count,
        .i = i,
        .seg = REG_NONE,
    };

    *i = (struct insn){.id = INSN_INVALID};
    if (take_opcode(&d) && choose_row(&d)) {
        /* An encoding that is not allowed is found so when all its bytes are there: a fault in
         * fetching them comes first. */
        bool allowed = check_encoding(&d);

        set_flags(&d);
        if (decode_operands(&d))
            d.result = allowed ? DECODE_OK : DECODE_UD;
    }
    if (d.result != DECODE_OK)
        *i = (struct insn){.id = INSN_INVALID, .opcode = i->opcode, .osz = 1};
    i->len = (u8)d.pos;
    memcpy(i->bytes, bytes, d.pos);
    return d.result;
}
