/* SPDX-License-Identifier: MIT
 *
 * Instructions that become themselves: the same opcode with the operands rewritten. General
 * registers get their host registers, a memory operand becomes [T0] behind a check. This covers the
 * integer rows of class COPY and the plain moves; the table's operand letters say all that is
 * needed.
 */
#include "jit/lower/lower.h"

/* How one instruction is rewritten. */
struct plan {
    const struct insn_row *row;
    bool memory;        /* accesses its memory operand */
    bool reads, writes; /* the memory operand */
    u8 mem_size;
    u8 imm_size;   /* bytes of immediate at the end */
    bool native;   /* SIMD: wants the guest's vectors in the host's registers */
    bool has_gpr;  /* some operand is a general register */
    bool is4;      /* the immediate ends with a register number */
    bool byte_rex; /* byte registers that need a REX */
    bool high;     /* AH..BH: no REX allowed */
    u8 reg_guest, rm_guest, vvvv_guest, plus_guest; /* general registers by field, or REG_NONE */
    u8 reg_vector, rm_vector, vvvv_vector;          /* vector and opmask registers by field */
    bool reg_written, rm_written, vvvv_written;
    bool reg_fresh, rm_fresh; /* ... as a whole, and not read */
    bool rm_any;              /* the instruction takes memory in its place */
};

static unsigned immediate_size(const struct insn *i, unsigned imm)
{
    switch (imm) {
    case IMM_8:
    case IMM_8S: return 1;
    case IMM_16: return 2;
    case IMM_Z: return i->osz == 2 ? 2 : 4;
    case IMM_V: return i->osz;
    default: return 0;
    }
}

/* Operands that the opcode implies and the host finds in the same registers. */
static bool implied(unsigned kind)
{
    switch (kind) {
    case OPND_None:
    case OPND_AL:
    case OPND_CL:
    case OPND_AX:
    case OPND_rAX:
    case OPND_XMM0:
    case OPND_One: return true;
    default: return false;
    }
}

static bool operand_written(const struct insn_row *row, unsigned n)
{
    if (n == 0)
        return !(row->traits & T_R);
    return n == 1 && (row->traits & T_RW1);
}

static bool byte_register(struct plan *p, unsigned guest)
{
    if (guest & REG_HIGH)
        p->high = true;
    else if (guest >= 4)
        p->byte_rex = true;
    return true;
}

/* Vector, opmask and MMX registers keep their numbers; the last have no REX bits. */
static bool plan_vector(struct plan *p, const struct operand_info *info, const struct insn *i)
{
    unsigned mask = info->file == FILE_MMX ? 7 : 31;

    switch (info->field) {
    case FIELD_REG: p->reg_vector = i->reg & mask; break;
    case FIELD_RM: p->rm_vector = i->rm & mask; break;
    case FIELD_VVVV: p->vvvv_vector = i->vvvv; break;
    case FIELD_IS4:
        p->imm_size++;
        p->is4 = true;
        break;
    default: return false;
    }
    return p->native;
}

static bool plan_register(struct plan *p, const struct operand_info *info, const struct insn *i,
                          unsigned n)
{
    bool written = operand_written(p->row, n);
    bool fresh = n == 0 && (p->row->traits & T_W) && i->osz >= 4 && info->file == FILE_GPR;
    unsigned guest;

    if (info->file == FILE_VEC || info->file == FILE_K || info->file == FILE_MMX)
        return plan_vector(p, info, i);
    p->has_gpr = true;
    switch (info->field) {
    case FIELD_REG:
        guest = p->reg_guest = i->reg;
        p->reg_written = written;
        p->reg_fresh = fresh;
        break;
    case FIELD_RM:
        guest = p->rm_guest = i->rm;
        p->rm_written = written;
        p->rm_fresh = fresh;
        p->rm_any = !info->mod;
        break;
    case FIELD_VVVV:
        guest = p->vvvv_guest = i->vvvv;
        p->vvvv_written = written;
        break;
    case FIELD_OPCODE:
        guest = p->plus_guest = i->rm;
        p->rm_written = written;
        p->rm_fresh = fresh;
        break;
    default: return false;
    }
    if (info->file == FILE_GPR8)
        return byte_register(p, guest);
    return info->file == FILE_GPR;
}

