/* SPDX-License-Identifier: MIT */
#include "frontend/conform/singlestep_judge.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DATA(name) CONFORMANCE_DATA "/" name

struct fixture {
    struct input in;
    struct singlestep_file f;
    struct singlestep_test t;
    struct singlestep_outcome o;
    struct error err;
};

static struct fixture *open_bytes(const char *file, const char *bytes, size_t size)
{
    struct fixture *x = calloc(1, sizeof(*x));

    x->in = (struct input){
        .file = file, .data = memcpy(calloc(1, size + 1), bytes, size), .size = size};
    return x;
}

static struct fixture *open_file(const char *file)
{
    struct fixture *x = calloc(1, sizeof(*x));

    ck_assert_msg(!input_read(&x->in, file, &x->err), "%s", x->err.text);
    return x;
}

static void close_fixture(struct fixture *x)
{
    singlestep_close(&x->f);
    input_release(&x->in);
    free(x);
}

/* Reads to the end; returns the first failure. */
static enum status read_all(struct fixture *x, unsigned *tests)
{
    bool more = true;
    enum status st = singlestep_open(&x->f, &x->in, SINGLESTEP_CPUS, &x->err);

    for (*tests = 0; !st && more;) {
        st = singlestep_next(&x->f, &x->t, &more, &x->err);
        *tests += !st && more;
    }
    return st;
}

/* -- the fixtures agree, and by which deviations -- */

static const struct {
    const char *file;
    enum singlestep_cpu cpu;
    unsigned tests;
    u64 deviations[16]; /* of each test but those that all tests of the processor have */
    u64 always;
} suites[] = {
#define D(id) BIT(DEVIATION_##id)
#define SUITE_8086                                                                                 \
    SINGLESTEP_8086, 16,                                                                           \
        {0,                                                                                        \
         D(I8086_PUSH_SP),                                                                         \
         0,                                                                                        \
         D(I8086_DIVIDE_RETURN),                                                                   \
         D(I8086_SHIFT_COUNT) | D(UNDEFINED_FLAGS),                                                \
         0,                                                                                        \
         D(I8086_OFFSET_WRAP),                                                                     \
         D(I8086_OPCODES),                                                                         \
         D(I8086_AAA) | D(UNDEFINED_FLAGS),                                                        \
         0,                                                                                        \
         D(UNDEFINED_FLAGS),                                                                       \
         0,                                                                                        \
         0,                                                                                        \
         D(I8086_IDIV_LIMIT) | D(UNDEFINED_FLAGS),                                                 \
         D(I8086_LOCK),                                                                            \
         0},                                                                                       \
        D(I8086_FLAGS_HIGH)
#define SUITE_80286                                                                                \
    SINGLESTEP_80286, 9,                                                                           \
        {0, 0, D(I80286_FLAGS_HIGH), 0, 0, D(I80286_LOCK), D(I80286_OPCODES), 0, 0}, 0
#define SUITE_80386                                                                                \
    SINGLESTEP_80386, 8, {0,                                                                       \
                          0,                                                                       \
                          0,                                                                       \
                          D(UNDEFINED_FLAGS),                                                      \
                          D(UNDEFINED_FLAGS) | D(UNDEFINED_REGISTERS),                             \
                          D(I80386_TEST_REGISTERS),                                                \
                          0,                                                                       \
                          0},                                                                      \
        D(I80386_EFLAGS_HIGH) | D(I80386_CONTROL)
    {DATA("8086/tests.json"), SUITE_8086},     {DATA("8086/tests.MOO"), SUITE_8086},
    {DATA("8086/tests.MOO.gz"), SUITE_8086},   {DATA("80286/tests.json"), SUITE_80286},
    {DATA("80286/tests.MOO"), SUITE_80286},    {DATA("80286/tests.MOO.gz"), SUITE_80286},
    {DATA("80386/tests.json"), SUITE_80386},   {DATA("80386/tests.MOO"), SUITE_80386},
    {DATA("80386/tests.MOO.gz"), SUITE_80386},
};

