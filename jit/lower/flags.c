/* SPDX-License-Identifier: MIT
 *
 * The guest's arithmetic flags between the host's flags and JF (LAHF in AH, SETO in AL), which
 * costs a few host instructions where PUSHF and POPF cost dozens of cycles.
 */
#include "jit/lower/lower.h"

static const struct emit_mem jf = {
    .base = HOST_NONE, .index = HOST_NONE, .gs = true, .disp = offsetof(struct vcpu, jit.flags)};

void lower_save_flags(struct translator *t)
{
    struct emit *e = t->e;

    if (t->flags == FLAGS_HOST) {
        emit_mov(e, T1, HOST_RAX);
        emit_value(e, 0x9f, 1);                                /* lahf */
        emit_op_reg(e, 0, EMIT_0F | 0x90 | CC_O, HOST_RAX, 0); /* seto al */
        emit_store(e, &jf, HOST_RAX, 2);
        emit_mov(e, HOST_RAX, T1);
    }
    t->flags = FLAGS_SAVED;
}

/* AL is 0 or 1: adding 127 sets OF if it was 1. */
void lower_need_flags(struct translator *t)
{
    struct emit *e = t->e;

    if (t->flags != FLAGS_SAVED)
        return;
    emit_mov(e, T1, HOST_RAX);
    emit_load(e, HOST_RAX, &jf, 2);
    emit_value(e, 0x7f04, 2); /* add al, 127 */
    emit_value(e, 0x9e, 1);   /* sahf */
    emit_mov(e, HOST_RAX, T1);
    t->flags = FLAGS_BOTH;
}

static bool is_shift(const struct insn_row *row)
{
    unsigned op = row->key.opcode;

    return row->key.map == MAP_1B && row->key.space == SPACE_LEGACY &&
           (op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3));
}

/* A shift by an immediate that is not 0 sets all flags; by CL it may leave them alone. */
static bool shift_sets_all(const struct insn *i)
{
    unsigned op = insn_row(i)->key.opcode;

    if (op == 0xd0 || op == 0xd1)
        return true;
    return (op == 0xc0 || op == 0xc1) && (i->imm & (i->osz == 8 ? 63 : 31));
}

/* What manuals leave undefined often is left alone, so such instructions get the flags that were
 * there; AF of logic operations is not: it is cleared. */
enum flag_use lower_flag_use(const struct insn *i)
{
    const struct insn_row *row = insn_row(i);

    if (row->flags_read & F_OSZAPC)
        return FLAG_NEEDS;
    if (!(row->flags_written & F_OSZAPC))
        return FLAG_NEUTRAL;
    if ((row->flags_written & F_OSZAPC) != F_OSZAPC)
        return FLAG_NEEDS;
    if (is_shift(row))
        return shift_sets_all(i) ? FLAG_SETS_ALL : FLAG_NEEDS;
    return row->flags_undefined & ~(u32)F_AF ? FLAG_NEEDS : FLAG_SETS_ALL;
}
