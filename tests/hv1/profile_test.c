/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <string.h>

#include "hv1/internal.h"
#include "tests/suite.h"

static struct hv1_profile profile;
static struct error err;

static enum status parse(const char *text)
{
    err.text[0] = 0;
    return hv1_profile_parse(&profile, text, &err);
}

START_TEST(levels)
{
    ck_assert_int_eq(parse(NULL), ST_OK);
    ck_assert_int_eq(profile.level, HV1_FULL);
    ck_assert(profile.switches & HV1_STIMER);
    ck_assert(!(profile.switches & HV1_INVTSC));
    ck_assert_int_eq(parse("min"), ST_OK);
    ck_assert_uint_eq(profile.switches, HV1_RELAXED);
    ck_assert_str_eq(profile.vendor, "Microsoft Hv");
    ck_assert_int_eq(parse("off"), ST_OK);
    ck_assert_int_eq(profile.level, HV1_OFF);
}
END_TEST

START_TEST(switches)
{
    ck_assert_int_eq(parse("full,-stimer,+invtsc,vendor=Example HV"), ST_OK);
    ck_assert(!(profile.switches & (HV1_STIMER | HV1_STIMER_DIRECT)));
    ck_assert(profile.switches & HV1_INVTSC);
    ck_assert_str_eq(profile.vendor, "Example HV");
    ck_assert_int_eq(parse("min,+crash"), ST_OK);
    ck_assert_uint_eq(profile.switches, HV1_RELAXED | HV1_CRASH);
    ck_assert(!hv1_has_hypercalls(&profile));
    ck_assert_int_eq(parse("min,+ipi"), ST_OK);
    ck_assert(hv1_has_hypercalls(&profile));
}
END_TEST

static const struct {
    const char *text, *says;
} bad[] = {
    {"fully", "no profile"},
    {"", NULL},
    {"full,stimer", "does not know stimer"},
    {"full,-nothing", "does not know -nothing"},
    {"full,", "does not know ;"},
    {"off,+time", "takes no switches"},
    {"full,-synic", "stimer does not work without synic"},
    {"full,-time", "stimer does not work without time"},
    {"min,+stimer", "stimer does not work without"},
    {"full,-stimer,+stimer-direct", "stimer-direct does not work without stimer"},
    {"full,vendor=", "no vendor"},
    {"full,vendor=thirteen chars", "no vendor"},
    {"full,vendor=\x80", "no vendor"},
};

START_TEST(one_sentence_for_what_is_wrong)
{
    size_t length;

    if (!bad[_i].says) {
        ck_assert_int_eq(parse(bad[_i].text), ST_OK);
        return;
    }
    ck_assert_int_eq(parse(bad[_i].text), ST_INVALID);
    ck_assert_msg(strstr(err.text, bad[_i].says), "%s", err.text);
    length = strlen(err.text);
    ck_assert_int_eq(err.text[length - 1], '.');
    ck_assert_ptr_null(strchr(err.text, '\n'));
}
END_TEST

START_TEST(a_long_argument_is_refused)
{
    char text[2000];

    memset(text, ',', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    ck_assert_int_eq(parse(text), ST_INVALID);
}
END_TEST

/* C22: more than 64 processors. */
START_TEST(many_processors)
{
    ck_assert_int_eq(parse("full"), ST_OK);
    ck_assert_int_eq(hv1_profile_fit(&profile, 65, &err), ST_OK);
    ck_assert_int_eq(parse("full,+tlbflush"), ST_OK);
    ck_assert_int_eq(hv1_profile_fit(&profile, 64, &err), ST_OK);
    ck_assert_int_eq(hv1_profile_fit(&profile, 65, &err), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "64 processors"));
    ck_assert_int_eq(parse("full,-ex-masks"), ST_OK);
    ck_assert_int_eq(hv1_profile_fit(&profile, 65, &err), ST_INVALID);
    ck_assert_int_eq(parse("off"), ST_OK);
    ck_assert_int_eq(hv1_profile_fit(&profile, 65, &err), ST_OK);
}
END_TEST

START_TEST(help_names_every_switch)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    hv1_help(out);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "* stimer "));
    ck_assert_ptr_nonnull(strstr(text, "  invtsc "));
    ck_assert_ptr_nonnull(strstr(text, "vendor=TEXT"));
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 profile");
    TCase *t = tcase_create("profile");

    tcase_add_test(t, levels);
    tcase_add_test(t, switches);
    tcase_add_loop_test(t, one_sentence_for_what_is_wrong, 0, ARRAY_SIZE(bad));
    tcase_add_test(t, a_long_argument_is_refused);
    tcase_add_test(t, many_processors);
    tcase_add_test(t, help_names_every_switch);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
