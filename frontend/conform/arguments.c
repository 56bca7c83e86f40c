/* SPDX-License-Identifier: MIT */
#include "frontend/conform/arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct argument *find(const struct argument *table, const char *name)
{
    for (; table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

static enum status set_value(const char *command, const struct argument *a, const char *text,
                             struct error *err)
{
    char *end;
    u64 number;

    if (a->kind == ARGUMENT_TEXT) {
        *(const char **)a->value = text;
        return ST_OK;
    }
    errno = 0;
    number = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number > a->max)
        return error_set(err, ST_INVALID, "%s %s %s is not valid; use a number up to %lu.", command,
                         a->name, text, a->max);
    *(u64 *)a->value = number;
    return ST_OK;
}

enum status arguments_parse(const char *command, const struct argument *table, int argc,
                            char **argv, bool *help, struct error *err)
{
    *help = false;
    for (int n = 1; n < argc; n++) {
        const struct argument *a = find(table, argv[n]);
        enum status st;

        if (!strcmp(argv[n], "--help") || !strcmp(argv[n], "-h")) {
            *help = true;
            return ST_OK;
        }
        if (!a)
            return error_set(err, ST_INVALID, "%s %s is not an option; see lockstep %s --help.",
                             command, argv[n], command);
        if (a->kind == ARGUMENT_FLAG) {
            *(bool *)a->value = true;
            continue;
        }
        if (++n == argc)
            return error_set(err, ST_INVALID, "%s %s needs a value; see lockstep %s --help.",
                             command, a->name, command);
        st = set_value(command, a, argv[n], err);
        if (st)
            return st;
    }
    return ST_OK;
}

void arguments_help(FILE *out, const char *command, const char *purpose,
                    const struct argument *table)
{
    fprintf(out, "Usage: lockstep %s [OPTION...]\n%s\n", command, purpose);
    for (; table->name; table++) {
        char left[32];

        snprintf(left, sizeof(left), "%s %s", table->name, table->operand ? table->operand : "");
        fprintf(out, "  %-16s %s\n", left, table->help);
    }
    fputs("  --help           this text\n"
          "\nExit status: 0 no unexplained difference, 2 differences, 1 usage or set-up.\n",
          out);
}

enum status report_open(FILE **file, const char *command, const char *path, struct error *err)
{
    *file = fopen(path, "w");
    if (*file)
        return ST_OK;
    return error_set(err, ST_IO, "%s --json %s cannot be written (%s); choose another file.",
                     command, path, strerror(errno));
}

enum status report_close(FILE *file, const char *command, const char *path, struct error *err)
{
    bool failed = ferror(file);

    if (!fclose(file) && !failed)
        return ST_OK;
    return error_set(err, ST_IO, "%s --json %s was not written in full; is the disk full?", command,
                     path);
}

void report_string(FILE *file, const char *key, const char *text)
{
    fprintf(file, "\"%s\": \"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            fprintf(file, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, file);
    }
    fputc('"', file);
}
