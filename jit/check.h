/* SPDX-License-Identifier: MIT
 *
 * -engine check: translated code against the interpreter.
 *
 * A stretch of guest code runs in translated code until it leaves it or until an instruction wants
 * its body; then registers and memory are put back and the interpreter runs the same number of
 * instructions. What differs ends the run. Instructions that are executed by their bodies anyway
 * (device registers, ports, time, faults, system instructions) run once, between stretches.
 */
#pragma once

#include "jit/internal.h"

MUST_USE enum status jit_check_create(struct jit *j, struct error *err);
void jit_check_destroy(struct jit *j);

/* Before translated code is entered at block: remembers the state. Returns the instruction count
 * where the stretch ends. */
u64 jit_check_begin(struct jit *j, const struct jit_block *block, u64 end);
/* After it was left, with all state in the vCPU: false if the engines differ, and says how. */
MUST_USE bool jit_check_end(struct jit *j);

/* Called by translated code: an instruction wants its body, which ends the stretch. */
void jit_check_leave(struct jit *j);
/* Whether that was so, for the run loop; true once. */
bool jit_check_left(struct jit *j);
/* Called when translated code has not found a page for a store and tlb_translate() has: lets it
 * store there, after a copy of the page. */
bool jit_check_open(struct jit *j, u64 gla, const struct tlb_page *page);
