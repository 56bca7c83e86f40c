/* SPDX-License-Identifier: MIT
 *
 * A character device without a host behind it.
 */
#include <stdlib.h>

#include "devices/backend/chardev_null.h"

static void null_destroy(struct chardev *c)
{
    free(c);
}

static const struct chardev_backend null_backend = {.destroy = null_destroy};

enum status chardev_null_create(struct chardev **c, struct error *err)
{
    *c = calloc(1, sizeof(**c));
    if (!*c)
        return error_set(err, ST_NO_MEMORY, "There is no memory for a character device.");
    (*c)->backend = &null_backend;
    return ST_OK;
}
