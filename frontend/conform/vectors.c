/* SPDX-License-Identifier: MIT */
#include "frontend/conform/vectors.h"

#include <string.h>

#include "cpu/insn.h"
#include "cpu/regs.h"

/* -- registers -- */

/* clang-format off */
#define AT(field) offsetof(struct conform_state, field)
#define GPR(n, r) {r, AT(gpr) + 8 * (n), 8}
#define SELECTOR(n, r) {r, AT(selector) + 2 * (n), 2}
#define X87(r, at, size) {r, AT(x87) + (at), size}
#define ST(n) {"st" #n, AT(x87) + 32 + 16 * (n), 10}
#define K(n) {"k" #n, AT(k) + 8 * (n), 8}
#define ZMM(n) {"zmm" #n, AT(zmm) + 64 * (n), 64}
static const struct vector_register registers[] = {
    GPR(0, "rax"), GPR(3, "rbx"), GPR(1, "rcx"), GPR(2, "rdx"), GPR(6, "rsi"), GPR(7, "rdi"),
    GPR(5, "rbp"), GPR(4, "rsp"), GPR(8, "r8"), GPR(9, "r9"), GPR(10, "r10"), GPR(11, "r11"),
    GPR(12, "r12"), GPR(13, "r13"), GPR(14, "r14"), GPR(15, "r15"),
    {"rip", AT(rip), 8}, {"rflags", AT(rflags), 8},
    SELECTOR(0, "es"), SELECTOR(1, "cs"), SELECTOR(2, "ss"), SELECTOR(3, "ds"), SELECTOR(4, "fs"),
    SELECTOR(5, "gs"), {"fs_base", AT(fs_base), 8}, {"gs_base", AT(gs_base), 8},
    {"pkru", AT(pkru), 4},
    X87("fcw", 0, 2), X87("fsw", 2, 2), X87("ftw", 4, 1), X87("fop", 6, 2), X87("fip", 8, 8),
    X87("fdp", 16, 8), ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
    {"mxcsr", AT(mxcsr), 4},
    K(0), K(1), K(2), K(3), K(4), K(5), K(6), K(7),
    ZMM(0), ZMM(1), ZMM(2), ZMM(3), ZMM(4), ZMM(5), ZMM(6), ZMM(7), ZMM(8), ZMM(9), ZMM(10),
    ZMM(11), ZMM(12), ZMM(13), ZMM(14), ZMM(15), ZMM(16), ZMM(17), ZMM(18), ZMM(19), ZMM(20),
    ZMM(21), ZMM(22), ZMM(23), ZMM(24), ZMM(25), ZMM(26), ZMM(27), ZMM(28), ZMM(29), ZMM(30),
    ZMM(31),
};
/* clang-format on */

const struct vector_register *vector_register(unsigned index)
{
    return index < ARRAY_SIZE(registers) ? &registers[index] : NULL;
}

const struct vector_register *vector_register_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
        if (!strcmp(registers[i].name, name))
            return &registers[i];
    return NULL;
}

void vectors_default_state(struct conform_state *s, enum conform_mode mode, u32 code_address)
{
    static const u16 selectors[CONFORM_MODES][CONFORM_SEGMENTS] = {
        [MODE_64] = {0, SEL_CS64, SEL_FLAT, 0, 0, 0},
        [MODE_32] = {SEL_FLAT, SEL_CS32, SEL_FLAT, SEL_FLAT, 0, 0},
        [MODE_16] = {SEL_DATA16, SEL_CODE16, SEL_STACK16, SEL_DATA16, 0, 0},
    };

    memset(s, 0, sizeof(*s));
    s->rip = mode == MODE_16 ? code_address - ARENA_CODE : code_address;
    s->rflags = F_IF | F_1;
    s->mxcsr = 0x1f80;
    s->x87[0] = 0x7f;
    s->x87[1] = 0x03;
    memcpy(s->selector, selectors[mode], sizeof(s->selector));
}

/* -- memory -- */

static bool in_code(u32 address)
{
    return address - ARENA_CODE < ARENA_CODE_SIZE;
}

static bool in_arena(u32 address)
{
    return in_code(address) || address - ARENA_DATA < ARENA_DATA_SIZE ||
           address - ARENA_RO < ARENA_RO_SIZE || address - ARENA_STACK < ARENA_STACK_SIZE;
}

u8 vectors_start_byte(const struct conform_case *c, u32 address)
{
    if (in_code(address))
        return address - c->code_address < c->code_size ? c->code[address - c->code_address] : 0xcc;
    /* Later patches win over earlier ones. */
    for (unsigned i = c->patch_count; i--;)
        if (address - c->patch[i].address < c->patch[i].size)
            return c->patch[i].bytes[address - c->patch[i].address];
    return conform_arena_byte(address);
}