static bool plan_operand(struct plan *p, const struct insn *i, unsigned n)
{
    unsigned kind = p->row->operands[n];
    const struct operand_info *info = &operand_infos[kind];

    if (implied(kind))
        return true;
    if (info->field == FIELD_IMM) {
        p->imm_size = (u8)(p->imm_size + immediate_size(i, info->imm));
        return info->imm != IMM_MOFFS && info->imm != IMM_FAR;
    }
    if (info->field == FIELD_RM && (i->flags & I_MEM)) {
        p->memory = !(p->row->traits & T_NODS);
        p->writes = operand_written(p->row, n);
        p->reads = n != 0 || !(p->row->traits & T_W);
        p->mem_size = (u8)insn_mem_size(i);
        p->has_gpr |=
            info->file == FILE_GPR; /* W is the width of the operand, not the guest's bit */
        return !p->memory || (p->mem_size && p->mem_size <= (p->native ? 64 : 8));
    }
    return plan_register(p, info, i, n);
}

/* A bit string in memory reaches beyond the operand; division may fault with #DE; the stack and
 * XLAT are memory that no operand letter tells of. */
static bool special(const struct insn *i)
{
    switch (i->id) {
    case INSN_BT_EvGv:
    case INSN_BTS_EvGv:
    case INSN_BTR_EvGv:
    case INSN_BTC_EvGv: return i->flags & I_MEM;
    case INSN_DIV_Eb:
    case INSN_DIV_Ev:
    case INSN_IDIV_Eb:
    case INSN_IDIV_Ev:
    case INSN_PUSH_Zv:
    case INSN_PUSH_Iz:
    case INSN_PUSH_Ibs:
    case INSN_PUSH_Ev:
    case INSN_POP_Zv:
    case INSN_POP_Ev:
    case INSN_LEAVE:
    case INSN_XLAT: return true;
    default: return false;
    }
}

static bool high_possible(const struct plan *p, const struct insn *i)
{
    if (!p->high)
        return true;
    if (p->memory || p->byte_rex || i->osz == 8)
        return false;
    return (p->reg_guest == REG_NONE || p->reg_guest & REG_HIGH || host_of(p->reg_guest) < 8) &&
           (p->rm_guest == REG_NONE || p->rm_guest & REG_HIGH || host_of(p->rm_guest) < 8);
}

/* The mode tells that the guest may use these registers, and that nothing raises #XM. */
static bool simd_possible(const struct translator *t, const struct insn_row *row)
{
    u32 mode = t->block->mode;

    if ((row->traits & (T_BODY | T_FPU)) || !(t->j->options.optimisations & JIT_SIMD))
        return false;
    if ((row->traits & T_MMX) && !lower_x87_mode(t))
        return false;
    if (row->traits & T_EVEX)
        return mode & MODE_AVX512;
    return mode & (row->traits & T_AVX ? MODE_AVX : MODE_SSE);
}

static bool make_plan(const struct translator *t, const struct insn *i, struct plan *p)
{
    const struct insn_row *row = insn_row(i);

    *p = (struct plan){.row = row,
                       .reg_guest = REG_NONE,
                       .rm_guest = REG_NONE,
                       .vvvv_guest = REG_NONE,
                       .plus_guest = REG_NONE,
                       .reg_vector = REG_NONE,
                       .rm_vector = REG_NONE,
                       .vvvv_vector = REG_NONE};
    p->native = row->jit == CLASS_NATIVE;
    if (p->native ? !simd_possible(t, row)
                  : (row->jit != CLASS_COPY && row->jit != CLASS_MEM) ||
                        (row->traits & (T_ENDS | T_REP | T_IO)) || special(i) ||
                        feature_has(&t->j->absent, row->feature))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (!plan_operand(p, i, n))
            return false;
    return high_possible(p, i) && (!p->memory || lower_can_address(t, i));
}

/* Registers of the rewritten instruction. */
struct choice {
    unsigned reg, rm, vvvv;
    bool memory;       /* m, in the place of rm */
    struct emit_mem m; /* the memory operand; T0 is its only scratch register */
};

