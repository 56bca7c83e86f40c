/* SPDX-License-Identifier: MIT
 *
 * What a person reads about a difference.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/arena.h"
#include "frontend/conform/compare.h"

static struct conform_case c;
static struct conform_outcome host, engine;
static char *text;
static size_t text_size;

static void setup(void)
{
    memset(&c, 0, sizeof(c));
    c.row = INSN_ADD_EvGv;
    c.mode = MODE_64;
    c.insn_length = 3;
    c.code_address = ARENA_CODE;
    c.code_size = 3;
    memcpy(c.code, "\x48\x01\xc8", 3);
    c.seed = 0x77;
    c.in.gpr[RAX] = 5;
    c.in.rflags = F_1 | F_IF | F_CF;
    c.in.selector[SEG_CS] = SEL_CS64;
    memset(&host, 0, sizeof(host));
    host.vector = VEC_BP;
    engine = host;
}

static void teardown(void)
{
    free(text);
    text = NULL;
}

static void explain(void)
{
    FILE *out = open_memstream(&text, &text_size);

    ck_assert_ptr_nonnull(out);
    conform_explain(out, &c, &host, &engine);
    fclose(out);
}

static void assert_has(const char *part)
{
    ck_assert_msg(strstr(text, part), "\"%s\" is missing in:\n%s", part, text);
}

static void assert_has_not(const char *part)
{
    ck_assert_msg(!strstr(text, part), "\"%s\" is in:\n%s", part, text);
}

START_TEST(case_and_agreement)
{
    explain();
    assert_has("ADD_EvGv, 64-bit, seed 0x77\n");
    assert_has("  10000000: 48 01 c8 ");
    assert_has("add rax, rcx\n");
    assert_has("rax=0000000000000005 ");
    assert_has("rflags=000203 [CF IF]");
    assert_has("  host and engine agree\n");
    assert_has_not("ended with");
}
END_TEST

START_TEST(only_what_differs)
{
    engine.out.gpr[RCX] = 0x12;
    engine.out.rflags = F_ZF | F_OF;
    c.undefined_flags = F_ZF | F_OF;
    explain();
    assert_has("  rcx:\n    host    0000000000000000\n    engine  0000000000000012\n");
    assert_has("    engine  000840 [ZF OF]\n    differ  000840 [ZF OF]\n");
    assert_has("  may be undefined-flags: ");
    assert_has_not("rax:");
    assert_has_not("zmm");
    assert_has_not("memory");
}
END_TEST

START_TEST(exceptions_in_words)
{
    host.vector = VEC_PF;
    host.error_code = 0x14;
    host.cr2 = 0x5000;
    engine.vector = OUTCOME_NONE;
    explain();
    assert_has("    host    #PF error code 14 at 5000\n");
    assert_has("    engine  reached its limit\n");
}
END_TEST

START_TEST(vectors_with_marks)
{
    memcpy(c.code, "\x0f\x58\xca", 3); /* addps xmm1, xmm2 */
    c.row = INSN_ADDPS_VdqWdq;
    c.in.zmm[2][15] = 0xee;
    engine.out.zmm[1][17] = 0xab;
    engine.out.zmm[1][18] = 0xcd;
    engine.out.x87[32 + 16] = 1;
    engine.out.x87[2] = 0x41;
    explain();
    assert_has("    xmm2 bytes 0-15: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ee\n");
    assert_has("  zmm1 bytes 16-31:\n"
               "    host    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
               "    engine  00 ab cd 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
               "               ^^ ^^\n");
    assert_has("  st1 bytes 0-9:\n");
    assert_has("  fsw:\n    host    0000000000000000\n    engine  0000000000000041\n");
    assert_has_not("bytes 32-47");
}
END_TEST

START_TEST(memory_against_what_was_there)
{
    c.patch_count = 1;
    c.patch[0].address = ARENA_DATA + 0x50;
    c.patch[0].size = 2;
    c.patch[0].bytes[0] = 0x5a;
    engine.line_count = 1;
    engine.line[0].address = ARENA_DATA + 0x40;
    arena_line(&c, ARENA_DATA + 0x40, engine.line[0].bytes);
    engine.line[0].bytes[0x10] = 0xa5; /* the host left 5a there */
    explain();
    assert_has("    [20000050]: 5a 00\n");
    assert_has("  memory line 20000040 bytes 16-31:\n    host    5a 00 ");
    assert_has("    engine  a5 00 ");
    assert_has("\n            ^^\n");
}
END_TEST

START_TEST(other_modes_and_sequences)
{
    c.mode = MODE_16;
    c.row = INSN_INVALID;
    c.insn_length = 0;
    c.code_size = 5;
    memcpy(c.code, "\x01\xc8\x66\xff\xc0", 5);
    engine.out.gpr[RAX] = BIT(40) | 1;
    engine.out.fs_base = 1;
    explain();
    assert_has("sequence, 16-bit, seed 0x77\n");
    assert_has("add ax, cx\n");
    assert_has("  10000002: 66 ff c0 ");
    assert_has("inc eax\n");
    assert_has("  eax:\n    host    0000000000000000\n    engine  0000000000000001\n");
    assert_has_not("r8");
    assert_has_not("fs_base");
}
END_TEST

START_TEST(code_that_cannot_be_disassembled)
{
    memcpy(c.code, "\x06\x06\x06", 3);
    engine.vector = VEC_UD;
    explain();
    assert_has("  10000000: 06 06 06\n");
    assert_has("    engine  #UD\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("explain");
    TCase *t = tcase_create("explain");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, case_and_agreement);
    tcase_add_test(t, only_what_differs);
    tcase_add_test(t, exceptions_in_words);
    tcase_add_test(t, vectors_with_marks);
    tcase_add_test(t, memory_against_what_was_there);
    tcase_add_test(t, other_modes_and_sequences);
    tcase_add_test(t, code_that_cannot_be_disassembled);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
