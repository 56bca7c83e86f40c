/* SPDX-License-Identifier: MIT
 *
 * The rows of each opcode, most specific first. Built from the table once per process; the result
 * never changes afterwards.
 */
#include <pthread.h>

#include "cpu/decode_internal.h"
#include "mem/base/log.h"

enum { SLOTS = 3 * MAP_COUNT * 256, ENTRIES = INSN_COUNT * 2 + 8 * 64 };

struct decode_index {
    u16 first[SLOTS + 1];
    u16 rows[ENTRIES];
    bool modrm[SLOTS];
};

static struct decode_index decode_index;
static pthread_once_t decode_index_once = PTHREAD_ONCE_INIT;

static unsigned slot_number(unsigned space, unsigned map, unsigned opcode)
{
    return (space * MAP_COUNT + map) * 256 + opcode;
}

unsigned decode_row_mod(const struct insn_row *row)
{
    if (row->key.mod)
        return row->key.mod;
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].mod)
            return operand_infos[row->operands[n]].mod;
    return MOD_ANY;
}

bool decode_row_modrm(const struct insn_row *row)
{
    if (row->key.reg || row->key.rm || row->key.mod)
        return true;
    for (unsigned n = 0; n < 4; n++) {
        unsigned field = operand_infos[row->operands[n]].field;

        if (field == FIELD_REG || field == FIELD_RM || field == FIELD_VSIB)
            return true;
    }
    return false;
}

bool decode_row_vvvv(const struct insn_row *row)
{
    for (unsigned n = 0; n < 4; n++)
        if (operand_infos[row->operands[n]].field == FIELD_VVVV)
            return true;
    return false;
}

static unsigned prefix_weight(unsigned prefix)
{
    switch (prefix) {
    case PFX_ANY: return 0;
    case PFX_NO_F2: return 1;
    case PFX_NO_REP: return 2;
    default: return 3;
    }
}

unsigned decode_row_weight(const struct insn_row *row)
{
    const struct insn_key *k = &row->key;
    unsigned weight = prefix_weight(k->prefix);

    weight += k->reg ? 3 : 0;
    weight += k->rm ? 3 : 0;
    weight += decode_row_mod(row) == MOD_MEM || decode_row_mod(row) == MOD_REG;
    weight += k->mode != MODE_ANY;
    weight += k->w != W_ANY;
    weight += k->l == L_0 || k->l == L_1 || k->l == L_2 || k->l == L_12;
    weight += k->rexb0 ? 4 : 0;
    return weight;
}

/* Inserts a row behind those of the same or a higher weight. */
static unsigned insert_row(u16 *rows, unsigned count, unsigned id)
{
    unsigned weight = decode_row_weight(&insn_rows[id]);
    unsigned at = count;

    for (; at && decode_row_weight(&insn_rows[rows[at - 1]]) < weight; at--)
        rows[at] = rows[at - 1];
    rows[at] = (u16)id;
    return count + 1;
}

/* Rows keyed by base go to slot: all of them, or only the +r rows where base is the first of the
 * eight opcodes that such a row takes. */
static unsigned gather_rows(u16 *rows, unsigned count, unsigned slot, unsigned base,
                            const u16 *chain, const u16 *next)
{
    for (unsigned id = chain[base]; id; id = next[id]) {
        if (base != slot && !insn_rows[id].key.plus_r)
            continue;
        count = insert_row(rows, count, id);
        decode_index.modrm[slot] |= decode_row_modrm(&insn_rows[id]);
    }
    return count;
}

static void build_index(void)
{
    struct decode_index *x = &decode_index;
    u16 chain[SLOTS] = {0}; /* first row id of each opcode, in table order */
    u16 next[INSN_COUNT] = {0};
    unsigned used = 0;

    for (unsigned id = INSN_COUNT - 1; id > INSN_INVALID; id--) {
        const struct insn_key *k = &insn_rows[id].key;
        unsigned slot = slot_number(k->space, k->map, k->opcode);

        next[id] = chain[slot];
        chain[slot] = (u16)id;
    }
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        unsigned count = gather_rows(&x->rows[used], 0, slot, slot, chain, next);

        if (slot & 7)
            count = gather_rows(&x->rows[used], count, slot, slot & ~7u, chain, next);
        x->first[slot] = (u16)used;
        used += count;
        check(used + 64 < ENTRIES, "the decode index is too small");
    }
    x->first[SLOTS] = (u16)used;
}

void decode_slot_find(unsigned space, unsigned map, unsigned opcode, struct decode_slot *slot)
{
    unsigned n = slot_number(space, map, opcode);

    pthread_once(&decode_index_once, build_index);
    slot->rows = &decode_index.rows[decode_index.first[n]];
    slot->count = decode_index.first[n + 1] - decode_index.first[n];
    slot->modrm = decode_index.modrm[n];
}
