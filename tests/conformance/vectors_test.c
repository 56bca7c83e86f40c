/* SPDX-License-Identifier: MIT */
#include "frontend/conform/vectors.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/reduce.h"

/* What a reader has of a text: the last vector, or the sentence. */
struct reader {
    struct input in;
    struct json_text t;
    struct conform_vector v;
    struct error err;
};

static enum status read_text(struct reader *r, const char *text, unsigned *vectors)
{
    json_t *object;
    enum status st;

    r->in = (struct input){.file = "f", .data = (char *)text, .size = strlen(text)};
    r->err.text[0] = 0;
    *vectors = 0;
    json_text_begin(&r->t, &r->in);
    while (!(st = json_text_next(&r->t, &object, &r->err)) && object) {
        st = vectors_is_header(object) ? vectors_check_header(&r->t, object, &r->err)
                                       : vectors_parse(&r->t, object, &r->v, &r->err);
        *vectors += !st && !vectors_is_header(object);
        if (st)
            break;
    }
    json_text_end(&r->t);
    return st;
}

static void refused(const char *text, const char *sentence)
{
    struct reader *r = aligned_alloc(64, sizeof(*r));
    unsigned vectors;

    ck_assert_int_ne(read_text(r, text, &vectors), ST_OK);
    ck_assert_msg(strstr(r->err.text, sentence), "%s\n  gives: %s\n  not: %s", text, r->err.text,
                  sentence);
    ck_assert_int_eq(r->err.text[strlen(r->err.text) - 1], '.');
    free(r);
}

/* A case that fills every field with something of its own. */
static void fill(struct conform_vector *v)
{
    struct conform_case *c = &v->c;
    const struct vector_register *r;
    u8 *in = (u8 *)&c->in, *out = (u8 *)&v->o.out;

    memset(v, 0, sizeof(*v));
    c->row = INSN_ADD_GvEv;
    c->mode = MODE_32;
    c->insn_length = 2;
    c->code_address = ARENA_CODE + 0x40;
    c->code_size = 3;
    memcpy(c->code, "\x03\x03\x90", 3);
    c->undefined_flags = F_OF | F_AF;
    c->seed = 0xfedcba9876543210;
    c->xcr0 = 0x8000000000000207;
    c->patch_count = 2;
    c->patch[0] = (struct conform_patch){.address = ARENA_DATA, .size = 3, .bytes = {1, 2, 3}};
    c->patch[1] = (struct conform_patch){.address = ARENA_STACK + 0x1fff, .size = 2};
    for (unsigned i = 0; (r = vector_register(i)); i++)
        for (unsigned n = 0; n < r->size; n++) {
            in[r->offset + n] = (u8)(i * 7 + n * 13 + 1);
            out[r->offset + n] = (u8)(in[r->offset + n] ^ (i % 3 ? 0 : 0x5a));
        }
    v->o.vector = 14;
    v->o.error_code = 6;
    v->o.cr2 = 0xffff800012345678;
    v->o.line_count = 2;
    v->o.line[0].address = ARENA_DATA;
    v->o.line[1].address = ARENA_STACK + 0x40;
    for (unsigned i = 0; i < 64; i++) {
        v->o.line[0].bytes[i] = vectors_start_byte(c, ARENA_DATA + i);
        v->o.line[1].bytes[i] = vectors_start_byte(c, ARENA_STACK + 0x40 + i);
    }
    v->o.line[0].bytes[0] ^= 1;
    v->o.line[0].bytes[63] ^= 1;
    v->o.line[1].bytes[20] ^= 0x80;
}

static char *write_text(const struct conform_vector *v)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    vectors_write_header(out, "A \"processor\"");
    vectors_write(out, &v->c, &v->o);
    fclose(out);
    return text;
}

