/* SPDX-License-Identifier: MIT
 *
 * From the operand letters of a row to what its thunk must load and store. See native_thunk.h.
 */
#include "cpu/native_thunk.h"

/* The slot of an operand that is a register in this encoding, or SLOT_COUNT. */
static unsigned slot_of(const struct insn *i, unsigned kind)
{
    const struct operand_info *info = &operand_infos[kind];

    if (kind == OPND_XMM0)
        return SLOT_XMM0;
    if (info->file == FILE_NONE || info->file == FILE_ST)
        return SLOT_COUNT;
    switch (info->field) {
    case FIELD_REG: return SLOT_REG;
    case FIELD_RM: return i->flags & I_MEM ? SLOT_COUNT : SLOT_RM;
    case FIELD_VVVV: return SLOT_VVVV;
    case FIELD_IS4: return SLOT_IS4;
    default: return SLOT_COUNT;
    }
}

void native_plan(const struct insn *i, struct thunk *t)
{
    const struct insn_row *row = insn_row(i);
    bool merges = (i->flags & I_EVEX) && i->aaa && !(i->flags & I_EVEX_Z);

    t->vectors_only = !row->flags_written && !(row->traits & T_MMX) && !i->aaa;
    t->mxcsr = (row->traits & T_FPEXC) != 0;
    for (unsigned n = 0; n < 4 && row->operands[n] != OPND_None; n++) {
        unsigned kind = row->operands[n], slot = slot_of(i, kind);
        unsigned file = kind == OPND_XMM0 ? FILE_VEC : operand_infos[kind].file;
        bool write = n == 0 ? !(row->traits & T_R) : n == 1 && (row->traits & T_RW1);
        bool read = n != 0 || !(row->traits & T_W) || merges;

        if (slot != SLOT_COUNT) {
            t->operand[t->count++] = (struct native_operand){(u8)slot, (u8)file, read, write};
            t->is4 |= slot == SLOT_IS4;
            t->vectors_only &= file == FILE_VEC;
        } else if ((i->flags & I_MEM) && operand_infos[kind].field == FIELD_RM) {
            /* Masked stores leave elements alone by not writing them. */
            t->mem_read = n != 0 || !(row->traits & T_W);
            t->mem_write = write;
            t->mem_size = (u8)insn_mem_size(i);
        }
    }
}
