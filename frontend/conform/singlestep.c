/* SPDX-License-Identifier: MIT */
#include "frontend/conform/singlestep.h"

#include <string.h>
#include <strings.h>

const char *singlestep_cpu_name(enum singlestep_cpu cpu)
{
    static const char *const names[SINGLESTEP_CPUS] = {"8086", "80286", "80386"};

    return names[cpu];
}

enum singlestep_cpu singlestep_cpu_find(const char *name)
{
    static const struct {
        const char *name;
        enum singlestep_cpu cpu;
    } known[] = {
        {"8086", SINGLESTEP_8086},   {"8088", SINGLESTEP_8086},    {"80286", SINGLESTEP_80286},
        {"286", SINGLESTEP_80286},   {"c286", SINGLESTEP_80286},   {"i286", SINGLESTEP_80286},
        {"80386", SINGLESTEP_80386}, {"386", SINGLESTEP_80386},    {"386e", SINGLESTEP_80386},
        {"386ex", SINGLESTEP_80386}, {"80c286", SINGLESTEP_80286},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (!strcasecmp(known[i].name, name))
            return known[i].cpu;
    return SINGLESTEP_CPUS;
}

bool singlestep_is_moo(const struct input *in)
{
    return in->size >= 4 && !memcmp(in->data, "MOO ", 4);
}

bool singlestep_is_test(const json_t *object)
{
    return json_object_get(object, "initial") && json_object_get(object, "final");
}

enum status singlestep_open(struct singlestep_file *f, const struct input *in,
                            enum singlestep_cpu cpu, struct error *err)
{
    enum status st;

    memset(f, 0, sizeof(*f));
    f->in = in;
    f->moo = singlestep_is_moo(in);
    memset(f->file_mask, 0xff, sizeof(f->file_mask));
    json_text_begin(&f->json, in);
    st = singlestep_meta_read(&f->masks, in->file, err);
    f->cpu = cpu != SINGLESTEP_CPUS ? cpu : f->masks.cpu;
    if (!st && f->moo)
        st = singlestep_moo_open(f, err);
    return st;
}

void singlestep_close(struct singlestep_file *f)
{
    json_text_end(&f->json);
}

/* The 386's tests name 32-bit registers; bits 12-15 of the flags are ones on an 8086 only. */
static enum singlestep_cpu guess(const struct singlestep_test *t)
{
    if (t->initial.present >> SSR_CR0 & 1)
        return SINGLESTEP_80386;
    return (t->initial.value[SSR_EFLAGS] & 0xf000) == 0xf000 ? SINGLESTEP_8086 : SINGLESTEP_80286;
}

enum status singlestep_next(struct singlestep_file *f, struct singlestep_test *t, bool *more,
                            struct error *err)
{
    json_t *object = NULL;
    enum status st;

    memset(t, 0, offsetof(struct singlestep_test, initial));
    t->initial.present = t->initial.ram_count = 0;
    t->final.present = t->final.ram_count = 0;
    t->has_exception = t->has_hash = false;
    memcpy(t->mask, f->file_mask, sizeof(t->mask));
    if (f->moo) {
        st = singlestep_moo_next(f, t, more, err);
    } else {
        st = json_text_next(&f->json, &object, err);
        *more = object;
        if (!st && object)
            st = singlestep_json_parse(&f->json, object, t, err);
    }
    if (st || !*more)
        return st;
    if (f->cpu == SINGLESTEP_CPUS)
        f->cpu = guess(t);
    t->mask[SSR_EFLAGS] &= singlestep_meta_mask(&f->masks, t->bytes, t->byte_count);
    return ST_OK;
}
