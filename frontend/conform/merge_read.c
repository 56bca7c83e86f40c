/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/json_text.h"
#include "frontend/conform/merge.h"

struct reading {
    struct json_text t;
    struct report *r;
    struct error *err;
};

static enum status wrong(const struct reading *d, const char *key, const char *want)
{
    return json_text_error(&d->t, key, d->err, "\"%s\" must be %s; the report is damaged.", key,
                           want);
}

static enum status text_field(const struct reading *d, const json_t *object, const char *key,
                              char *text, size_t size)
{
    const char *value = json_string_value(json_object_get(object, key));

    if (!value)
        return wrong(d, key, "a string");
    snprintf(text, size, "%s", value);
    return ST_OK;
}

static enum status hex_field(const struct reading *d, const json_t *object, const char *key,
                             u64 *value)
{
    const char *text = json_string_value(json_object_get(object, key));
    char *end = NULL;

    *value = text ? strtoull(text, &end, 16) : 0;
    if (!text || end == text || *end)
        return wrong(d, key, "a string of hexadecimal digits");
    return ST_OK;
}

static enum status array_field(const struct reading *d, const json_t *object, const char *key,
                               const json_t **array)
{
    *array = json_object_get(object, key);
    return json_is_array(*array) ? ST_OK : wrong(d, key, "a list");
}

static unsigned row_of(const char *name)
{
    for (unsigned n = 1; name && n < INSN_COUNT; n++)
        if (!strcmp(insn_rows[n].name, name))
            return n;
    return INSN_INVALID;
}

static unsigned deviation_of(const char *name)
{
    for (unsigned n = DEVIATION_NONE + 1; name && n < DEVIATION_COUNT; n++)
        if (!strcmp(conform_deviations[n].name, name))
            return n;
    return DEVIATION_NONE;
}

/* -- head -- */

static enum status read_engines(const struct reading *d, const json_t *object)
{
    const json_t *engines;
    enum status st = array_field(d, object, "engines", &engines);

    for (size_t i = 0; !st && i < json_array_size(engines); i++) {
        const char *name = json_string_value(json_array_get(engines, i));
        unsigned e = 0;

        while (e < CONFORM_ENGINES && (!name || strcmp(name, conform_engine_name(e))))
            e++;
        if (e == CONFORM_ENGINES)
            return wrong(d, "engines", "a list of interp and jit");
        d->r->engines[e] = true;
    }
    return st;
}

static enum status read_shard(const struct reading *d, const json_t *object)
{
    const json_t *shard = json_object_get(object, "shard");
    json_int_t number = json_integer_value(json_array_get(shard, 0));
    json_int_t total = json_integer_value(json_array_get(shard, 1));

    if (json_array_size(shard) != 2 || number < 1 || number > total || total > 1000000)
        return wrong(d, "shard", "[I, N] with I from 1 to N");
    d->r->shard = (unsigned)number;
    d->r->shards = (unsigned)total;
    return ST_OK;
}

static enum status read_head(const struct reading *d, const json_t *object)
{
    struct report *r = d->r;
    u64 version = 0, jobs = 0;
    char command[16];
    enum status st;

    if (!json_object_get(object, "lockstep_report"))
        return json_text_error(&d->t, NULL, d->err,
                               "this is no report (lockstep_report); name files that conform run "
                               "--json wrote.");
    if ((st = json_text_number(&d->t, object, "lockstep_report", INT64_MAX, &version, d->err)))
        return st;
    if (version != REPORT_VERSION)
        return json_text_error(&d->t, "lockstep_report", d->err,
                               "reports of version %llu are not known; this program reads version "
                               "%d.",
                               (unsigned long long)version, REPORT_VERSION);
    if ((st = text_field(d, object, "command", command, sizeof(command))) ||
        (st = text_field(d, object, "lockstep", r->lockstep, sizeof(r->lockstep))) ||
        (st = text_field(d, object, "host", r->host, sizeof(r->host))) ||
        (st = text_field(d, object, "cpu", r->cpu, sizeof(r->cpu))) ||
        (st = text_field(d, object, "started", r->started, sizeof(r->started))) ||
        (st = hex_field(d, object, "seed", &r->seed)) || (st = read_engines(d, object)) ||
        (st = read_shard(d, object)) ||
        (st = json_text_number(&d->t, object, "jobs", UINT32_MAX, &jobs, d->err)))
        return st;
    r->sequence = !strcmp(command, "sequence");
    if (!r->sequence && strcmp(command, "run"))
        return wrong(d, "command", "run or sequence");
    if (!json_is_number(json_object_get(object, "seconds")))
        return wrong(d, "seconds", "a number");
    r->seconds = json_number_value(json_object_get(object, "seconds"));
    r->jobs = (unsigned)jobs;
    return ST_OK;
}

