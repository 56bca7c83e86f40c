/* SPDX-License-Identifier: MIT
 *
 * One decoded instruction in the words that our decoder and Capstone share, so that they can be
 * compared: length, mnemonic, and operands in the order of the manual's syntax.
 */
#pragma once

#include <capstone/capstone.h>

#include "cpu/insn.h"

enum { VIEW_OPERANDS = 6, VIEW_ADDRESS = 0x1000 /* at which both think they decode */ };

enum view_kind { VIEW_REG, VIEW_IMM, VIEW_MEM };

struct view_operand {
    u8 kind;     /* enum view_kind */
    u8 size;     /* bytes; memory: of the access, 0: unknown; ours: of the immediate */
    u8 scale;    /* memory: 1, 2, 4, 8 */
    u16 reg;     /* x86_reg */
    u16 segment; /* memory: x86_reg of an override, or of what cannot be overridden; 0: default */
    u16 base, index;
    u64 value; /* immediate or displacement, zero-extended from its width */
};

/* What two views differ in. */
enum view_aspect {
    ASPECT_VALID = 1u << 0,   /* we decode it, Capstone does not */
    ASPECT_INVALID = 1u << 1, /* Capstone decodes it, we say #UD */
    ASPECT_LENGTH = 1u << 2,
    ASPECT_MNEMONIC = 1u << 3,
    ASPECT_OPERANDS = 1u << 4, /* number, kind, register, offset, value */
    ASPECT_SIZE = 1u << 5,     /* bytes of the memory operand */
    ASPECT_ALL = (1u << 7) - 1,
    ASPECT_SEGMENT = 1u << 6, /* override of the memory operand */
};

struct decode_view {
    bool valid;
    u8 length, count;
    u16 mnemonic; /* x86_insn; 0: a name that Capstone does not have */
    struct view_operand operand[VIEW_OPERANDS];
};

/* Names of our rows as Capstone's instruction ids, by operand size; filled once. */
struct view_names {
    u16 id[INSN_COUNT][4]; /* log2 of the operand size */
};
void view_names_fill(struct view_names *names, csh capstone);

/* code_size: 2, 4, 8. */
void view_of_insn(struct decode_view *view, const struct view_names *names, const struct insn *i,
                  unsigned code_size);
/* Undoes what is only Capstone's way of writing things. */
void view_of_capstone(struct decode_view *view, const cs_insn *i);
/* ST(0) and XMM0, where the opcode implies them, are not in our views; takes one out of Capstone's
 * if it has more than count operands. */
void view_drop_implied(struct decode_view *view, unsigned count);
/* enum view_aspect; 0: they agree. */
unsigned view_compare(const struct decode_view *ours, const struct decode_view *theirs);
/* The view as text: "add rax, [rbx + rcx*4 + 10h]:8". */
void view_text(const struct decode_view *view, csh capstone, char *text, size_t size);
/* Whether an id is #UD by definition (UD0, UD1, UD2): the same as no instruction. */
bool view_always_ud(unsigned capstone_id);
