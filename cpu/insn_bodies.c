/* SPDX-License-Identifier: MIT
 *
 * The body of every row of insn.def: op_<id>, or op_native for rows of class NATIVE without
 * T_BODY. Kept apart from the rows so that the decoder links without the instructions themselves.
 */
#include "cpu/exception.h"
#include "cpu/insn.h"
#include "cpu/native.h"

static bool op_invalid(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return raise_ud(v);
}

/* clang-format off */
#define INSN(id, key, operands, size, feature, read, written, undefined, traits, class)             \
    [INSN_##id] = CLASS_##class == CLASS_NATIVE && !((traits) & T_BODY) ? op_native : op_##id,
#define SIMD(id, key, operands, feature, traits)                                                   \
    [INSN_##id] = (traits) & T_BODY ? op_##id : op_native,
/* clang-format on */

insn_body *const insn_bodies[INSN_COUNT] = {
    [INSN_INVALID] = op_invalid,
#include "cpu/insn.def"
};