/* -- counts -- */

static enum status read_counts(const struct reading *d, const json_t *object,
                               struct report_counts *c)
{
    const struct {
        const char *key;
        u64 *value;
    } fields[] = {
        {"forms", &c->forms},   {"forms_covered", &c->forms_covered}, {"cases", &c->cases},
        {"blocks", &c->blocks}, {"explained", &c->explained},         {"different", &c->different},
        {"hung", &c->hung},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        enum status st =
            json_text_number(&d->t, object, fields[i].key, INT64_MAX, fields[i].value, d->err);
        if (st)
            return st;
    }
    return ST_OK;
}

static enum status read_faults(const struct reading *d, const json_t *object, u64 *faults)
{
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(object, "faults"), name, value)
    {
        char *end;
        unsigned long n = strcmp(name, "none") ? strtoul(name, &end, 10) : REPORT_FAULT_NONE;

        if (!json_is_integer(value) || n >= REPORT_FAULTS)
            return wrong(d, "faults", "counts by vector");
        faults[n] = (u64)json_integer_value(value);
    }
    return ST_OK;
}

static enum status read_row_deviations(const struct reading *d, const json_t *object,
                                       u64 *deviations)
{
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(object, "deviations"), name, value)
    {
        unsigned n = deviation_of(name);

        if (!n || !json_is_integer(value))
            return json_text_error(&d->t, name, d->err,
                                   "\"%.40s\" is no deviation of this version; merge with the "
                                   "version that made the report.",
                                   name);
        deviations[n] = (u64)json_integer_value(value);
    }
    return ST_OK;
}

static enum status read_row(const struct reading *d, const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    const char *reason = json_string_value(json_object_get(object, "reason"));
    const unsigned n = row_of(name);
    struct report_row *row = &d->r->rows[n];
    enum status st;

    if (!n || row->chosen)
        return json_text_error(&d->t, n ? name : "rows", d->err,
                               "\"%.40s\" is %s; merge with the version that made the report.",
                               name ? name : "rows", n ? "there twice" : "no row of this version");
    row->chosen = true;
    if ((st = read_counts(d, object, &row->counts)) || (st = read_faults(d, object, row->faults)) ||
        (st = read_row_deviations(d, object, row->deviations)))
        return st;
    row->reason = reason ? strdup(reason) : NULL;
    row->counts.rows = 1;
    row->counts.rows_exempt = reason != NULL;
    row->counts.rows_covered = !reason && row->counts.cases;
    return ST_OK;
}

/* What a report has for all rows together only. */
static enum status read_sums(const struct reading *d, const json_t *object)
{
    const json_t *totals = json_object_get(object, "totals"), *list;
    struct report_counts all = {0};
    enum status st = read_counts(d, totals, &all);

    if (st || (st = array_field(d, object, "deviations", &list)))
        return st;
    if (!json_is_object(totals))
        return wrong(d, "totals", "an object");
    if (!d->r->sequence) {
        for (unsigned n = 1; n < INSN_COUNT && all.hung; n++)
            if (d->r->rows[n].chosen && !d->r->rows[n].reason) {
                d->r->rows[n].counts.hung = all.hung;
                break;
            }
        return ST_OK;
    }
    d->r->rows[0].chosen = true;
    d->r->rows[0].counts = all;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *deviation = json_array_get(list, i);
        unsigned n = deviation_of(json_string_value(json_object_get(deviation, "name")));
        u64 *cases = &d->r->rows[0].deviations[n];

