/* SPDX-License-Identifier: MIT */
#pragma once

#include "mem/base/types.h"

/* Sets this thread's GS base; nothing else in the process uses GS. by_call: not by WRGSBASE, even
 * if the host has it. */
void jit_set_gs_base(const void *base, bool by_call);
