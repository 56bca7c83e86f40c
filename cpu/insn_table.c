/* SPDX-License-Identifier: MIT
 *
 * The rows of insn.def as data. The words that rows are written in are defined here and nowhere
 * else; what they mean is at the top of insn.def.
 */
#include "cpu/feature.h"
#include "cpu/insn.h"
#include "cpu/regs.h"

/* -- keys -- */
#define K(map_, opcode_, ...)                                                                      \
    {                                                                                              \
        .space = SPACE_LEGACY, .map = map_, .opcode = opcode_, ##__VA_ARGS__                       \
    }
#define VEX(map_, opcode_, ...)                                                                    \
    {                                                                                              \
        .space = SPACE_VEX, .map = map_, .opcode = opcode_, ##__VA_ARGS__                          \
    }
#define EVEX(map_, opcode_, ...)                                                                   \
    {                                                                                              \
        .space = SPACE_EVEX, .map = map_, .opcode = opcode_, ##__VA_ARGS__                         \
    }
#define M1B                           MAP_1B
#define M0F                           MAP_0F
#define M38                           MAP_0F38
#define M3A                           MAP_0F3A
#define REG(n)                        .reg = (n) + 1
#define RM(n)                         .rm = (n) + 1
#define MEM                           .mod = MOD_MEM
#define MOD3                          .mod = MOD_REG
#define MODX                          .mod = MOD_IGNORED
#define PNP                           .prefix = PFX_NP
#define P66                           .prefix = PFX_66
#define PF3                           .prefix = PFX_F3
#define PF2                           .prefix = PFX_F2
#define PFX_NOT_F2                    .prefix = PFX_NO_F2
#define PFX_NOT_F3F2                  .prefix = PFX_NO_REP
#define W0                            .w = W_0
#define W1                            .w = W_1
#define W1AMD                         .w = W_1_AMD
#define WG0                           .w = W_GPR0
#define WG1                           .w = W_GPR1
#define L0                            .l = L_0
#define L1                            .l = L_1
#define L2                            .l = L_2
#define L12                           .l = L_12
#define LIG                           .l = L_LIG
#define NOT64                         .mode = MODE_NOT64
#define ONLY64                        .mode = MODE_ONLY64
#define PLUS_R                        .plus_r = 1
#define NOP90                         .rexb0 = 1
#define FV                            .tuple = TUPLE_FV
#define HV                            .tuple = TUPLE_HV
#define FVM                           .tuple = TUPLE_FVM
#define HVM                           .tuple = TUPLE_HVM
#define QVM                           .tuple = TUPLE_QVM
#define OVM                           .tuple = TUPLE_OVM
#define T1S8                          .tuple = TUPLE_T1S8
#define T1S16                         .tuple = TUPLE_T1S16
#define T1S                           .tuple = TUPLE_T1S
#define T1F32                         .tuple = TUPLE_T1F32
#define T1F64                         .tuple = TUPLE_T1F64
#define T2                            .tuple = TUPLE_T2
#define T4                            .tuple = TUPLE_T4
#define T8                            .tuple = TUPLE_T8
#define M128                          .tuple = TUPLE_M128
#define DUP                           .tuple = TUPLE_DUP

/* -- operands -- */
#define O(...)                        O_PICK(__VA_ARGS__, O4, O3, O2, O1, )(__VA_ARGS__)
#define O_PICK(a, b, c, d, name, ...) name
#define O1(a)                                                                                      \
    {                                                                                              \
        OPND_##a                                                                                   \
    }
#define O2(a, b)                                                                                   \
    {                                                                                              \
        OPND_##a, OPND_##b                                                                         \
    }
#define O3(a, b, c)                                                                                \
    {                                                                                              \
        OPND_##a, OPND_##b, OPND_##c                                                               \
    }
#define O4(a, b, c, d)                                                                             \
    {                                                                                              \
        OPND_##a, OPND_##b, OPND_##c, OPND_##d                                                     \
    }

/* clang-format off */
#define INSN(id_, key_, operands_, size_, feature_, read_, written_, undefined_, traits_, class_)  \
    [INSN_##id_] = {.name = #id_, .key = key_, .operands = operands_, .size = SZ_##size_,          \
                    .jit = CLASS_##class_, .feature = FEAT_##feature_, .flags_read = read_,        \
                    .flags_written = written_, .flags_undefined = undefined_, .traits = traits_},
#define SIMD(id_, key_, operands_, feature_, traits_)                                              \
    [INSN_##id_] = {.name = #id_, .key = key_, .operands = operands_, .size = SZ_Y,                \
                    .jit = CLASS_NATIVE, .feature = FEAT_##feature_, .traits = traits_},
/* clang-format on */

const struct insn_row insn_rows[INSN_COUNT] = {
    [INSN_INVALID] = {.name = "INVALID", .size = SZ_BYTE, .jit = CLASS_CALL, .traits = T_ENDS},
#include "cpu/insn.def"
};