/* -- reading: numbers -- */

static int digit(char ch)
{
    const char *found = ch ? strchr("0123456789abcdef", ch | 0x20) : NULL;

    return found ? (int)(found - "0123456789abcdef") : -1;
}

/* Hexadecimal digits, most significant first, '_' between them ignored. */
static bool parse_hex(const char *text, u8 *bytes, unsigned size)
{
    unsigned place = 0;

    memset(bytes, 0, size);
    if (!*text)
        return false;
    for (const char *p = text + strlen(text); p-- > text;) {
        int d = digit(*p);

        if (*p == '_')
            continue;
        if (d < 0 || (d && place >= 2 * size))
            return false;
        if (place < 2 * size)
            bytes[place / 2] |= (u8)(d << (place % 2 ? 4 : 0));
        place++;
    }
    return place > 0;
}

static bool parse_bytes(const char *text, u8 *bytes, unsigned max, u32 *size)
{
    for (*size = 0; text[0]; text += 2, ++*size) {
        int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);

        if (low < 0 || *size >= max)
            return false;
        bytes[*size] = (u8)(high << 4 | low);
    }
    return true;
}

/* A field of an object: a string of hexadecimal digits of at most size bytes. */
static enum status hex_field(const struct json_text *t, const json_t *object, const char *key,
                             void *value, unsigned size, struct error *err)
{
    const json_t *text = json_object_get(object, key);

    if (!text)
        return ST_OK;
    if (!json_is_string(text) || !parse_hex(json_string_value(text), value, size))
        return json_text_error(t, key, err,
                               "\"%s\" must be a string of at most %u hexadecimal digits.", key,
                               2 * size);
    return ST_OK;
}

static enum status object_field(const struct json_text *t, const json_t *object, const char *key,
                                const json_t **field, struct error *err)
{
    *field = json_object_get(object, key);
    if (*field && !json_is_object(*field))
        return json_text_error(t, key, err, "\"%s\" must be an object.", key);
    return ST_OK;
}

/* -- reading: parts of a vector -- */

static enum status read_registers(const struct json_text *t, const json_t *object, const char *key,
                                  struct conform_state *s, struct error *err)
{
    const char *name;
    const json_t *list;
    json_t *value;
    enum status st = object_field(t, object, key, &list, err);

    if (st)
        return st;
    if (!list)
        return json_text_error(t, NULL, err, "the vector has no \"%s\"; add its registers.", key);
    json_object_foreach((json_t *)list, name, value)
    {
        const struct vector_register *r = vector_register_find(name);

        if (!r)
            return json_text_error(
                t, name, err, "\"%.40s\" is no register; see FORMAT.md for those there are.", name);
        st = hex_field(t, list, name, (u8 *)s + r->offset, r->size, err);
        if (st)
            return st;
    }
    return ST_OK;
}

/* One ["ADDRESS", "BYTES"] of a list; all its bytes lie in the arena. */
static enum status read_run(const struct json_text *t, const char *key, const json_t *run,
                            struct conform_patch *p, struct error *err)
{
    const char *where = json_string_value(json_array_get(run, 0));
    const char *bytes = json_string_value(json_array_get(run, 1));
    u8 address[4];

    if (json_array_size(run) != 2 || !where || !bytes || !parse_hex(where, address, 4) ||
        !parse_bytes(bytes, p->bytes, CASE_PATCH_BYTES, &p->size))
        return json_text_error(t, key, err,
                               "\"%s\" must be a list of [\"ADDRESS\", \"BYTES\"], hexadecimal, "
                               "each of at most %d bytes.",
                               key, CASE_PATCH_BYTES);
    memcpy(&p->address, address, 4);
    /* A patch may run over the end of its area; what memory became lies inside. */
    for (u32 i = 0; i < (strcmp(key, "memory") ? p->size : 1); i++)
        if (!in_arena(p->address + i))
            return json_text_error(t, key, err,
                                   "\"%s\" has the byte at %x, which is outside the arena; see "
                                   "FORMAT.md for its addresses.",
                                   key, p->address + i);
    return ST_OK;
}

static enum status read_patches(const struct json_text *t, const json_t *object,
                                struct conform_case *c, struct error *err)
{
    const json_t *list = json_object_get(object, "memory");
    enum status st;