static void assert_same(const struct conform_vector *a, const struct conform_vector *b)
{
    const struct vector_register *r;

    for (unsigned i = 0; (r = vector_register(i)); i++) {
        ck_assert_msg(
            !memcmp((const u8 *)&a->c.in + r->offset, (const u8 *)&b->c.in + r->offset, r->size),
            "in %s", r->name);
        ck_assert_msg(
            !memcmp((const u8 *)&a->o.out + r->offset, (const u8 *)&b->o.out + r->offset, r->size),
            "out %s", r->name);
    }
    ck_assert_int_eq(a->c.row, b->c.row);
    ck_assert_int_eq(a->c.mode, b->c.mode);
    ck_assert_int_eq(a->c.insn_length, b->c.insn_length);
    ck_assert_int_eq(a->c.undefined_flags, b->c.undefined_flags);
    ck_assert_uint_eq(a->c.seed, b->c.seed);
    ck_assert_uint_eq(a->c.xcr0, b->c.xcr0);
    ck_assert_int_eq(a->c.code_size, b->c.code_size);
    ck_assert_mem_eq(a->c.code, b->c.code, a->c.code_size);
    ck_assert_int_eq(a->c.patch_count, b->c.patch_count);
    for (unsigned i = 0; i < a->c.patch_count; i++) {
        ck_assert_int_eq(a->c.patch[i].address, b->c.patch[i].address);
        ck_assert_int_eq(a->c.patch[i].size, b->c.patch[i].size);
        ck_assert_mem_eq(a->c.patch[i].bytes, b->c.patch[i].bytes, a->c.patch[i].size);
    }
    ck_assert_int_eq(a->o.vector, b->o.vector);
    ck_assert_int_eq(a->o.error_code, b->o.error_code);
    ck_assert_uint_eq(a->o.cr2, b->o.cr2);
    ck_assert_int_eq(a->o.line_count, b->o.line_count);
    for (unsigned i = 0; i < a->o.line_count && i < OUTCOME_LINES_MAX; i++) {
        ck_assert_int_eq(a->o.line[i].address, b->o.line[i].address);
        ck_assert_mem_eq(a->o.line[i].bytes, b->o.line[i].bytes, 64);
    }
}

START_TEST(what_is_written_reads_back_whole)
{
    struct conform_vector *v = aligned_alloc(64, sizeof(*v));
    struct reader *r = aligned_alloc(64, sizeof(*r));
    unsigned vectors;
    char *text;

    fill(v);
    text = write_text(v);
    ck_assert_int_eq(read_text(r, text, &vectors), ST_OK);
    ck_assert_int_eq(vectors, 1);
    assert_same(v, &r->v);
    ck_assert_int_eq(r->v.line, 2);
    free(text);

    /* A sequence that hung, and wrote more than is kept. */
    v->c.row = INSN_INVALID;
    v->c.insn_length = 0;
    v->o.vector = OUTCOME_NONE;
    v->o.error_code = 0;
    v->o.cr2 = 0;
    v->o.line_count = 0;
    for (unsigned i = 0; i < OUTCOME_LINES_MAX; i++) {
        struct conform_line *l = &v->o.line[v->o.line_count++];

        l->address = ARENA_DATA + 64 * i;
        for (unsigned n = 0; n < 64; n++)
            l->bytes[n] = vectors_start_byte(&v->c, l->address + n) ^ (n == i % 64);
    }
    v->o.line_count++;
    text = write_text(v);
    ck_assert_int_eq(read_text(r, text, &vectors), ST_OK);
    assert_same(v, &r->v);
    free(text);
    free(v);
    free(r);
}
END_TEST

START_TEST(a_vector_is_a_few_lines_for_a_person)
{
    struct conform_vector *v = aligned_alloc(64, sizeof(*v));
    char *text;

    memset(v, 0, sizeof(*v));
    v->c.row = INSN_ADD_GvEv;
    v->c.mode = MODE_64;
    v->c.insn_length = 3;
    v->c.code_address = ARENA_CODE + 0x40;
    v->c.code_size = 3;
    memcpy(v->c.code, "\x48\x03\x03", 3);
    v->c.seed = 0x1f;
    v->c.patch_count = 1;
    v->c.patch[0] = (struct conform_patch){.address = 0x20000ffc, .size = 8, .bytes = {1}};
    vectors_default_state(&v->c.in, MODE_64, v->c.code_address);
    v->c.in.gpr[0] = INT64_MAX;
    v->c.in.gpr[3] = 0x20000ffc;
    v->o.out = v->c.in;
    v->o.out.gpr[0] = 1ull << 63;
    v->o.out.rip += 3;
    v->o.out.rflags = 0xa96;
    v->o.vector = 3;
    text = write_text(v);
    ck_assert_str_eq(
        text,
        "{\"lockstep_vectors\": 1, \"host\": \"A \\\"processor\\\"\"}\n"
        "{\"text\": \"add rax, qword ptr [rbx]\", \"row\": \"ADD_GvEv\", \"mode\": 64, "
        "\"at\": \"10000040\", \"code\": \"480303\", \"seed\": \"1f\",\n"
        " \"in\": {\"rax\": \"7fffffffffffffff\", \"rbx\": \"20000ffc\"},\n"
        " \"memory\": [[\"20000ffc\", \"0100000000000000\"]],\n"
        " \"out\": {\"rax\": \"8000000000000000\", \"rip\": \"10000043\", \"rflags\": \"a96\"}}\n");
    free(text);
    free(v);
}
END_TEST

