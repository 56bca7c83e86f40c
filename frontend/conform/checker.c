/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/check.h"
#include "frontend/conform/engine_image.h"
#include "frontend/conform/vectors.h"
#include "mem/base/bits.h"

enum { LIMIT = 1000000 }; /* instructions of one vector */

static const char *const feature_names[] = {
    [FEAT_BASE] = "base",
#define FEATURE(id, name, ...) [FEAT_##id] = name,
#include "cpu/feature.def"
#undef FEATURE
    [FEAT_LAHF_LM_OR_32] = "lahf_lm",
};

enum status checker_create(struct checker **out, const struct check_options *options, FILE *file,
                           struct error *err)
{
    const struct cpu_topology one = {1, 1, 1};
    struct checker *c = calloc(1, sizeof(*c));
    enum status st;

    if (!c)
        return error_set(err, ST_NO_MEMORY, "conform check has no memory; free some.");
    c->options = *options;
    c->out = file;
    st = cpu_model_parse(&c->model, options->native ? "" : options->cpu, &one, 1000000000,
                         1000000000, err);
    c->xcr0 = image_host_xcr0() & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU);
    if (!st && options->native)
        st = native_host_create(&c->host, CHECK_BATCH, err);
    else if (!st)
        st = engine_create(&c->engine, options->kind, options->cpu, err);
    if (st)
        checker_destroy(c);
    else
        *out = c;
    return st;
}

void checker_destroy(struct checker *c)
{
    if (!c)
        return;
    if (c->host)
        native_host_destroy(c->host);
    if (c->engine)
        engine_destroy(c->engine);
    singlestep_machine_destroy(c->machine);
    free(c);
}

static const char *accused(const struct checker *c)
{
    return c->options.native ? "this host" : conform_engine_name(c->options.kind);
}

/* -- counting -- */

static void count(struct checker *c, bool agree, bool explained, u64 deviations)
{
    c->file.vectors++;
    c->file.passed += agree;
    c->file.explained += !agree && explained;
    c->file.different += !explained;
    for (unsigned d = 0; d < DEVIATION_COUNT; d++)
        c->file.deviations[d] += !agree && (deviations >> d & 1);
}

static void print_counts(FILE *out, const struct check_counts *n)
{
    const char *separator = " (";

    fprintf(out, "%llu vectors, %llu pass, %llu differ", (unsigned long long)n->vectors,
            (unsigned long long)n->passed, (unsigned long long)n->different);
    if (n->explained)
        fprintf(out, ", %llu explained", (unsigned long long)n->explained);
    for (unsigned d = 1; d < DEVIATION_COUNT; d++) {
        if (!n->deviations[d])
            continue;
        fprintf(out, "%s%s %llu", separator, conform_deviations[d].name,
                (unsigned long long)n->deviations[d]);
        separator = ", ";
    }
    if (separator[0] == ',')
        fputc(')', out);
    if (n->lacking)
        fprintf(out, ", %llu need what this host lacks", (unsigned long long)n->lacking);
    if (n->revoked)
        fprintf(out, ", %llu revoked", (unsigned long long)n->revoked);
    fputc('\n', out);
}

static void add_counts(struct check_counts *sum, const struct check_counts *n)
{
    u64 *to = (u64 *)sum;

    for (size_t i = 0; i < sizeof(*n) / sizeof(u64); i++)
        to[i] += ((const u64 *)n)[i];
}

/* -- Lockstep's own vectors -- */

struct batch {
    struct conform_case c[CHECK_BATCH];
    struct conform_outcome recorded[CHECK_BATCH], got[CHECK_BATCH];
    unsigned line[CHECK_BATCH];
    unsigned count;
    struct conform_vector v;
};

/* XCR0 components that a state has something in. */
static u64 components_of(const struct conform_state *s)
{
    static const u8 zeros[16 * 64];
    u64 components = memcmp(s->k, zeros, sizeof(s->k)) ? XCR0_OPMASK : 0;

    for (unsigned n = 0; n < 16; n++) {
        if (memcmp(s->zmm[n] + 16, zeros, 16))
            components |= XCR0_AVX;
        if (memcmp(s->zmm[n] + 32, zeros, 32))
            components |= XCR0_ZMM_HI256;
    }
    if (memcmp(s->zmm[16], zeros, sizeof(zeros)))
        components |= XCR0_HI16_ZMM;
    return components | (s->pkru ? XCR0_PKRU : 0);
}

/* XCR0 that the vector needs and the accused cannot have, in words, or NULL: an engine gets what
 * its model can be given, this host has its own, and must load the registers that the case starts
 * with.
 */
static const char *lacks_xcr0(struct checker *c, const struct conform_vector *v)
{
    u64 wanted = v->c.xcr0, missing = wanted & ~c->model.xcr0_supported;

    if (c->host) {
        missing = wanted ? wanted ^ c->xcr0 : 0;
        if (!missing) {
            missing = components_of(&v->c.in) & ~c->xcr0;
            wanted = missing | c->xcr0;
        }
    }
    if (!missing)
        return NULL;
    snprintf(c->lacks, sizeof(c->lacks), "an XCR0 of %llx", (unsigned long long)wanted);
    return c->lacks;
}

