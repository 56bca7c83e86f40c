/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform merge`: one report of the reports of all shards.
 */
#include "frontend/conform/merge.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/conform.h"

/* -- adding -- */

static enum status differ(const char *what, const char *file, const char *first, const char *is,
                          const char *was, struct error *err)
{
    return error_set(err, ST_INVALID,
                     "%s has %s %s and %s has %s; merge reports of one campaign only.", file, what,
                     is, first, was);
}

static void engines_text(const struct report *r, char *text, size_t size)
{
    text[0] = 0;
    for (unsigned e = 0; e < CONFORM_ENGINES; e++)
        if (r->engines[e])
            snprintf(text + strlen(text), size - strlen(text), "%s%s", text[0] ? "," : "",
                     conform_engine_name(e));
}

static enum status check_heads(const struct report *sum, const char *first,
                               const struct report *shard, const char *file, struct error *err)
{
    char is[32], was[32];

    if (sum->sequence != shard->sequence)
        return differ("command", file, first, shard->sequence ? "sequence" : "run",
                      sum->sequence ? "sequence" : "run", err);
    if (strcmp(sum->lockstep, shard->lockstep))
        return differ("version", file, first, shard->lockstep, sum->lockstep, err);
    if (strcmp(sum->cpu, shard->cpu))
        return differ("cpu", file, first, shard->cpu, sum->cpu, err);
    engines_text(shard, is, sizeof(is));
    engines_text(sum, was, sizeof(was));
    if (strcmp(is, was))
        return differ("engines", file, first, is, was, err);
    snprintf(is, sizeof(is), "%llx", (unsigned long long)shard->seed);
    snprintf(was, sizeof(was), "%llx", (unsigned long long)sum->seed);
    if (sum->seed != shard->seed)
        return differ("seed", file, first, is, was, err);
    snprintf(is, sizeof(is), "%u shards", shard->shards);
    snprintf(was, sizeof(was), "%u shards", sum->shards);
    if (sum->shards != shard->shards)
        return differ("a campaign of", file, first, is, was, err);
    return ST_OK;
}

/* Shards go through the forms in the same order, so that what they covered are beginnings of one
 * list: together they cover what the farthest did. */
static enum status add_row(unsigned n, struct report_row *sum, const char *first,
                           const struct report_row *shard, const char *file, struct error *err)
{
    struct report_counts *to = &sum->counts;
    const struct report_counts *c = &shard->counts;

    if (sum->chosen != shard->chosen || to->forms != c->forms)
        return error_set(err, ST_INVALID,
                         "%s and %s disagree about the forms of %s; run all shards with the same "
                         "--insn and --cpu, on hosts with the same features.",
                         file, first, n ? insn_rows[n].name : "sequences");
    if (c->forms_covered > to->forms_covered)
        to->forms_covered = c->forms_covered;
    to->rows_covered |= c->rows_covered;
    to->cases += c->cases;
    to->blocks += c->blocks;
    to->explained += c->explained;
    to->different += c->different;
    to->hung += c->hung;
    for (unsigned i = 0; i < REPORT_FAULTS; i++)
        sum->faults[i] += shard->faults[i];
    for (unsigned i = 0; i < DEVIATION_COUNT; i++)
        sum->deviations[i] += shard->deviations[i];
    return ST_OK;
}

enum status merge_add(struct report *sum, const char *first, struct report *shard, const char *file,
                      struct error *err)
{
    enum status st = check_heads(sum, first, shard, file, err);

    for (unsigned n = 0; !st && n < INSN_COUNT; n++)
        st = add_row(n, &sum->rows[n], first, &shard->rows[n], file, err);
    if (st)
        return st;
    for (unsigned n = 0; n < shard->difference_count; n++)
        report_add_difference(sum, &shard->differences[n]);
    shard->difference_count = 0; /* their texts are sum's now */
    for (unsigned n = 0; n < shard->crash_count; n++)
        report_add_crash(sum, &shard->crashes[n]);
    if (!strstr(sum->host, shard->host) &&
        strlen(sum->host) + strlen(shard->host) + 3 < sizeof(sum->host))
        strcat(strcat(sum->host, "; "), shard->host);
    if (shard->seconds > sum->seconds)
        sum->seconds = shard->seconds;
    if (strcmp(shard->started, sum->started) < 0)
        memcpy(sum->started, shard->started, sizeof(sum->started));
    sum->jobs += shard->jobs;
    return ST_OK;
}

/* -- the command -- */

struct merge {
    const char *json, *html;
    bool partial;
    char **files;
    unsigned count;
    const char **file_of; /* of each shard, from 1 */
    struct report *sum;
};

static const struct option long_options[] = {
    {"json", required_argument, NULL, 'o'},
    {"html", required_argument, NULL, 'w'},
    {"partial", no_argument, NULL, 'p'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void print_help(FILE *out)
{
    fputs("Usage: lockstep conform merge [OPTION...] FILE...\n"
          "Joins the JSON reports of all shards of a campaign to one.\n\n"
          "  -o FILE, --json FILE  write the report as JSON\n"
          "  --html FILE           write the report as a page of HTML\n"
          "  --partial             accept that shards are missing\n"
          "\nExit status: 0 no unexplained difference, 2 differences, 1 usage or reports that do "
          "not\nbelong together.\n",
          out);
}

static enum status parse(struct merge *m, int argc, char **argv, bool *help, struct error *err)
{
    int key;

    optind = 0;
    while ((key = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
        if (key == ':' || key == '?')
            return error_set(
                err, ST_INVALID, "conform merge %s %s; see lockstep conform merge --help.",
                argv[optind - 1], key == ':' ? "needs an argument" : "is not an option");
        *help |= key == 'h';
        m->partial |= key == 'p';
        if (key == 'o')
            m->json = optarg;
        if (key == 'w')
            m->html = optarg;
    }
    m->files = argv + optind;
    m->count = (unsigned)(argc - optind);
    if (!*help && !m->count)
        return error_set(err, ST_INVALID,
                         "conform merge needs files; name the JSON reports of all shards.");
    return ST_OK;
}

static enum status take_shard(struct merge *m, struct report *r, const char *file,
                              struct error *err)
{
    const char **place;

    if (!m->sum) {
        m->file_of = calloc(r->shards + 1, sizeof(*m->file_of));
        if (!m->file_of)
            return error_set(err, ST_NO_MEMORY, "conform merge has no memory; free some.");
        m->file_of[r->shard] = file;
        m->sum = r;
        return ST_OK;
    }
    /* Before the shard number is looked at: it counts in its own campaign. */
    if (r->shards == m->sum->shards) {
        place = &m->file_of[r->shard];
        if (*place)
            return error_set(err, ST_INVALID,
                             "%s and %s are both shard %u of %u; name each shard once.", file,
                             *place, r->shard, r->shards);
        *place = file;
    }
    return merge_add(m->sum, m->files[0], r, file, err);
}

static enum status check_complete(const struct merge *m, struct error *err)
{
    char list[256] = "";
    unsigned missing = 0;

    for (unsigned i = 1; i <= m->sum->shards; i++) {
        if (m->file_of[i])
            continue;
        missing++;
        if (strlen(list) < sizeof(list) - 32)
            snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%u", list[0] ? ", " : "",
                     i);
    }
    if (!missing || m->partial)
        return ST_OK;
    return error_set(err, ST_NOT_FOUND,
                     "conform merge lacks %u of %u shards (%s%s); add their reports, or use "
                     "--partial.",
                     missing, m->sum->shards, list,
                     strlen(list) >= sizeof(list) - 32 ? ", ..." : "");
}

static enum status merge_files(struct merge *m, struct error *err)
{
    enum status st = ST_OK;

    for (unsigned i = 0; !st && i < m->count; i++) {
        struct report *r;

        st = merge_read(m->files[i], &r, err);
        if (st)
            break;
        st = take_shard(m, r, m->files[i], err);
        if (r != m->sum)
            report_destroy(r);
    }
    if (!st)
        st = check_complete(m, err);
    if (st)
        return st;
    m->sum->shard = m->sum->shards = 1;
    report_print(m->sum, stdout);
    if (m->json)
        st = report_save(m->sum, "conform merge -o", m->json, report_write_json, err);
    if (!st && m->html)
        st = report_save(m->sum, "conform merge --html", m->html, report_write_html, err);
    return st;
}

int conform_merge(int argc, char **argv)
{
    struct merge m = {0};
    bool help = false;
    struct error err;
    int status = CONFORM_OK;
    enum status st = parse(&m, argc, argv, &help, &err);

    if (!st && help)
        print_help(stdout);
    else if (!st)
        st = merge_files(&m, &err);
    if (st)
        fprintf(stderr, "lockstep: %s\n", err.text);
    else if (m.sum)
        status = report_status(m.sum);
    report_destroy(m.sum);
    free(m.file_of);
    return st ? CONFORM_USAGE : status;
}
