/* SPDX-License-Identifier: MIT
 *
 * A worker process: batches of cases are generated, run on the host, then in each engine, and
 * compared. A difference is made minimal here, where host and engine are at hand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/insn.h"
#include "frontend/conform/campaign.h"
#include "frontend/conform/conform.h"
#include "frontend/conform/minimise.h"
#include "frontend/conform/native.h"
#include "frontend/conform/vectors.h"
#include "mem/base/bits.h"

enum { MINIMISE_TRIES = 2000 };

struct worker {
    const struct campaign *campaign;
    struct worker_place *place;
    int fd;
    struct native_host *host;
    struct engine *engine[CONFORM_ENGINES];
    u32 form[CAMPAIGN_BATCH]; /* of each case of the batch */
    struct conform_case cases[CAMPAIGN_BATCH];
    struct conform_outcome native[CAMPAIGN_BATCH];
    struct conform_outcome ours;
    /* of the case that is made minimal */
    enum conform_engine accused;
    u32 parts;
    struct conform_outcome small_native, small_ours;
};

static void count(u64 *counter, u64 by)
{
    __atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}

/* -- engines -- */

/* Runs a case in an engine and judges it. The translator runs it twice: the second time its blocks
 * are there and linked, and the TLB is warm. The first unexplained difference counts. */
static struct conform_difference run_engine(struct worker *w, enum conform_engine engine,
                                            const struct conform_case *c,
                                            const struct conform_outcome *native,
                                            struct conform_outcome *ours)
{
    struct conform_difference d;

    for (unsigned n = engine == CONFORM_INTERP ? 1 : 2; n; n--) {
        engine_run(w->engine[engine], c, CAMPAIGN_LIMIT, ours);
        d = conform_compare(c, native, ours, w->campaign->deviations);
        if ((d.parts && !d.explained) || native->vector == OUTCOME_NONE)
            break;
    }
    return d;
}

/* -- differences -- */

/* Runs a case on both sides; the outcomes stay in small_native and small_ours. */
static bool run_both(struct worker *w, const struct conform_case *c, struct conform_difference *d)
{
    struct error err;

    if (native_host_run(w->host, c, &w->small_native, 1, &err))
        return false;
    *d = run_engine(w, w->accused, c, &w->small_native, &w->small_ours);
    return true;
}

static bool still_differs(void *opaque, const struct conform_case *c)
{
    struct worker *w = opaque;
    struct conform_difference d;

    return run_both(w, c, &d) && d.parts && !d.explained && (d.parts & w->parts);
}

/* The file of a difference's vector, or NULL if none is wanted or it cannot be written. */
static char *write_vector(const struct worker *w, const struct conform_case *c)
{
    static const unsigned modes[] = {[MODE_64] = 64, [MODE_32] = 32, [MODE_16] = 16};
    const char *directory = w->campaign->options->vectors;
    char *path = NULL;
    FILE *out;

    if (!directory)
        return NULL;
    if (asprintf(&path, "%s/%s-%u-%016lx.json", directory,
                 c->row ? insn_rows[c->row].name : "sequence", modes[c->mode], c->seed) < 0)
        return NULL;
    out = fopen(path, "w");
    if (!out) {
        fprintf(stderr, "lockstep: --vectors %s cannot be written: %s.\n", path, strerror(errno));
        free(path);
        return NULL;
    }
    vectors_write_header(out, NULL);
    vectors_write(out, c, &w->small_native);
    fclose(out);
    return path;
}

