/* SPDX-License-Identifier: MIT */
#include "frontend/conform/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/feature.h"
#include "frontend/conform/conform.h"
#include "frontend/conform/vectors.h"
#include "mem/base/log.h"

enum { PRINTED_MAX = 40 }; /* differences in the terminal */

/* -- groups -- */

const char *report_feature_name(unsigned feature)
{
    static const char *const names[FEAT_COUNT] = {
#define FEATURE(id, name, ...) [FEAT_##id] = name,
#include "cpu/feature.def"
#undef FEATURE
    };

    return feature < FEAT_COUNT && names[feature] ? names[feature] : "";
}

/* Rows in each file of the table, which follow one another (cpu/insn.def). */
#define INSN(...) +1
#define SIMD(...) +1
enum {
    COUNT_INTEGER = 0
#include "cpu/insn_integer.def"
    ,
    COUNT_SYSTEM = 0
#include "cpu/insn_system.def"
    ,
    COUNT_X87 = 0
#include "cpu/insn_x87.def"
};
#undef INSN
#undef SIMD

const char *report_group_of(unsigned row)
{
    const unsigned integer_end = 1 + COUNT_INTEGER, system_end = integer_end + COUNT_SYSTEM;

    if (row == INSN_INVALID)
        return "sequences";
    if (row < integer_end)
        switch (insn_rows[row].feature) {
        case FEAT_BMI1:
        case FEAT_BMI2:
        case FEAT_ADX:
        case FEAT_LZCNT:
        case FEAT_POPCNT: return "bmi";
        default: return "integer";
        }
    if (row < system_end)
        return "system";
    if (row < system_end + COUNT_X87)
        return "x87";
    return report_feature_name(insn_rows[row].feature);
}

/* -- data -- */

struct report *report_create(void)
{
    struct report *r = calloc(1, sizeof(*r));
    const time_t now = time(NULL);
    struct tm utc;

    check(r, "no memory for a report");
    vectors_host(r->host, sizeof(r->host));
    gmtime_r(&now, &utc);
    strftime(r->started, sizeof(r->started), "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(r->lockstep, sizeof(r->lockstep), "%s", LOCKSTEP_VERSION);
    r->shard = r->shards = 1;
    return r;
}

void report_destroy(struct report *r)
{
    if (!r)
        return;
    for (unsigned n = 0; n < INSN_COUNT; n++)
        free(r->rows[n].reason);
    for (unsigned n = 0; n < r->difference_count; n++) {
        free(r->differences[n].vector);
        free(r->differences[n].text);
    }
    free(r->differences);
    free(r->crashes);
    free(r);
}

/* Room for one more element in an array that grows by doubling. */
static void *grow(void *array, unsigned count, size_t size)
{
    if (count & (count - 1))
        return array;
    array = realloc(array, (count ? 2 * (size_t)count : 1) * size);
    check(array, "no memory for a report");
    return array;
}

void report_add_difference(struct report *r, const struct report_difference *d)
{
    unsigned same = 0;

    for (unsigned n = 0; n < r->difference_count; n++)
        same += r->differences[n].row == d->row;
    if (same >= REPORT_PER_ROW && d->row != INSN_INVALID) {
        free(d->vector);
        free(d->text);
        return;
    }
    r->differences = grow(r->differences, r->difference_count, sizeof(*d));
    r->differences[r->difference_count++] = *d;
}

void report_add_crash(struct report *r, const struct report_crash *c)
{
    r->crashes = grow(r->crashes, r->crash_count, sizeof(*c));
    r->crashes[r->crash_count++] = *c;
}

/* -- sums -- */

static void add(struct report_counts *sum, const struct report_counts *c)
{
    sum->rows += c->rows;
    sum->rows_covered += c->rows_covered;
    sum->rows_exempt += c->rows_exempt;
    sum->forms += c->forms;
    sum->forms_covered += c->forms_covered;
    sum->cases += c->cases;
    sum->blocks += c->blocks;
    sum->explained += c->explained;
    sum->different += c->different;
    sum->hung += c->hung;
}

struct report_counts report_sum(const struct report *r, const char *group)
{
    struct report_counts sum = {0};