    if (!list)
        return ST_OK;
    if (!json_is_array(list) || json_array_size(list) > CASE_PATCHES_MAX)
        return json_text_error(t, "memory", err, "\"memory\" must be a list of at most %d places.",
                               CASE_PATCHES_MAX);
    for (c->patch_count = 0; c->patch_count < json_array_size(list); c->patch_count++) {
        struct conform_patch *p = &c->patch[c->patch_count];

        st = read_run(t, "memory", json_array_get(list, c->patch_count), p, err);
        if (st)
            return st;
        if (in_code(p->address))
            return json_text_error(t, "memory", err,
                                   "\"memory\" has bytes in the code pages; write them in "
                                   "\"code\".");
    }
    return ST_OK;
}

/* The line of an address, filled with what the case starts with when it is new; NULL when lines run
 * out. Lines come in ascending order. */
static struct conform_line *line_of(const struct conform_case *c, struct conform_outcome *o,
                                    u32 address)
{
    struct conform_line *last = o->line_count ? &o->line[o->line_count - 1] : NULL;
    u32 start = address & ~63u;

    if (last && last->address == start)
        return last;
    if (o->line_count == OUTCOME_LINES_MAX || (last && last->address > start))
        return NULL;
    last = &o->line[o->line_count++];
    last->address = start;
    for (unsigned i = 0; i < 64; i++)
        last->bytes[i] = vectors_start_byte(c, start + i);
    return last;
}

static enum status read_changes(const struct json_text *t, const json_t *object,
                                struct conform_vector *v, struct error *err)
{
    const json_t *list = json_object_get(object, "changed");
    const json_t *more = json_object_get(object, "more_changed");
    struct conform_patch run;
    enum status st;

    if (list && !json_is_array(list))
        return json_text_error(t, "changed", err, "\"changed\" must be a list.");
    for (unsigned n = 0; n < json_array_size(list); n++) {
        st = read_run(t, "changed", json_array_get(list, n), &run, err);
        if (st)
            return st;
        for (u32 i = 0; i < run.size; i++) {
            struct conform_line *l = line_of(&v->c, &v->o, run.address + i);

            if (!l)
                return json_text_error(t, "changed", err,
                                       "\"changed\" must be in ascending order, on at most %d "
                                       "lines of 64 bytes.",
                                       OUTCOME_LINES_MAX);
            l->bytes[(run.address + i) & 63] = run.bytes[i];
        }
    }
    if (more && !json_is_true(more))
        return json_text_error(t, "more_changed", err, "\"more_changed\" must be true or absent.");
    if (more)
        v->o.line_count = OUTCOME_LINES_MAX + 1;
    return ST_OK;
}

const char *vectors_end_name(u8 vector)
{
    return vector == OUTCOME_NONE ? "timeout" : vector == OUTCOME_LOST ? "lost" : "syscall";
}

static enum status read_end(const struct json_text *t, const json_t *object,
                            struct conform_outcome *o, struct error *err)
{
    static const char *const keys[] = {"vector", "error", "cr2", NULL};
    const json_t *end = json_object_get(object, "end"), *exception;
    const char *name = json_string_value(end);
    u64 vector = OUTCOME_NONE;
    enum status st = object_field(t, object, "exception", &exception, err);

    if (st)
        return st;
    o->vector = 3;
    if (end) {
        o->vector = OUTCOME_NONE;
        while (o->vector >= OUTCOME_SYSCALL && (!name || strcmp(name, vectors_end_name(o->vector))))
            o->vector--;
        if (o->vector < OUTCOME_SYSCALL || exception)
            return json_text_error(t, "end", err,
                                   "\"end\" must be \"timeout\", \"lost\" or \"syscall\", in a "
                                   "vector without \"exception\".");
    }
    if (!exception)
        return ST_OK;
    if ((st = json_text_known(t, exception, "an exception", keys, err)) ||
        (st = json_text_number(t, exception, "vector", 31, &vector, err)) ||
        (st = hex_field(t, exception, "error", &o->error_code, 4, err)) ||
        (st = hex_field(t, exception, "cr2", &o->cr2, 8, err)))
        return st;
    if (vector == OUTCOME_NONE)
        return json_text_error(t, "exception", err, "\"exception\" needs its \"vector\".");
    o->vector = (u8)vector;
    return ST_OK;
}

static enum status read_undefined(const struct json_text *t, const json_t *object, u32 *flags,
                                  struct error *err)
{
    static const char names[] = "cf..pf..af..zfsftfifdfof";
    const json_t *field = json_object_get(object, "undefined");
    const char *text = json_string_value(field), *found;

    if (!field)
        return ST_OK;
    if (!text)
        return json_text_error(t, "undefined", err, "\"undefined\" must be a string of flags.");
    while (*text) {
        char name[3] = {text[0], text[1], 0};

        found = strlen(name) == 2 && name[0] != '.' ? strstr(names, name) : NULL;
        if (!found || (found - names) % 2 || (text[2] && text[2] != ' '))
            return json_text_error(t, "undefined", err,
                                   "\"undefined\" has \"%.10s\", which is no flag; flags are cf pf "
                                   "af zf sf tf if df of.",
                                   text);
        *flags |= 1u << (found - names) / 2;
        text += text[2] ? 3 : 2;
    }
    return ST_OK;
}

