/* SPDX-License-Identifier: MIT
 *
 * Lint of the instruction table: every row can be reached, no two rows claim an encoding with equal
 * right, operands, traits and classes are consistent, every operand kind has a meaning.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/decode_internal.h"
#include "cpu/regs.h"
#include "tests/suite.h"

static bool has_field(const struct insn_row *row, unsigned field)
{
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].field == field)
            return true;
    return false;
}

static bool has_file(const struct insn_row *row, unsigned file)
{
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].file == file)
            return true;
    return false;
}

static bool can_be_memory(const struct insn_row *row)
{
    return (has_field(row, FIELD_RM) || has_field(row, FIELD_VSIB)) &&
           decode_row_mod(row) != MOD_REG && decode_row_mod(row) != MOD_IGNORED;
}

/* Kinds that the opcode implies; all others have a field. */
static const u8 implied[] = {OPND_None, OPND_Xb,  OPND_Xv,  OPND_Yb,  OPND_Yv, OPND_Xz,
                             OPND_Yz,   OPND_AL,  OPND_CL,  OPND_DX,  OPND_AX, OPND_rAX,
                             OPND_eAX,  OPND_One, OPND_ES,  OPND_CS,  OPND_SS, OPND_DS,
                             OPND_FS,   OPND_GS,  OPND_ST0, OPND_XMM0};

START_TEST(every_operand_kind_has_a_meaning)
{
    for (unsigned kind = 0; kind < OPND_COUNT; kind++)
        if (!memchr(implied, (int)kind, sizeof(implied)))
            ck_assert_msg(operand_infos[kind].field != FIELD_NONE, "operand kind %u", kind);
}
END_TEST

/* -- reachability -- */

struct reach {
    bool seen[INSN_COUNT];
};

static void try_bytes(struct reach *r, unsigned code_size, const u8 *bytes)
{
    struct decode_ctx ctx = {.code_size = (u8)code_size, .protected_mode = true};
    struct insn i;

    if (insn_decode(&ctx, bytes, 15, &i) == DECODE_OK)
        r->seen[i.id] = true;
}

/* Appends ModRM bytes of every kind, with a SIB that suits VSIB. */
static void try_modrm(struct reach *r, unsigned code_size, u8 *bytes, unsigned at)
{
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        if ((modrm >> 6) % 3) /* mod 0 and 3 will do */
            continue;
        bytes[at] = (u8)modrm;
        memcpy(bytes + at + 1, "\x29\x11\x12\x13\x14\x15\x16\x17\x18\x19", 10);
        try_bytes(r, code_size, bytes);
    }
}

