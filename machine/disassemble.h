/* SPDX-License-Identifier: MIT */
#pragma once

#include "jit/jit.h"

/* One instruction as Capstone writes it; 0 for what it does not know. */
jit_disassemble_fn machine_disassemble;