/* -- reading: the instruction -- */

static enum status read_row(const struct json_text *t, const json_t *object, struct conform_case *c,
                            struct error *err)
{
    const json_t *field = json_object_get(object, "row");
    const char *name = json_string_value(field);
    u64 length = 0;
    enum status st = json_text_number(t, object, "length", 15, &length, err);

    if (st)
        return st;
    c->insn_length = (u8)length;
    if (!field)
        return ST_OK;
    for (unsigned id = 1; name && id < INSN_COUNT; id++)
        if (!strcmp(insn_rows[id].name, name))
            c->row = (u16)id;
    if (!c->row)
        return json_text_error(t, "row", err,
                               "\"row\" must be the name of a row of cpu/insn.def; %.40s is none.",
                               name ? name : "this");
    if (!c->insn_length && c->code_size <= 15)
        c->insn_length = (u8)c->code_size;
    return ST_OK;
}

static enum status read_code(const struct json_text *t, const json_t *object,
                             struct conform_case *c, struct error *err)
{
    const char *code = json_string_value(json_object_get(object, "code"));
    u64 mode = 0;
    enum status st;

    if ((st = json_text_number(t, object, "mode", 64, &mode, err)) ||
        (st = hex_field(t, object, "at", &c->code_address, 4, err)) ||
        (st = hex_field(t, object, "seed", &c->seed, 8, err)) ||
        (st = hex_field(t, object, "xcr0", &c->xcr0, 8, err)))
        return st;
    if (mode != 16 && mode != 32 && mode != 64)
        return json_text_error(t, "mode", err, "\"mode\" must be 16, 32 or 64.");
    c->mode = mode == 64 ? MODE_64 : mode == 32 ? MODE_32 : MODE_16;
    if (!code || !parse_bytes(code, c->code, CASE_CODE_MAX, &c->code_size) || !c->code_size)
        return json_text_error(t, "code", err,
                               "\"code\" must be a string of 1 to %d bytes, two hexadecimal digits "
                               "each.",
                               CASE_CODE_MAX);
    if (!in_code(c->code_address) || !in_code(c->code_address + c->code_size - 1))
        return json_text_error(t, "at", err,
                               "\"at\" must be where the code lies in the code pages, %x to %x.",
                               ARENA_CODE, ARENA_CODE + ARENA_CODE_SIZE - 1);
    return ST_OK;
}

/* -- reading: the whole -- */

bool vectors_is_header(const json_t *object)
{
    return json_object_get(object, "lockstep_vectors");
}

enum status vectors_check_header(const struct json_text *t, const json_t *object, struct error *err)
{
    static const char *const keys[] = {"lockstep_vectors", "host", NULL};
    u64 version = 0;
    enum status st;

    if ((st = json_text_known(t, object, "the header", keys, err)) ||
        (st = json_text_number(t, object, "lockstep_vectors", INT64_MAX, &version, err)))
        return st;
    if (version != VECTORS_VERSION)
        return json_text_error(t, "lockstep_vectors", err,
                               "vectors of version %llu are not known; this program reads version "
                               "%d.",
                               (unsigned long long)version, VECTORS_VERSION);
    return ST_OK;
}

enum status vectors_parse(const struct json_text *t, const json_t *object, struct conform_vector *v,
                          struct error *err)
{
    static const char *const keys[] = {
        "text", "row",    "mode", "at",      "code",      "length", "undefined",    "seed", "xcr0",
        "in",   "memory", "out",  "changed", "exception", "end",    "more_changed", NULL};
    struct conform_case *c = &v->c;
    enum status st;

    memset(c, 0, sizeof(*c));
    memset(&v->o, 0, offsetof(struct conform_outcome, line));
    v->line = t->item_line;
    if ((st = json_text_known(t, object, "a vector", keys, err)) ||
        (st = read_code(t, object, c, err)) || (st = read_row(t, object, c, err)) ||
        (st = read_undefined(t, object, &c->undefined_flags, err)))
        return st;
    vectors_default_state(&c->in, c->mode, c->code_address);
    if ((st = read_registers(t, object, "in", &c->in, err)) ||
        (st = read_patches(t, object, c, err)))
        return st;
    v->o.out = c->in;
    if ((st = read_registers(t, object, "out", &v->o.out, err)) ||
        (st = read_changes(t, object, v, err)))
        return st;
    return read_end(t, object, &v->o, err);
}