        if (!n)
            return wrong(d, "deviations", "a list of deviations of this version");
        if ((st = json_text_number(&d->t, deviation, "cases", INT64_MAX, cases, d->err)))
            return st;
    }
    return ST_OK;
}

/* -- differences -- */

static enum status read_difference(const struct reading *d, const json_t *object)
{
    struct report_difference out = {
        .row = (u16)row_of(json_string_value(json_object_get(object, "row")))};
    const char *engine = json_string_value(json_object_get(object, "engine"));
    const char *vector = json_string_value(json_object_get(object, "vector"));
    const char *text = json_string_value(json_object_get(object, "text"));
    const json_t *parts;
    u64 mode = 64;
    enum status st;

    if ((st = text_field(d, object, "form", out.form, sizeof(out.form))) ||
        (st = hex_field(d, object, "seed", &out.seed)) ||
        (st = array_field(d, object, "parts", &parts)) ||
        (st = json_text_number(&d->t, object, "mode", 64, &mode, d->err)))
        return st;
    out.mode = mode == 64 ? MODE_64 : mode == 32 ? MODE_32 : MODE_16;
    while (out.engine + 1 < CONFORM_ENGINES && engine &&
           strcmp(engine, conform_engine_name(out.engine)))
        out.engine++;
    for (unsigned n = 0; report_part_name(n); n++)
        for (size_t i = 0; i < json_array_size(parts); i++) {
            const char *part = json_string_value(json_array_get(parts, i));

            if (part && !strcmp(part, report_part_name(n)))
                out.parts |= 1u << n;
        }
    out.vector = vector ? strdup(vector) : NULL;
    out.text = strdup(text ? text : "");
    report_add_difference(d->r, &out);
    return ST_OK;
}

static enum status read_crash(const struct reading *d, const json_t *object)
{
    struct report_crash out = {.row =
                                   (u16)row_of(json_string_value(json_object_get(object, "row")))};
    enum status st;

    if ((st = text_field(d, object, "form", out.form, sizeof(out.form))) ||
        (st = text_field(d, object, "cause", out.cause, sizeof(out.cause))) ||
        (st = hex_field(d, object, "seed", &out.seed)))
        return st;
    report_add_crash(d->r, &out);
    return ST_OK;
}

static enum status read_list(const struct reading *d, const json_t *object, const char *key,
                             enum status (*read)(const struct reading *d, const json_t *item))
{
    const json_t *list;
    enum status st = array_field(d, object, key, &list);

    for (size_t i = 0; !st && i < json_array_size(list); i++)
        st = read(d, json_array_get(list, i));
    return st;
}

static enum status read_report(struct reading *d)
{
    json_t *object;
    enum status st = json_text_next(&d->t, &object, d->err);

    if (st)
        return st;
    if (!object)
        return error_set(d->err, ST_INVALID, "%s:1: the file is empty; write the report again.",
                         d->t.in->file);
    if ((st = read_head(d, object)) || (st = read_list(d, object, "rows", read_row)) ||
        (st = read_sums(d, object)) || (st = read_list(d, object, "differences", read_difference)))
        return st;
    return read_list(d, object, "crashes", read_crash);
}

enum status merge_read(const char *file, struct report **r, struct error *err)
{
    struct reading d = {.err = err};
    struct input in;
    enum status st = input_read(&in, file, err);

    *r = NULL;
    if (st)
        return st;
    d.r = report_create();
    json_text_begin(&d.t, &in);
    st = read_report(&d);
    json_text_end(&d.t);
    input_release(&in);
    if (st)
        report_destroy(d.r);
    else
        *r = d.r;
    return st;
}
