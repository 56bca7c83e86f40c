/* SPDX-License-Identifier: MIT
 *
 * The common language of both decoders, and the judge that compares them.
 */
#include "frontend/conform/decode_view.h"

#include <check.h>
#include <string.h>

#include "frontend/conform/decode_judge.h"
#include "tests/suite.h"

static struct judge *judge;

static void open_judge(void)
{
    struct error err;

    ck_assert_int_eq(judge_create(&judge, &err), ST_OK);
}

static void close_judge(void)
{
    judge_destroy(judge);
}

static void judge_hex(unsigned code_size, const char *bytes, unsigned count)
{
    u8 padded[SPACE_BYTES];

    memset(padded, 0x11, sizeof(padded));
    memcpy(padded, bytes, count);
    judge_bytes(judge, code_size, padded);
}
#define JUDGE(code_size, bytes) judge_hex(code_size, bytes, sizeof(bytes) - 1)

static void text_of(unsigned code_size, const char *bytes, char *text, size_t size)
{
    struct decode_ctx ctx = {.code_size = (u8)code_size, .protected_mode = true};
    struct decode_view view;
    u8 padded[16] = {0};
    struct insn i;

    memcpy(padded, bytes, strlen(bytes));
    ck_assert_int_eq(insn_decode(&ctx, padded, 15, &i), DECODE_OK);
    view_of_insn(&view, &judge->names, &i, code_size);
    view_text(&view, judge->capstone[2], text, size);
}

static const struct {
    unsigned code_size;
    const char *bytes, *text;
} texts[] = {
    {8, "\x48\x01\xd8", "add rax, rbx (3 bytes)"},
    {8, "\x64\x8a\x54\xcb\x10", "mov dl, fs:[rbx + rcx*8 + 0x10]:1 (5 bytes)"},
    {4, "\x67\x8b\x40\x80", "mov eax, [bx + si*1 + 0xff80]:4 (4 bytes)"},
    {8, "\x70\xfe", "jo 0x1000 (2 bytes)"},
    {2, "\x98", "cbw (1 bytes)"},
    {4, "\xd8\xc3", "fadd st(3) (2 bytes)"},
    {8, "\xa4", "movsb [rdi + 0x0]:1, [rsi + 0x0]:1 (1 bytes)"},
    {4, "\x9a\x01\x02\x03\x04\x05\x06", "lcall 0x605, 0x4030201 (7 bytes)"},
    {8, "\x62\xf1\x6c\x4a\x58\x4f\x01", "vaddps zmm1, k2, zmm2, [rdi + 0x40]:64 (7 bytes)"},
    {8, "\xc4\xe2\x6d\x92\x0c\x60", "vgatherdps ymm1, [rax + xmm4*2 + 0x0]:0, ymm2 (6 bytes)"},
};

START_TEST(instructions_are_written_as_in_the_manual)
{
    char text[JUDGE_TEXT];

    text_of(texts[_i].code_size, texts[_i].bytes, text, sizeof(text));
    ck_assert_str_eq(text, texts[_i].text);
}
END_TEST

START_TEST(every_row_has_a_name_that_capstone_knows_or_is_newer)
{
    unsigned unknown = 0;

    for (unsigned row = 1; row < INSN_COUNT; row++)
        unknown += !judge->names.id[row][2] && insn_rows[row].key.space == SPACE_LEGACY;
    ck_assert_uint_le(unknown, 20); /* GFNI, RDPID, CLZERO, PKU, SYSRET, ... */
    ck_assert_uint_eq(judge->names.id[INSN_ADD_EvGv][2], X86_INS_ADD);
    ck_assert_uint_eq(judge->names.id[INSN_MOVSv][3], X86_INS_MOVSQ);
    ck_assert_uint_eq(judge->names.id[INSN_JNZ_Jb][3], X86_INS_JNE);
}
END_TEST

/* One view changed in one way must differ in that way. */
START_TEST(each_aspect_is_seen)
{
    struct decode_view a = {.valid = true,
                            .length = 3,
                            .count = 2,
                            .mnemonic = X86_INS_ADD,
                            .operand = {{.kind = VIEW_REG, .reg = X86_REG_EAX},
                                        {.kind = VIEW_MEM, .size = 4, .scale = 1, .value = 8}}};
    struct decode_view b = a;

    ck_assert_uint_eq(view_compare(&a, &b), 0);
    b.length = 4;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_LENGTH);
    b = a, b.mnemonic = X86_INS_SUB;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_MNEMONIC);
    b = a, b.operand[0].reg = X86_REG_RAX;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_OPERANDS);
    b = a, b.operand[1].value = 9;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_OPERANDS);
    b = a, b.operand[1].size = 8;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_SIZE);
    b = a, b.operand[1].segment = X86_REG_FS;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_SEGMENT);
    b = a, b.count = 1;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_OPERANDS);
    b = a, b.valid = false;
    ck_assert_uint_eq(view_compare(&a, &b), ASPECT_VALID);
    ck_assert_uint_eq(view_compare(&b, &a), ASPECT_INVALID);
}
END_TEST