/* fresh: what it holds does not matter. */
static unsigned host_register(struct translator *t, unsigned guest, unsigned scratch, bool fresh)
{
    if (guest & REG_HIGH)
        return 4 + (guest & 3); /* AH, CH, DH, BH without REX */
    if (fresh && host_of(guest) == HOST_NONE)
        return scratch;
    return lower_use(t, guest, scratch);
}

static bool in_vcpu(unsigned guest)
{
    return guest != REG_NONE && !(guest & REG_HIGH) && host_of(guest) == HOST_NONE;
}

/* Bit strings reach beyond a memory operand, XCHG with memory locks, and half a register in memory
 * would keep its upper half. */
static bool takes_slot(const struct translator *t, const struct plan *p, const struct insn *i)
{
    unsigned op = p->row->key.opcode;
    bool bit_string = p->row->key.map == MAP_0F && (op & 0xe7) == 0xa3;

    return (t->j->options.optimisations & JIT_IN_PLACE) && p->rm_any && !p->native && !p->memory &&
           p->row->key.space == SPACE_LEGACY && !bit_string &&
           !(p->row->traits & (T_RW1 | T_LOCK_IMPLIED)) && (!p->rm_written || i->osz == 8);
}

/* The opcode with its two operands the other way round, for registers; 0: none. */
static unsigned turned(const struct insn_row *row)
{
    unsigned op = row->key.opcode;

    if (row->key.map != MAP_1B || row->key.space != SPACE_LEGACY)
        return 0;
    if ((op < 0x40 && (op & 7) < 4) || (op >= 0x88 && op <= 0x8b))
        return op ^ 2;
    return op == 0x84 || op == 0x85 ? op : 0; /* TEST */
}

/* A register in the vCPU is best in the r/m field. */
static u32 choose_direction(const struct translator *t, struct plan *p)
{
    u32 opcode = p->row->key.opcode | (u32)p->row->key.map << 8;
    struct plan was = *p;

    if (!(t->j->options.optimisations & JIT_IN_PLACE) || !turned(p->row) || p->memory ||
        !in_vcpu(p->reg_guest) || in_vcpu(p->rm_guest))
        return opcode;
    p->reg_guest = was.rm_guest;
    p->reg_written = was.rm_written;
    p->reg_fresh = was.rm_fresh;
    p->rm_guest = was.reg_guest;
    p->rm_written = was.reg_written;
    p->rm_fresh = was.reg_fresh;
    return turned(p->row);
}

/* The string compares of map 0F3A, opcodes 60-63, have implicit EAX and EDX. */
static bool string_compare(const struct insn_row *row)
{
    return row->key.map == MAP_0F3A && row->key.space != SPACE_EVEX &&
           (row->key.opcode & 0xfc) == 0x60;
}

/* W is the width of a general register if there is one, else the guest's bit. */
static bool wide(const struct plan *p, const struct insn *i)
{
    return p->native && !p->has_gpr && !string_compare(p->row) ? i->flags & I_REXW : i->osz == 8;
}

static u32 prefixes_of(const struct plan *p, const struct insn *i)
{
    u32 prefixes = 0;

    /* In 16-bit code the fences have this size without the prefix, which they do not allow. */
    if ((i->osz == 2 && p->row->key.prefix != PFX_NP) || p->row->key.prefix == PFX_66)
        prefixes |= EMIT_66;
    if (wide(p, i))
        prefixes |= EMIT_W;
    if (p->row->key.prefix == PFX_F3)
        prefixes |= EMIT_F3;
    if (p->row->key.prefix == PFX_F2)
        prefixes |= EMIT_F2;
    if (i->flags & I_LOCK)
        prefixes |= EMIT_LOCK;
    if (p->byte_rex)
        prefixes |= EMIT_REX;
    return prefixes;
}

