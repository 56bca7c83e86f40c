/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform system`: what user mode of the host cannot judge, in bare-metal guests that
 * know the manuals' answers.
 */
#include <stdio.h>
#include <string.h>

#include "frontend/conform/arguments.h"
#include "frontend/conform/conform.h"
#include "frontend/conform/system_run.h"

#define COMMAND "conform system"

struct system_check {
    const char *engine_name, *cpu, *only, *json;
    bool list;
    enum lockstep_engine engine;
    FILE *file;
    unsigned areas, passed, cases, failed, skipped, bad;
};

static const struct system_image *find(const char *name)
{
    for (unsigned n = 0; n < system_image_count; n++)
        if (!strcmp(system_images[n].name, name))
            return &system_images[n];
    return NULL;
}

static enum status check_options(struct system_check *c, struct error *err)
{
    c->engine = LOCKSTEP_ENGINE_INTERPRETER;
    if (c->engine_name && !strcmp(c->engine_name, "jit"))
        c->engine = LOCKSTEP_ENGINE_JIT;
    else if (c->engine_name && strcmp(c->engine_name, "interp"))
        return error_set(err, ST_INVALID, COMMAND " --engine %s is not known; use interp or jit.",
                         c->engine_name);
    if (c->only && !find(c->only))
        return error_set(err, ST_NOT_FOUND,
                         COMMAND " --only %s is not an area; see " COMMAND " --list.", c->only);
    return ST_OK;
}

static void write_report(struct system_check *c, const struct system_image *image,
                         const struct system_report *r)
{
    if (!c->file)
        return;
    fputs(c->areas ? ",\n  {" : "\n  {", c->file);
    report_string(c->file, "area", image->name);
    fprintf(
        c->file,
        ", \"passed\": %u, \"cases\": %u, \"failed\": %u, \"skipped\": %u, \"instructions\": %lu, ",
        r->passed, r->cases, r->failed, r->skipped, r->instructions);
    report_string(c->file, "ended", r->ended[0] ? r->ended : r->done ? "" : "without DONE");
    fputs(", ", c->file);
    report_string(c->file, "lines", r->lines ? r->lines : "");
    fputc('}', c->file);
}

static void print_report(const struct system_image *image, const struct system_report *r)
{
    printf("%-16s %8u %8u %8u %8u  %s\n", image->name, r->passed, r->cases, r->failed, r->skipped,
           r->ended[0] ? r->ended
           : r->done   ? ""
                       : "ended without DONE");
    for (const char *at = r->lines; at && *at;) {
        const char *end = strchr(at, '\n');

        printf("    %.*s\n", (int)(end - at), at);
        at = end + 1;
    }
    fflush(stdout);
}

static enum status run_area(struct system_check *c, const struct system_image *image,
                            struct error *err)
{
    struct system_report r;
    enum status st = system_run(image, c->engine, c->cpu, &r, err);

    if (st)
        return st;
    if (!c->areas)
        printf("%-16s %8s %8s %8s %8s\n", "area", "passed", "cases", "failed", "skipped");
    print_report(image, &r);
    write_report(c, image, &r);
    c->areas++;
    c->passed += r.passed;
    c->cases += r.cases;
    c->failed += r.failed;
    c->skipped += r.skipped;
    c->bad += !system_report_good(&r);
    system_report_free(&r);
    return ST_OK;
}

static int fail(const struct error *err)
{
    fprintf(stderr, "lockstep: %s\n", err->text);
    return CONFORM_USAGE;
}

static int run_all(struct system_check *c)
{
    struct error err;
    enum status st = c->json ? report_open(&c->file, COMMAND, c->json, &err) : ST_OK;

    if (st)
        return fail(&err);
    if (c->file)
        fputs("{\"command\": \"system\", \"areas\": [", c->file);
    for (unsigned n = 0; !st && n < system_image_count; n++)
        if (!c->only || !strcmp(c->only, system_images[n].name))
            st = run_area(c, &system_images[n], &err);
    if (c->file) {
        fputs("]}\n", c->file);
        if (report_close(c->file, COMMAND, c->json, &err))
            st = ST_IO;
    }
    if (st)
        return fail(&err);
    printf(
        "%u areas: %u groups of %u cases passed, %u failed, %u skipped; %u areas have a failure.\n",
        c->areas, c->passed, c->cases, c->failed, c->skipped, c->bad);
    return c->bad ? CONFORM_DIFFERENT : CONFORM_OK;
}

int conform_system(int argc, char **argv)
{
    struct system_check c = {0};
    const struct argument table[] = {
        {"--engine", ARGUMENT_TEXT, &c.engine_name, 0, "NAME", "interp (default) or jit"},
        {"--cpu", ARGUMENT_TEXT, &c.cpu, 0, "MODEL", "as -cpu of lockstep (default: max)"},
        {"--only", ARGUMENT_TEXT, &c.only, 0, "AREA", "one area"},
        {"--list", ARGUMENT_FLAG, &c.list, 0, NULL, "names of the areas"},
        {"--json", ARGUMENT_TEXT, &c.json, 0, "FILE", "machine-readable report"},
        {0},
    };
    struct error err;
    bool help;

    if (arguments_parse(COMMAND, table, argc, argv, &help, &err) ||
        (!help && check_options(&c, &err)))
        return fail(&err);
    if (help) {
        arguments_help(stdout, COMMAND,
                       "Runs bare-metal guests that test what the host cannot run in user mode: "
                       "segments, gates, tasks,\npaging, control registers and MSRs, exceptions, "
                       "debug registers, timers. The sources in tests/guest\ncite the manuals for "
                       "each expected value.\n",
                       table);
        return CONFORM_OK;
    }
    if (!c.list)
        return run_all(&c);
    for (unsigned n = 0; n < system_image_count; n++)
        puts(system_images[n].name);
    return CONFORM_OK;
}
