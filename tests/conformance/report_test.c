/* SPDX-License-Identifier: MIT
 *
 * Reports: groups, sums, and the three forms they are written in.
 */
#include "frontend/conform/report.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/conform.h"

static struct report *report;
static char *text;

static void start(void)
{
    struct report_row *row;

    report = report_create();
    report->seed = 0xabc;
    report->engines[CONFORM_INTERP] = true;
    report->seconds = 2;
    report->jobs = 2;
    strcpy(report->cpu, "max");
    row = &report->rows[INSN_ADD_EvGv];
    row->chosen = true;
    row->counts = (struct report_counts){
        .rows = 1, .rows_covered = 1, .forms = 4, .forms_covered = 3, .cases = 1000};
    row->faults[3] = 990;
    row->faults[14] = 9;
    row->faults[REPORT_FAULT_NONE] = 1;
    row = &report->rows[INSN_FADD_ST0STi];
    row->chosen = true;
    row->reason = strdup("exempt <for> a \"test\" & more");
    row->counts = (struct report_counts){.rows = 1, .rows_exempt = 1};
    row = &report->rows[INSN_SUB_EvGv];
    row->chosen = true;
    row->counts = (struct report_counts){.rows = 1, .forms = 2};
}

static void stop(void)
{
    report_destroy(report);
    free(text);
    text = NULL;
}

static void write_with(void (*write)(const struct report *r, FILE *out))
{
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    write(report, out);
    fclose(out);
}

static void differ(u64 seed)
{
    const struct report_difference d = {.row = INSN_ADD_EvGv,
                                        .parts = PART_FLAGS | PART_MEMORY,
                                        .seed = seed,
                                        .form = "mem osz16",
                                        .text = strdup("add: <flags> differ\n"),
                                        .vector = strdup("dir/ADD.json")};

    report->rows[INSN_ADD_EvGv].counts.different++;
    report_add_difference(report, &d);
}

START_TEST(rows_belong_to_groups)
{
    ck_assert_str_eq(report_group_of(INSN_ADD_EvGv), "integer");
    ck_assert_str_eq(report_group_of(INSN_ANDN_GyByEy), "bmi");
    ck_assert_str_eq(report_group_of(INSN_SYSCALL), "system");
    ck_assert_str_eq(report_group_of(INSN_FADD_ST0STi), "x87");
    ck_assert_str_eq(report_group_of(INSN_ADDPS_VdqWdq), "sse");
    for (unsigned n = 1; n < INSN_COUNT; n++)
        ck_assert_msg(*report_group_of(n), "%s has no group", insn_rows[n].name);
}
END_TEST

START_TEST(sums_are_over_chosen_rows)
{
    const char *groups[REPORT_GROUPS_MAX];
    struct report_counts all = report_sum(report, NULL);

    ck_assert_uint_eq(all.rows, 3);
    ck_assert_uint_eq(all.rows_covered, 1);
    ck_assert_uint_eq(all.rows_exempt, 1);
    ck_assert_uint_eq(all.forms, 6);
    ck_assert_uint_eq(report_groups(report, groups), 2);
    ck_assert_str_eq(groups[0], "integer");
    ck_assert_str_eq(groups[1], "x87");
    ck_assert_uint_eq(report_sum(report, "integer").rows, 2);
    ck_assert_str_eq(report_row_state(&report->rows[INSN_SUB_EvGv]), "missed");
}
END_TEST

START_TEST(differences_and_crashes_decide_the_status)
{
    const struct report_crash crash = {.row = INSN_ADD_EvGv, .seed = 5, .cause = "signal 11"};

    ck_assert_int_eq(report_status(report), CONFORM_OK);
    report_add_crash(report, &crash);
    ck_assert_int_eq(report_status(report), CONFORM_DIFFERENT);
    report->crash_count = 0;
    for (unsigned n = 0; n < REPORT_PER_ROW + 3; n++)
        differ(n);
    ck_assert_int_eq(report_status(report), CONFORM_DIFFERENT);
    ck_assert_uint_eq(report->difference_count, REPORT_PER_ROW);
}
END_TEST

START_TEST(the_table_tells_coverage_and_differences)
{
    differ(0x77);
    write_with(report_print);
    ck_assert(strstr(text, "1 of 3 rows covered, 1 exempt; 3 of 6 forms; 500 cases/s"));
    ck_assert(strstr(text, "Not reached: SUB_EvGv"));
    ck_assert(strstr(text, "ADD_EvGv, mem osz16, seed 77, engine interp"));
    ck_assert(strstr(text, "dir/ADD.json"));
    ck_assert(strstr(text, "1 unexplained differences, 0 crashes, seed abc"));
}
END_TEST

static json_t *find_row(json_t *root, const char *name)
{
    json_t *row;
    size_t n;

    json_array_foreach(
        json_object_get(root, "rows"), n,
        row) if (!strcmp(json_string_value(json_object_get(row, "name")), name)) return row;
    ck_abort_msg("no row %s", name);
    return NULL;
}

START_TEST(json_has_what_the_format_says)
{
    json_error_t err;
    json_t *root, *row, *d;

    differ(0x77);
    write_with(report_write_json);
    root = json_loads(text, 0, &err);
    ck_assert_msg(root, "line %d: %s", err.line, err.text);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "lockstep_report")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(root, "command")), "run");
    ck_assert_str_eq(json_string_value(json_object_get(root, "seed")), "abc");
    ck_assert_uint_eq(json_array_size(json_object_get(root, "rows")), 3);
    row = find_row(root, "ADD_EvGv");
    ck_assert_int_eq(json_integer_value(json_object_get(row, "cases")), 1000);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(row, "faults"), "none")),
                     1);
    row = find_row(root, "FADD_ST0STi");
    ck_assert_str_eq(json_string_value(json_object_get(row, "state")), "exempt");
    ck_assert_str_eq(json_string_value(json_object_get(row, "reason")),
                     "exempt <for> a \"test\" & more");
    d = json_array_get(json_object_get(root, "differences"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(d, "seed")), "77");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(d, "parts"), 1)), "memory");
    json_decref(root);
}
END_TEST

START_TEST(the_page_stands_alone_and_escapes)
{
    differ(0x77);
    write_with(report_write_html);
    ck_assert(!strstr(text, "http"));
    ck_assert(strstr(text, "prefers-color-scheme"));
    ck_assert(strstr(text, "class=\"red\""));
    ck_assert(strstr(text, "class=\"grey\""));
    ck_assert(strstr(text, "class=\"none\""));
    ck_assert(strstr(text, "&lt;flags&gt; differ"));
    ck_assert(!strstr(text, "exempt <for>"));
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_named)
{
    struct error err = {""};

    ck_assert_int_eq(report_save(report, "--json", "/nowhere/x.json", report_write_json, &err),
                     ST_IO);
    ck_assert(strstr(err.text, "--json /nowhere/x.json"));
    ck_assert_int_eq(report_save(report, "--json", "/dev/full", report_write_json, &err), ST_IO);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conformance/report");
    TCase *t = tcase_create("report");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, rows_belong_to_groups);
    tcase_add_test(t, sums_are_over_chosen_rows);
    tcase_add_test(t, differences_and_crashes_decide_the_status);
    tcase_add_test(t, the_table_tells_coverage_and_differences);
    tcase_add_test(t, json_has_what_the_format_says);
    tcase_add_test(t, the_page_stands_alone_and_escapes);
    tcase_add_test(t, a_file_that_cannot_be_written_is_named);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
