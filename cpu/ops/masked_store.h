/* SPDX-License-Identifier: MIT
 *
 * The store of MASKMOVQ, MASKMOVDQU and VMASKMOVDQU.
 */
#pragma once

#include "cpu/insn.h"

/* Stores those of size bytes whose mask byte has its top bit set to seg:rDI. Nothing is stored if
 * one of them faults; on family 19h those that are not stored fault all the same, even if the mask
 * is zero (SDM 2, MASKMOVDQU leaves that to the implementation). */
bool masked_store(struct vcpu *v, const struct insn *i, const u8 *bytes, const u8 *mask,
                  unsigned size);
