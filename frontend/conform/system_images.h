/* SPDX-License-Identifier: MIT
 *
 * The bare-metal guests of tests/guest, inside the program: one entry for each line of guests.cfg.
 */
#pragma once

#include "mem/base/types.h"

struct system_image {
    const char *name;
    const char *cpu;    /* -cpu argument */
    const char *append; /* command line, "" for none */
    unsigned mips;      /* counted clock: million instructions a second; 0: the default */
    unsigned seconds;   /* most host time */
    const u8 *begin, *end;
};

extern const struct system_image system_images[];
extern const unsigned system_image_count;
