/* SPDX-License-Identifier: MIT
 *
 * The MOO form, versions 1.0 and 1.1: nested chunks of a four-letter type, a 32-bit length and that
 * many bytes, all numbers little-endian. Unknown chunks are passed over, as its document asks.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "frontend/conform/singlestep.h"

/* A stretch of the file: one chunk's payload, or the whole file. */
struct span {
    const struct input *in;
    size_t at, end;
};

struct chunk {
    char type[5];
    size_t start; /* of the chunk, for messages */
    struct span body;
};

static enum status moo_error(const struct input *in, size_t offset, struct error *err,
                             const char *format, ...) PRINTF(4, 5);

static enum status moo_error(const struct input *in, size_t offset, struct error *err,
                             const char *format, ...)
{
    char text[300];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(err, ST_INVALID, "%s: byte %zu: %s", in->file, offset, text);
}

static size_t left(const struct span *s)
{
    return s->end - s->at;
}

static u64 take(struct span *s, unsigned size)
{
    u64 value = 0;

    memcpy(&value, s->in->data + s->at, size);
    s->at += size;
    return value;
}

static enum status next_chunk(struct span *s, struct chunk *c, struct error *err)
{
    u32 length;

    c->start = s->at;
    if (left(s) < 8)
        return moo_error(s->in, s->at, err,
                         "%zu bytes are no chunk header of 8 bytes; the file is truncated.",
                         left(s));
    memcpy(c->type, s->in->data + s->at, 4);
    c->type[4] = 0;
    s->at += 4;
    length = (u32)take(s, 4);
    for (unsigned i = 0; i < 4; i++)
        if (c->type[i] < ' ' || c->type[i] > '~')
            return moo_error(s->in, c->start, err,
                             "this is not the beginning of a chunk; the file is broken.");
    if (length > left(s))
        return moo_error(s->in, c->start, err,
                         "chunk \"%s\" of %u bytes has only %zu; the file is truncated.", c->type,
                         length, left(s));
    c->body = (struct span){.in = s->in, .at = s->at, .end = s->at + length};
    s->at += length;
    return ST_OK;
}

static enum status short_chunk(const struct chunk *c, struct error *err)
{
    return moo_error(c->body.in, c->start, err,
                     "chunk \"%s\" is shorter than its contents; the file is broken.", c->type);
}

/* -- contents -- */

/* REGS and RMSK: bit 0 is AX. RG32 and RM32: as enum singlestep_register. */
static enum status read_registers(struct chunk *c, u32 *present, u32 value[SSR_COUNT],
                                  struct error *err)
{
    static const u8 order16[] = {SSR_EAX, SSR_EBX, SSR_ECX, SSR_EDX, SSR_CS,  SSR_SS,  SSR_DS,
                                 SSR_ES,  SSR_ESP, SSR_EBP, SSR_ESI, SSR_EDI, SSR_EIP, SSR_EFLAGS};
    unsigned size = c->type[3] == '2' ? 4 : 2, count = size == 4 ? SSR_COUNT : ARRAY_SIZE(order16);
    u32 bits;

    if (left(&c->body) < size)
        return short_chunk(c, err);
    bits = (u32)take(&c->body, size);
    if (bits >> count)
        return moo_error(c->body.in, c->start, err,
                         "chunk \"%s\" names register %d, but there are %u; the file is broken.",
                         c->type, 31 - __builtin_clz(bits), count);
    for (unsigned i = 0; i < count; i++) {
        unsigned index = size == 4 ? i : order16[i];

        if (!(bits >> i & 1))
            continue;
        if (left(&c->body) < size)
            return short_chunk(c, err);
        value[index] = (u32)take(&c->body, size);
        *present |= 1u << index;
    }
    return ST_OK;
}

/* Masks of 16-bit registers say nothing of the upper halves. */
static enum status read_masks(struct chunk *c, u32 mask[SSR_COUNT], struct error *err)
{
    u32 present = 0, value[SSR_COUNT];
    enum status st = read_registers(c, &present, value, err);

    for (unsigned i = 0; !st && i < SSR_COUNT; i++)
        if (present >> i & 1)
            mask[i] &= c->type[3] == '2' ? value[i] : value[i] | 0xffff0000;
    return st;
}

static enum status read_ram(struct chunk *c, struct singlestep_state *s, struct error *err)
{
    u32 count;

    if (left(&c->body) < 4)
        return short_chunk(c, err);
    count = (u32)take(&c->body, 4);
    if (count > SINGLESTEP_RAM_MAX)
        return moo_error(c->body.in, c->start, err,
                         "chunk \"RAM \" has %u entries, more than %d; the file is broken.", count,
                         SINGLESTEP_RAM_MAX);
    if (left(&c->body) / 5 < count)
        return short_chunk(c, err);
    for (s->ram_count = 0; s->ram_count < count; s->ram_count++) {
        s->ram[s->ram_count].address = (u32)take(&c->body, 4);
        s->ram[s->ram_count].value = (u8)take(&c->body, 1);
    }
    return ST_OK;
}

static enum status read_state(struct chunk *state, struct singlestep_state *s, u32 mask[SSR_COUNT],
                              struct error *err)
{
    enum status st = ST_OK;
    struct chunk c;

