/* SPDX-License-Identifier: MIT
 *
 * What the suites tell about flags that opcodes leave undefined: metadata.json of the 8088, 8086
 * and 80286 suites, 80386.csv of the 80386's.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/conform/singlestep.h"

/* -- metadata.json -- */

static void read_mask(const json_t *entry, u32 *mask)
{
    const json_t *value = json_object_get(entry, "flags-mask");

    if (json_is_integer(value))
        *mask = (u32)json_integer_value(value) | 0xffff0000;
}

static void read_opcode(struct singlestep_masks *m, const char *name, const json_t *entry)
{
    char *end;
    unsigned long opcode = strtoul(name, &end, 16);
    unsigned page = opcode >> 8 == 0x0f;
    const char *reg;
    json_t *group;

    if (*end || opcode > 0xfff || (opcode > 0xff && !page))
        return;
    read_mask(entry, &m->plain[page][opcode & 0xff]);
    json_object_foreach(json_object_get(entry, "reg"), reg, group)
    {
        if (reg[0] >= '0' && reg[0] <= '7' && !reg[1])
            read_mask(group, &m->group[page][opcode & 0xff][reg[0] - '0']);
    }
}

static enum status read_json(struct singlestep_masks *m, const struct input *in, struct error *err)
{
    struct json_text t;
    json_t *root, *entry;
    const char *name, *cpu;
    enum status st;

    json_text_begin(&t, in);
    st = json_text_next(&t, &root, err);
    if (!st && !json_is_object(json_object_get(root, "opcodes")))
        st = error_set(err, ST_INVALID, "%s:1: there is no object \"opcodes\"; fetch it again.",
                       in->file);
    if (!st) {
        cpu = json_string_value(json_object_get(root, "cpu"));
        m->cpu = singlestep_cpu_find(cpu ? cpu : "");
        json_object_foreach(json_object_get(root, "opcodes"), name, entry)
            read_opcode(m, name, entry);
    }
    json_text_end(&t);
    return st;
}

/* -- 80386.csv -- */

/* The column of a name in the heading, or -1. */
static int column_of(const char *line, size_t size, const char *name)
{
    int column = 0;

    for (size_t i = 0, start = 0; i <= size; i++) {
        if (i < size && line[i] != ',')
            continue;
        if (i - start == strlen(name) && !strncmp(line + start, name, i - start))
            return column;
        start = i + 1;
        column++;
    }
    return -1;
}

/* A column of a row as a number; false if it is empty. Commas in quotes do not separate. */
static bool cell(const char *line, size_t size, int column, int base, unsigned long *value)
{
    bool quoted = false;
    char *end;
    size_t i;

    for (i = 0; i < size && column > 0; i++) {
        quoted ^= line[i] == '"';
        column -= line[i] == ',' && !quoted;
    }
    if (i == size || column || line[i] == ',')
        return false;
    *value = strtoul(line + i, &end, base);
    return end > line + i && end <= line + size;
}

static enum status read_csv(struct singlestep_masks *m, const struct input *in, struct error *err)
{
    int op = -1, ex = -1, mask = -1;
    const char *next;

    for (const char *line = in->data; line && *line; line = next) {
        const char *end = strchr(line, '\n');
        size_t size = end ? (size_t)(end - line) : strlen(line);
        unsigned long opcode, reg, mask_value;

        next = end ? end + 1 : NULL;
        while (size && isspace((unsigned char)line[size - 1]))
            size--;
        if (mask < 0) {
            op = column_of(line, size, "op");
            ex = column_of(line, size, "ex");
            mask = column_of(line, size, "f_umask");
            if (op < 0 || ex < 0 || mask < 0)
                return error_set(err, ST_INVALID,
                                 "%s:1: a column op, ex or f_umask is missing; fetch it again.",
                                 in->file);
            continue;
        }
        if (!cell(line, size, op, 16, &opcode) || !cell(line, size, mask, 16, &mask_value))
            continue;
        /* The column is called a mask of undefined flags; a mask of the defined ones, as in
         * metadata.json, keeps bits 12 to 15, which no instruction leaves undefined. */
        mask_value = (mask_value & 0xf000 ? mask_value : ~mask_value) | 0xffff0000;
        if (cell(line, size, ex, 10, &reg) && reg < 8)
            m->group[opcode >> 8 == 0x0f][opcode & 0xff][reg] = (u32)mask_value;
        else
            m->plain[opcode >> 8 == 0x0f][opcode & 0xff] = (u32)mask_value;
    }
    m->cpu = SINGLESTEP_80386;
    return ST_OK;
}

/* -- finding them -- */

enum status singlestep_meta_read(struct singlestep_masks *m, const char *vector_file,
                                 struct error *err)
{
    static const char *const names[] = {"metadata.json", "8088.json",  "8086.json",
                                        "80286.json",    "80386.json", "80386.csv"};
    const char *slash = strrchr(vector_file, '/');
    int folder = slash ? (int)(slash - vector_file + 1) : 0;
    char path[4096];
    struct input in;
    enum status st;

    m->cpu = SINGLESTEP_CPUS;
    memset(m->plain, 0xff, sizeof(m->plain));
    memset(m->group, 0xff, sizeof(m->group));
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(names); i++) {
        const char *name = names[i % ARRAY_SIZE(names)];

        snprintf(path, sizeof(path), "%.*s%s%s", folder, vector_file,
                 i < ARRAY_SIZE(names) ? "" : "../", name);
        if (access(path, F_OK))
            continue;
        st = input_read(&in, path, err);
        if (st)
            return st;
        st = strstr(name, ".csv") ? read_csv(m, &in, err) : read_json(m, &in, err);
        input_release(&in);
        return st;
    }
    return ST_OK;
}

u32 singlestep_meta_mask(const struct singlestep_masks *m, const u8 *bytes, unsigned count)
{
    unsigned i = 0, page = 0, opcode;

    /* Prefixes: segment overrides, operand and address size, LOCK and its alias, REP. */
    while (i < count && ((bytes[i] & 0xe7) == 0x26 || (bytes[i] >= 0xf0 && bytes[i] <= 0xf3) ||
                         (m->cpu == SINGLESTEP_80386 && bytes[i] >= 0x64 && bytes[i] <= 0x67)))
        i++;
    if (i < count && bytes[i] == 0x0f && m->cpu != SINGLESTEP_8086) {
        page = 1;
        i++;
    }
    if (i == count)
        return UINT32_MAX;
    opcode = bytes[i];
    return m->plain[page][opcode] &
           (i + 1 < count ? m->group[page][opcode][bytes[i + 1] >> 3 & 7] : UINT32_MAX);
}