START_TEST(old_machines_are_followed_or_explained)
{
    struct fixture *x = open_file(suites[_i].file);
    struct singlestep_machine *m;
    bool more = true;
    unsigned n = 0;

    ck_assert_int_eq(singlestep_machine_create(&m, CONFORM_INTERP, &x->err), ST_OK);
    ck_assert_int_eq(singlestep_open(&x->f, &x->in, SINGLESTEP_CPUS, &x->err), ST_OK);
    for (; !singlestep_next(&x->f, &x->t, &more, &x->err) && more; n++) {
        struct singlestep_verdict v;

        ck_assert_int_eq(x->f.cpu, suites[_i].cpu);
        ck_assert_int_eq(x->t.index, n);
        ck_assert(x->t.has_hash);
        ck_assert_int_eq(x->t.hash[19], n);
        singlestep_machine_run(m, x->f.cpu, &x->t, &x->o);
        v = singlestep_judge(x->f.cpu, &x->t, &x->o);
        ck_assert_msg(v.explained, "%s: %s", suites[_i].file, x->t.name);
        ck_assert_int_eq(v.agree, !v.deviations);
        /* Undefined flags are whatever this engine makes of them. */
        ck_assert_msg((v.deviations & ~suites[_i].always & ~D(UNDEFINED_FLAGS)) ==
                          (suites[_i].deviations[n] & ~D(UNDEFINED_FLAGS)),
                      "%s: %s: %llx", suites[_i].file, x->t.name, (unsigned long long)v.deviations);
        ck_assert(!(v.deviations & D(UNDEFINED_FLAGS)) ||
                  suites[_i].deviations[n] & D(UNDEFINED_FLAGS));
    }
    ck_assert_int_eq(n, suites[_i].tests);
    singlestep_machine_destroy(m);
    close_fixture(x);
}
END_TEST

/* -- differences that nothing explains -- */

/* Changes one number of the first fixture test and judges it. */
static struct singlestep_verdict judge_changed(void (*change)(struct singlestep_test *t),
                                               char **text)
{
    struct fixture *x = open_file(DATA("80286/tests.MOO"));
    struct singlestep_machine *m;
    struct singlestep_verdict v;
    size_t size;
    bool more;
    FILE *out;

    ck_assert_int_eq(singlestep_machine_create(&m, CONFORM_INTERP, &x->err), ST_OK);
    ck_assert_int_eq(singlestep_open(&x->f, &x->in, SINGLESTEP_CPUS, &x->err), ST_OK);
    ck_assert_int_eq(singlestep_next(&x->f, &x->t, &more, &x->err), ST_OK);
    change(&x->t);
    singlestep_machine_run(m, x->f.cpu, &x->t, &x->o);
    v = singlestep_judge(x->f.cpu, &x->t, &x->o);
    out = open_memstream(text, &size);
    singlestep_explain(out, x->f.cpu, &x->t, &x->o);
    fclose(out);
    singlestep_machine_destroy(m);
    close_fixture(x);
    return v;
}

static void wrong_register(struct singlestep_test *t)
{
    t->final.present |= 1u << SSR_EBX;
    t->final.value[SSR_EBX] = 0x4242;
}

static void wrong_flag(struct singlestep_test *t)
{
    t->final.value[SSR_EFLAGS] ^= 1;
}

/* A byte that the processor is said to have written, and the engine does not. */
static void missing_store(struct singlestep_test *t)
{
    t->final.ram[t->final.ram_count++] = (struct singlestep_byte){0x12345, 0x66};
}

/* ADD [BX],AX where the suite's processor wrote nothing. */
static void excess_store(struct singlestep_test *t)
{
    t->bytes[0] = 0x01;
    t->bytes[1] = 0x07;
    t->initial.ram[1].value = 0x07;
}

static const struct {
    void (*change)(struct singlestep_test *t);
    const char *words;
} wrong[] = {
    {wrong_register, "bx        80286 4242, lockstep 1"},
    {wrong_flag, "flags     80286 56, lockstep 57"},
    {missing_store, "[012345]  80286 66, lockstep 00"},
    {excess_store, "[030001]  80286 00, lockstep ff"},
};

START_TEST(differences_are_found_and_told)
{
    char *text;
    struct singlestep_verdict v = judge_changed(wrong[_i].change, &text);

    ck_assert(!v.agree);
    ck_assert(!v.explained);
    ck_assert_msg(strstr(text, wrong[_i].words), "%s", text);
    ck_assert_msg(strstr(text, "add ax,bx"), "%s", text);
    free(text);
}
END_TEST

/* -- broken files -- */