static struct emit_vex vex_fields(const struct plan *p, const struct insn *i)
{
    static const u8 pps[] = {[PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3};
    unsigned prefix = p->row->key.prefix;
    bool evex = p->row->key.space == SPACE_EVEX;

    return (struct emit_vex){.map = p->row->key.map,
                             .pp = prefix < ARRAY_SIZE(pps) ? pps[prefix] : 0,
                             .w = wide(p, i),
                             .l = evex ? i->bytes[i->opcode_at - 1] : i->vl,
                             .opcode = i->opcode};
}

static void emit_vector_prefixed(struct translator *t, const struct plan *p, const struct insn *i,
                                 const struct choice *c)
{
    struct emit_vex x = vex_fields(p, i);
    struct emit_mem m = emit_at(T0, 0);

    if (p->row->key.space == SPACE_EVEX) {
        if (p->memory)
            emit_evex_mem(t->e, &x, &m, c->reg, c->vvvv); /* rewrite() made it [T0] */
        else
            emit_evex_reg(t->e, &x, c->rm, c->reg, c->vvvv);
    } else if (p->memory) {
        emit_vex_mem(t->e, &x, &c->m, c->reg, c->vvvv);
    } else {
        emit_vex_reg(t->e, &x, c->rm, c->reg, c->vvvv);
    }
}

static void emit_legacy(struct translator *t, const struct plan *p, const struct insn *i,
                        const struct choice *c, u32 opcode)
{
    u32 prefixes = prefixes_of(p, i);

    if (opcode == 0x82) /* 64-bit code has not this alias of opcode 80 */
        opcode = 0x80;

    if (p->plus_guest != REG_NONE)
        emit_op_plus(t->e, prefixes, opcode, c->rm);
    else if (!(i->flags & I_MODRM))
        emit_op_plus(t->e, prefixes, opcode & ~7u, opcode & 7);
    else if (c->memory)
        emit_op_mem(t->e, prefixes, opcode, &c->m, c->reg);
    else
        emit_op_reg(t->e, prefixes, opcode, c->rm, c->reg);
}

/* XOR or SUB of a register with itself: its value does not matter. */
static bool clears(const struct plan *p, const struct insn *i)
{
    unsigned op = p->row->key.opcode;

    return p->row->key.map == MAP_1B && p->row->key.space == SPACE_LEGACY && !p->memory &&
           p->reg_guest == p->rm_guest && i->osz >= 4 &&
           (op == 0x31 || op == 0x33 || op == 0x29 || op == 0x2b);
}

/* The three registers in the vCPU meet two scratch registers only if one is just written. */
static void choose_registers(struct translator *t, const struct plan *p, const struct insn *i,
                             struct choice *c)
{
    unsigned rm_guest = p->plus_guest != REG_NONE ? p->plus_guest : p->rm_guest;
    bool cleared = clears(p, i);

    if (in_vcpu(p->rm_guest) && !cleared && takes_slot(t, p, i)) {
        c->memory = true;
        c->m = gpr_slot(p->rm_guest);
    } else if (rm_guest != REG_NONE) {
        c->rm = host_register(t, rm_guest, T0, p->rm_fresh || cleared);
    }
    if (p->vvvv_guest != REG_NONE)
        c->vvvv = lower_use(t, p->vvvv_guest, T1);
    if (p->reg_guest == REG_NONE)
        return;
    if (p->vvvv_guest != REG_NONE)
        c->reg = host_of(p->reg_guest) == HOST_NONE ? T0 : host_of(p->reg_guest);
    else if (cleared)
        c->reg = c->rm;
    else
        c->reg = host_register(t, p->reg_guest, T1, p->reg_fresh);
}

static void rewrite_registers(struct translator *t, const struct plan *p, const struct insn *i,
                              struct choice *c, u32 opcode)
{
    unsigned rm_guest = p->plus_guest != REG_NONE ? p->plus_guest : p->rm_guest;