    for (unsigned n = 0; n < INSN_COUNT; n++)
        if (r->rows[n].chosen && (!group || !strcmp(group, report_group_of(n))))
            add(&sum, &r->rows[n].counts);
    return sum;
}

unsigned report_groups(const struct report *r, const char *names[REPORT_GROUPS_MAX])
{
    unsigned count = 0, at;

    for (unsigned n = 0; n < INSN_COUNT; n++) {
        const char *group = report_group_of(n);

        if (!r->rows[n].chosen)
            continue;
        for (at = 0; at < count && strcmp(names[at], group); at++)
            ;
        if (at < count)
            continue;
        check(count < REPORT_GROUPS_MAX, "more than %d groups of rows", REPORT_GROUPS_MAX);
        names[count++] = group;
    }
    return count;
}

u64 report_deviation_cases(const struct report *r, enum conform_deviation deviation)
{
    u64 cases = 0;

    for (unsigned n = 0; n < INSN_COUNT; n++)
        cases += r->rows[n].deviations[deviation];
    return cases;
}

const char *report_row_state(const struct report_row *row)
{
    return row->reason ? "exempt" : row->counts.rows_covered ? "covered" : "missed";
}

int report_status(const struct report *r)
{
    return report_sum(r, NULL).different || r->crash_count ? CONFORM_DIFFERENT : CONFORM_OK;
}

const char *report_part_name(unsigned index)
{
    static const char *const names[] = {"gpr",    "flags", "rip",   "segments", "vector",
                                        "opmask", "x87",   "mxcsr", "memory",   "exception"};

    return index < ARRAY_SIZE(names) ? names[index] : NULL;
}

/* -- the table -- */

static void print_group(FILE *out, const char *name, const struct report_counts *c)
{
    fprintf(out, "%-20s %6lu %8lu %7lu %8lu %12lu %11lu %12lu\n", name, c->rows, c->rows_covered,
            c->rows_exempt, c->forms, c->cases, c->explained, c->different);
}

static void print_table(const struct report *r, FILE *out)
{
    const char *groups[REPORT_GROUPS_MAX];
    const unsigned count = report_groups(r, groups);
    const struct report_counts all = report_sum(r, NULL);

    fprintf(out, "%-20s %6s %8s %7s %8s %12s %11s %12s\n", "group", "rows", "covered", "exempt",
            "forms", "cases", "explained", "differences");
    for (unsigned n = 0; n < count; n++) {
        const struct report_counts c = report_sum(r, groups[n]);

        print_group(out, groups[n], &c);
    }
    if (count > 1)
        print_group(out, "all", &all);
}

static void print_deviations(const struct report *r, FILE *out)
{
    bool first = true;

    for (unsigned n = DEVIATION_NONE + 1; n < DEVIATION_COUNT; n++) {
        const u64 cases = report_deviation_cases(r, n);

        if (!cases)
            continue;
        if (first)
            fputs("\nExplained deviations (what manuals leave to the processor):\n", out);
        first = false;
        fprintf(out, "  %-28s %10lu cases  %s (%s)\n", conform_deviations[n].name, cases,
                conform_deviations[n].what, conform_deviations[n].source);
    }
}

static void print_differences(const struct report *r, FILE *out)
{
    const unsigned shown = r->difference_count < PRINTED_MAX ? r->difference_count : PRINTED_MAX;

    for (unsigned n = 0; n < shown; n++) {
        const struct report_difference *d = &r->differences[n];

        fprintf(out, "\nDifference %u: %s%s%s, seed %lx, engine %s\n", n + 1,
                d->row ? insn_rows[d->row].name : "sequence", *d->form ? ", " : "", d->form,
                d->seed, conform_engine_name(d->engine));
        fputs(d->text, out);
        if (d->vector)
            fprintf(out, "Vector: %s\n", d->vector);
    }
    if (shown < r->difference_count)
        fprintf(out, "\n%u more differences are in the reports of --json and --html.\n",
                r->difference_count - shown);
    for (unsigned n = 0; n < r->crash_count; n++) {
        const struct report_crash *c = &r->crashes[n];

        fprintf(out, "\nA worker died with %s: %s%s%s, seed %lx\n", c->cause,
                c->row ? insn_rows[c->row].name : "sequence", *c->form ? ", " : "", c->form,
                c->seed);
    }
}

static void print_missed(const struct report *r, FILE *out)
{
    unsigned count = 0;

    for (unsigned n = 1; n < INSN_COUNT; n++)
        if (r->rows[n].chosen && !strcmp(report_row_state(&r->rows[n]), "missed"))
            fprintf(out, "%s%s", count++ ? " " : "Not reached: ", insn_rows[n].name);
    if (count)
        fputc('\n', out);
}

void report_print(const struct report *r, FILE *out)
{
    const struct report_counts all = report_sum(r, NULL);
    const double rate = r->seconds > 0 ? (double)all.cases / r->seconds : 0;

    print_table(r, out);
    print_deviations(r, out);
    print_differences(r, out);
    fputc('\n', out);
    if (r->sequence) {
        fprintf(out, "%lu sequences, %lu blocks", all.cases, all.blocks);
    } else {
        print_missed(r, out);
        fprintf(out, "%lu of %lu rows covered, %lu exempt; %lu of %lu forms", all.rows_covered,
                all.rows, all.rows_exempt, all.forms_covered, all.forms);
    }
    fprintf(out, "; %.0f cases/s in %.1f s\n", rate, r->seconds);
    if (all.hung)
        fprintf(out, "%lu cases did not end on the host in time\n", all.hung);
    fprintf(out, "%lu unexplained differences, %u crashes, seed %lx\n", all.different,
            r->crash_count, r->seed);
}

enum status report_save(const struct report *r, const char *option, const char *path,
                        void (*write)(const struct report *r, FILE *out), struct error *err)
{
    FILE *out = fopen(path, "w");
    bool failed;

    if (!out)
        return error_set(err, ST_IO, "%s %s cannot be written: %s.", option, path, strerror(errno));
    write(r, out);
    failed = ferror(out);
    failed |= fclose(out) != 0;
    if (failed)
        return error_set(err, ST_IO, "%s %s cannot be written: %s.", option, path, strerror(errno));
    return ST_OK;
}
