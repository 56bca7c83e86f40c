/* SPDX-License-Identifier: MIT
 *
 * The rows that sequences are made of.
 */
#include <stdlib.h>

#include "frontend/conform/generate_internal.h"

/* Rows that would break the rules above, load what may fault, or use pointers of their own. */
static const bool unsafe[INSN_COUNT] = {
    [INSN_BT_EvGv] = true, /* memory far from the pointer */
    [INSN_BTS_EvGv] = true,
    [INSN_BTR_EvGv] = true,
    [INSN_BTC_EvGv] = true,
    [INSN_XLAT] = true,
    [INSN_MASKMOVQ_PqNq] = true,
    [INSN_MASKMOVDQU_VdqUdq] = true,
    [INSN_VMASKMOVDQU_VdqUdq] = true,
    [INSN_CLZERO] = true,
    [INSN_PUSH_Zv... INSN_LEAVE] = true, /* balanced ones are made here */
    [INSN_PUSH_ES... INSN_VERW_Ew] = true,
    [INSN_STD] = true,
    [INSN_BOUND_GvMa] = true,
    [INSN_LDMXCSR_Md] = true,
    [INSN_VLDMXCSR_Md] = true,
    [INSN_FLDCW_Mw] = true,
    [INSN_FLDENV_Menv] = true,
    [INSN_FRSTOR_Mfpu] = true,
    [INSN_FXRSTOR_M] = true,
    [INSN_FXSAVE_M] = true, /* AMD clears FOP, FIP and FDP: later loads would see it */
    [INSN_FNSTENV_Menv] =
        true, /* they show FOP, FIP and FDP, which a switch of tasks clears on AMD */
    [INSN_FNSAVE_Mfpu] = true,
    [INSN_XRSTOR_M] = true,
    [INSN_XSAVE_M] = true,
    [INSN_XSAVEC_M] = true,
    [INSN_XGETBV] = true,
    [INSN_RDPKRU] = true,
    [INSN_WRFSBASE_Ry] = true,
    [INSN_WRGSBASE_Ry] = true,
    [INSN_UD0... INSN_UD2] = true,
    [INSN_BSWAP_Zv] = true, /* of 16 bits: undefined */
    [INSN_BSF_GvEv] = true, /* of zero: undefined */
    [INSN_BSR_GvEv] = true,
    [INSN_SHLD_EvGvIb... INSN_SHRD_EvGvCL] = true, /* count beyond 16 bits: undefined */
};

static bool row_is_safe(const struct generator *g, unsigned id)
{
    const struct insn_row *row = &insn_rows[id];

    if (unsafe[id] || g->rows[id].vsib || conform_exempt(id))
        return false;
    return !(row->traits & (T_PRIV | T_IO | T_ENDS | T_REP));
}

static enum safe_group group_of(const struct insn_row *row)
{
    if (row->traits & (T_FPU | T_MMX))
        return SAFE_X87;
    return row->traits & (T_SSE | T_AVX | T_EVEX) ? SAFE_VECTOR : SAFE_INTEGER;
}

enum status sequence_create(struct generator *g, struct error *err)
{
    for (unsigned mode = 0; mode < CONFORM_MODES; mode++) {
        for (unsigned group = 0; group < SAFE_GROUPS; group++) {
            g->safe[mode][group] = malloc(INSN_COUNT * sizeof(u16));
            if (!g->safe[mode][group])
                return error_set(err, ST_NO_MEMORY, "There is no memory for the sequences.");
        }
        for (unsigned id = INSN_INVALID + 1; id < INSN_COUNT; id++) {
            enum safe_group group = group_of(&insn_rows[id]);

            if (g->first[id][mode] != forms_end(g, id, mode) && row_is_safe(g, id))
                g->safe[mode][group][g->safe_count[mode][group]++] = (u16)id;
        }
    }
    return ST_OK;
}