/* What a case needs and the accused has not, or NULL: the feature of its instruction, or XCR0.
 * Cases that ended with #UD are those of a processor that lacks the feature, too. */
static const char *lacks(struct checker *c, const struct conform_vector *v)
{
    static const u8 sizes[CONFORM_MODES] = {8, 4, 2};
    struct decode_ctx ctx = {
        .model = &c->model, .code_size = sizes[v->c.mode], .protected_mode = true};
    struct insn i;

    if (v->c.row == INSN_INVALID || v->o.vector == 6)
        return lacks_xcr0(c, v);
    if (!feature_has(&c->model.features, insn_rows[v->c.row].feature) &&
        insn_rows[v->c.row].feature != FEAT_BASE &&
        insn_rows[v->c.row].feature != FEAT_LAHF_LM_OR_32)
        return feature_names[insn_rows[v->c.row].feature];
    if (v->c.insn_length && insn_decode(&ctx, v->c.code, v->c.code_size, &i) == DECODE_UD) {
        ctx.model = NULL;
        if (insn_decode(&ctx, v->c.code, v->c.code_size, &i) == DECODE_OK && i.id == v->c.row)
            return "avx512vl";
    }
    return lacks_xcr0(c, v);
}

static enum status run_batch(struct checker *c, struct batch *b, struct error *err)
{
    if (c->host)
        return native_host_run(c->host, b->c, b->got, b->count, err);
    for (unsigned i = 0; i < b->count; i++)
        engine_run(c->engine, &b->c[i], LIMIT, &b->got[i]);
    return ST_OK;
}

static enum status judge_batch(struct checker *c, struct batch *b, const char *path,
                               struct error *err)
{
    enum status st = b->count ? run_batch(c, b, err) : ST_OK;

    for (unsigned i = 0; !st && i < b->count; i++) {
        struct conform_difference d =
            conform_compare(&b->c[i], &b->recorded[i], &b->got[i], c->allowed);

        count(c, !d.parts, !d.parts || d.explained, d.deviations);
        if (!d.parts || d.explained || c->file.different > c->options.shown)
            continue;
        fprintf(c->out, "%s:%u: differs from %s:\n", path, b->line[i], accused(c));
        conform_explain(c->out, &b->c[i], &b->recorded[i], &b->got[i]);
    }
    b->count = 0;
    return st;
}

static enum status add_vector(struct checker *c, struct batch *b, const struct json_text *t,
                              const json_t *object, struct error *err)
{
    enum status st = vectors_parse(t, object, &b->v, err);
    const char *feature = st ? NULL : lacks(c, &b->v);

    if (st)
        return st;
    if (feature) {
        if (!c->file.lacking++)
            fprintf(stderr,
                    "lockstep: %s:%u: the instruction needs %s, which %s lacks; check it %s.\n",
                    t->in->file, b->v.line, feature,
                    c->options.native ? "this host" : "the processor model",
                    c->options.native ? "on a host that has it"
                                      : "on a host and with a --cpu that has it");
        return ST_OK;
    }
    b->c[b->count] = b->v.c;
    b->recorded[b->count] = b->v.o;
    b->line[b->count++] = b->v.line;
    return b->count == CHECK_BATCH ? judge_batch(c, b, t->in->file, err) : ST_OK;
}

/* What may explain a difference from the processor that the header names: nothing of another's
 * vendor, family or age where it is the one that this runs on. */
static u64 allowed_by(const json_t *header)
{
    const char *host = json_string_value(json_object_get(header, "host"));
    char here[160];

    vectors_host(here, sizeof(here));
    if (host && !strcmp(host, here))
        return conform_deviation_set(NULL);
    if (host && strstr(host, "AuthenticAMD"))
        return conform_deviation_set("AMD");
    if (host && strstr(host, "GenuineIntel"))
        return conform_deviation_set("Intel");
    return conform_deviation_set("AMD") | conform_deviation_set("Intel");
}

/* A header holds for the vectors behind it. */
static enum status take_header(struct checker *c, struct batch *b, const struct json_text *t,
                               const json_t *header, struct error *err)
{
    enum status st = judge_batch(c, b, t->in->file, err);

    if (!st)
        st = vectors_check_header(t, header, err);
    if (!st)
        c->allowed = allowed_by(header);
    return st;
}

static enum status check_own(struct checker *c, struct json_text *t, const json_t *first,
                             struct error *err)
{
    struct batch *b = aligned_alloc(64, align_up(sizeof(*b), 64));
    json_t *object = (json_t *)first;
    enum status st = ST_OK, rest;
    struct error ignored;

