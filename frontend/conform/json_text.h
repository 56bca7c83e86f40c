/* SPDX-License-Identifier: MIT
 *
 * JSON in files that may hold many values: an array of objects, or objects one behind the other.
 * They are parsed one at a time, so that a large file costs the memory of one, and each error names
 * file and line.
 */
#pragma once

#include <jansson.h>

#include "frontend/conform/input.h"

struct json_text {
    const struct input *in;
    size_t at;     /* of the next byte */
    unsigned line; /* of the next byte, from 1 */
    bool array;    /* inside the array that holds the items */
    bool comma;    /* a comma was seen since the last item */
    bool ended;
    unsigned count; /* items so far */
    const char *item;
    size_t item_size;
    unsigned item_line; /* where the current item begins */
    json_t *root;       /* the current item */
};

/* in stays the caller's and must outlive t. */
void json_text_begin(struct json_text *t, const struct input *in);
/* Parses the next item: *item is an object that stays t's until the next call, or NULL at the end.
 */
MUST_USE enum status json_text_next(struct json_text *t, json_t **item, struct error *err);
void json_text_end(struct json_text *t);

/* "FILE:LINE: " and the sentence; the line is that of "key" in the current item, of the item itself
 * where key is NULL or not found. */
MUST_USE enum status json_text_error(const struct json_text *t, const char *key, struct error *err,
                                     const char *format, ...) PRINTF(4, 5);
/* Fails unless each key of object, which is called `where` in the sentence, is in the
 * NULL-terminated list. */
MUST_USE enum status json_text_known(const struct json_text *t, const json_t *object,
                                     const char *where, const char *const *keys, struct error *err);
/* An unsigned number of a field, at most max. Absent fields leave *value alone. */
MUST_USE enum status json_text_number(const struct json_text *t, const json_t *object,
                                      const char *key, u64 max, u64 *value, struct error *err);
