/* SPDX-License-Identifier: MIT */
#include "cpu/insn.h"
#include "frontend/conform/generate.h"

static const char *const reasons[INSN_COUNT] = {
    [INSN_INVALID] = "not an instruction",
#define EXEMPT(id, reason) [INSN_##id] = reason,
#include "frontend/conform/exempt.def"
#undef EXEMPT
};

const char *conform_exempt(unsigned row)
{
    return row < INSN_COUNT ? reasons[row] : "not a row";
}