START_TEST(a_moo_file_cut_anywhere_is_named)
{
    struct fixture *whole = open_file(DATA("80386/tests.MOO"));
    unsigned tests;

    for (size_t size = 4; size < whole->in.size; size++) {
        struct fixture *x = open_bytes("cut.MOO", whole->in.data, size);

        ck_assert_msg(read_all(x, &tests), "%zu of %zu bytes are accepted", size, whole->in.size);
        ck_assert_msg(!strncmp(x->err.text, "cut.MOO: byte ", 14), "%s", x->err.text);
        ck_assert_int_eq(x->err.text[strlen(x->err.text) - 1], '.');
        close_fixture(x);
    }
    close_fixture(whole);
}
END_TEST

/* Any byte may be wrong: it is read or refused, within bounds (the sanitizers watch). */
START_TEST(a_moo_file_with_any_wrong_byte_does_no_harm)
{
    struct fixture *whole = open_file(DATA("8086/tests.MOO"));
    unsigned tests, refused = 0;

    for (size_t at = 4; at < whole->in.size; at++) {
        struct fixture *x = open_bytes("garbled.MOO", whole->in.data, whole->in.size);

        x->in.data[at] ^= 0xff;
        if (read_all(x, &tests)) {
            refused++;
            ck_assert_msg(!strncmp(x->err.text, "garbled.MOO: byte ", 18), "%s", x->err.text);
        }
        close_fixture(x);
    }
    ck_assert_int_gt(refused, 100);
    close_fixture(whole);
}
END_TEST

START_TEST(a_json_file_cut_anywhere_is_named)
{
    struct fixture *whole = open_file(DATA("80386/tests.json"));
    unsigned tests;

    /* Without the bracket and newline at the end it is still cut. */
    for (size_t size = 1; size + 2 < whole->in.size; size += 3) {
        struct fixture *x = open_bytes("cut.json", whole->in.data, size);

        ck_assert_msg(read_all(x, &tests), "%zu of %zu bytes are accepted", size, whole->in.size);
        ck_assert_msg(!strncmp(x->err.text, "cut.json:", 9), "%s", x->err.text);
        close_fixture(x);
    }
    close_fixture(whole);
}
END_TEST

#define REGS "{\"ax\": 0, \"ip\": 0, \"cs\": 0, \"flags\": 2}"
#define TEST(bytes, regs, ram, final, more)                                                        \
    "[{\"bytes\": " bytes ",\n \"initial\": {\"regs\": " regs ", \"ram\": " ram                    \
    "},\n \"final\": " final more "}]"
#define FINAL "{\"regs\": {}, \"ram\": []}"

static const struct {
    const char *text, *sentence;
} broken[] = {
    {TEST("[256]", REGS, "[]", FINAL, ""), "f:1: entry 0 of \"bytes\""},
    {TEST("[]", REGS, "[]", FINAL, ""), "f:1: \"bytes\" must be a list"},
    {TEST("[144]", "{\"zx\": 0}", "[]", FINAL, ""), "f:2: \"zx\" is no register"},
    {TEST("[144]", "{\"ax\": 65536}", "[]", FINAL, ""), "f:2: \"ax\" must be a number from 0"},
    {TEST("[144]", "{\"ax\": \"1\"}", "[]", FINAL, ""), "f:2: \"ax\" must be a number from 0"},
    {TEST("[144]", REGS, "[[0, 0], [1]]", FINAL, ""), "f:2: entry 1 of \"ram\""},
    {TEST("[144]", REGS, "[[0, 256]]", FINAL, ""), "f:2: entry 0 of \"ram\""},
    {TEST("[144]", REGS, "0", FINAL, ""), "f:2: \"ram\" must be a list"},
    {TEST("[144]", REGS, "[]", "{}", ""), "f:3: \"final\" must be an object"},
    {TEST("[144]", REGS, "[]", FINAL, ",\n \"colour\": 1"), "f:4: \"colour\" is no field"},
    {TEST("[144]", REGS, "[]", FINAL, ",\n \"hash\": \"12\""), "f:4: \"hash\" must be"},
    {TEST("[144]", REGS, "[]", FINAL, ",\n \"exception\": {}"), "f:4: \"exception\" needs"},
    {TEST("[144]", REGS, "[]", FINAL, ",\n \"exception\": {\"number\": 256}"),
     "\"number\" must be"},
};

