/* SPDX-License-Identifier: MIT */
#include "frontend/conform/conform.h"

#include <stdio.h>
#include <string.h>

#include "mem/base/types.h"

struct subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

/* clang-format off */
static const struct subcommand subcommands[] = {
    {"run", conform_run, "single instructions against this host"},
    {"sequence", conform_sequence, "random instruction sequences against this host"},
    {"gen", conform_gen, "write vectors: cases with what this host makes of them"},
    {"check", conform_check, "check vectors and SingleStepTests in an engine"},
    {"cpuid", conform_cpuid, "advertised and hidden features of a -cpu model"},
    {"decode", conform_decode, "the decoder against Capstone"},
    {"system", conform_system, "the bare-metal suite: what user mode cannot test"},
    {"merge", conform_merge, "join the reports of shards"},
    {NULL, NULL, NULL},
};
/* clang-format on */

static void conform_help(FILE *out)
{
    fputs("Usage: lockstep conform COMMAND [OPTION...]\n"
          "Tests instructions one by one against the processor of this host.\n\n",
          out);
    for (const struct subcommand *s = subcommands; s->name; s++)
        fprintf(out, "  %-10s %s\n", s->name, s->help);
    fputs("\nlockstep conform COMMAND --help tells the options of a command.\n"
          "Exit status: 0 no unexplained difference, 2 differences, 1 usage or set-up.\n",
          out);
}

int conform_main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        conform_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CONFORM_USAGE : CONFORM_OK;
    }
    for (const struct subcommand *s = subcommands; s->name; s++)
        if (!strcmp(argv[1], s->name))
            return s->run(argc - 1, argv + 1);
    fprintf(stderr, "lockstep: conform %s is not a command; see lockstep conform --help.\n",
            argv[1]);
    return CONFORM_USAGE;
}
