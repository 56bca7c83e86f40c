/* SPDX-License-Identifier: MIT
 *
 * The host processor as the judge of instruction encodings: executes one instruction in a traced
 * child, at the end of a page that nothing executable follows. Whether fetching runs into the next
 * page tells the length; SIGILL tells #UD. Works for 64-, 32- and 16-bit protected-mode code,
 * CPL 3.
 */
#pragma once

#include "mem/base/types.h"

struct probe;

enum probe_result {
    PROBE_RAN,   /* executed, or faulted in executing: the encoding is valid */
    PROBE_UD,    /* #UD */
    PROBE_FETCH, /* the next page was needed */
    PROBE_LOST,  /* the child had to be replaced; no answer */
};

/* NULL: the environment allows no tracing. One at a time. */
struct probe *probe_create(void);
void probe_destroy(struct probe *p);
/* Executes the first instruction of size bytes, of which the last one ends the page. */
enum probe_result probe_run(struct probe *p, unsigned code_size, const u8 *bytes, unsigned size);