START_TEST(broken_json_is_named)
{
    struct fixture *x = open_bytes("f", broken[_i].text, strlen(broken[_i].text));
    unsigned tests;

    ck_assert_int_ne(read_all(x, &tests), ST_OK);
    ck_assert_msg(strstr(x->err.text, broken[_i].sentence), "%s", x->err.text);
    close_fixture(x);
}
END_TEST

/* -- metadata -- */

START_TEST(flag_masks_come_from_the_suite)
{
    static const u8 aaa[] = {0x37}, mul[] = {0x2e, 0xf6, 0xe3}, div[] = {0xf6, 0xf3};
    struct singlestep_masks *m = malloc(sizeof(*m));
    struct error err;

    ck_assert_int_eq(singlestep_meta_read(m, DATA("8086/tests.json"), &err), ST_OK);
    ck_assert_int_eq(m->cpu, SINGLESTEP_8086);
    ck_assert_uint_eq(singlestep_meta_mask(m, aaa, 1), 0xfffff73b);
    ck_assert_uint_eq(singlestep_meta_mask(m, mul, 3), 0xffffff2b);
    ck_assert_uint_eq(singlestep_meta_mask(m, div, 2), UINT32_MAX);
    ck_assert_int_eq(singlestep_meta_read(m, "/nowhere/at/all.json", &err), ST_OK);
    ck_assert_int_eq(m->cpu, SINGLESTEP_CPUS);
    free(m);
}
END_TEST

/* The table of the 80386 suite, with masks in both readings: what is defined, what is undefined. */
START_TEST(the_table_of_the_80386_is_read)
{
    static const u8 shl[] = {0x66, 0xd1, 0xe0}, bt[] = {0x0f, 0xa3, 0xc0}, nop[] = {0x90};
    char folder[] = "/tmp/singlestep_XXXXXX", path[64], file[64];
    struct singlestep_masks *m = malloc(sizeof(*m));
    struct error err;
    FILE *csv;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/80386.csv", folder);
    snprintf(file, sizeof(file), "%s/01.MOO", folder);
    csv = fopen(path, "w");
    fputs("op,g,ex,mnemonic,f_umask,desc\r\nD1,2,4,SHL,0010,\"shift, left\"\r\n"
          "0FA3,,,BT,F76B,test\n90,,,NOP,,nothing\n",
          csv);
    fclose(csv);
    ck_assert_msg(!singlestep_meta_read(m, file, &err), "%s", err.text);
    remove(path);
    remove(folder);
    ck_assert_int_eq(m->cpu, SINGLESTEP_80386);
    ck_assert_uint_eq(singlestep_meta_mask(m, shl, 3), 0xffffffef);
    ck_assert_uint_eq(singlestep_meta_mask(m, bt, 3), 0xfffff76b);
    ck_assert_uint_eq(singlestep_meta_mask(m, nop, 1), UINT32_MAX);
    free(m);
}
END_TEST

START_TEST(processors_are_known_by_their_names)
{
    ck_assert_int_eq(singlestep_cpu_find("8088"), SINGLESTEP_8086);
    ck_assert_int_eq(singlestep_cpu_find("C286"), SINGLESTEP_80286);
    ck_assert_int_eq(singlestep_cpu_find("386E"), SINGLESTEP_80386);
    ck_assert_int_eq(singlestep_cpu_find("V20"), SINGLESTEP_CPUS);
    ck_assert_str_eq(singlestep_cpu_name(SINGLESTEP_80386), "80386");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("singlestep");
    TCase *t = tcase_create("singlestep");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, old_machines_are_followed_or_explained, 0, ARRAY_SIZE(suites));
    tcase_add_loop_test(t, differences_are_found_and_told, 0, ARRAY_SIZE(wrong));
    tcase_add_test(t, a_moo_file_cut_anywhere_is_named);
    tcase_add_test(t, a_moo_file_with_any_wrong_byte_does_no_harm);
    tcase_add_test(t, a_json_file_cut_anywhere_is_named);
    tcase_add_loop_test(t, broken_json_is_named, 0, ARRAY_SIZE(broken));
    tcase_add_test(t, flag_masks_come_from_the_suite);
    tcase_add_test(t, the_table_of_the_80386_is_read);
    tcase_add_test(t, processors_are_known_by_their_names);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