    while (!st && left(&state->body)) {
        st = next_chunk(&state->body, &c, err);
        if (st)
            break;
        if (!strcmp(c.type, "REGS") || !strcmp(c.type, "RG32"))
            st = read_registers(&c, &s->present, s->value, err);
        else if (!strcmp(c.type, "RMSK") || !strcmp(c.type, "RM32"))
            st = read_masks(&c, mask, err);
        else if (!strcmp(c.type, "RAM "))
            st = read_ram(&c, s, err);
    }
    return st;
}

/* NAME and BYTS repeat their length. */
static enum status read_counted(struct chunk *c, void *to, u32 max, u32 *size, struct error *err)
{
    if (left(&c->body) < 4)
        return short_chunk(c, err);
    *size = (u32)take(&c->body, 4);
    if (*size > left(&c->body))
        return short_chunk(c, err);
    if (*size > max)
        return moo_error(c->body.in, c->start, err,
                         "chunk \"%s\" has %u bytes, more than %u; the file is broken.", c->type,
                         *size, max);
    memcpy(to, c->body.in->data + c->body.at, *size);
    return ST_OK;
}

static enum status read_part(struct chunk *c, struct singlestep_test *t, struct error *err)
{
    u32 size;
    enum status st;

    if (!strcmp(c->type, "NAME")) {
        st = read_counted(c, t->name, sizeof(t->name) - 1, &size, err);
        if (!st)
            t->name[size] = 0;
        return st;
    }
    if (!strcmp(c->type, "BYTS"))
        return read_counted(c, t->bytes, sizeof(t->bytes), &t->byte_count, err);
    if (!strcmp(c->type, "INIT"))
        return read_state(c, &t->initial, t->mask, err);
    if (!strcmp(c->type, "FINA"))
        return read_state(c, &t->final, t->mask, err);
    if (!strcmp(c->type, "EXCP")) {
        if (left(&c->body) < 5)
            return short_chunk(c, err);
        t->has_exception = true;
        t->exception = (u8)take(&c->body, 1);
        t->flag_address = (u32)take(&c->body, 4);
    }
    if (!strcmp(c->type, "HASH")) {
        if (left(&c->body) < sizeof(t->hash))
            return short_chunk(c, err);
        t->has_hash = true;
        memcpy(t->hash, c->body.in->data + c->body.at, sizeof(t->hash));
    }
    return ST_OK;
}

static enum status read_test(struct chunk *test, struct singlestep_test *t, struct error *err)
{
    struct chunk c;
    enum status st;

    t->position = test->start;
    if (left(&test->body) < 4)
        return short_chunk(test, err);
    t->index = (u32)take(&test->body, 4);
    while (left(&test->body)) {
        if ((st = next_chunk(&test->body, &c, err)) || (st = read_part(&c, t, err)))
            return st;
    }
    if (!t->byte_count || !(t->initial.present >> SSR_EIP & 1))
        return moo_error(test->body.in, test->start, err, "test %u has no %s; the file is broken.",
                         t->index, t->byte_count ? "initial registers" : "instruction bytes");
    return ST_OK;
}

/* -- the file -- */

enum status singlestep_moo_open(struct singlestep_file *f, struct error *err)
{
    struct span all = {.in = f->in, .at = 0, .end = f->in->size};
    char cpu[5] = "";
    struct chunk c;
    unsigned major;
    enum status st = next_chunk(&all, &c, err);

    if (st)
        return st;
    f->at = all.at;
    if (left(&c.body) < 12)
        return short_chunk(&c, err);
    major = (u8)take(&c.body, 1);
    if (major != 1)
        return moo_error(f->in, c.start, err,
                         "MOO files of version %u are not known; this program reads version 1.",
                         major);
    c.body.at += 3;
    f->announced = (u32)take(&c.body, 4);
    memcpy(cpu, f->in->data + c.body.at, 4);
    for (unsigned i = 4; i-- && cpu[i] == ' ';)
        cpu[i] = 0;
    if (f->cpu == SINGLESTEP_CPUS)
        f->cpu = singlestep_cpu_find(cpu);
    if (f->cpu == SINGLESTEP_CPUS)
        return moo_error(f->in, c.start, err,
                         "tests of the processor \"%s\" are not known; take those of 8086, 8088, "
                         "80286 and 80386.",
                         cpu);
    return ST_OK;
}

enum status singlestep_moo_next(struct singlestep_file *f, struct singlestep_test *t, bool *more,
                                struct error *err)
{
    struct span rest = {.in = f->in, .at = f->at, .end = f->in->size};
    enum status st = ST_OK;
    struct chunk c;

    for (*more = false; !st && !*more && left(&rest); f->at = rest.at) {
        st = next_chunk(&rest, &c, err);
        if (st)
            break;
        if (!strcmp(c.type, "RMSK") || !strcmp(c.type, "RM32")) {
            st = read_masks(&c, f->file_mask, err);
            memcpy(t->mask, f->file_mask, sizeof(t->mask));
        }
        if (!strcmp(c.type, "TEST")) {
            st = read_test(&c, t, err);
            *more = true;
            f->seen++;
        }
    }
    if (!st && !*more && f->seen < f->announced)
        return moo_error(f->in, f->in->size, err,
                         "the file ends after %u of %u tests; it is truncated.", f->seen,
                         f->announced);
    return st;
}
