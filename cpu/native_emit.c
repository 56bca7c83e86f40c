/* SPDX-License-Identifier: MIT
 *
 * The code of thunks: loads, the re-encoded instruction (SDM 2 chapter 2), stores. See
 * native_thunk.h for the plan that this follows.
 *
 * Fixed registers: vectors xmm1 (ModRM.reg), xmm2 (ModRM.rm), xmm3 (vvvv), xmm4 (imm8[7:4]), xmm0
 * (implicit); general eax, ecx, edx in that order; mm1, mm2; opmasks k2, k3, k4, and k1 for k<aaa>.
 * r10 and r11 keep where vector results go. rdi is the operand block throughout.
 */
#include "cpu/native_thunk.h"
#include "mem/base/bits.h"

#define CALL_FIELD(member) ((unsigned)offsetof(struct native_call, member))

enum { HOST_RAX, HOST_RCX, HOST_RDX, HOST_RDI = 7, HOST_R8 = 8, HOST_R10 = 10, HOST_R11 = 11 };

struct emit {
    u8 *at;
    const struct native_host *host;
    const struct insn *insn;
    const struct insn_row *row;
    const struct thunk *thunk;
};

static void put(struct emit *e, unsigned byte)
{
    *e->at++ = (u8)byte;
}

static void put_bytes(struct emit *e, const char *bytes, size_t count)
{
    memcpy(e->at, bytes, count);
    e->at += count;
}
#define PUT(e, string) put_bytes(e, string, sizeof(string) - 1)

/* ModRM and disp32 for [rdi + offset]. */
static void put_block(struct emit *e, unsigned reg, unsigned offset)
{
    put(e, 0x80 | reg << 3 | HOST_RDI);
    store_le(e->at, offset, 4);
    e->at += 4;
}

/* Host register of a vector operand. */
static unsigned vector_number(enum native_slot slot)
{
    return slot == SLOT_XMM0 ? 0 : slot + 1;
}

/* Host register of an operand of any file. */
static unsigned number(const struct native_operand *o)
{
    switch (o->file) {
    case FILE_VEC: return vector_number((enum native_slot)o->slot);
    case FILE_GPR: return o->slot;
    case FILE_MMX: return o->slot + 1;
    default: return o->slot + 2; /* opmasks */
    }
}

/* The argument register that points to the vector row of a field. */
static unsigned row_pointer(enum native_slot slot)
{
    static const u8 pointers[SLOT_COUNT] = {6, 2, 1, HOST_R8, HOST_R8};

    return pointers[slot];
}

/* Moves a vector between host register n and [base]: 16 bytes for legacy rows, else all that the
 * instruction can see (load) or the host has (store). */
static void vector_move(struct emit *e, bool store, unsigned n, unsigned base)
{
    unsigned opcode = store ? 0x11 : 0x10;
    unsigned low = base & 7, far = base >> 3;

    if (e->row->key.space == SPACE_LEGACY) { /* movups */
        if (far)
            put(e, 0x41);
        put(e, 0x0f);
    } else if (e->host->avx512f && (store || e->row->key.space == SPACE_EVEX)) { /* vmovups zmm */
        put(e, 0x62);
        put(e, 0xf1 & ~(far << 5));
        PUT(e, "\x7c\x48");
    } else { /* vmovups ymm */
        put(e, 0xc4);
        put(e, 0xe1 & ~(far << 5));
        put(e, 0x7c);
    }
    put(e, opcode);
    put(e, n << 3 | low);
}

/* kmovq, or kmovw where the host has only 16 bits. */
static void mask_move(struct emit *e, bool store, unsigned n, unsigned offset)
{
    PUT(e, "\xc4\xe1");
    put(e, e->host->avx512bw ? 0xf8 : 0x78);
    put(e, store ? 0x91 : 0x90);
    put_block(e, n, offset);
}

static void gpr_move(struct emit *e, bool store, unsigned n, unsigned offset)
{
    put(e, 0x48);
    put(e, store ? 0x89 : 0x8b);
    put_block(e, n, offset);
}

static void ldmxcsr(struct emit *e, unsigned offset)
{
    PUT(e, "\x0f\xae");
    put_block(e, 2, offset);
}

static void stmxcsr(struct emit *e, unsigned offset)
{
    PUT(e, "\x0f\xae");
    put_block(e, 3, offset);
}

/* The string compares of map 0F3A, opcodes 60-63, have implicit EAX, EDX and ECX. */
static bool is_string_compare(const struct insn_row *row)
{
    return row->key.map == MAP_0F3A && row->key.space != SPACE_EVEX &&
           (row->key.opcode & 0xfc) == 0x60;
}

static const struct native_operand *find(const struct thunk *t, enum native_slot slot)
{
    for (unsigned n = 0; n < t->count; n++)
        if (t->operand[n].slot == slot)
            return &t->operand[n];
    return NULL;
}

