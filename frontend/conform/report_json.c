/* SPDX-License-Identifier: MIT
 *
 * The JSON form of a report, one line for each row, so that two reports can be compared as text.
 */
#include <jansson.h>

#include "frontend/conform/report.h"

static void put_string(FILE *out, const char *text)
{
    json_t *s = json_string(text ? text : "");

    /* Text that is not UTF-8 has no JSON form. */
    if (!s || json_dumpf(s, out, JSON_ENCODE_ANY))
        fputs("\"\"", out);
    json_decref(s);
}

static void put_field(FILE *out, const char *name, const char *text)
{
    fprintf(out, "\"%s\": ", name);
    put_string(out, text);
}

static void put_counts(FILE *out, const struct report_counts *c)
{
    fprintf(out,
            "\"rows\": %lu, \"rows_covered\": %lu, \"rows_exempt\": %lu, \"forms\": %lu, "
            "\"forms_covered\": %lu, \"cases\": %lu, \"blocks\": %lu, \"explained\": %lu, "
            "\"different\": %lu, \"hung\": %lu",
            c->rows, c->rows_covered, c->rows_exempt, c->forms, c->forms_covered, c->cases,
            c->blocks, c->explained, c->different, c->hung);
}

static void put_head(const struct report *r, FILE *out)
{
    bool first = true;

    fprintf(out, "{\"lockstep_report\": %d,\n \"command\": \"%s\",\n ", REPORT_VERSION,
            r->sequence ? "sequence" : "run");
    put_field(out, "lockstep", r->lockstep);
    fputs(",\n ", out);
    put_field(out, "host", r->host);
    fputs(",\n ", out);
    put_field(out, "cpu", r->cpu);
    fputs(",\n \"engines\": [", out);
    for (unsigned e = 0; e < CONFORM_ENGINES; e++)
        if (r->engines[e]) {
            fprintf(out, "%s\"%s\"", first ? "" : ", ", conform_engine_name(e));
            first = false;
        }
    fprintf(out, "],\n \"seed\": \"%lx\",\n \"shard\": [%u, %u],\n ", r->seed, r->shard, r->shards);
    put_field(out, "started", r->started);
    fprintf(out, ",\n \"seconds\": %.3f,\n \"jobs\": %u,\n", r->seconds, r->jobs);
}

static void put_sums(const struct report *r, FILE *out)
{
    const char *groups[REPORT_GROUPS_MAX];
    const unsigned count = report_groups(r, groups);
    struct report_counts c = report_sum(r, NULL);

    fputs(" \"totals\": {", out);
    put_counts(out, &c);
    fprintf(out, ", \"cases_per_second\": %.1f},\n \"groups\": [",
            r->seconds > 0 ? (double)c.cases / r->seconds : 0);
    for (unsigned n = 0; n < count; n++) {
        c = report_sum(r, groups[n]);
        fprintf(out, "%s\n  {", n ? "," : "");
        put_field(out, "name", groups[n]);
        fputs(", ", out);
        put_counts(out, &c);
        fputc('}', out);
    }
    fputs("],\n", out);
}

static void put_numbers_of_row(FILE *out, const struct report_row *row)
{
    const char *comma = "";

    fputs(", \"deviations\": {", out);
    for (unsigned n = DEVIATION_NONE + 1; n < DEVIATION_COUNT; n++)
        if (row->deviations[n]) {
            fprintf(out, "%s\"%s\": %lu", comma, conform_deviations[n].name, row->deviations[n]);
            comma = ", ";
        }
    fputs("}, \"faults\": {", out);
    comma = "";
    for (unsigned n = 0; n < REPORT_FAULTS; n++) {
        if (!row->faults[n])
            continue;
        if (n == REPORT_FAULT_NONE)
            fprintf(out, "%s\"none\": %lu", comma, row->faults[n]);
        else
            fprintf(out, "%s\"%u\": %lu", comma, n, row->faults[n]);
        comma = ", ";
    }
    fputc('}', out);
}

