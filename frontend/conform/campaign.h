/* SPDX-License-Identifier: MIT
 *
 * A campaign: worker processes, each with a native child and engines of its own, that step through
 * the forms in turn. A worker that dies is replaced and reported.
 *
 * Case numbers k count through rounds of all forms: round k / forms, form k % forms, seed a hash
 * of the campaign's seed and k. So each form has its case before any has two. Shard i of n takes
 * form f in the rounds congruent to i - f modulo n: shards never share a case, together they make
 * the campaign, and each sees every form once in n rounds.
 */
#pragma once

#include "frontend/conform/compare.h"
#include "frontend/conform/engine.h"
#include "frontend/conform/generate.h"
#include "frontend/conform/report.h"
#include "mem/base/status.h"

enum {
    CAMPAIGN_BATCH = 32,      /* cases a worker runs at once */
    CAMPAIGN_JOBS_MAX = 256,  /* workers */
    CAMPAIGN_PATTERNS = 64,   /* of --insn and of --group */
    CAMPAIGN_LIMIT = 100000,  /* instructions of a case in an engine */
    CAMPAIGN_CRASHES_MAX = 3, /* of a form, before it is left alone */
};

struct campaign_options {
    bool sequence;
    const char *insn[CAMPAIGN_PATTERNS + 1]; /* NULL-terminated; none: all */
    const char *group[CAMPAIGN_PATTERNS + 1];
    double time; /* seconds; 0: no limit */
    u64 cases;   /* of the whole campaign, all shards together; 0: no limit */
    u64 seed;
    unsigned jobs;
    unsigned shard, shards; /* shard counts from 1 */
    bool engine[CONFORM_ENGINES];
    const char *cpu;
    const char *vectors; /* directory, or NULL */
};

/* Case number of the j-th case of a shard. */
u64 campaign_case_number(u64 j, u64 forms, unsigned shard, unsigned shards);
/* The seed of case number k. */
u64 campaign_case_seed(u64 seed, u64 k);

/* Whether a row is chosen by --insn and --group. */
bool campaign_chooses(const struct campaign_options *o, unsigned row);

/* A form of sequences: mode and length. */
enum { SEQUENCE_LENGTHS = 3, SEQUENCE_FORMS = CONFORM_MODES * SEQUENCE_LENGTHS };
extern const unsigned sequence_lengths[SEQUENCE_LENGTHS];

/* -- what workers and the campaign share: one mapping -- */

struct form_counts {
    u64 cases, blocks, explained, different, hung, crashes;
    u64 faults[REPORT_FAULTS];
    u64 deviations[DEVIATION_COUNT];
};

struct worker_place {
    u64 seed; /* of the case it works on */
    u32 form;
    bool busy;
};

struct campaign_shared {
    u64 next; /* case of this shard that is handed out next */
    bool stop;
    struct worker_place place[CAMPAIGN_JOBS_MAX];
    u32 reported[INSN_COUNT]; /* differences of each row that were sent */
    struct form_counts counts[];
};

/* What a worker sends for a difference, followed by both texts. */
struct worker_message {
    struct report_difference difference; /* pointers mean nothing */
    u32 text_size, vector_size;          /* vector_size 0: none was written */
};

struct campaign {
    const struct campaign_options *options;
    const struct generator *generator;
    u64 deviations;             /* that may explain something on this host */
    struct conform_form *forms; /* the chosen ones */
    unsigned form_count;
    struct campaign_shared *shared;
    size_t shared_size;
};

/* -- worker.c -- */

/* The life of a worker process: runs batches until told to stop, writes messages to fd. Returns its
 * exit status; a sentence about a failed set-up goes to standard error. */
int worker_main(const struct campaign *c, unsigned index, int fd);

/* -- campaign.c -- */

/* Checks that the host and the engines can do it, runs the campaign and fills the report.
 * Interrupts (SIGINT, SIGTERM) end it early with what there is. */
MUST_USE enum status campaign_run(const struct campaign_options *o, struct report *r,
                                  struct error *err);
/* Fills rows with forms, exemptions and reasons, without running anything. */
MUST_USE enum status campaign_survey(const struct campaign_options *o, struct report *r,
                                     struct error *err);
/* Calls visit for each chosen form. */
MUST_USE enum status campaign_forms(const struct campaign_options *o,
                                    void (*visit)(void *opaque, const struct conform_form *form),
                                    void *opaque, struct error *err);