    if (!b)
        return error_set(err, ST_NO_MEMORY, "%s: no memory to check it; free some.", t->in->file);
    b->count = 0;
    while (!st && object) {
        st = vectors_is_header(object) ? take_header(c, b, t, object, err)
                                       : add_vector(c, b, t, object, err);
        if (!st)
            st = json_text_next(t, &object, err);
    }
    /* Those before a broken place count. */
    rest = judge_batch(c, b, t->in->file, st ? &ignored : err);
    free(b);
    return st ? st : rest;
}

/* -- SingleStepTests -- */

/* The list of tests that the suite has withdrawn, next to the file or one folder up. */
static bool read_revoked(struct input *list, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct error ignored;
    char name[4096];

    for (unsigned up = 0; up < 2; up++) {
        snprintf(name, sizeof(name), "%.*s%srevocation_list.txt",
                 slash ? (int)(slash - path + 1) : 0, path, up ? "../" : "");
        if (!input_read(list, name, &ignored))
            return true;
    }
    return false;
}

static bool is_revoked(const struct input *list, const struct singlestep_test *t)
{
    char hash[2 * sizeof(t->hash) + 1];

    if (!list || !t->has_hash)
        return false;
    for (unsigned i = 0; i < sizeof(t->hash); i++)
        snprintf(hash + 2 * i, 3, "%02x", t->hash[i]);
    return strcasestr(list->data, hash);
}

static void run_test(struct checker *c, const struct singlestep_file *f,
                     const struct singlestep_test *t)
{
    struct singlestep_outcome o;
    struct singlestep_verdict v;

    singlestep_machine_run(c->machine, f->cpu, t, &o);
    v = singlestep_judge(f->cpu, t, &o);
    count(c, v.agree, v.explained, v.deviations);
    if (v.explained || c->file.different > c->options.shown)
        return;
    fprintf(c->out, f->moo ? "%s: byte %zu: " : "%s:%zu: ", f->in->file, t->position);
    singlestep_explain(c->out, f->cpu, t, &o);
}

static enum status check_suite(struct checker *c, const struct input *in, struct error *err)
{
    struct singlestep_file *f = malloc(sizeof(*f));
    struct singlestep_test *t = malloc(sizeof(*t));
    struct input revoked;
    bool more = true, has_list = read_revoked(&revoked, in->file);
    enum status st = ST_OK;

    if (!f || !t)
        st = error_set(err, ST_NO_MEMORY, "%s: no memory to check it; free some.", in->file);
    if (!st && c->options.native)
        st = error_set(err, ST_UNSUPPORTED,
                       "%s: SingleStepTests run in real mode, which this host cannot; leave out "
                       "--native.",
                       in->file);
    if (!st && !c->machine)
        st = singlestep_machine_create(&c->machine, c->options.kind, err);
    if (!st) {
        st = singlestep_open(f, in, c->options.suite, err);
        while (!st && more) {
            st = singlestep_next(f, t, &more, err);
            if (!st && more && is_revoked(has_list ? &revoked : NULL, t))
                c->file.revoked++;
            else if (!st && more)
                run_test(c, f, t);
        }
        singlestep_close(f);
    }
    if (has_list)
        input_release(&revoked);
    free(f);
    free(t);
    return st;
}

/* -- files -- */

static enum status check_json(struct checker *c, const struct input *in, struct error *err)
{
    struct json_text t;
    json_t *first;
    enum status st;

    json_text_begin(&t, in);
    st = json_text_next(&t, &first, err);
    if (!st && !first)
        st = error_set(err, ST_INVALID, "%s:1: the file has no vectors; fetch it again.", in->file);
    else if (!st && singlestep_is_test(first))
        st = check_suite(c, in, err);
    else if (!st && vectors_is_header(first))
        st = check_own(c, &t, first, err);
    else if (!st)
        st = json_text_error(&t, NULL, err,
                             "this is neither the header of a vector file (lockstep_vectors) nor a "
                             "SingleStepTest; see FORMAT.md.");
    json_text_end(&t);
    return st;
}

void checker_file(struct checker *c, const char *path)
{
    struct input in;
    struct error err;
    enum status st;

    memset(&c->file, 0, sizeof(c->file));
    st = input_read(&in, path, &err);
    if (!st) {
        st = singlestep_is_moo(&in) ? check_suite(c, &in, &err) : check_json(c, &in, &err);
        input_release(&in);
    }
    if (st)
        fprintf(stderr, "lockstep: %s\n", err.text);
    fprintf(c->out, "%s: ", path);
    print_counts(c->out, &c->file);
    add_counts(&c->all, &c->file);
    c->files++;
    c->unusable += st || c->file.lacking;
}

void checker_summary(const struct checker *c)
{
    if (c->files > 1) {
        fprintf(c->out, "%llu files, %llu of them not usable: ", (unsigned long long)c->files,
                (unsigned long long)c->unusable);
        print_counts(c->out, &c->all);
    }
    for (unsigned d = 1; d < DEVIATION_COUNT; d++)
        if (c->all.deviations[d])
            fprintf(c->out, "  %-22s %8llu  %s [%s]\n", conform_deviations[d].name,
                    (unsigned long long)c->all.deviations[d], conform_deviations[d].what,
                    conform_deviations[d].source);
}
