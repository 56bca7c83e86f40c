/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform gen`: generated cases, run on this host, as vectors.
 */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cpu/cpuid.h"
#include "cpu/insn.h"
#include "frontend/conform/campaign.h"
#include "frontend/conform/conform.h"
#include "frontend/conform/engine_image.h"
#include "frontend/conform/generate.h"
#include "frontend/conform/reduce.h"
#include "frontend/conform/vectors.h"

enum { COUNT_DEFAULT = 10, COUNT_MAX = 10000000 };

struct gen {
    const char *patterns[CAMPAIGN_PATTERNS];
    unsigned pattern_count;
    const char *output, *cpu;
    u64 count, seed;
    bool full;
    bool directory;
    struct cpu_model model;
    struct generator *generator;
    struct native_host *host;
    FILE *out;
    char path[4096]; /* of out; empty: standard output */
    u64 written, files, skipped;
    struct conform_case c;
    struct conform_outcome o;
};

static const struct option long_options[] = {
    {"insn", required_argument, NULL, 'i'}, {"count", required_argument, NULL, 'n'},
    {"seed", required_argument, NULL, 's'}, {"output", required_argument, NULL, 'o'},
    {"cpu", required_argument, NULL, 'c'},  {"full", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
};

static void print_help(FILE *out)
{
    fputs(
        "Usage: lockstep conform gen [OPTION...]\n"
        "Writes vectors: generated cases with what this host's processor makes of them.\n\n"
        "  --insn PATTERN    only rows of cpu/insn.def whose name matches: 'ADC*'\n"
        "                    (repeatable; default: all)\n"
        "  --count N         vectors of each row, in turn of its forms (default: 10)\n"
        "  --seed S          seed in hexadecimal (default: 1)\n"
        "  --cpu MODEL       only instructions of this model, as -cpu of lockstep (default: max)\n"
        "  -o FILE|DIR       where to; in a directory one file for each row (default: standard\n"
        "                    output)\n"
        "  --full            keep registers that have no part in the outcome\n"
        "\nThe format is described in tests/conformance/FORMAT.md.\n",
        out);
}

static enum status parse_number(const char *option, const char *text, int base, u64 max, u64 *value,
                                struct error *err)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, base);
    if (text[0] == '-' || text[0] == '+' || end == text || *end || errno || *value > max)
        return error_set(err, ST_INVALID, "conform gen %s %s is not valid; use a %s up to %llu.",
                         option, text, base == 16 ? "hexadecimal number" : "number",
                         (unsigned long long)max);
    return ST_OK;
}

static enum status parse(struct gen *g, int argc, char **argv, bool *help, struct error *err)
{
    enum status st = ST_OK;
    int key;

    optind = 0;
    while (!st && (key = getopt_long(argc, argv, ":o:", long_options, NULL)) != -1) {
        switch (key) {
        case 'i':
            if (g->pattern_count == CAMPAIGN_PATTERNS)
                return error_set(err, ST_INVALID,
                                 "conform gen --insn is given more than %d times; use a wider "
                                 "pattern.",
                                 CAMPAIGN_PATTERNS);
            g->patterns[g->pattern_count++] = optarg;
            break;
        case 'n': st = parse_number("--count", optarg, 10, COUNT_MAX, &g->count, err); break;
        case 's': st = parse_number("--seed", optarg, 16, UINT64_MAX, &g->seed, err); break;
        case 'c': g->cpu = optarg; break;
        case 'o': g->output = optarg; break;
        case 'f': g->full = true; break;
        case 'h': *help = true; break;
        default:
            return error_set(err, ST_INVALID, "conform gen %s %s; see lockstep conform gen --help.",
                             argv[optind - 1],
                             key == ':' ? "needs an argument" : "is not an option");
        }
    }
    if (!st && optind < argc)
        return error_set(err, ST_INVALID,
                         "conform gen %s is not an option; see lockstep conform gen --help.",
                         argv[optind]);
    return st;
}

static enum status close_output(struct gen *g, struct error *err)
{
    FILE *out = g->out;
    bool bad;

    g->out = NULL;
    if (!out)
        return ST_OK;
    bad = ferror(out) || (out == stdout ? fflush(out) : fclose(out));
    if (bad)
        return error_set(err, ST_IO, "conform gen -o %s cannot be written (%s); free some space.",
                         g->path[0] ? g->path : "standard output", strerror(errno));
    return ST_OK;
}

/* The file of a row: its own in a directory, else the only one. */
static enum status open_output(struct gen *g, const char *row, struct error *err)
{
    enum status st;

    if (g->out && !g->directory)
        return ST_OK;
    st = close_output(g, err);
    if (st)
        return st;
    if (!g->output || !strcmp(g->output, "-")) {
        g->out = stdout;
    } else {
        snprintf(g->path, sizeof(g->path), g->directory ? "%s/%s.json" : "%s", g->output, row);
        g->out = fopen(g->path, "w");
    }
    if (!g->out)
        return error_set(err, ST_IO, "conform gen -o %s cannot be written (%s); name another file.",
                         g->path, strerror(errno));
    g->files++;
    vectors_write_header(g->out, NULL);
    return ST_OK;
}

static enum status write_one(struct gen *g, const struct conform_form *form, u64 number,
                             struct error *err)
{
    u64 seed = campaign_case_seed(g->seed, (u64)form->row << 32 | number);
    enum status st;

    generate_case(g->generator, form, seed, &g->c);
    st = native_host_run(g->host, &g->c, &g->o, 1, err);
    /* What the host could not run is no vector. */
    if (!st && (g->o.vector == OUTCOME_LOST || g->o.vector == OUTCOME_SYSCALL)) {
        g->skipped++;
        return ST_OK;
    }
    if (!st && !g->full)
        st = reduce_case(g->host, &g->c, &g->o, err);
    if (!st)
        vectors_write(g->out, &g->c, &g->o);
    g->written += !st;
    return st;
}

static bool chosen(const struct gen *g, unsigned row)
{
    for (unsigned i = 0; i < g->pattern_count; i++)
        if (!fnmatch(g->patterns[i], insn_rows[row].name, FNM_CASEFOLD))
            return !conform_exempt(row);
    return !g->pattern_count && !conform_exempt(row);
}

static enum status write_rows(struct gen *g, struct error *err)
{
    unsigned count, next;
    const struct conform_form *forms = generator_forms(g->generator, &count);
    enum status st = ST_OK;

    for (unsigned first = 0; first < count; first = next) {
        const char *name = insn_rows[forms[first].row].name;

        for (next = first; next < count && forms[next].row == forms[first].row;)
            next++;
        if (!chosen(g, forms[first].row))
            continue;
        st = open_output(g, name, err);
        for (u64 n = 0; !st && n < g->count; n++)
            st = write_one(g, &forms[first + n % (next - first)], n, err);
        if (st)
            return st;
    }
    if (!g->files)
        return error_set(err, ST_NOT_FOUND,
                         "conform gen --insn %s matches no row that user code can run here; see "
                         "lockstep conform run --list for all.",
                         g->pattern_count ? g->patterns[0] : "'*'");
    return close_output(g, err);
}

static enum status generate(struct gen *g, struct error *err)
{
    const struct cpu_topology one = {1, 1, 1};
    struct stat about;
    enum status st;

    g->directory = g->output && !stat(g->output, &about) && S_ISDIR(about.st_mode);
    if ((st = cpu_model_parse(&g->model, g->cpu, &one, 1000000000, 1000000000, err)) ||
        (st = generator_create(&g->generator, &g->model, image_host_xcr0(), err)) ||
        (st = native_host_create(&g->host, REDUCE_BATCH, err)))
        return st;
    st = write_rows(g, err);
    if (st && g->out)
        (void)!close_output(g, NULL);
    return st;
}

int conform_gen(int argc, char **argv)
{
    struct gen *g = aligned_alloc(64, sizeof(*g));
    bool help = false;
    struct error err;
    enum status st;

    if (!g) {
        fputs("lockstep: conform gen has no memory; free some.\n", stderr);
        return CONFORM_USAGE;
    }
    *g = (struct gen){.cpu = "", .count = COUNT_DEFAULT, .seed = 1};
    st = parse(g, argc, argv, &help, &err);
    if (!st && help)
        print_help(stdout);
    else if (!st)
        st = generate(g, &err);
    if (st)
        fprintf(stderr, "lockstep: %s\n", err.text);
    else if (!help && g->path[0])
        fprintf(stderr, "%llu vectors in %llu files, %llu cases that this host could not run\n",
                (unsigned long long)g->written, (unsigned long long)g->files,
                (unsigned long long)g->skipped);
    if (g->host)
        native_host_destroy(g->host);
    if (g->generator)
        generator_destroy(g->generator);
    free(g);
    return st ? CONFORM_USAGE : CONFORM_OK;
}