static bool write_all(int fd, const void *bytes, size_t size)
{
    for (const u8 *at = bytes; size;) {
        const ssize_t done = write(fd, at, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static void send_difference(struct worker *w, const struct conform_form *form,
                            const struct conform_case *c, u32 parts)
{
    struct worker_message m = {.difference = {.row = form->row,
                                              .mode = form->mode,
                                              .engine = (u8)w->accused,
                                              .parts = parts,
                                              .seed = c->seed}};
    char *text = NULL, *path = write_vector(w, c);
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out) {
        conform_explain(out, c, &w->small_native, &w->small_ours);
        fclose(out);
    }
    snprintf(m.difference.form, sizeof(m.difference.form), "%s", form->text);
    m.text_size = (u32)(size < REPORT_TEXT_MAX ? size : REPORT_TEXT_MAX);
    m.vector_size = path ? (u32)strlen(path) : 0;
    if (write_all(w->fd, &m, sizeof(m)) && write_all(w->fd, text, m.text_size))
        write_all(w->fd, path, m.vector_size);
    free(text);
    free(path);
}

/* Reports the first differences of a row, those of sequences always. */
static void report_difference(struct worker *w, unsigned n, enum conform_engine engine, u32 parts)
{
    const struct conform_form *form = &w->campaign->forms[w->form[n]];
    u32 *reported = &w->campaign->shared->reported[form->row];
    static_assert(sizeof(struct conform_case) < 64 << 10, "a case fits on the stack");
    struct conform_case small;
    struct conform_difference d;

    if (__atomic_fetch_add(reported, 1, __ATOMIC_RELAXED) >= REPORT_PER_ROW)
        return;
    small = w->cases[n];
    w->accused = engine;
    w->parts = parts;
    minimise_case(&small, still_differs, w, MINIMISE_TRIES);
    /* A difference that comes and goes is reported as it was first seen. */
    if (!still_differs(w, &small)) {
        small = w->cases[n];
        if (!run_both(w, &small, &d) || !d.parts || d.explained) {
            w->small_native = w->native[n];
            w->small_ours = w->ours;
        }
    }
    send_difference(w, form, &small, parts);
}

/* -- a batch -- */

/* Basic blocks of a sequence: what is between instructions that end one. */
static u64 count_blocks(const struct conform_case *c)
{
    const struct decode_ctx ctx = {.code_size = (u8)conform_code_size(c->mode),
                                   .protected_mode = true};
    u64 blocks = 1;
    struct insn i;

    for (u32 at = 0; at < c->code_size; at += i.len) {
        if (insn_decode(&ctx, c->code + at, c->code_size - at, &i) != DECODE_OK) {
            i.len = 1;
            continue;
        }
        blocks += (insn_row(&i)->traits & T_ENDS) != 0;
    }
    return blocks;
}

static void judge(struct worker *w, unsigned n, enum conform_engine engine)
{
    const struct conform_case *c = &w->cases[n];
    struct form_counts *counts = &w->campaign->shared->counts[w->form[n]];
    const u8 vector = w->native[n].vector;
    struct conform_difference d;

    w->place->seed = c->seed;
    w->place->form = w->form[n];
    d = run_engine(w, engine, c, &w->native[n], &w->ours);
    count(&counts->cases, 1);
    count(&counts->faults[vector < REPORT_FAULT_NONE ? vector : REPORT_FAULT_NONE], 1);
    count(&counts->hung, vector == OUTCOME_NONE || vector == OUTCOME_LOST);
    if (w->campaign->options->sequence)
        count(&counts->blocks, count_blocks(c));
    if (!d.parts)
        return;
    for (unsigned e = DEVIATION_NONE + 1; e < DEVIATION_COUNT; e++)
        count(&counts->deviations[e], d.deviations >> e & 1);
    count(d.explained ? &counts->explained : &counts->different, 1);
    if (!d.explained)
        report_difference(w, n, engine, d.parts);
}

static void generate(struct worker *w, unsigned n, u64 k)
{
    const struct campaign *g = w->campaign;
    const u64 seed = campaign_case_seed(g->options->seed, k);
    const struct conform_form *form;

    w->form[n] = (u32)(k % g->form_count);
    form = &g->forms[w->form[n]];
    w->place->seed = seed;
    w->place->form = w->form[n];
    if (g->options->sequence)
        generate_sequence(g->generator, form->mode, sequence_lengths[form->variant], seed,
                          &w->cases[n]);
    else
        generate_case(g->generator, form, seed, &w->cases[n]);
}

/* Takes the next numbers of the shard; false when there are none left. */
static bool fill_batch(struct worker *w, unsigned *size)
{
    const struct campaign *g = w->campaign;
    const struct campaign_options *o = g->options;
    u64 first = __atomic_fetch_add(&g->shared->next, CAMPAIGN_BATCH, __ATOMIC_RELAXED);

    /* The first number of the round that case `first` is in: the campaign ends before it. */
    if (o->cases && first / g->form_count * o->shards * g->form_count >= o->cases)
        return false;
    *size = 0;
    for (u64 j = first; j < first + CAMPAIGN_BATCH; j++) {
        const u64 k = campaign_case_number(j, g->form_count, o->shard, o->shards);

        if (o->cases && k >= o->cases)
            continue;
        if (g->shared->counts[k % g->form_count].crashes >= CAMPAIGN_CRASHES_MAX)
            continue;
        generate(w, (*size)++, k);
    }
    return true;
}

static int run_batches(struct worker *w)
{
    struct error err = {""};
    unsigned size;

    while (!__atomic_load_n(&w->campaign->shared->stop, __ATOMIC_RELAXED) && fill_batch(w, &size)) {
        if (native_host_run(w->host, w->cases, w->native, size, &err)) {
            fprintf(stderr, "lockstep: %s\n", err.text);
            return CONFORM_USAGE;
        }
        for (unsigned e = 0; e < CONFORM_ENGINES; e++)
            for (unsigned n = 0; w->engine[e] && n < size; n++)
                judge(w, n, (enum conform_engine)e);
    }
    return CONFORM_OK;
}

static enum status set_up(struct worker *w, struct error *err)
{
    const struct campaign_options *o = w->campaign->options;
    enum status st = native_host_create(&w->host, CAMPAIGN_BATCH, err);

    for (unsigned e = 0; e < CONFORM_ENGINES && !st; e++)
        if (o->engine[e])
            st = engine_create(&w->engine[e], (enum conform_engine)e, o->cpu, err);
    return st;
}

int worker_main(const struct campaign *c, unsigned index, int fd)
{
    struct worker *w = aligned_alloc(64, align_up(sizeof(*w), 64));
    struct error err = {""};
    int code = CONFORM_USAGE;

    if (!w) {
        fputs("lockstep: No memory for a worker; use fewer --jobs.\n", stderr);
        return CONFORM_USAGE;
    }
    memset(w, 0, sizeof(*w));
    w->campaign = c;
    w->place = &c->shared->place[index];
    w->fd = fd;
    if (set_up(w, &err)) {
        fprintf(stderr, "lockstep: %s\n", err.text);
    } else {
        w->place->busy = true;
        code = run_batches(w);
        w->place->busy = false;
    }
    for (unsigned e = 0; e < CONFORM_ENGINES; e++)
        engine_destroy(w->engine[e]);
    if (w->host)
        native_host_destroy(w->host);
    free(w);
    return code;
}
