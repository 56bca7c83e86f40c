/* SPDX-License-Identifier: MIT
 *
 * Facts about a decoded instruction for others than its body: the size of its memory operand, and a
 * line of text for traces.
 */
#include <capstone/capstone.h>
#include <stdio.h>

#include "cpu/decode_internal.h"

static unsigned operand_bytes(const struct insn *i, unsigned bytes)
{
    unsigned vl = 16u << i->vl, element = i->flags & I_REXW ? 8 : 4;
    bool broadcast = i->flags & I_EVEX_B;

    switch (bytes) {
    case BYTES_OSZ: return i->osz;
    case BYTES_OSZ_MAX4: return i->osz > 4 ? 4 : i->osz;
    case BYTES_OSZ_FAR: return i->osz + 2u;
    case BYTES_OSZ_PAIR: return i->osz * 2u;
    case BYTES_TABLE: return i->osz + 2u;
    case BYTES_ENV: return i->osz == 2 ? 14 : 28;
    case BYTES_X87: return i->osz == 2 ? 94 : 108;
    case BYTES_VL: return vl;
    case BYTES_VL2: return vl / 2;
    case BYTES_VL4: return vl / 4;
    case BYTES_VL8: return vl / 8;
    case BYTES_DUP: return vl == 16 ? 8 : vl;
    case BYTES_BCAST: return broadcast ? element : vl;
    case BYTES_BCAST2: return broadcast ? 4 : vl / 2;
    default: return bytes;
    }
}

unsigned insn_mem_size(const struct insn *i)
{
    const struct insn_row *row = insn_row(i);

    if (row->traits & T_NODS)
        return 0;
    for (unsigned n = 0; n < 4; n++) {
        const struct operand_info *o = &operand_infos[row->operands[n]];
        bool in_rm = o->field == FIELD_RM;

        if (o->bytes && (!in_rm || (i->flags & I_MEM)))
            return operand_bytes(i, o->bytes);
    }
    return 0;
}

void insn_describe(const struct insn *i, char *text, size_t size)
{
    int at = snprintf(text, size, "%s", insn_row(i)->name);

    for (unsigned n = 0; n < i->len && at > 0 && (size_t)at < size; n++)
        at += snprintf(text + at, size - (size_t)at, " %02x", i->bytes[n]);
}

void insn_disassemble(const struct insn *i, u64 ip, unsigned code_size, char *text, size_t size)
{
    cs_mode mode = code_size == 8 ? CS_MODE_64 : code_size == 4 ? CS_MODE_32 : CS_MODE_16;
    cs_insn *found;
    size_t count, at = 0;
    csh capstone;

    if (cs_open(CS_ARCH_X86, mode, &capstone) == CS_ERR_OK) {
        count = cs_disasm(capstone, i->bytes, i->len, ip, 1, &found);
        if (count && found->size == i->len)
            at = (size_t)snprintf(text, size, "%s%s%s ; ", found->mnemonic,
                                  found->op_str[0] ? " " : "", found->op_str);
        if (count)
            cs_free(found, count);
        cs_close(&capstone);
    }
    if (at < size)
        insn_describe(i, text + at, size - at);
}