    choose_registers(t, p, i, c);
    if (p->row->key.space == SPACE_LEGACY)
        emit_legacy(t, p, i, c, opcode);
    else
        emit_vector_prefixed(t, p, i, c);
    /* Outside 64-bit mode the top bit of a register number in an immediate is ignored. */
    if (p->is4 && !(t->block->mode & MODE_CODE64))
        emit_value(t->e, i->bytes[i->len - 1] & 0x7f, 1);
    else
        emit_bytes(t->e, i->bytes + i->len - p->imm_size, p->imm_size);
    if (p->vvvv_written)
        lower_put(t, p->vvvv_guest, c->vvvv);
    if (p->reg_written && !(p->reg_guest & REG_HIGH)) /* MULX r9, r9: the upper half stays */
        lower_put(t, p->reg_guest, c->reg);
    if (p->rm_written && rm_guest != REG_NONE && !(rm_guest & REG_HIGH) &&
        c->memory == p->memory) /* not done in its place */
        lower_put(t, rm_guest, c->rm);
}

static void rewrite(struct translator *t, struct plan *p, const struct insn *i,
                    const struct emit_mem *m)
{
    u32 opcode = choose_direction(t, p);
    struct choice c = {
        .reg = (i->modrm >> 3) & 7, .rm = i->modrm & 7, .vvvv = 0, .memory = p->memory, .m = *m};

    /* An EVEX displacement would be scaled. */
    if (p->row->key.space == SPACE_EVEX && p->memory && (m->index != HOST_NONE || m->disp))
        emit_lea(t->e, T0, m, 8);

    if (p->reg_vector != REG_NONE)
        c.reg = p->reg_vector;
    if (p->rm_vector != REG_NONE)
        c.rm = p->rm_vector;
    if (p->vvvv_vector != REG_NONE)
        c.vvvv = p->vvvv_vector;
    rewrite_registers(t, p, i, &c, opcode);
}

/* LEA, and the instructions that only compute an address. */
static void lower_no_access(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    unsigned host = host_of(i->reg) == HOST_NONE ? T0 : host_of(i->reg);
    struct mem_ref ref;

    if (i->id != INSN_LEA_GvM)
        return;
    lower_ref(t, ji, 0, false, &ref);
    ref.seg = REF_FLAT;
    if (i->osz == 2) {
        lower_address(t, &ref, 0);
        host = lower_use(t, i->reg, T1);
        emit_op_reg(t->e, EMIT_66, 0x8b, T0, host);
    } else if (ref.asz == 2) {
        lower_address(t, &ref, 0);
        emit_mov32(t->e, host, T0);
    } else {
        ref.asz = ref.asz < i->osz ? ref.asz : i->osz;
        lower_address_in(t, &ref, 0, host);
    }
    lower_put(t, i->reg, host);
}

/* The one-byte INC and DEC of 32-bit code are REX prefixes to the host. */
static void lower_inc_dec(struct translator *t, const struct insn *i)
{
    emit_op_reg(t->e, i->osz == 2 ? EMIT_66 : 0, 0xff, host_of(i->rm), i->id == INSN_DEC_Zv);
}

static void plan_ref(const struct translator *t, const struct jit_insn *ji, const struct plan *p,
                     struct mem_ref *ref)
{
    lower_ref(t, ji, p->mem_size, p->writes, ref);
    ref->aligned = p->native && (p->row->traits & T_ALIGN) && p->mem_size > 1;
}

/* General registers that no operand letter tells of. */
static u32 implied_written(const struct insn *i)
{
    switch (i->id) {
    case INSN_MUL_Eb:
    case INSN_IMUL_Eb:
    case INSN_CBW:
    case INSN_LAHF:
    case INSN_CMPXCHG_EbGb:
    case INSN_CMPXCHG_EvGv: return BIT(RAX);
    case INSN_MUL_Ev:
    case INSN_IMUL_Ev:
    case INSN_CWD:
    case INSN_CMPXCHG8B_Mq: return BIT(RAX) | BIT(RDX);
    default: return insn_row(i)->jit == CLASS_NATIVE ? BIT(RCX) : 0; /* PCMPESTRI */
    }
}

static u32 operand_bit(unsigned guest)
{
    return guest == REG_NONE ? 0 : guest & REG_HIGH ? (u32)BIT(guest & 3) : (u32)BIT(guest);
}

/* ADD, SUB with an immediate, INC, DEC and LEA move a whole register by a constant. */
static void find_adjustment(const struct translator *t, const struct insn *i,
                            struct reg_effects *effects)
{
    unsigned reg = i->rm;
    i64 by;

