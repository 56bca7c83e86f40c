/* SPDX-License-Identifier: MIT
 *
 * The second half of the decoder: operand kinds, ModRM and SIB, register numbers, displacement and
 * immediates (SDM 2 chapter 2; EVEX: 2.7).
 */
#include "cpu/decode_internal.h"
#include "cpu/regs.h"
#include "mem/base/bits.h"

#define REG_OF(file_)                                                                              \
    {                                                                                              \
        .field = FIELD_REG, .file = file_                                                          \
    }
#define RM_REG(file_)                                                                              \
    {                                                                                              \
        .field = FIELD_RM, .file = file_, .mod = MOD_REG                                           \
    }
#define RM_MEM(bytes_)                                                                             \
    {                                                                                              \
        .field = FIELD_RM, .mod = MOD_MEM, .bytes = bytes_                                         \
    }
#define RM_ANY(file_, bytes_)                                                                      \
    {                                                                                              \
        .field = FIELD_RM, .file = file_, .bytes = bytes_                                          \
    }
#define IMM(imm_)                                                                                  \
    {                                                                                              \
        .field = FIELD_IMM, .imm = imm_                                                            \
    }
#define MOFFS(bytes_)                                                                              \
    {                                                                                              \
        .field = FIELD_IMM, .imm = IMM_MOFFS, .bytes = bytes_                                      \
    }
#define STRING(bytes_)                                                                             \
    {                                                                                              \
        .bytes = bytes_                                                                            \
    }
#define VVVV(file_)                                                                                \
    {                                                                                              \
        .field = FIELD_VVVV, .file = file_                                                         \
    }