static bool has_file(const struct thunk *t, enum operand_file file)
{
    for (unsigned n = 0; n < t->count; n++)
        if (t->operand[n].file == file)
            return true;
    return false;
}

/* Pointer registers may be overwritten by general operands, so where results go is saved first and
 * vectors are loaded before anything else. */
static void load_vectors(struct emit *e)
{
    const struct thunk *t = e->thunk;
    unsigned keep = HOST_R10;

    for (unsigned n = 0; n < t->count; n++) {
        const struct native_operand *o = &t->operand[n];
        unsigned pointer;

        if (o->file != FILE_VEC)
            continue;
        pointer = row_pointer((enum native_slot)o->slot);
        if (o->write) { /* mov r10, pointer */
            put(e, pointer & 8 ? 0x4d : 0x49);
            put(e, 0x89);
            put(e, 0xc0 | (pointer & 7) << 3 | (keep++ & 7));
        }
        if (o->read)
            vector_move(e, false, number(o), pointer);
    }
}

static void load_scalars(struct emit *e)
{
    const struct thunk *t = e->thunk;

    for (unsigned n = 0; n < t->count; n++) {
        const struct native_operand *o = &t->operand[n];

        if (o->file == FILE_MMX && o->read) { /* movq */
            PUT(e, "\x0f\x6f");
            put_block(e, number(o), CALL_FIELD(mmx) + 8 * o->slot);
        } else if (o->file == FILE_K && o->read) {
            mask_move(e, false, number(o), CALL_FIELD(k) + 8 * o->slot);
        }
    }
    if (e->insn->aaa)
        mask_move(e, false, 1, CALL_FIELD(k) + 8 * 3);
    if (t->mxcsr) {
        stmxcsr(e, CALL_FIELD(host_mxcsr));
        ldmxcsr(e, CALL_FIELD(mxcsr));
    }
    for (unsigned n = 0; n < t->count; n++)
        if (t->operand[n].file == FILE_GPR && t->operand[n].read)
            gpr_move(e, false, number(&t->operand[n]), CALL_FIELD(gpr) + 8 * t->operand[n].slot);
    if (is_string_compare(e->row)) {
        gpr_move(e, false, HOST_RAX, CALL_FIELD(rax));
        gpr_move(e, false, HOST_RDX, CALL_FIELD(rdx));
    }
}

static void store_results(struct emit *e)
{
    const struct thunk *t = e->thunk;
    unsigned keep = HOST_R10;

    if (e->row->flags_written) { /* pushfq; pop [rdi + rflags] */
        PUT(e, "\x9c\x8f");
        put_block(e, 0, CALL_FIELD(rflags));
    }
    for (unsigned n = 0; n < t->count; n++) {
        const struct native_operand *o = &t->operand[n];

        if (!o->write)
            continue;
        switch (o->file) {
        case FILE_GPR: gpr_move(e, true, number(o), CALL_FIELD(gpr) + 8 * o->slot); break;
        case FILE_K: mask_move(e, true, number(o), CALL_FIELD(k) + 8 * o->slot); break;
        case FILE_VEC: vector_move(e, true, number(o), keep++); break;
        case FILE_MMX:
            PUT(e, "\x0f\x7f");
            put_block(e, number(o), CALL_FIELD(mmx) + 8 * o->slot);
            break;
        default: break;
        }
    }
    if (is_string_compare(e->row))
        gpr_move(e, true, HOST_RCX, CALL_FIELD(rcx));
    if (t->mxcsr) {
        stmxcsr(e, CALL_FIELD(mxcsr));
        ldmxcsr(e, CALL_FIELD(host_mxcsr));
    }
    if (has_file(t, FILE_MMX))
        PUT(e, "\x0f\x77"); /* emms */
    if (e->row->key.space != SPACE_LEGACY)
        PUT(e, "\xc5\xf8\x77"); /* vzeroupper */
    PUT(e, "\x31\xc0\xc3");     /* xor eax, eax; ret */
}

/* Whether an operand is a general register, or memory in its place. */
static bool has_general_operand(const struct insn_row *row)
{
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].file == FILE_GPR)
            return true;
    return false;
}

/* W of the new encoding: where it is the width of a general register, what the guest's mode made of
 * it, else the guest's bit. */
static bool encoded_w(const struct emit *e)
{
    if (has_general_operand(e->row) || is_string_compare(e->row))
        return e->insn->osz == 8;
    return (e->insn->flags & I_REXW) != 0;
}

