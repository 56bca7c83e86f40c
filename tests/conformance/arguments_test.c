/* SPDX-License-Identifier: MIT */
#include "frontend/conform/arguments.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/suite.h"

static struct {
    bool flag;
    u64 number;
    const char *text;
} got;

static const struct argument table[] = {
    {"--flag", ARGUMENT_FLAG, &got.flag, 0, NULL, "a flag"},
    {"--number", ARGUMENT_NUMBER, &got.number, 100, "N", "a number"},
    {"--text", ARGUMENT_TEXT, &got.text, 0, "FILE", "a text"},
    {0},
};

static enum status parse(struct error *err, bool *help, const char *line)
{
    static char name[] = "command";
    char copy[128], *argv[16] = {name};
    int argc = 1;

    memset(&got, 0, sizeof(got));
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = strdup(word);
    return arguments_parse("conform command", table, argc, argv, help, err);
}

START_TEST(values_arrive)
{
    struct error err;
    bool help;

    ck_assert_int_eq(parse(&err, &help, "--number 0x10 --text a --flag"), ST_OK);
    ck_assert(got.flag && got.number == 16 && !strcmp(got.text, "a") && !help);
    ck_assert_int_eq(parse(&err, &help, "--help --nonsense"), ST_OK);
    ck_assert(help);
}
END_TEST

static const struct {
    const char *line, *sentence;
} bad[] = {
    {"--nonsense", "conform command --nonsense is not an option; see lockstep conform command "
                   "--help."},
    {"--number", "conform command --number needs a value; see lockstep conform command --help."},
    {"--number 101", "conform command --number 101 is not valid; use a number up to 100."},
    {"--number -1", "conform command --number -1 is not valid; use a number up to 100."},
    {"--number 1x", "conform command --number 1x is not valid; use a number up to 100."},
};

START_TEST(bad_arguments_are_one_sentence)
{
    struct error err;
    bool help;

    ck_assert_int_eq(parse(&err, &help, bad[_i].line), ST_INVALID);
    ck_assert_str_eq(err.text, bad[_i].sentence);
}
END_TEST

START_TEST(report_files_are_json_and_say_what_failed)
{
    char text[64] = "";
    struct error err;
    FILE *file;

    ck_assert_int_eq(report_open(&file, "conform command", "/nonexistent/x", &err), ST_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "--json /nonexistent/x cannot be written"));
    file = fmemopen(text, sizeof(text), "w");
    report_string(file, "key", "a\"b\\c\n");
    fclose(file);
    ck_assert_str_eq(text, "\"key\": \"a\\\"b\\\\c\\u000a\"");
    ck_assert_int_eq(report_open(&file, "conform command", "/dev/full", &err), ST_OK);
    fputs("x", file);
    ck_assert_int_eq(report_close(file, "conform command", "/dev/full", &err), ST_IO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arguments");
    TCase *t = tcase_create("arguments");

    tcase_add_test(t, values_arrive);
    tcase_add_loop_test(t, bad_arguments_are_one_sentence, 0, ARRAY_SIZE(bad));
    tcase_add_test(t, report_files_are_json_and_say_what_failed);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