#define VECTOR(more) "{\"mode\": 64, \"at\": \"10000000\", \"code\": \"90\", " more "}"
#define EMPTY        "\"in\": {}, \"out\": {}"

START_TEST(arrays_and_joined_files_are_read)
{
    static const char *const texts[] = {
        VECTOR(EMPTY) VECTOR(EMPTY),
        "[" VECTOR(EMPTY) ",\n" VECTOR(EMPTY) "]",
        "{\"lockstep_vectors\": 1}\n" VECTOR(
            EMPTY) "\n{\"lockstep_vectors\": 1, \"host\": \"x\"}" VECTOR(EMPTY),
    };
    struct reader *r = aligned_alloc(64, sizeof(*r));
    unsigned vectors;

    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        ck_assert_msg(!read_text(r, texts[i], &vectors), "%u: %s", i, r->err.text);
        ck_assert_int_eq(vectors, 2);
    }
    ck_assert_int_eq(read_text(r, "", &vectors), ST_OK);
    ck_assert_int_eq(vectors, 0);
    free(r);
}
END_TEST

START_TEST(defaults_follow_the_mode)
{
    struct conform_state s;

    vectors_default_state(&s, MODE_16, ARENA_CODE + 0x123);
    ck_assert_int_eq(s.rip, 0x123);
    ck_assert_int_eq(s.selector[1], SEL_CODE16);
    vectors_default_state(&s, MODE_32, ARENA_CODE + 0x123);
    ck_assert_int_eq(s.rip, ARENA_CODE + 0x123);
    ck_assert_int_eq(s.selector[3], SEL_FLAT);
    vectors_default_state(&s, MODE_64, ARENA_CODE);
    ck_assert_int_eq(s.selector[1], SEL_CS64);
    ck_assert_int_eq(s.mxcsr, 0x1f80);
    ck_assert_ptr_null(vector_register_find("xmm0"));
    ck_assert_int_eq(vector_register_find("zmm31")->size, 64);
}
END_TEST

