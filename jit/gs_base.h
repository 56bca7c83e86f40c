/* SPDX-License-Identifier: MIT */
#pragma once

/* Sets this thread's GS base; nothing else in the process uses GS. */
void jit_set_gs_base(const void *base);
