/* SPDX-License-Identifier: MIT */
#include "frontend/conform/decode_view.h"

#include <stdio.h>
#include <string.h>

#include "cpu/decode_internal.h"
#include "cpu/regs.h"

static u64 low_bits(u64 value, unsigned bytes)
{
    return bytes >= 8 ? value : value & (BIT(bytes * 8) - 1);
}

/* -- registers -- */

static const u16 gpr8[16] = {X86_REG_AL,   X86_REG_CL,   X86_REG_DL,   X86_REG_BL,
                             X86_REG_SPL,  X86_REG_BPL,  X86_REG_SIL,  X86_REG_DIL,
                             X86_REG_R8B,  X86_REG_R9B,  X86_REG_R10B, X86_REG_R11B,
                             X86_REG_R12B, X86_REG_R13B, X86_REG_R14B, X86_REG_R15B};
static const u16 high8[4] = {X86_REG_AH, X86_REG_CH, X86_REG_DH, X86_REG_BH};
static const u16 gpr16[16] = {X86_REG_AX,   X86_REG_CX,   X86_REG_DX,   X86_REG_BX,
                              X86_REG_SP,   X86_REG_BP,   X86_REG_SI,   X86_REG_DI,
                              X86_REG_R8W,  X86_REG_R9W,  X86_REG_R10W, X86_REG_R11W,
                              X86_REG_R12W, X86_REG_R13W, X86_REG_R14W, X86_REG_R15W};
static const u16 gpr32[16] = {X86_REG_EAX,  X86_REG_ECX,  X86_REG_EDX,  X86_REG_EBX,
                              X86_REG_ESP,  X86_REG_EBP,  X86_REG_ESI,  X86_REG_EDI,
                              X86_REG_R8D,  X86_REG_R9D,  X86_REG_R10D, X86_REG_R11D,
                              X86_REG_R12D, X86_REG_R13D, X86_REG_R14D, X86_REG_R15D};
static const u16 gpr64[16] = {X86_REG_RAX, X86_REG_RCX, X86_REG_RDX, X86_REG_RBX,
                              X86_REG_RSP, X86_REG_RBP, X86_REG_RSI, X86_REG_RDI,
                              X86_REG_R8,  X86_REG_R9,  X86_REG_R10, X86_REG_R11,
                              X86_REG_R12, X86_REG_R13, X86_REG_R14, X86_REG_R15};
static const u16 segments[6] = {X86_REG_ES, X86_REG_CS, X86_REG_SS,
                                X86_REG_DS, X86_REG_FS, X86_REG_GS};

static u16 gpr(unsigned n, unsigned size)
{
    if (n & REG_HIGH)
        return high8[n & 3];
    return size == 1 ? gpr8[n] : size == 2 ? gpr16[n] : size == 4 ? gpr32[n] : gpr64[n];
}

static u16 vector(unsigned n, unsigned size)
{
    return (u16)((size >= 64 ? X86_REG_ZMM0 : size == 32 ? X86_REG_YMM0 : X86_REG_XMM0) + n);
}

/* -- names -- */

/* Rows whose first word is not Capstone's, by operand size: 0 is any. */
static const struct alias {
    const char *row;
    u8 size;
    const char *name;
} aliases[] = {
#define ALIAS(row, size, name) {#row, size, name},
#include "frontend/conform/capstone_names.def"
#undef ALIAS
};

static const char *alias_of(const char *row, unsigned size)
{
    for (unsigned n = 0; n < ARRAY_SIZE(aliases); n++)
        if (!strcmp(aliases[n].row, row) && (!aliases[n].size || aliases[n].size == size))
            return aliases[n].name;
    return NULL;
}

/* Conditions by the flag in our names (SDM 2 appendix B.1.4.7), by the comparison in Capstone's. */
static const struct {
    const char *flag, *name;
} conditions[] = {{"NB", "ae"}, {"Z", "e"}, {"NZ", "ne"}, {"NBE", "a"}, {"NL", "ge"}, {"NLE", "g"}};

static void rename_condition(char *name)
{
    char *at = !strncmp(name, "CMOV", 4)  ? name + 4
               : !strncmp(name, "SET", 3) ? name + 3
               : name[0] == 'J'           ? name + 1
                                          : NULL;

    for (unsigned n = 0; at && n < ARRAY_SIZE(conditions); n++)
        if (!strcmp(at, conditions[n].flag)) {
            strcpy(at, conditions[n].name);
            return;
        }
}

