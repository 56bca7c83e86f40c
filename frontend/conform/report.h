/* SPDX-License-Identifier: MIT
 *
 * What a campaign covered and found, and its three forms: a table for the terminal, JSON
 * (tests/conformance/FORMAT.md, Reports) and a page of HTML.
 */
#pragma once

#include <stdio.h>

#include "cpu/insn.h"
#include "frontend/conform/compare.h"
#include "frontend/conform/engine.h"
#include "mem/base/status.h"

enum {
    REPORT_VERSION = 1,
    REPORT_FAULTS = 33,      /* vectors 0-31, and OUTCOME_NONE */
    REPORT_GROUPS_MAX = 64,  /* groups of rows */
    REPORT_PER_ROW = 4,      /* differences of a row that are kept */
    REPORT_FAULT_NONE = 32,  /* index of OUTCOME_NONE in faults */
    REPORT_TEXT_MAX = 16384, /* longest explanation */
};

/* -- groups of rows -- */

/* "integer", "x87", "sse4.1", "avx512bw": the table the row is in, or the feature it needs. */
const char *report_group_of(unsigned row);
/* The feature's name as in -cpu ("avx512bw"), "" for what every processor has. */
const char *report_feature_name(unsigned feature);

/* -- data -- */

struct report_counts {
    u64 rows, rows_covered, rows_exempt;
    u64 forms, forms_covered;
    u64 cases, blocks;
    u64 explained, different, hung;
};

struct report_row {
    bool chosen;                 /* by --insn and --group; others are not reported */
    char *reason;                /* of an exemption, or NULL; owned */
    struct report_counts counts; /* .rows is 1 */
    u64 faults[REPORT_FAULTS];
    u64 deviations[DEVIATION_COUNT];
};

struct report_difference {
    u16 row; /* INSN_INVALID for sequences */
    u8 mode; /* enum conform_mode */
    u8 engine;
    u32 parts;
    u64 seed;
    char form[48];
    char *vector; /* file, or NULL; owned */
    char *text;   /* owned */
};

struct report_crash {
    u16 row;
    u64 seed;
    char form[48];
    char cause[64]; /* "signal 11 (Segmentation fault)" */
};

struct report {
    bool sequence;
    char lockstep[32], host[160], cpu[128], started[32];
    u64 seed;
    unsigned shard, shards; /* shard counts from 1 */
    unsigned jobs;
    double seconds;
    bool engines[CONFORM_ENGINES];
    struct report_row rows[INSN_COUNT]; /* row 0 holds the counts of sequences */
    struct report_difference *differences;
    unsigned difference_count;
    struct report_crash *crashes;
    unsigned crash_count;
};

/* A report without results on the heap, for this host and now. */
struct report *report_create(void);
void report_destroy(struct report *r);
/* Takes over d->vector and d->text; drops it if the row has enough. */
void report_add_difference(struct report *r, const struct report_difference *d);
void report_add_crash(struct report *r, const struct report_crash *c);

/* -- sums -- */

/* Of the rows of a group, or of all for NULL. */
struct report_counts report_sum(const struct report *r, const char *group);
/* Groups with chosen rows, in the order of the table; returns how many. */
unsigned report_groups(const struct report *r, const char *names[REPORT_GROUPS_MAX]);
/* Cases whose difference a deviation explained. */
u64 report_deviation_cases(const struct report *r, enum conform_deviation deviation);
/* "covered", "exempt", "missed". */
const char *report_row_state(const struct report_row *row);
/* CONFORM_OK or CONFORM_DIFFERENT: crashes count as differences. */
int report_status(const struct report *r);
/* The words of a difference's parts; index counts from 0; NULL behind the last. */
const char *report_part_name(unsigned index);

/* -- forms -- */

void report_print(const struct report *r, FILE *out);
void report_write_json(const struct report *r, FILE *out);
void report_write_html(const struct report *r, FILE *out);
/* Writes to a file; write is one of the two above. One sentence that names option and file. */
MUST_USE enum status report_save(const struct report *r, const char *option, const char *path,
                                 void (*write)(const struct report *r, FILE *out),
                                 struct error *err);
