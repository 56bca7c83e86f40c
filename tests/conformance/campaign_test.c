/* SPDX-License-Identifier: MIT
 *
 * Campaigns: which cases a shard takes, and small ones from start to end.
 */
#include "frontend/conform/campaign.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/conform.h"

enum { FORMS = 7, SHARDS = 4, ROUNDS = 12 };

static struct campaign_options small(const char *insn)
{
    return (struct campaign_options){.insn = {insn},
                                     .cases = 2000,
                                     .seed = 0x1234,
                                     .jobs = 2,
                                     .shard = 1,
                                     .shards = 1,
                                     .engine = {[CONFORM_INTERP] = true},
                                     .cpu = ""};
}

START_TEST(shards_are_disjoint_and_complete)
{
    u8 taken[FORMS * ROUNDS] = {0};

    for (unsigned shard = 1; shard <= SHARDS; shard++)
        for (u64 j = 0; j < FORMS * ROUNDS / SHARDS; j++) {
            u64 k = campaign_case_number(j, FORMS, shard, SHARDS);

            ck_assert_uint_lt(k, FORMS * ROUNDS);
            taken[k]++;
        }
    for (unsigned k = 0; k < FORMS * ROUNDS; k++)
        ck_assert_uint_eq(taken[k], 1);
}
END_TEST

START_TEST(each_form_has_one_case_before_any_has_two)
{
    for (unsigned shard = 1; shard <= SHARDS; shard++)
        for (u64 round = 0; round < 3; round++) {
            unsigned seen = 0;

            for (u64 j = round * FORMS; j < (round + 1) * FORMS; j++)
                seen |= 1u << campaign_case_number(j, FORMS, shard, SHARDS) % FORMS;
            ck_assert_uint_eq(seen, (1u << FORMS) - 1);
        }
}
END_TEST

START_TEST(seeds_differ_and_repeat)
{
    ck_assert_uint_eq(campaign_case_seed(1, 5), campaign_case_seed(1, 5));
    ck_assert_uint_ne(campaign_case_seed(1, 5), campaign_case_seed(1, 6));
    ck_assert_uint_ne(campaign_case_seed(1, 5), campaign_case_seed(2, 5));
    for (u64 k = 0; k < 1000; k++)
        ck_assert_uint_ne(campaign_case_seed(0, k), 0);
}
END_TEST

START_TEST(patterns_choose_rows_and_groups)
{
    struct campaign_options o = small("adc*");

    ck_assert(campaign_chooses(&o, INSN_ADC_EvGv));
    ck_assert(!campaign_chooses(&o, INSN_ADD_EvGv));
    o.insn[0] = NULL;
    o.group[0] = "x87";
    ck_assert(campaign_chooses(&o, INSN_FADD_ST0STi));
    ck_assert(!campaign_chooses(&o, INSN_ADD_EvGv));
}
END_TEST

START_TEST(a_campaign_runs_exactly_its_cases)
{
    struct campaign_options o = small("ADC_*");
    struct report *r = report_create();
    struct error err = {""};
    struct report_counts all;

    ck_assert_msg(!campaign_run(&o, r, &err), "%s", err.text);
    all = report_sum(r, NULL);
    ck_assert_uint_eq(all.cases, 2000);
    ck_assert_uint_eq(all.rows, all.rows_covered);
    ck_assert_uint_eq(all.forms, all.forms_covered);
    ck_assert_uint_eq(all.different, 0);
    ck_assert_int_eq(report_status(r), CONFORM_OK);
    ck_assert(r->rows[INSN_ADC_EvGv].faults[3]);
    report_destroy(r);
}
END_TEST

START_TEST(shards_share_the_cases)
{
    struct campaign_options o = small("ADC_*");
    struct error err = {""};
    u64 cases = 0;

    o.shards = 3;
    for (o.shard = 1; o.shard <= 3; o.shard++) {
        struct report *r = report_create();

        ck_assert_msg(!campaign_run(&o, r, &err), "%s", err.text);
        cases += report_sum(r, NULL).cases;
        report_destroy(r);
    }
    ck_assert_uint_eq(cases, 2000);
}
END_TEST

START_TEST(sequences_count_their_blocks)
{
    struct campaign_options o = small(NULL);
    struct report *r = report_create();
    struct error err = {""};

    o.sequence = true;
    o.cases = 500;
    ck_assert_msg(!campaign_run(&o, r, &err), "%s", err.text);
    ck_assert_uint_eq(report_sum(r, NULL).cases, 500);
    ck_assert_uint_gt(report_sum(r, NULL).blocks, 1000);
    ck_assert_uint_eq(report_sum(r, NULL).different, 0);
    report_destroy(r);
}
END_TEST

START_TEST(exempt_rows_have_a_reason)
{
    struct campaign_options o = small("SYSCALL");
    struct report *r = report_create();
    struct error err = {""};

    ck_assert_msg(!campaign_survey(&o, r, &err), "%s", err.text);
    ck_assert_uint_eq(report_sum(r, NULL).rows_exempt, 1);
    ck_assert_ptr_nonnull(r->rows[INSN_SYSCALL].reason);
    report_destroy(r);
}
END_TEST

START_TEST(an_unknown_model_fails_with_a_sentence)
{
    struct campaign_options o = small("ADC_*");
    struct report *r = report_create();
    struct error err = {""};

    o.cpu = "z80";
    ck_assert_int_ne(campaign_run(&o, r, &err), ST_OK);
    ck_assert(strstr(err.text, "z80"));
    report_destroy(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conformance/campaign");
    TCase *t = tcase_create("campaign");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, shards_are_disjoint_and_complete);
    tcase_add_test(t, each_form_has_one_case_before_any_has_two);
    tcase_add_test(t, seeds_differ_and_repeat);
    tcase_add_test(t, patterns_choose_rows_and_groups);
    tcase_add_test(t, a_campaign_runs_exactly_its_cases);
    tcase_add_test(t, shards_share_the_cases);
    tcase_add_test(t, sequences_count_their_blocks);
    tcase_add_test(t, exempt_rows_have_a_reason);
    tcase_add_test(t, an_unknown_model_fails_with_a_sentence);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
