/* SPDX-License-Identifier: MIT
 *
 * `lockstep conform cpuid`: every feature of a model, advertised or hidden, is tried.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/arguments.h"
#include "frontend/conform/conform.h"
#include "frontend/conform/cpuid_probe.h"

#define COMMAND "conform cpuid"

struct cpuid_check {
    const char *cpu, *json;
    bool verbose;
    FILE *file;
    bool first; /* of the JSON array */
    unsigned models, tried, works, absent, not_probed, bad, broken_rules;
};

static void write_finding(struct cpuid_check *c, const char *model, const struct cpuid_finding *f)
{
    if (!c->file)
        return;
    fputs(c->first ? "\n  {" : ",\n  {", c->file);
    c->first = false;
    report_string(c->file, "model", model);
    fputs(", ", c->file);
    report_string(c->file, "feature", f->feature);
    fputs(", ", c->file);
    report_string(c->file, "bit", f->bit);
    fprintf(c->file, ", \"advertised\": %s, ", f->advertised ? "true" : "false");
    report_string(c->file, "probe", f->probe);
    fprintf(c->file, ", \"vector\": %d, ", f->vector);
    report_string(c->file, "result", cpuid_verdict_text(f->verdict));
    fputc('}', c->file);
}

static void print_finding(const struct cpuid_finding *f)
{
    printf("  %-20s %-18s %-11s %-42s %s", f->feature, f->bit,
           f->advertised ? "advertised" : "hidden", f->probe, cpuid_verdict_text(f->verdict));
    if (f->vector != PROBE_RAN)
        printf(" (vector %d)", f->vector);
    putchar('\n');
}

/* Tries all features of one model; a table if show, else only what is wrong. */
static enum status check_model(struct cpuid_check *c, const char *model, bool show,
                               struct error *err)
{
    struct probe_machine p;
    struct cpuid_finding f;
    enum status st = probe_machine_create(&p, model, LOCKSTEP_ENGINE_INTERPRETER, err);

    if (st)
        return st;
    if (show)
        printf("-cpu %s\n", model);
    for (unsigned n = 0; n < cpuid_probe_count(); n++) {
        cpuid_probe_feature(&p, n, &f);
        c->tried++;
        c->works += f.verdict == CPUID_WORKS;
        c->absent += f.verdict == CPUID_ABSENT;
        c->not_probed += f.verdict == CPUID_NOT_PROBED;
        c->bad += cpuid_verdict_bad(f.verdict);
        if (cpuid_verdict_bad(f.verdict) && !show)
            printf("-cpu %s\n", model);
        if (show || cpuid_verdict_bad(f.verdict))
            print_finding(&f);
        write_finding(c, model, &f);
    }
    c->broken_rules += cpuid_rules_check(&p, stdout);
    c->models++;
    probe_machine_destroy(&p);
    return ST_OK;
}

/* max without each of its features in turn: what hides behind one bit. */
static enum status check_without_each(struct cpuid_check *c, struct error *err)
{
    struct probe_machine p;
    struct cpuid_finding f;
    enum status st = probe_machine_create(&p, "max", LOCKSTEP_ENGINE_INTERPRETER, err);
    char model[64];

    for (unsigned n = 0; !st && n < cpuid_probe_count(); n++) {
        cpuid_probe_feature(&p, n, &f);
        if (!f.advertised)
            continue;
        snprintf(model, sizeof(model), "max,-%s", f.feature);
        st = check_model(c, model, c->verbose, err);
    }
    if (!st || p.machine)
        probe_machine_destroy(&p);
    return st;
}

/* The named models that this host can offer, max, and max without each feature. */
static enum status check_all(struct cpuid_check *c, struct error *err)
{
    static const char *const models[] = {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
    enum status st = check_model(c, "max", true, err);

    for (unsigned n = 0; !st && n < ARRAY_SIZE(models); n++) {
        st = check_model(c, models[n], true, err);
        if (st == ST_UNSUPPORTED) {
            printf("left out: %s\n", err->text);
            st = ST_OK;
        }
    }
    return st ? st : check_without_each(c, err);
}

static int fail(const struct error *err)
{
    fprintf(stderr, "lockstep: %s\n", err->text);
    return CONFORM_USAGE;
}

static int run(struct cpuid_check *c)
{
    struct error err;
    enum status st = c->json ? report_open(&c->file, COMMAND, c->json, &err) : ST_OK;

    if (st)
        return fail(&err);
    c->first = true;
    if (c->file)
        fputs("{\"command\": \"cpuid\", \"findings\": [", c->file);
    st = c->cpu ? check_model(c, c->cpu, true, &err) : check_all(c, &err);
    if (c->file) {
        fprintf(c->file, "],\n \"models\": %u, \"bad\": %u, \"rules\": %u, \"broken_rules\": %u}\n",
                c->models, c->bad, cpuid_rules_count(), c->broken_rules);
        if (report_close(c->file, COMMAND, c->json, &err))
            st = ST_IO;
    }
    if (st)
        return fail(&err);
    printf("%u models, %u features tried: %u work, %u are hidden and absent, %u not executable, %u "
           "wrong; %u rules, %u broken.\n",
           c->models, c->tried, c->works, c->absent, c->not_probed, c->bad, cpuid_rules_count(),
           c->broken_rules);
    return c->bad || c->broken_rules ? CONFORM_DIFFERENT : CONFORM_OK;
}

int conform_cpuid(int argc, char **argv)
{
    struct cpuid_check c = {0};
    const struct argument table[] = {
        {"--cpu", ARGUMENT_TEXT, &c.cpu, 0, "MODEL",
         "one model, as -cpu of lockstep (default: all named ones,\n"
         "                   and max without each of its features)"},
        {"--verbose", ARGUMENT_FLAG, &c.verbose, 0, NULL, "tables of those, too"},
        {"--json", ARGUMENT_TEXT, &c.json, 0, "FILE", "machine-readable report"},
        {0},
    };
    struct error err;
    bool help;

    if (arguments_parse(COMMAND, table, argc, argv, &help, &err))
        return fail(&err);
    if (help) {
        arguments_help(
            stdout, COMMAND,
            "Executes one encoding for each feature that a model advertises, proves that "
            "each hidden one\nfaults (#UD, or #GP for bits of CR4, EFER and MSRs), and "
            "checks the CPUID leaves against each other.\n",
            table);
        return CONFORM_OK;
    }
    return run(&c);
}