const struct operand_info operand_infos[OPND_COUNT] = {
    [OPND_None] = {.field = FIELD_NONE},
    [OPND_Eb] = RM_ANY(FILE_GPR8, 1),
    [OPND_Ew] = RM_ANY(FILE_GPR, 2),
    [OPND_Ed] = RM_ANY(FILE_GPR, 4),
    [OPND_Eq] = RM_ANY(FILE_GPR, 8),
    [OPND_Ev] = RM_ANY(FILE_GPR, BYTES_OSZ),
    [OPND_Ey] = RM_ANY(FILE_GPR, BYTES_OSZ),
    [OPND_EwRv] = RM_ANY(FILE_GPR, 2),
    [OPND_Gb] = REG_OF(FILE_GPR8),
    [OPND_Gw] = REG_OF(FILE_GPR),
    [OPND_Gd] = REG_OF(FILE_GPR),
    [OPND_Gv] = REG_OF(FILE_GPR),
    [OPND_Gy] = REG_OF(FILE_GPR),
    [OPND_Gn] = REG_OF(FILE_GPR),
    [OPND_Ib] = IMM(IMM_8),
    [OPND_Ibs] = IMM(IMM_8S),
    [OPND_Iw] = IMM(IMM_16),
    [OPND_Iz] = IMM(IMM_Z),
    [OPND_Iv] = IMM(IMM_V),
    [OPND_Jb] = IMM(IMM_J8),
    [OPND_Jz] = IMM(IMM_JZ),
    [OPND_Ap] = IMM(IMM_FAR),
    [OPND_M] = RM_MEM(BYTES_NONE),
    [OPND_Mb] = RM_MEM(1),
    [OPND_Mw] = RM_MEM(2),
    [OPND_Md] = RM_MEM(4),
    [OPND_Mq] = RM_MEM(8),
    [OPND_Mdq] = RM_MEM(16),
    [OPND_Mv] = RM_MEM(BYTES_OSZ),
    [OPND_My] = RM_MEM(BYTES_OSZ),
    [OPND_Mz] = RM_MEM(BYTES_OSZ_MAX4),
    [OPND_Mp] = RM_MEM(BYTES_OSZ_FAR),
    [OPND_Ms] = RM_MEM(BYTES_TABLE),
    [OPND_Ma] = RM_MEM(BYTES_OSZ_PAIR),
    [OPND_M2q] = RM_MEM(BYTES_OSZ_PAIR),
    [OPND_Ob] = MOFFS(1),
    [OPND_Ov] = MOFFS(BYTES_OSZ),
    [OPND_Xb] = STRING(1),
    [OPND_Xv] = STRING(BYTES_OSZ),
    [OPND_Xz] = STRING(BYTES_OSZ_MAX4),
    [OPND_Yb] = STRING(1),
    [OPND_Yv] = STRING(BYTES_OSZ),
    [OPND_Yz] = STRING(BYTES_OSZ_MAX4),
    [OPND_Sw] = REG_OF(FILE_SEG),
    [OPND_Cn] = REG_OF(FILE_CR),
    [OPND_Dn] = REG_OF(FILE_DR),
    [OPND_Rn] = RM_REG(FILE_GPR),
    [OPND_Ry] = RM_REG(FILE_GPR),
    [OPND_Rd] = RM_REG(FILE_GPR),
    [OPND_Zb] = {.field = FIELD_OPCODE, .file = FILE_GPR8},
    [OPND_Zv] = {.field = FIELD_OPCODE, .file = FILE_GPR},
    [OPND_By] = VVVV(FILE_GPR),
    [OPND_STi] = RM_REG(FILE_ST),
    [OPND_Mf32] = RM_MEM(4),
    [OPND_Mf64] = RM_MEM(8),
    [OPND_Mf80] = RM_MEM(10),
    [OPND_Mi16] = RM_MEM(2),
    [OPND_Mi32] = RM_MEM(4),
    [OPND_Mi64] = RM_MEM(8),
    [OPND_Mbcd] = RM_MEM(10),
    [OPND_Menv] = RM_MEM(BYTES_ENV),
    [OPND_Mfpu] = RM_MEM(BYTES_X87),
    [OPND_Pq] = REG_OF(FILE_MMX),
    [OPND_Qq] = RM_ANY(FILE_MMX, 8),
    [OPND_Qd] = RM_ANY(FILE_MMX, 4),
    [OPND_Nq] = RM_REG(FILE_MMX),
    [OPND_Vdq] = REG_OF(FILE_VEC),
    [OPND_Wdq] = RM_ANY(FILE_VEC, 16),
    [OPND_Wq] = RM_ANY(FILE_VEC, 8),
    [OPND_Wd] = RM_ANY(FILE_VEC, 4),
    [OPND_Ww] = RM_ANY(FILE_VEC, 2),
    [OPND_Wb] = RM_ANY(FILE_VEC, 1),
    [OPND_Udq] = RM_REG(FILE_VEC),
    [OPND_Vx] = REG_OF(FILE_VEC),
    [OPND_Hx] = VVVV(FILE_VEC),
    [OPND_Wx] = RM_ANY(FILE_VEC, BYTES_VL),
    [OPND_Ux] = RM_REG(FILE_VEC),
    [OPND_Lx] = {.field = FIELD_IS4, .file = FILE_VEC},
    [OPND_Hdq] = VVVV(FILE_VEC),
    [OPND_Ldq] = {.field = FIELD_IS4, .file = FILE_VEC},
    [OPND_Vhx] = REG_OF(FILE_VEC),
    [OPND_Whx] = RM_ANY(FILE_VEC, BYTES_VL2),
    [OPND_Uhx] = RM_REG(FILE_VEC),
    [OPND_Vqx] = REG_OF(FILE_VEC),
    [OPND_Wqx] = RM_ANY(FILE_VEC, BYTES_VL4),
    [OPND_Vex] = REG_OF(FILE_VEC),
    [OPND_Wex] = RM_ANY(FILE_VEC, BYTES_VL8),
    [OPND_Wdup] = RM_ANY(FILE_VEC, BYTES_DUP),
    [OPND_Vqq] = REG_OF(FILE_VEC),
    [OPND_Wqq] = RM_ANY(FILE_VEC, 32),
    [OPND_Hqq] = VVVV(FILE_VEC),
    [OPND_Uqq] = RM_REG(FILE_VEC),
    [OPND_Lqq] = {.field = FIELD_IS4, .file = FILE_VEC},
    [OPND_Voq] = REG_OF(FILE_VEC),
    [OPND_Woq] = RM_ANY(FILE_VEC, 64),
    [OPND_Hoq] = VVVV(FILE_VEC),
    [OPND_VMd] = {.field = FIELD_VSIB, .mod = MOD_MEM, .bytes = BYTES_NONE},
    [OPND_VMq] = {.field = FIELD_VSIB, .mod = MOD_MEM, .bytes = BYTES_NONE},
    [OPND_Kr] = REG_OF(FILE_K),
    [OPND_Kv] = VVVV(FILE_K),
    [OPND_Km] = RM_REG(FILE_K),
    [OPND_KR] = RM_REG(FILE_K),
    [OPND_KmB] = RM_ANY(FILE_K, 1),
    [OPND_KmW] = RM_ANY(FILE_K, 2),
    [OPND_KmD] = RM_ANY(FILE_K, 4),
    [OPND_KmQ] = RM_ANY(FILE_K, 8),
    [OPND_BCx] = RM_ANY(FILE_VEC, BYTES_BCAST),
    [OPND_BChx] = RM_ANY(FILE_VEC, BYTES_BCAST2),
    [OPND_XMM0] = {.field = FIELD_NONE},
};