static void put_rows(const struct report *r, FILE *out)
{
    const char *comma = "";

    fputs(" \"rows\": [", out);
    for (unsigned n = 1; n < INSN_COUNT; n++) {
        const struct report_row *row = &r->rows[n];

        if (!row->chosen)
            continue;
        fprintf(out, "%s\n  {", comma);
        comma = ",";
        put_field(out, "name", insn_rows[n].name);
        fprintf(out, ", \"group\": \"%s\", \"state\": \"%s\"", report_group_of(n),
                report_row_state(row));
        if (row->reason) {
            fputs(", ", out);
            put_field(out, "reason", row->reason);
        }
        fprintf(out,
                ", \"forms\": %lu, \"forms_covered\": %lu, \"cases\": %lu, \"explained\": %lu, "
                "\"different\": %lu",
                row->counts.forms, row->counts.forms_covered, row->counts.cases,
                row->counts.explained, row->counts.different);
        put_numbers_of_row(out, row);
        fputc('}', out);
    }
    fputs("],\n", out);
}

static void put_deviations(const struct report *r, FILE *out)
{
    const char *comma = "";

    fputs(" \"deviations\": [", out);
    for (unsigned n = DEVIATION_NONE + 1; n < DEVIATION_COUNT; n++) {
        const u64 cases = report_deviation_cases(r, n);

        if (!cases)
            continue;
        fprintf(out, "%s\n  {", comma);
        comma = ",";
        put_field(out, "name", conform_deviations[n].name);
        fputs(", ", out);
        put_field(out, "vendor", conform_deviations[n].vendor);
        fputs(", ", out);
        put_field(out, "source", conform_deviations[n].source);
        fputs(", ", out);
        put_field(out, "what", conform_deviations[n].what);
        fprintf(out, ", \"cases\": %lu}", cases);
    }
    fputs("],\n", out);
}

static void put_difference(const struct report_difference *d, FILE *out)
{
    static const unsigned modes[] = {[MODE_64] = 64, [MODE_32] = 32, [MODE_16] = 16};
    const char *comma = "";

    if (d->row) {
        put_field(out, "row", insn_rows[d->row].name);
        fputs(", ", out);
    }
    put_field(out, "form", d->form);
    fprintf(out, ", \"mode\": %u, \"seed\": \"%lx\", \"engine\": \"%s\", \"parts\": [",
            modes[d->mode], d->seed, conform_engine_name(d->engine));
    for (unsigned n = 0; report_part_name(n); n++)
        if (d->parts >> n & 1) {
            fprintf(out, "%s\"%s\"", comma, report_part_name(n));
            comma = ", ";
        }
    fputs("], \"vector\": ", out);
    if (d->vector)
        put_string(out, d->vector);
    else
        fputs("null", out);
    fputs(", ", out);
    put_field(out, "text", d->text);
}

void report_write_json(const struct report *r, FILE *out)
{
    put_head(r, out);
    put_sums(r, out);
    put_rows(r, out);
    put_deviations(r, out);
    fputs(" \"differences\": [", out);
    for (unsigned n = 0; n < r->difference_count; n++) {
        fprintf(out, "%s\n  {", n ? "," : "");
        put_difference(&r->differences[n], out);
        fputc('}', out);
    }
    fputs("],\n \"crashes\": [", out);
    for (unsigned n = 0; n < r->crash_count; n++) {
        const struct report_crash *c = &r->crashes[n];

        fprintf(out, "%s\n  {", n ? "," : "");
        if (c->row) {
            put_field(out, "row", insn_rows[c->row].name);
            fputs(", ", out);
        }
        put_field(out, "form", c->form);
        fprintf(out, ", \"seed\": \"%lx\", ", c->seed);
        put_field(out, "cause", c->cause);
        fputc('}', out);
    }
    fputs("]}\n", out);
}
