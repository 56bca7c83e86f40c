/* SPDX-License-Identifier: MIT */
#include "frontend/conform/reduce.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/conform/vectors.h"

struct reduction {
    const struct vector_register *r[REDUCE_BATCH]; /* registers that were tried */
    struct conform_state base;                     /* the defaults */
    struct conform_case c[REDUCE_BATCH];
    struct conform_outcome o[REDUCE_BATCH];
};

static u8 *at(struct conform_state *s, const struct vector_register *r)
{
    return (u8 *)s + r->offset;
}

/* Registers that say where and how the code runs stay. */
static bool fixed(const struct vector_register *r)
{
    return !strcmp(r->name, "rip") || !strcmp(r->name, "cs") || !strcmp(r->name, "ss");
}

/* Whether `got` is `want` with the given registers untouched at their defaults. */
static bool same_but(const struct conform_outcome *want, struct conform_outcome *got,
                     const struct vector_register *const *registers, unsigned count,
                     const struct conform_state *base)
{
    struct conform_state out = want->out;
    const struct vector_register *r;

    if (want->vector != got->vector || want->error_code != got->error_code ||
        want->cr2 != got->cr2 || want->line_count != got->line_count ||
        memcmp(want->line, got->line,
               sizeof(got->line[0]) *
                   (got->line_count < OUTCOME_LINES_MAX ? got->line_count : OUTCOME_LINES_MAX)))
        return false;
    for (unsigned i = 0; i < count; i++)
        memcpy(at(&out, registers[i]), (const u8 *)base + registers[i]->offset, registers[i]->size);
    for (unsigned i = 0; (r = vector_register(i)); i++)
        if (memcmp(at(&out, r), at(&got->out, r), r->size))
            return false;
    return true;
}

/* One case without each register that the outcome left alone; returns how many there are. */
static unsigned make_trials(struct reduction *t, const struct conform_case *c,
                            const struct conform_outcome *o)
{
    const struct vector_register *r;
    unsigned count = 0;

    for (unsigned i = 0; (r = vector_register(i)) && count < REDUCE_BATCH - 1; i++) {
        const u8 *in = (const u8 *)&c->in + r->offset, *out = (const u8 *)&o->out + r->offset;
        const u8 *usual = (const u8 *)&t->base + r->offset;

        if (fixed(r) || !memcmp(in, usual, r->size) || memcmp(in, out, r->size))
            continue;
        t->c[count] = *c;
        memcpy(at(&t->c[count].in, r), usual, r->size);
        t->r[count++] = r;
    }
    return count;
}

enum status reduce_case(struct native_host *host, struct conform_case *c, struct conform_outcome *o,
                        struct error *err)
{
    struct reduction *t = aligned_alloc(64, sizeof(*t));
    unsigned count, kept = 0;
    enum status st;

    if (!t)
        return error_set(err, ST_NO_MEMORY, "No memory to reduce a vector; use --full.");
    vectors_default_state(&t->base, c->mode, c->code_address);
    count = make_trials(t, c, o);
    st = native_host_run(host, t->c, t->o, count, err);
    t->c[count] = *c;
    for (unsigned i = 0; !st && i < count; i++) {
        if (!same_but(o, &t->o[i], &t->r[i], 1, &t->base))
            continue;
        t->r[kept] = t->r[i];
        memcpy(at(&t->c[count].in, t->r[i]), (u8 *)&t->base + t->r[i]->offset, t->r[i]->size);
        kept++;
    }
    /* Without all of them at once: what one hides, another might have shown. */
    if (!st && kept)
        st = native_host_run(host, &t->c[count], &t->o[count], 1, err);
    if (!st && kept && same_but(o, &t->o[count], t->r, kept, &t->base)) {
        *c = t->c[count];
        *o = t->o[count];
    }
    free(t);
    return st;
}
