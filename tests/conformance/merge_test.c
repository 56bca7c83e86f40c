/* SPDX-License-Identifier: MIT */
#include "frontend/conform/merge.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/conform/conform.h"

static char folder[] = "/tmp/merge_XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[8][64];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *out = fopen(path_of(name), "w");

    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

/* The report of one of two shards that ran two rows, a third being exempt. */
static struct report *make_report(unsigned shard)
{
    struct report *r = report_create();
    struct report_row *add = &r->rows[INSN_ADD_GvEv], *hlt = &r->rows[INSN_HLT];

    r->seed = 0x1234;
    r->shard = shard;
    r->shards = 2;
    r->jobs = 3;
    r->seconds = 10.0 * shard;
    r->engines[CONFORM_INTERP] = true;
    snprintf(r->cpu, sizeof(r->cpu), "max");
    snprintf(r->started, sizeof(r->started), "2026-01-0%uT00:00:00Z", shard);
    add->chosen = hlt->chosen = true;
    add->counts = (struct report_counts){.rows = 1,
                                         .rows_covered = 1,
                                         .forms = 8,
                                         .forms_covered = 6 + shard,
                                         .cases = 100 * shard,
                                         .explained = 2,
                                         .different = shard - 1,
                                         .hung = shard};
    add->faults[3] = 90;
    add->faults[REPORT_FAULT_NONE] = shard;
    add->deviations[DEVIATION_UNDEFINED_FLAGS] = 2;
    hlt->counts = (struct report_counts){.rows = 1, .rows_exempt = 1};
    hlt->reason = strdup("privileged");
    if (shard == 2) {
        struct report_difference d = {.row = INSN_ADD_GvEv,
                                      .mode = MODE_32,
                                      .seed = 0xfedcba9876543210,
                                      .parts = PART_GPR | PART_MEMORY,
                                      .form = "mem 66",
                                      .vector = strdup("v.json"),
                                      .text = strdup("two\nlines\n")};
        struct report_crash c = {
            .row = INSN_ADD_GvEv, .seed = 7, .form = "reg", .cause = "signal 11"};

        report_add_difference(r, &d);
        report_add_crash(r, &c);
    }
    return r;
}

static void save(struct report *r, const char *name)
{
    struct error err;

    ck_assert_int_eq(report_save(r, "-o", path_of(name), report_write_json, &err), ST_OK);
    report_destroy(r);
}

static char *text_of(const struct report *r)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    report_write_json(r, out);
    fclose(out);
    return text;
}

START_TEST(a_report_reads_back_as_it_was)
{
    for (unsigned shard = 1; shard <= 2; shard++) {
        struct report *r = make_report(shard), *back;
        char *before = text_of(r), *after;
        struct error err;

        save(r, "one.json");
        ck_assert_msg(!merge_read(path_of("one.json"), &back, &err), "%s", err.text);
        after = text_of(back);
        ck_assert_str_eq(before, after);
        free(before);
        free(after);
        report_destroy(back);
    }
}
END_TEST

START_TEST(shards_are_added_up)
{
    struct report *sum = make_report(1), *second = make_report(2);
    const struct report_row *add = &sum->rows[INSN_ADD_GvEv];
    struct error err;

    ck_assert_msg(!merge_add(sum, "a", second, "b", &err), "%s", err.text);
    report_destroy(second);
    ck_assert_uint_eq(add->counts.cases, 300);
    ck_assert_uint_eq(add->counts.forms, 8);
    ck_assert_uint_eq(add->counts.forms_covered, 8);
    ck_assert_uint_eq(add->counts.different, 1);
    ck_assert_uint_eq(add->counts.explained, 4);
    ck_assert_uint_eq(add->counts.hung, 3);
    ck_assert_uint_eq(add->faults[3], 180);
    ck_assert_uint_eq(add->faults[REPORT_FAULT_NONE], 3);
    ck_assert_uint_eq(add->deviations[DEVIATION_UNDEFINED_FLAGS], 4);
    ck_assert_int_eq(sum->difference_count, 1);
    ck_assert_int_eq(sum->crash_count, 1);
    ck_assert(sum->seconds == 20.0);
    ck_assert_str_eq(sum->started, "2026-01-01T00:00:00Z");
    ck_assert_int_eq(report_sum(sum, NULL).rows, 2);
    ck_assert_int_eq(report_status(sum), CONFORM_DIFFERENT);
    report_destroy(sum);
}
END_TEST

static void other_seed(struct report *r)
{
    r->seed++;
}
static void other_version(struct report *r)
{
    strcpy(r->lockstep, "9.9");
}
static void other_cpu(struct report *r)
{
    strcpy(r->cpu, "x86-64-v2");
}
static void other_engine(struct report *r)
{
    r->engines[CONFORM_JIT] = true;
}
static void other_command(struct report *r)
{
    r->sequence = true;
}
static void other_count(struct report *r)
{
    r->shards = 3;
}
static void other_rows(struct report *r)
{
    r->rows[INSN_ADD_EvGv].chosen = true;
}
static void other_forms(struct report *r)
{
    r->rows[INSN_ADD_GvEv].counts.forms++;
}