static void try_legacy(struct reach *r, const struct insn_row *row)
{
    static const u8 escape[4][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    static const u8 escape_size[4] = {0, 1, 2, 2};
    static const u8 prefixes[] = {0, 0x66, 0xf3, 0xf2};
    u8 bytes[32];

    for (unsigned n = 0; n < 12; n++) {
        unsigned at = 0, code_size = n < 4 ? 4 : 8;

        if (n % 4)
            bytes[at++] = prefixes[n % 4];
        if (n >= 8)
            bytes[at++] = 0x48;
        memcpy(bytes + at, escape[row->key.map], 2);
        at += escape_size[row->key.map];
        bytes[at++] = row->key.opcode | row->key.plus_r; /* 91: XCHG, as 90 is NOP */
        try_modrm(r, code_size, bytes, at);
    }
}

static void try_vex(struct reach *r, const struct insn_row *row)
{
    u8 bytes[32] = {0xc4, (u8)(0xe0 | row->key.map), 0, row->key.opcode};

    for (unsigned n = 0; n < 32; n++) { /* pp, L, W, vvvv used or not */
        bytes[2] = (u8)((n & 7) | (n & 8) << 4 | (n & 16 ? 0x58 : 0x78));
        try_modrm(r, 8, bytes, 4);
        try_modrm(r, 4, bytes, 4);
    }
}

static void try_evex(struct reach *r, const struct insn_row *row)
{
    u8 bytes[32] = {0x62, (u8)(0xf0 | row->key.map), 0, 0, row->key.opcode};

    for (unsigned n = 0; n < 96; n++) { /* pp, W, aaa, vvvv used or not, L'L */
        bytes[2] = (u8)(4 | (n & 3) | (n & 4) << 5 | (n & 8 ? 0x58 : 0x78));
        bytes[3] = (u8)(8 | (n & 16 ? 1 : 0) | n / 32 << 5);
        try_modrm(r, 8, bytes, 5);
    }
}

START_TEST(every_row_is_reachable)
{
    struct reach *r = calloc(1, sizeof(*r));
    unsigned missing = 0;

    for (unsigned id = INSN_INVALID + 1; id < INSN_COUNT; id++) {
        const struct insn_row *row = &insn_rows[id];

        if (row->key.space == SPACE_LEGACY)
            try_legacy(r, row);
        else if (row->key.space == SPACE_VEX)
            try_vex(r, row);
        else
            try_evex(r, row);
        if (!r->seen[id]) {
            printf("unreachable: %s\n", row->name);
            missing++;
        }
    }
    free(r);
    ck_assert_uint_eq(missing, 0);
}
END_TEST

/* -- precedence -- */

static unsigned prefix_set(unsigned prefix)
{
    switch (prefix) {
    case PFX_ANY: return 15;
    case PFX_NP: return 1;
    case PFX_66: return 2;
    case PFX_F3: return 4;
    case PFX_F2: return 8;
    case PFX_NO_F2: return 7;
    default: return 3;
    }
}

static unsigned mod_set(const struct insn_row *row)
{
    unsigned mod = decode_row_mod(row);

    return mod == MOD_MEM ? 1 : mod == MOD_REG ? 2 : 3;
}

static unsigned field_set(unsigned required)
{
    return required ? 1u << (required - 1) : 0xff;
}

/* Bits: W = 0 and 1 in 64-bit mode, then outside of it. */
static unsigned w_mode_set(const struct insn_row *row)
{
    static const u8 w_sets[] = {
        [W_ANY] = 15, [W_0] = 5, [W_1] = 10, [W_GPR0] = 13, [W_GPR1] = 2, [W_1_AMD] = 10};
    static const u8 mode_sets[] = {[MODE_ANY] = 15, [MODE_NOT64] = 12, [MODE_ONLY64] = 3};

    return w_sets[row->key.w] & mode_sets[row->key.mode];
}

static unsigned length_set(const struct insn_row *row)
{
    static const u8 sets[] = {
        [L_ANY] = 7, [L_0] = 1, [L_1] = 2, [L_2] = 4, [L_LIG] = 7, [L_12] = 6};

    return sets[row->key.l];
}

static void key_sets(const struct insn_row *row, unsigned set[7])
{
    set[0] = prefix_set(row->key.prefix);
    set[1] = field_set(row->key.reg);
    set[2] = field_set(row->key.rm);
    set[3] = mod_set(row);
    set[4] = w_mode_set(row);
    set[5] = length_set(row);
    set[6] = row->key.rexb0 ? 1 : 3;
}

/* Whether some encoding matches both rows; *a_in_b: all that match a match b. */
static bool rows_overlap(const struct insn_row *a, const struct insn_row *b, bool *a_in_b)
{
    unsigned x[7], y[7];

    key_sets(a, x);
    key_sets(b, y);
    *a_in_b = true;
    for (unsigned n = 0; n < 7; n++) {
        if (!(x[n] & y[n]))
            return false;
        if (x[n] & ~y[n])
            *a_in_b = false;
    }
    return true;
}

START_TEST(overlapping_rows_are_ordered)
{
    unsigned bad = 0;

    for (unsigned n = 0; n < 3 * 4 * 256; n++) {
        struct decode_slot slot;

        decode_slot_find(n / 1024, n / 256 % 4, n % 256, &slot);
        for (unsigned a = 0; a < slot.count; a++)
            for (unsigned b = a + 1; b < slot.count; b++) {
                const struct insn_row *first = &insn_rows[slot.rows[a]];
                const struct insn_row *later = &insn_rows[slot.rows[b]];
                bool refines;

                /* The row that is looked at first must be the special case of the other; a +r row
                 * covers eight opcodes and so is the general case of NOP. */
                if (rows_overlap(first, later, &refines) && !refines) {
                    printf("ambiguous: %s and %s\n", first->name, later->name);
                    bad++;
                }
            }
    }
    ck_assert_uint_eq(bad, 0);
}
END_TEST

/* -- consistency -- */

static const char *row_problem(const struct insn_row *row)
{
    u32 t = row->traits;
    const u32 evex_only = T_MASK | T_ZERO | T_BCST | T_ER | T_SAE;

    if (!(t & T_BYTEREG) != !has_file(row, FILE_GPR8))
        return "T_BYTEREG goes with byte registers";
    if ((t & T_LOCK) && (!can_be_memory(row) || operand_infos[row->operands[0]].field != FIELD_RM))
        return "T_LOCK needs a memory destination";
    if ((t & T_LOCK) && (t & (T_R | T_W)))
        return "T_LOCK needs a destination that is read and written";
    if ((t & T_R) && (t & T_W))
        return "T_R and T_W exclude each other";
    if (row->jit == CLASS_BRANCH && !(t & T_ENDS))
        return "a branch ends the block";
    if ((t & T_PRIV) && row->jit == CLASS_COPY)
        return "a privileged instruction cannot be copied";
    if ((t & T_IO) && !(t & T_ENDS))
        return "device access ends the block";
    if (row->key.space != SPACE_EVEX && (t & evex_only))
        return "EVEX traits outside EVEX";
    if (row->key.space == SPACE_EVEX && !(t & T_EVEX))
        return "EVEX row without T_EVEX";
    if ((t & T_ZERO) && !(t & T_MASK))
        return "zeroing without masking";
    if (row->key.space == SPACE_EVEX && can_be_memory(row) && !row->key.tuple)
        return "EVEX memory form without a tuple";
    if (row->key.space != SPACE_EVEX && row->key.tuple)
        return "tuple outside EVEX";
    if ((t & T_BCST) && row->key.tuple != TUPLE_FV && row->key.tuple != TUPLE_HV)
        return "broadcast needs a full or half vector";
    if (has_field(row, FIELD_IS4) && row->key.space != SPACE_VEX)
        return "is4 outside VEX";
    if (row->key.space == SPACE_LEGACY && (row->key.l || decode_row_vvvv(row)))
        return "VEX fields in a legacy row";
    if (row->key.plus_r && decode_row_modrm(row))
        return "+r and ModRM";
    if (row->feature >= FEAT_COUNT || row->size > SZ_NAT || row->jit > CLASS_NATIVE)
        return "a value is out of range";
    if ((row->flags_read | row->flags_written) & ~F_ALL)
        return "unknown flags";
    return NULL;
}

START_TEST(rows_are_consistent)
{
    unsigned bad = 0;

    for (unsigned id = INSN_INVALID + 1; id < INSN_COUNT; id++) {
        const char *problem = row_problem(&insn_rows[id]);

        if (problem) {
            printf("%s: %s\n", insn_rows[id].name, problem);
            bad++;
        }
    }
    printf("%u rows\n", INSN_COUNT - 1);
    ck_assert_uint_eq(bad, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("table");
    TCase *lint = tcase_create("lint");

    tcase_set_timeout(lint, 60);
    tcase_add_test(lint, every_operand_kind_has_a_meaning);
    tcase_add_test(lint, every_row_is_reachable);
    tcase_add_test(lint, overlapping_rows_are_ordered);
    tcase_add_test(lint, rows_are_consistent);
    suite_add_tcase(suite, lint);
    return suite_run(suite);
}
