/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform check`: options and the list of files.
 */
#include "frontend/conform/check.h"

#include <dirent.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/conform/conform.h"

static const struct option long_options[] = {
    {"engine", required_argument, NULL, 'e'},
    {"native", no_argument, NULL, 'n'},
    {"cpu", required_argument, NULL, 'c'},
    {"suite", required_argument, NULL, 's'},
    {"show", required_argument, NULL, 'm'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void print_help(FILE *out)
{
    fputs(
        "Usage: lockstep conform check [OPTION...] FILE|DIR...\n"
        "Checks vectors that `gen`, `run` or `sequence` wrote, and SingleStepTests of the 8086,\n"
        "8088, 80286 and 80386 (JSON or MOO). Files may be compressed with gzip.\n\n"
        "  --engine E        interp, jit or jit-counted (default: interp)\n"
        "  --native          this host's processor instead of an engine\n"
        "  --cpu MODEL       as -cpu of lockstep (default: max)\n"
        "  --suite CPU       8086, 80286 or 80386: where SingleStepTests come from (default: what\n"
        "                    the file or metadata.json says)\n"
        "  --show N          explain the first N differences of a file (default: 3)\n"
        "\nExit status: 0 all agree, 2 differences, 1 usage or a file that cannot be used.\n",
        out);
}

static enum status set_option(struct check_options *o, int key, const char *value,
                              struct error *err)
{
    char *end;

    switch (key) {
    case 'e':
        for (unsigned e = 0; e < CONFORM_ENGINES; e++)
            if (!strcmp(value, conform_engine_name((enum conform_engine)e))) {
                o->kind = (enum conform_engine)e;
                return ST_OK;
            }
        return error_set(err, ST_INVALID,
                         "conform check --engine %s is not valid; use interp, jit or jit-counted.",
                         value);
    case 's':
        o->suite = singlestep_cpu_find(value);
        if (o->suite == SINGLESTEP_CPUS)
            return error_set(err, ST_INVALID,
                             "conform check --suite %s is not valid; use 8086, 80286 or 80386.",
                             value);
        return ST_OK;
    case 'm':
        o->shown = (unsigned)strtoul(value, &end, 10);
        if (end == value || *end || value[0] == '-' || strlen(value) > 9)
            return error_set(err, ST_INVALID, "conform check --show %s is not valid; use a number.",
                             value);
        return ST_OK;
    }
    return ST_OK;
}

static enum status parse(struct check_options *o, int argc, char **argv, bool *help,
                         struct error *err)
{
    enum status st = ST_OK;
    int key;

    optind = 0;
    while (!st && (key = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (key == ':' || key == '?')
            return error_set(
                err, ST_INVALID, "conform check %s %s; see lockstep conform check --help.",
                argv[optind - 1], key == ':' ? "needs an argument" : "is not an option");
        *help |= key == 'h';
        o->native |= key == 'n';
        if (key == 'c')
            o->cpu = optarg;
        st = set_option(o, key, optarg, err);
    }
    if (!st && !*help && optind == argc)
        return error_set(err, ST_INVALID,
                         "conform check needs files; name vector files or a directory of them.");
    return st;
}

/* -- directories -- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);

    return length >= tail && !strcasecmp(name + length - tail, suffix);
}

/* Files of a directory that are vectors by their name; the suites' metadata is not. */
static bool is_vector_file(const char *path)
{
    static const char *const suffixes[] = {".json",     ".json.gz", ".jsonl",
                                           ".jsonl.gz", ".moo",     ".moo.gz"};
    static const char *const others[] = {"metadata.json", "8088.json", "8086.json", "80286.json",
                                         "80386.json"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

    for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
        if (!strcmp(name, others[i]))
            return false;
    for (unsigned i = 0; i < ARRAY_SIZE(suffixes); i++)
        if (has_suffix(name, suffixes[i]))
            return true;
    return false;
}

static bool is_directory(const char *path)
{
    struct stat about;

    return !stat(path, &about) && S_ISDIR(about.st_mode);
}

/* In the order of names; directories in it, too. Returns how many files were checked. */
static u64 check_directory(struct checker *c, const char *path)
{
    u64 before = c->files;
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        char name[4096];

        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && is_directory(name))
            check_directory(c, name);
        else if (is_vector_file(name))
            checker_file(c, name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return c->files - before;
}

static void check_path(struct checker *c, const char *path)
{
    if (!is_directory(path)) {
        checker_file(c, path);
    } else if (!check_directory(c, path)) {
        fprintf(stderr, "lockstep: %s: has no vector files; name another directory.\n", path);
        c->files++;
        c->unusable++;
    }
}

int conform_check(int argc, char **argv)
{
    struct check_options o = {.cpu = "", .suite = SINGLESTEP_CPUS, .shown = 3};
    struct checker *c = NULL;
    bool help = false;
    struct error err;
    int status;
    enum status st = parse(&o, argc, argv, &help, &err);

    if (!st && help) {
        print_help(stdout);
        return CONFORM_OK;
    }
    if (!st)
        st = checker_create(&c, &o, stdout, &err);
    if (st) {
        fprintf(stderr, "lockstep: %s\n", err.text);
        return CONFORM_USAGE;
    }
    for (int i = optind; i < argc; i++)
        check_path(c, argv[i]);
    checker_summary(c);
    status = c->unusable ? CONFORM_USAGE : c->all.different ? CONFORM_DIFFERENT : CONFORM_OK;
    checker_destroy(c);
    return status;
}
