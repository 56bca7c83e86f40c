/* SPDX-License-Identifier: MIT
 *
 * -engine check, and the traces it shares with -d out_asm: right code passes, wrong code is found
 * and shown. Code is made wrong here, in the cache, behind the translator's back.
 */
#include "jit/internal.h"
#include "machine/disassemble.h"
#include "tests/jit/pair.h"
#include "tests/suite.h"

static struct machine m;
static char *report;
static size_t report_size;

static void start(bool checked)
{
    const struct jit_options options = {.optimisations = JIT_ALL,
                                        .counted = true,
                                        .check = checked,
                                        .disassemble = machine_disassemble};
    struct error err = {""};

    machine_create(&m);
    m.log.sink = open_memstream(&report, &report_size);
    m.log.owned = true;
    ck_assert_msg(!jit_create(m.v, &options, &err), "%s", err.text);
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RBX] = MACHINE_DATA;
}

static void setup(void)
{
    start(true);
}

static void setup_unchecked(void)
{
    start(false);
}

static void teardown(void)
{
    jit_destroy(m.v);
    machine_destroy(&m);
    free(report);
}

static struct jit_stats stats(void)
{
    struct jit_stats s;

    jit_stats(m.v, &s);
    return s;
}

static void again(void)
{
    m.v->activity = ACTIVITY_RUN;
    m.v->rip = MACHINE_CODE;
}

/* Replaces bytes in the code of the block at MACHINE_CODE. */
static void spoil(const void *from, const void *to, size_t size)
{
    struct jit *j = m.v->jit.owner;

    for (u8 *at = j->code_start; at + size <= j->emit.at; at++)
        if (!memcmp(at, from, size)) {
            memcpy(at, to, size);
            return;
        }
    ck_abort_msg("the code to be replaced is not there");
}

static void expect(const char *text)
{
    fflush(m.log.sink);
    ck_assert_msg(strstr(report, text), "the report lacks \"%s\":\n%s", text, report);
}

/* add eax, ecx; mov [rbx], eax; mov dword [rbx + 8], 11223344h */
#define CODE 0x01, 0xc8, 0x89, 0x03, 0xc7, 0x43, 0x08, 0x44, 0x33, 0x22, 0x11

START_TEST(right_code_passes)
{
    MACHINE_CODE_BYTES(&m, CODE);
    m.v->gpr[RCX] = 5;
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_uint_gt(stats().checked, 0);
    ck_assert_uint_eq(machine_get(&m, MACHINE_DATA, 4), 5);
    ck_assert_uint_eq(machine_get(&m, MACHINE_DATA + 8, 4), 0x11223344);
    fflush(m.log.sink);
    ck_assert_str_eq(report, "");
}
END_TEST

START_TEST(a_wrong_register_is_shown)
{
    MACHINE_CODE_BYTES(&m, CODE);
    m.v->gpr[RCX] = 5;
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_IDLE);
    spoil("\x01\xc8", "\x29\xc8", 2);
    again();
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_MISMATCH);
    expect("differ after 3 instructions from RIP 0000000000010000");
    expect("gpr 0");
    expect("interpreter 000000000000000a");
    expect("add eax, ecx");
    expect("sub eax, ecx"); /* the host's */
    expect("translated code:\nCPU 0");
    expect("before:\nCPU 0");
}
END_TEST

START_TEST(a_wrong_store_is_shown)
{
    MACHINE_CODE_BYTES(&m, CODE);
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_IDLE);
    spoil("\x44\x33\x22\x11", "\x44\x33\x22\x99", 4);
    again();
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_MISMATCH);
    expect("RAM+4000b: translated 99, interpreter 11, before 11");
    ck_assert_ptr_null(strstr(report, "gpr"));
}
END_TEST

/* A port is read once: no stretch contains the instruction. */
static u64 reads;

static u64 port_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    return ++reads;
}

START_TEST(what_has_effects_runs_once)
{
    static const struct io_ops ops = {.read = port_read, .sizes = 1};

    reads = 0;
    ck_assert_int_eq(pio_claim(&m.pio, 0x70, 1, &ops, NULL, "counter"), ST_OK);
    MACHINE_CODE_BYTES(&m, 0x01, 0xc8, 0xe4, 0x70, 0x01, 0xc8);
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_uint_eq(reads, 1);
}
END_TEST

/* A loop with a linked back edge is checked in stretches, all of it. */
START_TEST(loops_are_checked_to_their_end)
{
    /* mov ecx, 5000; l: add [rbx], ecx; add ebx, 4; and ebx, 40ffch; dec ecx; jnz l */
    MACHINE_CODE_BYTES(&m, 0xb9, 0x88, 0x13, 0, 0, 0x01, 0x0b, 0x83, 0xc3, 4, 0x81, 0xe3, 0xfc,
                       0x0f, 4, 0, 0xff, 0xc9, 0x75, 0xf1);
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_uint_ge(stats().checked, 5000 * 5 / 200);
    ck_assert_uint_eq(m.v->icount, 1 + 5000 * 5 + 1);
}
END_TEST

START_TEST(out_asm_shows_both_sides)
{
    m.log.categories = LOG_OUT_ASM;
    MACHINE_CODE_BYTES(&m, CODE);
    ck_assert_int_eq(jit_run(m.v, PAIR_BUDGET), EXIT_IDLE);
    expect("block 0000000000010000, RAM+10000");
    expect("0000000000010000  add eax, ecx ");
    expect("0000000000010002  mov dword ptr [rbx], eax ");
    expect(" | ");
    expect("out of line");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("check");
    TCase *c = tcase_create("check"), *t = tcase_create("trace");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, right_code_passes);
    tcase_add_test(c, a_wrong_register_is_shown);
    tcase_add_test(c, a_wrong_store_is_shown);
    tcase_add_test(c, what_has_effects_runs_once);
    tcase_add_test(c, loops_are_checked_to_their_end);
    suite_add_tcase(suite, c);
    tcase_add_checked_fixture(t, setup_unchecked, teardown);
    tcase_add_test(t, out_asm_shows_both_sides);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
