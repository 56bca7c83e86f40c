/* SPDX-License-Identifier: MIT
 *
 * Arguments of a subcommand, as a table; and its JSON report file.
 */
#pragma once

#include <stdio.h>

#include "mem/base/status.h"
#include "mem/base/types.h"

enum argument_kind { ARGUMENT_FLAG, ARGUMENT_NUMBER, ARGUMENT_TEXT };

struct argument {
    const char *name; /* "--seed"; NULL ends the table */
    enum argument_kind kind;
    void *value;         /* bool, u64 or const char * */
    u64 max;             /* of a number */
    const char *operand; /* "N", for the help; NULL for a flag */
    const char *help;
};

/* command: "conform decode". --help sets *help. A failure is one sentence that names the option. */
MUST_USE enum status arguments_parse(const char *command, const struct argument *table, int argc,
                                     char **argv, bool *help, struct error *err);
/* "Usage: ...", purpose (sentences that end with a newline), and the table. */
void arguments_help(FILE *out, const char *command, const char *purpose,
                    const struct argument *table);

/* The file of --json, opened before the work begins so that a bad name is known at once. */
MUST_USE enum status report_open(FILE **file, const char *command, const char *path,
                                 struct error *err);
/* Closes it; tells whether all of it was written. */
MUST_USE enum status report_close(FILE *file, const char *command, const char *path,
                                  struct error *err);
/* "key": "text" with what JSON needs escaped. */
void report_string(FILE *file, const char *key, const char *text);