/* Each sentence names file and line. */
START_TEST(broken_vectors_are_named)
{
    refused("{\"mode\": 64", "f:1: the object that begins here has no end");
    refused("\n\n{\"a\": \"x\\\"", "f:3: the object that begins here has no end");
    refused("[" VECTOR(EMPTY) "\n", "f:2: the array is not closed");
    refused("[" VECTOR(EMPTY) "\n" VECTOR(EMPTY) "]", "f:2: a comma is missing");
    refused("[" VECTOR(EMPTY) ",\n]", "f:2: a comma is followed by no value");
    refused("[" VECTOR(EMPTY) "]\nx", "f:2: there is text behind the end");
    refused("nonsense", "f:1: this is not the beginning of an object");
    refused("{\"mode\" 64}", "f:1:");
    refused("{\"mode\": 64, \"mode\": 64}", "f:1:");
    refused(VECTOR(EMPTY) "\n" VECTOR(EMPTY ",\n \"colour\": 1"),
            "f:3: \"colour\" is no field of a vector");
    refused("{\"lockstep_vectors\": 2}", "f:1: vectors of version 2 are not known");
    refused("{\"lockstep_vectors\": 1, \"x\": 1}", "\"x\" is no field of the header");
    refused(VECTOR("\"in\": {}"), "the vector has no \"out\"");
    refused(VECTOR("\"in\": [], \"out\": {}"), "\"in\" must be an object");
    refused(VECTOR("\"in\": {\"rxx\": \"1\"}, \"out\": {}"), "\"rxx\" is no register");
    refused(VECTOR("\"in\": {\"ds\": \"10000\"}, \"out\": {}"),
            "\"ds\" must be a string of at most 4 hexadecimal digits");
    refused(VECTOR("\"in\": {\"rax\": 5}, \"out\": {}"), "\"rax\" must be a string");
    refused(VECTOR("\"in\": {\"rax\": \"_\"}, \"out\": {}"), "\"rax\" must be a string");
    refused(VECTOR(EMPTY ", \"row\": \"FROB_Ev\""), "FROB_Ev is none");
    refused(VECTOR(EMPTY ", \"length\": 16"), "\"length\" must be a number from 0 to 15");
    refused(VECTOR(EMPTY ", \"undefined\": \"of xf\""), "has \"xf\", which is no flag");
    refused(VECTOR(EMPTY ", \"memory\": [[\"10000000\", \"00\"]]"), "code pages");
    refused(VECTOR(EMPTY ", \"memory\": [[\"40000000\", \"00\"]]"), "outside the arena");
    refused(VECTOR(EMPTY ", \"memory\": [[\"20000000\", \"0\"]]"), "[\"ADDRESS\", \"BYTES\"]");
    refused(VECTOR(EMPTY ", \"memory\": [[], [], [], [], []]"), "at most 4 places");
    refused(VECTOR(EMPTY ", \"changed\": [[\"20000040\", \"00\"], [\"20000000\", \"00\"]]"),
            "ascending order");
    refused(VECTOR(EMPTY ", \"changed\": [[\"20001fff\", \"0000\"]]"), "outside the arena");
    refused(VECTOR(EMPTY ", \"more_changed\": false"), "must be true or absent");
    refused(VECTOR(EMPTY ", \"end\": \"never\""), "\"end\" must be");
    refused(VECTOR(EMPTY ", \"exception\": {\"error\": \"0\"}"), "needs its \"vector\"");
    refused(VECTOR(EMPTY ", \"exception\": {\"vector\": 32}"), "from 0 to 31");
    refused(VECTOR(EMPTY ", \"exception\": {\"vector\": 6, \"x\": 1}"), "no field of an exception");
    refused("{\"mode\": 8, \"at\": \"10000000\", \"code\": \"90\", " EMPTY "}",
            "\"mode\" must be 16, 32 or 64");
    refused("{\"mode\": 64, \"at\": \"10000000\", \"code\": \"9\", " EMPTY "}",
            "\"code\" must be a string");
    refused("{\"mode\": 64, \"at\": \"10001fff\", \"code\": \"9090\", " EMPTY "}",
            "\"at\" must be where the code lies");
}
END_TEST

START_TEST(reduction_keeps_what_matters)
{
    struct conform_vector *v = aligned_alloc(64, sizeof(*v));
    struct native_host *host;
    struct error err;

    memset(v, 0, sizeof(*v));
    v->c.row = INSN_ADD_GvEv;
    v->c.mode = MODE_64;
    v->c.insn_length = 3;
    v->c.code_address = ARENA_CODE;
    v->c.code_size = 3;
    memcpy(v->c.code, "\x48\x01\xd8", 3); /* add rax, rbx */
    vectors_default_state(&v->c.in, MODE_64, ARENA_CODE);
    for (unsigned i = 0; i < 16; i++)
        v->c.in.gpr[i] = 0x1111 * (i + 1);
    v->c.in.zmm[3][5] = 9;
    ck_assert_msg(!native_host_create(&host, REDUCE_BATCH, &err), "%s", err.text);
    ck_assert_int_eq(native_host_run(host, &v->c, &v->o, 1, &err), ST_OK);
    ck_assert_int_eq(reduce_case(host, &v->c, &v->o, &err), ST_OK);
    native_host_destroy(host);
    ck_assert_uint_eq(v->c.in.gpr[0], 0x1111);
    ck_assert_uint_eq(v->c.in.gpr[3], 0x4444);
    ck_assert_uint_eq(v->o.out.gpr[0], 0x5555);
    ck_assert_uint_eq(v->c.in.gpr[1] | v->c.in.gpr[15] | v->c.in.zmm[3][5], 0);
    ck_assert_uint_eq(v->o.out.gpr[15] | v->o.out.zmm[3][5], 0);
    free(v);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vectors");
    TCase *t = tcase_create("vectors");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_test(t, what_is_written_reads_back_whole);
    tcase_add_test(t, a_vector_is_a_few_lines_for_a_person);
    tcase_add_test(t, arrays_and_joined_files_are_read);
    tcase_add_test(t, defaults_follow_the_mode);
    tcase_add_test(t, broken_vectors_are_named);
    tcase_add_test(t, reduction_keeps_what_matters);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