bool decode_byte(struct decoder *d, u8 *byte)
{
    if (unlikely(d->pos >= d->count || d->pos >= 15)) {
        d->result = d->pos >= 15 ? DECODE_TOO_LONG : DECODE_SHORT;
        return false;
    }
    *byte = d->bytes[d->pos++];
    return true;
}

bool decode_value(struct decoder *d, unsigned size, u64 *value)
{
    unsigned available = d->count < 15 ? d->count : 15;

    if (unlikely(d->pos + size > available)) {
        d->pos = available;
        d->result = available == 15 ? DECODE_TOO_LONG : DECODE_SHORT;
        return false;
    }
    *value = load_le(d->bytes + d->pos, size);
    d->pos += size;
    return true;
}

static bool undefined(struct decoder *d)
{
    d->result = DECODE_UD;
    return false;
}

/* Whether the element is a general register, whose width W chooses in 64-bit mode only. */
static bool has_gpr_element(const struct insn_row *row)
{
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].file == FILE_GPR &&
            operand_infos[row->operands[n]].field == FIELD_RM)
            return true;
    return false;
}

/* What a disp8 is multiplied by, as a shift count; SDM 2 tables 2-36 and 2-37. */
static unsigned disp8_shift(const struct decoder *d)
{
    bool wide = d->w && (d->ctx->code_size == 8 || !has_gpr_element(d->row));
    unsigned vl = 4u + d->i->vl, element = 2u + wide;

    switch ((enum insn_tuple)d->row->key.tuple) {
    case TUPLE_FV: return d->evex_b ? element : vl;
    case TUPLE_HV: return d->evex_b ? element : vl - 1;
    case TUPLE_FVM: return vl;
    case TUPLE_HVM: return vl - 1;
    case TUPLE_QVM: return vl - 2;
    case TUPLE_OVM: return vl - 3;
    case TUPLE_T1S16: return 1;
    case TUPLE_T1S: return element;
    case TUPLE_T1F32: return 2;
    case TUPLE_T1F64: return 3;
    case TUPLE_T2: return element + 1;
    case TUPLE_T4: return element + 2;
    case TUPLE_T8: return 5;
    case TUPLE_M128: return 4;
    case TUPLE_DUP: return d->i->vl ? vl : 3;
    case TUPLE_NONE:
    case TUPLE_T1S8: break;
    }
    return 0;
}

static bool take_displacement(struct decoder *d, unsigned size)
{
    u64 value;

    if (!decode_value(d, size, &value))
        return false;
    d->i->disp = (i64)sign_extend(value, size);
    if (size == 1)
        d->i->disp = (i64)((u64)d->i->disp << disp8_shift(d));
    return true;
}

