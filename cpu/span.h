/* SPDX-License-Identifier: MIT
 *
 * Inside the memory path (cpu/access.c, cpu/rmw.c, cpu/fetch.c only): an operand of 1 to 4096 bytes
 * translated for one access, on one page or two.
 */
#pragma once

#include "cpu/access.h"

struct span {
    u64 gla;
    struct tlb_page page[2];
    unsigned size;
    unsigned first; /* bytes in page[0]; the rest is in page[1] */
};

/* Translates [gla, gla+size). implicit: a supervisor access that the processor makes on its own.
 * false: #PF is recorded. */
bool span_translate(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind, bool implicit,
                    struct span *s);
void span_read(struct vcpu *v, const struct span *s, void *out);
void span_write(struct vcpu *v, const struct span *s, const void *in);
/* The page after gla's; linear addresses wrap at 4 GiB outside 64-bit mode. */
u64 span_next_page(const struct vcpu *v, u64 gla);
/* #AC(0) for a misaligned operand of 2, 4 or 8 bytes while alignment is checked. */
bool align_ok(struct vcpu *v, u64 gla, unsigned size);