    if (i->osz != (t->block->mode & MODE_CODE64 ? 8 : 4))
        return;
    switch (i->id) {
    case INSN_ADD_rAXIz:
    case INSN_SUB_rAXIz:
        reg = RAX;
        by = i->id == INSN_ADD_rAXIz ? i->imm : -i->imm;
        break;
    case INSN_ADD_EvIz:
    case INSN_ADD_EvIbs: by = i->imm; break;
    case INSN_SUB_EvIz:
    case INSN_SUB_EvIbs: by = -i->imm; break;
    case INSN_INC_Ev: by = 1; break;
    case INSN_DEC_Ev: by = -1; break;
    case INSN_LEA_GvM:
        reg = i->reg;
        by = i->disp;
        if (i->base != i->reg || i->index != REG_NONE || i->asz != i->osz)
            return;
        break;
    default: return;
    }
    if ((i->id != INSN_LEA_GvM && (i->flags & I_MEM)) || by != (i32)by)
        return;
    effects->adjusted = (u8)reg;
    effects->by = (i32)by;
    effects->written = 0;
}

bool lower_generic_describe(const struct translator *t, const struct jit_insn *ji,
                            struct mem_ref *ref, struct reg_effects *effects)
{
    const struct insn *i = &ji->insn;
    struct plan p;

    if (!make_plan(t, i, &p))
        return false;
    if (p.memory)
        plan_ref(t, ji, &p, ref);
    effects->written = implied_written(i);
    for (unsigned n = 0; n < 4; n++)
        if (p.row->operands[n] == OPND_rAX || p.row->operands[n] == OPND_AL ||
            p.row->operands[n] == OPND_AX)
            effects->written |= BIT(RAX);
    if (p.reg_written)
        effects->written |= operand_bit(p.reg_guest);
    if (p.vvvv_written)
        effects->written |= operand_bit(p.vvvv_guest);
    if (p.rm_written)
        effects->written |= operand_bit(p.rm_guest) | operand_bit(p.plus_guest);
    find_adjustment(t, i, effects);
    return true;
}

enum flag_use lower_first_use(const struct translator *t, const struct insn *i)
{
    const struct insn_row *row = insn_row(i);
    struct plan p;

    if (row->jit == CLASS_BRANCH) {
        if (i->id == INSN_JMP_Jb || i->id == INSN_JMP_Jz || (row->flags_read & F_OSZAPC))
            return FLAG_NEEDS;
        return FLAG_DESTROYS;
    }
    if (!make_plan(t, i, &p) || p.native)
        return FLAG_DESTROYS;
    if (p.memory) /* a fault must find them */
        return t->block->mode & MODE_WINDOW && !t->block->arrives_saved ? FLAG_NEEDS
                                                                        : FLAG_DESTROYS;
    return lower_flag_use(i);
}

/* XCHG locks without being told (SDM 3A 8.1.2.2). */
static bool locks(const struct insn *i)
{
    return (i->flags & I_LOCK) || i->id == INSN_XCHG_EbGb || i->id == INSN_XCHG_EvGv;
}

bool lower_generic(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    enum flag_use use = lower_flag_use(i);
    struct emit_mem m = {0};
    struct mem_ref ref;
    struct plan p;

    if (!make_plan(t, i, &p))
        return false;
    if ((i->flags & I_MEM) && !p.memory) {
        lower_no_access(t, ji);
        return true;
    }
    if (p.native && (p.row->traits & (T_SSE | T_MMX)) != T_MMX)
        lower_want_vectors(t);
    if (p.row->traits & T_MMX)
        lower_want_x87(t);
    if (p.memory) {
        plan_ref(t, ji, &p, &ref);
        if (locks(i))
            lower_release_flags(t);
        m = lower_access(t, ji, &ref);
        if (locks(i))
            lower_locked(t, ji, &m, p.mem_size);
    }
    if (use == FLAG_NEEDS)
        lower_need_flags(t);
    if (i->id == INSN_INC_Zv || i->id == INSN_DEC_Zv)
        lower_inc_dec(t, i);
    else
        rewrite(t, &p, i, &m);
    if ((i->id == INSN_BSF_GvEv || i->id == INSN_BSR_GvEv) && !t->j->scan)
        lower_scan_flags(t, i->reg);
    if (insn_row(i)->flags_written & F_OSZAPC)
        t->flags = FLAGS_HOST;
    return true;
}

void lower_repeat(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem none = {0};
    struct plan p;

    check(make_plan(t, &ji->insn, &p), "a recipe that cannot be lowered");
    rewrite(t, &p, &ji->insn, &none);
}
