/* SPDX-License-Identifier: MIT
 *
 * Cases from the instruction table: every row, operand form, prefix, size and mode, with operands
 * and states that are chosen where edges are known and random elsewhere. The same seed always gives
 * the same case, on every host with the same features.
 */
#pragma once

#include "cpu/cpuid.h"
#include "frontend/conform/case.h"
#include "mem/base/status.h"

struct generator;

/* A form of a row: what a campaign steps through, so that each gets its share. */
struct conform_form {
    u16 row;       /* enum insn_id */
    u8 mode;       /* enum conform_mode */
    u16 variant;   /* counts the row's operand forms in this mode: register or memory, operand size,
                      address size, prefixes, vector length, masking, rounding, broadcast */
    char text[48]; /* the form in words: "mem osz16 asz32 lock" */
};

/* Why a row cannot be run natively in user mode or compared, or NULL: "executed by `conform
 * system`: privileged". Never NULL for rows without a form. */
const char *conform_exempt(unsigned row);

/* model: features of rows to generate (hidden rows have no forms). host_xcr0: XCR0 of the judge;
 * registers that it or the model lacks are zero in every case. */
MUST_USE enum status generator_create(struct generator **g, const struct cpu_model *model,
                                      u64 host_xcr0, struct error *err);
void generator_destroy(struct generator *g);
/* All forms, grouped by row. */
const struct conform_form *generator_forms(const struct generator *g, unsigned *count);
/* Fills one case of a form. */
void generate_case(const struct generator *g, const struct conform_form *form, u64 seed,
                   struct conform_case *c);
/* Fills one random sequence of about `length` instructions, fewer if they do not fit: loops, calls,
 * flags live across blocks, faults in the middle, stores into its own code. It always terminates:
 * no instruction runs more than 64 times. */
void generate_sequence(const struct generator *g, enum conform_mode mode, unsigned length, u64 seed,
                       struct conform_case *c);