static void expected_name(const struct insn_row *row, unsigned size, char name[32])
{
    unsigned length = (unsigned)strcspn(row->name, "_");
    const char *alias = alias_of(row->name, size);

    snprintf(name, 32, "%.*s", (int)length, row->name);
    if (!alias)
        alias = alias_of(name, size);
    if (alias)
        snprintf(name, 32, "%s", alias);
    rename_condition(name);
    for (char *c = name; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
}

static u16 find_id(csh capstone, const char *name)
{
    for (unsigned id = 1; id < X86_INS_ENDING; id++)
        if (!strcmp(cs_insn_name(capstone, id), name))
            return (u16)id;
    return 0;
}

void view_names_fill(struct view_names *names, csh capstone)
{
    char name[32], last[32] = "";
    u16 id = 0;

    for (unsigned row = 1; row < INSN_COUNT; row++)
        for (unsigned n = 0; n < 4; n++) {
            expected_name(&insn_rows[row], 1u << n, name);
            if (strcmp(name, last)) {
                id = find_id(capstone, name);
                strcpy(last, name);
            }
            names->id[row][n] = id;
        }
}

bool view_always_ud(unsigned id)
{
    return id == X86_INS_UD0 || id == X86_INS_UD2 || id == X86_INS_UD2B;
}

/* -- our operands -- */

static struct view_operand reg_operand(u16 reg, unsigned size)
{
    return (struct view_operand){.kind = VIEW_REG, .reg = reg, .size = (u8)size};
}

static struct view_operand imm_operand(u64 value, unsigned size)
{
    return (struct view_operand){
        .kind = VIEW_IMM, .value = low_bits(value, size), .size = (u8)size};
}

/* Bytes of a vector register of a kind. */
static unsigned vector_bytes(const struct insn *i, unsigned kind)
{
    unsigned vl = 16u << i->vl;

    switch (kind) {
    case OPND_Vx:
    case OPND_Hx:
    case OPND_Wx:
    case OPND_Ux:
    case OPND_Lx:
    case OPND_BCx:
    case OPND_Wdup: return vl;
    case OPND_Vhx:
    case OPND_Whx:
    case OPND_Uhx:
    case OPND_BChx: return vl / 2;
    case OPND_Vqq:
    case OPND_Wqq:
    case OPND_Hqq:
    case OPND_Uqq:
    case OPND_Lqq: return 32;
    case OPND_Voq:
    case OPND_Woq:
    case OPND_Hoq: return 64;
    case OPND_Vqx:
    case OPND_Wqx: return vl / 4;
    case OPND_Vex:
    case OPND_Wex: return vl / 8;
    default: return 16;
    }
}

static unsigned gpr_bytes(const struct insn *i, unsigned kind)
{
    const u64 vector = T_MMX | T_SSE | T_AVX | T_EVEX;

    switch (kind) {
    case OPND_Ew: return insn_row(i)->traits & vector ? 4 : 2; /* r32/m16: PINSRW */
    case OPND_Gw: return 2;
    case OPND_Ed:
    case OPND_Gd:
    case OPND_Rd: return 4;
    case OPND_Eq: return 8;
    default: return i->osz;
    }
}

static struct view_operand file_register(const struct insn *i, unsigned kind, unsigned n)
{
    unsigned size;

    switch ((enum operand_file)operand_infos[kind].file) {
    case FILE_GPR8: return reg_operand(gpr(n, 1), 1);
    case FILE_GPR: size = gpr_bytes(i, kind); return reg_operand(gpr(n, size), size);
    case FILE_VEC: size = vector_bytes(i, kind); return reg_operand(vector(n, size), size);
    case FILE_MMX: return reg_operand((u16)(X86_REG_MM0 + n), 8);
    case FILE_K: return reg_operand((u16)(X86_REG_K0 + n), 0);
    case FILE_SEG: return reg_operand(segments[n], 2);
    case FILE_CR: return reg_operand((u16)(X86_REG_CR0 + n), i->osz);
    case FILE_DR: return reg_operand((u16)(X86_REG_DR0 + n), i->osz);
    case FILE_ST: return reg_operand((u16)(X86_REG_ST0 + n), 10);
    case FILE_NONE: break;
    }
    return reg_operand(0, 0);
}

/* Registers and values that the opcode implies. */
static bool implied_operand(const struct insn *i, unsigned kind, struct view_operand *o)
{
    unsigned io_size = i->osz > 4 ? 4 : i->osz;

    switch (kind) {
    case OPND_AL: *o = reg_operand(X86_REG_AL, 1); break;
    case OPND_CL: *o = reg_operand(X86_REG_CL, 1); break;
    case OPND_DX: *o = reg_operand(X86_REG_DX, 2); break;
    case OPND_AX: *o = reg_operand(X86_REG_AX, 2); break;
    case OPND_rAX: *o = reg_operand(gpr(RAX, i->osz), i->osz); break;
    case OPND_eAX: *o = reg_operand(gpr(RAX, io_size), io_size); break;
    case OPND_One: *o = imm_operand(1, 1); break;
    case OPND_ES: *o = reg_operand(X86_REG_ES, 2); break;
    case OPND_CS: *o = reg_operand(X86_REG_CS, 2); break;
    case OPND_SS: *o = reg_operand(X86_REG_SS, 2); break;
    case OPND_DS: *o = reg_operand(X86_REG_DS, 2); break;
    case OPND_FS: *o = reg_operand(X86_REG_FS, 2); break;
    case OPND_GS: *o = reg_operand(X86_REG_GS, 2); break;
    default: return false;
    }
    return true;
}

/* In 64-bit mode CS, DS, ES and SS are based at 0: neither overrides nor defaults matter. */
static u16 override(const struct insn *i)
{
    return i->flags & I_SEG ? segments[i->seg] : 0;
}

static struct view_operand memory_operand(const struct insn *i, unsigned kind)
{
    struct view_operand o = {.kind = VIEW_MEM, .scale = 1, .size = (u8)insn_mem_size(i)};
    bool vsib = operand_infos[kind].field == FIELD_VSIB;

    o.segment = override(i);
    o.value = low_bits((u64)i->disp, i->asz);
    if (i->base == REG_IP)
        o.base = i->asz == 8 ? X86_REG_RIP : X86_REG_EIP;
    else if (i->base != REG_NONE)
        o.base = gpr(i->base, i->asz);
    if (i->index != REG_NONE) {
        o.index = vsib ? vector(i->index, 16) : gpr(i->index, i->asz);
        o.scale = (u8)(1u << i->scale);
    }
    return o;
}

static struct view_operand string_operand(const struct insn *i, unsigned kind, unsigned code_size)
{
    bool source = kind == OPND_Xb || kind == OPND_Xv || kind == OPND_Xz;
    struct view_operand o = {.kind = VIEW_MEM, .scale = 1};

    o.size = (u8)insn_mem_size(i);
    o.base = gpr(source ? RSI : RDI, i->asz);
    if (source)
        o.segment = override(i);
    else
        o.segment = code_size == 8 ? 0 : X86_REG_ES;
    return o;
}

static struct view_operand immediate_operand(const struct insn *i, unsigned kind, unsigned nth,
                                             unsigned code_size)
{
    unsigned imm = operand_infos[kind].imm, mask = i->osz;
    u64 target = VIEW_ADDRESS + i->len + (u64)i->imm;

    if (imm == IMM_MOFFS) {
        struct view_operand o = {.kind = VIEW_MEM, .scale = 1, .size = (u8)insn_mem_size(i)};

        o.segment = override(i);
        o.value = low_bits((u64)i->imm, i->asz);
        return o;
    }
    if (imm == IMM_J8 || imm == IMM_JZ)
        return imm_operand(target, code_size == 8 ? 8 : i->osz);
    if (nth)
        return imm_operand(i->imm2, 1);
    if (imm == IMM_8 || operand_infos[kind].field == FIELD_IS4)
        mask = 1;
    if (imm == IMM_16)
        mask = 2;
    return imm_operand((u64)i->imm, mask);
}

static struct view_operand our_operand(const struct insn *i, unsigned kind, unsigned *immediates,
                                       unsigned code_size)
{
    const struct operand_info *info = &operand_infos[kind];
    struct view_operand o;

    if (implied_operand(i, kind, &o))
        return o;
    switch ((enum operand_field)info->field) {
    case FIELD_REG: return file_register(i, kind, i->reg);
    case FIELD_VVVV: return file_register(i, kind, i->vvvv);
    case FIELD_OPCODE: return file_register(i, kind, i->rm);
    case FIELD_IS4: return file_register(i, kind, (i->imm >> 4) & (code_size == 8 ? 15 : 7));
    case FIELD_VSIB: return memory_operand(i, kind);
    case FIELD_RM:
        if (i->flags & I_MEM)
            return memory_operand(i, kind);
        return file_register(i, kind, i->rm);
    case FIELD_IMM: return immediate_operand(i, kind, (*immediates)++, code_size);
    case FIELD_NONE: break;
    }
    return string_operand(i, kind, code_size);
}

/* Rows whose operands are written differently from how they are decoded. */
static void finish(struct decode_view *v, const struct insn *i)
{
    struct view_operand first = v->operand[0];

    switch (i->id) {
    case INSN_CBW:
    case INSN_CWD:
    case INSN_SALC:
    case INSN_XLAT: v->count = 0; break;
    case INSN_XCHG_ZvrAX:
        v->operand[0] = v->operand[1];
        v->operand[1] = first;
        break;
    case INSN_CALL_Ap:
    case INSN_JMP_Ap:
        v->operand[0] = imm_operand(i->imm2, 2);
        v->operand[1] = imm_operand((u64)i->imm, i->osz);
        v->count = 2;
        break;
    default: break;
    }
}

/* JCXZ, JECXZ and JRCXZ differ in the address size, as do MOV and its MOVABS forms. */
static bool named_by_address(const struct insn *i)
{
    return i->id == INSN_JCXZ_Jb || operand_infos[insn_row(i)->operands[0]].imm == IMM_MOFFS ||
           operand_infos[insn_row(i)->operands[1]].imm == IMM_MOFFS;
}

void view_of_insn(struct decode_view *v, const struct view_names *names, const struct insn *i,
                  unsigned code_size)
{
    const struct insn_row *row = insn_row(i);
    unsigned immediates = 0;

    *v = (struct decode_view){.valid = true, .length = i->len};
    v->mnemonic = names->id[i->id][__builtin_ctz(named_by_address(i) ? i->asz : i->osz)];
    for (unsigned n = 0; n < 4 && row->operands[n] != OPND_None; n++) {
        if (row->operands[n] == OPND_ST0 || row->operands[n] == OPND_XMM0)
            continue; /* view_drop_implied() */
        v->operand[v->count++] = our_operand(i, row->operands[n], &immediates, code_size);
        if (n == 0 && (row->traits & T_MASK) && i->aaa)
            v->operand[v->count++] = reg_operand((u16)(X86_REG_K0 + i->aaa), 0);
    }
    finish(v, i);
}

/* -- Capstone's operands -- */

static u16 real_index(unsigned reg)
{
    return reg == X86_REG_EIZ || reg == X86_REG_RIZ ? 0 : (u16)reg;
}

/* The width of a VSIB index is a matter of the opcode: the number is compared. */
static u16 index_number(u16 reg)
{
    if (reg >= X86_REG_YMM0 && reg <= X86_REG_YMM31)
        return (u16)(reg - X86_REG_YMM0 + X86_REG_XMM0);
    if (reg >= X86_REG_ZMM0 && reg <= X86_REG_ZMM31)
        return (u16)(reg - X86_REG_ZMM0 + X86_REG_XMM0);
    return reg;
}

static void capstone_memory(struct view_operand *o, const cs_x86_op *op, unsigned address_size)
{
    o->kind = VIEW_MEM;
    o->size = op->size;
    o->segment = (u16)op->mem.segment;
    o->base = (u16)op->mem.base;
    o->index = index_number(real_index(op->mem.index));
    o->scale = o->index ? (u8)op->mem.scale : 1;
    o->value = low_bits((u64)op->mem.disp, address_size);
}

void view_of_capstone(struct decode_view *v, const cs_insn *i)
{
    const cs_x86 *x = &i->detail->x86;

    *v = (struct decode_view){.valid = true, .length = (u8)i->size, .mnemonic = (u16)i->id};
    for (unsigned n = 0; n < x->op_count && n < VIEW_OPERANDS; n++) {
        const cs_x86_op *op = &x->operands[n];
        struct view_operand *o = &v->operand[v->count++];

        if (op->type == X86_OP_MEM) {
            capstone_memory(o, op, x->addr_size);
        } else if (op->type == X86_OP_REG) {
            *o = reg_operand((u16)op->reg, op->size);
        } else {
            *o = imm_operand((u64)op->imm, 8);
        }
    }
    if ((i->id == X86_INS_AAD || i->id == X86_INS_AAM) && !v->count)
        v->operand[v->count++] = imm_operand(10, 8);
}

/* Whether an operand is a register that opcodes imply and Capstone writes now and then. */
static bool is_implied(const struct view_operand *o)
{
    return o->kind == VIEW_REG && (o->reg == X86_REG_ST0 || o->reg == X86_REG_XMM0);
}

void view_drop_implied(struct decode_view *v, unsigned count)
{
    if (v->count <= count || !v->count)
        return;
    if (is_implied(&v->operand[v->count - 1])) {
        v->count--;
    } else if (is_implied(&v->operand[0])) {
        v->count--;
        memmove(&v->operand[0], &v->operand[1], v->count * sizeof(v->operand[0]));
    }
}

/* -- comparing -- */

/* a is ours. */
static bool same_operand(const struct view_operand *a, const struct view_operand *b)
{
    if (a->kind != b->kind)
        return false;
    switch ((enum view_kind)a->kind) {
    case VIEW_REG: return a->reg == b->reg;
    case VIEW_IMM: return a->value == low_bits(b->value, a->size);
    case VIEW_MEM: break;
    }
    return a->base == b->base && a->index == b->index && a->scale == b->scale &&
           a->value == b->value;
}

unsigned view_compare(const struct decode_view *a, const struct decode_view *b)
{
    unsigned aspects = 0;

    if (!a->valid || !b->valid)
        return a->valid ? ASPECT_VALID : b->valid ? ASPECT_INVALID : 0;
    if (a->length != b->length)
        aspects |= ASPECT_LENGTH;
    if (a->mnemonic != b->mnemonic)
        aspects |= ASPECT_MNEMONIC;
    if (a->count != b->count)
        return aspects | ASPECT_OPERANDS;
    for (unsigned n = 0; n < a->count; n++) {
        const struct view_operand *x = &a->operand[n], *y = &b->operand[n];

        if (!same_operand(x, y))
            aspects |= ASPECT_OPERANDS;
        if (x->kind != VIEW_MEM || y->kind != VIEW_MEM)
            continue;
        aspects |= x->size && x->size != y->size ? ASPECT_SIZE : 0;
        aspects |= x->segment != y->segment ? ASPECT_SEGMENT : 0;
    }
    return aspects;
}

/* -- text -- */

static const char *reg_name(csh capstone, unsigned reg)
{
    const char *name = cs_reg_name(capstone, reg);

    return name ? name : "?";
}

static int operand_text(const struct view_operand *o, csh capstone, char *text, size_t size)
{
    char address[64] = "";

    if (o->kind == VIEW_REG)
        return snprintf(text, size, "%s", reg_name(capstone, o->reg));
    if (o->kind == VIEW_IMM)
        return snprintf(text, size, "0x%lx", o->value);
    if (o->index)
        snprintf(address, sizeof(address), " + %s*%u", reg_name(capstone, o->index), o->scale);
    return snprintf(text, size, "%s%s[%s%s + 0x%lx]:%u",
                    o->segment ? reg_name(capstone, o->segment) : "", o->segment ? ":" : "",
                    o->base ? reg_name(capstone, o->base) : "0", address, o->value, o->size);
}

void view_text(const struct decode_view *v, csh capstone, char *text, size_t size)
{
    const char *name = v->mnemonic ? cs_insn_name(capstone, v->mnemonic) : "?";
    size_t at;

    if (!v->valid) {
        snprintf(text, size, "#UD");
        return;
    }
    at = (size_t)snprintf(text, size, "%s", name);
    for (unsigned n = 0; n < v->count && at < size; n++) {
        at += (size_t)snprintf(text + at, size - at, n ? ", " : " ");
        if (at < size)
            at += (size_t)operand_text(&v->operand[n], capstone, text + at, size - at);
    }
    if (at < size)
        snprintf(text + at, size - at, " (%u bytes)", v->length);
}
