/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform run` and `sequence`: options, and what becomes of the report.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cpu/insn.h"
#include "frontend/conform/campaign.h"
#include "frontend/conform/conform.h"

enum { DEFAULT_SECONDS = 60 };

struct run_options {
    struct campaign_options campaign;
    const char *json, *html;
    bool list, seeded;
};

enum option_key {
    OPTION_INSN = 256,
    OPTION_GROUP,
    OPTION_TIME,
    OPTION_CASES,
    OPTION_SEED,
    OPTION_JOBS,
    OPTION_SHARD,
    OPTION_ENGINE,
    OPTION_CPU,
    OPTION_JSON,
    OPTION_HTML,
    OPTION_VECTORS,
    OPTION_LIST,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"insn", required_argument, NULL, OPTION_INSN},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"time", required_argument, NULL, OPTION_TIME},
    {"cases", required_argument, NULL, OPTION_CASES},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"shard", required_argument, NULL, OPTION_SHARD},
    {"engine", required_argument, NULL, OPTION_ENGINE},
    {"cpu", required_argument, NULL, OPTION_CPU},
    {"json", required_argument, NULL, OPTION_JSON},
    {"html", required_argument, NULL, OPTION_HTML},
    {"vectors", required_argument, NULL, OPTION_VECTORS},
    {"list", no_argument, NULL, OPTION_LIST},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static void print_help(FILE *out, bool sequence)
{
    if (sequence)
        fputs("Usage: lockstep conform sequence [OPTION...]\n"
              "Runs random instruction sequences on this host and in Lockstep and compares.\n\n",
              out);
    else
        fputs(
            "Usage: lockstep conform run [OPTION...]\n"
            "Runs single instructions on this host and in Lockstep and compares.\n\n"
            "  --insn PATTERN    only rows of cpu/insn.def whose name matches: 'ADC*' "
            "(repeatable)\n"
            "  --group PATTERN   only groups of rows: integer, x87, 'avx*' (repeatable)\n"
            "  --list            list rows, forms and exempt rows with reasons, and run nothing\n",
            out);
    fputs("  --time T          stop after T: 90, 90s, 5m, 1h (60 s without --time and --cases)\n"
          "  --cases N         stop after N cases, all shards together\n"
          "  --seed S          seed in hexadecimal (default: a fresh one, which is printed)\n"
          "  --jobs N          worker processes (default: one for each processor of the host)\n"
          "  --shard I/N       the I-th of N disjoint parts of the campaign\n"
          "  --engine E        interp, jit, jit-counted, or both for the first two (default: "
          "interp)\n"
          "  --cpu MODEL       as -cpu of lockstep (default: max)\n"
          "  --json FILE       write the report as JSON\n"
          "  --html FILE       write the report as a page of HTML\n"
          "  --vectors DIR     write a minimal vector for each reported difference\n"
          "\nExit status: 0 no unexplained difference, 2 differences, 1 usage or set-up.\n",
          out);
}

static bool usage(const char *option, const char *value, const char *want)
{
    fprintf(stderr, "lockstep: conform %s %s is not valid; use %s.\n", option, value, want);
    return false;
}

static bool parse_number(const char *text, int base, u64 max, u64 *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, base);
    return text[0] != '-' && text[0] != '+' && end != text && !*end && !errno && *value <= max;
}

static bool parse_time(const char *text, double *seconds)
{
    char *end;

    errno = 0;
    *seconds = strtod(text, &end);
    if (end == text || errno || !(*seconds > 0))
        return false;
    if (*end == 'm')
        *seconds *= 60;
    else if (*end == 'h')
        *seconds *= 3600;
    else if (*end && *end != 's')
        return false;
    return (!*end || !end[1]) && *seconds <= 1e9;
}

static bool parse_shard(const char *text, struct campaign_options *o)
{
    int used = -1;

    return sscanf(text, "%u/%u%n", &o->shard, &o->shards, &used) == 2 && !text[used] &&
           text[0] != '-' && !strchr(text, '+') && !strstr(text, "/-") && o->shard >= 1 &&
           o->shard <= o->shards && o->shards <= 1000000;
}

static bool parse_engine(const char *text, struct campaign_options *o)
{
    const bool both = !strcmp(text, "both");
    bool any = false;

    for (unsigned e = 0; e < CONFORM_ENGINES; e++) {
        o->engine[e] = (both && e != CONFORM_COUNTED) ||
                       !strcmp(text, conform_engine_name((enum conform_engine)e));
        any |= o->engine[e];
    }
    return any;
}

static bool add_pattern(const char **patterns, const char *option, const char *value)
{
    unsigned n = 0;

    while (patterns[n])
        n++;
    if (n == CAMPAIGN_PATTERNS) {
        fprintf(stderr, "lockstep: conform %s is given more than %d times; use a wider pattern.\n",
                option, CAMPAIGN_PATTERNS);
        return false;
    }
    patterns[n] = value;
    return true;
}

static bool parse_option(int key, const char *value, struct run_options *r)
{
    struct campaign_options *o = &r->campaign;
    u64 number = 0;

    switch (key) {
    case OPTION_INSN: return add_pattern(o->insn, "--insn", value);
    case OPTION_GROUP: return add_pattern(o->group, "--group", value);
    case OPTION_TIME:
        return parse_time(value, &o->time) ||
               usage("--time", value, "a time above 0: 90, 90s, 5m, 1h");
    case OPTION_CASES:
        return (parse_number(value, 10, 1ull << 60, &o->cases) && o->cases) ||
               usage("--cases", value, "a number from 1");
    case OPTION_SEED:
        r->seeded = true;
        return parse_number(value, 16, ~0ull, &o->seed) ||
               usage("--seed", value, "up to 16 hexadecimal digits");
    case OPTION_JOBS:
        if (!parse_number(value, 10, CAMPAIGN_JOBS_MAX, &number) || !number)
            return usage("--jobs", value, "a number from 1 to 256");
        o->jobs = (unsigned)number;
        return true;
    case OPTION_SHARD:
        return parse_shard(value, o) || usage("--shard", value, "I/N with I from 1 to N: 2/8");
    case OPTION_ENGINE:
        return parse_engine(value, o) ||
               usage("--engine", value, "interp, jit, jit-counted or both");
    case OPTION_CPU: o->cpu = value; return true;
    case OPTION_JSON: r->json = value; return true;
    case OPTION_HTML: r->html = value; return true;
    case OPTION_VECTORS: o->vectors = value; return true;
    case OPTION_LIST: r->list = true; return true;
    default: return false;
    }
}

static bool check_options(const struct run_options *r, const char *command)
{
    const struct campaign_options *o = &r->campaign;

    if (o->sequence && (*o->insn || *o->group || r->list)) {
        fprintf(stderr, "lockstep: conform sequence has no --insn, --group and --list; use conform "
                        "run for single instructions.\n");
        return false;
    }
    for (unsigned e = 0; e < CONFORM_ENGINES; e++)
        if (o->engine[e] && !conform_engine_exists((enum conform_engine)e)) {
            fprintf(stderr,
                    "lockstep: This build has no engine %s; use conform %s --engine "
                    "interp.\n",
                    conform_engine_name((enum conform_engine)e), command);
            return false;
        }
    if (o->vectors && mkdir(o->vectors, 0777) && errno != EEXIST) {
        fprintf(stderr, "lockstep: conform --vectors %s cannot be made: %s.\n", o->vectors,
                strerror(errno));
        return false;
    }
    return true;
}

static u64 fresh_seed(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return campaign_case_seed((u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec, (u64)getpid());
}

/* *status is the exit status where there is nothing to run. */
static bool parse(int argc, char **argv, struct run_options *r, int *status)
{
    int key;

    *status = CONFORM_USAGE;
    optind = 0;
    opterr = 0;
    while ((key = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
        if (key == OPTION_HELP) {
            print_help(stdout, r->campaign.sequence);
            *status = CONFORM_OK;
            return false;
        }
        if (key == '?' || key == ':') {
            fprintf(stderr, "lockstep: conform %s: %s %s; see lockstep conform %s --help.\n",
                    argv[0], argv[optind - 1], key == ':' ? "needs a value" : "is not an option",
                    argv[0]);
            return false;
        }
        if (!parse_option(key, optarg, r))
            return false;
    }
    if (optind < argc) {
        fprintf(stderr,
                "lockstep: conform %s: %s is not an option; see lockstep conform %s "
                "--help.\n",
                argv[0], argv[optind], argv[0]);
        return false;
    }
    return check_options(r, argv[0]);
}

/* -- --list -- */

static void list_form(void *opaque, const struct conform_form *form)
{
    static const unsigned modes[] = {[MODE_64] = 64, [MODE_32] = 32, [MODE_16] = 16};
    unsigned *row = opaque;

    if (form->row != *row)
        printf("%s (%s)\n", insn_rows[form->row].name, report_group_of(form->row));
    *row = form->row;
    printf("  %u %s\n", modes[form->mode], form->text);
}

static int list(const struct campaign_options *o)
{
    struct report *r = report_create();
    struct report_counts all;
    struct error err = {""};
    unsigned row = 0;

    if (campaign_forms(o, list_form, &row, &err) || campaign_survey(o, r, &err)) {
        fprintf(stderr, "lockstep: %s\n", err.text);
        report_destroy(r);
        return CONFORM_USAGE;
    }
    for (row = 1; row < INSN_COUNT; row++)
        if (r->rows[row].reason)
            printf("%s (%s)\n  exempt: %s\n", insn_rows[row].name, report_group_of(row),
                   r->rows[row].reason);
    all = report_sum(r, NULL);
    printf("%lu rows, %lu exempt, %lu forms\n", all.rows, all.rows_exempt, all.forms);
    report_destroy(r);
    return CONFORM_OK;
}

/* -- running -- */

static int publish(const struct run_options *o, const struct report *r)
{
    struct error err = {""};

    report_print(r, stdout);
    if ((o->json && report_save(r, "--json", o->json, report_write_json, &err)) ||
        (o->html && report_save(r, "--html", o->html, report_write_html, &err))) {
        fprintf(stderr, "lockstep: conform %s\n", err.text);
        return CONFORM_USAGE;
    }
    return report_status(r);
}

static int run(const struct run_options *o)
{
    struct report *r = report_create();
    struct error err = {""};
    int status = CONFORM_USAGE;

    fprintf(stderr, "seed %lx\n", o->campaign.seed);
    if (campaign_run(&o->campaign, r, &err))
        fprintf(stderr, "lockstep: %s\n", err.text);
    else if (!o->campaign.sequence && !report_sum(r, NULL).rows)
        fputs("lockstep: conform run: no row matches --insn and --group; see conform run --list.\n",
              stderr);
    else
        status = publish(o, r);
    report_destroy(r);
    return status;
}

static int main_of(int argc, char **argv, bool sequence)
{
    struct run_options o = {.campaign = {.sequence = sequence,
                                         .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                                         .shard = 1,
                                         .shards = 1,
                                         .engine = {[CONFORM_INTERP] = true},
                                         .cpu = ""}};
    int status;

    if (!parse(argc, argv, &o, &status))
        return status;
    if (o.list)
        return list(&o.campaign);
    if (!o.seeded)
        o.campaign.seed = fresh_seed();
    if (o.campaign.jobs > CAMPAIGN_JOBS_MAX)
        o.campaign.jobs = CAMPAIGN_JOBS_MAX;
    if (o.campaign.time <= 0 && !o.campaign.cases)
        o.campaign.time = DEFAULT_SECONDS;
    return run(&o);
}

int conform_run(int argc, char **argv)
{
    return main_of(argc, argv, false);
}

int conform_sequence(int argc, char **argv)
{
    return main_of(argc, argv, true);
}