static const struct {
    void (*change)(struct report *r);
    const char *words;
} strangers[] = {
    {other_seed, "b has seed 1235 and a has 1234"},
    {other_version, "b has version 9.9"},
    {other_cpu, "b has cpu x86-64-v2 and a has max"},
    {other_engine, "b has engines interp,jit and a has interp"},
    {other_command, "b has command sequence and a has run"},
    {other_count, "b has a campaign of 3 shards and a has 2 shards"},
    {other_rows, "b and a disagree about the forms of ADD_EvGv"},
    {other_forms, "b and a disagree about the forms of ADD_GvEv"},
};

START_TEST(strangers_are_refused)
{
    struct report *sum = make_report(1), *other = make_report(2);
    struct error err;

    strangers[_i].change(other);
    ck_assert_int_ne(merge_add(sum, "a", other, "b", &err), ST_OK);
    ck_assert_msg(strstr(err.text, strangers[_i].words), "%s", err.text);
    report_destroy(sum);
    report_destroy(other);
}
END_TEST

static int run(unsigned count, const char *const *arguments)
{
    char *argv[16] = {(char[]){"merge"}};

    for (unsigned i = 0; i < count; i++)
        argv[i + 1] = (char *)arguments[i];
    return conform_merge((int)count + 1, argv);
}
#define RUN(...)                                                                                   \
    run(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),                               \
        (const char *const[]){__VA_ARGS__})

START_TEST(the_command_wants_each_shard_once)
{
    const char *first = path_of("1.json"), *second = path_of("2.json"), *out = path_of("o.json");
    struct report *r;
    struct error err;

    save(make_report(1), "1.json");
    save(make_report(2), "2.json");
    ck_assert_int_eq(RUN(first), CONFORM_USAGE);
    ck_assert_int_eq(RUN(first, first), CONFORM_USAGE);
    ck_assert_int_eq(RUN("--partial", first), CONFORM_OK);
    ck_assert_int_eq(RUN(second, first, "-o", out), CONFORM_DIFFERENT);
    ck_assert_int_eq(merge_read(out, &r, &err), ST_OK);
    ck_assert_int_eq(r->shards, 1);
    ck_assert_uint_eq(report_sum(r, NULL).cases, 300);
    report_destroy(r);
    ck_assert_int_eq(RUN(first, second, "-o", "/nonexistent/x"), CONFORM_USAGE);
    ck_assert_int_eq(RUN("--nonsense"), CONFORM_USAGE);
    ck_assert_int_eq(RUN("--help"), CONFORM_OK);
}
END_TEST

static const struct {
    const char *text, *words;
} damaged[] = {
    {"", ":1: the file is empty"},
    {"{}", ":1: this is no report"},
    {"{\"lockstep_report\": 1,\n", ":1: the object that begins here has no end"},
    {"{\"lockstep_report\": 99}", ":1: reports of version 99 are not known"},
    {"{\"lockstep_report\": 1,\n\"command\": 5}", ":2: \"command\" must be a string"},
};

START_TEST(damaged_reports_are_named)
{
    struct report *r;
    struct error err;

    write_text("damaged.json", damaged[_i].text);
    ck_assert_int_ne(merge_read(path_of("damaged.json"), &r, &err), ST_OK);
    ck_assert_ptr_null(r);
    ck_assert_msg(strstr(err.text, damaged[_i].words), "%s", err.text);
}
END_TEST

/* A report cut at any byte is refused. */
START_TEST(a_report_cut_anywhere_is_refused)
{
    struct report *r = make_report(2);
    char *text = text_of(r);
    struct error err;

    report_destroy(r);
    for (size_t size = 0; size + 2 < strlen(text); size += 7) {
        char *part = strndup(text, size);

        write_text("cut.json", part);
        free(part);
        ck_assert_int_ne(merge_read(path_of("cut.json"), &r, &err), ST_OK);
        ck_assert_ptr_null(r);
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("merge");
    TCase *t = tcase_create("merge");
    SRunner *r;
    char command[64];
    int failed;

    if (!mkdtemp(folder))
        return EXIT_FAILURE;
    suite_add_tcase(s, t);
    tcase_add_test(t, a_report_reads_back_as_it_was);
    tcase_add_test(t, shards_are_added_up);
    tcase_add_loop_test(t, strangers_are_refused, 0, ARRAY_SIZE(strangers));
    tcase_add_test(t, the_command_wants_each_shard_once);
    tcase_add_loop_test(t, damaged_reports_are_named, 0, ARRAY_SIZE(damaged));
    tcase_add_test(t, a_report_cut_anywhere_is_refused);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) || failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