static void put_legacy_prefixes(struct emit *e)
{
    static const u8 mandatory[] = {[PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2};
    unsigned prefix = e->row->key.prefix;

    if (prefix < ARRAY_SIZE(mandatory) && mandatory[prefix])
        put(e, mandatory[prefix]);
    if (encoded_w(e))
        put(e, 0x48);
    put(e, 0x0f);
    if (e->row->key.map == MAP_0F38)
        put(e, 0x38);
    else if (e->row->key.map == MAP_0F3A)
        put(e, 0x3a);
}

static unsigned prefix_pp(const struct insn_row *row)
{
    static const u8 pp[] = {[PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3};

    return row->key.prefix < ARRAY_SIZE(pp) ? pp[row->key.prefix] : 0;
}

/* vvvv as it is encoded (inverted), 1111b when unused. */
static unsigned encoded_vvvv(const struct emit *e)
{
    const struct native_operand *o = find(e->thunk, SLOT_VVVV);

    return o ? ~number(o) & 15 : 15;
}

static void put_vex(struct emit *e)
{
    put(e, 0xc4);
    put(e, 0xe0 | e->row->key.map);
    put(e, (unsigned)encoded_w(e) << 7 | encoded_vvvv(e) << 3 | (e->insn->vl & 1u) << 2 |
               prefix_pp(e->row));
}

/* z, L'L and b are taken as they are in the guest's third payload byte. */
static void put_evex(struct emit *e)
{
    const u8 *payload = e->insn->bytes + e->insn->opcode_at - 3;

    put(e, 0x62);
    put(e, 0xf0 | (payload[0] & 7));
    put(e, (unsigned)encoded_w(e) << 7 | encoded_vvvv(e) << 3 | 4 | (payload[1] & 3));
    put(e, (payload[2] & 0xf0) | 8 | (e->insn->aaa ? 1 : 0));
}

static void put_modrm(struct emit *e)
{
    const struct native_operand *reg = find(e->thunk, SLOT_REG);
    const struct native_operand *rm = find(e->thunk, SLOT_RM);
    unsigned r = reg ? number(reg) : (e->insn->modrm >> 3) & 7;

    if (e->thunk->mem_size)
        put(e, r << 3 | HOST_RDI);
    else
        put(e, 0xc0 | r << 3 | (rm ? number(rm) : e->insn->modrm & 7u));
}

static void put_immediates(struct emit *e)
{
    bool first = true;

    for (unsigned n = 0; n < 4; n++) {
        unsigned kind = e->row->operands[n];

        if (operand_infos[kind].field == FIELD_IS4)
            put(e, vector_number(SLOT_IS4) << 4 | ((unsigned)e->insn->imm & 15));
        if (kind == OPND_Ib) {
            put(e, first ? (unsigned)e->insn->imm : e->insn->imm2);
            first = false;
        }
    }
}

size_t native_emit(u8 *code, const struct native_host *host, const struct insn *i,
                   const struct thunk *t)
{
    struct emit e = {code, host, i, insn_row(i), t};

    load_vectors(&e);
    load_scalars(&e);
    switch (e.row->key.space) {
    case SPACE_VEX: put_vex(&e); break;
    case SPACE_EVEX: put_evex(&e); break;
    default: put_legacy_prefixes(&e); break;
    }
    put(&e, e.row->key.opcode);
    put_modrm(&e);
    put_immediates(&e);
    store_results(&e);
    return (size_t)(e.at - code);
}

size_t native_emit_x87(u8 *code, const struct insn *i)
{
    struct emit e = {.at = code, .insn = i, .row = insn_row(i)};

    stmxcsr(&e, CALL_FIELD(host_mxcsr));
    PUT(&e, "\xd9"); /* fnstcw */
    put_block(&e, 7, CALL_FIELD(host_fcw));
    PUT(&e, "\x48\x0f\xae"); /* fxrstor64 */
    put_block(&e, 1, CALL_FIELD(fx));
    if (e.row->flags_read) { /* push [rdi + rflags]; popfq */
        PUT(&e, "\xff");
        put_block(&e, 6, CALL_FIELD(rflags));
        PUT(&e, "\x9d");
    }
    put(&e, i->opcode);
    if (i->flags & I_MEM)
        put(&e, (i->modrm & 0x38) | HOST_RDI);
    else
        put(&e, i->modrm);
    if (e.row->flags_written) {
        PUT(&e, "\x9c\x8f");
        put_block(&e, 0, CALL_FIELD(rflags));
    }
    PUT(&e, "\x48\x0f\xae"); /* fxsave64 */
    put_block(&e, 0, CALL_FIELD(fx));
    PUT(&e, "\xdb\xe3\xd9"); /* fninit: nothing is pending any more; fldcw */
    put_block(&e, 5, CALL_FIELD(host_fcw));
    ldmxcsr(&e, CALL_FIELD(host_mxcsr));
    PUT(&e, "\x31\xc0\xc3");
    return (size_t)(e.at - code);
}

size_t native_emit_fault_exit(u8 *code, const struct native_host *host)
{
    struct emit e = {.at = code, .host = host};

    stmxcsr(&e, CALL_FIELD(mxcsr));
    ldmxcsr(&e, CALL_FIELD(host_mxcsr));
    PUT(&e, "\xdb\xe3"); /* fninit: MMX or x87 registers may be loaded */
    if (host->avx)
        PUT(&e, "\xc5\xf8\x77");
    PUT(&e, "\xc3"); /* EAX holds the reason */
    return (size_t)(e.at - code);
}