/* 16-bit addressing, SDM 2 table 2-1. */
static bool decode_memory16(struct decoder *d)
{
    static const u8 bases[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const u8 indexes[8] = {RSI, RDI, RSI, RDI, REG_NONE, REG_NONE, REG_NONE, REG_NONE};
    struct insn *i = d->i;
    unsigned rm = i->modrm & 7;

    if (d->mod == 0 && rm == 6)
        return take_displacement(d, 2);
    i->base = bases[rm];
    i->index = indexes[rm];
    if (i->base == RBP && d->seg == REG_NONE)
        i->seg = SEG_SS;
    return d->mod == 0 || take_displacement(d, d->mod == 1 ? 1 : 2);
}

static bool decode_sib(struct decoder *d, bool vsib, unsigned *base)
{
    struct insn *i = d->i;
    unsigned index;
    u8 sib;

    if (!decode_byte(d, &sib))
        return false;
    *base = sib & 7;
    index = (sib >> 3 & 7) | d->x << 3;
    i->scale = sib >> 6;
    if (vsib)
        i->index = (u8)(index | d->v2 << 4);
    else
        i->index = index == RSP ? REG_NONE : (u8)index;
    if (i->index == REG_NONE)
        i->scale = 0;
    return true;
}

/* 32- and 64-bit addressing, SDM 2 tables 2-2 and 2-3. */
static bool decode_memory(struct decoder *d, bool vsib)
{
    struct insn *i = d->i;
    unsigned base = i->modrm & 7;
    bool sib = base == 4;

    if (sib && !decode_sib(d, vsib, &base))
        return false;
    if (d->mod == 0 && base == 5) {
        if (!sib && d->ctx->code_size == 8)
            i->base = REG_IP;
        return take_displacement(d, 4);
    }
    i->base = (u8)(base | d->b << 3);
    if ((i->base == RSP || i->base == RBP) && d->seg == REG_NONE)
        i->seg = SEG_SS;
    return d->mod == 0 || take_displacement(d, d->mod == 1 ? 1 : 4);
}

/* AH..BH are the numbers 4-7 without any REX (SDM 2 3.1.1.1). */
static u8 byte_register(const struct decoder *d, unsigned n)
{
    return (u8)(n >= 4 && n < 8 && !d->rex ? REG_HIGH | (n - 4) : n);
}

static bool valid_system_register(unsigned file, unsigned n)
{
    if (file == FILE_SEG)
        return n <= SEG_GS;
    if (file == FILE_CR)
        return n == 0 || n == 2 || n == 3 || n == 4 || n == 8;
    return n < 8; /* DR4 and DR5 depend on CR4.DE: the body's business */
}

/* The register in ModRM.reg. */
static bool decode_reg(struct decoder *d, unsigned file)
{
    unsigned low = d->i->modrm >> 3 & 7, n = low | d->r << 3;

    switch (file) {
    case FILE_GPR8: n = byte_register(d, n); break;
    case FILE_VEC: n |= d->r2 << 4; break;
    case FILE_MMX: n = low; break;
    case FILE_K:
        n = low;
        if (d->r2 || (d->r && !(d->space == SPACE_VEX && decode_amd(d))))
            return undefined(d);
        break;
    case FILE_SEG:
    case FILE_CR:
    case FILE_DR:
        n = file == FILE_SEG ? low : n;
        if (!valid_system_register(file, n))
            return undefined(d);
        /* MOV CS,Ew does not exist (SDM 2, MOV). */
        if (file == FILE_SEG && n == SEG_CS && (d->row->traits & T_W) &&
            operand_infos[d->row->operands[0]].file == FILE_SEG)
            return undefined(d);
        break;
    default:
        if (d->r2)
            return undefined(d);
        break;
    }
    d->i->reg = (u8)n;
    return true;
}

/* The register in ModRM.rm or in the opcode. */
static void decode_rm(struct decoder *d, unsigned file, unsigned low)
{
    unsigned n = low | d->b << 3;

    switch (file) {
    case FILE_GPR8: n = byte_register(d, n); break;
    case FILE_VEC: n |= d->space == SPACE_EVEX ? d->x << 4 : 0; break;
    case FILE_MMX:
    case FILE_ST:
    case FILE_K: n = low; break;
    }
    d->i->rm = (u8)n;
}

static bool decode_vvvv(struct decoder *d, unsigned file)
{
    unsigned n = d->vvvv;

    if (d->ctx->code_size != 8)
        n &= 7; /* the top bit is ignored, SDM 2 2.3.5.6 */
    if (file == FILE_K && n > 7) {
        if (!decode_amd(d))
            return undefined(d);
        n &= 7;
    }
    if (file == FILE_VEC)
        n |= d->v2 << 4;
    else if (d->v2)
        return undefined(d);
    d->i->vvvv = (u8)n;
    return true;
}

static unsigned imm_bytes(const struct decoder *d, unsigned imm)
{
    unsigned osz = d->i->osz;

    switch ((enum operand_imm)imm) {
    case IMM_NONE: return 0;
    case IMM_16: return 2;
    case IMM_Z:
    case IMM_JZ: return osz == 2 ? 2 : 4;
    case IMM_V:
    case IMM_FAR: return osz;
    case IMM_MOFFS: return d->i->asz;
    default: return 1;
    }
}

static bool decode_immediate(struct decoder *d, unsigned imm, bool second)
{
    unsigned size = imm_bytes(d, imm);
    u64 value, selector;

    if (!decode_value(d, size, &value))
        return false;
    if (second) {
        d->i->imm2 = (u16)value;
        return true;
    }
    if (imm == IMM_FAR) {
        if (!decode_value(d, 2, &selector))
            return false;
        d->i->imm2 = (u16)selector;
    }
    if (imm == IMM_8S || imm == IMM_Z || imm == IMM_J8 || imm == IMM_JZ)
        value = sign_extend(value, size);
    d->i->imm = (i64)value;
    return true;
}

static bool has_vsib(const struct insn_row *row)
{
    bool vsib = false;

    for (unsigned n = 0; n < 4; n++)
        vsib |= operand_infos[row->operands[n]].field == FIELD_VSIB;
    return vsib;
}

/* VSIB needs a SIB byte and 32- or 64-bit addressing (SDM 2 2.3.12); registers that must differ. */
static bool check_vsib(struct decoder *d)
{
    const struct insn *i = d->i;

    if ((i->modrm & 7) != 4 || i->asz == 2)
        return undefined(d);
    return true;
}

static bool check_vsib_registers(struct decoder *d)
{
    const struct insn *i = d->i;

    if ((i->flags & I_MEM) && d->space == SPACE_EVEX && !i->aaa && has_vsib(d->row))
        return undefined(d);
    if (!(d->row->traits & T_VSIB_UNIQUE))
        return true;
    if (i->reg == i->index)
        return undefined(d);
    if (d->space == SPACE_VEX && (i->reg == i->vvvv || i->index == i->vvvv))
        return undefined(d);
    return true;
}

/* ModRM memory operand, if there is one. */
static bool decode_modrm_memory(struct decoder *d)
{
    bool vsib = has_vsib(d->row);

    if (vsib && !check_vsib(d))
        return false;
    d->i->flags |= I_MEM;
    return d->i->asz == 2 ? decode_memory16(d) : decode_memory(d, vsib);
}

static bool decode_registers(struct decoder *d)
{
    struct insn *i = d->i;

    for (unsigned n = 0; n < 4; n++) {
        const struct operand_info *o = &operand_infos[d->row->operands[n]];

        if (o->field == FIELD_REG && !decode_reg(d, o->file))
            return false;
        if (o->field == FIELD_RM && !(i->flags & I_MEM))
            decode_rm(d, o->file, i->modrm & 7);
        if (o->field == FIELD_OPCODE)
            decode_rm(d, o->file, i->opcode & 7);
        if (o->field == FIELD_VVVV && !decode_vvvv(d, o->file))
            return false;
    }
    return true;
}

bool decode_operands(struct decoder *d)
{
    struct insn *i = d->i;
    unsigned immediates = 0;

    i->base = i->index = REG_NONE;
    i->seg = d->seg == REG_NONE ? SEG_DS : d->seg;
    i->reg = (u8)((i->modrm >> 3 & 7) | d->r << 3);
    i->rm = (u8)((i->modrm & 7) | d->b << 3);
    if ((i->flags & I_MODRM) && d->mod != 3 && d->row->key.mod != MOD_IGNORED &&
        !decode_modrm_memory(d))
        return false;
    if (!decode_registers(d) || !check_vsib_registers(d))
        return false;
    for (unsigned n = 0; n < 4; n++) {
        const struct operand_info *o = &operand_infos[d->row->operands[n]];
        unsigned imm = o->field == FIELD_IS4 ? IMM_8 : o->imm;

        if (imm && !decode_immediate(d, imm, immediates++))
            return false;
    }
    return true;
}
