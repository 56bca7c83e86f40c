/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform decode`: our decoder against Capstone over all opcodes with every ModRM byte
 * and class of prefixes, or over random byte strings, on several threads.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "frontend/conform/arguments.h"
#include "frontend/conform/conform.h"
#include "frontend/conform/decode_judge.h"

enum { JOBS_MAX = 256, QUICK_STRIDE = 23, GROUPS_SHOWN = 40, RANDOM_BATCH = 4096 };

#define COMMAND "conform decode"

struct decode_check {
    /* options */
    u64 random, seconds, seed, jobs;
    const char *json;
    bool quick;
    bool exhaustive; /* neither --random nor --time */
    /* shared by the threads */
    unsigned next_unit; /* atomic */
    u64 randoms_left;   /* atomic */
    u64 deadline;       /* ns of CLOCK_MONOTONIC, 0: none */
};

struct decode_worker {
    struct decode_check *check;
    struct judge *judge;
    u64 seed;
    pthread_t thread;
};

static u64 monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

/* -- work -- */

static bool visit(void *judge, unsigned code_size, const u8 bytes[SPACE_BYTES])
{
    judge_bytes(judge, code_size, bytes);
    return true;
}

static void exhaust(struct decode_worker *w)
{
    unsigned stride = w->check->quick ? QUICK_STRIDE : 1;

    for (;;) {
        unsigned unit = __atomic_fetch_add(&w->check->next_unit, 1, __ATOMIC_RELAXED);

        if (unit >= SPACE_UNITS)
            return;
        space_unit(unit, stride, visit, w->judge);
    }
}

/* Takes a batch off what --random asks for; its size, 0 when there is nothing left. */
static unsigned take_batch(struct decode_check *c)
{
    u64 left = __atomic_load_n(&c->randoms_left, __ATOMIC_RELAXED), take;

    if (c->deadline && monotonic_ns() >= c->deadline)
        return 0;
    do {
        take = left < RANDOM_BATCH ? left : RANDOM_BATCH;
    } while (take && !__atomic_compare_exchange_n(&c->randoms_left, &left, left - take, false,
                                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return (unsigned)take;
}

static void randomise(struct decode_worker *w)
{
    u8 bytes[SPACE_BYTES];
    unsigned code_size, count;

    while ((count = take_batch(w->check)) != 0)
        for (unsigned n = 0; n < count; n++) {
            space_random(&w->seed, &code_size, bytes);
            judge_bytes(w->judge, code_size, bytes);
        }
}

static void *work(void *opaque)
{
    struct decode_worker *w = opaque;

    if (w->check->exhaustive)
        exhaust(w);
    else
        randomise(w);
    return NULL;
}

/* Runs the threads; the first worker's judge has what all found. */
static enum status run(struct decode_check *c, struct decode_worker *workers, struct error *err)
{
    unsigned started = 0;
    enum status st = ST_OK;

    for (unsigned n = 0; !st && n < c->jobs; n++) {
        workers[n] = (struct decode_worker){.check = c, .seed = c->seed + n * 0x9e3779b97f4a7c15};
        st = judge_create(&workers[n].judge, err);
    }
    for (; !st && started < c->jobs; started++)
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]))
            break;
    if (!st && !started)
        st = error_set(err, ST_NO_MEMORY,
                       COMMAND ": the host gives no threads; close some programs.");
    for (unsigned n = 0; n < started; n++)
        pthread_join(workers[n].thread, NULL);
    for (unsigned n = 1; n < started; n++)
        judge_merge(workers[0].judge, workers[n].judge);
    return st;
}

/* -- report -- */

static void print_bytes(FILE *out, const u8 *bytes)
{
    for (unsigned n = 0; n < 15; n++)
        fprintf(out, "%s%02x", n ? " " : "", bytes[n]);
}

static const char *row_name(const struct judge_group *g)
{
    return g->row ? insn_rows[g->row].name : "#UD";
}

static void print_entries(const struct judge *j)
{
    printf("%-24s %12s  %s\n", "disagreement", "count", "Capstone's; the manual's");
    for (unsigned n = 0; n < capstone_entry_count; n++) {
        const struct capstone_entry *e = &capstone_entries[n];

        if (j->explained[n])
            printf("%-24s %12lu  %s\n%39s%s (%s)\n", e->name, j->explained[n], e->capstone, "",
                   e->manual, e->section);
    }
}

static void print_groups(const struct judge *j)
{
    for (unsigned n = 0; n < j->group_count && n < GROUPS_SHOWN; n++) {
        const struct judge_group *g = &j->groups[n];

        printf("unexplained, %u-bit, %s, %lu times, the first:\n  ", g->code_size * 8, row_name(g),
               g->count);
        print_bytes(stdout, g->bytes);
        printf("\n  ours     %s\n  Capstone %s\n", g->ours_text, g->theirs_text);
    }
    if (j->group_count > GROUPS_SHOWN)
        printf("and %u groups more (--json has all).\n", j->group_count - GROUPS_SHOWN);
}

/* Entries that a complete run has no use for: another Capstone, or a table to be tidied up. */
static void print_unused(const struct judge *j)
{
    for (unsigned n = 0; n < capstone_entry_count; n++)
        if (!j->explained[n])
            printf("%s of capstone.def explained nothing.\n", capstone_entries[n].name);
}

static void print_report(const struct judge *j, double seconds)
{
    u64 explained = j->compared - j->agreed - j->unexplained;

    print_entries(j);
    print_groups(j);
    printf("%lu byte strings in %.1f s, %lu of them instructions: %lu agree, %lu disagreements are "
           "Capstone's, %lu are unexplained.\n",
           j->compared, seconds, j->valid, j->agreed, explained, j->unexplained);
}

static void write_entry(FILE *file, const struct judge *j, unsigned n)
{
    const struct capstone_entry *e = &capstone_entries[n];

    fputs(n ? ",\n  {" : "\n  {", file);
    report_string(file, "name", e->name);
    fprintf(file, ", \"count\": %lu, ", j->explained[n]);
    report_string(file, "capstone", e->capstone);
    fputs(", ", file);
    report_string(file, "manual", e->manual);
    fputs(", ", file);
    report_string(file, "section", e->section);
    if (j->explained[n]) {
        fprintf(file, ", \"bits\": %u, \"example\": \"", j->example[n][0] * 8);
        print_bytes(file, j->example[n] + 1);
        fputc('"', file);
    }
    fputc('}', file);
}

static void write_group(FILE *file, const struct judge_group *g, bool first)
{
    fputs(first ? "\n  {" : ",\n  {", file);
    report_string(file, "row", row_name(g));
    fprintf(file, ", \"bits\": %u, \"aspects\": %u, \"count\": %lu, \"bytes\": \"",
            g->code_size * 8, g->aspects, g->count);
    print_bytes(file, g->bytes);
    fputs("\", ", file);
    report_string(file, "ours", g->ours_text);
    fputs(", ", file);
    report_string(file, "capstone", g->theirs_text);
    fputc('}', file);
}

static void write_json(FILE *file, const struct decode_check *c, const struct judge *j)
{
    int major, minor;

    cs_version(&major, &minor);
    fprintf(file,
            "{\"command\": \"decode\", \"capstone\": \"%d.%d\", \"exhaustive\": %s, \"quick\": %s, "
            "\"seed\": %lu,\n \"compared\": %lu, \"instructions\": %lu, \"agreed\": %lu, "
            "\"unexplained\": %lu,\n \"disagreements\": [",
            major, minor, c->exhaustive ? "true" : "false", c->quick ? "true" : "false", c->seed,
            j->compared, j->valid, j->agreed, j->unexplained);
    for (unsigned n = 0; n < capstone_entry_count; n++)
        write_entry(file, j, n);
    fputs("],\n \"differences\": [", file);
    for (unsigned n = 0; n < j->group_count; n++)
        write_group(file, &j->groups[n], n == 0);
    fputs("]}\n", file);
}

/* -- the command -- */

static enum status check_options(struct decode_check *c, struct error *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    c->exhaustive = !c->random && !c->seconds;
    if (c->quick && !c->exhaustive)
        return error_set(err, ST_INVALID,
                         COMMAND
                         " --quick is a slice of the exhaustive run; leave out --random and "
                         "--time.");
    if (!c->jobs)
        c->jobs = processors > 0 && processors <= JOBS_MAX ? (u64)processors : 1;
    c->randoms_left = c->random ? c->random : UINT64_MAX;
    c->deadline = c->seconds ? monotonic_ns() + c->seconds * 1000000000 : 0;
    return ST_OK;
}

static int fail(const struct error *err)
{
    fprintf(stderr, "lockstep: %s\n", err->text);
    return CONFORM_USAGE;
}

static int check(struct decode_check *c)
{
    struct decode_worker *workers = calloc(c->jobs, sizeof(*workers));
    u64 start = monotonic_ns();
    FILE *file = NULL;
    struct error err;
    enum status st = c->json ? report_open(&file, COMMAND, c->json, &err) : ST_OK;
    int status = CONFORM_USAGE;

    if (!st && !workers)
        st = error_set(&err, ST_NO_MEMORY, COMMAND ": there is not enough memory.");
    if (!st)
        st = run(c, workers, &err);
    if (!st) {
        if (c->exhaustive && !c->quick)
            print_unused(workers[0].judge);
        print_report(workers[0].judge, (double)(monotonic_ns() - start) / 1e9);
        status = workers[0].judge->unexplained ? CONFORM_DIFFERENT : CONFORM_OK;
        if (file)
            write_json(file, c, workers[0].judge);
    }
    if (file && report_close(file, COMMAND, c->json, &err))
        st = ST_IO;
    for (unsigned n = 0; workers && n < c->jobs; n++)
        judge_destroy(workers[n].judge);
    free(workers);
    return st ? fail(&err) : status;
}

int conform_decode(int argc, char **argv)
{
    struct decode_check c = {.seed = 1};
    const struct argument table[] = {
        {"--quick", ARGUMENT_FLAG, &c.quick, 0, NULL, "a slice of it, in some seconds"},
        {"--random", ARGUMENT_NUMBER, &c.random, UINT64_MAX, "N", "N random byte strings instead"},
        {"--time", ARGUMENT_NUMBER, &c.seconds, 1000000, "S",
         "random byte strings for S seconds instead"},
        {"--seed", ARGUMENT_NUMBER, &c.seed, UINT64_MAX, "N", "of the random strings (default 1)"},
        {"--jobs", ARGUMENT_NUMBER, &c.jobs, JOBS_MAX, "N", "threads (default: processors)"},
        {"--json", ARGUMENT_TEXT, &c.json, 0, "FILE", "machine-readable report"},
        {0},
    };
    struct error err;
    bool help;

    if (arguments_parse(COMMAND, table, argc, argv, &help, &err))
        return fail(&err);
    if (help) {
        arguments_help(stdout, COMMAND,
                       "Compares the decoder with Capstone: all opcodes with every ModRM byte and "
                       "class of prefixes,\nin 16-, 32- and 64-bit code. What is known to be "
                       "Capstone's fault is listed with the manual's\nsection; anything else is a "
                       "difference.\n",
                       table);
        return CONFORM_OK;
    }
    if (check_options(&c, &err))
        return fail(&err);
    return check(&c);
}