static u64 count_of(const char *entry)
{
    for (unsigned n = 0; n < capstone_entry_count; n++)
        if (!strcmp(capstone_entries[n].name, entry))
            return judge->explained[n];
    ck_abort_msg("%s", entry);
}

START_TEST(agreement_and_known_disagreements_are_told_apart)
{
    JUDGE(8, "\x48\x01\xd8");
    ck_assert_uint_eq(judge->agreed, 1);
    JUDGE(8, "\x63\xc1"); /* MOVSXD EAX, ECX */
    ck_assert_uint_eq(count_of("MOVSXD_32"), 1);
    JUDGE(8, "\xf2\x0f\x2f\x08"); /* F2 COMISS */
    ck_assert_uint_eq(count_of("PREFIX_UNUSED"), 1);
    JUDGE(8, "\x66\xc5\xf8\x58\xc1"); /* 66 VADDPS */
    ck_assert_uint_eq(count_of("LEGACY_BEFORE_VEX"), 1);
    ck_assert_uint_eq(judge->unexplained, 0);
    ck_assert_uint_eq(judge->compared, 4);
}
END_TEST

/* A judge that expects another mnemonic finds the difference and keeps the first example. */
START_TEST(an_unexplained_difference_is_kept_with_its_example)
{
    for (unsigned n = 0; n < 4; n++)
        judge->names.id[INSN_ADD_EvGv][n] = X86_INS_SUB;
    JUDGE(8, "\x48\x01\xd8");
    JUDGE(8, "\x48\x01\xc3");
    ck_assert_uint_eq(judge->unexplained, 2);
    ck_assert_uint_eq(judge->group_count, 1);
    ck_assert_uint_eq(judge->groups[0].count, 2);
    ck_assert_uint_eq(judge->groups[0].bytes[2], 0xd8);
    ck_assert_str_eq(judge->groups[0].ours_text, "sub rax, rbx (3 bytes)");
    ck_assert_str_eq(judge->groups[0].theirs_text, "add rax, rbx (3 bytes)");
}
END_TEST

START_TEST(judges_are_added_up)
{
    struct judge *other;
    struct error err;

    ck_assert_int_eq(judge_create(&other, &err), ST_OK);
    other->names.id[INSN_ADD_EvGv][3] = judge->names.id[INSN_ADD_EvGv][3] = X86_INS_SUB;
    JUDGE(8, "\x48\x01\xd8");
    judge_bytes(other, 8, (const u8[SPACE_BYTES]){0x48, 0x01, 0xc3});
    judge_bytes(other, 8, (const u8[SPACE_BYTES]){0x63, 0xc1});
    judge_merge(judge, other);
    judge_destroy(other);
    ck_assert_uint_eq(judge->compared, 3);
    ck_assert_uint_eq(judge->unexplained, 2);
    ck_assert_uint_eq(judge->group_count, 1);
    ck_assert_uint_eq(judge->groups[0].count, 2);
    ck_assert_uint_eq(count_of("MOVSXD_32"), 1);
}
END_TEST

START_TEST(facts_of_encodings_are_read)
{
    struct encoding e = {0};

    encoding_read(&e, 8, (const u8[16]){0xf2, 0x66, 0x48, 0x0f, 0x38, 0xf1, 0xc8});
    ck_assert_uint_eq(e.map, MAP_0F38);
    ck_assert_uint_eq(e.opcode, 0xf1);
    ck_assert(e.p66 && e.rep == 0xf2 && e.rex == 0x48 && !e.rex_dead);
    encoding_read(&e, 8, (const u8[16]){0x48, 0x2e, 0x01, 0xc8});
    ck_assert(e.rex_dead && !e.rex && e.null_segment);
    encoding_read(&e, 4, (const u8[16]){0xc5, 0x00, 0x01}); /* LDS */
    ck_assert_uint_eq(e.space, SPACE_LEGACY);
    encoding_read(&e, 4, (const u8[16]){0xc5, 0xed, 0x58, 0xc1});
    ck_assert(e.space == SPACE_VEX && e.vvvv == 2 && e.l == 1 && e.pp == 1 && e.mod == 3);
    encoding_read(&e, 8, (const u8[16]){0x62, 0xf1, 0x6c, 0xda, 0x58, 0x40, 1});
    ck_assert(e.space == SPACE_EVEX && e.map == MAP_0F && e.z && e.l == 2 && e.b && e.aaa == 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decode_view");
    TCase *t = tcase_create("decode_view");

    tcase_add_checked_fixture(t, open_judge, close_judge);
    tcase_add_loop_test(t, instructions_are_written_as_in_the_manual, 0, ARRAY_SIZE(texts));
    tcase_add_test(t, every_row_has_a_name_that_capstone_knows_or_is_newer);
    tcase_add_test(t, each_aspect_is_seen);
    tcase_add_test(t, agreement_and_known_disagreements_are_told_apart);
    tcase_add_test(t, an_unexplained_difference_is_kept_with_its_example);
    tcase_add_test(t, judges_are_added_up);
    tcase_add_test(t, facts_of_encodings_are_read);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
