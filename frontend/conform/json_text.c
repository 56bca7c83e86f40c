/* SPDX-License-Identifier: MIT */
#include "frontend/conform/json_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void json_text_begin(struct json_text *t, const struct input *in)
{
    *t = (struct json_text){.in = in, .line = 1};
}

void json_text_end(struct json_text *t)
{
    if (t->root)
        json_decref(t->root);
    t->root = NULL;
}

static enum status fail_at(const struct json_text *t, unsigned line, struct error *err,
                           const char *what)
{
    return error_set(err, ST_INVALID, "%s:%u: %s", t->in->file, line, what);
}

static int peek(const struct json_text *t)
{
    return t->at < t->in->size ? (unsigned char)t->in->data[t->at] : EOF;
}

static void skip_space(struct json_text *t)
{
    for (; isspace(peek(t)); t->at++)
        t->line += peek(t) == '\n';
}

/* Passes the brackets and commas of the array, up to the first byte of an item or the end. */
static enum status find_item(struct json_text *t, struct error *err)
{
    skip_space(t);
    if (!t->count && !t->array && peek(t) == '[') {
        t->array = true;
        t->at++;
        skip_space(t);
    }
    if (t->array && t->count && !t->ended && peek(t) == ',') {
        t->comma = true;
        t->at++;
        skip_space(t);
    }
    if (t->array && !t->ended && peek(t) == ']') {
        if (t->comma)
            return fail_at(t, t->line, err, "a comma is followed by no value; remove it.");
        t->ended = true;
        t->at++;
        skip_space(t);
    }
    if (peek(t) == EOF)
        return t->array && !t->ended
                   ? fail_at(t, t->line, err, "the array is not closed; the file is truncated.")
                   : ST_OK;
    if (t->ended || (t->array && t->count && !t->comma))
        return fail_at(t, t->line, err,
                       t->ended ? "there is text behind the end of the array; remove it."
                                : "a comma is missing between two values; insert it.");
    if (peek(t) != '{')
        return fail_at(t, t->line, err,
                       "this is not the beginning of an object ({); it is no vector file.");
    return ST_OK;
}

/* Passes one object by its brackets, strings apart. */
static enum status take_object(struct json_text *t, struct error *err)
{
    unsigned depth = 0, line = t->line;
    bool string = false;
    int ch;

    t->item = t->in->data + t->at;
    t->item_line = line;
    for (; (ch = peek(t)) != EOF; t->at++) {
        if (ch == '\n')
            t->line++;
        if (string && ch == '\\' && t->at + 1 < t->in->size)
            t->at++;
        else if (ch == '"')
            string = !string;
        else if (!string && (ch == '{' || ch == '['))
            depth++;
        else if (!string && (ch == '}' || ch == ']') && !--depth)
            break;
    }
    if (ch == EOF)
        return fail_at(t, line, err,
                       "the object that begins here has no end; the file is truncated.");
    t->at++;
    t->item_size = (size_t)(t->in->data + t->at - t->item);
    return ST_OK;
}

enum status json_text_next(struct json_text *t, json_t **item, struct error *err)
{
    json_error_t cause;
    enum status st;

    json_text_end(t);
    *item = NULL;
    st = find_item(t, err);
    if (st || peek(t) == EOF)
        return st;
    st = take_object(t, err);
    if (st)
        return st;
    t->root = json_loadb(t->item, t->item_size, JSON_REJECT_DUPLICATES, &cause);
    if (!t->root)
        return error_set(err, ST_INVALID, "%s:%u:%d: %s; correct the JSON.", t->in->file,
                         t->item_line + (unsigned)cause.line - 1, cause.column, cause.text);
    t->comma = false;
    t->count++;
    *item = t->root;
    return ST_OK;
}

static unsigned key_line(const struct json_text *t, const char *key)
{
    char quoted[64];
    const char *found;
    unsigned line = t->item_line;

    if (!key || strlen(key) > sizeof(quoted) - 3)
        return line;
    snprintf(quoted, sizeof(quoted), "\"%s\"", key);
    found = memmem(t->item, t->item_size, quoted, strlen(quoted));
    for (const char *p = t->item; found && p < found; p++)
        line += *p == '\n';
    return line;
}

enum status json_text_error(const struct json_text *t, const char *key, struct error *err,
                            const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return fail_at(t, key_line(t, key), err, text);
}

enum status json_text_known(const struct json_text *t, const json_t *object, const char *where,
                            const char *const *keys, struct error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        const char *const *k = keys;

        while (*k && strcmp(*k, key))
            k++;
        if (!*k)
            return json_text_error(t, key, err,
                                   "\"%.40s\" is no field of %s; see FORMAT.md for those there "
                                   "are.",
                                   key, where);
    }
    return ST_OK;
}

enum status json_text_number(const struct json_text *t, const json_t *object, const char *key,
                             u64 max, u64 *value, struct error *err)
{
    const json_t *n = json_object_get(object, key);

    if (!n)
        return ST_OK;
    if (!json_is_integer(n) || json_integer_value(n) < 0 || (u64)json_integer_value(n) > max)
        return json_text_error(t, key, err, "\"%s\" must be a number from 0 to %llu.", key,
                               (unsigned long long)max);
    *value = (u64)json_integer_value(n);
    return ST_OK;
}
